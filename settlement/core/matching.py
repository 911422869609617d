"""One line of a partner's file against one entry of the hub: what is compared, and what a difference is called.

Rules are data, a set for each partner. The order in which a difference is named stands in `difference`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final

from settlement.core.break_types import NOTHING, BreakType, Controls
from settlement.core.kinds import STATES, controls_of

Key = tuple[str, str, int]
"""Kind, reference and part: what names a deal beside its request id."""

COMPARABLE: Final = ("member_id", "store_id", "rate_version", "state")
"""What rules may leave out. Kind, points and money are always compared."""


class RulesInvalid(ValueError):
    """Rules say something that cannot be; `str()` names the entry."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a partner's file is compared.

    Attributes:
        compared: which of COMPARABLE count, where the file states them.
        time_tolerance_minutes: how near the cut-off an event of one side only is a matter of timing.
        rounding_micros: up to this much money is ROUNDING.
        auto_resolve_rounding: whether ROUNDING is resolved at once.
        break_limit: with more lines and entries without their other side, the file is taken for a wrong one.
    """

    compared: tuple[str, ...] = COMPARABLE
    time_tolerance_minutes: int = 30
    rounding_micros: int = 10_000
    auto_resolve_rounding: bool = True
    break_limit: int = 100_000

    @property
    def time_tolerance(self) -> timedelta:
        """The tolerance as a length of time."""
        return timedelta(minutes=self.time_tolerance_minutes)


def read_rules(content: object, default: Rules) -> Rules:
    """The rules a profile's JSON says, the rest by default. Raises RulesInvalid.

    What is ROUNDING resolves itself, so a profile may make `rounding_micros` smaller than the default, not larger.
    """
    if not isinstance(content, dict):
        raise RulesInvalid("rules: must be an object")
    known = {field.name for field in fields(Rules)}
    for name, value in content.items():
        if name not in known:
            raise RulesInvalid(f"rules.{name}: is no rule")
        _check_rule(name, value, _HIGHEST | {"rounding_micros": default.rounding_micros})
    given = dict(content)
    if "compared" in given:
        given["compared"] = tuple(given["compared"])
    return replace(default, **given)


def _check_rule(name: str, value: object, highest: Mapping[str, int]) -> None:
    if name == "compared":
        good = isinstance(value, list) and all(one in COMPARABLE for one in value)
        expected = f"a list of {', '.join(COMPARABLE)}"
    elif name == "auto_resolve_rounding":
        good, expected = isinstance(value, bool), "true or false"
    else:
        good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest[name]
        expected = f"a whole number of 0 to {highest[name]:,}"
    if not good:
        raise RulesInvalid(f"rules.{name}: must be {expected}")


_HIGHEST: Final = {"time_tolerance_minutes": 720, "break_limit": 1_000_000}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a partner's file. Empty texts and None are what it does not state."""

    line_number: int
    request_id: str
    kind: str
    reference: str
    part: int | None
    event_time: datetime
    member_id: str
    store_id: str
    terminal_id: str
    points: int
    claimed_micros: int
    owed_micros: int
    rate_version: int | None
    state: str

    @property
    def key(self) -> Key:
        """What names it where its request id does not."""
        return self.kind, self.reference, self.part or 0

    @property
    def controls(self) -> Controls:
        """What it counts in the four totals."""
        return controls_of(self.kind, self.points, self.claimed_micros, self.owed_micros)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the hub's journal as one partner sees it: what it is to receive and to pay for it.

    `fee_micros` is the part of `owed_micros` that is the operator's fee.
    """

    batch_sequence: int
    entry_index: int
    entry_id: str
    request_id: str
    kind: str
    reference: str
    part: int
    event_time: datetime
    member_id: str
    store_id: str
    terminal_id: str
    points: int
    claimed_micros: int
    owed_micros: int
    fee_micros: int
    rate_version: int

    @property
    def key(self) -> Key:
        """As `Line.key`."""
        return self.kind, self.reference, self.part

    @property
    def controls(self) -> Controls:
        """What it counts in the four totals."""
        return controls_of(self.kind, self.points, self.claimed_micros, self.owed_micros)


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between a line and its entry, in a word and in words."""

    type: BreakType
    detail: str


