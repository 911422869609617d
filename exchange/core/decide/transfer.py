"""Transfer: a member gives points to another."""

from __future__ import annotations

from exchange.core.accounts import MemberState, Wallet
from exchange.core.book import Book, Terms
from exchange.core.commands import Transfer
from exchange.core.decide.admission import Admitted, admission_needs, admit, check_state
from exchange.core.decide.arrival import settle
from exchange.core.decide.authority import authority_needs, check_authority, use_authority
from exchange.core.decide.burn import check_available, portions
from exchange.core.decide.draft import Draft
from exchange.core.decide.prices import check_quote, use_quote
from exchange.core.decisions import Accepted
from exchange.core.needs import Needs
from exchange.core.refusals import Reason, Refusal


def transfer_needs(command: Transfer, terms: Terms, needs: Needs) -> None:
    """Besides what every command needs: the authority, and both members whole."""
    admission_needs(command, needs)
    authority_needs(command, terms, needs)
    needs.members.add(command.to_member_id)
    needs.whole.update((command.member_id, command.to_member_id))
    needs.links.add((command.to_member_id, command.partner_id))
    if command.authority.quote is not None:
        needs.quotes.add(command.authority.quote.quote_id)


def decide_transfer(command: Transfer, book: Book) -> Accepted | Refusal:
    """Checks in the order of docs/ledger.md, Transfer; the first that fails is the answer."""
    receiver = book.wallets.get(command.to_member_id)
    link = book.links.get((command.to_member_id, command.partner_id))
    known = receiver is not None and link is not None and not link.unlinked
    admitted = admit(command, book, other_known=known)
    if isinstance(admitted, Refusal):
        return admitted
    assert receiver is not None, "the receiver was admitted"
    refusal = _check(command, admitted, receiver, book)
    if refusal is not None:
        return refusal

    # From here on nothing can fail.
    giver = admitted[0]
    draft = Draft()
    for lot, points in portions(giver, command.points):
        row = receiver.row_like(lot, lot.expiry_date)
        draft.carry(giver, lot, receiver, row, points)
        lot.transferred_points += points
        settle(draft, receiver, row, points, book)
    use_authority(command, admitted, book)
    if book.terms.transfer_daily_points:
        giver.begin_day(book.today)
        giver.transferred_points += command.points
    entry, index = draft.post(command, command.points, 0, book)
    use_quote(command.authority.quote, index, book)
    return Accepted(entry, index, giver.open_points)


def _check(command: Transfer, admitted: Admitted, receiver: Wallet, book: Book) -> Refusal | None:
    if receiver.state != MemberState.ACTIVE:
        barred = check_state(command.kind, receiver, book)
        if barred is not None:
            return barred
    if command.member_id == command.to_member_id:
        return Refusal(Reason.SAME_MEMBER)
    quote = command.authority.quote
    return (
        check_authority(command, admitted, book)
        or (None if quote is None else check_quote(quote, book))
        or _check_limits(command, admitted[0], book)
        or check_available(command.points, admitted[0])
    )


def _check_limits(command: Transfer, giver: Wallet, book: Book) -> Refusal | None:
    once, daily = book.terms.transfer_limit_points, book.terms.transfer_daily_points
    if once and command.points > once:
        return Refusal(Reason.TRANSFER_LIMIT_EXCEEDED, (("limit_points", str(once)),))
    if daily:
        given = giver.transferred_on(book.today)
        if given + command.points > daily:
            figures = (("limit_points", str(daily)), ("transferred_points", str(given)))
            return Refusal(Reason.TRANSFER_LIMIT_EXCEEDED, figures)
    return None
