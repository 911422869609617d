"""What speaks against a proposed card: that it comes too late, pays more than it brings, or makes points."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from exchange.core.arbitrage import find_cycle, usable_cards
from exchange.core.rates import Cards, RateCard, find_unfunded
from exchange.registrar.writes import RegistrarRefusal
from exchange.store.reads.ledger import Ledger
from exchange.store.reads.pages import to_card
from exchange.store.tables import LOTS, PARTNERS, RATE_CARDS


def find_objections(connection: Connection, row: Row[Any], ledger: Ledger) -> Iterator[RegistrarRefusal]:
    """The refusals that an approval of this card would meet, in the order in which it meets them.

    `row` holds the columns of `RATE_CARDS`. Who may approve is not looked at.
    """
    if row.state != "proposed":
        yield RegistrarRefusal("RATE_CARD_STATE", state=row.state)
        return
    proposed, cards = to_rate_card(row), read_approved(connection)
    yield from _timing(proposed, cards, ledger)
    yield from _funding(connection, proposed, cards, ledger)
    yield from _arbitrage(connection, proposed, cards, ledger)


def read_approved(connection: Connection) -> Cards:
    """Every approved card."""
    rows = connection.execute(select(RATE_CARDS).where(RATE_CARDS.c.state == "approved"))
    return Cards(to_rate_card(row) for row in rows)


def _timing(proposed: RateCard, cards: Cards, ledger: Ledger) -> Iterator[RegistrarRefusal]:
    """A partner's first card may begin at any time: before it nothing of the partner's was priced."""
    history = cards.history(proposed.partner_id)
    if not history:
        return
    earliest = ledger.ledger_time + timedelta(seconds=ledger.card_notice_seconds)
    if proposed.valid_from <= history[-1].valid_from or proposed.valid_from < earliest:
        yield RegistrarRefusal("RATE_CARD_STATE", earliest_valid_from=earliest.isoformat())


def _funding(
    connection: Connection, proposed: RateCard, cards: Cards, ledger: Ledger
) -> Iterator[RegistrarRefusal]:
    outstanding = _outstanding(connection, proposed, cards)
    unfunded = find_unfunded(proposed, cards, _earliest_event(ledger), outstanding)
    if unfunded is None:
        return
    codes = _partner_codes(connection)
    redeemer, issuer = unfunded.redeemer, unfunded.issuer
    yield RegistrarRefusal(
        "RATE_CARD_UNFUNDED",
        redeemer_id=codes[redeemer.partner_id],
        redeemer_version=str(redeemer.version),
        reimbursement_micros=str(redeemer.reimbursement_micros),
        issuer_id=codes[issuer.partner_id],
        issuer_version=str(issuer.version),
        funding_micros=str(issuer.funding_micros),
    )


def _outstanding(connection: Connection, proposed: RateCard, cards: Cards) -> Iterator[tuple[int, int]]:
    """The cards of lots with open or held points.

    Only cards that some reimbursement exceeds are looked for: lots have no index by card, and there are none
    where all is in order.
    """
    known = [card for partner in cards.partners() for card in cards.history(partner)]
    highest = max(card.reimbursement_micros for card in (proposed, *known))
    columns = LOTS.c
    for card in known:
        if card.funding_micros >= highest:
            continue
        lot = select(columns.lot_sequence).where(
            columns.issuer_id == card.partner_id,
            columns.rate_version == card.version,
            or_(columns.open_points > 0, columns.held_points > 0),
        )
        if connection.execute(lot.limit(1)).first() is not None:
            yield card.partner_id, card.version


def _arbitrage(
    connection: Connection, proposed: RateCard, cards: Cards, ledger: Ledger
) -> Iterator[RegistrarRefusal]:
    cycle = find_cycle(usable_cards(cards, proposed, _earliest_event(ledger)))
    if cycle is None:
        return
    partner = _partner_codes(connection)[cycle.out.partner_id]
    yield RegistrarRefusal(
        "RATE_CARD_ARBITRAGE",
        cycle=cycle.describe(partner),
        partner_id=partner,
        out_version=str(cycle.out.version),
        in_version=str(cycle.back.version),
        product=str(cycle.product),
    )


def _earliest_event(ledger: Ledger) -> datetime:
    """Of what can still be posted: versions that price it are in use, though others have replaced them."""
    return ledger.ledger_time - timedelta(seconds=ledger.late_limit_seconds)


def _partner_codes(connection: Connection) -> dict[int, str]:
    rows = connection.execute(select(PARTNERS.c.partner_id, PARTNERS.c.code))
    return {row.partner_id: row.code for row in rows}


def to_rate_card(row: Row[Any]) -> RateCard:
    """A card as the rules see it, from the columns of `RATE_CARDS`."""
    card = to_card("", row)
    return RateCard(
        row.partner_id,
        card.version,
        card.valid_from,
        card.earn_rate,
        card.face_value_micros,
        card.funding_micros,
        card.reimbursement_micros,
        card.issue_fee_micros,
        card.prefunded_micros,
        card.expiry_policy,
        card.breakage_issuer_share,
        card.native_rate_in,
        card.native_rate_out,
        card.exchange_spread,
    )
