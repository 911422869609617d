"""What the reference ledger writes down, and the constants of its rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

HUB = 0
POOL = -1
OPERATOR = -2
LAST_DAY_OF_ALL = date(9999, 12, 31)
MOST_POINTS = 1_000_000_000
TOLERANCE = timedelta(seconds=60)
DEFAULT_HOLD = timedelta(minutes=15)
LONGEST_HOLD = timedelta(days=7)
TRIES_THAT_LOCK = 5

Answer = dict[str, Any]
Name = tuple[int, str]
"""A decision's: (partner, request id)."""


class Lot(NamedTuple):
    """A lot is only a name; what is in it is in the journal."""

    member: int
    sequence: int
    issuer: int
    version: int
    last_day: date


class Move(NamedTuple):
    """Points that left one account of a lot and entered another."""

    lot: Lot
    source: str
    target: str
    points: int


class Journey(NamedTuple):
    """Points that went from one row to another, why, and for merges the merge that they belong to."""

    start: Lot
    end: Lot
    why: str
    merge: Name | None
    points: int


class Payment(NamedTuple):
    """Micros that one party owes another."""

    payer: int
    payer_component: str
    payee: int
    payee_component: str
    micros: int


class Debt(NamedTuple):
    """A deficit is only a name, too: whose, which, owed to whom, at which F, since when."""

    member: int
    number: int
    issuer: int
    funding: int
    since: datetime


class Owing(NamedTuple):
    """Points of a deficit that were `raised`, `moved_in`, `absorbed`, `forgiven` or `moved_out`.

    `of` is the lot whose points were used when it was raised, and `other` the debt at the other end of a move.
    """

    debt: Debt
    what: str
    points: int
    of: Lot | None = None
    other: Debt | None = None
    merge: Name | None = None


@dataclass
class Posting:
    """One entry of the journal. An adjustment has `kind` adjust and does what the command it stands for does."""

    name: Name
    kind: str
    reference: str
    command: Any
    does: str
    now: datetime
    wall: datetime
    points: int = 0
    version: int = 0
    original: Name | None = None
    moves: list[Move] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)
    owings: list[Owing] = field(default_factory=list)
    journeys: list[Journey] = field(default_factory=list)

    @property
    def member(self) -> int:
        """Whose decision it is."""
        member: int = self.command.member_id
        return member

    def pay(self, payments: list[Payment]) -> None:
        """Writes payments down. Those of nothing, or within one party, are none."""
        forwards = (_forwards(payment) for payment in payments)
        self.payments += (
            payment for payment in forwards if payment.micros and payment.payer != payment.payee
        )


class HubsOwn(NamedTuple):
    """What the hub posts by itself: a lapse, a cancelled earn, an expiry."""

    partner_id: int
    request_id: str
    kind: str
    member_id: int
    reference: str


def no(reason: str, kept: bool = True, **figures: Any) -> Answer:
    """A refusal; one that is not kept leaves its request id free."""
    return {"verdict": "refused" if kept else "rejected", "reason": reason, **figures}


def member_text(member: int) -> str:
    """`m-` and the number in base 32 with digits 0 to 9 and a to v, twelve of them."""
    digits = ""
    while member:
        digits = "0123456789abcdefghijklmnopqrstuv"[member % 32] + digits
        member //= 32
    return "m-" + digits.rjust(12, "0")


def _forwards(payment: Payment) -> Payment:
    """A payment below zero is the same money from the payee to the payer, each under its own name."""
    if payment.micros >= 0:
        return payment
    return Payment(
        payment.payee, payment.payee_component, payment.payer, payment.payer_component, -payment.micros
    )
