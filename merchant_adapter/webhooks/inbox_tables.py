"""The tables of an inbox, beside those of an outbox, and what is done with them in one transaction."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from merchant_adapter.errors import InvalidRequest
from merchant_adapter.outbox.tables import Database
from merchant_adapter.webhooks.inbox_records import DeliveryConflict, Received, WaitingOrder
from merchant_adapter.webhooks.order_event import OrderEvent, OrderPolicy, OrderState
from merchant_adapter.webhooks.reading import read_order, write_order

DAMAGED = "DAMAGED"
"""The reason of a dead letter whose stored bytes are not those that were received."""

_NOBODY = "any"
"""Stands for the delivery's id, which is no part of the order."""

# Words that both databases know.
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS webhook_orders (
        source TEXT NOT NULL, order_id TEXT NOT NULL, version BIGINT NOT NULL, event TEXT NOT NULL,
        digest TEXT NOT NULL, received_ms BIGINT NOT NULL, state TEXT NOT NULL, attempts BIGINT NOT NULL,
        due_ms BIGINT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, applied TEXT NOT NULL,
        policy TEXT NOT NULL, member_id TEXT NOT NULL, PRIMARY KEY (source, order_id))""",
    "CREATE INDEX IF NOT EXISTS webhook_orders_due ON webhook_orders (due_ms) WHERE state = 'waiting'",
    "CREATE INDEX IF NOT EXISTS webhook_orders_dead ON webhook_orders (received_ms) WHERE state = 'dead'",
    "CREATE INDEX IF NOT EXISTS webhook_orders_received ON webhook_orders (received_ms)",
    """CREATE TABLE IF NOT EXISTS webhook_deliveries (
        source TEXT NOT NULL, delivery_id TEXT NOT NULL, digest TEXT NOT NULL, received_ms BIGINT NOT NULL,
        PRIMARY KEY (source, delivery_id))""",
    "CREATE INDEX IF NOT EXISTS webhook_deliveries_received ON webhook_deliveries (received_ms)",
    """CREATE TABLE IF NOT EXISTS webhook_members (
        customer_id TEXT PRIMARY KEY, member_id TEXT NOT NULL, known_ms BIGINT NOT NULL)""",
)

DUE = """
SELECT event, digest, attempts, applied, policy, member_id, order_id FROM webhook_orders
WHERE state = 'waiting' AND source = :source AND due_ms <= :now ORDER BY due_ms, order_id LIMIT :most
"""

# What is due later than `far` was put off before the clock was set back.
FAR = "SELECT 1 FROM webhook_orders WHERE state = 'waiting' AND due_ms > :far LIMIT 1"
_BRING_NEAR = "UPDATE webhook_orders SET due_ms = :now WHERE state = 'waiting' AND due_ms > :far"

# A version that came while this one was at work is still to be done.
APPLIED = """
UPDATE webhook_orders SET applied = :event, policy = :policy, member_id = :member_id,
    state = CASE WHEN version = :version THEN 'done' ELSE state END
WHERE source = :source AND order_id = :order_id
"""

UNDONE = """
UPDATE webhook_orders SET state = :state, attempts = :attempts, due_ms = :due_ms, reason = :reason, detail = :detail
WHERE source = :source AND order_id = :order_id AND version = :version AND state = 'waiting'
"""

REVIVE = """
UPDATE webhook_orders SET state = :state, reason = :reason, attempts = 0, due_ms = :now
WHERE source = :source AND order_id = :order_id AND state = 'dead'
"""

KEEP_MEMBER = """
INSERT INTO webhook_members (customer_id, member_id, known_ms) VALUES (:customer_id, :member_id, :now)
ON CONFLICT (customer_id) DO UPDATE SET member_id = excluded.member_id, known_ms = excluded.known_ms
"""

_KEEP = """
INSERT INTO webhook_orders (source, order_id, version, event, digest, received_ms, state, attempts, due_ms, reason,
    detail, applied, policy, member_id)
VALUES (:source, :order_id, :version, :event, :digest, :now, 'waiting', 0, :now, '', '', '', '', '')
ON CONFLICT (source, order_id) DO UPDATE SET version = excluded.version, event = excluded.event,
    digest = excluded.digest, received_ms = excluded.received_ms, state = 'waiting', attempts = 0,
    due_ms = excluded.due_ms, reason = '', detail = ''
"""

_DELIVERED = """
INSERT INTO webhook_deliveries (source, delivery_id, digest, received_ms)
VALUES (:source, :delivery_id, :digest, :now)
"""

_BURY = """
UPDATE webhook_orders SET state = 'dead', reason = :reason, detail = 'what is stored is not what was received'
WHERE source = :source AND order_id = :order_id
"""


def create(database: Database) -> None:
    """Makes the tables where there are none."""
    with database.transaction():
        for statement in SCHEMA:
            database.change(statement, {})


def kept_of(event: OrderEvent) -> tuple[str, str]:
    """An order as it is stored, without who told it, and its digest: the same for everybody who tells the same."""
    text = write_order(replace(event, delivery_id=_NOBODY))
    return text, _digest(text)


def policy_text(policy: OrderPolicy) -> str:
    """A policy as it is stored."""
    return json.dumps(asdict(policy))


# --- within a transaction


def keep(database: Database, values: Mapping[str, Any]) -> Received:
    """Stores a version of an order unless it, or a newer one, is known. Raises DeliveryConflict."""
    delivered = database.query(
        "SELECT digest FROM webhook_deliveries WHERE source = :source AND delivery_id = :delivery_id", values
    )
    if delivered:
        return _the_same(delivered[0][0], values["digest"], "delivery_id: was of another content before")
    known = database.query(
        "SELECT version, digest FROM webhook_orders WHERE source = :source AND order_id = :order_id", values
    )
    if known and known[0][0] > values["version"]:
        return Received.IGNORED
    if known and known[0][0] == values["version"]:
        return _the_same(known[0][1], values["digest"], "version: of this order had another content before")
    database.change(_DELIVERED, values)
    database.change(_KEEP, values)
    return Received.STORED


def waiting(database: Database, values: Mapping[str, Any]) -> list[WaitingOrder]:
    """The orders that are due; one whose bytes are damaged becomes a dead letter instead."""
    database.change(_BRING_NEAR, values)
    found = []
    for *row, order_id in database.query(DUE, values):
        one = _waiting(row)
        if one is None:
            database.change(_BURY, {"source": values["source"], "order_id": order_id, "reason": DAMAGED})
        else:
            found.append(one)
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _the_same(known: str, digest: str, otherwise: str) -> Received:
    if known != digest:
        raise DeliveryConflict(otherwise)
    return Received.DUPLICATE


def _waiting(row: Sequence[Any]) -> WaitingOrder | None:
    text, digest, attempts, applied, policy, member_id = row
    if _digest(text) != digest:
        return None
    try:
        return WaitingOrder(
            event=read_order(text.encode()),
            applied=read_order(applied.encode()) if applied else None,
            policy=_policy(policy) if policy else None,
            member_id=member_id,
            attempts=attempts,
        )
    except (InvalidRequest, ValueError, TypeError, KeyError):  # `applied` and `policy` have no digest
        return None


def _policy(text: str) -> OrderPolicy:
    told = json.loads(text)
    states = {name: OrderState(told[name]) for name in ("confirm_on", "capture_on")}
    return OrderPolicy(**(told | states))
