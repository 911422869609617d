"""Entries: points legs and money lines that prove each other."""

from __future__ import annotations

from typing import NamedTuple, Self

from exchange.core.commands import Posted
from exchange.core.ids import POOL
from exchange.core.points import ESCROWED, MOVED_IN, MOVED_OUT
from exchange.core.record import make


class Leg(NamedTuple):
    """`points` of one lot that moved from one account to another; so the legs of an entry sum to zero.

    Between two lots points move twice: out of the one (`open` to `moved_out`) and into the other (`moved_in` to
    `open`). `prefunded_micros` is the lot's P, for the proof; the journal finds it through issuer and version.
    """

    member_id: int
    lot_sequence: int
    issuer_id: int
    rate_version: int
    from_account: str
    to_account: str
    points: int
    prefunded_micros: int


class Line(NamedTuple):
    """`micros` that one party owes another; so the lines of an entry sum to zero."""

    payer_id: int
    payer_component: str
    payee_id: int
    payee_component: str
    micros: int


class UnbalancedEntry(AssertionError):
    """An entry whose legs and lines do not prove each other: a defect of ours, never of a caller's."""


class _EntryFields(NamedTuple):
    command: Posted
    points: int
    rate_version: int
    legs: tuple[Leg, ...]
    lines: tuple[Line, ...]
    original: tuple[int, int] | None = None
    spend_minor: int = 0
    native_points: int = 0


class Entry(_EntryFields):
    """One accepted decision. Refuses to exist unless it proves itself (docs/ledger.md, Conservation).

    `points` is the headline figure and `rate_version` the posting partner's card (0 where none priced it).
    `original` is the entry that this one follows, as (batch id, index); spend is in minor units.
    """

    __slots__ = ()

    def __new__(
        cls,
        command: Posted,
        points: int,
        rate_version: int,
        legs: tuple[Leg, ...],
        lines: tuple[Line, ...],
        original: tuple[int, int] | None = None,
        spend_minor: int = 0,
        native_points: int = 0,
    ) -> Self:
        """Raises `UnbalancedEntry`."""
        _prove(points, legs, lines)
        return make(cls, (command, points, rate_version, legs, lines, original, spend_minor, native_points))


def _prove(points: int, legs: tuple[Leg, ...], lines: tuple[Line, ...]) -> None:
    if points < 0:
        raise UnbalancedEntry(f"{points} points")
    escrow = _escrow_change(legs)
    for payer_id, _, payee_id, _, micros in lines:
        if micros <= 0 or payer_id == payee_id:
            raise UnbalancedEntry(f"{micros} micros from {payer_id} to {payee_id}")
        if payee_id == POOL:
            escrow -= micros
        elif payer_id == POOL:
            escrow += micros
    if escrow:
        raise UnbalancedEntry(f"the pool is out by {escrow} micros: {legs}, {lines}")


def _escrow_change(legs: tuple[Leg, ...]) -> int:
    """Micros by which the legs change what the pool is to hold; every point that moves out moves in."""
    escrow = moved = 0
    for _, _, _, _, from_account, to_account, points, prefunded_micros in legs:
        if points <= 0 or from_account == to_account:
            raise UnbalancedEntry(f"{points} points from {from_account} to {to_account}")
        if to_account in ESCROWED:
            escrow += points * prefunded_micros
        elif to_account == MOVED_OUT:
            moved += points
        if from_account in ESCROWED:
            escrow -= points * prefunded_micros
        elif from_account == MOVED_IN:
            moved -= points
    if moved:
        raise UnbalancedEntry(f"{moved} points moved out of one lot and into no other: {legs}")
    return escrow


def line(payer: int, payer_component: str, payee: int, payee_component: str, micros: int) -> tuple[Line, ...]:
    """The line for `micros`, which runs backwards below zero and is none at zero or within one party."""
    if micros == 0 or payer == payee:
        return ()
    if micros < 0:
        return (Line(payee, payee_component, payer, payer_component, -micros),)
    return (Line(payer, payer_component, payee, payee_component, micros),)
