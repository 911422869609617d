"""Freeze, unfreeze and close: what the operator does with an account."""

from __future__ import annotations

from exchange.core.accounts import MemberState, Wallet
from exchange.core.book import Book
from exchange.core.commands import ChangeState
from exchange.core.decide.admission import admit_operator
from exchange.core.decide.arrival import expire
from exchange.core.decide.draft import Draft
from exchange.core.decisions import Accepted
from exchange.core.rates import NEVER
from exchange.core.refusals import Reason, Refusal


def decide_state(command: ChangeState, book: Book) -> Accepted | Refusal:
    """A frozen account neither earns nor spends; a closed one has nothing and never will."""
    wallet = admit_operator(command, book)
    if isinstance(wallet, Refusal):
        return wallet
    before = {
        "freeze": (MemberState.ACTIVE,),
        "unfreeze": (MemberState.FROZEN,),
        "close": (MemberState.ACTIVE, MemberState.FROZEN),
    }
    if wallet.state not in before[command.kind]:
        return Refusal(Reason.MEMBER_STATE, (("state", wallet.state.value),))
    if command.kind == "close":
        return check_nothing_outstanding(wallet) or _close(command, wallet, book)
    wallet.state = MemberState.FROZEN if command.kind == "freeze" else MemberState.ACTIVE
    wallet.changed = True
    entry, index = Draft().post(command, 0, 0, book)
    return Accepted(entry, index, wallet.open_points)


def check_nothing_outstanding(wallet: Wallet) -> Refusal | None:
    """An account can't end while somebody may still confirm, capture or void something in it."""
    if not wallet.pending_points and not wallet.held_points:
        return None
    pending = ("pending_points", str(wallet.pending_points))
    return Refusal(Reason.POINTS_OUTSTANDING, (pending, ("held_points", str(wallet.held_points))))


def _close(command: ChangeState, wallet: Wallet, book: Book) -> Accepted:
    draft = Draft()
    expired = wallet.open_points
    for lot in wallet.spendable():
        expire(draft, wallet, lot, lot.open_points, book.cards)
    for deficit in wallet.owed():
        wallet.deficit_points -= deficit.outstanding_points
        deficit.forgiven_points += deficit.outstanding_points
        deficit.changed = True
    wallet.state = MemberState.CLOSED
    wallet.next_expiry_date = NEVER
    wallet.changed = True
    entry, index = draft.post(command, expired, 0, book)
    return Accepted(entry, index, 0)
