"""The values an inbox takes and gives. Times are aware and in UTC."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from merchant_adapter.outbox.records import NewCommand
from merchant_adapter.webhooks.order_event import OrderEvent, OrderPolicy


class Received(StrEnum):
    """What became of a delivery. In each case the sender is done with it."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    """A newer version of the order is known."""


class DeliveryConflict(Exception):
    """The delivery's id, or this version of the order, was told before with another content; nothing was stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingOrder:
    """An order whose newest version is to become commands.

    Attributes:
        event: the newest version.
        applied: the one that commands were made from before; None where there is none.
        policy: by which they were made; an order keeps it.
        member_id: for whom; empty while the order was a guest's.
        attempts: tries so far.
    """

    event: OrderEvent
    applied: OrderEvent | None
    policy: OrderPolicy | None
    member_id: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadOrder:
    """An order that waits for a person: to resubmit it once the cause is mended, or to drop it.

    A newer version that comes takes its place by itself.
    """

    order_id: str
    version: int
    reason: str
    detail: str
    attempts: int
    received_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxStatus:
    """How an inbox is.

    Attributes:
        waiting: orders that are to become commands, dead ones left out.
        put_off: those of them that were tried in vain and are tried again after a pause.
        dead: orders that wait for a person.
        oldest_seconds: the age of the oldest that waits.
    """

    waiting: int
    put_off: int
    dead: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """An order with the commands that its newest version asks for, ready to be stored."""

    order: WaitingOrder
    policy: OrderPolicy
    member_id: str
    commands: Sequence[NewCommand] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Undone:
    """An order that did not become commands.

    Attributes:
        order: as it was read; a newer version that came meanwhile is not touched.
        reason: a reason of the hub, or one of our own, and `detail` for people.
        due_ms: when to try again, in Unix milliseconds; None for a dead letter.
    """

    order: WaitingOrder
    reason: str
    detail: str
    due_ms: int | None = None
