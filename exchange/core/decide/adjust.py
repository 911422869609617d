"""Adjust: the operator corrects what went wrong, standing for one command, or moves money alone."""

from __future__ import annotations

from exchange.core.accounts import MemberState, Wallet
from exchange.core.book import Book
from exchange.core.commands import Adjust, Burn, ClawBackEarn, Earn, MoneyMove
from exchange.core.decide.admission import admit_operator, check_reference, check_state, operator_needs
from exchange.core.decide.arrival import raise_deficit
from exchange.core.decide.burn import burn_open, check_available
from exchange.core.decide.claw_back import claw_back
from exchange.core.decide.draft import Draft
from exchange.core.decide.earn import earn
from exchange.core.decide.prices import card_for
from exchange.core.decide.refund import refund
from exchange.core.decisions import Accepted, Figures
from exchange.core.ids import OPERATOR
from exchange.core.money import ADJUSTMENT
from exchange.core.needs import Needs
from exchange.core.refusals import Reason, Refusal


def adjust_needs(command: Adjust, needs: Needs) -> None:
    """The proposal, the whole member, and what the command that it stands for follows."""
    needs.adjustments.add(command.adjustment_id)
    subject = command.subject
    if isinstance(subject, MoneyMove):
        needs.requests.append((command.partner_id, command.request_id))
        needs.references.append((command.partner_id, command.kind, command.reference, 0))
        return
    operator_needs(command, needs)
    needs.links.add((subject.member_id, subject.partner_id))
    if isinstance(subject, Earn):
        if subject.once_rule:
            needs.marks.add((subject.member_id, subject.partner_id, subject.once_rule))
    elif not isinstance(subject, Burn):
        needs.originals.add((subject.partner_id, subject.original))


def decide_adjust(command: Adjust, book: Book) -> Accepted | Refusal:
    """The checks and the posting of what it stands for, without late limit, authority, and frozen or closed state."""
    if command.adjustment_id in book.withdrawn_adjustments:
        return Refusal(Reason.ADJUSTMENT_WITHDRAWN)
    subject = command.subject
    if isinstance(subject, MoneyMove):
        return _move_money(command, subject, book)
    wallet = admit_operator(command, book)
    if isinstance(wallet, Refusal):
        return wallet
    if (subject.member_id, subject.partner_id) not in book.links:
        return Refusal(Reason.MEMBER_UNKNOWN)
    if isinstance(subject, Earn):
        return earn(subject, command, wallet, book)
    if isinstance(subject, ClawBackEarn):
        return claw_back(subject, command, wallet, book)
    if isinstance(subject, Burn):
        return _burn(subject, command, wallet, book)
    return refund(subject, command, wallet, book)


def _burn(subject: Burn, command: Adjust, wallet: Wallet, book: Book) -> Accepted | Refusal:
    """The redeemer gave its goods: what the member lacks is owed to it, at what a point brings it."""
    if wallet.state == MemberState.MERGED:
        refusal = check_state(subject.kind, wallet, book)
        if refusal is not None:
            return refusal
    card = card_for(subject.partner_id, subject.event_time, None, book)
    if isinstance(card, Refusal):
        return card
    if wallet.state == MemberState.CLOSED:  # it can owe nothing
        lacking = check_available(subject.points, wallet)
        if lacking is not None:
            return lacking

    # From here on nothing can fail.
    draft = Draft()
    taken = min(subject.points, wallet.open_points)
    burn_open(draft, wallet, taken, card)
    owed = subject.points - taken
    if owed:
        raise_deficit(wallet, subject.partner_id, card.reimbursement_micros, owed, book)
    entry, index = draft.post(command, taken, card.version, book)
    return Accepted(entry, index, wallet.open_points, figures=Figures(deficit_points=owed))


def _move_money(command: Adjust, subject: MoneyMove, book: Book) -> Accepted | Refusal:
    """One line between partners and the operator; no member is touched."""
    if command.event_time > book.latest_event:
        return Refusal(Reason.EVENT_IN_FUTURE)
    used = check_reference(command, book)
    if used is not None:
        return used
    known = {OPERATOR, *book.cards.partners()}
    if subject.payer_id == subject.payee_id or not known.issuperset((subject.payer_id, subject.payee_id)):
        return Refusal(Reason.UNKNOWN_PARTY)
    draft = Draft()
    draft.owe(subject.payer_id, ADJUSTMENT, subject.payee_id, ADJUSTMENT, subject.micros)
    entry, index = draft.post(command, 0, 0, book)
    return Accepted(entry, index, 0)
