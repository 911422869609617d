"""Rate cards in the registrar."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from fractions import Fraction

import pytest
from sqlalchemy import text

from exchange.core.ids import OPERATOR
from exchange.core.rates import ExpiryKind, ExpiryPolicy
from exchange.registrar import Actor, RegistrarRefusal
from exchange.store.engine import open_engine
from exchange.store.reads.pages import Card
from tests.builders import NOON, earn
from tests.postgres.ledger_at_work import CHEN, LI, WIDE, Office, days_on, new_card

DAY = timedelta(days=1)
WANG = Actor(OPERATOR, "operator", "wang.fang")


def approved(office: Office, partner_code: str, **changes: object) -> Card:
    return office.approve_card(office.propose(new_card(partner_code, **changes)))


def give_notice(office: Office, seconds: int) -> None:
    owner = open_engine(office.url, role=None)
    with owner.begin() as connection:
        connection.execute(text("UPDATE exchange.ledger SET card_notice_seconds = :s"), {"s": seconds})
    owner.dispose()


def test_a_card_comes_back_as_it_was_proposed(office: Office) -> None:
    office.partner("cafe")
    new = new_card(
        "cafe",
        earn_rate=Fraction(6, 4),
        native_rate_in=Fraction(1, 10),
        native_rate_out=Fraction(9),
        exchange_spread=Fraction(1, 50),
        expiry_policy=ExpiryPolicy(ExpiryKind.FIXED_DATE, fixed_date=date(2027, 12, 31)),
    )

    card = office.propose(new)

    assert card.earn_rate == Fraction(3, 2)
    assert (card.native_rate_in, card.native_rate_out, card.exchange_spread) == (
        Fraction(1, 10),
        Fraction(9),
        Fraction(1, 50),
    )
    assert card.expiry_policy == new.expiry_policy
    assert (card.version, card.state, card.proposed_by, card.approved_by) == (1, "proposed", "chen.wei", "")


def test_versions_count_up_for_each_partner(office: Office) -> None:
    office.partner("cafe")
    office.partner("tea")

    versions = [office.propose(new_card(code)).version for code in ("cafe", "cafe", "tea", "cafe")]

    assert versions == [1, 2, 1, 3]


def test_proposals_at_once_get_different_versions(office: Office) -> None:
    office.partner("cafe")

    with ThreadPoolExecutor(4) as threads:
        cards = list(threads.map(lambda _: office.propose(new_card("cafe")), range(4)))

    assert sorted(card.version for card in cards) == [1, 2, 3, 4]


def test_the_person_who_proposed_a_card_does_not_approve_it(office: Office) -> None:
    office.partner("cafe")
    card = office.propose(new_card("cafe"), by=CHEN)

    with pytest.raises(RegistrarRefusal, match="SAME_PERSON"):
        office.approve_card(card, by=CHEN)

    assert office.approve_card(card, by=LI).approved_by == "li.na"


def test_two_approvals_of_a_card_at_once_give_one_yes(office: Office) -> None:
    office.partner("cafe")
    card = office.propose(new_card("cafe"))

    def approve(actor: Actor) -> str:
        try:
            return office.approve_card(card, by=actor).state
        except RegistrarRefusal as refusal:
            return refusal.reason

    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(approve, (LI, WANG)))

    assert sorted(outcomes) == ["RATE_CARD_STATE", "approved"]


def test_a_card_or_partner_that_is_not_there_is_unknown(office: Office) -> None:
    office.partner("cafe")
    card = office.propose(new_card("cafe"))

    with pytest.raises(RegistrarRefusal, match="RATE_CARD_UNKNOWN"):
        office.approve_card(card._replace(version=2))
    with pytest.raises(RegistrarRefusal, match="PARTNER_UNKNOWN"):
        office.approve_card(card._replace(partner_code="POOL"))
    with pytest.raises(RegistrarRefusal, match="PARTNER_UNKNOWN"):
        office.propose(new_card("nobody"))


def test_a_partners_first_card_may_begin_in_the_past(office: Office) -> None:
    give_notice(office, 86400)
    office.partner("cafe")

    assert approved(office, "cafe", valid_from=NOON - 100 * DAY).state == "approved"


def test_a_later_card_needs_the_notice_on_the_ledger_clock(office: Office) -> None:
    give_notice(office, 86400)
    office.partner("cafe")
    approved(office, "cafe")
    early = office.propose(new_card("cafe", valid_from=NOON + DAY - timedelta(microseconds=1)))

    with pytest.raises(RegistrarRefusal, match="RATE_CARD_STATE") as refused:
        office.approve_card(early)

    assert refused.value.metadata == {"earliest_valid_from": "2026-01-02T04:00:00+00:00"}
    assert approved(office, "cafe", valid_from=NOON + DAY).version == 3


def test_a_card_comes_after_every_approved_one(office: Office) -> None:
    office.partner("cafe")
    approved(office, "cafe")
    approved(office, "cafe", valid_from=days_on(10))

    with pytest.raises(RegistrarRefusal, match="RATE_CARD_STATE"):
        approved(office, "cafe", valid_from=days_on(10))
    with pytest.raises(RegistrarRefusal, match="RATE_CARD_STATE"):
        approved(office, "cafe", valid_from=days_on(5))


def test_a_card_that_pays_more_than_another_brings_is_refused_and_names_both(office: Office) -> None:
    office.partner("cafe")
    office.partner("tea")
    approved(office, "cafe", funding_micros=9_000, prefunded_micros=0, reimbursement_micros=8_000)

    with pytest.raises(RegistrarRefusal, match="RATE_CARD_UNFUNDED") as refused:
        approved(office, "tea", funding_micros=9_600, prefunded_micros=0, reimbursement_micros=9_500)

    assert refused.value.metadata == {
        "redeemer_id": "tea",
        "redeemer_version": "1",
        "reimbursement_micros": "9500",
        "issuer_id": "cafe",
        "issuer_version": "1",
        "funding_micros": "9000",
    }


def test_open_points_keep_an_old_cards_funding_in_force(office: Office) -> None:
    cafe = office.partner("cafe")
    approved(office, "cafe", funding_micros=9_000, prefunded_micros=0, reimbursement_micros=8_000)
    member = office.enroll(cafe, "c-1", WIDE)
    office.post(earn(points=10, partner_id=cafe.partner_id, member_id=member))
    approved(
        office,
        "cafe",
        valid_from=days_on(1),
        funding_micros=12_000,
        prefunded_micros=0,
        reimbursement_micros=8_000,
    )
    office.set_time(days_on(2))
    rich = {"funding_micros": 12_000, "prefunded_micros": 0, "reimbursement_micros": 11_000}

    with pytest.raises(RegistrarRefusal, match="RATE_CARD_UNFUNDED") as refused:
        approved(office, "cafe", valid_from=days_on(3), **rich)
    office.rows("UPDATE exchange.lots SET open_points = 0, burned_points = 10, spent = true RETURNING 1")

    assert refused.value.metadata["issuer_version"] == "1"
    assert approved(office, "cafe", valid_from=days_on(3), **rich).state == "approved"
