"""The journal read once more, as the hub's hash chain fixes it: every row hashed again, and added up on the way.

`docs/protocol.md` (The journal chain) has the layout. What is hashed and what is added up are the same bytes, so
sums that agree with these are sums of the rows the hub signed for.
"""

from __future__ import annotations

import hashlib
import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from typing import Final, NamedTuple

from settlement.core.points import stated_difference
from settlement.core.window import ClosedWindow, WindowSums

FIRST_HASH: Final = bytes(32)
"""The chain's hash before its first batch."""

TABLES: Final = ("entries", "legs", "lines")
"""In the order in which a batch's rows are hashed."""

# A row of binary COPY: 2 bytes number of columns, then each column's 4 bytes length and its value. The views put
# two columns of 8 and 4 bytes before those that are hashed.
_UNHASHED: Final = 2
_SEQUENCE: Final = slice(6, 14)
_HASHED_FROM: Final = 22

_KIND: Final = 138
"""Where an entry's kind begins: 4 bytes length, and a name much shorter than 256 bytes."""

_KEYS: Final[Mapping[str, tuple[slice, slice, slice]]] = {
    # Where a row says who (4-byte numbers and their lengths), how much (8 bytes), and what (texts to the end).
    "entries": (slice(0, 0), slice(66, 74), slice(_KIND, None)),
    "legs": (slice(70, 78), slice(90, 98), slice(98, None)),
    "lines": (slice(62, 78), slice(82, 90), slice(90, None)),
}


class Batch(NamedTuple):
    """One link of the chain as the hub keeps it. `digest` and `hash` are 32 bytes; `batch_id` begins entry ids."""

    sequence: int
    batch_id: int
    window_date: date
    entry_count: int
    digest: bytes
    hash: bytes


Totals = dict[tuple[str, ...], tuple[int, int]]
"""(sum, number of rows) by what the rows agree in."""


@dataclass(frozen=True, slots=True)
class HashedJournal:
    """What hashing a window's rows gave.

    Attributes:
        fault: the first thing that is not as the hub signed it; empty where all is.
        bad_batch: the batch it is in; 0 where there is none.
        last_hash: the chain's hash after the last batch that holds.
        batch_count, row_counts: what was hashed; rows in the order of `TABLES`.
        points_stated: points and number of entries by (kind,).
        points_moved: points and number of legs by (issuer, from account, to account).
        micros_owed: micros and number of lines by (payer, its component, payee, its component).
    """

    fault: str
    bad_batch: int
    last_hash: bytes
    batch_count: int
    row_counts: tuple[int, int, int]
    points_stated: Totals
    points_moved: Totals
    micros_owed: Totals


