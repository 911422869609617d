"""Every command on points through both clients, against a peer that answers as told."""

import asyncio
import dataclasses
import inspect
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from merchant_adapter import (
    AuthorizeBurnCommand,
    BurnAuthorized,
    EarnConfirmed,
    Hub,
    OutcomeUnknown,
    PointsCommand,
    Quote,
    QuoteRequest,
    Reason,
    RefundBurnCommand,
    Refusal,
    Refused,
    SyncHub,
    read_results,
    verify_receipt,
)
from merchant_adapter.points import POINTS_METHODS, PointsMethod
from tests.waiting import WAIT_SECONDS
from tests.wire.adapter_fake_hub import (
    AUDIENCE,
    CAFE_KEY,
    HUB_KEYS,
    Call,
    FakeHub,
    Reply,
    accepted,
    fake_hub,
    refused,
    status,
)
from tongdui.exchange.v1 import commands_pb2, points_service_pb2

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CODE = grpc.StatusCode
NEEDED: dict[str, Any] = {
    "member_id": "m-1",
    "event_time": NOON,
    "store_id": "s-1",
    "terminal_id": "t-1",
    "reference": "r-1",
    "original_request_id": "id-0",
    "to_member_id": "m-2",
    "points": 5,
    "native_points": 300,
    "hold_seconds": 60,
}

each_method = pytest.mark.parametrize("method", POINTS_METHODS, ids=[one.name for one in POINTS_METHODS])


def command_of(method: PointsMethod[Any], **changes: Any) -> PointsCommand[Any]:
    """A command of this kind with what it must have and no more, and points where it may have several bases."""
    fields = dataclasses.fields(method.command)
    required = {one.name for one in fields if dataclasses.MISSING is one.default is one.default_factory}
    basis = {"points"} if method.name in ("earn", "claw_back_earn") else set()
    return method.command(**{name: NEEDED[name] for name in required | basis} | changes)


def response_of(method: PointsMethod[Any]) -> Message:
    response = method.response(entry_id="1-0", points=5)
    for field in response.DESCRIPTOR.fields:
        if field.message_type == Timestamp.DESCRIPTOR:
            getattr(response, field.name).FromDatetime(NOON)
    return response


def connect(hub: FakeHub) -> SyncHub:
    return SyncHub.connect(hub.address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS)


def results(*found: commands_pb2.CommandResult) -> Reply:
    return accepted(points_service_pb2.PostBatchResponse(results=found))


def authorize() -> AuthorizeBurnCommand:
    return AuthorizeBurnCommand(
        member_id="m-1", event_time=NOON, store_id="s-1", terminal_id="t-1", reference="r-1", points=5
    )


AUTHORIZED = commands_pb2.AuthorizeBurnResponse(entry_id="1-0", points=5, available_points=7)
AUTHORIZED.decided_time.FromDatetime(NOON)
AUTHORIZED.expire_time.FromDatetime(NOON)


@each_method
def test_each_command_is_asked_for_by_the_method_of_its_name(method: PointsMethod[Any]) -> None:
    command = command_of(method)

    with fake_hub(accepted(response_of(method))) as hub, connect(hub) as client:
        answer = getattr(client, method.name)(command)

    (call,) = hub.calls
    assert (type(answer), answer.request_id, answer.entry_id) == (method.answer, command.request_id, "1-0")
    assert call.path == method.path
    assert call.body == method.write(command).SerializeToString()
    assert verify_receipt(answer.receipt, HUB_KEYS).key_id in HUB_KEYS


@each_method
def test_the_asynchronous_method_of_its_name_asks_the_same(method: PointsMethod[Any]) -> None:
    command = command_of(method)

    async def once(hub: FakeHub) -> Any:
        async with Hub.connect(hub.address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS) as client:
            return await getattr(client, method.name)(command)

    with fake_hub(accepted(response_of(method))) as hub:
        answer = asyncio.run(once(hub))

    assert (type(answer), answer.request_id) == (method.answer, command.request_id)
    assert hub.calls[0].path == method.path


@each_method
def test_both_clients_say_exactly_what_goes_in_and_comes_out(method: PointsMethod[Any]) -> None:
    for client in (Hub, SyncHub):
        said = inspect.get_annotations(getattr(client, method.name), eval_str=True)

        assert said["command"] is method.command
        assert said["return"] is method.answer


def test_a_batch_of_every_kind_has_the_value_of_each() -> None:
    commands = [command_of(method) for method in POINTS_METHODS]
    found = [
        commands_pb2.CommandResult(**{method.name: response_of(method)})  # type: ignore[arg-type] # by name
        for method in POINTS_METHODS
    ]

    with fake_hub(results(*found)) as hub, connect(hub) as client:
        outcomes = client.post_batch(commands)

    assert [type(outcome) for outcome in outcomes] == [method.answer for method in POINTS_METHODS]
    assert [outcome.request_id for outcome in outcomes] == [command.request_id for command in commands]


