"""What comparing a partner's file with the journal goes by, and what it finds: breaks, and those that are cleared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from settlement.core.break_types import NOTHING, BreakType, Controls
from settlement.core.matching import Entry, Key, Line


@dataclass(frozen=True, slots=True)
class Posted:
    """An entry of another window. `reconciled`: the partner's file of that window was."""

    window_date: date
    entry_id: str
    reconciled: bool


@dataclass(frozen=True, slots=True)
class Carried:
    """A break of an earlier window with one side only, waiting for the other."""

    break_id: int
    window_date: date
    line: Line | None
    entry: Entry | None
    controls: Controls

    @property
    def side(self) -> Line | Entry:
        """The side that is there."""
        side = self.line or self.entry
        assert side is not None, "a break has at least one side"
        return side


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the classification of a window and partner has to know beside their unequal rows.

    Attributes:
        begin_time, end_time: the window's cut-offs.
        elsewhere: entries of other windows, by the request id or key of a line that has none in this window.
        originals: (kind, reference) of originals the hub has, of the references that refunds and claw backs name.
        twins: request ids and keys under which the file has another line, with its entry.
        carried: breaks of earlier windows that wait for their other side.
    """

    window_date: date
    begin_time: datetime
    end_time: datetime
    elsewhere: Mapping[str | Key, Posted] = field(default_factory=dict)
    originals: frozenset[tuple[str, str]] = frozenset()
    twins: frozenset[str | Key] = frozenset()
    carried: tuple[Carried, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A break.

    Attributes:
        key: names it among the partner's breaks, the same in every run over the same records.
        controls: its part of the difference of the four totals, partner less hub.
        at_stake: what it is about: the difference, or the whole deal where the deal is another's.
        resolved: it needs nobody.
    """

    type: BreakType
    key: str
    detail: str
    line: Line | None
    entry: Entry | None
    controls: Controls
    at_stake: Controls
    resolved: bool = False


@dataclass(frozen=True, slots=True)
class Cleared:
    """An earlier break whose other side turned up: it counts in this window the other way round."""

    break_id: int
    controls: Controls


@dataclass(frozen=True, slots=True)
class Classification:
    """What the differences of a window and partner are. `matched_count`: pairs that turned out equal."""

    found: tuple[Found, ...]
    cleared: tuple[Cleared, ...]
    matched_count: int

    @property
    def controls(self) -> Controls:
        """The sum of all that is explained."""
        parts = (*(one.controls for one in self.found), *(one.controls for one in self.cleared))
        return sum(parts, start=NOTHING)


@dataclass(frozen=True, slots=True)
class ControlSet:
    """The four controls of a window and partner: what each side says, and what of the difference is explained."""

    partner: Controls
    hub: Controls
    classified: Controls

    @property
    def difference(self) -> Controls:
        """Partner less hub."""
        return self.partner - self.hub

    @property
    def unexplained(self) -> Controls:
        """What no break explains. A window is certified only while it is nothing."""
        return self.difference - self.classified

    @property
    def explained(self) -> bool:
        """Whether nothing is left."""
        return self.unexplained == NOTHING
