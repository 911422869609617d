"""The commands on points: each is written whole, read whole, and means what it says."""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from merchant_adapter import (
    AuthorizeBurnCommand,
    BurnCommand,
    CancelEarnCommand,
    CaptureBurnCommand,
    ClawBackEarnCommand,
    ConfirmEarnCommand,
    ConfirmExchangeOutCommand,
    EarnCommand,
    ExchangeInCommand,
    ExchangeOutCommand,
    ExtendHoldCommand,
    InvalidRequest,
    PointsCommand,
    Quote,
    QuoteRequest,
    RefundBurnCommand,
    RefuseExchangeOutCommand,
    TransferCommand,
    VoidBurnCommand,
    prepare,
    prepare_batch,
)
from merchant_adapter.from_messages import from_quote
from merchant_adapter.outbox.outcomes import command_of
from merchant_adapter.points import POINTS_METHODS, PointsMethod, points_method
from merchant_adapter.to_messages import to_quote_request
from tongdui.exchange.v1 import commands_pb2, points_service_pb2

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NEW_YEARS_EVE = date(2026, 12, 31)
COMMON: Mapping[str, Any] = {
    "member_id": "m-1",
    "event_time": NOON,
    "store_id": "s-1",
    "terminal_id": "t-1",
    "reference": "r-1",
    "reason": "why",
    "campaign_id": "c-1",
    "channel": "app",
    "request_id": "id-1",
}
AUTHORITY: Mapping[str, Any] = {"pay_code": "01234567890123456789", "quote": b"quote"}
FOLLOWS: Mapping[str, Any] = {"original_request_id": "id-0"}

COMMANDS: list[PointsCommand[Any]] = [
    EarnCommand(
        **COMMON, points=5, expiry_date=NEW_YEARS_EVE, pending=True, once_rule="welcome", quote=b"quote"
    ),
    EarnCommand(**COMMON, eligible_spend_minor=12_800),
    EarnCommand(**COMMON, native_points=300),
    ConfirmEarnCommand(**COMMON, **FOLLOWS),
    CancelEarnCommand(**COMMON, **FOLLOWS),
    ClawBackEarnCommand(**COMMON, **FOLLOWS, part=2, points=5),
    ClawBackEarnCommand(**COMMON, **FOLLOWS, part=2, refunded_spend_minor=800),
    AuthorizeBurnCommand(**COMMON, **AUTHORITY, points=7, hold_seconds=60),
    ExtendHoldCommand(**COMMON, **FOLLOWS, hold_seconds=60),
    CaptureBurnCommand(**COMMON, **FOLLOWS, points=6),
    VoidBurnCommand(**COMMON, **FOLLOWS),
    BurnCommand(**COMMON, **AUTHORITY, points=7),
    RefundBurnCommand(**COMMON, **FOLLOWS, points=7, part=2),
    ExchangeInCommand(**COMMON, native_points=300, expiry_date=NEW_YEARS_EVE, quote=b"quote"),
    ExchangeOutCommand(**COMMON, **AUTHORITY, points=7),
    ConfirmExchangeOutCommand(**COMMON, **FOLLOWS),
    RefuseExchangeOutCommand(**COMMON, **FOLLOWS),
    TransferCommand(**COMMON, pay_code=AUTHORITY["pay_code"], to_member_id="m-2", points=7),
]

each_command = pytest.mark.parametrize(
    "command", COMMANDS, ids=[f"{number} {type(one).__name__}" for number, one in enumerate(COMMANDS)]
)
each_method = pytest.mark.parametrize("method", POINTS_METHODS, ids=[one.name for one in POINTS_METHODS])


def names(kind: type[Message]) -> set[str]:
    return {field.name for field in kind.DESCRIPTOR.fields}


def sent(command: PointsCommand[Any]) -> Any:
    """The command as a hub finds it in a batch."""
    (one,) = points_service_pb2.PostBatchRequest.FromString(prepare_batch([command]).body).commands
    return getattr(one, points_method(command).name)


