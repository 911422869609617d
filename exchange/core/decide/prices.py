"""Which card prices a command, and the money that points move at its prices."""

from __future__ import annotations

from datetime import date, datetime

from exchange.core.book import Book, Terms
from exchange.core.commands import Quote
from exchange.core.decide.draft import Draft
from exchange.core.ids import OPERATOR, POOL
from exchange.core.lots import Lot
from exchange.core.money import (
    BURN_FUNDING,
    BURN_REIMBURSE,
    FUNDING_REVERSAL,
    ISSUE_FUNDING,
    REIMBURSE_REVERSAL,
    SPREAD,
    SPREAD_REVERSAL,
)
from exchange.core.needs import Needs
from exchange.core.rates import Cards, RateCard, split_burn
from exchange.core.refusals import Reason, Refusal


def card_needs(
    partner_id: int, event_time: datetime, quote: Quote | None, cards: Cards, needs: Needs
) -> RateCard | None:
    """Whether the quote was used; and the card that is going to price the command, where there is one."""
    if quote is None:
        return cards.in_force(partner_id, event_time)
    needs.quotes.add(quote.quote_id)
    return cards.find_version(partner_id, quote.rate_version)  # the store's cards may be older than the quote


def card_for(partner_id: int, event_time: datetime, quote: Quote | None, book: Book) -> RateCard | Refusal:
    """The quote's card, or else the partner's in force at the time of the event."""
    if quote is None:
        card = book.cards.in_force(partner_id, event_time)
        return Refusal(Reason.NO_RATE_CARD) if card is None else card
    refusal = check_quote(quote, book)
    return book.cards.of_version(partner_id, quote.rate_version) if refusal is None else refusal


def check_quote(quote: Quote, book: Book) -> Refusal | None:
    """A quote counts once, and until its time by the wall clock."""
    if book.wall_time > quote.expire_time:
        return Refusal(Reason.QUOTE_EXPIRED)
    if quote.quote_id in book.quotes:
        return Refusal(Reason.QUOTE_USED)
    return None


def use_quote(quote: Quote | None, entry_index: int, book: Book) -> None:
    """Uses up the quote of an accepted command."""
    if quote is not None:
        book.quotes.add(quote.quote_id)
        book.new_quotes.append((quote.quote_id, entry_index))


def last_usable_day(card: RateCard, event_time: datetime, own: date | None, terms: Terms) -> date:
    """By the card's policy, counted from the event's day; a day of the command's own may only shorten it."""
    last_day = card.expiry_policy.last_day(terms.day_of(event_time))
    return own if own is not None and own < last_day else last_day


def owe_issue(draft: Draft, card: RateCard, points: int, fee: str, fee_micros: int) -> None:
    """What points cost their issuer: P into the pool, and a fee to the operator."""
    issuer = card.partner_id
    draft.owe(issuer, ISSUE_FUNDING, POOL, ISSUE_FUNDING, points * card.prefunded_micros)
    draft.owe(issuer, fee, OPERATOR, fee, fee_micros)


def owe_burn(draft: Draft, lot: Lot, points: int, redeemer: RateCard) -> None:
    """What the burn of a lot's points moves (docs/ledger.md, Money lines).

    At its own issuer only the pool gives back what it holds. Elsewhere pool and issuer each pay their part of
    R to the redeemer and of F - R to the operator; a part below zero runs the other way.
    """
    issuer, paid = lot.issuer_id, redeemer.partner_id
    if issuer == paid:
        draft.owe(POOL, BURN_FUNDING, issuer, BURN_REIMBURSE, points * lot.prefunded_micros)
        return
    from_pool, from_issuer, pool_spread, issuer_spread = split_burn(
        lot.funding_micros, lot.prefunded_micros, redeemer.reimbursement_micros
    )
    draft.owe(POOL, BURN_FUNDING, paid, BURN_REIMBURSE, points * from_pool)
    draft.owe(POOL, BURN_FUNDING, OPERATOR, SPREAD, points * pool_spread)
    if lot.prefunded_micros != lot.funding_micros:  # else the pool has it all
        draft.owe(issuer, BURN_FUNDING, paid, BURN_REIMBURSE, points * from_issuer)
        draft.owe(issuer, BURN_FUNDING, OPERATOR, SPREAD, points * issuer_spread)


def owe_refund(draft: Draft, lot: Lot, points: int, redeemer: RateCard) -> None:
    """The same backwards: the redeemer and the operator give back to those who paid."""
    issuer, paid = lot.issuer_id, redeemer.partner_id
    if issuer == paid:
        draft.owe(issuer, REIMBURSE_REVERSAL, POOL, FUNDING_REVERSAL, points * lot.prefunded_micros)
        return
    split = split_burn(lot.funding_micros, lot.prefunded_micros, redeemer.reimbursement_micros)
    draft.owe(paid, REIMBURSE_REVERSAL, POOL, FUNDING_REVERSAL, points * split.pool_reimbursement)
    draft.owe(paid, REIMBURSE_REVERSAL, issuer, FUNDING_REVERSAL, points * split.issuer_reimbursement)
    draft.owe(OPERATOR, SPREAD_REVERSAL, POOL, FUNDING_REVERSAL, points * split.pool_spread)
    draft.owe(OPERATOR, SPREAD_REVERSAL, issuer, FUNDING_REVERSAL, points * split.issuer_spread)
