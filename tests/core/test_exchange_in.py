"""Native points: earned by, and exchanged in, with every rounding in the operator's favour."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from fractions import Fraction

import pytest

from exchange.core.commands import ClawBackEarn, Earn, ExchangeIn
from exchange.core.ids import OPERATOR, POOL
from exchange.core.journal import Line
from exchange.core.points import MAX_POINTS
from tests.builders import M1, A, B, card
from tests.ledger import Ledger

EXAMPLE = replace(card(B), native_rate_in=Fraction(2, 5), exchange_spread=Fraction(1, 50))


def test_native_points_become_points_less_the_spread_and_the_fraction() -> None:
    """1,001 x 0.4 = 400.4; less 2 % 392.392; 392 points, and (400.4 - 392) x 0.01 is the fee."""
    ledger = Ledger(cards=[EXAMPLE])

    answer = ledger.do(ExchangeIn, "in", native_points=1_001, partner_id=B, expiry_date=date(2026, 6, 29))

    assert (answer["points"], answer["native_points"], answer["expiry_date"]) == (392, 1_001, "2026-06-29")
    assert ledger.legs("in", B) == [(M1, 1, "issued", "open", 392)]
    assert ledger.lines("in", B) == [
        Line(B, "EXCHANGE_FEE", OPERATOR, "EXCHANGE_FEE", 84_000),
        Line(B, "ISSUE_FUNDING", POOL, "ISSUE_FUNDING", 3_920_000),
    ]


def test_the_exchange_fee_is_floored_to_a_micro_and_is_none_where_nothing_is_cut_off() -> None:
    odd = replace(card(B, funding=7), native_rate_in=Fraction(1, 3))
    ledger = Ledger(cards=[odd])

    ledger.do(ExchangeIn, "1", native_points=4, partner_id=B)  # 1.33: a third of 7 micros is cut off
    ledger.do(ExchangeIn, "2", native_points=3, partner_id=B)

    assert [line.micros for line in ledger.lines("1", B)] == [2, 7]
    assert [line.payer_component for line in ledger.lines("2", B)] == ["ISSUE_FUNDING"]


@pytest.mark.parametrize(
    ("native_points", "partner_id", "reason"),
    [
        (1_000, A, "NO_NATIVE_RATE"),
        (2, B, "NOTHING_TO_EARN"),
        (3 * MAX_POINTS, B, "POINTS_OVER_LIMIT"),
    ],
)
def test_an_exchange_needs_a_rate_and_gives_at_least_one_point(
    native_points: int, partner_id: int, reason: str
) -> None:
    ledger = Ledger(cards=[EXAMPLE])

    assert ledger.refusal(ExchangeIn, "in", native_points=native_points, partner_id=partner_id) == reason


def test_an_earn_by_native_points_has_the_rate_without_the_spread_and_the_issue_fee() -> None:
    ledger = Ledger(cards=[EXAMPLE])

    answer = ledger.do(Earn, "earn", native_points=1_001, partner_id=B)

    assert answer["points"] == 400
    assert ledger.rows.entry(B, "earn").native_points == 1_001
    assert Line(B, "ISSUE_FEE", OPERATOR, "ISSUE_FEE", 80_000) in ledger.lines("earn", B)
    assert ledger.refusal(Earn, "no rate", native_points=1_001) == "NO_NATIVE_RATE"


def test_an_exchange_is_no_earn_and_cannot_be_clawed_back() -> None:
    ledger = Ledger(cards=[EXAMPLE])
    ledger.do(ExchangeIn, "in", native_points=1_001, partner_id=B)

    assert ledger.refusal(ClawBackEarn, "claw", original="in", points=1, partner_id=B) == "ORIGINAL_UNKNOWN"
