"""Pending earns: an order was completed, or it was not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from exchange.core.accounts import Wallet
from exchange.core.book import Book
from exchange.core.commands import CancelEarn, Command, ConfirmEarn
from exchange.core.decide.admission import admission_needs, admit
from exchange.core.decide.arrival import arrive
from exchange.core.decide.draft import Draft
from exchange.core.decide.prices import card_for, last_usable_day, owe_issue
from exchange.core.decisions import Accepted
from exchange.core.lots import LotKey
from exchange.core.money import ISSUE_FEE
from exchange.core.needs import Needs
from exchange.core.originals import Original, PendingEarn
from exchange.core.points import ISSUED
from exchange.core.refusals import Reason, Refusal


def pending_needs(command: ConfirmEarn | CancelEarn, needs: Needs) -> None:
    """Besides what every command needs: the earn."""
    admission_needs(command, needs)
    needs.originals.add((command.partner_id, command.original))


def further_confirm_needs(
    command: ConfirmEarn, commands: Sequence[Command], book: Book, needs: Needs
) -> None:
    """The one lot that the points would join: its day is known when the earn is, which may be in this batch."""
    card = book.cards.in_force(command.partner_id, command.event_time)
    if card is None:
        return
    pending = book.pending_earns.get((command.partner_id, command.original))
    own = {None if pending is None else pending.expiry_date}
    if pending is None:
        named = (command.partner_id, command.original)
        earns = [earn for earn in commands if earn.kind == "earn"]
        own.update(earn.expiry_date for earn in earns if (earn.partner_id, earn.request_id) == named)
    for expiry_date in own:
        last_day = last_usable_day(card, command.event_time, expiry_date, book.terms)
        needs.lots.add(LotKey(command.member_id, card.partner_id, card.version, last_day))


def decide_confirm(command: ConfirmEarn, book: Book) -> Accepted | Refusal:
    """Makes the lot and owes the money, at the card in force when the order was completed."""
    found = _find(command, book)
    if isinstance(found, Refusal):
        return found
    pending, original, wallet = found
    card = card_for(command.partner_id, command.event_time, None, book)
    if isinstance(card, Refusal):
        return card

    # From here on nothing can fail.
    points = pending.points
    last_day = last_usable_day(card, command.event_time, pending.expiry_date, book.terms)
    draft = Draft()
    wallet.pending_points -= points
    pending.closed = True
    owe_issue(draft, card, points, ISSUE_FEE, points * card.issue_fee_micros)
    arrive(draft, wallet, wallet.lot_for(card, last_day), ISSUED, points, book)
    entry, index = draft.post(command, points, card.version, book, original=original)
    return Accepted(entry, index, book.survivor(wallet).open_points, last_day)


def decide_cancel(command: CancelEarn, book: Book) -> Accepted | Refusal:
    """The points that were promised are not given; nothing was owed yet."""
    found = _find(command, book)
    if isinstance(found, Refusal):
        return found
    pending, original, wallet = found
    wallet.pending_points -= pending.points
    wallet.changed = True
    pending.closed = True
    entry, index = Draft().post(command, pending.points, 0, book, original=original)
    return Accepted(entry, index, book.survivor(wallet).open_points)


def _find(command: ConfirmEarn | CancelEarn, book: Book) -> tuple[PendingEarn, Original, Wallet] | Refusal:
    admitted = admit(command, book)
    if isinstance(admitted, Refusal):
        return admitted
    original = earn_of(command.partner_id, command.original, command.member_id, book)
    if original is None:
        return Refusal(Reason.ORIGINAL_UNKNOWN)
    pending = book.pending_earns.get((command.partner_id, command.original))
    if pending is None or pending.closed:
        return Refusal(Reason.NOT_PENDING)
    return pending, original, admitted[0]


EARNS: Final = frozenset({"earn", "pending_earn"})
"""Kinds of entries that can be clawed back."""


def earn_of(partner_id: int, request_id: str, member_id: int, book: Book) -> Original | None:
    """The accepted earn of that partner and member, if there is one."""
    original = book.original(partner_id, request_id)
    if original is None or original.posting.kind not in EARNS or original.posting.member_id != member_id:
        return None
    return original
