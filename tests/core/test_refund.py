"""Refunds: which lots get their points back, who pays back what, and how much is left."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from exchange.core.commands import AuthorizeBurn, Burn, CaptureBurn, ClawBackEarn, Earn, RefundBurn
from exchange.core.ids import OPERATOR, POOL
from exchange.core.journal import Line
from tests.builders import M1, M2, NOON, TERMS, A, B, C, asked, card
from tests.ledger import Ledger


def ledger_with_burn(refund: str = "lot_exact", points: tuple[int, int, int] = (10, 20, 30)) -> Ledger:
    """M1 burned all points of three lots at B."""
    ledger = Ledger(terms=replace(TERMS, refund=refund))
    for number, amount in enumerate(points):
        ledger.do(Earn, f"earn {number}", points=amount, expiry_date=date(2026, 3, 1 + number))
    ledger.do(Burn, "burn", points=sum(points), partner_id=B)
    return ledger


def returned(ledger: Ledger, request_id: str) -> list[tuple[int, int]]:
    """(lot, points) of each returned leg."""
    return [(lot, points) for _, lot, source, _, points in ledger.legs(request_id, B) if source == "burned"]


def test_the_lots_that_were_taken_last_get_their_points_back_first() -> None:
    ledger = ledger_with_burn()

    first = ledger.do(RefundBurn, "1", original="burn", points=35, partner_id=B)
    second = ledger.do(RefundBurn, "2", original="burn", points=25, partner_id=B)

    assert returned(ledger, "1") == [(3, 30), (2, 5)]
    assert returned(ledger, "2") == [(2, 15), (1, 10)]
    assert (first["remaining_points"], second["remaining_points"]) == (25, 0)
    assert second["available_points"] == 60


def test_pro_rata_each_lot_gets_its_share_of_what_it_has_left_and_remainders_go_to_the_largest() -> None:
    ledger = ledger_with_burn("pro_rata")

    ledger.do(RefundBurn, "1", original="burn", points=10, partner_id=B)  # 1.67, 3.33, 5
    ledger.do(RefundBurn, "2", original="burn", points=1, partner_id=B)  # of 8, 17, 25: 0.16, 0.34, 0.5

    assert returned(ledger, "1") == [(1, 2), (2, 3), (3, 5)]
    assert returned(ledger, "2") == [(3, 1)]


def test_pro_rata_ties_go_to_the_lot_that_was_taken_first() -> None:
    ledger = ledger_with_burn("pro_rata", (10, 10, 10))

    ledger.do(RefundBurn, "1", original="burn", points=2, partner_id=B)

    assert returned(ledger, "1") == [(1, 1), (2, 1)]


def test_the_redeemer_and_the_operator_give_back_what_they_received() -> None:
    ledger = Ledger(cards=[card(A, funding=10_000, prefunded=4_000)])
    ledger.do(Earn, "earn", points=100)
    before = ledger.nets()
    ledger.do(Burn, "burn", points=100, partner_id=B)

    answer = ledger.do(RefundBurn, "refund", original="burn", points=100, partner_id=B)

    assert answer["reimbursement_micros"] == 950_000
    assert ledger.lines("refund", B) == [
        Line(OPERATOR, "SPREAD_REVERSAL", POOL, "FUNDING_REVERSAL", 100 * 200),
        Line(OPERATOR, "SPREAD_REVERSAL", A, "FUNDING_REVERSAL", 100 * 300),
        Line(B, "REIMBURSE_REVERSAL", POOL, "FUNDING_REVERSAL", 100 * 3_800),
        Line(B, "REIMBURSE_REVERSAL", A, "FUNDING_REVERSAL", 100 * 5_700),
    ]
    assert ledger.nets() == before


def test_on_us_the_issuer_pays_back_what_the_pool_gave_it() -> None:
    ledger = Ledger(cards=[card(A, funding=10_000, prefunded=4_000)])
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=100)

    ledger.do(RefundBurn, "refund", original="burn", points=100)

    assert ledger.lines("refund") == [Line(A, "REIMBURSE_REVERSAL", POOL, "FUNDING_REVERSAL", 400_000)]


def test_where_the_operator_had_paid_the_difference_it_gets_it_back() -> None:
    ledger = Ledger(cards=[card(A, funding=9_000), card(B, reimbursement=9_500)])
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=100, partner_id=B)

    ledger.do(RefundBurn, "refund", original="burn", points=100, partner_id=B)

    assert ledger.lines("refund", B) == [
        Line(POOL, "FUNDING_REVERSAL", OPERATOR, "SPREAD_REVERSAL", 50_000),
        Line(B, "REIMBURSE_REVERSAL", POOL, "FUNDING_REVERSAL", 950_000),
    ]


def test_a_refund_is_priced_as_the_burn_was_whatever_card_is_in_force() -> None:
    cards = [card(B, 1, reimbursement=9_500), card(B, 2, reimbursement=1, valid_from="2026-01-02 00:00")]
    ledger = Ledger(cards=cards)
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=100, partner_id=B)
    ledger.move(NOON + timedelta(days=2))

    answer = ledger.do(RefundBurn, "refund", original="burn", points=10, partner_id=B)

    assert (answer["rate_version"], answer["reimbursement_micros"]) == (1, 95_000)


@pytest.mark.parametrize(
    "asked_for",
    [
        {"original": "nothing"},
        {"original": "earn 0", "partner_id": A},
        {"partner_id": C},
        {"member_id": M2},
    ],
)
def test_only_a_burn_of_partner_and_member_can_be_refunded(asked_for: dict[str, Any]) -> None:
    ledger = ledger_with_burn()

    named = {"original": "burn", "points": 1, "partner_id": B, **asked_for}

    assert ledger.refusal(RefundBurn, "refund", **named) == "ORIGINAL_UNKNOWN"


def test_no_more_is_refunded_than_was_burned_and_the_refusal_says_what_is_left() -> None:
    ledger = ledger_with_burn()
    ledger.do(RefundBurn, "1", original="burn", points=40, partner_id=B)

    answer = ledger.ask(asked(RefundBurn, "2", original="burn", points=21, partner_id=B))

    assert (answer["reason"], answer["remaining_points"]) == ("OVER_ORIGINAL", "20")


def test_the_same_refund_twice_is_one_refund() -> None:
    ledger = ledger_with_burn()
    command = asked(RefundBurn, "1", original="burn", points=40, partner_id=B)

    answers = [ledger.rows.run([command], NOON)[0] for _ in range(2)]

    assert answers[0][0] == answers[1][0]
    assert [given_before for _, given_before in answers] == [False, True]
    assert ledger.wallet().open_points == 40


def test_refunds_of_one_batch_see_each_other() -> None:
    ledger = ledger_with_burn()
    commands = [asked(RefundBurn, str(n), original="burn", points=25, partner_id=B) for n in range(3)]

    answers = ledger.rows.run(commands, NOON)

    assert [answer["verdict"] for answer, _ in answers] == ["accepted", "accepted", "refused"]


def test_refunded_points_are_spent_again_in_their_old_order() -> None:
    ledger = ledger_with_burn()
    ledger.do(RefundBurn, "1", original="burn", points=60, partner_id=B)

    ledger.do(Burn, "again", points=15, partner_id=C)

    assert ledger.legs("again", C) == [(M1, 1, "open", "burned", 10), (M1, 2, "open", "burned", 5)]


def test_a_refund_to_who_owes_pays_the_deficit_and_has_no_grace_for_it() -> None:
    ledger = Ledger(terms=replace(TERMS, grace_days=10))
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=100, partner_id=B)
    ledger.do(ClawBackEarn, "claw", original="earn", points=30)

    answer = ledger.do(RefundBurn, "refund", original="burn", points=50, partner_id=B)

    assert answer["available_points"] == 20
    assert ledger.legs("refund", B) == [(M1, 1, "burned", "open", 50), (M1, 1, "open", "absorbed", 30)]


def test_a_hold_that_was_captured_is_refunded_by_its_capture_alone() -> None:
    ledger = Ledger()
    ledger.do(Earn, "earn", points=100)
    ledger.do(AuthorizeBurn, "hold", points=100, partner_id=B)
    ledger.do(CaptureBurn, "capture", original="hold", points=60, partner_id=B)

    by_hold = ledger.refusal(RefundBurn, "1", original="hold", points=1, partner_id=B)
    too_many = ledger.refusal(RefundBurn, "2", original="capture", points=61, partner_id=B)
    answer = ledger.do(RefundBurn, "3", original="capture", points=60, partner_id=B)

    assert (by_hold, too_many) == ("ORIGINAL_UNKNOWN", "OVER_ORIGINAL")
    assert answer["available_points"] == 100