def difference(line: Line, entry: Entry, rules: Rules) -> Difference | None:
    """What differs, named by the first that applies; None where nothing does.

    Identity goes first (member, store), then what became of the deal, then what it was priced by, then amounts:
    points, the unit, a fen of rounding, the fee, any other money.
    """
    if line.kind != entry.kind:
        return Difference(BreakType.STATE_MISMATCH, f"{line.kind} in the file, {entry.kind} at the hub")
    if "member_id" in rules.compared and line.member_id and line.member_id != entry.member_id:
        return Difference(
            BreakType.WRONG_MEMBER, f"{line.member_id} in the file, {entry.member_id} at the hub"
        )
    if "store_id" in rules.compared and line.store_id and line.store_id != entry.store_id:
        return Difference(BreakType.WRONG_STORE, f"{line.store_id} in the file, {entry.store_id} at the hub")
    if "state" in rules.compared and line.state and line.state not in STATES.get(entry.kind, ()):
        return Difference(BreakType.STATE_MISMATCH, f"{line.state} in the file, {entry.kind} at the hub")
    if "rate_version" in rules.compared and line.rate_version not in (None, entry.rate_version):
        return Difference(
            BreakType.RATE_VERSION_MISMATCH,
            f"version {line.rate_version} in the file, {entry.rate_version} at the hub",
        )
    return _amount_difference(line, entry, rules)


def _amount_difference(line: Line, entry: Entry, rules: Rules) -> Difference | None:
    if line.points != entry.points:
        return Difference(BreakType.AMOUNT_MISMATCH, f"points {line.points:+,} against {entry.points:+,}")
    apart = line.controls - entry.controls
    if apart == NOTHING:
        return None
    if _other_unit(line, entry):
        return Difference(
            BreakType.AMOUNT_MISMATCH, "unit: the money is 100 times or a hundredth of the hub's"
        )
    if apart.amount_at_stake_micros <= rules.rounding_micros:
        return Difference(BreakType.ROUNDING, f"{apart.amount_at_stake_micros} micros apart")
    if (
        not apart.claimed_micros
        and 0 <= line.owed_micros - (entry.owed_micros - entry.fee_micros) <= 2 * entry.fee_micros
    ):
        return Difference(
            BreakType.FEE_VARIANCE, f"fee {apart.owed_micros:+,} micros against {entry.fee_micros:,}"
        )
    return Difference(
        BreakType.AMOUNT_MISMATCH,
        f"money: claimed {apart.claimed_micros:+,}, owed {apart.owed_micros:+,} micros",
    )


def _other_unit(line: Line, entry: Entry) -> bool:
    """All money a hundred times, or a hundredth, of what it is at the hub: yuan taken for fen or the reverse."""
    ours = (entry.claimed_micros, entry.owed_micros)
    theirs = (line.claimed_micros, line.owed_micros)
    return theirs == tuple(100 * micros for micros in ours) or ours == tuple(
        100 * micros for micros in theirs
    )


_LINE_FIELDS: Final = tuple(field.name for field in fields(Line))
_ENTRY_FIELDS: Final = tuple(field.name for field in fields(Entry))


def line_content(line: Line) -> dict[str, Any]:
    """A line as plain data."""
    return {name: getattr(line, name) for name in _LINE_FIELDS} | {"event_time": line.event_time.isoformat()}


def entry_content(entry: Entry) -> dict[str, Any]:
    """An entry as plain data."""
    return {name: getattr(entry, name) for name in _ENTRY_FIELDS} | {
        "event_time": entry.event_time.isoformat()
    }


def line_from(content: Mapping[str, Any]) -> Line:
    """A line of its plain data."""
    return Line(**{**content, "event_time": datetime.fromisoformat(content["event_time"])})


def entry_from(content: Mapping[str, Any]) -> Entry:
    """An entry of its plain data."""
    return Entry(**{**content, "event_time": datetime.fromisoformat(content["event_time"])})
