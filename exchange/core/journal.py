"""Entries: points legs and money lines that prove each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from exchange.core.commands import Posted
from exchange.core.ids import POOL
from exchange.core.points import ESCROWED


class Leg(NamedTuple):
    """`points` of one lot that moved from one account to another; so the legs of an entry sum to zero.

    `prefunded_micros` is the lot's P, for the proof; the journal finds it through issuer and version.
    """

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


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted decision. Refuses to exist unless it proves itself (docs/ledger.md, Conservation).

    `points` is the headline figure and `rate_version` the posting partner's card (0 where none priced it).
    """

    command: Posted
    points: int
    rate_version: int
    legs: tuple[Leg, ...]
    lines: tuple[Line, ...]

    def __post_init__(self) -> None:
        """Raises `UnbalancedEntry`."""
        escrow = 0
        for leg in self.legs:
            if leg.points <= 0 or leg.from_account == leg.to_account:
                raise UnbalancedEntry(f"leg {leg}")
            if leg.to_account in ESCROWED:
                escrow += leg.points * leg.prefunded_micros
            if leg.from_account in ESCROWED:
                escrow -= leg.points * leg.prefunded_micros
        for line in self.lines:
            if line.micros <= 0 or line.payer_id == line.payee_id:
                raise UnbalancedEntry(f"line {line}")
            if line.payee_id == POOL:
                escrow -= line.micros
            elif line.payer_id == POOL:
                escrow += line.micros
        if escrow:
            raise UnbalancedEntry(f"the pool is out by {escrow} micros in {self}")


def line(payer: int, payer_component: str, payee: int, payee_component: str, micros: int) -> tuple[Line, ...]:
    """The line for `micros`, which runs backwards below zero and is none at zero or within one party."""
    if micros == 0 or payer == payee:
        return ()
    if micros < 0:
        return (Line(payee, payee_component, payer, payer_component, -micros),)
    return (Line(payer, payer_component, payee, payee_component, micros),)