def sums_differ(journal: HashedJournal, sums: WindowSums) -> str:
    """Which of a window's sums are not those of the hashed rows, or do not fit each other; empty where all do."""
    points_moved: defaultdict[tuple[str, ...], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for leg in sums.legs:  # a hashed row says the version of a card, not its prices
        points, count = points_moved[leg.issuer_id, leg.from_account, leg.to_account]
        points_moved[leg.issuer_id, leg.from_account, leg.to_account] = (
            points + leg.points,
            count + leg.leg_count,
        )
    flows = {
        (it.payer_id, it.payer_component, it.payee_id, it.payee_component): (it.exact_micros, it.line_count)
        for it in sums.flows
    }
    for what, hashed, settled in (
        ("money lines", journal.micros_owed, flows),
        ("points legs", journal.points_moved, dict(points_moved)),
    ):
        if hashed != settled:
            return f"the {what} that were settled are not those that are hashed"
    if journal.row_counts[0] != sum(entry.entry_count for entry in sums.entries):
        return "the entries that were settled are not those that are hashed"
    return stated_difference(
        {kind: points for (kind,), (points, _) in journal.points_stated.items()},
        ((source, target, points) for (_, source, target), (points, _) in journal.points_moved.items()),
    )


@dataclass(slots=True)
class Rehash:
    """Hashes a window batch by batch. Holds hashes of the batches in hand and sums, never rows.

    Attributes:
        window: the watermark that the hub signed.
        last_hash: the chain's hash before the window.
    """

    window: ClosedWindow
    last_hash: bytes
    _expected: int = field(init=False)
    _fault: str = ""
    _bad_batch: int = 0
    _row_counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    _totals: dict[str, dict[bytes, list[int]]] = field(default_factory=lambda: {it: {} for it in TABLES})
    _hashes: dict[bytes, hashlib._Hash] = field(default_factory=dict)
    _counts: dict[bytes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._expected = self.window.first_sequence

    def begin(self, batches: Iterable[Batch]) -> None:
        """Takes the next batches in hand; their rows follow, table by table."""
        self._hashes = {it.sequence.to_bytes(8, "big"): hashlib.sha256() for it in batches}
        self._counts = {}

    def add(self, table: str, rows: Iterable[bytes]) -> None:
        """Hashes the rows a table has of the batches in hand, ordered by batch and within it as documented."""
        for sequence, batch in groupby(rows, key=lambda row: row[_SEQUENCE]):
            own = list(batch)
            column_count = int.from_bytes(own[0][:2], "big") - _UNHASHED
            prefix = column_count.to_bytes(2, "big")
            hashed = prefix + prefix.join([row[_HASHED_FROM:] for row in own])
            # A batch that is not in hand can only have come in between; its sums will tell.
            self._hashes.setdefault(sequence, hashlib.sha256()).update(hashed)
            self._row_counts[table] += len(own)
            if table == "entries":
                self._counts[sequence] = len(own)
            self._add_up(table, own)

    def _add_up(self, table: str, rows: Iterable[bytes]) -> None:
        who, how_much, what = _KEYS[table]
        amounts: defaultdict[bytes, list[bytes]] = defaultdict(list)
        if table == "entries":  # by kind, the first of its texts
            for row in rows:
                amounts[row[_KIND : _KIND + 4 + row[_KIND + 3]]].append(row[how_much])
        else:
            for row in rows:
                amounts[row[who] + row[what]].append(row[how_much])
        totals = self._totals[table]
        for key, found in amounts.items():  # thousands of numbers at once, not one by one
            total = totals.setdefault(key, [0, 0])
            total[0] += sum(struct.unpack(f">{len(found)}q", b"".join(found)))
            total[1] += len(found)

    def end(self, batches: Iterable[Batch]) -> None:
        """Compares the batches in hand, now that all their rows are hashed, and follows the chain over them."""
        for batch in batches:
            if self._fault:
                return
            key = batch.sequence.to_bytes(8, "big")
            linked = hashlib.sha256(self.last_hash + batch.digest).digest()
            if batch.sequence != self._expected:
                self._blame(self._expected, "is missing")
            elif batch.window_date != self.window.window_date:
                self._blame(batch.sequence, f"is said to be of {batch.window_date}")
            elif self._hashes[key].digest() != batch.digest:
                self._blame(batch.sequence, "its rows do not hash to its digest", batch)
            elif self._counts.get(key, 0) != batch.entry_count:
                self._blame(batch.sequence, "has another number of entries than it says", batch)
            elif linked != batch.hash:
                self._blame(batch.sequence, "its hash does not follow from the batch before")
            else:
                self.last_hash = linked
                self._expected += 1

    def _blame(self, sequence: int, fault: str, batch: Batch | None = None) -> None:
        entries = (
            f" (entries {batch.batch_id}-0 to {batch.batch_id}-{batch.entry_count - 1})" if batch else ""
        )
        self._bad_batch, self._fault = sequence, f"batch {sequence}{entries} {fault}"

    def finish(self, party_names: Mapping[int, str]) -> HashedJournal:
        """What came out, with the names of the parties that rows number."""
        if not self._fault and self._expected != self.window.last_sequence + 1:
            self._blame(self._expected, "is missing")
        if not self._fault and self.last_hash != self.window.last_hash:
            # Each row hashes to its batch and each batch to the next, but the hub signed another end.
            self._fault = "the chain ends in another hash than the hub signed"
        return HashedJournal(
            fault=self._fault,
            bad_batch=self._bad_batch,
            last_hash=self.last_hash,
            batch_count=self._expected - self.window.first_sequence,
            row_counts=(self._row_counts["entries"], self._row_counts["legs"], self._row_counts["lines"]),
            points_stated=_named(self._totals["entries"], 0, party_names),
            points_moved=_named(self._totals["legs"], 1, party_names),
            micros_owed=_paired(_named(self._totals["lines"], 2, party_names)),
        )


def _named(totals: Mapping[bytes, list[int]], number_count: int, party_names: Mapping[int, str]) -> Totals:
    named: Totals = {}
    for key, (total, row_count) in totals.items():
        fields = _fields(key)
        numbers = [int.from_bytes(value, "big", signed=True) for value in fields[:number_count]]
        parties = [party_names.get(number, f"party {number}") for number in numbers]
        texts = [value.decode("utf-8", "replace") for value in fields[number_count:]]
        named[(*parties, *texts)] = (total, row_count)
    return named


def _fields(key: bytes) -> list[bytes]:
    fields, at = [], 0
    while at < len(key):
        end = at + 4 + int.from_bytes(key[at : at + 4], "big")
        fields.append(key[at + 4 : end])
        at = end
    return fields


def _paired(totals: Totals) -> Totals:
    """A line's payer and payee each beside its component, as flows have them."""
    return {
        (payer, payer_component, payee, payee_component): total
        for (payer, payee, payer_component, payee_component), total in totals.items()
    }
