"""What is left when equal pairs are gone: each line and entry gets a name, and every total its explanation.

Pure. Lines and entries come in the order of the file and of the journal, and the first rule that applies decides:

1. lines and entries of one request id, then of one (kind, reference, part), are pairs; of several lines the first
   that equals the entry, else the first of all, is its pair, and the others are DUPLICATE
2. lines and entries of one reference whose kinds are stages of one deal are STATE_MISMATCH
3. a line alone: DUPLICATE of a line that has its entry; the late other side of an earlier break, which it clears;
   DUPLICATE of an entry of an earlier window that was reconciled; TIMING; REFUND_UNLINKED; MISSING_AT_HUB
4. an entry alone: the late other side of an earlier break; nothing, where it counts in no total; TIMING;
   MISSING_AT_PARTNER
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from datetime import datetime
from typing import Final

from settlement.core.break_types import NOTHING, BreakType, Controls
from settlement.core.findings import Carried, Classification, Cleared, Found, Surroundings
from settlement.core.kinds import ORIGINALS, same_deal
from settlement.core.matching import Entry, Key, Line, Rules, difference


def classify(
    lines: Iterable[Line], entries: Iterable[Entry], around: Surroundings, rules: Rules
) -> Classification:
    """Names every line and entry that has no equal other side. See the order above."""
    return _Desk(list(lines), list(entries), around, rules).work()


_WHOLE_DEAL: Final = (BreakType.WRONG_MEMBER, BreakType.STATE_MISMATCH)


class _Desk:
    """Lines and entries still to be named, and what was found of the others."""

    def __init__(self, lines: list[Line], entries: list[Entry], around: Surroundings, rules: Rules) -> None:
        self.lines, self.entries, self.around, self.rules = lines, entries, around, rules
        self.found: list[Found] = []
        self.cleared: list[Cleared] = []
        self.matched_count = 0
        self.twins: set[str | Key] = set(around.twins)
        self._seen: defaultdict[str, int] = defaultdict(int)
        self._carried = _index(around.carried)

    def work(self) -> Classification:
        self._pair(lambda line: line.request_id, lambda entry: entry.request_id)
        self._pair(lambda line: line.key, lambda entry: entry.key)
        self._pair_stages()
        for line in self.lines:
            self._alone(line)
        for entry in self.entries:
            self._unclaimed(entry)
        return Classification(tuple(self.found), tuple(self.cleared), self.matched_count)

    def _pair(self, of_line: Callable[[Line], Hashable], of_entry: Callable[[Entry], Hashable]) -> None:
        by_key: defaultdict[Hashable, list[Line]] = defaultdict(list)
        for line in self.lines:
            if _names_something(of_line(line)):
                by_key[of_line(line)].append(line)
        entries, self.entries = self.entries, []
        taken: set[int] = set()
        for entry in entries:
            claimants = [line for line in by_key.get(of_entry(entry), ()) if line.line_number not in taken]
            if not claimants:
                self.entries.append(entry)
                continue
            chosen = next((one for one in claimants if self._equal(one, entry)), claimants[0])
            self._pair_found(chosen, entry)
            for line in claimants:
                if line is not chosen:
                    self._line_break(BreakType.DUPLICATE, line, f"of line {chosen.line_number}")
            taken |= {line.line_number for line in claimants}
        self.lines = [line for line in self.lines if line.line_number not in taken]

    def _equal(self, line: Line, entry: Entry) -> bool:
        return difference(line, entry, self.rules) is None

    def _pair_found(self, line: Line, entry: Entry) -> None:
        self.twins |= {line.request_id, line.key}
        differs = difference(line, entry, self.rules)
        if differs is None:
            self.matched_count += 1
            return
        self._add(differs.type, differs.detail, line, entry, line.controls - entry.controls)

    def _pair_stages(self) -> None:
        by_reference: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries:
            by_reference[entry.reference].append(entry)
        lines, self.lines = self.lines, []
        taken: set[int] = set()
        for line in lines:
            other = next(
                (
                    entry
                    for entry in by_reference.get(line.reference, ())
                    if line.reference and id(entry) not in taken and same_deal(line.kind, entry.kind)
                ),
                None,
            )
            if other is None:
                self.lines.append(line)
            else:
                taken.add(id(other))
                self._pair_found(line, other)
        self.entries = [entry for entry in self.entries if id(entry) not in taken]

    def _alone(self, line: Line) -> None:
        names = [name for name in (line.request_id, line.key) if _names_something(name)]
        if not self.twins.isdisjoint(names):
            self._line_break(BreakType.DUPLICATE, line, "the file has this deal already")
            return
        self.twins.update(names)
        earlier = self._waiting(line, entry_side=True)
        if earlier and earlier.entry:
            self._late(earlier, line, earlier.entry)
            return
        posted = self.around.elsewhere.get(line.request_id) or self.around.elsewhere.get(line.key)
        if posted and posted.reconciled and posted.window_date < self.around.window_date:
            self._line_break(
                BreakType.DUPLICATE, line, f"of {posted.entry_id}, settled with {posted.window_date}"
            )
        elif posted:
            self._line_break(BreakType.TIMING, line, f"the hub has it on {posted.window_date}")
        elif self._near_cut_off(line.event_time):
            self._line_break(BreakType.TIMING, line, "near the cut-off")
        elif self._unlinked(line):
            self._line_break(BreakType.REFUND_UNLINKED, line, "the hub has no original of this reference")
        else:
            self._line_break(BreakType.MISSING_AT_HUB, line, "the hub does not have it")

    def _unlinked(self, line: Line) -> bool:
        originals = ORIGINALS.get(line.kind, ())
        known = self.around.originals
        return bool(originals) and not any((kind, line.reference) in known for kind in originals)

    def _unclaimed(self, entry: Entry) -> None:
        earlier = self._waiting(entry, entry_side=False)
        if earlier and earlier.line:
            self._late(earlier, earlier.line, entry)
        elif entry.controls == NOTHING:
            return
        elif self._near_cut_off(entry.event_time):
            self._entry_break(BreakType.TIMING, entry, "near the cut-off")
        else:
            self._entry_break(BreakType.MISSING_AT_PARTNER, entry, "the file does not have it")

    def _near_cut_off(self, moment: datetime) -> bool:
        cut_offs = (self.around.begin_time, self.around.end_time)
        return any(abs(moment - cut_off) <= self.rules.time_tolerance for cut_off in cut_offs)

    def _waiting(self, side: Line | Entry, *, entry_side: bool) -> Carried | None:
        """Takes the carried break that waits for this side, if there is one."""
        for name in (side.request_id, side.key):
            carried = self._carried.get((entry_side, name))
            if carried and _names_something(name):
                for alias in (carried.side.request_id, carried.side.key):
                    self._carried.pop((entry_side, alias), None)
                return carried
        return None

    def _late(self, carried: Carried, line: Line, entry: Entry) -> None:
        """Both sides are there, a window apart: the earlier break counts back, what differs is a break of its own."""
        self.cleared.append(Cleared(carried.break_id, -carried.controls))
        differs = difference(line, entry, self.rules)
        if differs is None:
            self.matched_count += 1
            return
        detail = f"{differs.detail}; the other side came with {self.around.window_date}"
        self._add(differs.type, detail, line, entry, line.controls - entry.controls)

    def _line_break(self, kind: BreakType, line: Line, detail: str) -> None:
        self._add(kind, detail, line, None, line.controls)

    def _entry_break(self, kind: BreakType, entry: Entry, detail: str) -> None:
        self._add(kind, detail, None, entry, -entry.controls)

    def _add(
        self, kind: BreakType, detail: str, line: Line | None, entry: Entry | None, apart: Controls
    ) -> None:
        at_stake = apart
        if kind in _WHOLE_DEAL or (kind is BreakType.WRONG_STORE and not apart):
            at_stake = max((side.controls for side in (line, entry) if side), key=_size)
        rounding = kind is BreakType.ROUNDING and self.rules.auto_resolve_rounding
        key = self._key(kind, line or entry, apart)
        self.found.append(Found(kind, key, detail, line, entry, apart, at_stake, rounding))

    def _key(self, kind: BreakType, side: Line | Entry | None, apart: Controls) -> str:
        assert side is not None, "a break has at least one side"
        name = side.request_id or ":".join(map(str, side.key))
        amounts = (apart.earned_points, apart.burned_points, apart.claimed_micros, apart.owed_micros)
        key = f"{self.around.window_date}/{kind.value}/{name}/{','.join(map(str, amounts))}"
        self._seen[key] += 1
        return key if self._seen[key] == 1 else f"{key}/{self._seen[key]}"


def _size(controls: Controls) -> tuple[int, int]:
    return controls.amount_at_stake_micros, controls.points_at_stake


def _names_something(name: Hashable) -> bool:
    """Whether a request id, or the reference of a key, is stated at all."""
    return bool(name[1] if isinstance(name, tuple) else name)


def _index(carried: Iterable[Carried]) -> dict[tuple[bool, Hashable], Carried]:
    """Carried breaks by whether their entry is there, and by each of their names; the oldest first."""
    found: dict[tuple[bool, Hashable], Carried] = {}
    for one in sorted(carried, key=lambda it: (it.window_date, it.break_id)):
        for name in (one.side.request_id, one.side.key):
            found.setdefault((one.entry is not None, name), one)
    return found
