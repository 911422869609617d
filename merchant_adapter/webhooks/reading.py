"""An order as of a version, from JSON and to it: every field at fault is named, unknown ones are passed over. Pure."""

import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from merchant_adapter.errors import FieldViolation, InvalidRequest, Refusal
from merchant_adapter.limits import EARLIEST_YEAR, MOST_CHARACTERS, MOST_POINTS, MOST_SPEND_MINOR
from merchant_adapter.partner_file import FORMULA
from merchant_adapter.reasons import Reason
from merchant_adapter.webhooks.order_event import OrderEvent, OrderPolicy, OrderRefund, OrderState

MOST_VERSION = 2**63 - 1
MOST_REFUNDS = 1_000

AHEAD = timedelta(days=1)
"""A time further ahead is a mistake: the hub decides on nothing from the future, and later orders would wait for it."""

_EARLIEST = datetime(EARLIEST_YEAR, 1, 1, tzinfo=UTC)

_Faults = list[FieldViolation]
_T = TypeVar("_T")


def read_order(raw: bytes) -> OrderEvent:
    """The order that the body of a generic webhook tells. Raises InvalidRequest, which names the fields."""
    try:
        told = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _invalid([FieldViolation("body", "not JSON")]) from error
    if not isinstance(told, dict):
        raise _invalid([FieldViolation("body", "must be an object")])
    faults: _Faults = []
    event = _event(_Fields(told, "", faults))
    if faults:
        raise _invalid(faults)
    return event


def check_order(event: OrderEvent, policy: OrderPolicy, now: datetime) -> None:
    """Raises InvalidRequest where the fields do not fit each other, this partner, or the time."""
    if faults := list(_contradictions(event, policy, now)):
        raise _invalid(faults)


def write_order(event: OrderEvent) -> str:
    """JSON that `read_order` reads as the same order, always in the same bytes."""
    told = {one.name: getattr(event, one.name) for one in fields(event)}
    told["refunds"] = [
        {one.name: getattr(refund, one.name) for one in fields(refund)} for refund in event.refunds
    ]
    return json.dumps(told, ensure_ascii=True, separators=(",", ":"), default=datetime.isoformat)


def _invalid(faults: _Faults) -> InvalidRequest:
    return InvalidRequest(
        Refusal(
            "INVALID_ARGUMENT", Reason.INVALID_FIELD, "the order cannot be understood", fields=tuple(faults)
        )
    )


def _event(told: "_Fields") -> OrderEvent:
    return OrderEvent(
        delivery_id=told.name("delivery_id"),
        order_id=told.name("order_id"),
        version=told.whole("version", MOST_VERSION, is_needed=True),
        state=told.state("state"),
        paid_time=told.time("paid_time"),
        completed_time=told.time("completed_time"),
        cancelled_time=told.time("cancelled_time"),
        currency=told.text("currency", is_needed=True),
        paid_minor=told.whole("paid_minor", MOST_SPEND_MINOR, is_needed=True),
        tax_minor=told.whole("tax_minor", MOST_SPEND_MINOR),
        shipping_minor=told.whole("shipping_minor", MOST_SPEND_MINOR),
        customer_id=told.text("customer_id"),
        store_id=told.text("store_id"),
        terminal_id=told.text("terminal_id"),
        points_paid=told.whole("points_paid", MOST_POINTS),
        points_value_minor=told.whole("points_value_minor", MOST_SPEND_MINOR),
        hold_request_id=told.text("hold_request_id"),
        burn_request_id=told.text("burn_request_id"),
        refunds=tuple(_refund(one) for one in told.objects("refunds", MOST_REFUNDS)),
    )


def _refund(told: "_Fields") -> OrderRefund:
    return OrderRefund(
        refund_id=told.name("refund_id"),
        time=told.time("time", is_needed=True) or _EARLIEST,
        refunded_minor=told.whole("refunded_minor", MOST_SPEND_MINOR, is_needed=True),
        tax_minor=told.whole("tax_minor", MOST_SPEND_MINOR),
        shipping_minor=told.whole("shipping_minor", MOST_SPEND_MINOR),
        points=told.whole("points", MOST_POINTS),
        points_value_minor=told.whole("points_value_minor", MOST_SPEND_MINOR),
    )


