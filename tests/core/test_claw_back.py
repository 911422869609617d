"""Claw backs: how many points, from which rows, and who owes the rest."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest

from exchange.core.commands import AuthorizeBurn, Burn, ClawBackEarn, Earn, RefundBurn, Transfer, VoidBurn
from exchange.core.ids import OPERATOR, POOL
from exchange.core.journal import Line
from tests.builders import M1, M2, NOON, TERMS, A, B, C, asked, card
from tests.ledger import Ledger


def test_open_points_are_taken_back_with_what_the_pool_holds_and_the_fee_stays() -> None:
    ledger = Ledger(cards=[card(A, funding=10_000, prefunded=4_000)])
    ledger.do(Earn, "earn", points=100)

    answer = ledger.do(ClawBackEarn, "claw", original="earn", points=60)

    assert (answer["points"], answer["remaining_points"], answer["available_points"]) == (60, 40, 40)
    assert ledger.legs("claw") == [(M1, 1, "open", "clawed_back", 60)]
    assert ledger.lines("claw") == [Line(POOL, "CLAWBACK_FUNDING", A, "CLAWBACK_FUNDING", 240_000)]


def test_by_spend_it_takes_what_the_spend_that_is_kept_has_not_earned() -> None:
    """3.34 at 1 point per 2.00 earn 1; rounding down is never undone twice."""
    ledger = Ledger(cards=[card(A, earn_rate=Fraction(1, 2))])
    ledger.do(Earn, "earn", spend_minor=1_000)  # 5 points

    taken = [
        ledger.do(ClawBackEarn, str(part), original="earn", refunded_spend_minor=spend)["points"]
        for part, spend in enumerate((1, 199, 1, 799))
    ]

    assert taken == [1, 0, 1, 3]
    assert ledger.wallet().open_points == 0


def test_a_claw_back_that_takes_nothing_is_an_entry_all_the_same() -> None:
    ledger = Ledger()
    ledger.do(Earn, "earn", spend_minor=1_050)

    answer = ledger.do(ClawBackEarn, "claw", original="earn", refunded_spend_minor=50)

    assert (answer["points"], answer["remaining_points"]) == (0, 10)
    assert (ledger.legs("claw"), ledger.lines("claw")) == ([], [])


def test_what_was_taken_by_points_is_not_taken_by_spend_again() -> None:
    ledger = Ledger()
    ledger.do(Earn, "earn", spend_minor=10_000)
    ledger.do(ClawBackEarn, "1", original="earn", points=60)

    half = ledger.do(ClawBackEarn, "2", original="earn", refunded_spend_minor=5_000)
    rest = ledger.do(ClawBackEarn, "3", original="earn", refunded_spend_minor=5_000)

    assert (half["points"], rest["points"]) == (0, 40)


@pytest.mark.parametrize(
    ("earned", "asked_for", "reason"),
    [
        ({"points": 100}, {"original": "nothing", "points": 1}, "ORIGINAL_UNKNOWN"),
        ({"points": 100}, {"member_id": M2, "points": 1}, "ORIGINAL_UNKNOWN"),
        ({"points": 100}, {"partner_id": B, "points": 1}, "ORIGINAL_UNKNOWN"),
        ({"points": 100}, {"original": "burn", "points": 1}, "ORIGINAL_UNKNOWN"),
        ({"points": 100}, {"refunded_spend_minor": 1}, "CLAW_BACK_BASIS"),
        ({"points": 100}, {"points": 101}, "OVER_ORIGINAL"),
        ({"spend_minor": 9_999}, {"points": 100}, "OVER_ORIGINAL"),
        ({"spend_minor": 9_999}, {"refunded_spend_minor": 10_000}, "OVER_ORIGINAL"),
    ],
)
def test_only_what_was_earned_can_be_clawed_back(
    earned: dict[str, Any], asked_for: dict[str, Any], reason: str
) -> None:
    ledger = Ledger()
    ledger.do(Earn, "earn", **earned)
    ledger.do(Burn, "burn", points=10)

    assert ledger.refusal(ClawBackEarn, "claw", **{"original": "earn", **asked_for}) == reason


def test_refusals_say_what_is_left_to_claw_back() -> None:
    ledger = Ledger()
    ledger.do(Earn, "earn", spend_minor=10_000)
    ledger.do(ClawBackEarn, "1", original="earn", refunded_spend_minor=4_000)

    points = ledger.ask(asked(ClawBackEarn, "2", original="earn", points=61))
    spend = ledger.ask(asked(ClawBackEarn, "3", original="earn", refunded_spend_minor=6_001))

    assert points["remaining_points"] == "60"
    assert spend["remaining_spend_minor"] == "6000"


def test_points_that_were_used_become_a_deficit_at_the_price_they_had() -> None:
    cards = [card(A, 1, funding=10_000), card(A, 2, funding=20_000, valid_from="2026-01-02 00:00")]
    ledger = Ledger(cards=cards)
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=30, partner_id=B)
    ledger.move(NOON + timedelta(days=1))

    answer = ledger.do(ClawBackEarn, "claw", original="earn", points=100)

    assert (answer["deficit_points"], answer["available_points"]) == (30, 0)
    assert ledger.owed() == [(A, 10_000, 30)]
    assert ledger.lot(M1, 1).deficit_raised_points == 30


def test_a_deficit_takes_the_members_open_points_at_once_in_consumption_order() -> None:
    ledger = Ledger()
    ledger.do(Earn, "a", points=100)
    ledger.do(Burn, "burn", points=100, partner_id=C)
    ledger.do(Earn, "b", points=60, partner_id=B)
    ledger.do(Earn, "c", points=60, partner_id=C)

    answer = ledger.do(ClawBackEarn, "claw", original="a", points=100)

    assert ledger.legs("claw") == [(M1, 2, "open", "absorbed", 60), (M1, 3, "open", "absorbed", 40)]
    assert (answer["deficit_points"], answer["available_points"], ledger.owed()) == (100, 20, [])


def test_what_raised_a_deficit_once_raises_none_again() -> None:
    """Two orders filled one lot, and 100 of its 200 points were used: only 100 can be owed."""
    ledger = Ledger()
    ledger.do(Earn, "1", points=100)
    ledger.do(Earn, "2", points=100)
    ledger.do(Burn, "burn", points=100, partner_id=B)

    first = ledger.do(ClawBackEarn, "claw 1", original="1", points=100)
    second = ledger.do(ClawBackEarn, "claw 2", original="2", points=100)

    assert (first["deficit_points"], second["deficit_points"]) == (0, 100)


def test_points_given_to_another_member_were_used() -> None:
    ledger = Ledger()
    ledger.do(Earn, "earn", points=100)
    ledger.do(Transfer, "gift", to_member_id=M2, points=70)

    answer = ledger.do(ClawBackEarn, "claw", original="earn", points=100)

    assert answer["deficit_points"] == 70
    assert ledger.wallet(M2).open_points == 70


def test_held_points_were_used_until_they_come_back_and_pay() -> None:
    ledger = Ledger()
    ledger.do(Earn, "earn", points=100)
    ledger.do(AuthorizeBurn, "hold", points=100, partner_id=B)
    ledger.do(ClawBackEarn, "claw", original="earn", points=100)

    answer = ledger.do(VoidBurn, "void", original="hold", partner_id=B)

    assert (answer["available_points"], ledger.owed()) == (0, [])
    assert ledger.nets() == {A: -20_000, OPERATOR: 20_000}  # the fee, and nothing else


def test_a_refund_of_the_burn_pays_what_its_earns_claw_back_left_owed() -> None:
    ledger = Ledger()
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=100, partner_id=B)
    ledger.do(ClawBackEarn, "claw", original="earn", points=100)

    ledger.do(RefundBurn, "refund", original="burn", points=100, partner_id=B)

    assert ledger.owed() == []
    assert ledger.nets() == {A: -20_000, OPERATOR: 20_000}


def test_the_policy_clamp_forgives_what_is_not_there() -> None:
    ledger = Ledger(terms=replace(TERMS, claw_back="clamp"))
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=30, partner_id=B)

    answer = ledger.do(ClawBackEarn, "claw", original="earn", points=100)

    assert (answer["points"], answer["deficit_points"], ledger.owed()) == (100, 0, [])
    assert ledger.legs("claw") == [(M1, 1, "open", "clawed_back", 70)]


def test_deficits_are_paid_oldest_first() -> None:
    ledger = Ledger()
    for number, partner in enumerate((A, C)):
        ledger.move(NOON + timedelta(hours=number))
        ledger.do(Earn, f"earn {number}", points=50, partner_id=partner)
        ledger.do(Burn, f"burn {number}", points=50, partner_id=B)
    ledger.do(ClawBackEarn, "claw 1", original="earn 1", points=50, partner_id=C)
    ledger.do(ClawBackEarn, "claw 0", original="earn 0", points=50)

    ledger.do(Earn, "next", points=70, partner_id=B)

    assert ledger.owed() == [(A, 10_000, 30)]  # raised after C's


@pytest.mark.parametrize(
    ("funding", "lines"),
    [
        pytest.param(
            12_000,
            [
                Line(POOL, "DEFICIT_FUNDING", OPERATOR, "RATE_VARIANCE", 10 * 667),
                Line(POOL, "DEFICIT_FUNDING", A, "DEFICIT_RECOVERY", 10 * 3_333),
                Line(C, "DEFICIT_FUNDING", OPERATOR, "RATE_VARIANCE", 10 * 1_333),
                Line(C, "DEFICIT_FUNDING", A, "DEFICIT_RECOVERY", 10 * 6_667),
            ],
            id="dearer points: the operator has the rest",
        ),
        pytest.param(
            8_000,
            [
                Line(OPERATOR, "RATE_VARIANCE", POOL, "DEFICIT_FUNDING", 10 * 1_000),
                Line(OPERATOR, "RATE_VARIANCE", C, "DEFICIT_FUNDING", 10 * 1_000),
                Line(POOL, "DEFICIT_FUNDING", A, "DEFICIT_RECOVERY", 10 * 5_000),
                Line(C, "DEFICIT_FUNDING", A, "DEFICIT_RECOVERY", 10 * 5_000),
            ],
            id="cheaper points: the operator pays the rest",
        ),
    ],
)
def test_a_deficit_receives_its_own_price_from_whatever_lot_pays_it(funding: int, lines: list[Line]) -> None:
    ledger = Ledger(cards=[card(A, funding=10_000), card(C, funding=funding, prefunded=4_000, issue_fee=0)])
    ledger.do(Earn, "earn", points=10)
    ledger.do(Burn, "burn", points=10, partner_id=B)
    ledger.do(ClawBackEarn, "claw", original="earn", points=10)

    ledger.do(Earn, "next", points=10, partner_id=C)

    paid = [line for line in ledger.lines("next", C) if "DEFICIT_FUNDING" in line]
    assert sorted(paid) == sorted(lines)


def test_the_owed_issuers_own_points_give_back_what_the_pool_holds() -> None:
    ledger = Ledger(cards=[card(A, funding=10_000, prefunded=4_000, issue_fee=0)])
    ledger.do(Earn, "earn", points=10)
    ledger.do(Burn, "burn", points=10, partner_id=B)
    ledger.do(ClawBackEarn, "claw", original="earn", points=10)

    ledger.do(Earn, "next", points=10)

    assert Line(POOL, "DEFICIT_FUNDING", A, "DEFICIT_RECOVERY", 40_000) in ledger.lines("next")


def test_a_claw_back_may_come_in_parts_under_one_reference() -> None:
    ledger = Ledger()
    ledger.do(Earn, "earn", points=100)
    ledger.do(ClawBackEarn, "1", original="earn", points=10, reference="o", part=1)
    ledger.do(ClawBackEarn, "2", original="earn", points=10, reference="o", part=2)

    again = ledger.refusal(ClawBackEarn, "3", original="earn", points=10, reference="o", part=2)

    assert again == "DUPLICATE_REFERENCE"
