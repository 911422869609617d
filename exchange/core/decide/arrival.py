"""Points that arrive or return: to their own row, to the survivor, to whom they are owed, or past their day.

See docs/ledger.md, Points that arrive. Nobody comes out of it with a deficit and open points together.
"""

from __future__ import annotations

from datetime import date, timedelta

from exchange.core.accounts import CLOSED, MERGED, Wallet
from exchange.core.book import Book
from exchange.core.decide.draft import Draft
from exchange.core.ids import OPERATOR, POOL
from exchange.core.lots import GRACE, MERGE, Lot, LotMove
from exchange.core.money import BREAKAGE_SHARE, DEFICIT_FUNDING, DEFICIT_RECOVERY, RATE_VARIANCE, pool_part
from exchange.core.originals import Deficit
from exchange.core.points import ABSORBED, EXPIRED, OPEN
from exchange.core.rates import Cards


def arrive(
    draft: Draft,
    wallet: Wallet,
    lot: Lot,
    from_account: str,
    points: int,
    book: Book,
    *,
    with_grace: bool = False,
) -> None:
    """Takes points from an account of a lot to where they can be used, if anywhere.

    Needs the whole of a member with deficits and of a survivor, and with grace the row of the day it ends.
    """
    draft.move(wallet, lot, from_account, OPEN, points)
    if wallet.state is MERGED:
        survivor = book.survivor(wallet)
        row = survivor.row_like(lot, lot.expiry_date)
        assert wallet.merged_by is not None, f"{wallet.member_id} is merged by no entry"
        move = LotMove(lot.place, row.place, *wallet.merged_by, MERGE, points)
        draft.carry_noted(wallet, lot, survivor, row, move, book)
        wallet, lot = survivor, row
    settle(draft, wallet, lot, points, book, with_grace=with_grace)


def settle(
    draft: Draft, wallet: Wallet, lot: Lot, points: int, book: Book, *, with_grace: bool = False
) -> None:
    """What becomes of points that have just become open: absorbed, past their day, or there to be spent."""
    if wallet.deficit_points:
        points = absorb(draft, wallet, lot, points)
        if not points:
            return
    closed = wallet.state is CLOSED
    if closed or lot.expiry_date < book.today:
        if closed or not (with_grace and book.terms.grace_days):
            expire(draft, wallet, lot, points, book.cards)
            return
        row = wallet.row_like(lot, grace_day(book))
        move = LotMove(lot.place, row.place, book.batch_id, len(book.entries), GRACE, points)
        draft.carry_noted(wallet, lot, wallet, row, move, book)
        lot = row
    wallet.next_expiry_date = min(wallet.next_expiry_date, lot.expiry_date)


def grace_day(book: Book) -> date:
    """The last usable day of points that are refunded today and whose own day has passed."""
    return book.today + timedelta(days=book.terms.grace_days)


def absorb(draft: Draft, wallet: Wallet, lot: Lot, points: int) -> int:
    """Pays the member's deficits, oldest first, with open points of a lot, and gives what is left of these."""
    for deficit in wallet.owed():
        taken = min(points, deficit.outstanding_points)
        draft.move(wallet, lot, OPEN, ABSORBED, taken)
        owe_absorption(draft, lot, taken, deficit)
        deficit.absorbed_points += taken
        deficit.changed = True
        wallet.deficit_points -= taken
        points -= taken
        if not points:
            break
    return points


def owe_absorption(draft: Draft, lot: Lot, points: int, deficit: Deficit) -> None:
    """Whom the absorbed points pay: the owed issuer what it is owed, and the operator the rest of F.

    The owed issuer's own lot gives back what the pool holds of it, and nothing else moves.
    """
    owed = deficit.issuer_id
    if lot.issuer_id == owed:
        draft.owe(POOL, DEFICIT_FUNDING, owed, DEFICIT_RECOVERY, points * lot.prefunded_micros)
        return
    pool = pool_part(deficit.funding_micros, lot.prefunded_micros, lot.funding_micros)
    issuer = deficit.funding_micros - pool
    rest_of_pool = lot.prefunded_micros - pool
    rest_of_issuer = lot.funding_micros - lot.prefunded_micros - issuer
    draft.owe(POOL, DEFICIT_FUNDING, owed, DEFICIT_RECOVERY, points * pool)
    draft.owe(lot.issuer_id, DEFICIT_FUNDING, owed, DEFICIT_RECOVERY, points * issuer)
    draft.owe(POOL, DEFICIT_FUNDING, OPERATOR, RATE_VARIANCE, points * rest_of_pool)
    draft.owe(lot.issuer_id, DEFICIT_FUNDING, OPERATOR, RATE_VARIANCE, points * rest_of_issuer)


def absorb_open_lots(draft: Draft, wallet: Wallet) -> None:
    """Pays the member's deficits with what is open, in consumption order."""
    for lot in wallet.spendable():
        if not wallet.deficit_points:
            return
        absorb(draft, wallet, lot, lot.open_points)


def raise_deficit(wallet: Wallet, issuer_id: int, funding_micros: int, points: int, book: Book) -> None:
    """Makes the member owe an issuer points, at what each was worth."""
    wallet.deficit_sequence += 1
    wallet.deficit_points += points
    wallet.changed = True
    wallet.deficits.append(
        Deficit(
            wallet.member_id,
            wallet.deficit_sequence,
            issuer_id,
            funding_micros,
            book.decided_time,
            raised_points=points,
            created=True,
        )
    )


def expire(draft: Draft, wallet: Wallet, lot: Lot, points: int, cards: Cards) -> None:
    """Moves open points of a lot to expired and releases n * P from the pool.

    The issuer's share is floored per point; the rest is the operator's (docs/ledger.md, Money lines).
    """
    draft.move(wallet, lot, OPEN, EXPIRED, points)
    share = cards.of_version(lot.issuer_id, lot.rate_version).issuer_breakage_micros()
    draft.owe(POOL, BREAKAGE_SHARE, lot.issuer_id, BREAKAGE_SHARE, points * share)
    draft.owe(POOL, BREAKAGE_SHARE, OPERATOR, BREAKAGE_SHARE, points * (lot.prefunded_micros - share))
