"""What became of a command."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final, NamedTuple

from exchange.core.commands import Asked
from exchange.core.journal import Entry
from exchange.core.refusals import Refusal


class Figures(NamedTuple):
    """What the answers of some kinds say besides: points, native points, and the wall clock's deadline of a hold."""

    remaining_points: int = 0
    """What of the original can still be clawed back, or refunded; for a pending earn, what is left to confirm."""
    deficit_points: int = 0
    """What the member owes of it now: raised by a claw back (before it absorbed anything) or by an adjustment."""
    released_points: int = 0
    """What a capture did not burn."""
    native_points: int = 0
    deadline: datetime | None = None


NO_FIGURES: Final = Figures()


class Accepted(NamedTuple):
    """A yes: the entry, its place in the batch's journal, and the figures of the answer.

    Points and micros. `available_points` is the named member's (the survivor's where it is merged); `expiry_date`
    only where points were issued, `value_micros` only where some are spent or held, `reimbursement_micros` only for
    a burn or a capture, and for a refund what the partner pays back.
    """

    entry: Entry
    entry_index: int
    available_points: int
    expiry_date: date | None = None
    value_micros: int = 0
    reimbursement_micros: int = 0
    figures: Figures = NO_FIGURES


class Refused(NamedTuple):
    """A no that belongs to the request id for ever."""

    command: Asked
    refusal: Refusal


class Rejected(NamedTuple):
    """A no that is not kept: the same request id may be tried again."""

    refusal: Refusal


class Repeated(NamedTuple):
    """The same request came before; `answer` is the first decision's answer bytes."""

    accepted: bool
    answer: bytes


class RepeatedHere(NamedTuple):
    """The same request stands earlier in this batch, at this index of its commands."""

    first: int


class Woken(NamedTuple):
    """A member was woken; `entries` were posted for it."""

    entry_count: int


Decision = Accepted | Refused | Rejected | Repeated | RepeatedHere | Woken
