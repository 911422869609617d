"""No way of exchanging points there and back, however split, gives more than it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.core.arbitrage import Cycle, find_cycle, usable_cards
from exchange.core.rates import Cards, RateCard
from tests.builders import MICROSECOND, A, B, C, card
from tests.property.profiles import tries

Rate = Fraction | int | None


def exchanging(
    partner_id: int = A,
    version: int = 1,
    *,
    into: Rate = None,
    out: Rate = None,
    spread: Rate = 0,
    valid_from: str = "2017-01-01 00:00",
) -> RateCard:
    """A card by its native rates: `into` points, `out` of points."""
    return replace(
        card(partner_id, version, valid_from=valid_from),
        native_rate_in=None if into is None else Fraction(into),
        native_rate_out=None if out is None else Fraction(out),
        exchange_spread=Fraction(spread or 0),
    )


def exchanged_out(points: int, by: RateCard) -> int:
    """Native points for points; the rule of docs/ledger.md in one line."""
    assert by.native_rate_out is not None
    return points * by.native_rate_out.numerator // by.native_rate_out.denominator


def exchanged_in(native: int, by: RateCard) -> int:
    """Points for native points, the spread taken before the only rounding."""
    assert by.native_rate_in is not None
    kept = native * by.native_rate_in * (1 - by.exchange_spread)
    return kept.numerator // kept.denominator


def test_cards_without_native_rates_have_no_cycle() -> None:
    assert find_cycle([]) is None
    assert find_cycle([card(A), card(B), card(C)]) is None


@pytest.mark.parametrize("only", [exchanging(into=1_000_000), exchanging(out=1_000_000)])
def test_a_way_that_leads_in_one_direction_only_is_no_cycle(only: RateCard) -> None:
    assert find_cycle([only]) is None


@pytest.mark.parametrize(
    ("into", "out", "spread"),
    [
        (Fraction(1, 10), 10, 0),
        (Fraction(1, 10), 9, 0),
        (Fraction(21, 200), 10, Fraction(1, 21)),  # the spread takes exactly what the rates would give
        (Fraction(1_000_000_000), Fraction(1, 1_000_000_000), 0),
    ],
)
def test_a_product_of_at_most_1_is_no_cycle(into: Rate, out: Rate, spread: Rate) -> None:
    assert find_cycle([exchanging(A, into=into, out=out, spread=spread)]) is None


@pytest.mark.parametrize(
    ("into", "out", "spread", "product"),
    [
        (Fraction(1, 10), 11, 0, Fraction(11, 10)),
        (Fraction(21, 200), 10, Fraction(1, 50), Fraction(1029, 1000)),
        # No floating-point number can tell this one from 1.
        (Fraction(10**9, 10**9 - 1), 1, Fraction(1, 10**9), Fraction(1)),
        (Fraction(10**9, 10**9 - 1), 1, 0, Fraction(10**9, 10**9 - 1)),
    ],
)
def test_the_product_is_exact(into: Rate, out: Rate, spread: Rate, product: Fraction) -> None:
    found = find_cycle([exchanging(A, into=into, out=out, spread=spread)])

    assert (found.product if found else Fraction(1)) == product


def test_ways_of_different_partners_are_no_cycle() -> None:
    # Native points of A are none of B's: a dear way out at one and a rich way in at the other do not meet.
    assert find_cycle([exchanging(A, out=1_000), exchanging(B, into=1_000)]) is None


def test_a_cycle_takes_its_two_steps_under_different_versions() -> None:
    old = exchanging(A, 1, into=Fraction(1, 10), out=10)
    new = exchanging(A, 2, into=Fraction(1, 8), out=8)

    found = find_cycle([old, new])

    assert found == Cycle(old, new, Fraction(10, 8))


def test_the_cycle_that_gains_most_is_found_whatever_the_order() -> None:
    slight = exchanging(A, into=1, out=Fraction(11, 10))
    great = exchanging(B, into=1, out=2)
    none = exchanging(C, into=1, out=1)

    for cards in ([slight, great, none], [none, great, slight]):
        assert find_cycle(cards) == Cycle(great, great, Fraction(2))


def test_a_cycle_is_printed_step_by_step() -> None:
    out = exchanging(A, 3, into=Fraction(1, 10), out=10)
    back = exchanging(A, 4, into=Fraction(1, 8), out=8, spread=Fraction(1, 50))

    found = find_cycle([out, back])

    assert found is not None
    assert found.describe("cafe") == (
        "1 point -> 10 native of cafe (version 3) -> 49/40 points (version 4 less the spread of 1/50)"
    )


rates = st.builds(Fraction, st.integers(1, 40), st.integers(1, 40))
spreads = st.builds(Fraction, st.integers(0, 4), st.just(20))
ways = st.builds(
    exchanging,
    st.sampled_from([A, B]),
    st.just(1),
    into=st.none() | rates,
    out=st.none() | rates,
    spread=spreads,
)
walks = st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(1, 200)), min_size=1, max_size=40)


@tries(100)
@given(st.lists(ways, min_size=1, max_size=4), walks)
def test_no_walk_over_cards_without_a_cycle_gains_a_point(
    cards: list[RateCard], walk: Sequence[tuple[bool, int, int]]
) -> None:
    if find_cycle(cards) is not None:
        return
    points, native = 500, {A: 0, B: 0}
    most = 500  # what the walker would have who came home now

    for is_out, which, wanted in walk:
        by = cards[which % len(cards)]
        if is_out and by.native_rate_out is not None:
            taken = min(wanted, points)
            points -= taken
            native[by.partner_id] += exchanged_out(taken, by)
        elif not is_out and by.native_rate_in is not None:
            taken = min(wanted, native[by.partner_id])
            native[by.partner_id] -= taken
            points += exchanged_in(taken, by)
        home = points + sum(best_way_home(partner, amount, cards) for partner, amount in native.items())
        most = max(most, home)

    assert most == 500


def best_way_home(partner: int, native: int, cards: Sequence[RateCard]) -> int:
    ways_in = [by for by in cards if by.partner_id == partner and by.native_rate_in is not None]
    return max((exchanged_in(native, by) for by in ways_in), default=0)


@tries(100)
@given(st.lists(ways, min_size=1, max_size=4))
def test_a_cycle_that_is_found_gains_points_in_two_steps(cards: list[RateCard]) -> None:
    found = find_cycle(cards)
    if found is None:
        return
    assert found.out.native_rate_out is not None
    whole = found.out.native_rate_out.denominator * found.product.denominator

    returned = exchanged_in(exchanged_out(whole, found.out), found.back)

    assert returned > whole
    assert Fraction(returned, whole) == found.product


# Which versions can be used together: those of which an event can still be posted, and those to come.

V1 = exchanging(A, 1, out=10, valid_from="2026-01-01 00:00")
V2 = exchanging(A, 2, valid_from="2026-02-01 00:00")
V3 = exchanging(A, 3, into=1, valid_from="2026-03-01 00:00")


def test_a_replaced_version_counts_while_a_late_event_can_be_priced_by_it() -> None:
    cards = Cards([V1, V2, exchanging(B)])

    just_still = usable_cards(cards, V3, V2.valid_from - MICROSECOND)
    no_more = usable_cards(cards, V3, V2.valid_from)

    assert just_still == [V1, V2, V3, exchanging(B)]
    assert no_more == [V2, V3, exchanging(B)]
    assert find_cycle(just_still) == Cycle(V1, V3, Fraction(10))
    assert find_cycle(no_more) is None


def test_a_version_to_come_counts() -> None:
    coming = exchanging(A, 4, out=1, valid_from="2027-01-01 00:00")

    found = usable_cards(Cards([V2, coming]), V3, V3.valid_from + timedelta(days=1))

    assert found == [V3, coming]


def test_a_partners_first_card_counts_alone() -> None:
    assert usable_cards(Cards([]), V1, V1.valid_from + timedelta(days=100)) == [V1]
