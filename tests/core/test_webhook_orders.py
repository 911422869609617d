"""What an order of a shop becomes on the ledger, state by state, and what a webhook may tell."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from merchant_adapter import InvalidRequest, PointsCommand
from merchant_adapter.webhooks import OrderChanged, OrderEvent, OrderPolicy, OrderRefund, OrderState
from merchant_adapter.webhooks.orders import commands_of
from merchant_adapter.webhooks.reading import check_order, read_order, write_order

PAID = datetime(2026, 1, 1, 12, tzinfo=UTC)
COMPLETED, RETURNED, CANCELLED = (PAID + timedelta(days=number) for number in (1, 2, 3))
POLICY = OrderPolicy(currency="CNY", store_id="web", terminal_id="shop")
AT_ONCE = replace(POLICY, confirm_on=OrderState.PAID, capture_on=OrderState.PAID)


def order(**changes: Any) -> OrderEvent:
    """100.00, of which 13.00 tax and 10.00 shipping, paid by customer c-1."""
    values: dict[str, Any] = {
        "delivery_id": "d-1",
        "order_id": "A-1",
        "version": 1,
        "state": OrderState.PAID,
        "paid_time": PAID,
        "currency": "CNY",
        "paid_minor": 10_000,
        "tax_minor": 1_300,
        "shipping_minor": 1_000,
        "customer_id": "c-1",
    }
    return OrderEvent(**(values | changes))


def completed(**changes: Any) -> OrderEvent:
    return order(**({"state": OrderState.COMPLETED, "completed_time": COMPLETED} | changes))


def cancelled(**changes: Any) -> OrderEvent:
    return order(**({"state": OrderState.CANCELLED, "cancelled_time": CANCELLED} | changes))


def refund(**changes: Any) -> OrderRefund:
    values: dict[str, Any] = {"refund_id": "R-1", "time": RETURNED, "refunded_minor": 3_000}
    return OrderRefund(**(values | changes))


WITH_POINTS: dict[str, Any] = {"points_paid": 500, "points_value_minor": 500, "hold_request_id": "hold-1"}


def made(
    event: OrderEvent, applied: OrderEvent | None = None, policy: OrderPolicy = POLICY
) -> list[PointsCommand[Any]]:
    return commands_of(event, applied, policy, "cafe generic", "m-1")


def shown(commands: list[PointsCommand[Any]]) -> list[tuple[str, int | None]]:
    """The kinds, with what they are about."""
    figures = ("eligible_spend_minor", "refunded_spend_minor", "points")
    return [
        (
            type(one).__name__.removesuffix("Command"),
            next((it for name in figures if (it := getattr(one, name, None)) is not None), None),
        )
        for one in commands
    ]


def test_a_paid_order_is_a_pending_earn_and_a_completed_one_confirms_it() -> None:
    earn, confirm = made(completed())

    assert shown([earn, confirm]) == [("Earn", 10_000), ("ConfirmEarn", None)]
    assert getattr(earn, "pending", None) is True
    assert getattr(confirm, "original_request_id", "") == earn.request_id
    assert (earn.event_time, confirm.event_time) == (PAID, COMPLETED)
    assert (earn.reference, earn.store_id, earn.terminal_id) == ("A-1", "web", "shop")


def test_a_state_that_arrives_alone_makes_what_the_earlier_ones_would_have_made() -> None:
    in_order = [*made(order()), *made(completed(version=2), order())]

    assert made(completed(version=2)) == in_order


def test_where_payment_is_final_there_is_one_plain_earn() -> None:
    (earn,) = made(completed(), policy=AT_ONCE)

    assert getattr(earn, "pending", None) is False


@pytest.mark.parametrize(
    ("changes", "eligible"),
    [
        ({}, 10_000),
        ({"exclude_tax": True}, 8_700),
        ({"exclude_shipping": True}, 9_000),
        ({"exclude_tax": True, "exclude_shipping": True}, 7_700),
    ],
)
def test_tax_and_shipping_earn_as_agreed(changes: dict[str, Any], eligible: int) -> None:
    commands = made(order(), policy=replace(POLICY, **changes))

    assert shown(commands) == [("Earn", eligible)]


def test_what_was_paid_with_points_earns_nothing() -> None:
    assert shown(made(order(**WITH_POINTS))) == [("Earn", 9_500)]


def test_an_order_paid_with_points_alone_earns_nothing_and_burns() -> None:
    event = completed(points_paid=10_000, points_value_minor=10_000, hold_request_id="hold-1")

    assert shown(made(event)) == [("CaptureBurn", 10_000)]


def test_a_guest_earns_nothing_until_the_order_is_claimed() -> None:
    guest = completed(customer_id="")

    assert made(guest) == []
    assert made(completed(version=2), guest) == made(completed(version=2))


def test_a_hold_is_captured_with_the_order_and_voided_without_it() -> None:
    capture = made(completed(**WITH_POINTS))[-1]
    void = made(cancelled(**WITH_POINTS))[-1]

    assert shown([capture, void]) == [("CaptureBurn", 500), ("VoidBurn", None)]
    assert {getattr(one, "original_request_id", "") for one in (capture, void)} == {"hold-1"}


def test_an_order_that_was_never_paid_gives_its_hold_back_and_nothing_else() -> None:
    assert shown(made(cancelled(paid_time=None, **WITH_POINTS))) == [("VoidBurn", None)]


def test_a_cancelled_order_cancels_what_is_pending_and_claws_back_what_is_final() -> None:
    assert shown(made(cancelled())) == [("Earn", 10_000), ("CancelEarn", None)]
    assert shown(made(cancelled(completed_time=COMPLETED)))[2:] == [("ClawBackEarn", 10_000)]
    assert shown(made(cancelled(), policy=AT_ONCE))[1:] == [("ClawBackEarn", 10_000)]


def test_goods_that_come_back_take_points_and_give_those_paid_back() -> None:
    back = refund(points=150, points_value_minor=150)

    commands = made(completed(refunds=(back,), **WITH_POINTS))

    assert shown(commands)[3:] == [("ClawBackEarn", 2_850), ("RefundBurn", 150)]
    assert [one.reference for one in commands[3:]] == ["A-1 R-1", "A-1 R-1"]
    assert getattr(commands[4], "original_request_id", "") == commands[2].request_id


def test_a_refund_is_without_tax_and_shipping_where_the_earn_was() -> None:
    back = refund(tax_minor=390, shipping_minor=100)
    policy = replace(POLICY, exclude_tax=True, exclude_shipping=True)

    assert shown(made(completed(refunds=(back,)), policy=policy))[2:] == [("ClawBackEarn", 2_510)]


def test_points_that_come_back_before_the_hold_is_captured_are_refunded_after_it() -> None:
    early = refund(time=PAID + timedelta(hours=1), points=150, points_value_minor=150)
    first = order(version=2, refunds=(early,), **WITH_POINTS)
    then = completed(version=3, refunds=(early,), **WITH_POINTS)

    assert shown(made(first)) == [("Earn", 9_500), ("ClawBackEarn", 2_850)]
    (confirm, capture, back) = made(then, first)
    assert shown([confirm, capture, back]) == [
        ("ConfirmEarn", None),
        ("CaptureBurn", 500),
        ("RefundBurn", 150),
    ]
    assert back.event_time == COMPLETED


def test_all_refunds_and_a_cancellation_take_back_the_whole_and_no_more() -> None:
    backs = tuple(
        refund(refund_id=f"R-{number}", time=RETURNED + timedelta(hours=number)) for number in range(3)
    )
    event = cancelled(completed_time=COMPLETED, refunds=backs, **WITH_POINTS)

    commands = shown(made(event))

    assert sum(figure or 0 for kind, figure in commands if kind == "ClawBackEarn") == 9_500
    assert [it for it in commands if it[0] == "RefundBurn"] == [("RefundBurn", 500)]


def test_a_burn_made_at_checkout_is_refunded_without_a_capture() -> None:
    paid = {"points_paid": 500, "points_value_minor": 500, "burn_request_id": "burn-1"}

    commands = made(cancelled(**paid))

    assert shown(commands) == [("Earn", 9_500), ("CancelEarn", None), ("RefundBurn", 500)]
    assert getattr(commands[2], "original_request_id", "") == "burn-1"


def test_the_same_order_of_another_partner_has_other_request_ids() -> None:
    ids = {one.request_id for one in made(completed())}
    others = {one.request_id for one in commands_of(completed(), None, POLICY, "books generic", "m-1")}

    assert len(ids | others) == 4


def test_what_is_told_of_a_cancelled_order_changes_nothing_any_more() -> None:
    late = cancelled(version=2, refunds=(refund(time=CANCELLED + timedelta(hours=1)),))

    assert made(late, cancelled()) == []


def test_a_refund_made_before_counts_although_the_order_was_cancelled_before_it() -> None:
    known = order(refunds=(refund(time=CANCELLED + timedelta(hours=1)),))

    assert shown(made(cancelled(version=2, refunds=known.refunds), known)) == [("CancelEarn", None)]


@pytest.mark.parametrize(
    ("applied", "event", "said"),
    [
        (order(), order(version=2, paid_minor=9_000), "eligible_spend_minor was 10000 before"),
        (completed(), order(version=2), "ConfirmEarn at 2026-01-02"),
        (order(), order(version=2, customer_id="c-2"), "customer_id"),
        (cancelled(), completed(version=2), "cancelled, and is completed"),
        (order(), order(version=2, paid_time=COMPLETED), "event_time was"),
        (completed(refunds=(refund(),)), completed(version=2), "ClawBackEarn at"),
    ],
)
def test_a_version_that_contradicts_what_was_made_is_for_a_person(
    applied: OrderEvent, event: OrderEvent, said: str
) -> None:
    with pytest.raises(OrderChanged, match=said):
        made(event, applied)


# --- reading


def body(**changes: Any) -> bytes:
    told = json.loads(write_order(completed(refunds=(refund(),), **WITH_POINTS))) | changes
    return json.dumps({name: it for name, it in told.items() if it != "gone"}).encode()


def faults(raw: bytes) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        check_order(read_order(raw), POLICY, CANCELLED)
    return [one.field for one in caught.value.fields]


def test_an_order_is_read_as_it_was_written() -> None:
    event = completed(refunds=(refund(), refund(refund_id="R-2")), **WITH_POINTS)

    assert read_order(write_order(event).encode()) == event


def test_fields_that_a_platform_adds_are_passed_over() -> None:
    event = read_order(body(line_items=[{"sku": 1}], note=None))

    assert event == read_order(body())


def test_a_time_in_any_zone_is_the_same_time() -> None:
    assert read_order(body(paid_time="2026-01-01T20:00:00+08:00")).paid_time == PAID


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"delivery_id": "gone"}, "delivery_id"),
        ({"order_id": ""}, "order_id"),
        ({"order_id": "A 1"}, "order_id"),
        ({"order_id": "=1+1"}, "order_id"),
        ({"order_id": 1}, "order_id"),
        ({"version": "1"}, "version"),
        ({"version": True}, "version"),
        ({"version": 1.0}, "version"),
        ({"version": -1}, "version"),
        ({"version": 2**63}, "version"),
        ({"state": "shipped"}, "state"),
        ({"state": ["paid"]}, "state"),
        ({"state": None}, "state"),
        ({"paid_time": "2026-01-01T12:00:00"}, "paid_time"),
        ({"paid_time": 1_767_225_600}, "paid_time"),
        ({"paid_time": "0001-01-01T00:00:00+14:00"}, "paid_time"),
        ({"paid_time": None}, "paid_time"),
        ({"completed_time": "2099-01-01T00:00:00Z"}, "completed_time"),
        ({"completed_time": None}, "completed_time"),
        ({"cancelled_time": "2026-01-02T00:00:00Z"}, "cancelled_time"),
        ({"currency": "USD"}, "currency"),
        ({"paid_minor": "100.00"}, "paid_minor"),
        ({"paid_minor": 10**12 + 1}, "paid_minor"),
        ({"paid_minor": 2_000}, "paid_minor"),
        ({"customer_id": None}, "customer_id"),
        ({"customer_id": "c\n1"}, "customer_id"),
        ({"store_id": "x" * 65}, "store_id"),
        ({"hold_request_id": None}, "points_paid"),
        ({"burn_request_id": "burn-1"}, "points_paid"),
        ({"points_paid": 0}, "points_paid"),
        ({"refunds": {}}, "refunds"),
        ({"refunds": [1]}, "refunds"),
    ],
)
def test_a_field_that_is_wrong_is_named(changes: dict[str, Any], field: str) -> None:
    assert field in faults(body(**changes))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"refund_id": None}, "refunds[0].refund_id"),
        ({"refund_id": "x" * 61}, "refunds[0].refund_id"),
        ({"time": None}, "refunds[0].time"),
        ({"time": "2099-01-01T00:00:00Z"}, "refunds[0].time"),
        ({"refunded_minor": None}, "refunds[0].refunded_minor"),
        ({"tax_minor": 3_001}, "refunds[0].refunded_minor"),
        ({"points_value_minor": 3_001}, "refunds[0].refunded_minor"),
        ({"refunded_minor": 10_001}, "refunds"),
        ({"points": 501}, "refunds"),
    ],
)
def test_a_field_of_a_refund_that_is_wrong_is_named(changes: dict[str, Any], field: str) -> None:
    told = json.loads(body())["refunds"][0] | changes

    assert field in faults(body(refunds=[told]))


def test_two_refunds_of_one_id_are_refused() -> None:
    told = json.loads(body())["refunds"][0]

    assert faults(body(refunds=[told, told])) == ["refunds"]


def test_every_field_at_fault_is_named_at_once() -> None:
    assert faults(body(version=None, paid_minor=-1, currency=None)) == ["version", "currency", "paid_minor"]


@pytest.mark.parametrize(
    "raw", [b"", b"\xff", b"[]", b"1", b"[" * 100_000, b'{"version": ' + b"9" * 5_000 + b"}"]
)
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    assert faults(raw) == ["body"]
