"""What became of a command."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from exchange.core.commands import Asked
from exchange.core.journal import Entry
from exchange.core.refusals import Refusal


class Accepted(NamedTuple):
    """A yes: the entry, its place in the batch's journal, and the figures of the answer.

    Points and micros; `expiry_date` only for an earn, the two amounts only for a burn.
    """

    entry: Entry
    entry_index: int
    available_points: int
    expiry_date: date | None = None
    value_micros: int = 0
    reimbursement_micros: int = 0


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
