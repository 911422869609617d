"""Adjustments: the operator stands in for a command, or moves money between parties."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from exchange.core.commands import Adjust, Burn, ChangeState, ClawBackEarn, Earn, Merge, MoneyMove, RefundBurn
from exchange.core.ids import HUB, OPERATOR, POOL
from exchange.core.journal import Line
from tests.builders import M1, M2, NOON, STRANGER, A, B, C, asked, at, card
from tests.ledger import Ledger

LONG_AGO = NOON - timedelta(days=300)


def adjust(request_id: str, subject: Any, **fields: Any) -> dict[str, Any]:
    """What an adjustment of M1 that stands for a command says."""
    return {"what": Adjust, "request_id": request_id, "subject": subject, **fields}


def test_an_adjusted_earn_posts_an_earns_legs_and_lines_as_of_its_time_however_late() -> None:
    cards = [card(A, 1, funding=8_000), card(A, 2, funding=10_000, valid_from="2026-01-01 00:00")]
    adjusted, earned = Ledger(cards=cards), Ledger(cards=cards)
    earned.move(LONG_AGO)
    earned.do(Earn, "earn", points=100)
    missing = asked(Earn, "missing", points=100, event_time=LONG_AGO)

    answer = adjusted.do(**adjust("fix", missing))

    assert (answer["points"], answer["rate_version"], answer["available_points"]) == (100, 1, 100)
    assert adjusted.legs("fix", OPERATOR) == earned.legs("earn")
    assert adjusted.lines("fix", OPERATOR) == earned.lines("earn")


def test_an_adjusted_claw_back_and_refund_count_as_the_partners_own() -> None:
    ledger = Ledger()
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=30, partner_id=B)

    ledger.do(**adjust("1", asked(RefundBurn, "x", original="burn", points=20, partner_id=B)))
    ledger.do(**adjust("2", asked(ClawBackEarn, "y", original="earn", points=60)))

    assert ledger.refusal(RefundBurn, "r", original="burn", points=11, partner_id=B) == "OVER_ORIGINAL"
    assert ledger.refusal(ClawBackEarn, "c", original="earn", points=41) == "OVER_ORIGINAL"
    assert ledger.wallet().open_points == 30


def test_an_adjusted_burn_needs_no_authority_and_no_active_account() -> None:
    ledger = Ledger()
    ledger.do(Earn, "earn", points=100)
    ledger.rows.links[M1, B].per_burn_limit_points = 0
    ledger.do(ChangeState, "freeze", kind="freeze")

    answer = ledger.do(**adjust("fix", asked(Burn, "missing", points=40, partner_id=B)))

    assert (answer["points"], answer["available_points"]) == (40, 60)
    assert Line(POOL, "BURN_FUNDING", B, "BURN_REIMBURSE", 380_000) in ledger.lines("fix", OPERATOR)


def test_points_that_an_adjusted_burn_does_not_find_are_owed_to_the_redeemer_at_its_reimbursement() -> None:
    ledger = Ledger()
    ledger.do(Earn, "earn", points=100)

    answer = ledger.do(**adjust("fix", asked(Burn, "missing", points=140, partner_id=B)))
    ledger.do(Earn, "next", points=50)

    assert (answer["points"], answer["deficit_points"], answer["available_points"]) == (100, 40, 0)
    assert Line(POOL, "DEFICIT_FUNDING", B, "DEFICIT_RECOVERY", 40 * 9_500) in ledger.lines("next")
    assert Line(POOL, "DEFICIT_FUNDING", OPERATOR, "RATE_VARIANCE", 40 * 500) in ledger.lines("next")
    assert ledger.wallet().open_points == 10


def test_a_closed_member_can_owe_nothing_and_a_merged_one_is_named_by_its_survivor() -> None:
    closed, merged = Ledger(), Ledger()
    closed.do(ChangeState, "close", kind="close")
    merged.do(Merge, "merge", into_member_id=M2)
    missing = asked(Burn, "missing", points=1, partner_id=B)

    assert closed.refusal(**adjust("fix", missing)) == "INSUFFICIENT_POINTS"
    assert merged.refusal(**adjust("fix", missing)) == "MEMBER_MERGED"


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        (asked(Earn, "x", spend_minor=99), "NOTHING_TO_EARN"),
        (asked(Earn, "x", points=1, event_time=at("2016-01-01 00:00")), "NO_RATE_CARD"),
        (asked(ClawBackEarn, "x", original="nothing", points=1), "ORIGINAL_UNKNOWN"),
        (asked(RefundBurn, "x", original="nothing", points=1), "ORIGINAL_UNKNOWN"),
        (asked(Burn, "x", points=1, event_time=at("2016-01-01 00:00")), "NO_RATE_CARD"),
        (asked(Burn, "x", points=1, partner_id=4), "MEMBER_UNKNOWN"),
    ],
)
def test_what_it_stands_for_is_checked(subject: Any, reason: str) -> None:
    ledger = Ledger()

    assert ledger.refusal(**adjust("fix", subject)) == reason


def test_a_once_rule_holds_for_adjusted_earns_too() -> None:
    ledger = Ledger()
    ledger.do(**adjust("1", asked(Earn, "x", points=5, once_rule="welcome")))

    assert ledger.refusal(Earn, "2", points=5, once_rule="welcome") == "ALREADY_EARNED"


def test_money_alone_is_one_line_and_touches_no_member() -> None:
    ledger = Ledger()

    answer = ledger.do(**adjust("fix", MoneyMove(A, OPERATOR, 123), member_id=0))

    assert answer["points"] == 0
    assert ledger.lines("fix", OPERATOR) == [Line(A, "ADJUSTMENT", OPERATOR, "ADJUSTMENT", 123)]


@pytest.mark.parametrize(
    "move",
    [
        MoneyMove(A, POOL, 1),
        MoneyMove(POOL, A, 1),
        MoneyMove(A, HUB, 1),
        MoneyMove(A, 99, 1),
        MoneyMove(C, C, 1),
    ],
)
def test_money_moves_between_two_partners_or_a_partner_and_the_operator_only(move: MoneyMove) -> None:
    ledger = Ledger()

    assert ledger.refusal(**adjust("fix", move, member_id=0)) == "UNKNOWN_PARTY"


def test_an_adjustment_is_not_of_the_future_nor_of_a_stranger_nor_twice_of_one_reference() -> None:
    ledger = Ledger()
    missing = asked(Earn, "x", points=5)
    late = NOON + timedelta(seconds=61)

    assert ledger.refusal(**adjust("1", missing, event_time=late)) == "EVENT_IN_FUTURE"
    assert ledger.refusal(**adjust("2", missing, member_id=STRANGER)) == "MEMBER_UNKNOWN"
    ledger.do(**adjust("3", missing, reference="ticket-7"))
    assert ledger.refusal(**adjust("4", missing, reference="ticket-7")) == "DUPLICATE_REFERENCE"


def test_a_correction_that_was_withdrawn_is_posted_by_nobody_whatever_it_stands_for() -> None:
    ledger = Ledger()
    ledger.rows.withdrawn_adjustments.add(7)
    missing, move = asked(Earn, "x", points=5), MoneyMove(A, OPERATOR, 123)

    assert ledger.refusal(**adjust("1", missing, adjustment_id=7)) == "ADJUSTMENT_WITHDRAWN"
    assert ledger.refusal(**adjust("2", move, adjustment_id=7, member_id=0)) == "ADJUSTMENT_WITHDRAWN"
    ledger.do(**adjust("3", missing, adjustment_id=8))
