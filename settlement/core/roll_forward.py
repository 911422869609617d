"""Liability roll-forward: how each issuer's outstanding points, and the money behind them, came to be what they are.

> opening + issued - burned + refunded - expired - clawed back - absorbed + moved in - moved out = closing

for points, for the liability (points x F) and for the escrow (points x P). Outstanding points are those that are
open or held. Adjustments stand in the kind of movement they make (docs/settlement.md, Liability roll-forward).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from settlement.core.points import STANDING, IssuerPoints, LegSum

MOVEMENTS: Final[Mapping[str, int]] = {
    "issued": 1,
    "burned": -1,
    "refunded": 1,
    "expired": -1,
    "clawed_back": -1,
    "absorbed": -1,
    "moved_in": 1,
    "moved_out": -1,
}
"""Every movement, in the order in which a roll-forward shows them, and whether it adds (1) or takes away (-1)."""


@dataclass(frozen=True, slots=True)
class RollForward:
    """One measure of one issuer over one window or several.

    Attributes:
        measure: `points`; or `liability` or `escrow`, both in micros.
        moved: by the names of MOVEMENTS, each 0 or above.
    """

    issuer_id: str
    measure: str
    opening: int
    moved: Mapping[str, int]
    closing: int

    @property
    def difference(self) -> int:
        """closing less what opening and movements come to; 0 where it closes."""
        return self.closing - self.opening - sum(sign * self.moved[name] for name, sign in MOVEMENTS.items())


_MEASURES: Final[Mapping[str, tuple[Callable[[IssuerPoints], int], Callable[[LegSum], int]]]] = {
    "points": (lambda it: it.points_standing, lambda leg: leg.points),
    "liability": (lambda it: it.liability_micros, lambda leg: leg.points * leg.funding_micros),
    "escrow": (lambda it: it.escrow_micros, lambda leg: leg.points * leg.prefunded_micros),
}
"""What stands of each measure, and what a leg moves of it."""


def roll_forwards(
    before: Iterable[IssuerPoints], legs: Iterable[LegSum], after: Iterable[IssuerPoints]
) -> tuple[RollForward, ...]:
    """The roll-forwards of every issuer from what stood before some windows to what stands after them.

    `legs` are the points legs of all these windows. Three measures an issuer, by issuer.
    """
    opening, closing = {it.issuer_id: it for it in before}, {it.issuer_id: it for it in after}
    posted = tuple(legs)
    issuers = sorted(opening.keys() | closing.keys() | {leg.issuer_id for leg in posted})
    return tuple(
        _one(
            measure,
            opening.get(issuer, IssuerPoints(issuer)),
            [leg for leg in posted if leg.issuer_id == issuer],
            closing.get(issuer, IssuerPoints(issuer)),
        )
        for issuer in issuers
        for measure in _MEASURES
    )


def totals(found: Iterable[RollForward], measure: str, name: str) -> RollForward:
    """All issuers' roll-forwards of one measure added up, under `name`."""
    rows = [row for row in found if row.measure == measure]
    return RollForward(
        issuer_id=name,
        measure=measure,
        opening=sum(row.opening for row in rows),
        moved={movement: sum(row.moved[movement] for row in rows) for movement in MOVEMENTS},
        closing=sum(row.closing for row in rows),
    )


def roll_forward_content(row: RollForward) -> dict[str, object]:
    """A roll-forward as plain data."""
    return {
        "issuer_id": row.issuer_id,
        "measure": row.measure,
        "opening": row.opening,
        **row.moved,
        "closing": row.closing,
        "difference": row.difference,
    }


def _one(measure: str, opening: IssuerPoints, legs: Iterable[LegSum], closing: IssuerPoints) -> RollForward:
    standing, amount = _MEASURES[measure]
    moved = dict.fromkeys(MOVEMENTS, 0)
    for leg in legs:
        movement = _movement(leg.from_account, leg.to_account)
        if movement:
            moved[movement] += amount(leg)
    return RollForward(opening.issuer_id, measure, standing(opening), moved, standing(closing))


def _movement(from_account: str, to_account: str) -> str:
    """Under which movement a leg counts; empty where it is none, such as the setting aside of a hold."""
    if from_account in STANDING:
        return "" if to_account in STANDING else to_account
    if to_account not in STANDING:
        return ""
    return "refunded" if from_account == "burned" else from_account
