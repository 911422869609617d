"""What the journal says of commands that others follow: earns, holds, burns, merges."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple

from exchange.core.journal import Leg


class EntryName(NamedTuple):
    """An entry's place: the batch, and the index within it."""

    batch_id: int
    entry_index: int


class Posting(NamedTuple):
    """An entry as later commands need it: points, minor units of spend, native points, UTC times."""

    name: EntryName
    kind: str
    member_id: int
    points: int
    rate_version: int
    event_time: datetime
    spend_minor: int
    native_points: int
    legs: tuple[Leg, ...]


@dataclass(slots=True)
class Original:
    """An accepted command and the entries that named it as their original, in ledger order."""

    posting: Posting
    follow_ups: list[Posting] = field(default_factory=list)

    @property
    def postings(self) -> list[Posting]:
        """The command's own entry and all that followed it."""
        return [self.posting, *self.follow_ups]

    def followed_by(self, *kinds: str) -> list[Posting]:
        """The follow-ups of these kinds, whether a partner asked for them or an adjustment stands for them."""
        return [posting for posting in self.follow_ups if posting.kind.removeprefix("adjust_") in kinds]


@dataclass(slots=True)
class Hold:
    """An open authorisation, of kind `burn` or `exchange_out`, with times of the wall clock; closed when decided."""

    partner_id: int
    request_id: str
    member_id: int
    entry: EntryName
    kind: str
    points: int
    rate_version: int
    authorised_time: datetime
    deadline: datetime
    created: bool = False
    changed: bool = False
    closed: bool = False


@dataclass(slots=True)
class PendingEarn:
    """An earn that is not owed yet. `points` is what is left; cancelled when the ledger day is after `due_date`."""

    partner_id: int
    request_id: str
    member_id: int
    entry: EntryName
    points: int
    due_date: date
    expiry_date: date | None
    created: bool = False
    changed: bool = False
    closed: bool = False


@dataclass(slots=True)
class Deficit:
    """Points a member owes an issuer, at the F (micros a point) at which they were used.

    Always: raised + moved in = absorbed + forgiven + moved out + outstanding.
    """

    member_id: int
    deficit_sequence: int
    issuer_id: int
    funding_micros: int
    raised_time: datetime
    raised_points: int = 0
    moved_in_points: int = 0
    absorbed_points: int = 0
    forgiven_points: int = 0
    moved_out_points: int = 0
    moved_from: tuple[int, int] | None = None
    """The deficit (member, sequence) that a merge moved here."""
    created: bool = False
    changed: bool = False

    @property
    def outstanding_points(self) -> int:
        """What is still owed."""
        arrived = self.raised_points + self.moved_in_points
        return arrived - self.absorbed_points - self.forgiven_points - self.moved_out_points
