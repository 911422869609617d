"""However often and in whichever order a platform tells an order: the same commands come of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from merchant_adapter import PointsCommand
from merchant_adapter.webhooks import OrderEvent, OrderPolicy, OrderRefund, OrderState
from merchant_adapter.webhooks.orders import commands_of
from merchant_adapter.webhooks.reading import check_order
from tests.property.profiles import tries

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
MOST_REFUNDS = 3

policies = st.builds(
    OrderPolicy,
    currency=st.just("CNY"),
    store_id=st.just("web"),
    terminal_id=st.just("shop"),
    confirm_on=st.sampled_from([OrderState.PAID, OrderState.COMPLETED]),
    capture_on=st.sampled_from([OrderState.PAID, OrderState.COMPLETED]),
    exclude_tax=st.booleans(),
    exclude_shipping=st.booleans(),
)


@st.composite
def first_versions(draw: st.DrawFn) -> OrderEvent:
    """A paid order, of a guest or a customer, with points or without."""
    points = draw(st.sampled_from([0, 300]))
    paid_by: dict[str, Any] = {}
    if points:
        paid_by[draw(st.sampled_from(["hold_request_id", "burn_request_id"]))] = "before"
    return OrderEvent(
        delivery_id="d",
        order_id="A-1",
        version=1,
        state=OrderState.PAID,
        paid_time=BEGIN,
        currency="CNY",
        paid_minor=10_000,
        tax_minor=draw(st.sampled_from([0, 1_300])),
        shipping_minor=draw(st.sampled_from([0, 900])),
        customer_id="c-1" if points else draw(st.sampled_from(["c-1", ""])),
        points_paid=points,
        points_value_minor=points,
        **paid_by,
    )


@st.composite
def histories(draw: st.DrawFn, *, ascending: bool) -> list[OrderEvent]:
    """All versions of an order, each with one fact more; its times ascend with the versions, or anyhow."""
    versions = [draw(first_versions())]
    facts = draw(
        st.permutations(["complete", "claim", *["refund"] * MOST_REFUNDS]).map(
            lambda them: them[: 1 + len(them) // 2]
        )
    )
    for fact in [*facts, *draw(st.sampled_from([[], ["cancel"], ["cancel", "refund"]]))]:
        hours = len(versions) if ascending else draw(st.integers(0, 2))
        grown = _grown(versions[-1], fact, BEGIN + timedelta(hours=hours), draw(st.booleans()))
        versions.append(replace(grown, version=versions[-1].version + 1))
    return versions


def _grown(order: OrderEvent, fact: str, time: datetime, is_large: bool) -> OrderEvent:
    match fact:
        case "complete":
            return replace(order, state=OrderState.COMPLETED, completed_time=time)
        case "cancel":
            # Nothing is cancelled before it was completed: that would be another order.
            end = max(time, order.completed_time or time)
            return replace(order, state=OrderState.CANCELLED, cancelled_time=end)
        case "claim":
            return replace(order, customer_id="c-1")
        case _:
            value = 100 if order.points_paid and is_large else 0
            back = OrderRefund(
                refund_id=f"R-{len(order.refunds)}",
                time=time,
                refunded_minor=3_300 if is_large else 400,
                tax_minor=100 if order.tax_minor else 0,
                points=value,
                points_value_minor=value,
            )
            return replace(order, refunds=(*order.refunds, back)) if len(order.refunds) < 3 else order


@st.composite
def tellings(draw: st.DrawFn, *, ascending: bool) -> tuple[list[OrderEvent], list[OrderEvent]]:
    """The versions of an order, and how they are told: shuffled, with duplicates, the newest at least once."""
    versions = draw(histories(ascending=ascending))
    told = draw(st.lists(st.sampled_from(versions), max_size=2 * len(versions)))
    return versions, draw(st.permutations([*told, versions[-1]]))


def posted(
    told: Sequence[OrderEvent], policy: OrderPolicy, works: Iterator[bool]
) -> list[PointsCommand[Any]]:
    """What an inbox makes of tellings: the newest version is kept, and worked on now and then, and in the end."""
    made: list[PointsCommand[Any]] = []
    newest: OrderEvent | None = None
    applied: OrderEvent | None = None
    for at, event in enumerate(told):
        if newest is None or event.version > newest.version:
            newest = event
        if newest is not applied and (next(works) or at == len(told) - 1):
            made += commands_of(newest, applied, policy, "cafe generic", "m-1")
            applied = newest
    return made


@tries(60)
@given(tellings(ascending=True), policies, st.iterables(st.booleans(), min_size=100))
def test_any_shuffle_with_any_duplicates_makes_the_commands_of_the_order_told_in_order(
    orders: tuple[list[OrderEvent], list[OrderEvent]], policy: OrderPolicy, works: Iterator[bool]
) -> None:
    versions, told = orders
    for version in versions:
        check_order(version, policy, BEGIN + timedelta(days=2))
    in_order = posted(versions, policy, iter([True] * len(versions)))

    shuffled = posted(told, policy, iter(works))

    assert shuffled == in_order
    assert len({one.request_id for one in in_order}) == len(in_order)


@tries(40, more=1)
@given(tellings(ascending=False), policies, st.iterables(st.booleans(), min_size=100))
def test_whatever_times_are_told_nothing_is_taken_back_twice_and_no_version_contradicts_another(
    orders: tuple[list[OrderEvent], list[OrderEvent]], policy: OrderPolicy, works: Iterator[bool]
) -> None:
    versions, told = orders
    policy = replace(policy, exclude_tax=False, exclude_shipping=False)

    made = posted(told, policy, iter(works))

    base = versions[0].paid_minor - versions[0].points_value_minor
    assert len({one.request_id for one in made}) == len(made)
    assert sum(getattr(one, "refunded_spend_minor", 0) or 0 for one in made) <= base
    back = [one for one in made if type(one).__name__ == "RefundBurnCommand"]
    assert sum(getattr(one, "points", 0) for one in back) <= versions[0].points_paid
    assert len({(type(one), one.reference) for one in made}) == len(made)
