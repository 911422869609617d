"""Earn: a member gets points that the calling partner issues and pays for."""

from __future__ import annotations

from exchange.core.book import Book, Terms, Wallet
from exchange.core.commands import Earn
from exchange.core.decide.admission import admission_needs, admit
from exchange.core.decide.expire import take_expired
from exchange.core.decisions import Accepted
from exchange.core.ids import OPERATOR, POOL
from exchange.core.journal import Entry, Leg, Line, line
from exchange.core.lots import LotKey
from exchange.core.money import ISSUE_FEE, ISSUE_FUNDING
from exchange.core.needs import Needs
from exchange.core.points import ISSUED, MAX_POINTS, OPEN
from exchange.core.rates import Cards, RateCard
from exchange.core.refusals import Reason, Refusal


def earn_needs(command: Earn, cards: Cards, terms: Terms, needs: Needs) -> None:
    """Besides what every command needs: the one lot that the points would join."""
    admission_needs(command, needs)
    card = cards.in_force(command.partner_id, command.event_time)
    if card is not None:
        needs.lots.add(_lot_key(command, card, terms))


def decide_earn(command: Earn, book: Book) -> Accepted | Refusal:
    """Checks in the order of docs/ledger.md, Earn; the first that fails is the answer."""
    admitted = admit(command, book)
    if isinstance(admitted, Refusal):
        return admitted
    wallet, _ = admitted
    card = book.cards.in_force(command.partner_id, command.event_time)
    if card is None:
        return Refusal(Reason.NO_RATE_CARD)
    points = command.points or card.points_for(command.spend_minor, book.terms.minor_per_major)
    if points == 0:
        return Refusal(Reason.NOTHING_TO_EARN)
    if points > MAX_POINTS:
        return Refusal(Reason.POINTS_OVER_LIMIT, (("limit_points", str(MAX_POINTS)),))

    # From here on nothing can fail.
    return _issue(command, points, card, wallet, book)


def _issue(command: Earn, points: int, card: RateCard, wallet: Wallet, book: Book) -> Accepted:
    lot = wallet.lot_for(card, _lot_key(command, card, book.terms).expiry_date)
    lot.issued_points += points
    lot.open_points += points
    lot.changed = True
    wallet.open_points += points
    wallet.changed = True
    legs = [Leg(lot.lot_sequence, card.partner_id, card.version, ISSUED, OPEN, points, card.prefunded_micros)]
    lines = _earn_lines(points, card)
    if lot.expiry_date < book.today:  # a late event whose points have had their day
        leg, released = take_expired(lot, points, wallet, book.cards)
        legs.append(leg)
        lines += released
    elif lot.expiry_date < wallet.next_expiry_date:
        wallet.next_expiry_date = lot.expiry_date
    entry = Entry(command, points, card.version, tuple(legs), lines)
    return Accepted(entry, book.post(entry), wallet.open_points, lot.expiry_date)


def _earn_lines(points: int, card: RateCard) -> tuple[Line, ...]:
    issuer = card.partner_id
    return line(issuer, ISSUE_FUNDING, POOL, ISSUE_FUNDING, points * card.prefunded_micros) + line(
        issuer, ISSUE_FEE, OPERATOR, ISSUE_FEE, points * card.issue_fee_micros
    )


def _lot_key(command: Earn, card: RateCard, terms: Terms) -> LotKey:
    last_day = card.expiry_policy.last_day(terms.day_of(command.event_time))
    if command.expiry_date is not None and command.expiry_date < last_day:
        last_day = command.expiry_date
    return LotKey(command.member_id, card.partner_id, card.version, last_day)
