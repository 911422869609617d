"""The worked example: every window, funding mode and variant of `settlement_example.json`, to the fen."""

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from settlement.core.netting import Flow, Movement, Pair, bilateral_matrix, exact_nets, movements
from settlement.core.parties import OPERATOR, POOL
from settlement.core.points import LegSum
from settlement.core.rounding import StatementLine, rounding_bounds, settle_lines
from settlement.core.statement import statements
from settlement.core.window import NOTHING_YET, WindowSums, compute

EXAMPLE = json.loads((Path(__file__).parents[1] / "settlement_example.json").read_text())["expected"]
RUNS = [(variant, mode) for variant in EXAMPLE for mode in EXAMPLE[variant]]
FEN = 10_000  # micros
F, R, FEE = 10_000, 9_500, 200  # card v1, micros a point


def micros(exact: str | float) -> int:
    amount = Decimal(str(exact)) * 1_000_000
    assert amount == amount.to_integral_value()
    return int(amount)


def party(name: str) -> str:
    return OPERATOR if name == "OP" else name


def window_movements(window: dict[str, Any]) -> dict[Pair, Movement]:
    moved = {
        (partner, component): micros(amount["exact"])
        for partner, lines in window["lines"].items()
        for component, amount in lines.items()
    }
    moved |= {(OPERATOR, component): micros(exact) for component, exact in window["operator_exact"].items()}
    moved |= {(POOL, component): micros(exact) for component, exact in window["pool_exact"].items()}
    return {pair: Movement(exact, 1) for pair, exact in moved.items()}


def settled_windows(variant: str, mode: str) -> Iterator[tuple[dict[str, Any], tuple[StatementLine, ...]]]:
    before: tuple[StatementLine, ...] = ()
    for name in ("W1", "W2", "W3"):
        window = EXAMPLE[variant][mode][name]
        before = settle_lines(before, window_movements(window), FEN)
        yield window, before


@pytest.mark.parametrize(("variant", "mode"), RUNS)
def test_every_line_of_the_example_comes_out_to_the_fen(variant: str, mode: str) -> None:
    for window, lines in settled_windows(variant, mode):
        expected = {
            (partner, component): amount["fen"]
            for partner, components in window["lines"].items()
            for component, amount in components.items()
        }

        settled = {
            line.pair: line.amount_minor for line in lines if line.line_count and line.party_id in "ABC"
        }

        assert settled == expected


@pytest.mark.parametrize(("variant", "mode"), RUNS)
def test_every_net_position_of_the_example_comes_out_to_the_fen(variant: str, mode: str) -> None:
    closing = {}
    for window, lines in settled_windows(variant, mode):
        settled = statements(date(2026, 1, 1), lines)

        nets = {statement.party_id: statement.net_minor for statement in settled}
        closing = {statement.party_id: statement.closing_minor for statement in settled}

        expected = {party(name): fen for name, fen in window["net_fen"].items()}
        assert {name: nets.get(name, 0) for name in expected} == expected
        assert sum(nets.values()) == 0
        assert rounding_bounds(lines).holds_in_window
    totals = {party(name): fen for name, fen in EXAMPLE[variant][mode]["cumulative_net_fen"].items()}
    assert {name: closing.get(name, 0) for name in totals} == totals


@pytest.mark.parametrize(("variant", "mode"), RUNS)
def test_the_pool_balance_of_the_example_is_exact(variant: str, mode: str) -> None:
    for window, lines in settled_windows(variant, mode):
        balance = sum(line.exact_to_date_micros for line in lines if line.party_id == POOL)

        assert balance == micros(window["pool_balance_exact"])


@pytest.mark.parametrize(("variant", "mode"), RUNS)
def test_the_bilateral_matrix_of_the_example_nets_to_its_statements(variant: str, mode: str) -> None:
    for name in ("W1", "W2", "W3"):
        window = EXAMPLE[variant][mode][name]
        cells = {
            (party(key.split("->")[0]), party(key.split("->")[1])): micros(exact)
            for key, exact in window["bilateral_exact"].items()
        }

        flows = [Flow(payer, "ALL", payee, "ALL", exact, 1) for (payer, payee), exact in cells.items()]

        assert bilateral_matrix(flows) == cells
        by_matrix = {key: net for key, net in exact_nets(movements(flows)).items() if net}
        by_lines = {key: net for key, net in exact_nets(window_movements(window)).items() if net}
        assert by_matrix == by_lines


def earn(issuer: str, points: int, prefunded: int) -> list[Flow]:
    flows = [Flow(issuer, "ISSUE_FEE", OPERATOR, "ISSUE_FEE", points * FEE, 1)]
    if prefunded:
        flows.append(Flow(issuer, "ISSUE_FUNDING", POOL, "ISSUE_FUNDING", points * prefunded, 1))
    return flows


def burn(payer: str, redeemer: str, points: int) -> list[Flow]:
    return [
        Flow(payer, "BURN_FUNDING", redeemer, "BURN_REIMBURSE", points * R, 1),
        Flow(payer, "BURN_FUNDING", OPERATOR, "SPREAD", points * (F - R), 1),
    ]


@pytest.mark.parametrize(("mode", "prefunded"), [("issue_funded", F), ("redeem_funded", 0)])
def test_the_first_day_of_the_example_comes_out_of_its_money_lines(mode: str, prefunded: int) -> None:
    payer = POOL if prefunded else "A"
    posted = [
        *(flow for n in (10_000, 4_000, 1_500) for flow in earn("A", n, prefunded)),
        *burn(payer, "B", 3_333),
        *burn(payer, "B", 700),
        *earn("B", 16, prefunded),
    ]
    legs = (
        LegSum("A", "issued", "open", F, prefunded, 15_500, 3),
        LegSum("A", "open", "burned", F, prefunded, 4_033, 2),
        LegSum("B", "issued", "open", F, prefunded, 16, 1),
    )
    window = EXAMPLE["base"][mode]["W1"]

    computed = compute(NOTHING_YET, WindowSums(tuple(posted), legs, ()), FEN)

    nets = {s.party_id: s.net_minor for s in statements(date(2026, 1, 1), computed.lines)}
    assert nets == {party(name): fen for name, fen in window["net_fen"].items() if name != "C"}
    assert bilateral_matrix(posted) == {
        (party(key.split("->")[0]), party(key.split("->")[1])): micros(exact)
        for key, exact in window["bilateral_exact"].items()
    }
    liability = {issuer.issuer_id: issuer.liability_micros for issuer in computed.issuers}
    assert liability == {name: micros(exact) for name, exact in window["liability"].items()}
    assert sum(issuer.escrow_micros for issuer in computed.issuers) == micros(window["pool_balance_exact"])
