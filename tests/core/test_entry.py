"""An entry that does not prove itself cannot exist."""

from __future__ import annotations

import pytest

from exchange.core.ids import OPERATOR, POOL
from exchange.core.journal import Entry, Leg, Line, UnbalancedEntry, line
from exchange.core.points import BURNED, EXPIRED, HELD, ISSUED, MOVED_IN, MOVED_OUT, OPEN
from tests.builders import M1, M2, A, B, earn

ISSUE = Leg(M1, 1, A, 1, ISSUED, OPEN, 100, 10_000)
FUND = Line(A, "ISSUE_FUNDING", POOL, "ISSUE_FUNDING", 1_000_000)
FEE = Line(A, "ISSUE_FEE", OPERATOR, "ISSUE_FEE", 20_000)
OUT = Leg(M1, 1, A, 1, OPEN, MOVED_OUT, 100, 10_000)
INTO = Leg(M2, 1, A, 1, MOVED_IN, OPEN, 100, 10_000)


def entry(legs: list[Leg], lines: list[Line]) -> Entry:
    return Entry(earn(), 100, 1, tuple(legs), tuple(lines))


@pytest.mark.parametrize(
    ("legs", "lines"),
    [
        pytest.param([ISSUE], [FUND, FEE], id="earn"),
        pytest.param([ISSUE._replace(prefunded_micros=0)], [FEE], id="earn, redeem-funded"),
        pytest.param(
            [ISSUE._replace(from_account=OPEN, to_account=BURNED)],
            [Line(POOL, "BURN_FUNDING", B, "BURN_REIMBURSE", 1_000_000)],
            id="burn",
        ),
        pytest.param([ISSUE._replace(from_account=OPEN, to_account=HELD)], [], id="hold moves no money"),
        pytest.param(
            [ISSUE, ISSUE._replace(from_account=OPEN, to_account=EXPIRED)],
            [FUND, FEE, Line(POOL, "BREAKAGE_SHARE", OPERATOR, "BREAKAGE_SHARE", 1_000_000)],
            id="earn that expires at once",
        ),
        pytest.param([OUT, INTO], [], id="points of one member become another's"),
        pytest.param(
            [ISSUE._replace(from_account=BURNED)],
            [Line(B, "REIMBURSE_REVERSAL", POOL, "FUNDING_REVERSAL", 1_000_000)],
            id="refund",
        ),
        pytest.param([], [], id="a claw back that takes nothing"),
    ],
)
def test_an_entry_whose_legs_and_lines_agree_exists(legs: list[Leg], lines: list[Line]) -> None:
    made = entry(legs, lines)

    assert (list(made.legs), list(made.lines)) == (legs, lines)


@pytest.mark.parametrize(
    ("legs", "lines"),
    [
        pytest.param([ISSUE], [FEE], id="points without the pool's money"),
        pytest.param([], [FUND], id="the pool's money without points"),
        pytest.param([ISSUE], [FUND._replace(micros=999_999), FEE], id="the pool is a micro short"),
        pytest.param([ISSUE], [FUND._replace(micros=1_000_001), FEE], id="the pool is a micro over"),
        pytest.param([ISSUE], [FUND._replace(payer_id=POOL, payee_id=A)], id="debit and credit swapped"),
        pytest.param([ISSUE._replace(from_account=OPEN, to_account=BURNED)], [FUND], id="burn that funds"),
        pytest.param([ISSUE._replace(to_account=BURNED)], [FUND], id="burned without having been open"),
        pytest.param([ISSUE._replace(points=0)], [], id="leg of no points"),
        pytest.param([ISSUE._replace(points=-100)], [FUND._replace(micros=-1_000_000)], id="leg backwards"),
        pytest.param([ISSUE._replace(from_account=OPEN)], [], id="leg to where it came from"),
        pytest.param([], [FEE._replace(micros=0)], id="line of no money"),
        pytest.param([], [FEE._replace(micros=-1)], id="line backwards"),
        pytest.param([], [FEE._replace(payee_id=A)], id="line from a party to itself"),
        pytest.param([], [FUND._replace(payer_id=POOL)], id="line from the pool to itself"),
        pytest.param([OUT._replace(prefunded_micros=0)], [], id="moved out and into nothing"),
        pytest.param([INTO._replace(prefunded_micros=0)], [], id="moved in from nowhere"),
        pytest.param(
            [OUT, INTO._replace(prefunded_micros=9_999)], [], id="moved to where the pool holds less"
        ),
        pytest.param([ISSUE._replace(from_account=BURNED)], [], id="refund without the money"),
    ],
)
def test_an_entry_whose_legs_or_lines_do_not_prove_each_other_is_refused(
    legs: list[Leg], lines: list[Line]
) -> None:
    with pytest.raises(UnbalancedEntry):
        entry(legs, lines)


def test_a_line_below_zero_runs_the_other_way_under_the_same_names() -> None:
    made = line(POOL, "BURN_FUNDING", OPERATOR, "SPREAD", -5)

    assert made == (Line(OPERATOR, "SPREAD", POOL, "BURN_FUNDING", 5),)


@pytest.mark.parametrize(("payer", "payee", "micros"), [(A, B, 0), (A, A, 5), (A, A, -5)])
def test_nothing_and_money_within_one_party_are_no_line(payer: int, payee: int, micros: int) -> None:
    assert line(payer, "X", payee, "Y", micros) == ()


def test_an_entry_of_fewer_than_no_points_is_refused() -> None:
    with pytest.raises(UnbalancedEntry):
        Entry(earn(), -1, 1, (), ())
