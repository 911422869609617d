"""A window's rows from its evidence, hashed along the chain and added up again, without any database."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from settlement.core.break_types import Controls
from settlement.core.evidence import SEQUENCE, EvidenceWrong, Fault, Record, row_bytes
from settlement.core.kinds import BURNED, EARNED
from settlement.core.netting import Flow
from settlement.core.points import ACCOUNTS, EntrySum, LegSum, stated_difference
from settlement.core.window import ClosedWindow, WindowSums


@dataclass(slots=True)
class RowSums:
    """Adds up rows as settlement's own reading of the hub does. Holds sums, never rows.

    Attributes:
        parties: the ids of the parties that rows number.
        prices: (F, P) in micros a point by (issuer id, version of its card).
    """

    parties: Mapping[int, str]
    prices: Mapping[tuple[str, int], tuple[int, int]]
    _flows: dict[tuple[int, str, int, str], list[int]] = field(default_factory=dict)
    _legs: dict[tuple[int, int, str, str], list[int]] = field(default_factory=dict)
    _stated: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _controls: dict[int, list[int]] = field(default_factory=dict)
    _posters: dict[int, int] = field(default_factory=dict)
    _entry_count: int = 0
    _ends: tuple[int, int] = (0, 0)

    def add(self, table: str, record: Record) -> None:
        """Adds a row of a table. Raises ValueError naming the field that nothing is known of."""
        if table == "lines":
            self._add_line(record)
        elif table == "legs":
            self._add_leg(record)
        else:
            self._add_entry(record)

    def _add_line(self, record: Record) -> None:
        payer, payee = record["payer_id"], record["payee_id"]
        for name, number in (("payer_id", payer), ("payee_id", payee)):
            if number not in self.parties:
                raise ValueError(f"{name}: parties.jsonl has no party {number}")
        key = (payer, record["payer_component"], payee, record["payee_component"])
        total = self._flows.setdefault(key, [0, 0])
        total[0] += record["micros"]
        total[1] += 1
        poster = self._posters.get(record["entry_index"])
        if poster is None:
            raise ValueError(f"entry_index: the batch has no entry {record['entry_index']}")
        if poster == payee:
            self._controls[poster][2] += record["micros"]
        elif poster == payer:
            self._controls[poster][3] += record["micros"]

    def _add_leg(self, record: Record) -> None:
        issuer, version = record["issuer_id"], record["rate_version"]
        if (self.parties.get(issuer), version) not in self.prices:
            raise ValueError(f"rate_version: rates.jsonl has no version {version} of party {issuer}")
        key = (issuer, version, record["from_account"], record["to_account"])
        for name in key[2:]:
            if name not in ACCOUNTS:
                raise ValueError(f"from_account, to_account: {name!r} is no account of a lot")
        total = self._legs.setdefault(key, [0, 0])
        total[0] += record["points"]
        total[1] += 1

    def _add_entry(self, record: Record) -> None:
        sequence, kind, partner = record[SEQUENCE], record["kind"], record["partner_id"]
        if sequence != self._ends[1]:
            self._posters = {}
        self._posters[record["entry_index"]] = partner
        controls = self._controls.setdefault(partner, [0, 0, 0, 0])
        controls[0] += EARNED.get(kind, 0) * record["points"]
        controls[1] += BURNED.get(kind, 0) * record["points"]
        self._stated[kind] += record["points"]
        self._ends = (self._ends[0] or sequence, sequence)
        self._entry_count += 1

    def controls(self, partner_id: str) -> Controls:
        """The four totals of a partner's own entries, which its file is held against."""
        numbers = (number for number, party_id in self.parties.items() if party_id == partner_id)
        return Controls(*self._controls.get(next(numbers, 0), (0, 0, 0, 0)))

    def sums(self) -> WindowSums:
        """Everything added, each in the order of its keys. Raises EvidenceWrong where entries state other points."""
        moved = ((source, target, points) for (_, _, source, target), (points, _) in self._legs.items())
        fault = stated_difference(self._stated, moved)
        if fault:
            raise EvidenceWrong(Fault("entries.jsonl", fault, field="points"))
        legs: dict[tuple[str, str, str, int, int], list[int]] = {}
        for (issuer, version, source, target), (points, count) in self._legs.items():
            name = self.parties[issuer]
            total = legs.setdefault((name, source, target, *self.prices[name, version]), [0, 0])
            total[0] += points
            total[1] += count
        flows = (
            Flow(self.parties[payer], one, self.parties[payee], other, micros, count)
            for (payer, one, payee, other), (micros, count) in self._flows.items()
        )
        return WindowSums(
            flows=tuple(sorted(flows, key=_flow_key)),
            legs=tuple(LegSum(*key, *total) for key, total in sorted(legs.items())),
            entries=(EntrySum(self._entry_count, *self._ends),) if self._entry_count else (),
        )


