"""The book: everything one batch knows and changes. The one mutable object of the core."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from exchange.core.journal import Entry
from exchange.core.lots import Lot, LotKey, consumption_order
from exchange.core.rates import NEVER, Cards, RateCard

FUTURE_TOLERANCE: Final = timedelta(seconds=60)
"""How far an event may lie ahead of the ledger clock."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the coalition agreed once for all.

    The zone of its days, when a business day ends after local midnight, minor units, how late an event may be.
    """

    zone: tzinfo
    minor_per_major: int = 100
    late_limit: timedelta = timedelta(days=7)
    cut_off: timedelta = timedelta(0)

    def day_of(self, moment: datetime) -> date:
        """The calendar day of a moment in the coalition's zone."""
        return moment.astimezone(self.zone).date()

    def window_of(self, moment: datetime) -> date:
        """The business day of a moment: the calendar day that began at the last cut-off."""
        return (moment.astimezone(self.zone).replace(tzinfo=None) - self.cut_off).date()


class Known(NamedTuple):
    """A decision made before: its fingerprint and answer bytes."""

    fingerprint: bytes
    accepted: bool
    answer: bytes


@dataclass(slots=True)
class Link:
    """A member's connection to a partner, with the member's consent to burns there (points, 0 = none)."""

    member_id: int
    partner_id: int
    per_burn_limit_points: int = 0
    per_day_limit_points: int = 0
    burned_date: date = date.min
    burned_points: int = 0
    changed: bool = False

    def burned_on(self, day: date) -> int:
        """Points already burned by consent on that day."""
        return self.burned_points if self.burned_date == day else 0


@dataclass(slots=True)
class Wallet:
    """A member's account as a batch sees it: totals, and the lots that were needed.

    `next_expiry_date` is never later than the expiry day of any lot with open points, so a member whose
    date lies ahead has nothing due.
    """

    member_id: int
    open_points: int = 0
    pending_points: int = 0
    held_points: int = 0
    deficit_points: int = 0
    lot_sequence: int = 0
    next_expiry_date: date = NEVER
    lots: dict[LotKey, Lot] = field(default_factory=dict)
    woken: bool = False
    changed: bool = False

    def lot_for(self, card: RateCard, expiry_date: date) -> Lot:
        """The lot of a card and expiry day, made with the next sequence if it never was."""
        key = LotKey(self.member_id, card.partner_id, card.version, expiry_date)
        lot = self.lots.get(key)
        if lot is None:
            self.lot_sequence += 1
            lot = Lot(
                self.member_id,
                self.lot_sequence,
                card.partner_id,
                card.version,
                expiry_date,
                card.funding_micros,
                card.prefunded_micros,
                created=True,
            )
            self.lots[key] = lot
        return lot

    def spendable(self) -> list[Lot]:
        """The loaded lots with open points, in consumption order."""
        return sorted([lot for lot in self.lots.values() if lot.open_points], key=consumption_order)


@dataclass(slots=True)
class Book:
    """What `load` brought for one batch, and what the plan adds: the new entries and the changed rows."""

    terms: Terms
    cards: Cards
    decided_time: datetime
    batch_id: int
    wallets: dict[int, Wallet] = field(default_factory=dict)
    links: dict[tuple[int, int], Link] = field(default_factory=dict)
    requests: dict[tuple[int, str], Known | int] = field(default_factory=dict)
    """Decisions by (partner, request id): a known one, or the index of the command in this batch."""
    fingerprints: dict[tuple[int, str], bytes] = field(default_factory=dict)
    references: dict[tuple[int, str, str, int], str] = field(default_factory=dict)
    """Entry ids by (partner, kind, reference, part)."""
    entries: list[Entry] = field(default_factory=list)
    today: date = field(init=False)
    latest_event: datetime = field(init=False)
    oldest_event: datetime = field(init=False)

    def __post_init__(self) -> None:
        """Fixes what follows from the decided time."""
        self.today = self.terms.day_of(self.decided_time)
        self.latest_event = self.decided_time + FUTURE_TOLERANCE
        self.oldest_event = self.decided_time - self.terms.late_limit

    def post(self, entry: Entry) -> int:
        """Adds an entry to the batch's journal and gives its index."""
        self.entries.append(entry)
        return len(self.entries) - 1
