"""The corners in which refunds, holds, claw backs and merges meet. Each was a question before it was a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from itertools import permutations

import pytest

from exchange.core.commands import (
    AuthorizeBurn,
    Burn,
    CaptureBurn,
    ChangeState,
    ClawBackEarn,
    ConfirmEarn,
    ConfirmExchangeOut,
    Earn,
    ExchangeOut,
    Merge,
    RefundBurn,
    RefuseExchangeOut,
    Unmerge,
    VoidBurn,
    Wake,
)
from exchange.core.ids import OPERATOR, POOL
from exchange.core.journal import Line
from tests.builders import M1, M2, NOON, TERMS, A, B, C, at, card, days
from tests.ledger import Ledger

NEXT_YEAR = at("2027-06-01 12:00")
WEEK_OF_USE = [card(A, expiry=days(7)), card(B), card(C)]
LATER = NOON + timedelta(days=8)
"""When points of seven days have had their time."""


def claw_back(ledger: Ledger) -> None:
    ledger.do(ClawBackEarn, "claw", original="earn", points=100)


def expire(ledger: Ledger) -> None:
    ledger.now = LATER  # the wall clock stays: the hold does not lapse
    ledger.ask(Wake(M1))


def void(ledger: Ledger) -> None:
    ledger.do(VoidBurn, "void", original="hold", partner_id=B)


STEPS: dict[str, Callable[[Ledger], None]] = {"claw back": claw_back, "expire": expire, "void": void}


OUTCOMES = {
    # Claw back first: 40 open are taken; for 60 held a deficit is raised, which the void pays.
    ("claw back", "expire", "void"): (40, 60, 0),
    ("claw back", "void", "expire"): (40, 60, 0),
    # Expired first: 40 are gone and raise nothing; 60 held raise a deficit, which the void pays.
    ("expire", "claw back", "void"): (0, 60, 40),
    # Voided after their day: all have expired, nothing was used, so nothing is owed.
    ("expire", "void", "claw back"): (0, 0, 100),
    ("void", "expire", "claw back"): (0, 0, 100),
    # Voided in time: all 100 are open and taken.
    ("void", "claw back", "expire"): (100, 0, 0),
}
"""Points clawed back, absorbed and expired by the order of the three steps."""


@pytest.mark.parametrize("order", list(permutations(STEPS)), ids=", ".join)
def test_claw_back_expiry_and_void_of_held_points_in_every_order(order: tuple[str, str, str]) -> None:
    ledger = Ledger(cards=WEEK_OF_USE, terms=replace(TERMS, late_limit=timedelta(days=30)))
    ledger.do(Earn, "earn", points=100)
    ledger.do(AuthorizeBurn, "hold", points=60, partner_id=B, hold_seconds=600_000)

    for step in order:
        STEPS[step](ledger)

    lot = ledger.lot(M1, 1)
    ends = (lot.clawed_back_points, lot.absorbed_points, lot.expired_points)
    assert ends == OUTCOMES[order]
    assert (lot.open_points, lot.held_points, ledger.owed()) == (0, 0, [])
    assert ledger.nets().get(POOL, 0) == 0


def test_clawing_back_points_that_expired_unused_raises_no_deficit() -> None:
    ledger = Ledger(cards=WEEK_OF_USE, terms=replace(TERMS, late_limit=timedelta(days=30)))
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=30, partner_id=B)
    ledger.now = LATER

    answer = ledger.do(ClawBackEarn, "claw", original="earn", points=100)

    assert (answer["points"], answer["deficit_points"]) == (100, 30)  # 30 were used, 70 just went
    assert ledger.legs("claw") == []
    assert ledger.owed() == [(A, 10_000, 30)]


def test_a_refund_after_the_lots_day_gives_the_points_some_days_of_grace() -> None:
    ledger = Ledger(cards=WEEK_OF_USE, terms=replace(TERMS, grace_days=30, late_limit=timedelta(days=30)))
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=100, partner_id=B)
    ledger.now = LATER

    answer = ledger.do(RefundBurn, "refund", original="burn", points=40, partner_id=B)

    assert answer["available_points"] == 40
    assert ledger.legs("refund", B) == [
        (M1, 1, "burned", "open", 40),
        (M1, 1, "open", "moved_out", 40),
        (M1, 2, "moved_in", "open", 40),
    ]
    grace = ledger.lot(M1, 2)
    assert (grace.issuer_id, grace.rate_version) == (A, 1)
    assert grace.expiry_date == LATER.date() + timedelta(days=30)


def test_without_grace_a_refund_after_the_lots_day_expires_at_once() -> None:
    ledger = Ledger(cards=WEEK_OF_USE, terms=replace(TERMS, late_limit=timedelta(days=30)))
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=100, partner_id=B)
    ledger.now = LATER

    answer = ledger.do(RefundBurn, "refund", original="burn", points=40, partner_id=B)

    assert answer["available_points"] == 0
    assert ledger.legs("refund", B) == [(M1, 1, "burned", "open", 40), (M1, 1, "open", "expired", 40)]
    assert Line(POOL, "BREAKAGE_SHARE", OPERATOR, "BREAKAGE_SHARE", 400_000) in ledger.lines("refund", B)


def test_a_claw_back_follows_points_into_the_row_of_their_grace() -> None:
    ledger = Ledger(cards=WEEK_OF_USE, terms=replace(TERMS, grace_days=30, late_limit=timedelta(days=30)))
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=100, partner_id=B)
    ledger.now = LATER
    ledger.do(RefundBurn, "refund", original="burn", points=40, partner_id=B)

    answer = ledger.do(ClawBackEarn, "claw", original="earn", points=100)

    assert ledger.legs("claw") == [(M1, 2, "open", "clawed_back", 40)]
    assert answer["deficit_points"] == 60


def test_a_refund_after_a_merge_comes_through_the_own_row_to_the_survivors() -> None:
    ledger = Ledger()
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=100, partner_id=B)
    ledger.do(Merge, "merge", into_member_id=M2)

    answer = ledger.do(RefundBurn, "refund", original="burn", points=40, partner_id=B)

    assert answer["available_points"] == 40  # the survivor's
    assert ledger.legs("refund", B) == [
        (M1, 1, "burned", "open", 40),
        (M1, 1, "open", "moved_out", 40),
        (M2, 1, "moved_in", "open", 40),
    ]


def test_a_refund_after_a_merge_and_the_lots_day_has_its_grace_at_the_survivor() -> None:
    ledger = Ledger(cards=WEEK_OF_USE, terms=replace(TERMS, grace_days=5, late_limit=timedelta(days=30)))
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=100, partner_id=B)
    ledger.do(Merge, "merge", into_member_id=M2)
    ledger.now = LATER

    ledger.do(RefundBurn, "refund", original="burn", points=40, partner_id=B)

    assert ledger.legs("refund", B)[-2:] == [
        (M2, 1, "open", "moved_out", 40),
        (M2, 2, "moved_in", "open", 40),
    ]
    assert ledger.lot(M2, 2).expiry_date == LATER.date() + timedelta(days=5)


def test_a_refund_to_a_closed_member_expires_and_its_money_goes_back_all_the_same() -> None:
    ledger = Ledger(terms=replace(TERMS, grace_days=30))
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=100, partner_id=B)
    ledger.do(ChangeState, "close", kind="close")

    answer = ledger.do(RefundBurn, "refund", original="burn", points=100, partner_id=B)

    assert answer["available_points"] == 0
    assert ledger.legs("refund", B) == [(M1, 1, "burned", "open", 100), (M1, 1, "open", "expired", 100)]
    assert ledger.lines("refund", B) == [
        Line(OPERATOR, "SPREAD_REVERSAL", POOL, "FUNDING_REVERSAL", 50_000),
        Line(POOL, "BREAKAGE_SHARE", OPERATOR, "BREAKAGE_SHARE", 1_000_000),
        Line(B, "REIMBURSE_REVERSAL", POOL, "FUNDING_REVERSAL", 950_000),
    ]


def test_a_claw_back_from_a_closed_member_raises_no_deficit() -> None:
    ledger = Ledger()
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=100, partner_id=B)
    ledger.do(ChangeState, "close", kind="close")

    answer = ledger.do(ClawBackEarn, "claw", original="earn", points=100)

    assert (answer["points"], answer["deficit_points"], ledger.owed()) == (100, 0, [])


def test_earns_at_a_then_b_then_a_are_spent_in_the_order_of_their_lots_even_when_one_was_empty() -> None:
    ledger = Ledger()
    ledger.do(Earn, "a1", points=10)
    ledger.do(Earn, "b", points=10, partner_id=B)
    ledger.do(Burn, "burn 1", points=10, partner_id=C)  # empties A's lot, which stays number 1
    ledger.do(Earn, "a2", points=10)

    ledger.do(Burn, "burn 2", points=15, partner_id=C)

    assert ledger.legs("burn 2", C) == [(M1, 1, "open", "burned", 10), (M1, 2, "open", "burned", 5)]
    assert len(ledger.rows.lots) == 2


def test_the_first_earns_refund_and_claw_back_hit_the_lot_that_the_third_earn_joined() -> None:
    ledger = Ledger()
    ledger.do(Earn, "a1", points=10)
    ledger.do(Burn, "burn", points=10, partner_id=C)
    ledger.do(Earn, "b", points=10, partner_id=B)
    ledger.do(Earn, "a2", points=10)

    answer = ledger.do(ClawBackEarn, "claw", original="a1", points=10)

    assert ledger.legs("claw") == [(M1, 1, "open", "clawed_back", 10)]  # a lot's points are alike
    assert answer["deficit_points"] == 0


def test_a_hold_is_captured_at_the_price_at_which_it_was_authorised() -> None:
    cards = [
        card(B, 1, reimbursement=9_500, face_value=10_000),
        card(B, 2, reimbursement=8_000, face_value=20_000, valid_from="2026-01-01 12:05"),
    ]
    ledger = Ledger(cards=cards)
    ledger.do(Earn, "earn", points=100)
    ledger.do(AuthorizeBurn, "hold", points=100, partner_id=B)
    ledger.move(NOON + timedelta(minutes=10))

    answer = ledger.do(CaptureBurn, "capture", original="hold", partner_id=B)

    assert (answer["rate_version"], answer["value_micros"]) == (1, 1_000_000)
    assert answer["reimbursement_micros"] == 950_000


def test_a_capture_is_refunded_at_the_price_of_its_hold() -> None:
    cards = [card(B, 1, reimbursement=9_500), card(B, 2, reimbursement=8_000, valid_from="2026-01-01 12:05")]
    ledger = Ledger(cards=cards)
    ledger.do(Earn, "earn", points=100)
    ledger.do(AuthorizeBurn, "hold", points=100, partner_id=B)
    ledger.move(NOON + timedelta(minutes=10))
    ledger.do(CaptureBurn, "capture", original="hold", points=60, partner_id=B)

    answer = ledger.do(RefundBurn, "refund", original="capture", points=60, partner_id=B)

    assert answer["reimbursement_micros"] == 60 * 9_500
    assert ledger.nets() == {A: -1_020_000, POOL: 1_000_000, OPERATOR: 20_000}  # as if only earned


def test_a_pending_earn_has_its_points_from_one_card_and_its_prices_from_the_next() -> None:
    cards = [
        card(A, 1, earn_rate=Fraction(2), funding=10_000, issue_fee=200),
        card(
            A,
            2,
            earn_rate=Fraction(1),
            funding=8_000,
            issue_fee=100,
            valid_from="2026-01-02 00:00",
            expiry=days(10),
        ),
    ]
    ledger = Ledger(cards=cards)
    ledger.do(Earn, "earn", spend_minor=10_000, pending=True)
    ledger.move(at("2026-01-03 12:00"))

    answer = ledger.do(ConfirmEarn, "confirm", original="earn")

    assert (answer["points"], answer["rate_version"]) == (200, 2)
    assert answer["expiry_date"] == "2026-01-13"
    assert ledger.lines("confirm") == [
        Line(A, "ISSUE_FEE", OPERATOR, "ISSUE_FEE", 200 * 100),
        Line(A, "ISSUE_FUNDING", POOL, "ISSUE_FUNDING", 200 * 8_000),
    ]


def test_an_exchange_whose_answer_is_lost_stays_held_until_the_partner_says_what_it_did() -> None:
    ledger = Ledger(cards=[replace(card(B), native_rate_out=Fraction(2))])
    ledger.do(Earn, "earn", points=100)
    ledger.do(ExchangeOut, "out", points=100, partner_id=B)
    ledger.move(NEXT_YEAR)
    ledger.ask(Wake(M1))

    assert ledger.wallet().held_points == 100  # no time ends it
    answer = ledger.do(ConfirmExchangeOut, "confirm", original="out", partner_id=B)
    assert answer["reimbursement_micros"] == 950_000
    assert ledger.refusal(RefuseExchangeOut, "refuse", original="out", partner_id=B) == "HOLD_CLOSED"
    assert (ledger.wallet().held_points, ledger.lot(M1, 1).burned_points) == (0, 100)


def test_a_welcome_is_welcome_to_neither_of_two_accounts_that_were_one() -> None:
    ledger = Ledger()
    ledger.do(Earn, "welcome 1", points=50, once_rule="welcome")
    ledger.do(Merge, "merge", into_member_id=M2)

    into = ledger.refusal(Earn, "welcome 2", points=50, once_rule="welcome", member_id=M2)
    ledger.do(Unmerge, "unmerge", original="merge")

    assert into == "ALREADY_EARNED"
    for number, member in enumerate((M1, M2)):
        again = ledger.refusal(Earn, f"again {number}", points=50, once_rule="welcome", member_id=member)
        assert again == "ALREADY_EARNED"


def test_a_welcome_through_a_merged_account_counts_for_the_survivor_and_the_other_way_round() -> None:
    ledger = Ledger()
    ledger.do(Merge, "merge", into_member_id=M2)

    ledger.do(Earn, "of the survivor", points=50, once_rule="welcome", member_id=M2)
    ledger.do(Earn, "through the merged", points=50, once_rule="birthday")

    assert ledger.refusal(Earn, "2", points=50, once_rule="welcome") == "ALREADY_EARNED"
    assert ledger.refusal(Earn, "3", points=50, once_rule="birthday", member_id=M2) == "ALREADY_EARNED"


@pytest.mark.parametrize("refund", ["lot_exact", "pro_rata"])
def test_refunds_of_thirds_of_ten_order_lines_leave_nothing_behind(refund: str) -> None:
    """Each order line was paid with 10 points and is refunded by 3, 3 and 4."""
    cards = [card(A, funding=10_001, prefunded=3_333), card(C, funding=9_999, prefunded=0), card(B)]
    ledger = Ledger(cards=cards, terms=replace(TERMS, refund=refund))
    ledger.do(Earn, "a", points=37, expiry_date=at("2026-03-01 12:00").date())
    ledger.do(Earn, "c", points=63, partner_id=C)
    before = ledger.nets()
    ledger.do(Burn, "order", points=100, partner_id=B)

    for line in range(10):
        for part, points in enumerate((3, 3, 4)):
            ledger.do(
                RefundBurn,
                f"{line}.{part}",
                original="order",
                points=points,
                part=line * 3 + part,
                reference="order",
                partner_id=B,
            )

    assert ledger.nets() == before
    assert [(lot.open_points, lot.burned_points) for lot in ledger.rows.lots.values()] == [(37, 0), (63, 0)]
    assert ledger.refusal(RefundBurn, "more", original="order", points=1, partner_id=B) == "OVER_ORIGINAL"


def test_a_claw_back_after_an_unmerge_takes_nothing_from_who_is_another_person_again() -> None:
    ledger = Ledger()
    ledger.do(Earn, "of M1", points=100)
    ledger.do(Earn, "of M2", points=100, member_id=M2)
    ledger.do(Merge, "merge", into_member_id=M2)  # into the row of M2's own points
    ledger.do(Unmerge, "unmerge", original="merge")
    ledger.do(Burn, "burn", points=70, partner_id=B)

    answer = ledger.do(ClawBackEarn, "claw", original="of M1", points=100)

    assert ledger.legs("claw") == [(M1, 1, "open", "clawed_back", 30)]
    assert answer["deficit_points"] == 70
    assert ledger.wallet(M2).open_points == 100


def test_points_that_arrive_pay_what_is_owed_before_the_member_has_them() -> None:
    ledger = Ledger(cards=[card(A, funding=10_000), card(C, funding=12_000)])
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=100, partner_id=B)
    ledger.do(ClawBackEarn, "claw", original="earn", points=100)

    answer = ledger.do(Earn, "next", points=130, partner_id=C)

    assert answer["available_points"] == 30
    assert ledger.legs("next", C) == [(M1, 2, "issued", "open", 130), (M1, 2, "open", "absorbed", 100)]
    assert Line(POOL, "DEFICIT_FUNDING", A, "DEFICIT_RECOVERY", 1_000_000) in ledger.lines("next", C)
    assert Line(POOL, "DEFICIT_FUNDING", OPERATOR, "RATE_VARIANCE", 200_000) in ledger.lines("next", C)
