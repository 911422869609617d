"""What an operation would give or take, by the rules that decide it: nothing is promised here, only computed."""

from __future__ import annotations

from typing import NamedTuple

from exchange.core.points import MAX_POINTS
from exchange.core.rates import RateCard
from exchange.core.refusals import Reason, Refusal

EARN_POINTS = "earn_points"
EARN_SPEND = "earn_spend_minor"
EARN_NATIVE = "earn_native_points"
BURN = "burn_points"
EXCHANGE_IN = "exchange_in_native_points"
EXCHANGE_OUT = "exchange_out_points"


class Price(NamedTuple):
    """Points earned, credited, burned or held, and the native points on the other side."""

    points: int
    native_points: int = 0


def price(operation: str, amount: int, card: RateCard, minor_per_major: int) -> Price | Refusal:
    """The price of an operation, named as in `QuoteRequest.operation`, by a card."""
    if operation in (EARN_NATIVE, EXCHANGE_IN) and card.native_rate_in is None:
        return Refusal(Reason.NO_NATIVE_RATE)
    if operation == EXCHANGE_OUT:
        if card.native_rate_out is None:
            return Refusal(Reason.NO_NATIVE_RATE)
        native = card.native_for(amount)
        return Price(amount, native) if native else Refusal(Reason.NOTHING_TO_EXCHANGE)
    if operation == BURN:
        return Price(amount)
    points = {
        EARN_POINTS: lambda: amount,
        EARN_SPEND: lambda: card.points_for(amount, minor_per_major),
        EARN_NATIVE: lambda: card.points_for_native(amount),
        EXCHANGE_IN: lambda: card.points_for_exchange(amount)[1],
    }[operation]()
    if not points:
        return Refusal(Reason.NOTHING_TO_EARN)
    if points > MAX_POINTS:
        return Refusal(Reason.POINTS_OVER_LIMIT, (("limit_points", str(MAX_POINTS)),))
    return Price(points, amount if operation in (EARN_NATIVE, EXCHANGE_IN) else 0)
