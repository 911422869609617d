"""Accounts as a batch sees them: members' wallets and links, and what lets a partner spend from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Final

from exchange.core.lots import Lot, LotKey, consumption_order
from exchange.core.originals import Deficit
from exchange.core.rates import NEVER, RateCard
from exchange.core.record import make

NO_DEADLINE: Final = datetime.max.replace(tzinfo=UTC)
"""The deadline of what never lapses."""


@dataclass(slots=True)
class Link:
    """A member's connection to a partner, with the member's consent to burns there (points, 0 = none)."""

    member_id: int
    partner_id: int
    per_burn_limit_points: int = 0
    per_day_limit_points: int = 0
    burned_date: date = date.min
    burned_points: int = 0
    unlinked: bool = False
    """Undone: what was begun ends as it would, nothing new begins."""
    created: bool = False
    changed: bool = False

    def burned_on(self, day: date) -> int:
        """Points already burned by consent on that day."""
        return self.burned_points if self.burned_date == day else 0


class MemberState(StrEnum):
    """What an account can do. A frozen one earns and spends nothing; a merged one lives on in its survivor."""

    ACTIVE = "active"
    FROZEN = "frozen"
    CLOSED = "closed"
    MERGED = "merged"


ACTIVE: Final = MemberState.ACTIVE
CLOSED: Final = MemberState.CLOSED
MERGED: Final = MemberState.MERGED
"""For what every command asks: a look into the enumeration costs as much as a call."""


@dataclass(slots=True)
class Wallet:
    """A member's account as a batch sees it: totals, and the lots that were needed.

    `next_expiry_date` is never later than the expiry day of any lot with open points, `next_cancel_date` than the
    due date of a pending earn, `next_deadline` (UTC, `NO_DEADLINE` for none) than the deadline of an open hold: so
    a member of whom all three lie ahead has nothing due. The daily counters are of the ledger day `spent_date`.
    """

    member_id: int
    open_points: int = 0
    pending_points: int = 0
    held_points: int = 0
    deficit_points: int = 0
    lot_sequence: int = 0
    next_expiry_date: date = NEVER
    state: MemberState = MemberState.ACTIVE
    survivor_id: int = 0
    """The member that a merged one was merged into, which may be merged itself; 0 for none."""
    merged_by: tuple[int, int] | None = None
    """The entry of the merge."""
    deficit_sequence: int = 0
    next_cancel_date: date = NEVER
    next_deadline: datetime = NO_DEADLINE
    spent_date: date = date.min
    spent_count: int = 0
    spent_points: int = 0
    transferred_points: int = 0
    lots: dict[LotKey, Lot] = field(default_factory=dict)
    deficits: list[Deficit] = field(default_factory=list)
    woken: bool = False
    changed: bool = False

    def lot_for(self, card: RateCard, expiry_date: date) -> Lot:
        """The lot of a card and expiry day, made with the next sequence if it never was."""
        key = make(LotKey, (self.member_id, card.partner_id, card.version, expiry_date))
        lot = self.lots.get(key)
        return self._make(key, card.funding_micros, card.prefunded_micros) if lot is None else lot

    def row_like(self, lot: Lot, expiry_date: date) -> Lot:
        """This member's lot of the same issuer and version with that expiry day, made if it never was."""
        key = LotKey(self.member_id, lot.issuer_id, lot.rate_version, expiry_date)
        row = self.lots.get(key)
        return self._make(key, lot.funding_micros, lot.prefunded_micros) if row is None else row

    def _make(self, key: LotKey, funding_micros: int, prefunded_micros: int) -> Lot:
        self.lot_sequence += 1
        self.changed = True
        lot = Lot(key[0], self.lot_sequence, *key[1:], funding_micros, prefunded_micros, created=True)
        self.lots[key] = lot
        return lot

    def by_sequence(self) -> dict[int, Lot]:
        """The loaded lots by their numbers."""
        return {lot.lot_sequence: lot for lot in self.lots.values()}

    def owed(self) -> list[Deficit]:
        """The deficits with points outstanding, oldest first."""
        outstanding = [deficit for deficit in self.deficits if deficit.outstanding_points]
        return sorted(outstanding, key=lambda deficit: (deficit.raised_time, deficit.deficit_sequence))

    def spent_on(self, day: date) -> tuple[int, int]:
        """Burns and points of that day, as far as they are counted."""
        return (self.spent_count, self.spent_points) if self.spent_date == day else (0, 0)

    def transferred_on(self, day: date) -> int:
        """Points given to others on that day, as far as they are counted."""
        return self.transferred_points if self.spent_date == day else 0

    def begin_day(self, today: date) -> None:
        """Sets the daily counters back if they are of another day."""
        if self.spent_date != today:
            self.spent_date = today
            self.spent_count = self.spent_points = self.transferred_points = 0

    def spendable(self) -> list[Lot]:
        """The loaded lots with open points, in consumption order."""
        return sorted([lot for lot in self.lots.values() if lot.open_points], key=consumption_order)


@dataclass(slots=True)
class PayCode:
    """A member's one-time authority to spend, for 60 seconds of the wall clock. `partner_id` 0 is any partner."""

    digest: bytes
    member_id: int
    partner_id: int
    max_points: int
    issue_time: datetime
    expire_time: datetime
    used: bool = False
    changed: bool = False


@dataclass(slots=True)
class Terminal:
    """A till: wrong pay codes in a row, and what it burned on the ledger day `spent_date`."""

    partner_id: int
    store_id: str
    terminal_id: str
    wrong_tries: int = 0
    locked: bool = False
    spent_date: date = date.min
    spent_count: int = 0
    spent_points: int = 0
    created: bool = False
    changed: bool = False

    def spent_on(self, day: date) -> tuple[int, int]:
        """Burns and points of that day, as far as they are counted."""
        return (self.spent_count, self.spent_points) if self.spent_date == day else (0, 0)

    def begin_day(self, today: date) -> None:
        """Sets the daily counters back if they are of another day."""
        if self.spent_date != today:
            self.spent_date = today
            self.spent_count = self.spent_points = 0
