"""Rate loops: cards that pass the check of cycles give nobody more than was put in, however it is split."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import product
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from exchange.core.arbitrage import find_cycle
from exchange.core.commands import (
    Burn,
    ConfirmExchangeOut,
    Earn,
    ExchangeIn,
    ExchangeOut,
    RefundBurn,
    RefuseExchangeOut,
)
from exchange.core.ids import OPERATOR, POOL
from exchange.core.rates import RateCard
from tests.builders import M1, NOON, TERMS, A, card
from tests.property.asking import ask
from tests.property.coalition import MEMBERS, PARTNERS, WIDE, Coalition
from tests.property.playing import PlayingCore
from tests.property.profiles import tries

RATES = st.sampled_from(sorted({Fraction(over, under) for over in range(1, 10) for under in range(1, 10)}))
SPREADS = st.sampled_from([Fraction(0), Fraction(0), Fraction(1, 50), Fraction(1, 3)])
LATER = NOON + timedelta(days=1)

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["out", "in", "out", "in", "refused", "burn", "refund", "time"]),
        st.sampled_from(PARTNERS),
        st.integers(1, 100),  # so many hundredths of what there is
        st.booleans(),  # priced by the first card, by a late event
    ),
    max_size=25,
)


PRICES = st.sampled_from(
    [
        (funding, prefunded, reimbursement, fee)
        for funding in (1, 3, 7, 12)
        for prefunded in {0, funding // 3, funding}
        for reimbursement in {0, 1, funding}
        for fee in (0, 2)
    ]
)


def _card(partner: int, version: int, prices: Any, rates: Any) -> RateCard:
    funding, prefunded, reimbursement, issue_fee = prices
    rate_in, rate_out, spread = rates
    priced = card(
        partner,
        version,
        valid_from="2026-01-01 00:00" if version == 1 else "2026-01-02 00:00",
        funding=funding,
        prefunded=prefunded,
        reimbursement=reimbursement,
        issue_fee=issue_fee,
    )
    return replace(priced, native_rate_in=rate_in, native_rate_out=rate_out, exchange_spread=spread)


CARDS = st.tuples(*[st.tuples(PRICES, st.tuples(RATES, RATES, SPREADS))] * 6).map(
    lambda terms: [
        _card(partner, version, *each)
        for (partner, version), each in zip(product(PARTNERS, (1, 2)), terms, strict=True)
    ]
)


def at_the_edge(cards: list[RateCard]) -> list[RateCard]:
    """The cards with ways out that are as good as can be without a cycle: those that have one lose it."""
    best = {
        partner: max(_way_in(each) for each in cards if each.partner_id == partner) for partner in PARTNERS
    }
    return [replace(each, native_rate_out=1 / best[each.partner_id]) for each in cards]


def _way_in(each: RateCard) -> Fraction:
    assert each.native_rate_in is not None
    return each.native_rate_in * (1 - each.exchange_spread)


@dataclass
class Traveller:
    """A member who begins with 500 points and goes to and fro with them, as well as it can."""

    playing: PlayingCore
    cards: list[RateCard]
    native: Counter[int] = field(default_factory=Counter)
    """Native points at each partner."""
    burns: list[tuple[Any, int]] = field(default_factory=list)
    now: datetime = NOON
    number: int = 0

    def say(self, what: type[Any], partner: int, late: bool = False, **fields: Any) -> tuple[Any, Any]:
        self.number += 1
        event_time = NOON if late else self.now
        command = ask(what, f"r-{self.number}", partner_id=partner, event_time=event_time, **fields)
        ((answer, _),) = self.playing.tell([command], self.now, self.now)
        return command, answer

    def points(self) -> int:
        return self.playing.rows.wallets[M1].open_points

    def worth(self) -> Fraction:
        """Points, native points at the best rate into points there is, and what goods could give back."""
        back = {
            partner: max(_way_in(each) for each in self.cards if each.partner_id == partner)
            for partner in PARTNERS
        }
        natives = sum((self.native[partner] * back[partner] for partner in PARTNERS), Fraction(0))
        return self.points() + natives + sum(left for _, left in self.burns)

    def go(self, kind: str, partner: int, share: int, late: bool) -> None:
        """A step with so many hundredths of what there is."""
        if kind == "time":
            self.now = LATER
        elif kind == "in":
            native = self.native[partner] * share // 100
            if native:
                _, answer = self.say(ExchangeIn, partner, late, native_points=native)
                if answer["verdict"] == "accepted":
                    self.native[partner] -= native
        elif kind == "refund":
            self._refund(share)
        elif self.points():
            self._spend(kind, partner, -(-self.points() * share // 100), late)

    def _spend(self, kind: str, partner: int, points: int, late: bool) -> None:
        if kind == "burn":
            burn, answer = self.say(Burn, partner, late, points=points)
            assert answer["verdict"] == "accepted"
            self.burns.append((burn, points))
            return
        out, answer = self.say(ExchangeOut, partner, late, points=points)
        if answer["verdict"] == "accepted":
            end = ConfirmExchangeOut if kind == "out" else RefuseExchangeOut
            _, ended = self.say(end, partner, original=out.request_id)
            assert ended["verdict"] == "accepted"
            self.native[partner] += answer["native_points"] if kind == "out" else 0

    def _refund(self, share: int) -> None:
        if self.burns:
            burn, left = self.burns.pop(0)
            points = -(-left * share // 100)
            if points < left:
                self.burns.append((burn, left - points))
            if points:
                _, answer = self.say(RefundBurn, burn.partner_id, original=burn.request_id, points=points)
                assert answer["verdict"] == "accepted"


def _traveller(cards: list[RateCard]) -> Traveller:
    consent = {(member, partner): WIDE for member in MEMBERS for partner in PARTNERS}
    playing = PlayingCore(Coalition(tuple(cards), consent, TERMS))
    traveller = Traveller(playing, cards)
    _, answer = traveller.say(Earn, A, points=500)
    assert answer["verdict"] == "accepted"
    return traveller


@tries(500)
@given(CARDS, STEPS)
def test_no_way_to_and_fro_ever_makes_points(cards: list[RateCard], steps: list[Any]) -> None:
    if find_cycle(cards) is not None:
        cards = at_the_edge(cards)
    assert find_cycle(cards) is None
    traveller = _traveller(cards)
    worth = traveller.worth()

    for step in steps:
        traveller.go(*step)

        assert traveller.worth() <= worth
        worth = traveller.worth()


@tries(500)
@given(CARDS, STEPS)
def test_no_way_to_and_fro_ever_makes_money_for_partners(cards: list[RateCard], steps: list[Any]) -> None:
    least_funding = min(each.funding_micros for each in cards)
    cards = [
        replace(each, reimbursement_micros=min(each.reimbursement_micros, least_funding)) for each in cards
    ]
    traveller = _traveller(cards)

    for step in steps:
        traveller.go(*step)

        nets = traveller.playing.view().nets
        lots = traveller.playing.rows.lots.values()
        escrow = sum((lot.open_points + lot.held_points) * lot.prefunded_micros for lot in lots)
        assert nets.get(POOL, 0) == escrow
        assert nets.get(OPERATOR, 0) >= 0  # so all partners together never received more than they paid


@tries(500)
@given(CARDS)
def test_where_the_check_finds_a_cycle_there_are_points_to_be_made(
    cards: list[RateCard],
) -> None:
    cycle = find_cycle(cards)
    assume(cycle is not None and cycle.product > Fraction(51, 50))
    assert cycle is not None
    traveller = _traveller(cards)
    partner = cycle.out.partner_id
    if cycle.out.version == 2:
        traveller.now = LATER

    traveller.go("out", partner, 100, False)
    traveller.now = LATER
    _, answer = traveller.say(
        ExchangeIn, partner, late=cycle.back.version == 1, native_points=traveller.native[partner]
    )

    assert answer["points"] > 500
