"""Points to date: what was issued, where it went, what is open, and the money that stands behind it.

Settlement adds up the journal's points legs, never balances the hub states, so that the proof of escrow and
of conservation starts from zero (docs/ledger.md, Conservation).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

SOURCES: Final = ("issued", "moved_in")
"""Accounts that points come from: what left them counts."""

STANDING: Final = ("open", "held")
"""Accounts of points that can still be used. The pool holds P for each of them."""

SINKS: Final = ("burned", "expired", "clawed_back", "absorbed", "moved_out")
"""Accounts that points end in."""

ACCOUNTS: Final = SOURCES + STANDING + SINKS


class UnknownAccount(ValueError):
    """The journal names an account of a lot that this version of settlement does not know."""


@dataclass(frozen=True, slots=True)
class LegSum:
    """All points legs of a window that agree in everything but the lot, added up.

    Attributes:
        issuer_id: the partner that issued the lots.
        from_account, to_account: of `ACCOUNTS`.
        funding_micros: F of the lots, micros a point.
        prefunded_micros: P of the lots, micros a point.
        points: the sum, positive.
        leg_count: how many legs it is the sum of.
    """

    issuer_id: str
    from_account: str
    to_account: str
    funding_micros: int
    prefunded_micros: int
    points: int
    leg_count: int

    def __post_init__(self) -> None:
        for name in (self.from_account, self.to_account):
            if name not in ACCOUNTS:
                raise UnknownAccount(
                    f"from_account, to_account: {name!r}, expected one of {', '.join(ACCOUNTS)}"
                )


@dataclass(frozen=True, slots=True)
class EntrySum:
    """All entries of a window, by what its batches say of themselves.

    Attributes:
        first_sequence, last_sequence: the outermost batches of the chain that have entries.
    """

    entry_count: int
    first_sequence: int
    last_sequence: int


@dataclass(frozen=True, slots=True)
class IssuerPoints:
    """One issuer's points from the first window to this one: each account's content.

    Attributes:
        issued, moved_in: points that left the sources.
        open, held, burned, expired, clawed_back, absorbed, moved_out: points in the other accounts.
        liability_micros: (open + held) x F over all lots.
        escrow_micros: (open + held) x P over all lots, the part of it that the pool must hold.
    """

    issuer_id: str
    issued: int = 0
    moved_in: int = 0
    open: int = 0
    held: int = 0
    burned: int = 0
    expired: int = 0
    clawed_back: int = 0
    absorbed: int = 0
    moved_out: int = 0
    liability_micros: int = 0
    escrow_micros: int = 0

    @property
    def points_in(self) -> int:
        """issued + moved in."""
        return self.issued + self.moved_in

    @property
    def points_out(self) -> int:
        """burned + expired + clawed back + absorbed + moved out."""
        return self.burned + self.expired + self.clawed_back + self.absorbed + self.moved_out

    @property
    def points_standing(self) -> int:
        """open + held."""
        return self.open + self.held

    @property
    def conserved(self) -> bool:
        """In = out + open + held, nothing below zero, and moves neither make nor lose points."""
        accounts = (getattr(self, name) for name in ACCOUNTS)
        balanced = self.points_in == self.points_out + self.points_standing
        return balanced and self.moved_in == self.moved_out and all(points >= 0 for points in accounts)


def roll_forward(before: Iterable[IssuerPoints], legs: Iterable[LegSum]) -> tuple[IssuerPoints, ...]:
    """Each issuer's points to date after a window, from those before it and the window's legs; by issuer."""
    totals: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for issuer in before:
        for name in (*ACCOUNTS, "liability_micros", "escrow_micros"):
            totals[issuer.issuer_id][name] = getattr(issuer, name)
    for leg in legs:
        _add(totals[leg.issuer_id], leg)
    return tuple(IssuerPoints(issuer_id, **totals[issuer_id]) for issuer_id in sorted(totals))


def _add(total: defaultdict[str, int], leg: LegSum) -> None:
    total[leg.to_account] += leg.points if leg.to_account not in SOURCES else -leg.points
    total[leg.from_account] += leg.points if leg.from_account in SOURCES else -leg.points
    standing = (leg.to_account in STANDING) - (leg.from_account in STANDING)
    total["liability_micros"] += standing * leg.points * leg.funding_micros
    total["escrow_micros"] += standing * leg.points * leg.prefunded_micros


STATED: Final = (
    ("issued", ("earn", "confirm_earn", "exchange_in", "adjust_earn")),
    ("burned", ("burn", "capture_burn", "confirm_exchange_out", "adjust_burn")),
    ("refunded", ("refund_burn", "adjust_refund_burn")),
)
"""Kinds of entries that state what their legs issue, burn, and take back out of what was burned."""


def stated_difference(stated: Mapping[str, int], moved: Iterable[tuple[str, str, int]]) -> str:
    """Which points that entries state are not those their legs moved; empty where all are.

    `stated` are the points of a window's entries by kind, `moved` those of its legs: (from account, to account,
    points).
    """
    legs = list(moved)
    by_legs = {
        "issued": sum(points for source, _, points in legs if source == "issued"),
        "burned": sum(points for _, target, points in legs if target == "burned"),
        "refunded": sum(points for source, _, points in legs if source == "burned"),
    }
    for name, kinds in STATED:
        found = sum(stated.get(kind, 0) for kind in kinds)
        if found != by_legs[name]:
            return f"the entries state {found} points {name}, the legs have {by_legs[name]}"
    return ""
