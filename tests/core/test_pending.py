"""Pending earns: what is promised, what becomes of it, and when nobody says."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from exchange.core.commands import CancelEarn, ClawBackEarn, ConfirmEarn, Earn, Wake
from tests.builders import M1, M2, NOON, TERMS, A, B, asked, card, days
from tests.ledger import Ledger


def ledger_with_promise(**fields: Any) -> Ledger:
    """100 points of A are pending for M1."""
    ledger = Ledger()
    ledger.do(Earn, "earn", points=100, pending=True, **fields)
    return ledger


def test_a_pending_earn_promises_points_and_moves_neither_points_nor_money() -> None:
    ledger = Ledger()

    answer = ledger.do(Earn, "earn", spend_minor=10_050, pending=True)

    assert (answer["points"], answer["remaining_points"], answer["available_points"]) == (100, 100, 0)
    assert answer["expiry_date"] is None
    assert (ledger.legs("earn"), ledger.lines("earn"), ledger.rows.lots) == ([], [], {})
    assert ledger.wallet().pending_points == 100


def test_a_confirmed_earn_is_owed_as_an_earn_is() -> None:
    ledger, at_once = ledger_with_promise(), Ledger()
    at_once.do(Earn, "confirm", points=100)

    answer = ledger.do(ConfirmEarn, "confirm", original="earn")

    assert (answer["points"], answer["available_points"]) == (100, 100)
    assert ledger.legs("confirm") == at_once.legs("confirm")
    assert ledger.lines("confirm") == at_once.lines("confirm")
    assert (ledger.wallet().pending_points, ledger.rows.pending_earns) == (0, {})


def test_the_earns_own_expiry_day_still_shortens_the_policy_when_it_is_confirmed() -> None:
    ledger = Ledger(cards=[card(A, expiry=days(30))])
    ledger.do(Earn, "short", points=1, pending=True, expiry_date=date(2026, 1, 10))
    ledger.do(Earn, "long", points=1, pending=True, expiry_date=date(2027, 1, 1))
    ledger.move(NOON + timedelta(days=2))

    short = ledger.do(ConfirmEarn, "1", original="short")
    long = ledger.do(ConfirmEarn, "2", original="long")

    assert (short["expiry_date"], long["expiry_date"]) == ("2026-01-10", "2026-02-02")


def test_a_cancelled_earn_gives_nothing() -> None:
    ledger = ledger_with_promise()

    answer = ledger.do(CancelEarn, "cancel", original="earn")

    assert (answer["points"], answer["available_points"]) == (100, 0)
    assert (ledger.wallet().pending_points, ledger.rows.pending_earns, ledger.nets()) == (0, {}, {})


@pytest.mark.parametrize("first", [ConfirmEarn, CancelEarn])
@pytest.mark.parametrize("second", [ConfirmEarn, CancelEarn])
def test_a_promise_is_decided_once(first: type[Any], second: type[Any]) -> None:
    ledger = ledger_with_promise()
    ledger.do(first, "first", original="earn")

    assert ledger.refusal(second, "second", original="earn") == "NOT_PENDING"


@pytest.mark.parametrize("what", [ConfirmEarn, CancelEarn])
def test_only_a_pending_earn_of_partner_and_member_can_be_decided(what: type[Any]) -> None:
    ledger = ledger_with_promise()
    ledger.do(Earn, "at once", points=100)

    assert ledger.refusal(what, "1", original="at once") == "NOT_PENDING"
    assert ledger.refusal(what, "2", original="nothing") == "ORIGINAL_UNKNOWN"
    assert ledger.refusal(what, "3", original="earn", partner_id=B) == "ORIGINAL_UNKNOWN"
    assert ledger.refusal(what, "4", original="earn", member_id=M2) == "ORIGINAL_UNKNOWN"


def test_a_claw_back_lowers_the_promise_and_moves_no_money() -> None:
    ledger = ledger_with_promise()

    answer = ledger.do(ClawBackEarn, "claw", original="earn", points=30)
    confirmed = ledger.do(ConfirmEarn, "confirm", original="earn")

    assert (answer["points"], answer["remaining_points"], answer["deficit_points"]) == (30, 70, 0)
    assert ledger.legs("claw") == []
    assert confirmed["points"] == 70


def test_a_promise_clawed_back_to_nothing_can_neither_be_confirmed_nor_clawed_back_further() -> None:
    ledger = ledger_with_promise()
    ledger.do(ClawBackEarn, "claw", original="earn", points=100)

    assert ledger.refusal(ConfirmEarn, "confirm", original="earn") == "NOT_PENDING"
    assert ledger.refusal(ClawBackEarn, "again", original="earn", points=1) == "OVER_ORIGINAL"
    assert (ledger.wallet().pending_points, ledger.rows.pending_earns) == (0, {})


def test_nothing_can_be_clawed_back_of_a_cancelled_earn() -> None:
    ledger = ledger_with_promise()
    ledger.do(CancelEarn, "cancel", original="earn")

    assert ledger.refusal(ClawBackEarn, "claw", original="earn", points=1) == "EARN_CANCELLED"


def test_what_nobody_decides_in_180_days_is_cancelled_by_the_hub() -> None:
    ledger = ledger_with_promise()
    last = NOON + timedelta(days=TERMS.pending_days)

    ledger.move(last)
    assert ledger.ask(Wake(M1))["entries"] == 0
    ledger.move(last + timedelta(days=1))
    assert ledger.ask(Wake(M1))["entries"] == 1

    entry = list(ledger.rows.journal.values())[-1]
    assert (entry.command.kind, entry.command.partner_id) == ("cancel_earn", 0)
    assert (entry.command.request_id, entry.points, entry.original) == ("cancel:1-0", 100, (1, 0))
    assert (ledger.wallet().pending_points, ledger.wallet().next_cancel_date) == (0, date.max)
    assert ledger.refusal(ConfirmEarn, "confirm", original="earn") == "NOT_PENDING"
    assert ledger.refusal(ClawBackEarn, "claw", original="earn", points=1) == "EARN_CANCELLED"


def test_an_earn_and_its_confirmation_in_one_batch_know_each_other() -> None:
    ledger = Ledger(cards=[card(A, expiry=days(30))])
    own = date(2026, 1, 10)
    ledger.do(Earn, "before", points=1, expiry_date=own)  # the lot that the confirmed points join

    answers = ledger.rows.run(
        [
            asked(Earn, "earn", points=5, pending=True, expiry_date=own),
            asked(ConfirmEarn, "confirm", original="earn"),
            asked(ConfirmEarn, "again", original="earn"),
        ],
        NOON,
    )

    assert [answer["verdict"] for answer, _ in answers] == ["accepted", "accepted", "refused"]
    assert len(ledger.rows.lots) == 1
    assert ledger.lot(M1, 1).open_points == 6
