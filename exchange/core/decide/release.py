"""What ends a hold: points that are burned, and points that go back to where they were taken."""

from __future__ import annotations

from exchange.core.accounts import Wallet
from exchange.core.book import Book
from exchange.core.decide.arrival import arrive
from exchange.core.decide.draft import Draft
from exchange.core.decide.prices import owe_burn
from exchange.core.originals import Hold, Original
from exchange.core.points import BURNED, HELD
from exchange.core.rates import RateCard


def release(draft: Draft, hold: Hold, original: Original, wallet: Wallet, book: Book) -> None:
    """Everything that is held becomes open again."""
    end_hold(draft, hold, original, (0, None), wallet, book)


def end_hold(
    draft: Draft,
    hold: Hold,
    original: Original,
    burned: tuple[int, RateCard | None],
    wallet: Wallet,
    book: Book,
) -> None:
    """Burns so many of the held points at a card's prices, in consumption order, and releases the others."""
    wanted, card = burned
    lots = wallet.by_sequence()
    for leg in original.posting.legs:  # in consumption order, as they were taken
        lot = lots[leg.lot_sequence]
        taken = min(wanted, leg.points)
        if taken and card is not None:
            draft.move(wallet, lot, HELD, BURNED, taken)
            owe_burn(draft, lot, taken, card)
            wanted -= taken
        if leg.points > taken:
            arrive(draft, wallet, lot, HELD, leg.points - taken, book)
    hold.closed = True
