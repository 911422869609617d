"""The book: everything one batch knows and changes. The one mutable object of the core."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from exchange.core.accounts import MERGED, NO_DEADLINE, Link, MemberState, PayCode, Terminal, Wallet
from exchange.core.commands import kind_in_journal
from exchange.core.journal import Entry
from exchange.core.lots import LotMove
from exchange.core.originals import EntryName, Hold, Original, PendingEarn, Posting
from exchange.core.rates import Cards

__all__ = [  # with the accounts that a book is made of
    "FUTURE_TOLERANCE",
    "NO_DEADLINE",
    "UNKNOWN_TIME",
    "Book",
    "Known",
    "Link",
    "MemberState",
    "PayCode",
    "RequestKey",
    "Terminal",
    "Terms",
    "Wallet",
]

UNKNOWN_TIME: Final = datetime.min.replace(tzinfo=UTC)

FUTURE_TOLERANCE: Final = timedelta(seconds=60)
"""How far an event may lie ahead of the ledger clock."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the coalition agreed once for all.

    The zone of its days, when a business day ends after local midnight, minor units, how late an event may be;
    what a claw back does that finds too few points (`deficit` or `clamp`), the order in which a refund restores
    lots (`lot_exact` or `pro_rata`), the days that refunded points get when theirs have passed, the days after
    which a pending earn is cancelled, and limits a ledger day or a transfer (0 is none).
    """

    zone: tzinfo
    minor_per_major: int = 100
    late_limit: timedelta = timedelta(days=7)
    cut_off: timedelta = timedelta(0)
    claw_back: str = "deficit"
    refund: str = "lot_exact"
    grace_days: int = 0
    pending_days: int = 180
    member_daily_burns: int = 0
    member_daily_points: int = 0
    terminal_daily_burns: int = 0
    terminal_daily_points: int = 0
    transfer_limit_points: int = 0
    transfer_daily_points: int = 0

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


RequestKey = tuple[int, str]
"""(partner, request id)."""


@dataclass(slots=True)
class Book:
    """What `load` brought for one batch, and what the plan adds: the new entries and the changed rows.

    `decided_time` is the ledger clock, `wall_time` the wall clock; both are fixed for the batch.
    """

    terms: Terms
    cards: Cards
    decided_time: datetime
    batch_id: int
    wallets: dict[int, Wallet] = field(default_factory=dict)
    links: dict[tuple[int, int], Link] = field(default_factory=dict)
    requests: dict[RequestKey, Known | int] = field(default_factory=dict)
    """Decisions by (partner, request id): a known one, or the index of the command in this batch."""
    fingerprints: dict[RequestKey, bytes] = field(default_factory=dict)
    references: dict[tuple[int, str, str, int], str] = field(default_factory=dict)
    """Entry ids by (partner, kind, reference, part)."""
    wall_time: datetime = UNKNOWN_TIME
    originals: dict[RequestKey, Original] = field(default_factory=dict)
    """Accepted commands that others of this batch follow, loaded or posted in this very batch."""
    holds: dict[RequestKey, Hold] = field(default_factory=dict)
    """Open holds by the authorisation's key."""
    pending_earns: dict[RequestKey, PendingEarn] = field(default_factory=dict)
    lot_moves: list[LotMove] = field(default_factory=list)
    """Moves between rows, in ledger order: those that were loaded, then those of this batch."""
    loaded_moves: int = 0
    """How many of `lot_moves` were loaded."""
    marks: set[tuple[int, int, str]] = field(default_factory=set)
    """(member, partner, rule) of what can be earned once."""
    new_marks: list[tuple[int, int, str]] = field(default_factory=list)
    quotes: set[str] = field(default_factory=set)
    new_quotes: list[tuple[str, int]] = field(default_factory=list)
    """Quote ids used in this batch, with the index of the entry."""
    pay_codes: dict[bytes, PayCode] = field(default_factory=dict)
    terminals: dict[tuple[int, str, str], Terminal] = field(default_factory=dict)
    withdrawn_adjustments: set[int] = field(default_factory=set)
    entries: list[Entry] = field(default_factory=list)
    today: date = field(init=False)
    latest_event: datetime = field(init=False)
    oldest_event: datetime = field(init=False)
    has_daily_limits: bool = field(init=False)
    _indexed: dict[RequestKey, int] = field(init=False, default_factory=dict, repr=False)
    _index_end: int = field(init=False, default=0, repr=False)
    _holds: dict[int, list[Hold]] | None = field(init=False, default=None, repr=False)
    _pending_earns: dict[int, list[PendingEarn]] | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        """Fixes what follows from the decided time."""
        self.today = self.terms.day_of(self.decided_time)
        self.latest_event = self.decided_time + FUTURE_TOLERANCE
        self.oldest_event = self.decided_time - self.terms.late_limit
        terms = self.terms
        self.has_daily_limits = any(
            (
                *(terms.member_daily_burns, terms.member_daily_points),
                *(terms.terminal_daily_burns, terms.terminal_daily_points),
            )
        )

    def post(self, entry: Entry) -> int:
        """Adds an entry to the batch's journal and gives its index."""
        self.entries.append(entry)
        return len(self.entries) - 1

    def original(self, partner_id: int, request_id: str) -> Original | None:
        """What is known of an accepted command, loaded or posted in this very batch.

        Commands of this batch are looked for only when one is asked for: most batches never do.
        """
        key = (partner_id, request_id)
        found = self.originals.get(key)
        if found is not None:
            return found
        for index in range(self._index_end, len(self.entries)):
            command = self.entries[index].command
            self._indexed[command.partner_id, command.request_id] = index
        self._index_end = len(self.entries)
        if key not in self._indexed:
            return None
        return self.originals.setdefault(key, Original(self._posting(self._indexed[key])))

    def follow(self, original: Original, entry_index: int) -> None:
        """Makes an entry of this batch known to those who ask for its original later."""
        original.follow_ups.append(self._posting(entry_index))

    def holds_of(self, member_id: int) -> list[Hold]:
        """A whole member's holds as they were loaded. Asked for before any command of the member is decided."""
        if self._holds is None:
            self._holds = {}
            for hold in self.holds.values():
                self._holds.setdefault(hold.member_id, []).append(hold)
        return self._holds.get(member_id, [])

    def pending_earns_of(self, member_id: int) -> list[PendingEarn]:
        """A whole member's pending earns as they were loaded. Asked for before any command of the member is decided."""
        if self._pending_earns is None:
            self._pending_earns = {}
            for pending in self.pending_earns.values():
                self._pending_earns.setdefault(pending.member_id, []).append(pending)
        return self._pending_earns.get(member_id, [])

    def lineage(self, wallet: Wallet) -> list[Wallet]:
        """The member, whom it was merged into, whom that one was merged into, and so on; all are loaded."""
        chain = [wallet]
        while chain[-1].state is MERGED:
            chain.append(self.wallets[chain[-1].survivor_id])
        return chain

    def survivor(self, wallet: Wallet) -> Wallet:
        """The account in which a member's points are: its own, or where it is merged the last of its lineage."""
        if wallet.state is not MERGED:
            return wallet
        return self.lineage(wallet)[-1]

    def _posting(self, index: int) -> Posting:
        entry = self.entries[index]
        command = entry.command
        return Posting(
            EntryName(self.batch_id, index),
            kind_in_journal(command),
            command.member_id,
            entry.points,
            entry.rate_version,
            command.event_time,
            entry.spend_minor,
            entry.native_points,
            entry.legs,
        )