class _Fields:
    """The fields of one JSON object; what is wrong with them is noted, and read as nothing. `null` is "not there"."""

    def __init__(self, told: dict[str, Any], at: str, faults: _Faults) -> None:
        self._told = told
        self._at = at
        self._faults = faults

    def text(self, name: str, *, is_needed: bool = False) -> str:
        value = self._found(name, is_needed=is_needed)
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > MOST_CHARACTERS or not value.isprintable():
            return self._wrong(name, f"must be text of at most {MOST_CHARACTERS} printable characters", "")
        return value

    def name(self, name: str) -> str:
        """A number of the shop's own, which becomes a reference."""
        value = self.text(name, is_needed=True)
        if " " in value or value.startswith(tuple(FORMULA)):
            return self._wrong(name, "must have no space and not begin like a formula", "")
        return value

    def whole(self, name: str, most: int, *, is_needed: bool = False) -> int:
        value = self._found(name, is_needed=is_needed)
        if value is None:
            return 0
        if type(value) is not int or not 0 <= value <= most:
            return self._wrong(name, f"must be a whole number of 0 to {most}", 0)
        return value

    def time(self, name: str, *, is_needed: bool = False) -> datetime | None:
        value = self._found(name, is_needed=is_needed)
        if value is None:
            return None
        try:
            found = datetime.fromisoformat(value).astimezone(UTC) if _has_zone(value) else None
        except (ValueError, OverflowError):
            found = None
        if found is None or found < _EARLIEST:
            return self._wrong(
                name,
                f"must be a time since {EARLIEST_YEAR} with its zone, such as 2026-01-31T18:00:00+08:00",
                None,
            )
        return found

    def state(self, name: str) -> OrderState:
        value = self._found(name, is_needed=True)
        if value is not None and value not in list(OrderState):
            self._wrong(name, f"must be one of {', '.join(OrderState)}", None)
        return OrderState(value) if value in list(OrderState) else OrderState.PAID

    def objects(self, name: str, most: int) -> "list[_Fields]":
        value = self._found(name)
        if value is None:
            return []
        if (
            not isinstance(value, list)
            or len(value) > most
            or not all(isinstance(one, dict) for one in value)
        ):
            return self._wrong(name, f"must be a list of at most {most} objects", [])
        return [_Fields(one, f"{self._at}{name}[{at}].", self._faults) for at, one in enumerate(value)]

    def _found(self, name: str, *, is_needed: bool = False) -> Any:
        value = self._told.get(name)
        if is_needed and value in (None, ""):
            self._wrong(name, "is missing", None)
            return None
        return value

    def _wrong(self, name: str, description: str, instead: _T) -> _T:
        self._faults.append(FieldViolation(f"{self._at}{name}", description))
        return instead


def _has_zone(value: Any) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= MOST_CHARACTERS
        and datetime.fromisoformat(value).tzinfo is not None
    )


def _contradictions(event: OrderEvent, policy: OrderPolicy, now: datetime) -> Iterator[FieldViolation]:
    if event.currency != policy.currency:
        yield FieldViolation("currency", f"must be {policy.currency}")
    yield from _of_state(event, now)
    yield from _of_amounts(event)
    yield from _of_points(event)
    yield from _of_refunds(event, now)


def _of_state(event: OrderEvent, now: datetime) -> Iterator[FieldViolation]:
    is_cancelled, is_completed = event.state is OrderState.CANCELLED, event.state is OrderState.COMPLETED
    if event.paid_time is None and (not is_cancelled or event.completed_time is not None or event.refunds):
        yield FieldViolation("paid_time", "is missing: only an order that was cancelled before may have none")
    if is_completed and event.completed_time is None:
        yield FieldViolation("completed_time", "is missing: the state is completed")
    if event.completed_time is not None and event.state is OrderState.PAID:
        yield FieldViolation("completed_time", "must not be there: the state is paid")
    if is_cancelled != (event.cancelled_time is not None):
        yield FieldViolation("cancelled_time", "must be there where the state is cancelled, and only there")
    for name in ("paid_time", "completed_time", "cancelled_time"):
        time = getattr(event, name)
        if time is not None and time > now + AHEAD:
            yield FieldViolation(name, "is more than a day ahead")


def _of_amounts(event: OrderEvent) -> Iterator[FieldViolation]:
    if event.tax_minor + event.shipping_minor > event.paid_minor:
        yield FieldViolation("paid_minor", "must include tax_minor and shipping_minor")
    if event.points_value_minor > event.paid_minor:
        yield FieldViolation("paid_minor", "must include points_value_minor")


def _of_points(event: OrderEvent) -> Iterator[FieldViolation]:
    named = [name for name in ("hold_request_id", "burn_request_id") if getattr(event, name)]
    if event.points_paid and len(named) != 1:
        yield FieldViolation("points_paid", "needs hold_request_id or burn_request_id, and not both")
    if event.points_paid and not event.customer_id:
        yield FieldViolation("customer_id", "is missing: points were paid")
    if not event.points_paid and (named or event.points_value_minor):
        yield FieldViolation("points_paid", "is missing: the order says how they were paid")


def _of_refunds(event: OrderEvent, now: datetime) -> Iterator[FieldViolation]:
    if len({one.refund_id for one in event.refunds}) < len(event.refunds):
        yield FieldViolation("refunds", "refund_id must be unique within the order")
    for at, one in enumerate(event.refunds):
        if len(f"{event.order_id} {one.refund_id}") > MOST_CHARACTERS:
            yield FieldViolation(
                f"refunds[{at}].refund_id",
                f"with order_id and a space longer than {MOST_CHARACTERS} characters",
            )
        if one.time > now + AHEAD:
            yield FieldViolation(f"refunds[{at}].time", "is more than a day ahead")
        if one.tax_minor + one.shipping_minor > one.refunded_minor:
            yield FieldViolation(f"refunds[{at}].refunded_minor", "must include tax_minor and shipping_minor")
        if one.points_value_minor > one.refunded_minor:
            yield FieldViolation(f"refunds[{at}].refunded_minor", "must include points_value_minor")
    for name, most, limit in (
        ("refunded_minor", event.paid_minor, "paid_minor"),
        ("points", event.points_paid, "points_paid"),
        ("points_value_minor", event.points_value_minor, "points_value_minor"),
    ):
        if sum(getattr(one, name) for one in event.refunds) > most:
            yield FieldViolation("refunds", f"{name}: more in all than {limit} of the order")
