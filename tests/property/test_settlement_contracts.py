"""What stays true of netting, rounding and payments whatever contracts hold on which days."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from itertools import combinations
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from settlement.core.contracts import Contract, bilateral_pairs, in_force
from settlement.core.netting import Flow, bilateral_counterparty, flow_lines, movements
from settlement.core.parties import OPERATOR, POOL
from settlement.core.payments import Direction, payments_due
from settlement.core.rounding import StatementLine, rounding_bounds, settle_lines
from settlement.core.statement import statements
from settlement.core.window import Computed, WindowSums, compute
from tests.property.profiles import tries

FEN = 10_000
FIRST = date(2026, 1, 1)
PARTNERS = ("a", "b", "c", "d")
PARTIES = (*PARTNERS, POOL, OPERATOR)
COMPONENTS = ("BURN_FUNDING", "BURN_REIMBURSE", "ISSUE_FEE")

flows = st.builds(
    lambda parties, payer_component, payee_component, micros: Flow(
        parties[0], payer_component, parties[1], payee_component, micros, 1
    ),
    st.sampled_from([(one, other) for one in PARTIES for other in PARTIES if one != other]),
    st.sampled_from(COMPONENTS),
    st.sampled_from(COMPONENTS),
    # around halves of a fen, where roundings differ
    st.one_of(st.integers(1, 30_000), st.sampled_from([4_999, 5_000, 5_001, 15_000])),
)
contracts = st.builds(
    lambda parties, first, length: Contract(
        parties[0],
        parties[1],
        "BILATERAL" if parties[1] else "GROSS",
        FIRST + timedelta(days=first),
        None if length is None else FIRST + timedelta(days=first + length),
    ),
    st.sampled_from([*combinations(PARTNERS, 2), *((partner, "") for partner in PARTNERS)]),
    st.integers(-5, 150),
    st.none() | st.integers(0, 60),
)
signed = st.lists(contracts, max_size=5, unique_by=lambda it: (it.partner_id, it.counterparty_id))
some_windows = st.lists(st.lists(flows, max_size=5), min_size=1, max_size=20)


def settled(history: list[list[Flow]], agreed: list[Contract]) -> list[Computed]:
    found: list[Computed] = []
    before = Computed((), ())
    for number, window in enumerate(history):
        held = in_force(agreed, FIRST + timedelta(days=number))
        before = compute(before, WindowSums(tuple(window), (), ()), FEN, held)
        found.append(before)
    return found


def check(history: list[list[Flow]], agreed: list[Contract]) -> None:
    """Sums of 0, bounds, opposite pairs, and payments that move exactly what is settled."""
    for number, computed in enumerate(settled(history, agreed)):
        day = FIRST + timedelta(days=number)
        positions = {it.party_id: it for it in statements(day, computed.lines)}
        assert sum(it.net_minor for it in positions.values()) == 0
        assert sum(it.closing_minor for it in positions.values()) == 0
        assert sum(it.exact_micros for it in positions.values()) == 0
        bounds = rounding_bounds(computed.lines)
        assert bounds.holds_to_date
        assert bounds.holds_in_window
        check_pairs(computed.lines)
        paid = Counter[str]()
        for payment in payments_due(day, computed.lines, in_force(agreed, day)):
            sign = 1 if payment.direction is Direction.PAY else -1
            paid[payment.party_id] += sign * payment.amount_minor
        assert {party: paid[party] for party in positions if party != OPERATOR} == {
            party: it.net_minor for party, it in positions.items() if party != OPERATOR
        }


def check_pairs(lines: tuple[StatementLine, ...]) -> None:
    pairs = {
        (line.party_id, other): line for line in lines if (other := bilateral_counterparty(line.component))
    }
    for (party, other), line in pairs.items():
        facing = pairs[other, party]
        assert line.amount_minor == -facing.amount_minor
        assert line.amount_to_date_minor == -facing.amount_to_date_minor
        assert abs(2 * (line.amount_to_date_minor * FEN - line.exact_to_date_micros)) <= FEN


@tries(150)
@given(some_windows, signed)
def test_sums_bounds_and_payments_hold_under_any_contracts(
    history: list[list[Flow]], agreed: list[Contract]
) -> None:
    check(history, agreed)


@tries(40)
@given(
    st.randoms(use_true_random=False), st.lists(st.lists(flows, max_size=3), min_size=15, max_size=30), signed
)
def test_sums_and_bounds_hold_over_hundreds_of_small_windows(
    random: Random, pattern: list[list[Flow]], agreed: list[Contract]
) -> None:
    check([random.choice(pattern) for _ in range(300)], agreed)


@tries(100)
@given(st.lists(flows, max_size=8), signed, st.randoms(use_true_random=False))
def test_netting_under_contracts_ignores_order(
    window: list[Flow], agreed: list[Contract], random: Random
) -> None:
    shuffled_window, shuffled_contracts = list(window), list(agreed)
    random.shuffle(shuffled_window)
    random.shuffle(shuffled_contracts)

    once = settled([window], agreed)

    assert settled([shuffled_window], shuffled_contracts) == once


@tries(100)
@given(st.lists(flows, max_size=8), signed)
def test_a_bilateral_contract_takes_its_pair_out_of_all_other_lines_and_moves_nothing_else(
    window: list[Flow], agreed: list[Contract]
) -> None:
    pairs = bilateral_pairs(agreed)

    with_contracts, without = movements(window, pairs), movements(window)

    outside = [flow for flow in window if flow_lines(flow, pairs) == flow_lines(flow)]
    multilateral = {line: it for line, it in with_contracts.items() if not bilateral_counterparty(line[1])}
    assert multilateral == movements(outside)
    for party in PARTIES:
        exact = [
            sum(it.exact_micros for (who, _), it in moved.items() if who == party)
            for moved in (with_contracts, without)
        ]
        assert exact[0] == exact[1]
    assert all(
        (one, other) in pairs or (other, one) in pairs
        for one, component in with_contracts
        if (other := bilateral_counterparty(component))
    )


@tries(60)
@given(some_windows, signed)
def test_lines_to_date_do_not_depend_on_where_windows_end_while_contracts_stay(
    history: list[list[Flow]], agreed: list[Contract]
) -> None:
    lasting = [Contract(it.partner_id, it.counterparty_id, it.kind, FIRST, None) for it in agreed]
    everything = [flow for window in history for flow in window]

    by_window = settled(history, lasting)[-1].lines
    at_once = settle_lines((), movements(everything, bilateral_pairs(lasting)), FEN)

    assert {line.pair: line.amount_to_date_minor for line in by_window} == {
        line.pair: line.amount_to_date_minor for line in at_once
    }
