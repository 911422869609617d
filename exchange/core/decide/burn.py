"""Burn: a member spends points at the calling partner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from exchange.core.accounts import Wallet
from exchange.core.book import Book, Terms
from exchange.core.commands import AuthorizeBurn, Burn, ExchangeOut
from exchange.core.decide.admission import Admitted, admission_needs, admit
from exchange.core.decide.authority import authority_needs, check_authority, use_authority
from exchange.core.decide.draft import Draft
from exchange.core.decide.prices import card_for, owe_burn, use_quote
from exchange.core.decisions import Accepted
from exchange.core.journal import Line
from exchange.core.lots import Lot
from exchange.core.money import BURN_REIMBURSE
from exchange.core.needs import Needs
from exchange.core.points import BURNED, OPEN
from exchange.core.rates import RateCard
from exchange.core.refusals import Reason, Refusal

FIRST_LOTS: Final = 4
"""Lots in consumption order that spending is given at first; it nearly always needs no more."""


def spending_needs(command: Burn | AuthorizeBurn | ExchangeOut, terms: Terms, needs: Needs) -> None:
    """Besides what every command needs: the authority, and the member's first lots in consumption order."""
    admission_needs(command, needs)
    needs.spending[command.member_id] = needs.spending.get(command.member_id, 0) + command.points
    authority_needs(command, terms, needs)
    if command.authority.quote is not None:
        needs.quotes.add(command.authority.quote.quote_id)


def further_spending_needs(spending: Mapping[int, int], book: Book, needs: Needs) -> None:
    """All open lots of members whose first ones may not suffice for what the batch may take of them."""
    for member_id, wanted in spending.items():
        wallet = book.wallets.get(member_id)
        if wallet is not None and runs_short(wallet, wanted):
            needs.open_lots.add(member_id)


def runs_short(wallet: Wallet, wanted: int) -> bool:
    """Whether there are open lots that are not loaded and may be wanted.

    Only the first `FIRST_LOTS` loaded ones are sure to be the member's first: others are there for their key.
    """
    loaded = sum([lot.open_points for lot in wallet.lots.values()])
    if loaded >= wallet.open_points:
        return False
    return sum([lot.open_points for lot in wallet.spendable()[:FIRST_LOTS]]) < wanted


def decide_burn(command: Burn, book: Book) -> Accepted | Refusal:
    """Checks in the order of docs/ledger.md, Burn; the first that fails is the answer."""
    admitted = admit(command, book)
    if isinstance(admitted, Refusal):
        return admitted
    card = check_spending(command, admitted, book)
    if isinstance(card, Refusal):
        return card
    lacking = check_available(command.points, admitted[0])
    if lacking is not None:
        return lacking

    # From here on nothing can fail.
    wallet = admitted[0]
    draft = Draft()
    burn_open(draft, wallet, command.points, card)
    use_authority(command, admitted, book)
    entry, index = draft.post(command, command.points, card.version, book)
    if command.authority.quote is not None:
        use_quote(command.authority.quote, index, book)
    value = command.points * card.face_value_micros
    return Accepted(entry, index, wallet.open_points, None, value, reimbursed(entry.lines))


def check_spending(
    command: Burn | AuthorizeBurn | ExchangeOut, admitted: Admitted, book: Book
) -> RateCard | Refusal:
    """The card that prices what the member has authorised."""
    refusal = check_authority(command, admitted, book)
    if refusal is not None:
        return refusal
    return card_for(command.partner_id, command.event_time, command.authority.quote, book)


def check_available(points: int, wallet: Wallet) -> Refusal | None:
    """A member spends no more than is open."""
    if points > wallet.open_points:
        return Refusal(Reason.INSUFFICIENT_POINTS, (("available_points", str(wallet.open_points)),))
    return None


def portions(wallet: Wallet, points: int) -> list[tuple[Lot, int]]:
    """How many points each lot gives, in consumption order."""
    found = []
    for lot in wallet.spendable():
        if not points:
            break
        taken = min(points, lot.open_points)
        found.append((lot, taken))
        points -= taken
    assert not points, "load brought too few lots for what the wallet can cover"
    return found


def burn_open(draft: Draft, wallet: Wallet, points: int, card: RateCard) -> None:
    """Burns open points in consumption order at a card's prices."""
    for lot, taken in portions(wallet, points):
        draft.move(wallet, lot, OPEN, BURNED, taken)
        owe_burn(draft, lot, taken, card)


def reimbursed(lines: tuple[Line, ...]) -> int:
    """Micros that a burn's lines bring the redeemer."""
    return sum([line.micros for line in lines if line.payee_component == BURN_REIMBURSE])
