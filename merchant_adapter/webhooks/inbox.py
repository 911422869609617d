"""Where orders told by webhooks are kept: beside the outbox's queue, in the same database.

So the commands of an order are stored in one transaction with the note that they were: whatever dies, both are there
or neither is.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from merchant_adapter.outbox.errors import CommandUnknown, OutboxError
from merchant_adapter.outbox.outbox import DAY_MS, Outbox
from merchant_adapter.outbox.tables import Database
from merchant_adapter.outbox.times import now_ms, to_time
from merchant_adapter.webhooks import inbox_tables as tables
from merchant_adapter.webhooks.inbox_records import (
    DeadOrder,
    InboxStatus,
    Plan,
    Received,
    Undone,
    WaitingOrder,
)
from merchant_adapter.webhooks.order_event import OrderEvent

T = TypeVar("T")

DELIVERY_RETENTION_DAYS = 30
"""How long a delivery's id is known; its order's version is known longer."""

MEMBER_MS = DAY_MS
"""How long the hub's word counts on which member a customer is."""


class Inbox:
    """The orders of one platform, in the database of an outbox. For asyncio. Every method raises OutboxError."""

    def __init__(self, outbox: Outbox, source: str) -> None:
        """Makes the tables where there are none. `source` is the platform's name."""
        self._outbox = outbox
        self._source = source
        self.arrived = asyncio.Event()
        """Set whenever there is something new to do."""
        outbox.writer.do(lambda: tables.create(outbox.store.database)).result()

    async def receive(self, event: OrderEvent) -> Received:
        """Stores an order durably, unless this version or a newer one is known. Raises DeliveryConflict."""
        text, digest = tables.kept_of(event)
        values = {
            "source": self._source,
            "order_id": event.order_id,
            "version": event.version,
            "delivery_id": event.delivery_id,
            "event": text,
            "digest": digest,
            "now": now_ms(),
        }
        found = await self._together(lambda database: tables.keep(database, values))
        if found is Received.STORED:
            self.arrived.set()
        return found

    async def due(self, most: int, no_pause_seconds: float) -> list[WaitingOrder]:
        """The orders that may be tried now, those that have waited longest first.

        What is due `no_pause_seconds` from now was put off before the clock was set back, and does not wait.
        """
        now = now_ms()
        values = {"source": self._source, "now": now, "far": now + int(no_pause_seconds * 1000), "most": most}
        is_due = await self._query(tables.DUE, values | {"most": 1}) or await self._query(tables.FAR, values)
        if not is_due:
            return []  # which is nearly always, and should cost no write
        return await self._together(lambda database: tables.waiting(database, values))

    async def next_due(self) -> float | None:
        """When the first of those put off may be tried again, in Unix seconds."""
        ((due_ms,),) = await self._query(
            "SELECT min(due_ms) FROM webhook_orders WHERE state = 'waiting' AND source = :source",
            {"source": self._source},
        )
        return None if due_ms is None else due_ms / 1000

    async def members(self, customer_ids: Iterable[str]) -> dict[str, str]:
        """The members that these customers were found to be not long ago: a link may be undone, and made anew."""
        rows = await self._query(
            "SELECT customer_id, member_id FROM webhook_members"
            " WHERE known_ms > :since AND customer_id IN (SELECT value FROM json_each(:ids))",
            {"ids": json.dumps(list(customer_ids)), "since": now_ms() - MEMBER_MS},
        )
        return dict(rows)

    async def keep_members(self, members: Mapping[str, str]) -> None:
        """Notes which member a customer is."""
        now = now_ms()
        rows = [
            {"customer_id": customer, "member_id": member, "now": now} for customer, member in members.items()
        ]
        await self._together(lambda database: database.change_each(tables.KEEP_MEMBER, rows))

    async def apply(self, plans: Sequence[Plan]) -> list[OutboxError | None]:
        """Stores the commands of each order in the outbox and notes it, both or neither.

        Gives an error for each that was not stored.
        """
        store = self._outbox.store

        def work(database: Database) -> list[OutboxError | None]:
            results = store.add_within([plan.commands for plan in plans])
            errors = [result if isinstance(result, OutboxError) else None for result in results]
            done = [plan for plan, error in zip(plans, errors, strict=True) if error is None]
            database.change_each(tables.APPLIED, [self._applied(plan) for plan in done])
            return errors

        errors = await self._together(work)
        self._outbox.writer.on_change()
        return errors

    async def put_aside(self, undone: Sequence[Undone]) -> None:
        """Tries orders again later, or makes dead letters of them."""
        rows = [
            {
                "source": self._source,
                "order_id": one.order.event.order_id,
                "version": one.order.event.version,
                "state": "dead" if one.due_ms is None else "waiting",
                "attempts": one.order.attempts + 1,
                "due_ms": one.due_ms or 0,
                "reason": one.reason,
                "detail": one.detail,
            }
            for one in undone
        ]
        await self._together(lambda database: database.change_each(tables.UNDONE, rows))

    async def status(self) -> InboxStatus:
        """How many orders wait, and since when."""
        ((waiting, put_off, oldest_ms),) = await self._query(
            "SELECT count(*), count(*) FILTER (WHERE due_ms > :now), min(received_ms) FROM webhook_orders"
            " WHERE state = 'waiting'",
            {"now": now_ms()},
        )
        ((dead,),) = await self._query("SELECT count(*) FROM webhook_orders WHERE state = 'dead'", {})
        age = 0.0 if oldest_ms is None else max(now_ms() - oldest_ms, 0) / 1000
        return InboxStatus(waiting=waiting, put_off=put_off, dead=dead, oldest_seconds=age)

    async def dead_orders(self, most: int = 1_000) -> list[DeadOrder]:
        """What waits for a person, oldest first."""
        rows = await self._query(
            "SELECT order_id, version, reason, detail, attempts, received_ms FROM webhook_orders"
            " WHERE state = 'dead' AND source = :source ORDER BY received_ms, order_id LIMIT :most",
            {"source": self._source, "most": most},
        )
        return [
            DeadOrder(
                order_id=order_id,
                version=version,
                reason=reason,
                detail=detail,
                attempts=attempts,
                received_time=to_time(received_ms),
            )
            for order_id, version, reason, detail, attempts, received_ms in rows
        ]

    async def resubmit(self, order_id: str) -> None:
        """Tries a dead letter again. Raises CommandUnknown."""
        await self._revive(order_id, "waiting", "")
        self.arrived.set()

    async def drop(self, order_id: str, reason: str) -> None:
        """Gives a dead letter's version up for good; what came of earlier ones stays. Raises CommandUnknown."""
        await self._revive(order_id, "dropped", reason)

    async def prune(self, retention_days: float) -> int:
        """Forgets orders that came longer ago and are done, and old deliveries; gives how many orders."""
        now = now_ms()
        deliveries = {"before": now - DELIVERY_RETENTION_DAYS * DAY_MS}
        orders = {"before": now - int(retention_days * DAY_MS)}

        def work(database: Database) -> int:
            database.change("DELETE FROM webhook_deliveries WHERE received_ms < :before", deliveries)
            return database.change(
                "DELETE FROM webhook_orders WHERE received_ms < :before AND state IN ('done', 'dropped')",
                orders,
            )

        return await self._together(work)

    def _applied(self, plan: Plan) -> dict[str, Any]:
        event = plan.order.event
        return {
            "source": self._source,
            "order_id": event.order_id,
            "version": event.version,
            "event": tables.kept_of(event)[0],
            "policy": tables.policy_text(plan.policy),
            "member_id": plan.member_id,
        }

    async def _revive(self, order_id: str, state: str, reason: str) -> None:
        values = {"source": self._source, "order_id": order_id, "now": now_ms()}
        values |= {"state": state, "reason": reason}
        if not await self._together(lambda database: database.change(tables.REVIVE, values)):
            raise CommandUnknown(f"{order_id}: no dead letter of this inbox")

    async def _query(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        database = self._outbox.store.database
        return await asyncio.wrap_future(self._outbox.writer.do(lambda: database.query(statement, values)))

    async def _together(self, work: Callable[[Database], T]) -> T:
        database = self._outbox.store.database

        def in_transaction() -> T:
            with database.transaction():
                return work(database)

        return await asyncio.wrap_future(self._outbox.writer.do(in_transaction))
