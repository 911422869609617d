"""Lots: points of one issuer, at one price, with one last usable day, in one member's account."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Final, NamedTuple


class LotKey(NamedTuple):
    """What makes a lot one row for ever."""

    member_id: int
    issuer_id: int
    rate_version: int
    expiry_date: date


class LotPlace(NamedTuple):
    """Where a lot is: the member and the lot's number within the member's account."""

    member_id: int
    lot_sequence: int


RARE_COUNTERS: Final = (
    *("moved_in_points", "held_points", "expired_points", "clawed_back_points", "absorbed_points"),
    *("moved_out_points", "transferred_points", "deficit_raised_points"),
)
"""A lot's counters that earns and burns leave alone, as a rule."""

NOTHING_RARE: Final = (0,) * len(RARE_COUNTERS)


@dataclass(slots=True)
class Lot:
    """One lot as a batch sees it. Mutable, because it belongs to the batch's book.

    Always: issued + moved in = open + held + burned + expired + clawed back + absorbed + moved out. Two counters
    are no accounts: `transferred_points` is the part of moved out that left by transfer, `deficit_raised_points`
    what claw backs of this lot's points made the member owe.
    """

    member_id: int
    lot_sequence: int
    issuer_id: int
    rate_version: int
    expiry_date: date
    funding_micros: int
    prefunded_micros: int
    issued_points: int = 0
    moved_in_points: int = 0
    open_points: int = 0
    held_points: int = 0
    burned_points: int = 0
    expired_points: int = 0
    clawed_back_points: int = 0
    absorbed_points: int = 0
    moved_out_points: int = 0
    transferred_points: int = 0
    deficit_raised_points: int = 0
    created: bool = False
    changed: bool = False
    stored: tuple[int, ...] = field(default=NOTHING_RARE, compare=False)
    """The rare counters as they were loaded."""

    @property
    def place(self) -> LotPlace:
        """Where the lot is."""
        return LotPlace(self.member_id, self.lot_sequence)

    @property
    def used_points(self) -> int:
        """Points that somebody had the good of and that no deficit was raised for yet (docs/ledger.md, Claw back)."""
        used = self.held_points + self.burned_points + self.absorbed_points + self.transferred_points
        return used - self.deficit_raised_points


GRACE: Final = "grace"
MERGE: Final = "merge"
UNMERGE: Final = "unmerge"


class LotMove(NamedTuple):
    """Points that went from one row to another of the same issuer and version, and why.

    `batch_id` and `entry_index` name the entry whose move it was: for `merge` always the merge itself, also where
    points arrived through the merged member later.
    """

    source: LotPlace
    target: LotPlace
    batch_id: int
    entry_index: int
    why: str
    points: int
    move_id: int = 0
    """Its place among all moves; 0 for one of this very batch."""


def consumption_order(lot: Lot) -> tuple[date, int]:
    """The key that sorts lots the way they are spent: by expiry day, never last, then by sequence."""
    return lot.expiry_date, lot.lot_sequence
