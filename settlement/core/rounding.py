"""Rounding carried to date: what a window settles in minor units, so that small amounts are never lost.

A statement line is round(exact to date) less what was settled so far (docs/settlement.md). Hence fees too
small to bill wait until their sum to date rounds to a minor unit, and the settled lines of any run of
windows add up to the rounded whole. What the roundings leave over is booked to an account of its own,
`ROUNDING`, which the operator bears: so the sum over all parties is exactly 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from settlement.core.amounts import round_half_up
from settlement.core.netting import NO_MOVEMENT, Movement, Pair
from settlement.core.parties import OPERATOR, POOL, party_order

ESCROW: Final = "ESCROW"
"""The pool's only statement line: its cash is rounded once, as one figure, not by component."""

ROUNDING: Final = "ROUNDING"
"""The operator's statement line that takes what all other roundings leave over."""

ROUNDING_PAIR: Final[Pair] = (OPERATOR, ROUNDING)


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One component of one party's statement in one window. Positive amounts are received, negative paid.

    Attributes:
        line_count: money lines of this window behind it; 0 where only the balance to date is carried on.
        exact_micros: the window's exact amount.
        amount_minor: what the window settles.
        exact_to_date_micros, amount_to_date_minor: both added up from the first window to this one.
    """

    party_id: str
    component: str
    line_count: int
    exact_micros: int
    amount_minor: int
    exact_to_date_micros: int
    amount_to_date_minor: int

    @property
    def pair(self) -> Pair:
        """(party id, component)."""
        return self.party_id, self.component

    @property
    def moved(self) -> bool:
        """Whether the window has anything to say on this line."""
        return self.line_count > 0 or self.amount_minor != 0


def settle_lines(
    before: Iterable[StatementLine], moved: Mapping[Pair, Movement], unit_micros: int
) -> tuple[StatementLine, ...]:
    """Every statement line of a window: those that moved and, carried on, those of the window before.

    `before` are all lines of the previous window (none before the first), `moved` the window's exact
    movements, `unit_micros` the micros of one minor unit. Ordered by party and component.
    """
    carried = {line.pair: line for line in before}
    merged = _with_pool_as_one(moved)
    pairs = (carried.keys() | merged.keys()) - {ROUNDING_PAIR}
    lines = [_settled(pair, carried.get(pair), merged.get(pair, NO_MOVEMENT), unit_micros) for pair in pairs]
    lines.append(_rounding_line(lines, carried.get(ROUNDING_PAIR)))
    return tuple(sorted(lines, key=lambda line: (party_order(line.party_id), line.component)))


def _with_pool_as_one(moved: Mapping[Pair, Movement]) -> dict[Pair, Movement]:
    merged: dict[Pair, Movement] = {}
    for (party_id, component), movement in moved.items():
        pair = (POOL, ESCROW) if party_id == POOL else (party_id, component)
        merged[pair] = merged.get(pair, NO_MOVEMENT).plus(movement.exact_micros, movement.line_count)
    return merged


def _settled(pair: Pair, before: StatementLine | None, moved: Movement, unit_micros: int) -> StatementLine:
    exact_before = before.exact_to_date_micros if before else 0
    amount_before = before.amount_to_date_minor if before else 0
    exact_to_date = exact_before + moved.exact_micros
    amount_to_date = round_half_up(exact_to_date, unit_micros)
    return StatementLine(
        party_id=pair[0],
        component=pair[1],
        line_count=moved.line_count,
        exact_micros=moved.exact_micros,
        amount_minor=amount_to_date - amount_before,
        exact_to_date_micros=exact_to_date,
        amount_to_date_minor=amount_to_date,
    )


def _rounding_line(others: Iterable[StatementLine], before: StatementLine | None) -> StatementLine:
    amount = -sum(line.amount_minor for line in others)
    return StatementLine(
        party_id=OPERATOR,
        component=ROUNDING,
        line_count=0,
        exact_micros=0,
        amount_minor=amount,
        exact_to_date_micros=0,
        amount_to_date_minor=amount + (before.amount_to_date_minor if before else 0),
    )


@dataclass(frozen=True, slots=True)
class RoundingBounds:
    """How much rounding a history has left over, and the most it may be.

    To date each (party, component) pair is off by at most half a minor unit; within a window a line is off
    by at most one, the difference of two such halves. The pool counts as one pair.

    Attributes:
        to_date_minor, window_minor: what `ROUNDING` holds.
        pair_count: pairs that ever moved.
        line_count: pairs that moved in the window.
    """

    to_date_minor: int
    pair_count: int
    window_minor: int
    line_count: int

    @property
    def holds_to_date(self) -> bool:
        """|rounding to date| <= 0.5 minor unit x pairs."""
        return 2 * abs(self.to_date_minor) <= self.pair_count

    @property
    def holds_in_window(self) -> bool:
        """|rounding of the window| <= 1 minor unit x lines."""
        return abs(self.window_minor) <= self.line_count


def rounding_bounds(lines: Iterable[StatementLine]) -> RoundingBounds:
    """The bounds of one window's lines, as `settle_lines` gave them."""
    settled = {line.pair: line for line in lines}
    rounding = settled.pop(ROUNDING_PAIR)
    return RoundingBounds(
        to_date_minor=rounding.amount_to_date_minor,
        pair_count=len(settled),
        window_minor=rounding.amount_minor,
        line_count=sum(1 for line in settled.values() if line.line_count),
    )
