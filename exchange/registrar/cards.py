"""Rate cards: proposed by one person, approved by another, never so that points bring more than they cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, select, update

from exchange.core.rates import NEVER, ExpiryPolicy
from exchange.registrar.card_checks import find_objections
from exchange.registrar.partners import Actor, change_registry, find_partner, is_same_person, lock_registry
from exchange.registrar.writes import RegistrarRefusal
from exchange.store.reads.ledger import read_clock
from exchange.store.reads.pages import Card, Partner, to_card
from exchange.store.tables import RATE_CARDS


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
        propose_time=read_clock(connection).ledger_time,
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

    Raises PARTNER_UNKNOWN, RATE_CARD_UNKNOWN, RATE_CARD_STATE (decided already, out of order, too late),
    SAME_PERSON, RATE_CARD_UNFUNDED, RATE_CARD_ARBITRAGE.
    """
    change_registry(connection)
    partner, row = _find_proposed(connection, partner_code, version)
    if is_same_person(row.proposed_by, actor.person):
        raise RegistrarRefusal("SAME_PERSON")
    ledger = read_clock(connection)
    for objection in find_objections(connection, row, ledger):
        raise objection
    decided = {"state": "approved", "approved_by": actor.person, "approve_time": ledger.ledger_time}
    return _decide(connection, partner, version, decided)


def withdraw_rate_card(connection: Connection, actor: Actor, partner_code: str, version: int) -> Card:
    """Takes a proposed card back, for ever; whoever proposed it. One person is enough, because it prices nothing.

    Raises PARTNER_UNKNOWN, RATE_CARD_UNKNOWN, RATE_CARD_STATE.
    """
    lock_registry(connection)
    partner, _ = _find_proposed(connection, partner_code, version)
    time = read_clock(connection).ledger_time
    decided = {"state": "withdrawn", "withdrawn_by": actor.person, "withdraw_time": time}
    return _decide(connection, partner, version, decided)


def _find_proposed(connection: Connection, partner_code: str, version: int) -> tuple[Partner, Row[Any]]:
    partner = find_partner(connection, partner_code)
    row = connection.execute(select(RATE_CARDS).where(*_is(partner, version))).first()
    if row is None:
        raise RegistrarRefusal("RATE_CARD_UNKNOWN")
    if row.state != "proposed":
        raise RegistrarRefusal("RATE_CARD_STATE", state=row.state)
    return partner, row


def _decide(connection: Connection, partner: Partner, version: int, decided: dict[str, Any]) -> Card:
    change = update(RATE_CARDS).where(*_is(partner, version)).values(**decided)
    return to_card(partner.code, connection.execute(change.returning(*RATE_CARDS.c)).one())


def _is(partner: Partner, version: int) -> tuple[ColumnElement[bool], ...]:
    columns = RATE_CARDS.c
    return columns.partner_id == partner.partner_id, columns.version == version
