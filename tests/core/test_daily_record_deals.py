"""What an accepted command comes to by the partner's own reckoning, against the tables of docs/ledger.md."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from merchant_adapter import (
    AuthorizeBurnCommand,
    BurnAuthorized,
    BurnCaptured,
    BurnCommand,
    Burned,
    BurnRefunded,
    BurnVoided,
    CaptureBurnCommand,
    ClawBackEarnCommand,
    ConfirmEarnCommand,
    EarnClawedBack,
    EarnCommand,
    EarnConfirmed,
    Earned,
    ExchangedIn,
    ExchangeInCommand,
    PointsAnswer,
    PointsCommand,
    RefundBurnCommand,
    TransferCommand,
    Transferred,
    VoidBurnCommand,
)
from merchant_adapter.answers import Line
from merchant_adapter.deals import (
    STATES,
    Accepted,
    BusinessDays,
    Prices,
    by_the_journal,
    deal_of,
    is_open,
)
from merchant_adapter.partner_file import BURNED, EARNED, OTHER_KINDS, Deal
from merchant_adapter.points import POINTS_METHODS
from settlement.core import kinds
from settlement.core.business_day import business_day, window_end

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TODAY = date(2026, 1, 1)
SHANGHAI = ZoneInfo("Asia/Shanghai")
ISSUE_FUNDED = Prices(funding_micros=10_000, prefunded_micros=10_000, issue_fee_micros=200)
HYBRID = replace(ISSUE_FUNDED, prefunded_micros=4_000)
REDEEM_FUNDED = replace(ISSUE_FUNDED, prefunded_micros=0)


def accepted(
    command: type[PointsCommand[Any]], answer: type[PointsAnswer], points: int, **figures: Any
) -> Accepted:
    """A command of 1 January and its answer: `figures` are of either."""
    till: dict[str, Any] = {
        "member_id": "m-0123456789ab",
        "event_time": NOON,
        "store_id": "s",
        "terminal_id": "t",
    }
    own = {name: value for name, value in figures.items() if name in command.__dataclass_fields__}
    answered = {name: value for name, value in figures.items() if name in answer.__dataclass_fields__}
    assert own.keys() | answered.keys() == figures.keys()
    if "points" in command.__dataclass_fields__:
        own["points"] = points
    asked = command(**till, reference="order-1", request_id="r-1", **own)
    told: dict[str, Any] = {"entry_id": "e-1", "points": points, "available_points": 1_000_000}
    return Accepted(asked, answer(request_id="r-1", decided_time=NOON, **(told | answered)))


def earned(points: int, **figures: Any) -> Accepted:
    return accepted(EarnCommand, Earned, points, **({"rate_version": 1, "expiry_date": None} | figures))


def clawed_back(points: int, **figures: Any) -> Accepted:
    values = {"original_request_id": "r-0", "part": 2, "remaining_points": 0, "deficit_points": 0}
    return accepted(ClawBackEarnCommand, EarnClawedBack, points, **(values | figures))


def money(one: Accepted, prices: Prices | None = None) -> tuple[int, int]:
    deal = deal_of(one, prices)
    return deal.claimed_micros, deal.owed_micros


@pytest.mark.parametrize(
    ("prices", "owed"), [(ISSUE_FUNDED, 102_000_000), (HYBRID, 42_000_000), (REDEEM_FUNDED, 2_000_000)]
)
def test_points_that_are_issued_owe_what_the_card_says_of_them(prices: Prices, owed: int) -> None:
    confirmed = accepted(
        ConfirmEarnCommand, EarnConfirmed, 10_000, original_request_id="r-0", rate_version=1, expiry_date=None
    )

    assert money(earned(10_000), prices) == (0, owed)
    assert money(confirmed, prices) == (0, owed)


def test_a_pending_earn_owes_nothing_and_is_of_a_kind_of_its_own() -> None:
    deal = deal_of(earned(100, pending=True), None)

    assert (deal.kind, deal.state, deal.points, deal.owed_micros) == ("pending_earn", "pending", 100, 0)


@pytest.mark.parametrize(
    ("prices", "prefunded"), [(ISSUE_FUNDED, 3_920_000), (HYBRID, 1_568_000), (REDEEM_FUNDED, 0)]
)
def test_an_exchange_in_owes_what_the_member_did_not_get_instead_of_the_fee(
    prices: Prices, prefunded: int
) -> None:
    exchanged = accepted(
        ExchangeInCommand, ExchangedIn, 392, native_points=1_001, rate_version=1, expiry_date=None
    )

    assert money(exchanged, replace(prices, native_rate_in=Fraction(2, 5))) == (0, prefunded + 84_000)


def test_a_fraction_of_a_micro_of_an_exchange_is_nobodys() -> None:
    exchanged = accepted(ExchangeInCommand, ExchangedIn, 1, native_points=4, rate_version=1, expiry_date=None)
    prices = Prices(funding_micros=10, prefunded_micros=0, issue_fee_micros=0, native_rate_in=Fraction(1, 3))

    assert money(exchanged, prices) == (0, 3)  # a third of a point at 10


def test_a_claw_back_claims_what_was_prefunded_of_the_points_that_were_still_there() -> None:
    assert money(clawed_back(6_667), ISSUE_FUNDED) == (66_670_000, 0)
    assert money(clawed_back(10_000, deficit_points=3_333), HYBRID) == (26_668_000, 0)
    assert money(clawed_back(20), None) == (0, 0)  # of a pending earn


def test_points_that_are_spent_claim_what_the_signed_answer_says_and_refunds_owe_it_back() -> None:
    burned = accepted(
        BurnCommand, Burned, 700, rate_version=1, value_micros=7_000_000, reimbursement_micros=6_650_000
    )
    captured = accepted(
        CaptureBurnCommand,
        BurnCaptured,
        55,
        original_request_id="r-0",
        rate_version=1,
        value_micros=550_000,
        reimbursement_micros=522_500,
        released_points=25,
    )
    refunded = accepted(
        RefundBurnCommand,
        BurnRefunded,
        300,
        original_request_id="r-0",
        part=1,
        remaining_points=400,
        reimbursement_micros=2_850_000,
    )

    assert [money(one) for one in (burned, captured, refunded)] == [
        (6_650_000, 0),
        (522_500, 0),
        (0, 2_850_000),
    ]


def test_a_hold_and_a_gift_move_no_money() -> None:
    held = accepted(
        AuthorizeBurnCommand, BurnAuthorized, 80, rate_version=1, value_micros=800_000, expire_time=NOON
    )
    given = accepted(TransferCommand, Transferred, 25, to_member_id="m-2")

    assert (deal_of(held, None).state, money(held), money(given)) == ("held", (0, 0), (0, 0))


def test_a_deal_says_what_names_it_as_the_command_did() -> None:
    assert deal_of(clawed_back(20), None) == Deal(
        kind="claw_back_earn",
        event_time=NOON,
        points=20,
        request_id="r-1",
        reference="order-1",
        part=2,
        member_id="m-0123456789ab",
        store_id="s",
        terminal_id="t",
        state="posted",
    )
    assert (deal_of(earned(100), HYBRID).part, deal_of(earned(100), HYBRID).rate_version) == (None, 1)


def test_every_kind_has_a_state_that_settlement_takes_for_it() -> None:
    ours = {one.name for one in POINTS_METHODS} | {"pending_earn"}

    assert ours == {*EARNED, *BURNED, *OTHER_KINDS} == set(kinds.STATES)
    for kind in ours:
        assert STATES.get(kind, "posted") in kinds.STATES[kind], kind


def test_points_that_are_not_all_available_afterwards_have_paid_what_the_member_owed() -> None:
    assert not is_open(earned(90, available_points=90), TODAY)
    assert is_open(earned(90, available_points=89), TODAY)
    assert not is_open(earned(90, available_points=0, pending=True), TODAY)
    voided = accepted(VoidBurnCommand, BurnVoided, 30, original_request_id="r-0", available_points=29)
    assert is_open(voided, TODAY)
    given = accepted(TransferCommand, Transferred, 25, to_member_id="m-2", available_points=0)
    assert not is_open(given, TODAY)


def test_points_past_their_day_and_claw_backs_of_used_ones_are_left_to_the_journal() -> None:
    yesterday = TODAY - timedelta(days=1)

    assert is_open(earned(90, expiry_date=yesterday), TODAY)
    assert not is_open(earned(90, expiry_date=TODAY), TODAY)
    assert not is_open(clawed_back(20), TODAY, last_day=TODAY)
    assert is_open(clawed_back(20), TODAY, last_day=yesterday)
    assert is_open(clawed_back(20, deficit_points=1), TODAY)
    assert is_open(clawed_back(20), TODAY, clamps=True)


def test_the_journal_gives_what_the_partner_receives_and_pays_in_lines_with_others() -> None:
    lines = [
        Line("POOL", "CLAWBACK_FUNDING", "cafe", "CLAWBACK_FUNDING", 800_000),
        Line("books", "DEFICIT_FUNDING", "cafe", "DEFICIT_RECOVERY", 60_000),
        Line("cafe", "DEFICIT_FUNDING", "OPERATOR", "RATE_VARIANCE", 7),
        Line("books", "DEFICIT_FUNDING", "OPERATOR", "RATE_VARIANCE", 5),
    ]

    deal = by_the_journal(deal_of(clawed_back(200), None), lines, "cafe")

    assert (deal.claimed_micros, deal.owed_micros) == (860_000, 7)


@pytest.mark.parametrize("cut_off_seconds", [0, 7_200])
@pytest.mark.parametrize("zone", [SHANGHAI, ZoneInfo("Europe/Berlin")])
def test_a_business_day_ends_where_settlement_says(zone: ZoneInfo, cut_off_seconds: int) -> None:
    days = BusinessDays(zone, cut_off_seconds)

    for day in (date(2026, 3, 28), date(2026, 3, 29), date(2026, 10, 25), TODAY):
        assert days.end(day) == window_end(day, cut_off_seconds, zone)
        assert business_day(days.begin(day), cut_off_seconds, zone) == day
        assert business_day(days.end(day) - timedelta(seconds=1), cut_off_seconds, zone) == day
