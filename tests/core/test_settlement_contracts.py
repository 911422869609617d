"""Contracts: which lines a bilateral one makes, on which days contracts hold, and how the worked example nets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from settlement.core.certificate import contract_content
from settlement.core.checks import Case, failed, run_checks
from settlement.core.contracts import Contract, in_force
from settlement.core.netting import Flow
from settlement.core.parties import OPERATOR
from settlement.core.window import NOTHING_YET, ClosedWindow, Computed, Ledger, WindowSums, compute

DAY = date(2026, 1, 1)
PAIR = Contract("a", "b", "BILATERAL", DAY, None)
REDEEM_FUNDED = (
    Flow("a", "BURN_FUNDING", "b", "BURN_REIMBURSE", 38_313_500, 2),
    Flow("b", "BURN_FUNDING", "a", "BURN_REIMBURSE", 9_504_900, 1),
    Flow("a", "BURN_FUNDING", OPERATOR, "SPREAD", 2_016_500, 2),
    Flow("c", "BURN_FUNDING", "b", "BURN_REIMBURSE", 950_000, 1),
)


def case(stored: Computed, contracts: tuple[Contract, ...]) -> Case:
    """A first window with these lines, in which bilateral contracts are all that matters."""
    window = ClosedWindow(DAY, 1, 0, bytes(32), 0, datetime(2026, 1, 2, tzinfo=UTC))
    return Case(
        ledger=Ledger("hub.example/prod", "CNY", 2, "Asia/Shanghai", 0),
        window=window,
        seen_window=window,
        receipt_fault="",
        previous=None,
        hub_windows_before=0,
        certified_before=0,
        sums=WindowSums(REDEEM_FUNDED, (), ()),
        before=NOTHING_YET,
        stored=stored,
        contracts=contracts,
    )


def test_a_pair_settles_on_one_line_of_each_partner_rounded_once_and_opposite() -> None:
    computed = compute(NOTHING_YET, WindowSums(REDEEM_FUNDED, (), ()), 10_000, (PAIR,))

    lines = {line.pair: (line.exact_micros, line.amount_minor) for line in computed.lines}
    assert lines["a", "BILATERAL:b"] == (-28_808_600, -2_881)
    assert lines["b", "BILATERAL:a"] == (28_808_600, 2_881)
    assert lines["a", "BURN_FUNDING"] == (-2_016_500, -202)
    assert lines["b", "BURN_REIMBURSE"] == (950_000, 95)
    assert ("a", "BURN_REIMBURSE") not in lines
    assert sum(amount for _, amount in lines.values()) == 0


def test_what_a_pair_rounded_away_is_carried_until_it_makes_a_fen_and_waits_while_no_contract_holds() -> None:
    small = WindowSums((Flow("a", "BURN_FUNDING", "b", "BURN_REIMBURSE", 3_000, 1),), (), ())
    computed, settled = NOTHING_YET, []

    for contracts in ((PAIR,), (), (PAIR,)):
        computed = compute(computed, small, 10_000, contracts)
        settled.append(next(it.amount_minor for it in computed.lines if it.pair == ("a", "BILATERAL:b")))

    assert settled == [0, 0, -1]


def test_contracts_hold_from_their_first_to_their_last_day() -> None:
    ended = replace(PAIR, valid_until=DAY + timedelta(days=1))
    never = replace(PAIR, valid_until=DAY - timedelta(days=1))

    held = [
        [in_force([it], DAY + timedelta(days=n)) != () for n in range(-1, 4)] for it in (PAIR, ended, never)
    ]

    assert held == [
        [False, True, True, True, True],
        [False, True, True, False, False],
        [False, False, False, False, False],
    ]


@pytest.mark.parametrize(
    ("one", "other", "kind"), [("a", "", "BILATERAL"), ("a", "b", "GROSS"), ("b", "a", "BILATERAL")]
)
def test_a_contract_names_the_partners_its_kind_needs_in_order(one: str, other: str, kind: str) -> None:
    with pytest.raises(ValueError, match="counterparty_id"):
        Contract(one, other, kind, DAY, None)


def test_a_certificate_says_which_contracts_held_but_not_until_when() -> None:
    ended_later = replace(PAIR, valid_until=DAY + timedelta(days=90))

    assert contract_content(ended_later) == contract_content(PAIR)
    assert contract_content(PAIR)["valid_from"] == "2026-01-01"


def test_lines_that_moved_for_a_pair_without_its_contract_are_not_certified() -> None:
    sums = WindowSums(REDEEM_FUNDED, (), ())
    computed = compute(NOTHING_YET, sums, 10_000, (PAIR,))

    held, gone = run_checks(case(computed, (PAIR,))), run_checks(case(computed, ()))

    assert failed(held) == ()
    assert {"bilateral_opposite", "recomputed"} <= {check.name for check in failed(gone)}


def test_a_pair_whose_two_lines_are_not_opposite_is_not_certified() -> None:
    sums = WindowSums(REDEEM_FUNDED, (), ())
    computed = compute(NOTHING_YET, sums, 10_000, (PAIR,))
    wrong = tuple(
        replace(line, amount_minor=line.amount_minor + 1) if line.pair == ("b", "BILATERAL:a") else line
        for line in computed.lines
    )

    checks = run_checks(case(replace(computed, lines=wrong), (PAIR,)))

    (check,) = [check for check in checks if check.name == "bilateral_opposite"]
    assert not check.holds
    assert "b BILATERAL:a" in dict(check.figures)["wrong"]  # type: ignore[operator] # this figure is a text
