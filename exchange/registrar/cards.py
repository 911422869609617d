"""Rate cards: proposed by one person, approved by another, never so that points bring more than they cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection, Row, func, insert, or_, select, update

from exchange.core.rates import NEVER, Cards, ExpiryPolicy, RateCard, find_unfunded
from exchange.registrar.partners import Actor, change_registry, find_partner, lock_registry
from exchange.registrar.writes import RegistrarRefusal
from exchange.store.reads.ledger import Ledger, read_clock
from exchange.store.reads.pages import Card, to_card
from exchange.store.tables import LOTS, PARTNERS, RATE_CARDS


@dataclass(frozen=True, slots=True)
class NewCard:
    """A card to propose. Prices are micros a point, rates are exact."""

    partner_code: str
    valid_from: datetime
    earn_rate: Fraction
    native_rate_in: Fraction | None
    native_rate_out: Fraction | None
    exchange_spread: Fraction
    face_value_micros: int
    funding_micros: int
    reimbursement_micros: int
    issue_fee_micros: int
    prefunded_micros: int
    expiry_policy: ExpiryPolicy
    breakage_issuer_share: Fraction


def propose_rate_card(connection: Connection, actor: Actor, new: NewCard) -> Card:
    """Gives the partner's next version to a card that waits for approval. Raises PARTNER_UNKNOWN."""
    lock_registry(connection)
    partner = find_partner(connection, new.partner_code)
    columns = RATE_CARDS.c
    newest = select(func.coalesce(func.max(columns.version), 0)).where(
        columns.partner_id == partner.partner_id
    )
    proposal = insert(RATE_CARDS).values(
        partner_id=partner.partner_id,
        version=connection.execute(newest).scalar_one() + 1,
        valid_from=new.valid_from,
        face_value_micros=new.face_value_micros,
        funding_micros=new.funding_micros,
        reimbursement_micros=new.reimbursement_micros,
        issue_fee_micros=new.issue_fee_micros,
        prefunded_micros=new.prefunded_micros,
        expiry_kind=new.expiry_policy.kind.value,
        expiry_amount=new.expiry_policy.amount,
        expiry_fixed_date=_fixed_date(new.expiry_policy),
        state="proposed",
        proposed_by=actor.person,
        **_rates(new),
    )
    return to_card(partner.code, connection.execute(proposal.returning(*columns)).one())


def _fixed_date(policy: ExpiryPolicy) -> date | None:
    return None if policy.fixed_date == NEVER else policy.fixed_date


def _rates(new: NewCard) -> dict[str, int | None]:
    rates = {
        "earn_rate": new.earn_rate,
        "native_rate_in": new.native_rate_in,
        "native_rate_out": new.native_rate_out,
        "exchange_spread": new.exchange_spread,
        "breakage_issuer_share": new.breakage_issuer_share,
    }
    halves: dict[str, int | None] = {}
    for name, rate in rates.items():
        halves[f"{name}_numerator"] = None if rate is None else rate.numerator
        halves[f"{name}_denominator"] = None if rate is None else rate.denominator
    return halves


def approve_rate_card(connection: Connection, actor: Actor, partner_code: str, version: int) -> Card:
    """Lets a proposed card price events from its `valid_from` on.

    Raises PARTNER_UNKNOWN, RATE_CARD_UNKNOWN, RATE_CARD_STATE (approved already, out of order, too late),
    SAME_PERSON, RATE_CARD_UNFUNDED.
    """
    change_registry(connection)
    partner = find_partner(connection, partner_code)
    columns = RATE_CARDS.c
    this_card = (columns.partner_id == partner.partner_id, columns.version == version)
    row = connection.execute(select(RATE_CARDS).where(*this_card)).first()
    if row is None:
        raise RegistrarRefusal("RATE_CARD_UNKNOWN")
    if row.state != "proposed":
        raise RegistrarRefusal("RATE_CARD_STATE")
    if row.proposed_by == actor.person:
        raise RegistrarRefusal("SAME_PERSON")
    approved = connection.execute(select(RATE_CARDS).where(columns.state == "approved")).all()
    cards = Cards([_to_rate_card(it) for it in approved])
    proposed = _to_rate_card(row)
    ledger = read_clock(connection)
    _check_time(proposed, cards, ledger)
    _check_funding(connection, proposed, cards, ledger)
    accepted = update(RATE_CARDS).where(*this_card).values(state="approved", approved_by=actor.person)
    return to_card(partner.code, connection.execute(accepted.returning(*columns)).one())


def _check_time(proposed: RateCard, cards: Cards, ledger: Ledger) -> None:
    """A partner's first card may begin at any time: before it nothing of the partner's was priced."""
    history = cards.history(proposed.partner_id)
    if not history:
        return
    earliest = ledger.ledger_time + timedelta(seconds=ledger.card_notice_seconds)
    if proposed.valid_from <= history[-1].valid_from or proposed.valid_from < earliest:
        raise RegistrarRefusal("RATE_CARD_STATE", earliest_valid_from=earliest.isoformat())


def _check_funding(connection: Connection, proposed: RateCard, cards: Cards, ledger: Ledger) -> None:
    outstanding = _outstanding(connection, proposed, cards)
    unfunded = find_unfunded(proposed, cards, ledger.ledger_time, outstanding)
    if unfunded is None:
        return
    rows = connection.execute(select(PARTNERS.c.partner_id, PARTNERS.c.code))
    codes = {row.partner_id: row.code for row in rows}
    redeemer, issuer = unfunded.redeemer, unfunded.issuer
    raise RegistrarRefusal(
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


def _to_rate_card(row: Row[Any]) -> RateCard:
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
    )
