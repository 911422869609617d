"""Makes commands of the orders in an inbox, and stores them in the outbox, which sends them."""

import asyncio
import logging
import random
import time
from collections.abc import Iterable, Mapping, Sequence

from merchant_adapter.client import Hub
from merchant_adapter.commands import EnrollMember
from merchant_adapter.errors import HubError, InvalidRequest, Refusal
from merchant_adapter.outbox.errors import OutboxError, RequestIdTaken
from merchant_adapter.outbox.outbox import DEFAULT_RETENTION_DAYS, new_command
from merchant_adapter.outbox.policy import Fate, RetryPolicy, Tried, is_about_one, judge, pause_seconds
from merchant_adapter.outbox.times import now_ms
from merchant_adapter.webhooks.inbox import Inbox
from merchant_adapter.webhooks.inbox_records import Plan, Undone, WaitingOrder
from merchant_adapter.webhooks.order_event import OrderPolicy
from merchant_adapter.webhooks.orders import OrderChanged, commands_of

ORDER_CHANGED = "ORDER_CHANGED"
"""The reason of a dead letter that contradicts what was made of the order before."""

MOST_ORDERS = 500
ENROLL_SECONDS = 10.0
POLL_SECONDS = 1.0
GATHER_SECONDS = 0.1
"""Orders come in bursts: those of a moment share an enrolment and a transaction."""

PRUNE_SECONDS = 3_600.0

_Found = Mapping[str, "str | Refusal"]

_log = logging.getLogger(__name__)


class OrderProcessor:
    """Works on one inbox, one at a time, beside the dispatcher of the same outbox."""

    def __init__(
        self,
        inbox: Inbox,
        hub: Hub,
        orders: OrderPolicy,
        source: str,
        *,
        policy: RetryPolicy | None = None,
        retention_days: float = DEFAULT_RETENTION_DAYS,
    ) -> None:
        """`orders` is for those that come in from now on; `source` is the platform's name."""
        self._inbox = inbox
        self._hub = hub
        self._orders = orders
        self._source = f"{hub.channel.key.owner} {source}"
        self._policy = policy or RetryPolicy()
        self._retention_days = retention_days
        self._failures = 0
        self._next_prune = 0.0

    async def run(self) -> None:
        """Works until it is cancelled. Outlives the hub, and a disk that is full for a while."""
        while True:
            self._inbox.arrived.clear()
            try:
                done = await self.work()
                await self._prune()
                pause = 0.0 if done else await self._idle_seconds()
            except OutboxError as error:
                _log.warning("webhooks: %s", error)
                pause = self._policy.longest_pause_seconds
            if self._failures:  # the hub can't be asked: the orders in front would meet the same
                pause = max(pause, pause_seconds(self._failures, None, _chance(), self._policy))
                await asyncio.sleep(pause)
            elif pause:
                await self._rest(pause)

    async def work(self) -> int:
        """One round: the orders that are due, a few hundred at most. Gives how many became commands."""
        orders = await self._inbox.due(MOST_ORDERS, self._policy.no_pause_seconds)
        if not orders:
            return 0
        members = await self._members(orders)
        planned = [self._planned(order, members) for order in orders]
        plans = [one for one in planned if isinstance(one, Plan)]
        errors = await self._inbox.apply(plans) if plans else []
        undone = [one for one in planned if isinstance(one, Undone)]
        undone += [
            self._not_stored(plan.order, error)
            for plan, error in zip(plans, errors, strict=True)
            if error is not None
        ]
        if undone:
            await self._inbox.put_aside(undone)
        return errors.count(None)

    def _planned(self, order: WaitingOrder, members: _Found) -> Plan | Undone:
        found = order.member_id or members.get(order.event.customer_id, "")
        if isinstance(found, Refusal):
            return self._judged(order, found)
        policy = order.policy if order.policy is not None and order.member_id else self._orders
        try:
            commands = commands_of(order.event, order.applied, policy, self._source, found)
            return Plan(order, policy, found, [new_command(one, now_ms()) for one in commands])
        except OrderChanged as error:
            return Undone(order, ORDER_CHANGED, str(error))
        except InvalidRequest as error:
            return Undone(order, error.reason, str(error))

    def _judged(self, order: WaitingOrder, refusal: Refusal) -> Undone:
        """As the outbox judges a command; but an enrolment is never recorded, so every refusal may be mended."""
        verdict = judge(refusal, Tried(order.attempts + 1), time.time(), _chance(), self._policy)
        due_ms = now_ms() + int(verdict.pause_seconds * 1000)
        return Undone(order, verdict.reason, _said(refusal), due_ms if verdict.fate is Fate.AGAIN else None)

    def _not_stored(self, order: WaitingOrder, error: OutboxError) -> Undone:
        if isinstance(error, RequestIdTaken):
            return Undone(order, "REQUEST_ID_TAKEN", str(error))
        pause = pause_seconds(order.attempts + 1, None, _chance(), self._policy)
        return Undone(order, type(error).__name__, str(error), now_ms() + int(pause * 1000))

    async def _members(self, orders: Sequence[WaitingOrder]) -> _Found:
        """The members of these orders' customers, or why a customer cannot be one yet."""
        wanted = dict.fromkeys(
            one.event.customer_id for one in orders if one.event.customer_id and not one.member_id
        )
        known = await self._inbox.members(wanted) if wanted else {}
        missing = [customer for customer in wanted if customer not in known]
        if not missing:
            return known
        enrolled = await self._enroll(missing)
        await self._inbox.keep_members({name: it for name, it in enrolled.items() if isinstance(it, str)})
        return known | dict(enrolled)

    async def _enroll(self, customers: Sequence[str]) -> _Found:
        try:
            results = await self._hub.enroll_batch(
                [EnrollMember(customer_id=customer) for customer in customers],
                deadline_seconds=ENROLL_SECONDS,
            )
            outcomes = list(results)
        except HubError as error:
            if len(customers) > 1 and is_about_one(error.refusal):
                halves = customers[: len(customers) // 2], customers[len(customers) // 2 :]
                return {**await self._enroll(halves[0]), **await self._enroll(halves[1])}
            if is_about_one(error.refusal):  # of this customer: the hub is there
                return dict.fromkeys(customers, error.refusal)
            self._failures += 1
            if self._failures == 1:
                _log.warning("webhooks: customers can't be enrolled: %s", error.reason)
            return dict.fromkeys(customers, error.refusal)
        self._failures = 0
        return {
            customer: outcome if isinstance(outcome, Refusal) else outcome.member_id
            for customer, outcome in zip(customers, outcomes, strict=True)
        }

    async def _idle_seconds(self) -> float:
        due = await self._inbox.next_due()
        return POLL_SECONDS if due is None else min(max(due - time.time(), 0.005), POLL_SECONDS)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._inbox.arrived.wait()
        except TimeoutError:
            return
        await asyncio.sleep(GATHER_SECONDS)

    async def _prune(self) -> None:
        if time.monotonic() >= self._next_prune:
            self._next_prune = time.monotonic() + PRUNE_SECONDS
            await self._inbox.prune(self._retention_days)


def _chance() -> float:
    return random.random()  # noqa: S311  # spreads pauses, and is no secret


def _said(refusal: Refusal) -> str:
    fields: Iterable[str] = (f"{one.field}: {one.description}" for one in refusal.fields)
    return "; ".join([refusal.message, *fields])
