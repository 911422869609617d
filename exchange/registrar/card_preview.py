"""What a proposed card would change, and what speaks against it: read before anybody approves it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, select

from exchange.core.rates import RateCard
from exchange.registrar.card_checks import find_objections, read_approved, to_rate_card
from exchange.registrar.partners import find_partner
from exchange.registrar.writes import RegistrarRefusal
from exchange.store.reads.ledger import read_clock
from exchange.store.reads.outstanding import Outstanding, Spendable, read_outstanding, read_spendable
from exchange.store.reads.pages import Card, to_card
from exchange.store.tables import RATE_CARDS


class Impact(NamedTuple):
    """What one card makes of the points that are there and of those to come, all in micros.

    As many points as the partner's outstanding ones at this card's F; what its members' points buy at its
    checkout; what it receives if they all are spent there; and for 1.00 of eligible spend what points cost the
    partner and what they buy there, both rounded down.
    """

    funding_micros: int
    member_value_micros: int
    reimbursement_micros: int
    earn_cost_micros: int
    earn_value_micros: int


class Preview(NamedTuple):
    """A card, what it replaces, and the difference it makes, at one moment of the ledger clock.

    `replaced_version` is 0 and `before` None for a partner's first card. `objections` come in the order of the checks:
    approval gives the first; empty where nothing but the approver's person could be in the way.
    """

    card: Card
    replaced_version: int
    outstanding: list[Outstanding]
    spendable: Spendable
    before: Impact | None
    after: Impact
    objections: list[RegistrarRefusal]
    ledger_time: datetime


def preview_rate_card(connection: Connection, partner_code: str, version: int) -> Preview:
    """What a card would change. Writes nothing. Raises PARTNER_UNKNOWN, RATE_CARD_UNKNOWN."""
    partner = find_partner(connection, partner_code)
    columns = RATE_CARDS.c
    of_partner = columns.partner_id == partner.partner_id
    row = connection.execute(select(RATE_CARDS).where(of_partner, columns.version == version)).first()
    if row is None:
        raise RegistrarRefusal("RATE_CARD_UNKNOWN")
    ledger = read_clock(connection)
    today = ledger.terms().day_of(ledger.ledger_time)
    outstanding = read_outstanding(connection, partner.partner_id, today)
    spendable = read_spendable(connection, partner.partner_id, today)
    points = sum(it.open_points + it.held_points for it in outstanding)
    proposed = to_rate_card(row)
    earlier = [
        card
        for card in read_approved(connection).history(partner.partner_id)
        if card.version != version and card.valid_from <= proposed.valid_from
    ]
    replaced = earlier[-1] if earlier else None
    return Preview(
        to_card(partner.code, row),
        replaced.version if replaced else 0,
        outstanding,
        spendable,
        _impact(replaced, points, spendable) if replaced else None,
        _impact(proposed, points, spendable),
        list(find_objections(connection, row, ledger)),
        ledger.ledger_time,
    )


def _impact(card: RateCard, outstanding_points: int, spendable: Spendable) -> Impact:
    cost = card.earn_rate * (card.funding_micros + card.issue_fee_micros)
    value = card.earn_rate * card.face_value_micros
    return Impact(
        outstanding_points * card.funding_micros,
        spendable.points * card.face_value_micros,
        (spendable.points - spendable.own_points) * card.reimbursement_micros,
        cost.numerator // cost.denominator,
        value.numerator // value.denominator,
    )