def test_a_batch_of_one_kind_has_refusals_among_its_answers() -> None:
    commands = [
        RefundBurnCommand(
            member_id="m-1",
            event_time=NOON,
            store_id="s-1",
            terminal_id="t-1",
            reference="r-1",
            original_request_id="id-0",
            points=points,
            part=points,
        )
        for points in (1, 2)
    ]
    refunded = commands_pb2.RefundBurnResponse(entry_id="1-0", points=1, remaining_points=1)
    refunded.decided_time.FromDatetime(NOON)
    over = status(CODE.FAILED_PRECONDITION, "OVER_ORIGINAL", remaining_points="1")
    reply = results(commands_pb2.CommandResult(refund_burn=refunded), commands_pb2.CommandResult(error=over))

    with fake_hub(reply) as hub, connect(hub) as client:
        first, second = client.post_batch(commands)

    assert not isinstance(first, Refusal)
    assert (first.points, first.remaining_points) == (1, 1)
    assert isinstance(second, Refusal)
    assert (second.reason, second.metadata) == (Reason.OVER_ORIGINAL, {"remaining_points": "1"})


def test_a_refused_capture_is_raised_with_its_reason_for_ever() -> None:
    (method,) = [one for one in POINTS_METHODS if one.name == "capture_burn"]

    with (
        fake_hub(refused(CODE.FAILED_PRECONDITION, "HOLD_LAPSED")) as hub,
        connect(hub) as client,
        pytest.raises(Refused) as error,
    ):
        getattr(client, method.name)(command_of(method))

    assert (error.value.reason, error.value.recorded) == (Reason.HOLD_LAPSED, True)


def test_a_confirmed_earn_is_read_with_its_day() -> None:
    confirmed = commands_pb2.ConfirmEarnResponse(
        entry_id="1-0", points=5, rate_version=2, expiry_date=Date(year=2026, month=12, day=31)
    )
    confirmed.decided_time.FromDatetime(NOON)
    (method,) = [one for one in POINTS_METHODS if one.answer is EarnConfirmed]

    with fake_hub(accepted(confirmed)) as hub, connect(hub) as client:
        answer = getattr(client, method.name)(command_of(method))

    assert (answer.rate_version, answer.expiry_date) == (2, date(2026, 12, 31))


def test_a_quote_is_a_read_and_goes_into_the_command() -> None:
    message = points_service_pb2.QuoteResponse(quote=b"signed", points=5_000, value_micros=50_000_000)
    message.expire_time.FromDatetime(NOON)

    with fake_hub(Reply(message.SerializeToString(), has_receipt=False)) as hub, connect(hub) as client:
        quote = client.quote(QuoteRequest(member_id="m-1", burn_points=5_000))

    assert isinstance(quote, Quote)
    assert (quote.points, quote.value_micros, quote.expire_time) == (5_000, 50_000_000, NOON)
    burn = dataclasses.replace(authorize(), points=5_000, quote=quote.quote)
    (method,) = [one for one in POINTS_METHODS if one.name == "authorize_burn"]
    sent = method.write(burn)
    assert isinstance(sent, commands_pb2.AuthorizeBurnRequest)
    assert sent.quote == b"signed"


@pytest.fixture
def hub_that_is_late_once() -> Iterator[tuple[FakeHub, threading.Event]]:
    """Answers its first call only when the caller has given up, and every other at once."""
    caller_gave_up = threading.Event()

    def reply(_: Call) -> Reply:
        caller_gave_up.wait(WAIT_SECONDS)
        return accepted(AUTHORIZED)

    with fake_hub(reply) as hub:
        yield hub, caller_gave_up
        caller_gave_up.set()


def test_a_till_that_got_no_answer_repeats_the_command_as_it_is(
    hub_that_is_late_once: tuple[FakeHub, threading.Event],
) -> None:
    hub, caller_gave_up = hub_that_is_late_once
    command = authorize()

    with connect(hub) as client:
        with pytest.raises(OutcomeUnknown) as unknown:
            client.authorize_burn(command, deadline_seconds=0.2)
        caller_gave_up.set()
        held = client.authorize_burn(command, deadline_seconds=WAIT_SECONDS)

    assert unknown.value.request_id == command.request_id
    assert held.request_id == command.request_id
    assert unknown.value.prepared is not None
    assert {call.body for call in hub.calls} == {unknown.value.prepared.body}


def test_the_request_in_an_unknown_outcome_can_be_sent_again_by_somebody_else(
    hub_that_is_late_once: tuple[FakeHub, threading.Event],
) -> None:
    hub, caller_gave_up = hub_that_is_late_once
    with connect(hub) as client:
        with pytest.raises(OutcomeUnknown) as unknown:
            client.authorize_burn(authorize(), deadline_seconds=0.2)
        caller_gave_up.set()
    prepared = unknown.value.prepared
    assert prepared is not None

    with connect(hub) as another:
        (held,) = read_results(prepared, another.send(prepared, deadline_seconds=WAIT_SECONDS))

    assert isinstance(held, BurnAuthorized)
    assert held.request_id == unknown.value.request_id
