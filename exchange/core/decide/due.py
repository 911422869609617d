"""What falls due for a member: holds past their deadline, earns pending too long, lots past their day.

Posted before the member's first command of a batch, so no answer depends on when a sweep ran.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

from exchange.core.accounts import NO_DEADLINE, MemberState, Wallet
from exchange.core.book import Book
from exchange.core.commands import Due
from exchange.core.decide.arrival import expire
from exchange.core.decide.draft import Draft
from exchange.core.decide.release import release
from exchange.core.ids import HUB, cancel_request_id, expiry_request_id, lapse_request_id
from exchange.core.journal import Entry
from exchange.core.lots import Lot
from exchange.core.needs import Needs
from exchange.core.originals import Hold, PendingEarn
from exchange.core.rates import NEVER


def due_needs(wallet: Wallet, book: Book, needs: Needs) -> None:
    """Everything of a member with a hold or a pending earn that may be due; all open lots where one may be."""
    if wallet.next_deadline < book.wall_time or wallet.next_cancel_date < book.today:
        needs.whole.add(wallet.member_id)
    elif wallet.next_expiry_date < book.today:
        needs.open_lots.add(wallet.member_id)


def lineage_needs(wallet: Wallet, book: Book, needs: Needs) -> None:
    """Everything of those whom a merged member lives on in, as far as they are known yet."""
    following: Wallet | None = wallet
    while following is not None and following.state == MemberState.MERGED:
        needs.whole.add(following.survivor_id)
        following = book.wallets.get(following.survivor_id)


def wake(wallet: Wallet, book: Book) -> int:
    """Posts what is due for a member, if that was not done yet; gives the number of entries."""
    if wallet.woken:
        return 0
    wallet.woken = True
    before = len(book.entries)
    if wallet.next_deadline < book.wall_time:
        _lapse_holds(wallet, book)
    if wallet.next_cancel_date < book.today:
        _cancel_earns(wallet, book)
    if wallet.next_expiry_date < book.today:
        _expire_lots(wallet, book)
    return len(book.entries) - before


def _lapse_holds(wallet: Wallet, book: Book) -> None:
    held = book.holds_of(wallet.member_id)
    late = [hold for hold in held if hold.deadline < book.wall_time]
    for hold in sorted(late, key=lambda hold: (hold.deadline, hold.entry)):
        _lapse(hold, wallet, book)
    wallet.next_deadline = min((hold.deadline for hold in held if not hold.closed), default=NO_DEADLINE)
    wallet.changed = True


def _lapse(hold: Hold, wallet: Wallet, book: Book) -> None:
    original = book.original(hold.partner_id, hold.request_id)
    assert original is not None, f"load brought {hold} without its entry"
    draft = Draft()
    release(draft, hold, original, wallet, book)
    command = _due(lapse_request_id(hold.entry), "lapse", wallet, book)
    draft.post(command, hold.points, hold.rate_version, book, original=original)


def _cancel_earns(wallet: Wallet, book: Book) -> None:
    mine = book.pending_earns_of(wallet.member_id)
    late = [pending for pending in mine if pending.due_date < book.today]
    for pending in sorted(late, key=lambda pending: (pending.due_date, pending.entry)):
        _cancel(pending, wallet, book)
    wallet.next_cancel_date = min((it.due_date for it in mine if not it.closed), default=NEVER)
    wallet.changed = True


def _cancel(pending: PendingEarn, wallet: Wallet, book: Book) -> None:
    wallet.pending_points -= pending.points
    pending.closed = True
    command = _due(cancel_request_id(pending.entry), "cancel_earn", wallet, book)
    original = book.originals.get((pending.partner_id, pending.request_id))
    index = book.post(Entry(command, pending.points, 0, (), (), pending.entry))
    if original is not None:  # a command of this batch follows the same earn
        book.follow(original, index)


def _expire_lots(wallet: Wallet, book: Book) -> None:
    for lot in [lot for lot in wallet.spendable() if lot.expiry_date < book.today]:
        _expire(lot, wallet, book)
    wallet.next_expiry_date = min((lot.expiry_date for lot in wallet.spendable()), default=NEVER)
    wallet.changed = True


def _expire(lot: Lot, wallet: Wallet, book: Book) -> None:
    points = lot.open_points
    draft = Draft()
    expire(draft, wallet, lot, points, book.cards)
    request_id = expiry_request_id(lot.member_id, lot.lot_sequence, lot.expiry_date.isoformat())
    draft.post(_due(request_id, "expire", wallet, book), points, 0, book)


def _due(request_id: str, kind: Literal["expire", "lapse", "cancel_earn"], wallet: Wallet, book: Book) -> Due:
    fingerprint = sha256(request_id.encode()).digest()
    event_time = book.decided_time
    return Due(
        HUB, request_id, fingerprint, wallet.member_id, event_time, "", "", request_id, "", "", "", kind
    )