@each_command
def test_what_is_stored_of_a_command_is_read_back_as_the_command(command: PointsCommand[Any]) -> None:
    assert command_of(points_method(command).name, prepare(command).body) == command


def filled(kind: type[Message]) -> Any:
    """A message in which every field has a value of its own."""
    message = kind()
    fields: list[Any] = list(kind.DESCRIPTOR.fields)
    for number, field in enumerate(fields, 1):
        if field.message_type == Timestamp.DESCRIPTOR:
            getattr(message, field.name).FromSeconds(number)
        elif field.message_type == Date.DESCRIPTOR:
            getattr(message, field.name).CopyFrom(Date(year=2026, month=12, day=number))
        elif field.type == field.TYPE_STRING:
            setattr(message, field.name, f"text {number}")
        elif field.type == field.TYPE_BYTES:
            setattr(message, field.name, bytes([number]))
        else:
            setattr(message, field.name, number)
    return message


def plain(message: Any, name: str) -> Any:
    """A field as the adapter's values have it."""
    value = getattr(message, name)
    if isinstance(value, Timestamp):
        return value.ToDatetime(tzinfo=UTC)
    return date(value.year, value.month, value.day) if isinstance(value, Date) else value


def test_every_command_of_the_contract_is_known() -> None:
    service = points_service_pb2.DESCRIPTOR.services_by_name["PointsService"]
    others = {"Quote", "PostBatch", "GetWallet", "ListEntries"}

    known = {method.name for method in POINTS_METHODS}

    assert known == names(commands_pb2.Command) == names(commands_pb2.CommandResult) - {"error"}
    assert {method.path for method in POINTS_METHODS} == {
        f"/{service.full_name}/{one.name}" for one in service.methods if one.name not in others
    }


@each_method
def test_values_have_the_fields_of_their_messages(method: PointsMethod[Any]) -> None:
    request = type(getattr(commands_pb2.Command(), method.name))

    of_command = {field.name for field in dataclasses.fields(method.command)}
    of_answer = {field.name for field in dataclasses.fields(method.answer)}

    assert of_command == names(request)
    assert of_answer - {"request_id", "receipt"} == names(method.response)


@each_command
def test_every_field_that_is_set_reaches_the_message(command: PointsCommand[Any]) -> None:
    empty = (None, "", b"", False)
    given = {field.name: getattr(command, field.name) for field in dataclasses.fields(command)}

    message = sent(command)

    expected = {name: value for name, value in given.items() if value not in empty}
    assert {field.name: plain(message, field.name) for field, _ in message.ListFields()} == expected


def test_the_samples_leave_no_command_and_no_field_out() -> None:
    reached = {
        (points_method(command).name, field.name)
        for command in COMMANDS
        for field, _ in sent(command).ListFields()
    }

    assert reached == {
        (method.name, field.name) for method in POINTS_METHODS for field in dataclasses.fields(method.command)
    }


@each_method
def test_every_field_of_an_answer_is_read(method: PointsMethod[Any]) -> None:
    message = filled(method.response)

    answer = method.read("id-1", message, None)

    assert (type(answer), answer.request_id) == (method.answer, "id-1")
    read = {name: getattr(answer, name) for name in names(method.response)}
    assert read == {name: plain(message, name) for name in read}


