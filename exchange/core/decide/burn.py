"""Burn: a member spends points at the calling partner."""

from __future__ import annotations

from exchange.core.book import Book, Link, Wallet
from exchange.core.commands import Burn
from exchange.core.decide.admission import admission_needs, admit
from exchange.core.decisions import Accepted
from exchange.core.ids import OPERATOR, POOL
from exchange.core.journal import Entry, Leg, Line, line
from exchange.core.lots import Lot
from exchange.core.money import BURN_FUNDING, BURN_REIMBURSE, SPREAD
from exchange.core.needs import Needs
from exchange.core.points import BURNED, OPEN
from exchange.core.rates import RateCard, split_burn
from exchange.core.refusals import Reason, Refusal


def burn_needs(command: Burn, needs: Needs) -> None:
    """Besides what every command needs: the member's first lots in consumption order."""
    admission_needs(command, needs)
    needs.spending[command.member_id] = needs.spending.get(command.member_id, 0) + command.points


def decide_burn(command: Burn, book: Book) -> Accepted | Refusal:
    """Checks in the order of docs/ledger.md, Burn; the first that fails is the answer."""
    admitted = admit(command, book)
    if isinstance(admitted, Refusal):
        return admitted
    wallet, link = admitted
    refusal = _check_consent(command, link, book)
    if refusal is not None:
        return refusal
    card = book.cards.in_force(command.partner_id, command.event_time)
    if card is None:
        return Refusal(Reason.NO_RATE_CARD)
    if command.points > wallet.open_points:
        return Refusal(Reason.INSUFFICIENT_POINTS, (("available_points", str(wallet.open_points)),))

    # From here on nothing can fail.
    return _spend(command, card, wallet, link, book)


def _check_consent(command: Burn, link: Link, book: Book) -> Refusal | None:
    if link.per_burn_limit_points == 0 or link.per_day_limit_points == 0:
        return Refusal(Reason.CONSENT_REQUIRED)
    if command.points > link.per_burn_limit_points:
        limit = (("limit_points", str(link.per_burn_limit_points)),)
        return Refusal(Reason.CONSENT_LIMIT_EXCEEDED, limit)
    burned = link.burned_on(book.today)
    if burned + command.points > link.per_day_limit_points:
        figures = (("limit_points", str(link.per_day_limit_points)), ("burned_points", str(burned)))
        return Refusal(Reason.CONSENT_DAILY_LIMIT_EXCEEDED, figures)
    return None


def _spend(command: Burn, card: RateCard, wallet: Wallet, link: Link, book: Book) -> Accepted:
    legs: list[Leg] = []
    lines: tuple[Line, ...] = ()
    wanted = command.points
    for lot in wallet.spendable():
        taken = min(wanted, lot.open_points)
        lot.open_points -= taken
        lot.burned_points += taken
        lot.changed = True
        legs.append(
            Leg(lot.lot_sequence, lot.issuer_id, lot.rate_version, OPEN, BURNED, taken, lot.prefunded_micros)
        )
        lines += burn_lines(lot, taken, card)
        wanted -= taken
        if not wanted:
            break
    assert not wanted, "load brought too few lots for a burn the wallet can cover"
    wallet.open_points -= command.points
    wallet.changed = True
    link.burned_points = link.burned_on(book.today) + command.points
    link.burned_date = book.today
    link.changed = True
    entry = Entry(command, command.points, card.version, tuple(legs), lines)
    value = command.points * card.face_value_micros
    paid = sum(item.micros for item in lines if item.payee_component == BURN_REIMBURSE)
    return Accepted(entry, book.post(entry), wallet.open_points, None, value, paid)


def burn_lines(lot: Lot, points: int, redeemer: RateCard) -> tuple[Line, ...]:
    """What the burn of a lot's points moves (docs/ledger.md, Money lines).

    At its own issuer only the pool gives back what it holds. Elsewhere pool and issuer each pay their part of
    R to the redeemer and of F - R to the operator; a part below zero runs the other way.
    """
    if lot.issuer_id == redeemer.partner_id:
        prefunded = points * lot.prefunded_micros
        return line(POOL, BURN_FUNDING, lot.issuer_id, BURN_REIMBURSE, prefunded)
    split = split_burn(lot.funding_micros, lot.prefunded_micros, redeemer.reimbursement_micros)
    paid_to = redeemer.partner_id
    issuer = lot.issuer_id
    return (
        line(POOL, BURN_FUNDING, paid_to, BURN_REIMBURSE, points * split.pool_reimbursement)
        + line(issuer, BURN_FUNDING, paid_to, BURN_REIMBURSE, points * split.issuer_reimbursement)
        + line(POOL, BURN_FUNDING, OPERATOR, SPREAD, points * split.pool_spread)
        + line(issuer, BURN_FUNDING, OPERATOR, SPREAD, points * split.issuer_spread)
    )
