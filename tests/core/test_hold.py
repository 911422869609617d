"""Holds: authorise, extend, capture, void, lapse, and exchanges out, which are holds without an end."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import pytest

from exchange.core.commands import (
    AuthorizeBurn,
    Burn,
    CaptureBurn,
    ConfirmExchangeOut,
    Earn,
    ExchangeOut,
    ExtendHold,
    RefuseExchangeOut,
    VoidBurn,
    Wake,
)
from exchange.core.ids import OPERATOR, POOL
from exchange.core.journal import Line
from tests.builders import M1, M2, MICROSECOND, NOON, A, B, C, card, days
from tests.ledger import Ledger

QUARTER = timedelta(minutes=15)
NATIVE = replace(card(B), native_rate_out=Fraction(1, 3))


def ledger_with_hold(**fields: Any) -> Ledger:
    """M1 has 40 points of A and 60 of C; 70 are held for B."""
    ledger = Ledger(cards=[card(A), NATIVE, card(C)])
    ledger.do(Earn, "a", points=40)
    ledger.do(Earn, "c", points=60, partner_id=C)
    ledger.do(AuthorizeBurn, "hold", points=70, partner_id=B, **fields)
    return ledger


def test_an_authorisation_holds_points_in_consumption_order_and_moves_no_money() -> None:
    ledger = ledger_with_hold()

    assert ledger.legs("hold", B) == [(M1, 1, "open", "held", 40), (M1, 2, "open", "held", 30)]
    assert ledger.lines("hold", B) == []
    assert (ledger.wallet().open_points, ledger.wallet().held_points) == (30, 70)
    assert ledger.rows.holds[B, "hold"].deadline == NOON + QUARTER


def test_held_points_cannot_be_spent_again() -> None:
    ledger = ledger_with_hold()

    assert ledger.refusal(Burn, "burn", points=31, partner_id=C) == "INSUFFICIENT_POINTS"


def test_a_capture_burns_all_that_is_held_unless_told_less() -> None:
    ledger = ledger_with_hold()

    answer = ledger.do(CaptureBurn, "capture", original="hold", partner_id=B)

    assert (answer["points"], answer["released_points"], answer["available_points"]) == (70, 0, 30)
    assert answer["value_micros"] == 700_000
    assert ledger.lines("capture", B) == [
        Line(POOL, "BURN_FUNDING", OPERATOR, "SPREAD", 30 * 500),
        Line(POOL, "BURN_FUNDING", OPERATOR, "SPREAD", 40 * 500),
        Line(POOL, "BURN_FUNDING", B, "BURN_REIMBURSE", 30 * 9_500),
        Line(POOL, "BURN_FUNDING", B, "BURN_REIMBURSE", 40 * 9_500),
    ]
    assert ledger.rows.holds == {}


def test_a_partial_capture_burns_in_consumption_order_and_releases_the_rest() -> None:
    ledger = ledger_with_hold()

    answer = ledger.do(CaptureBurn, "capture", original="hold", points=25, partner_id=B)

    assert (answer["points"], answer["released_points"], answer["available_points"]) == (25, 45, 75)
    assert ledger.legs("capture", B) == [
        (M1, 1, "held", "burned", 25),
        (M1, 1, "held", "open", 15),
        (M1, 2, "held", "open", 30),
    ]
    assert ledger.wallet().held_points == 0


def test_no_more_can_be_captured_than_is_held() -> None:
    ledger = ledger_with_hold()

    assert ledger.refusal(CaptureBurn, "capture", original="hold", points=71, partner_id=B) == "OVER_ORIGINAL"


def test_a_void_releases_everything() -> None:
    ledger = ledger_with_hold()

    answer = ledger.do(VoidBurn, "void", original="hold", partner_id=B)

    assert (answer["points"], answer["available_points"]) == (70, 100)
    assert ledger.lines("void", B) == []
    assert (ledger.wallet().held_points, ledger.rows.holds) == (0, {})


@pytest.mark.parametrize(
    ("first", "state"),
    [(CaptureBurn, "captured"), (VoidBurn, "voided")],
)
@pytest.mark.parametrize("second", [CaptureBurn, VoidBurn])
def test_a_hold_ends_once(first: type[Any], state: str, second: type[Any]) -> None:
    ledger = ledger_with_hold()
    ledger.do(first, "first", original="hold", partner_id=B)

    answer = ledger.ask(
        second(B, "second", b"", M1, NOON, "s-1", "t-1", "second", "", "", "", original="hold")
    )

    assert (answer["reason"], answer["state"]) == ("HOLD_CLOSED", state)


def test_a_hold_can_be_captured_until_its_deadline_and_has_lapsed_after_it() -> None:
    in_time, too_late = ledger_with_hold(), ledger_with_hold()
    in_time.wall = NOON + QUARTER
    too_late.wall = NOON + QUARTER + MICROSECOND

    answer = in_time.do(CaptureBurn, "capture", original="hold", partner_id=B)
    reason = too_late.refusal(CaptureBurn, "capture", original="hold", partner_id=B)

    assert answer["points"] == 70
    assert reason == "HOLD_LAPSED"
    assert too_late.wallet().open_points == 100
    assert too_late.kinds() == ["earn", "earn", "authorize_burn", "lapse"]


def test_a_lapse_is_the_hubs_own_entry_and_follows_the_authorisation() -> None:
    ledger = ledger_with_hold()
    ledger.wall = NOON + timedelta(days=1)

    answer = ledger.ask(Wake(M1))

    entry = list(ledger.rows.journal.values())[-1]
    assert answer["entries"] == 1
    assert (entry.command.partner_id, entry.command.request_id) == (0, "lapse:3-0")
    assert (entry.points, entry.original) == (70, (3, 0))


def test_holds_lapse_by_their_deadlines_before_anything_else_that_is_due() -> None:
    ledger = Ledger(cards=[card(A, expiry=days(1)), card(B), card(C)])
    ledger.do(Earn, "a", points=100)
    ledger.do(AuthorizeBurn, "long", points=10, partner_id=B, hold_seconds=7_200)
    ledger.do(AuthorizeBurn, "short", points=20, partner_id=B, hold_seconds=60)
    ledger.move(NOON + timedelta(days=3))

    ledger.ask(Wake(M1))

    last = [(entry.command.kind, entry.points) for entry in ledger.rows.journal.values()][-3:]
    assert last == [("lapse", 20), ("lapse", 10), ("expire", 70)]
    assert ledger.wallet().open_points == 0  # what lapsed had had its day, too


def test_the_next_deadline_is_that_of_the_first_hold_that_is_left() -> None:
    ledger = Ledger()
    ledger.do(Earn, "a", points=100)
    ledger.do(AuthorizeBurn, "long", points=10, partner_id=B, hold_seconds=7_200)
    ledger.do(AuthorizeBurn, "short", points=20, partner_id=B, hold_seconds=60)
    ledger.wall = NOON + timedelta(seconds=61)

    ledger.ask(Wake(M1))

    assert ledger.wallet().next_deadline == NOON + timedelta(hours=2)
    assert set(ledger.rows.holds) == {(B, "long")}


def test_an_extension_counts_from_now_by_the_wall_clock() -> None:
    ledger = ledger_with_hold()
    ledger.wall = NOON + timedelta(minutes=10)

    answer = ledger.do(ExtendHold, "extend", original="hold", hold_seconds=1_200, partner_id=B)
    ledger.wall = NOON + timedelta(minutes=29)

    assert (answer["points"], answer["deadline"]) == (70, str(NOON + timedelta(minutes=30)))
    assert ledger.do(CaptureBurn, "capture", original="hold", partner_id=B)["points"] == 70


def test_a_hold_lasts_seven_days_at_most_however_often_it_is_extended() -> None:
    ledger = ledger_with_hold(hold_seconds=600_000)
    ledger.wall = NOON + timedelta(days=6)
    day = 86_400

    assert (
        ledger.refusal(ExtendHold, "1", original="hold", hold_seconds=day + 1, partner_id=B)
        == "HOLD_TOO_LONG"
    )
    ledger.do(ExtendHold, "2", original="hold", hold_seconds=day, partner_id=B)


@pytest.mark.parametrize("what", [CaptureBurn, VoidBurn, ExtendHold])
@pytest.mark.parametrize(
    "named",
    [
        pytest.param({"original": "nothing"}, id="no such command"),
        pytest.param({"original": "a", "partner_id": A}, id="no hold"),
        pytest.param({"partner_id": C}, id="another partner's"),
        pytest.param({"member_id": M2}, id="another member's"),
        pytest.param({"original": "out"}, id="an exchange"),
    ],
)
def test_only_an_accepted_authorisation_of_partner_and_member_can_be_followed(
    what: type[Any], named: dict[str, Any]
) -> None:
    ledger = ledger_with_hold()
    ledger.do(ExchangeOut, "out", points=30, partner_id=B)
    more = {"hold_seconds": 60} if what is ExtendHold else {}

    reason = ledger.refusal(what, "follow", **{"original": "hold", "partner_id": B, **more, **named})

    assert reason == "HOLD_UNKNOWN"


def test_a_hold_and_its_end_in_one_batch_know_each_other() -> None:
    ledger = Ledger()
    ledger.do(Earn, "a", points=40)
    common = (M1, NOON, "s-1", "t-1")
    authorise = AuthorizeBurn(B, "hold", b"1", *common, "1", "", "", "", points=40)
    capture = CaptureBurn(B, "capture", b"2", *common, "2", "", "", "", original="hold", points=15)
    void = VoidBurn(B, "void", b"3", *common, "3", "", "", "", original="hold")

    answers = ledger.rows.run([authorise, capture, void], NOON)

    assert [answer["verdict"] for answer, _ in answers] == ["accepted", "accepted", "refused"]
    assert answers[2][0]["reason"] == "HOLD_CLOSED"
    assert (ledger.wallet().open_points, ledger.rows.holds) == (25, {})


def test_points_released_after_their_day_expire_in_the_same_entry() -> None:
    ledger = Ledger(cards=[card(A, expiry=days(1)), card(B), card(C)])
    ledger.do(Earn, "a", points=100)
    ledger.do(AuthorizeBurn, "hold", points=100, partner_id=B, hold_seconds=600_000)
    ledger.move(NOON + timedelta(days=2))

    answer = ledger.do(CaptureBurn, "capture", original="hold", points=60, partner_id=B)

    assert answer["available_points"] == 0
    assert ledger.legs("capture", B) == [
        (M1, 1, "held", "burned", 60),
        (M1, 1, "held", "open", 40),
        (M1, 1, "open", "expired", 40),
    ]
    assert ledger.nets().get(POOL, 0) == 0


def test_an_exchange_out_holds_the_points_and_says_how_many_native_ones_they_are() -> None:
    ledger = Ledger(cards=[NATIVE])
    ledger.do(Earn, "a", points=100)

    answer = ledger.do(ExchangeOut, "out", points=100, partner_id=B)

    assert (answer["points"], answer["native_points"], answer["deadline"]) == (100, 33, None)
    assert ledger.wallet().held_points == 100


def test_a_confirmed_exchange_is_a_burn_at_the_partner_and_a_refused_one_never_was() -> None:
    confirmed, refused = Ledger(cards=[NATIVE]), Ledger(cards=[NATIVE])
    for ledger in (confirmed, refused):
        ledger.do(Earn, "a", points=100)
        ledger.do(ExchangeOut, "out", points=100, partner_id=B)

    answer = confirmed.do(ConfirmExchangeOut, "confirm", original="out", partner_id=B)
    refused.do(RefuseExchangeOut, "refuse", original="out", partner_id=B)

    assert answer["reimbursement_micros"] == 950_000
    assert confirmed.rows.entry(B, "confirm").native_points == 33
    assert confirmed.nets().get(POOL, 0) == 0
    assert refused.wallet().open_points == 100
    assert refused.nets()[POOL] == 1_000_000


@pytest.mark.parametrize("what", [ConfirmExchangeOut, RefuseExchangeOut])
def test_a_hold_for_a_burn_is_no_exchange(what: type[Any]) -> None:
    ledger = ledger_with_hold()

    assert ledger.refusal(what, "end", original="hold", partner_id=B) == "HOLD_UNKNOWN"


def test_points_worth_less_than_one_native_point_are_not_exchanged() -> None:
    ledger = Ledger(cards=[NATIVE])
    ledger.do(Earn, "a", points=100)

    assert ledger.refusal(ExchangeOut, "1", points=2, partner_id=B) == "NOTHING_TO_EXCHANGE"
    assert ledger.refusal(ExchangeOut, "2", points=3, partner_id=C) == "NO_NATIVE_RATE"
    assert ledger.refusal(ExchangeOut, "3", points=101, partner_id=B) == "INSUFFICIENT_POINTS"
    assert ledger.wallet().next_expiry_date == date.max
