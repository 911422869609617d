"""Earn and exchange in: a member gets points that the calling partner issues and pays for."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from math import floor

from exchange.core.accounts import Wallet
from exchange.core.book import Book, Terms
from exchange.core.commands import Adjust, Earn, ExchangeIn
from exchange.core.decide.admission import admission_needs, admit
from exchange.core.decide.arrival import arrive
from exchange.core.decide.draft import Draft
from exchange.core.decide.prices import card_for, card_needs, last_usable_day, owe_issue, use_quote
from exchange.core.decisions import NO_FIGURES, Accepted, Figures
from exchange.core.lots import LotKey
from exchange.core.money import EXCHANGE_FEE, ISSUE_FEE
from exchange.core.needs import Needs
from exchange.core.originals import EntryName, PendingEarn
from exchange.core.points import ISSUED, MAX_POINTS
from exchange.core.rates import Cards, RateCard
from exchange.core.record import make
from exchange.core.refusals import Reason, Refusal


def earn_needs(command: Earn, cards: Cards, terms: Terms, needs: Needs) -> None:
    """Besides what every command needs: the one lot that the points would join, and the mark of a rule."""
    admission_needs(command, needs)
    card = card_needs(command.partner_id, command.event_time, command.quote, cards, needs)
    if card is not None and not command.pending:
        last_day = last_usable_day(card, command.event_time, command.expiry_date, terms)
        needs.lots.add(make(LotKey, (command.member_id, card.partner_id, card.version, last_day)))
    if command.once_rule:
        needs.marks.add((command.member_id, command.partner_id, command.once_rule))


def decide_earn(command: Earn, book: Book) -> Accepted | Refusal:
    """Checks in the order of docs/ledger.md, Earn; the first that fails is the answer."""
    admitted = admit(command, book)
    if isinstance(admitted, Refusal):
        return admitted
    return earn(command, command, admitted[0], book)


def earn(asked: Earn, posted: Earn | Adjust, wallet: Wallet, book: Book) -> Accepted | Refusal:
    """What an earn posts, by itself or where an adjustment stands for it."""
    card = card_for(asked.partner_id, asked.event_time, asked.quote, book)
    if isinstance(card, Refusal):
        return card
    points = _points(asked, card, book.terms)
    if isinstance(points, Refusal):
        return points
    if asked.once_rule and any(mark in book.marks for mark in _marks(asked, wallet, book)):
        return Refusal(Reason.ALREADY_EARNED)

    # From here on nothing can fail.
    if asked.once_rule:
        fresh = [mark for mark in _marks(asked, wallet, book) if mark not in book.marks]
        book.marks.update(fresh)
        book.new_marks += fresh
    if asked.pending and isinstance(posted, Earn):
        return _promise(asked, points, card, wallet, book)
    last_day = last_usable_day(card, asked.event_time, asked.expiry_date, book.terms)
    draft = Draft()
    lot = wallet.lot_for(card, last_day)
    owe_issue(draft, card, points, ISSUE_FEE, points * card.issue_fee_micros)
    arrive(draft, wallet, lot, ISSUED, points, book)
    entry, index = draft.post(
        posted,
        points,
        card.version,
        book,
        spend_minor=asked.spend_minor,
        native_points=asked.native_points,
    )
    if asked.quote is not None:
        use_quote(asked.quote, index, book)
    return Accepted(entry, index, book.survivor(wallet).open_points, last_day)


def _points(asked: Earn, card: RateCard, terms: Terms) -> int | Refusal:
    points = asked.points
    if asked.native_points:
        if card.native_rate_in is None:
            return Refusal(Reason.NO_NATIVE_RATE)
        points = card.points_for_native(asked.native_points)
    elif asked.spend_minor:
        points = card.points_for(asked.spend_minor, terms.minor_per_major)
    return points if 0 < points <= MAX_POINTS else _out_of_range(points)


def _out_of_range(points: int) -> Refusal:
    if points == 0:
        return Refusal(Reason.NOTHING_TO_EARN)
    return Refusal(Reason.POINTS_OVER_LIMIT, (("limit_points", str(MAX_POINTS)),))


def _marks(asked: Earn, wallet: Wallet, book: Book) -> list[tuple[int, int, str]]:
    """One for each account that the member lives on in: after a merge a welcome is welcome to neither."""
    return [(each.member_id, asked.partner_id, asked.once_rule) for each in book.lineage(wallet)]


def _promise(asked: Earn, points: int, card: RateCard, wallet: Wallet, book: Book) -> Accepted:
    """A pending earn: the points are fixed, and nothing else."""
    entry, index = Draft().post(
        asked,
        points,
        card.version,
        book,
        spend_minor=asked.spend_minor,
        native_points=asked.native_points,
    )
    due_date = book.today + timedelta(days=book.terms.pending_days)
    pending = PendingEarn(
        asked.partner_id,
        asked.request_id,
        wallet.member_id,
        EntryName(book.batch_id, index),
        points,
        due_date,
        asked.expiry_date,
        created=True,
    )
    book.pending_earns[asked.partner_id, asked.request_id] = pending
    wallet.pending_points += points
    wallet.next_cancel_date = min(wallet.next_cancel_date, due_date)
    wallet.changed = True
    use_quote(asked.quote, index, book)
    figures = Figures(remaining_points=points)
    return Accepted(entry, index, book.survivor(wallet).open_points, figures=figures)


def exchange_in_needs(command: ExchangeIn, cards: Cards, terms: Terms, needs: Needs) -> None:
    """As an earn needs."""
    admission_needs(command, needs)
    card = card_needs(command.partner_id, command.event_time, command.quote, cards, needs)
    if card is not None:
        last_day = last_usable_day(card, command.event_time, command.expiry_date, terms)
        needs.lots.add(LotKey(command.member_id, card.partner_id, card.version, last_day))


def decide_exchange_in(command: ExchangeIn, book: Book) -> Accepted | Refusal:
    """Native points become coalition points, less a spread that the operator is paid for."""
    admitted = admit(command, book)
    if isinstance(admitted, Refusal):
        return admitted
    card = card_for(command.partner_id, command.event_time, command.quote, book)
    if isinstance(card, Refusal):
        return card
    if card.native_rate_in is None:
        return Refusal(Reason.NO_NATIVE_RATE)
    gross, points = card.points_for_exchange(command.native_points)
    if not 0 < points <= MAX_POINTS:
        return _out_of_range(points)

    # From here on nothing can fail.
    return _exchange(command, gross, points, card, admitted[0], book)


def _exchange(
    command: ExchangeIn, gross: Fraction, points: int, card: RateCard, wallet: Wallet, book: Book
) -> Accepted:
    last_day = last_usable_day(card, command.event_time, command.expiry_date, book.terms)
    draft = Draft()
    owe_issue(draft, card, points, EXCHANGE_FEE, floor((gross - points) * card.funding_micros))
    arrive(draft, wallet, wallet.lot_for(card, last_day), ISSUED, points, book)
    entry, index = draft.post(command, points, card.version, book, native_points=command.native_points)
    use_quote(command.quote, index, book)
    figures = NO_FIGURES._replace(native_points=command.native_points)
    return Accepted(entry, index, book.survivor(wallet).open_points, last_day, figures=figures)
