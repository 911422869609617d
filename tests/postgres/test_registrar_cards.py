"""Rate cards in the registrar."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import partial

import psycopg
import pytest
from sqlalchemy import text

from exchange.core.ids import OPERATOR
from exchange.core.rates import ExpiryKind, ExpiryPolicy
from exchange.registrar import Actor, RegistrarRefusal
from exchange.store.engine import open_engine
from exchange.store.reads import read_cards
from exchange.store.reads.pages import Card, find_card_in_force, list_cards
from tests.builders import MICROSECOND, NOON, earn
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
    office.set_time(days_on(9))
    rich = {"funding_micros": 12_000, "prefunded_micros": 0, "reimbursement_micros": 11_000}

    with pytest.raises(RegistrarRefusal, match="RATE_CARD_UNFUNDED") as refused:
        approved(office, "cafe", valid_from=days_on(10), **rich)
    office.rows("UPDATE exchange.lots SET open_points = 0, burned_points = 10, spent = true RETURNING 1")

    assert refused.value.metadata["issuer_version"] == "1"
    assert approved(office, "cafe", valid_from=days_on(10), **rich).state == "approved"


def test_held_points_keep_an_old_cards_funding_in_force_too(office: Office) -> None:
    cafe = office.partner("cafe")
    approved(office, "cafe", funding_micros=9_000, prefunded_micros=0, reimbursement_micros=8_000)
    member = office.enroll(cafe, "c-1", WIDE)
    office.post(earn(points=10, partner_id=cafe.partner_id, member_id=member))
    better = {"funding_micros": 12_000, "prefunded_micros": 0, "reimbursement_micros": 8_000}
    approved(office, "cafe", valid_from=days_on(1), **better)
    office.set_time(days_on(9))
    office.rows("UPDATE exchange.lots SET open_points = 0, held_points = 10, spent = true RETURNING 1")

    with pytest.raises(RegistrarRefusal, match="RATE_CARD_UNFUNDED"):
        approved(office, "cafe", valid_from=days_on(10), **{**better, "reimbursement_micros": 9_001})


def test_a_replaced_funding_counts_while_a_late_earn_can_still_be_priced_by_it(office: Office) -> None:
    office.partner("cafe")
    approved(office, "cafe", funding_micros=9_000, prefunded_micros=0, reimbursement_micros=8_000)
    better = {"funding_micros": 12_000, "prefunded_micros": 0}
    approved(office, "cafe", valid_from=days_on(1), reimbursement_micros=8_000, **better)
    office.set_time(days_on(8) - timedelta(microseconds=1))
    rich = office.propose(new_card("cafe", valid_from=days_on(20), reimbursement_micros=11_000, **better))

    with pytest.raises(RegistrarRefusal, match="RATE_CARD_UNFUNDED") as refused:
        office.approve_card(rich)
    office.set_time(days_on(8))

    assert refused.value.metadata["issuer_version"] == "1"
    assert office.approve_card(rich).state == "approved"


def test_a_card_that_would_make_points_from_nothing_is_refused_and_the_cycle_printed(office: Office) -> None:
    office.partner("cafe")

    with pytest.raises(RegistrarRefusal, match="RATE_CARD_ARBITRAGE") as refused:
        approved(
            office,
            "cafe",
            native_rate_in=Fraction(21, 200),
            native_rate_out=Fraction(10),
            exchange_spread=Fraction(1, 50),
        )

    assert refused.value.metadata == {
        "cycle": "1 point -> 10 native of cafe (version 1) -> 1029/1000 points"
        " (version 1 less the spread of 1/50)",
        "partner_id": "cafe",
        "out_version": "1",
        "in_version": "1",
        "product": "1029/1000",
    }
    at_the_limit = {"native_rate_in": Fraction(1, 10), "native_rate_out": Fraction(10)}
    assert approved(office, "cafe", **at_the_limit).state == "approved"


def test_the_ways_of_different_partners_make_no_points(office: Office) -> None:
    for code, way in (("cafe", "native_rate_in"), ("tea", "native_rate_out")):
        office.partner(code)

        assert approved(office, code, **{way: Fraction(1_000)}).state == "approved"


def test_a_coming_card_is_refused_whose_rates_would_repay_what_is_exchanged_now(office: Office) -> None:
    office.partner("cafe")
    approved(office, "cafe", native_rate_in=Fraction(1, 10), native_rate_out=Fraction(10))

    for version, rates in ((2, (Fraction(1, 8), Fraction(8))), (3, (Fraction(1, 12), Fraction(12)))):
        into, out = rates
        with pytest.raises(RegistrarRefusal, match="RATE_CARD_ARBITRAGE") as refused:
            approved(office, "cafe", valid_from=days_on(1), native_rate_in=into, native_rate_out=out)

        versions = {refused.value.metadata["out_version"], refused.value.metadata["in_version"]}
        assert versions == {"1", str(version)}


def test_rates_change_for_good_once_the_exchange_was_closed_beyond_the_late_limit(office: Office) -> None:
    office.partner("cafe")
    approved(office, "cafe", native_rate_in=Fraction(1, 10), native_rate_out=Fraction(10))
    approved(office, "cafe", valid_from=days_on(1))
    anew = office.propose(
        new_card("cafe", valid_from=days_on(30), native_rate_in=Fraction(1, 8), native_rate_out=Fraction(8))
    )
    office.set_time(days_on(8) - timedelta(microseconds=1))

    with pytest.raises(RegistrarRefusal, match="RATE_CARD_ARBITRAGE"):
        office.approve_card(anew)
    office.set_time(days_on(8))

    assert office.approve_card(anew).state == "approved"


def test_the_hub_prices_exchange_by_the_approved_rates(office: Office) -> None:
    cafe = office.partner("cafe")
    approved(
        office,
        "cafe",
        native_rate_in=Fraction(1, 10),
        native_rate_out=Fraction(9),
        exchange_spread=Fraction(1, 50),
    )
    approved(office, "cafe", valid_from=days_on(1))

    with psycopg.connect(office.url) as connection:
        _, cards = read_cards(connection)

    first, second = cards.history(cafe.partner_id)
    assert (first.native_rate_in, first.native_rate_out) == (Fraction(1, 10), Fraction(9))
    assert first.exchange_spread == Fraction(1, 50)
    assert (second.native_rate_in, second.native_rate_out) == (None, None)
    assert second.exchange_spread == 0


def test_a_card_remembers_who_did_what_to_it_and_when_on_the_ledger_clock(office: Office) -> None:
    office.partner("cafe")
    card = office.propose(new_card("cafe"), by=CHEN)
    office.set_time(days_on(1))

    done = office.approve_card(card, by=LI)

    assert (card.propose_time, card.approve_time) == (NOON, None)
    assert (done.proposed_by, done.propose_time) == ("chen.wei", NOON)
    assert (done.approved_by, done.approve_time) == ("li.na", days_on(1))
    assert (done.withdrawn_by, done.withdraw_time) == ("", None)


@pytest.mark.parametrize("who", [CHEN, LI])
def test_one_person_withdraws_a_proposed_card_for_ever(office: Office, who: Actor) -> None:
    office.partner("cafe")
    card = office.propose(new_card("cafe"), by=CHEN)
    office.set_time(days_on(1))

    gone = withdraw(office, card, who)

    assert (gone.state, gone.withdrawn_by, gone.withdraw_time) == ("withdrawn", who.person, days_on(1))
    with pytest.raises(RegistrarRefusal, match="RATE_CARD_STATE") as refused:
        office.approve_card(card, by=LI)
    assert refused.value.metadata == {"state": "withdrawn"}
    with pytest.raises(RegistrarRefusal, match="RATE_CARD_STATE"):
        withdraw(office, card, who)
    assert office.propose(new_card("cafe")).version == 2


def test_an_approved_card_and_one_that_is_not_there_can_not_be_withdrawn(office: Office) -> None:
    office.partner("cafe")
    card = approved(office, "cafe")

    with pytest.raises(RegistrarRefusal, match="RATE_CARD_STATE") as refused:
        withdraw(office, card, CHEN)
    assert refused.value.metadata == {"state": "approved"}
    with pytest.raises(RegistrarRefusal, match="RATE_CARD_UNKNOWN"):
        withdraw(office, card._replace(version=2), CHEN)
    with pytest.raises(RegistrarRefusal, match="PARTNER_UNKNOWN"):
        withdraw(office, card._replace(partner_code="nobody"), CHEN)


def test_a_card_approved_and_withdrawn_at_once_is_one_of_both(office: Office) -> None:
    office.partner("cafe")

    for day in range(1, 6):
        card = office.propose(new_card("cafe", valid_from=days_on(day)), by=CHEN)
        with ThreadPoolExecutor(2) as threads:
            decisions = [
                threads.submit(outcome, partial(office.approve_card, card, by=LI)),
                threads.submit(outcome, partial(withdraw, office, card, CHEN)),
            ]
            outcomes = {it.result() for it in decisions}

        assert outcomes in ({"approved", "RATE_CARD_STATE"}, {"withdrawn", "RATE_CARD_STATE"})


def withdraw(office: Office, card: Card, by: Actor) -> Card:
    gone: Card = office.value(
        lambda encode: office.registrar.withdraw_rate_card(
            office.write(by), by, card.partner_code, card.version, encode
        )
    )
    return gone


def outcome(decide: Callable[[], Card]) -> str:
    """The state that came of it, or why not."""
    try:
        return decide().state
    except RegistrarRefusal as refusal:
        return refusal.reason


def test_the_card_in_force_is_read_as_of_any_time(office: Office) -> None:
    cafe = office.partner("cafe")
    office.partner("tea")
    approved(office, "cafe", valid_from=NOON)
    approved(office, "tea", valid_from=NOON - 100 * DAY)
    approved(office, "cafe", valid_from=days_on(1))
    office.propose(new_card("cafe", valid_from=days_on(2)))

    def version_at(moment: datetime) -> int:
        with office.engine.connect() as connection:
            card = find_card_in_force(connection, "cafe", cafe.partner_id, moment)
        return card.version if card else 0

    moments = (NOON - MICROSECOND, NOON, days_on(1) - MICROSECOND, days_on(1), days_on(1000))
    assert [version_at(moment) for moment in moments] == [0, 1, 1, 2, 2]


def test_cards_are_listed_by_state(office: Office) -> None:
    cafe = office.partner("cafe")
    approved(office, "cafe")
    withdraw(office, office.propose(new_card("cafe")), CHEN)
    office.propose(new_card("cafe"))

    def versions(state: str | None, before: int | None = None) -> list[int]:
        with office.engine.connect() as connection:
            return [
                card.version for card in list_cards(connection, "cafe", cafe.partner_id, before, 9, state)
            ]

    assert versions(None) == [3, 2, 1]
    assert [versions(state) for state in ("approved", "withdrawn", "proposed")] == [[1], [2], [3]]
    assert versions("proposed", 3) == []
