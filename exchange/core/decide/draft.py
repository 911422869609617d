"""An entry in the making: its legs and lines, and the balances that change with them."""

from __future__ import annotations

from typing import Final

from exchange.core.accounts import Wallet
from exchange.core.book import Book
from exchange.core.commands import Posted
from exchange.core.journal import Entry, Leg, Line
from exchange.core.lots import Lot, LotMove
from exchange.core.originals import Original
from exchange.core.points import HELD, MOVED_IN, MOVED_OUT, OPEN, SOURCES
from exchange.core.record import make

_COUNTERS: Final = {
    account: f"{account}_points"
    for account in (
        *("issued", "moved_in", "open", "held", "burned", "expired", "clawed_back", "absorbed", "moved_out"),
    )
}


class Draft:
    """Legs and lines, in the order in which they are to stand in the journal."""

    __slots__ = ("legs", "lines")

    def __init__(self) -> None:
        self.legs: list[Leg] = []
        self.lines: list[Line] = []

    def move(self, wallet: Wallet, lot: Lot, from_account: str, to_account: str, points: int) -> None:
        """A leg within one lot, with the lot's and the wallet's balances. `points` is above 0."""
        source, target = _COUNTERS[from_account], _COUNTERS[to_account]
        left = getattr(lot, source) + (points if from_account in SOURCES else -points)
        assert left >= 0, f"{source} of {lot} would be {left}"
        setattr(lot, source, left)
        setattr(lot, target, getattr(lot, target) + points)
        if to_account == OPEN:
            wallet.open_points += points
        elif to_account == HELD:
            wallet.held_points += points
        if from_account == OPEN:
            wallet.open_points -= points
        elif from_account == HELD:
            wallet.held_points -= points
        lot.changed = wallet.changed = True
        self.legs.append(
            make(
                Leg,
                (
                    lot.member_id,
                    lot.lot_sequence,
                    lot.issuer_id,
                    lot.rate_version,
                    from_account,
                    to_account,
                    points,
                    lot.prefunded_micros,
                ),
            )
        )

    def carry(self, giver: Wallet, lot: Lot, taker: Wallet, row: Lot, points: int) -> None:
        """Open points of one row become open points of another of the same issuer and version."""
        self.move(giver, lot, OPEN, MOVED_OUT, points)
        self.move(taker, row, MOVED_IN, OPEN, points)

    def carry_noted(
        self, giver: Wallet, lot: Lot, taker: Wallet, row: Lot, move: LotMove, book: Book
    ) -> None:
        """The same for a move that a claw back or an unmerge may follow."""
        self.carry(giver, lot, taker, row, move.points)
        book.lot_moves.append(move)

    def owe(self, payer: int, payer_component: str, payee: int, payee_component: str, micros: int) -> None:
        """A line, which runs backwards below zero and is none at zero or within one party."""
        if micros == 0 or payer == payee:
            return
        if micros > 0:
            self.lines.append(make(Line, (payer, payer_component, payee, payee_component, micros)))
        else:
            self.lines.append(make(Line, (payee, payee_component, payer, payer_component, -micros)))

    def post(
        self,
        posted: Posted,
        points: int,
        rate_version: int,
        book: Book,
        *,
        original: Original | None = None,
        spend_minor: int = 0,
        native_points: int = 0,
    ) -> tuple[Entry, int]:
        """The entry in the batch's journal and its index. What it follows learns of it."""
        followed = None if original is None else original.posting.name
        entry = Entry(
            posted,
            points,
            rate_version,
            tuple(self.legs),
            tuple(self.lines),
            followed,
            spend_minor,
            native_points,
        )
        index = book.post(entry)
        if original is not None:
            book.follow(original, index)
        return entry, index
