"""Reversal completeness: what is refunded or clawed back to the end leaves nothing behind but the issue fee."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.core.commands import (
    AuthorizeBurn,
    Burn,
    CaptureBurn,
    ClawBackEarn,
    ConfirmEarn,
    ConfirmExchangeOut,
    Earn,
    ExchangeOut,
    RefundBurn,
)
from exchange.core.ids import OPERATOR
from tests.builders import M1, NOON, TERMS
from tests.property.asking import ask
from tests.property.coalition import PARTNERS, PRICES, Coalition, Native, plain_coalition
from tests.property.playing import Playing, PlayingCore, PlayingReference
from tests.property.profiles import tries

MINOR_PER_POINT = 100
BOTH_REFUNDS = [TERMS, replace(TERMS, refund="pro_rata")]

COALITIONS = st.builds(
    plain_coalition,
    st.tuples(*[st.sampled_from(PRICES)] * 3),
    st.just(Native(Fraction(1), Fraction(1), Fraction(0))),
    st.sampled_from(BOTH_REFUNDS),
)
PARTNER, POINTS, WAY = (
    st.sampled_from(PARTNERS),
    st.integers(1, 60),
    st.sampled_from(["at once", "in two steps"]),
)
DEALS = st.lists(
    st.tuples(st.sampled_from(["earn", "earn by spend", "spend", "spend", "exchange"]), PARTNER, POINTS, WAY),
    min_size=2,
    max_size=8,
)
REVERSALS = st.lists(st.tuples(st.integers(0, 7), st.integers(1, 60)), max_size=20)
"""Which deal, and how many of its points."""

BOTH = pytest.mark.parametrize("ledger", [PlayingCore, PlayingReference], ids=["core", "reference"])


@dataclass
class Dealings:
    """Deals of M1 with partners, and what of them was not reversed yet. Time stands still."""

    playing: Playing
    deals: list[tuple[Any, int]] = field(default_factory=list)
    """Each as the command that its reversal names, with the points that are left of it."""
    number: int = 0

    def say(self, what: type[Any], **fields: Any) -> Any:
        self.number += 1
        command = ask(what, f"r-{self.number}", **fields)
        ((answer, _),) = self.playing.tell([command], NOON, NOON)
        assert answer["verdict"] == "accepted", answer
        return command

    def available(self) -> int:
        return self.playing.view().members[M1].available

    def deal(self, kind: str, partner: int, points: int, way: str) -> None:
        """An earn, or a burn of what there is, at once or by way of a promise or a hold."""
        two_steps = way == "in two steps"
        if kind == "earn":
            earn = self.say(Earn, partner_id=partner, points=points, pending=two_steps)
        elif kind == "earn by spend":
            spend = points * MINOR_PER_POINT + points
            earn = self.say(Earn, partner_id=partner, spend_minor=spend, pending=two_steps)
        else:
            self._spend(kind, partner, min(points, self.available()), two_steps)
            return
        if two_steps:
            self.say(ConfirmEarn, partner_id=partner, original=earn.request_id)
        self.deals.append((earn, self._points_of(earn)))

    def reverse(self, place: int, points: int) -> None:
        """So many points of a deal, or what is left of it."""
        deal, left = self.deals[place]
        points = min(points, left)
        if points:
            what = ClawBackEarn if isinstance(deal, Earn) else RefundBurn
            self.say(what, partner_id=deal.partner_id, original=deal.request_id, points=points)
            self.deals[place] = deal, left - points

    def _spend(self, kind: str, partner: int, points: int, two_steps: bool) -> None:
        if points == 0:
            return
        if kind == "exchange":
            out = self.say(ExchangeOut, partner_id=partner, points=points)
            burn = self.say(ConfirmExchangeOut, partner_id=partner, original=out.request_id)
        elif two_steps:
            hold = self.say(AuthorizeBurn, partner_id=partner, points=points)
            points = max(1, points - 3)
            burn = self.say(CaptureBurn, partner_id=partner, original=hold.request_id, points=points)
        else:
            burn = self.say(Burn, partner_id=partner, points=points)
        self.deals.append((burn, points))

    def _points_of(self, earn: Any) -> int:
        """As the same request is answered again."""
        ((answer, _),) = self.playing.tell([earn], NOON, NOON)
        points: int = answer["points"]
        return points


@BOTH
@tries(200)
@given(COALITIONS, DEALS, REVERSALS, st.randoms(use_true_random=False))
def test_whatever_is_reversed_to_the_end_in_whatever_order_leaves_nothing_but_issue_fees(
    ledger: Callable[[Coalition], Playing], coalition: Coalition, deals: Any, reversals: Any, random: Any
) -> None:
    dealings = Dealings(ledger(coalition))
    for deal in deals:
        dealings.deal(*deal)
    fees: Counter[int] = Counter()
    for deal, points in dealings.deals:
        if isinstance(deal, Earn):
            fee = points * coalition.cards[PARTNERS.index(deal.partner_id)].issue_fee_micros
            fees[deal.partner_id] -= fee
            fees[OPERATOR] += fee

    for place, points in reversals:
        if place < len(dealings.deals):
            dealings.reverse(place, points)
    for place in random.sample(range(len(dealings.deals)), len(dealings.deals)):
        dealings.reverse(place, dealings.deals[place][1])

    view = dealings.playing.view()
    assert view.nets == {party: fee for party, fee in fees.items() if fee}
    assert view.members[M1][:4] == (0, 0, 0, 0)
