"""What netting and rounding keep true for any history of windows, however small and however many."""

from datetime import date
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settlement.core.amounts import round_half_up
from settlement.core.netting import Flow, bilateral_matrix, exact_nets, movements
from settlement.core.parties import OPERATOR, POOL
from settlement.core.recount import SettledLine, history_difference
from settlement.core.rounding import ROUNDING_PAIR, StatementLine, rounding_bounds, settle_lines
from settlement.core.statement import statements
from tests.property.profiles import tries

FEN = 10_000
DAY = date(2026, 1, 1)
PARTIES = ["a", "b", "c", POOL, OPERATOR]
COMPONENTS = ["FUNDING", "FEE", "SPREAD"]

flows = st.builds(
    lambda parties, payer_component, payee_component, micros, count: Flow(
        parties[0], payer_component, parties[1], payee_component, micros, count
    ),
    st.permutations(PARTIES),
    st.sampled_from(COMPONENTS),
    st.sampled_from(COMPONENTS),
    # around halves of a fen, where roundings differ, and up to a year's sum
    st.one_of(st.integers(1, 30_000), st.sampled_from([4_999, 5_000, 5_001, 15_000]), st.integers(1, 10**18)),
    st.integers(1, 5),
)
windows = st.lists(flows, max_size=6)
histories = st.lists(windows, min_size=1, max_size=25)


def settled(history: list[list[Flow]]) -> list[tuple[StatementLine, ...]]:
    results: list[tuple[StatementLine, ...]] = []
    before: tuple[StatementLine, ...] = ()
    for window in history:
        before = settle_lines(before, movements(window), FEN)
        results.append(before)
    return results


@tries(200)
@given(windows, st.randoms(use_true_random=False))
def test_netting_ignores_the_order_of_lines(window: list[Flow], random: Random) -> None:
    shuffled = list(window)
    random.shuffle(shuffled)

    lines = settle_lines((), movements(window), FEN)

    assert settle_lines((), movements(shuffled), FEN) == lines
    assert bilateral_matrix(shuffled) == bilateral_matrix(window)


@tries(200)
@given(histories)
def test_net_positions_sum_to_zero_in_every_window_and_to_date(history: list[list[Flow]]) -> None:
    for lines in settled(history):
        positions = statements(DAY, lines)

        assert sum(position.net_minor for position in positions) == 0
        assert sum(position.closing_minor for position in positions) == 0
        assert sum(position.exact_micros for position in positions) == 0


@tries(200)
@given(histories)
def test_rounding_stays_within_its_bounds_to_date_and_in_every_window(history: list[list[Flow]]) -> None:
    for lines in settled(history):
        bounds = rounding_bounds(lines)

        assert 2 * abs(bounds.to_date_minor) <= bounds.pair_count
        assert abs(bounds.window_minor) <= bounds.line_count
        for line in lines:
            if line.pair != ROUNDING_PAIR:
                assert abs(line.amount_minor * FEN - line.exact_micros) <= FEN
                assert 2 * abs(line.amount_to_date_minor * FEN - line.exact_to_date_micros) <= FEN


@tries(200)
@given(histories)
def test_lines_add_up_to_net_positions_and_windows_to_date(history: list[list[Flow]]) -> None:
    results = settled(history)

    everything = [flow for window in history for flow in window]
    assert [(line.pair, line.exact_to_date_micros, line.amount_to_date_minor) for line in results[-1]] == [
        (line.pair, line.exact_to_date_micros, line.amount_to_date_minor)
        for line in settle_lines((), movements(everything), FEN)
    ]
    for party in PARTIES:
        amounts = [sum(line.amount_minor for line in lines if line.party_id == party) for lines in results]
        last = [
            position.closing_minor for position in statements(DAY, results[-1]) if position.party_id == party
        ]
        assert sum(amounts) == sum(last)


@tries(200)
@given(histories)
def test_a_statement_opens_where_the_one_before_closed(history: list[list[Flow]]) -> None:
    by_window = [{p.party_id: p for p in statements(DAY, lines)} for lines in settled(history)]

    for earlier, later in pairwise(by_window):
        for party, position in later.items():
            assert position.opening_minor == (earlier[party].closing_minor if party in earlier else 0)
            assert position.closing_minor == position.opening_minor + position.net_minor
            assert position.net_minor == sum(line.amount_minor for line in position.lines)


@tries(200)
@given(histories)
def test_the_pools_cash_is_its_rounded_balance(history: list[list[Flow]]) -> None:
    everything = [flow for window in history for flow in window]

    lines = settled(history)[-1]

    balance = exact_nets(movements(everything)).get(POOL, 0)
    cash = sum(line.amount_to_date_minor for line in lines if line.party_id == POOL)
    assert cash == round_half_up(balance, FEN)


SMALL_WINDOWS = 400


def small_windows(random: Random) -> list[list[Flow]]:
    """Hundreds of windows of a few fees each, most of them below a fen, some of them empty."""
    return [
        [
            Flow(
                random.choice(PARTIES[:3]),
                random.choice(COMPONENTS),
                random.choice([POOL, OPERATOR]),
                random.choice(COMPONENTS),
                random.choice([1, 320, 4_999, 5_000, 5_001, random.randint(1, 12_000)]),
                1,
            )
            for _ in range(random.randrange(4))
        ]
        for _ in range(SMALL_WINDOWS)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_hundreds_of_small_windows_stay_within_the_bounds_and_lose_no_fen(seed: int) -> None:
    history = small_windows(Random(seed))
    everything = [flow for window in history for flow in window]

    results = settled(history)

    worst = max(abs(rounding_bounds(lines).to_date_minor) for lines in results)
    for lines in results:
        bounds = rounding_bounds(lines)
        assert bounds.holds_to_date
        assert bounds.holds_in_window
    assert worst > 0, "nothing was ever left over: this showed nothing"
    lines_so_far = [line for lines in results for line in lines]
    sums = [
        SettledLine(
            *pair,
            sum(line.line_count for line in lines_so_far if line.pair == pair),
            sum(line.exact_micros for line in lines_so_far if line.pair == pair),
            sum(line.amount_minor for line in lines_so_far if line.pair == pair),
        )
        for pair in {line.pair for line in results[-1]}
    ]
    assert history_difference(movements(everything), sums, FEN) == ""


@pytest.mark.parametrize("seed", range(8))
def test_windows_in_another_order_end_in_the_same_positions(seed: int) -> None:
    history = small_windows(Random(seed))
    shuffled = list(history)
    Random(seed + 100).shuffle(shuffled)

    ends = [
        {line.pair: (line.exact_to_date_micros, line.amount_to_date_minor) for line in settled(one)[-1]}
        for one in (history, shuffled)
    ]

    assert ends[0] == ends[1]
