"""Expiry: what leaves a lot whose day has passed, and who gets the money that was held for it."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256

from exchange.core.book import Book, Wallet
from exchange.core.commands import Expire
from exchange.core.ids import HUB, OPERATOR, POOL, expiry_request_id
from exchange.core.journal import Entry, Leg, Line, line
from exchange.core.lots import Lot
from exchange.core.money import BREAKAGE_SHARE
from exchange.core.points import EXPIRED, OPEN
from exchange.core.rates import NEVER, Cards


def post_due(wallet: Wallet, book: Book) -> int:
    """Posts the expiry of every lot past its day, in consumption order, and gives their number.

    Comes before a member's first command of a batch, so no answer depends on when a sweep ran. Needs all
    lots that are due and the first that is not (`Wallet.next_expiry_date` says whether any may be).
    """
    wallet.woken = True
    if wallet.next_expiry_date >= book.today:
        return 0
    due = [lot for lot in wallet.spendable() if lot.expiry_date < book.today]
    for lot in due:
        _expire(lot, wallet, book)
    wallet.next_expiry_date = min((lot.expiry_date for lot in wallet.spendable()), default=NEVER)
    wallet.changed = True
    return len(due)


def take_expired(lot: Lot, points: int, wallet: Wallet, cards: Cards) -> tuple[Leg, tuple[Line, ...]]:
    """Moves open points of a lot to expired: its leg, and the lines that release n * P from the pool.

    The issuer's share is floored per point; the rest is the operator's (docs/ledger.md, Money lines).
    """
    lot.open_points -= points
    lot.expired_points += points
    lot.changed = True
    wallet.open_points -= points
    wallet.changed = True
    share = cards.of_version(lot.issuer_id, lot.rate_version).issuer_breakage_micros()
    lines = line(POOL, BREAKAGE_SHARE, lot.issuer_id, BREAKAGE_SHARE, points * share) + line(
        POOL, BREAKAGE_SHARE, OPERATOR, BREAKAGE_SHARE, points * (lot.prefunded_micros - share)
    )
    leg = Leg(lot.lot_sequence, lot.issuer_id, lot.rate_version, OPEN, EXPIRED, points, lot.prefunded_micros)
    return leg, lines


def _expire(lot: Lot, wallet: Wallet, book: Book) -> None:
    points = lot.open_points
    leg, lines = take_expired(lot, points, wallet, book.cards)
    book.post(Entry(_command(lot, book.decided_time), points, 0, (leg,), lines))


def _command(lot: Lot, decided_time: datetime) -> Expire:
    request_id = expiry_request_id(lot.member_id, lot.lot_sequence, lot.expiry_date.isoformat())
    fingerprint = sha256(request_id.encode()).digest()
    return Expire(HUB, request_id, fingerprint, lot.member_id, decided_time, "", "", request_id, "", "", "")
