"""The whole history counted a second way: one sum over every money line against all statements together.

Windows, runs and roundings carried from day to day have no part in the second count, so a line that was settled
twice, in no window or in two, or a fen that went lost on the way, shows up as a difference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from settlement.core.amounts import round_half_up
from settlement.core.netting import NO_MOVEMENT, Movement, Pair, bilateral_counterparty
from settlement.core.parties import POOL
from settlement.core.rounding import ESCROW, ROUNDING_PAIR

EVERYTHING = "everything"
"""In place of a component: all of a party's lines together."""


@dataclass(frozen=True, slots=True)
class SettledLine:
    """One statement line over all windows: each figure is the sum of the windows' own."""

    party_id: str
    component: str
    line_count: int
    exact_micros: int
    amount_minor: int

    @property
    def pair(self) -> Pair:
        """(party id, component)."""
        return self.party_id, self.component


class HistoryDiffers(Exception):
    """The journal's money lines do not add up to what all windows settled; `str()` says where."""


def history_difference(
    counted: Mapping[Pair, Movement], settled: Iterable[SettledLine], unit_micros: int
) -> str:
    """The first difference between one sum over the journal and all statements; empty where there is none.

    A party with a bilateral contract is compared as a whole, because the contract's line takes from all of its
    components.
    """
    lines = sorted(settled, key=lambda line: line.pair)
    as_one = {line.party_id for line in lines if bilateral_counterparty(line.component)}
    journal = _merged(((pair, movement) for pair, movement in counted.items()), as_one)
    statements = _merged(
        ((line.pair, Movement(line.exact_micros, line.line_count)) for line in lines), as_one
    )
    for pair in sorted(journal.keys() | statements.keys()):
        one, other = journal.get(pair, NO_MOVEMENT), statements.get(pair, NO_MOVEMENT)
        if one != other:
            return (
                f"{' '.join(pair)}: the journal has {one.exact_micros} micros in {one.line_count} money lines,"
                f" the statements {other.exact_micros} in {other.line_count}"
            )
    for line in lines:
        rounded = round_half_up(line.exact_micros, unit_micros)
        if line.pair != ROUNDING_PAIR and line.amount_minor != rounded:
            return f"{' '.join(line.pair)}: settled {line.amount_minor} minor units, exactly it rounds to {rounded}"
    total = sum(line.amount_minor for line in lines)
    return f"all parties together settled {total} minor units, not 0" if total else ""


def _merged(movements: Iterable[tuple[Pair, Movement]], as_one: set[str]) -> dict[Pair, Movement]:
    """By line of a statement: the pool has one, and so have here the parties of `as_one`."""
    found: defaultdict[Pair, Movement] = defaultdict(Movement)
    for (party_id, component), movement in movements:
        whole = {POOL: ESCROW}.get(party_id) or (EVERYTHING if party_id in as_one else component)
        found[party_id, whole] = found[party_id, whole].plus(movement.exact_micros, movement.line_count)
    return {pair: movement for pair, movement in found.items() if movement != NO_MOVEMENT}
