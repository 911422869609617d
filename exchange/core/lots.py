"""Lots: points of one issuer, at one price, with one last usable day, in one member's account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple


class LotKey(NamedTuple):
    """What makes a lot one row for ever."""

    member_id: int
    issuer_id: int
    rate_version: int
    expiry_date: date


@dataclass(slots=True)
class Lot:
    """One lot as a batch sees it. Mutable, because it belongs to the batch's book.

    Always: issued + moved in = open + held + burned + expired + clawed back + absorbed + moved out.
    """

    member_id: int
    lot_sequence: int
    issuer_id: int
    rate_version: int
    expiry_date: date
    funding_micros: int
    prefunded_micros: int
    issued_points: int = 0
    open_points: int = 0
    held_points: int = 0
    burned_points: int = 0
    expired_points: int = 0
    created: bool = False
    changed: bool = False


def consumption_order(lot: Lot) -> tuple[date, int]:
    """The key that sorts lots the way they are spent: by expiry day, never last, then by sequence."""
    return lot.expiry_date, lot.lot_sequence