@each_method
def test_an_answer_without_its_entry_or_a_time_is_none(method: PointsMethod[Any]) -> None:
    times = [field.name for field in method.response.DESCRIPTOR.fields if field.name.endswith("_time")]

    for name in ["entry_id", *times]:
        message = filled(method.response)
        message.ClearField(name)
        with pytest.raises(ValueError, match=f"{name} is missing"):
            method.read("id-1", message, None)


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (EarnCommand(**COMMON), "basis"),
        (EarnCommand(**COMMON, points=5, native_points=300), "basis"),
        (EarnCommand(**COMMON, points=5, pending="yes"), "pending"),  # type: ignore[arg-type] # a careless caller
        (ClawBackEarnCommand(**COMMON, **FOLLOWS), "basis"),
        (ClawBackEarnCommand(**COMMON, **FOLLOWS, points=5, refunded_spend_minor=800), "basis"),
        (RefundBurnCommand(**COMMON, **FOLLOWS, points=5, part=2**31), "part"),
        (BurnCommand(**COMMON, points=5, pay_code=123), "pay_code"),  # type: ignore[arg-type] # a careless caller
    ],
)
def test_what_cannot_be_written_is_named(command: PointsCommand[Any], named: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        prepare(command)

    assert [one.field for one in refused.value.fields] == [named]


def test_an_amount_of_an_earn_that_is_0_is_sent_for_the_hub_to_refuse() -> None:
    message = sent(EarnCommand(**COMMON, native_points=0))

    assert message.WhichOneof("basis") == "native_points"


def test_capturing_0_points_is_refused_because_the_hub_would_capture_all() -> None:
    nothing = CaptureBurnCommand(**COMMON, **FOLLOWS, points=0)
    everything = CaptureBurnCommand(**COMMON, **FOLLOWS)

    with pytest.raises(InvalidRequest) as refused:
        prepare(nothing)

    assert refused.value.fields[0].field == "points"
    assert "points" not in {field.name for field, _ in sent(everything).ListFields()}


def test_holding_for_0_seconds_is_refused_because_the_hub_would_hold_as_usual() -> None:
    with pytest.raises(InvalidRequest) as refused:
        prepare(AuthorizeBurnCommand(**COMMON, points=5, hold_seconds=0))

    assert refused.value.fields[0].field == "hold_seconds"


def test_a_batch_of_every_kind_keeps_order_and_ids() -> None:
    commands = [
        dataclasses.replace(command, request_id=f"id-{number}") for number, command in enumerate(COMMANDS)
    ]

    prepared = prepare_batch(commands)

    found = points_service_pb2.PostBatchRequest.FromString(prepared.body).commands
    assert [one.WhichOneof("command") for one in found] == [points_method(one).name for one in commands]
    assert prepared.request_ids == tuple(f"id-{number}" for number in range(len(COMMANDS)))


@each_command
def test_a_pay_code_is_not_shown(command: PointsCommand[Any]) -> None:
    shown = repr(command)

    assert AUTHORITY["pay_code"] not in shown
    assert "'m-1'" in shown


@pytest.mark.parametrize("amount", sorted(names(points_service_pb2.QuoteRequest) - {"member_id"}))
def test_a_quote_is_asked_for_one_amount(amount: str) -> None:
    asked: dict[str, Any] = {"member_id": "m-1", amount: 5}

    message = to_quote_request(QuoteRequest(**asked))

    assert message == points_service_pb2.QuoteRequest(**asked)


@pytest.mark.parametrize("amounts", [{}, {"burn_points": 5, "earn_points": 5}], ids=["none", "two"])
def test_a_quote_for_any_other_number_of_amounts_is_not_asked(amounts: dict[str, int]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        to_quote_request(QuoteRequest(member_id="m-1", **amounts))

    assert refused.value.fields[0].field == "operation"


def test_every_field_of_a_quote_is_read() -> None:
    message = filled(points_service_pb2.QuoteResponse)

    quote = from_quote(message)

    assert dataclasses.asdict(quote) == {name: plain(message, name) for name in names(type(message))}
    assert {field.name for field in dataclasses.fields(Quote)} == names(type(message))


@pytest.mark.parametrize("name", ["quote", "expire_time"])
def test_an_answer_that_promises_nothing_is_no_quote(name: str) -> None:
    message = filled(points_service_pb2.QuoteResponse)
    message.ClearField(name)

    with pytest.raises(ValueError, match=f"{name} is missing"):
        from_quote(message)