def _flow_key(flow: Flow) -> tuple[str, str, str, str]:
    return flow.payer_id, flow.payer_component, flow.payee_id, flow.payee_component


@dataclass(slots=True)
class RowCursor:
    """The rows of one file, batch by batch."""

    table: str
    file: str
    rows: Iterator[tuple[int, Record]]
    _held: tuple[int, Record] | None = None

    def of_batch(self, sequence: int) -> Iterator[tuple[int, Record]]:
        """(line, record) of the rows of a batch, which must be the next. Raises EvidenceWrong."""
        while (held := self._held or next(self.rows, None)) is not None:
            self._held = held
            line, record = held
            found = record.get(SEQUENCE)
            if type(found) is not int or found < sequence:
                what = f"is of batch {found!r}, which was to come before or is not in batches.jsonl"
                raise EvidenceWrong(Fault(self.file, what, line, SEQUENCE))
            if found > sequence:
                return
            self._held = None
            yield line, record

    def finish(self) -> None:
        """Raises EvidenceWrong where rows are left over."""
        held = self._held or next(self.rows, None)
        if held is not None:
            what = f"is of batch {held[1].get(SEQUENCE)!r}, which batches.jsonl does not have"
            raise EvidenceWrong(Fault(self.file, what, held[0], SEQUENCE))


def follow_chain(
    window: ClosedWindow,
    hash_before: bytes,
    batches: Iterable[tuple[int, Record]],
    cursors: Iterable[RowCursor],
    sums: RowSums,
) -> Iterator[int]:
    """Hashes and adds up a window's rows; yields the number of entries of each batch that holds.

    `hash_before` is the chain's hash before the window. Raises EvidenceWrong for the first thing that is not as
    the hub signed it.
    """
    tables, expected, last_hash = tuple(cursors), window.first_sequence, hash_before
    number = 0
    for number, batch in batches:
        fault = _Batch(number, batch, expected)
        fault.check_shape(window)
        digest, entry_count, spans = _digest(tables, expected, sums)
        if digest.hex() != batch["digest"]:
            fault.blame("digest", f"its rows do not hash to it ({spans})")
        if entry_count != batch["entry_count"]:
            fault.blame("entry_count", f"it has {entry_count} entries")
        last_hash = hashlib.sha256(last_hash + digest).digest()
        if last_hash.hex() != batch["hash"]:
            fault.blame("hash", "does not follow from the batch before")
        expected += 1
        yield entry_count
    for cursor in tables:
        cursor.finish()
    if expected != window.last_sequence + 1:
        raise EvidenceWrong(Fault("batches.jsonl", "is missing", number + 1, batch_sequence=expected))
    if last_hash != window.last_hash:
        what = "the chain ends in another hash than the hub signed for the window"
        raise EvidenceWrong(Fault("batches.jsonl", what, number, "hash", window.last_sequence))


@dataclass(frozen=True, slots=True)
class _Batch:
    line: int
    record: Record
    expected: int

    def blame(self, name: str, what: str) -> None:
        raise EvidenceWrong(Fault("batches.jsonl", what, self.line, name, self.expected))

    def check_shape(self, window: ClosedWindow) -> None:
        wanted = {"sequence", "window_date", "entry_count", "digest", "hash"}
        for name in sorted(wanted ^ self.record.keys()):
            self.blame(name, "missing or not of a batch")
        if self.record["sequence"] != self.expected:
            self.blame("sequence", f"says {self.record['sequence']!r}")
        if self.record["window_date"] != window.window_date.isoformat():
            self.blame("window_date", f"says {self.record['window_date']!r}")


def _digest(cursors: Iterable[RowCursor], sequence: int, sums: RowSums) -> tuple[bytes, int, str]:
    """(digest of a batch's rows, its number of entries, which lines of which files these rows are)."""
    hashed, entry_count, spans = hashlib.sha256(), 0, []
    for cursor in cursors:
        first = last = 0
        for line, record in cursor.of_batch(sequence):
            first, last = first or line, line
            try:
                hashed.update(row_bytes(cursor.table, record))
                sums.add(cursor.table, record)
            except ValueError as error:
                name, _, what = str(error).partition(": ")
                raise EvidenceWrong(Fault(cursor.file, what, line, name, sequence)) from error
        if first:
            count = last - first + 1
            entry_count = count if cursor.table == "entries" else entry_count
            spans.append(
                f"{cursor.file} line {first}" if count == 1 else f"{cursor.file} lines {first} to {last}"
            )
    return hashed.digest(), entry_count, ", ".join(spans) or "no rows"
