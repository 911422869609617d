"""One signed call against a peer that behaves well, badly, or not at all."""

import asyncio
import threading
from collections.abc import Callable

import grpc
import pytest
from google.rpc.status_pb2 import Status

from merchant_adapter import (
    Answer,
    AnswerBytes,
    Busy,
    Forbidden,
    HubError,
    InvalidRequest,
    Key,
    OutcomeUnknown,
    Prepared,
    Reason,
    ReceiptInvalid,
    Refused,
    SignedChannel,
    Stale,
    Untrusted,
    verify_receipt,
)
from merchant_adapter.channel import MAX_CALLS_IN_FLIGHT
from merchant_adapter.transport import MAX_REQUEST_BYTES
from tests.waiting import WAIT_SECONDS
from tests.wire.adapter_fake_hub import (
    AUDIENCE,
    CAFE_KEY,
    HUB_KEYS,
    Call,
    FakeHub,
    Metadata,
    Reply,
    accepted,
    fake_hub,
    receipt_for,
    refused,
    status,
)
from tongdui.exchange.v1.commands_pb2 import EarnResponse
from tongdui.exchange.v1.partners_service_pb2 import DESCRIPTOR, CreatePartnerRequest, CreatePartnerResponse

EARN = "/tongdui.exchange.v1.PointsService/Earn"
GET = "/tongdui.exchange.v1.PointsService/GetWallet"
WRITE = Prepared(EARN, b"\x0a\x06id-001", ("id-001",))
WAITING = Prepared(EARN, b"\x0a\x06id-002", ("id-002",))
READ = Prepared(GET, b"\x0a\x03m-1")
OK = accepted(EarnResponse(entry_id="1-0", points=5))
CODE = grpc.StatusCode


def send(hub: FakeHub, prepared: Prepared, deadline_seconds: float = WAIT_SECONDS) -> AnswerBytes:
    async def once() -> AnswerBytes:
        async with SignedChannel.open(hub.address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS) as channel:
            return await channel.send(prepared, deadline_seconds=deadline_seconds)

    return asyncio.run(once())


def without_receipt(entries: Metadata) -> Metadata:
    return tuple(entry for entry in entries if entry[0] == "grpc-status-details-bin")


def signed_by_a_stranger(call: Call) -> Reply:
    stranger = Key("hub", bytes(32))
    return Reply(OK.body, has_receipt=False, spoil=lambda _: receipt_for(call, OK.body, stranger))


def of_other_bytes(call: Call) -> Reply:
    return Reply(OK.body, has_receipt=False, spoil=lambda _: receipt_for(call, OK.body + b"\0"))


def of_another_request(call: Call) -> Reply:
    elsewhere = Call(GET, call.body, call.signed)
    return Reply(OK.body, has_receipt=False, spoil=lambda _: receipt_for(elsewhere, OK.body))


def doubled(call: Call) -> Reply:
    return Reply(OK.body, spoil=lambda entries: entries + entries)


def halved(call: Call) -> Reply:
    return Reply(OK.body, spoil=lambda entries: entries[:2])


def test_exactly_the_prepared_bytes_are_sent_and_the_receipt_proves_it_offline() -> None:
    with fake_hub(OK) as hub:
        answer = send(hub, WRITE)

    assert [(call.path, call.body) for call in hub.calls] == [(EARN, WRITE.body)]
    assert answer.body == OK.body
    assert answer.receipt is not None
    assert (answer.receipt.request, answer.receipt.answer) == (WRITE.body, OK.body)
    assert verify_receipt(answer.receipt, HUB_KEYS).created == hub.calls[0].signed.created + 1


def test_a_request_lives_two_minutes() -> None:
    with fake_hub(OK) as hub:
        send(hub, WRITE)

    signed = hub.calls[0].signed
    assert signed.expires - signed.created == 120


@pytest.mark.parametrize("reply", [signed_by_a_stranger, of_other_bytes, of_another_request, doubled, halved])
def test_an_answer_whose_receipt_does_not_verify_is_not_believed(reply: Callable[[Call], Reply]) -> None:
    with fake_hub(reply) as hub, pytest.raises(ReceiptInvalid) as error:
        send(hub, WRITE)

    assert error.value.prepared == WRITE
    assert error.value.request_id == "id-001"
    assert error.value.receipt is None


def test_a_write_answered_without_a_receipt_is_not_believed() -> None:
    with (
        fake_hub(Reply(OK.body, has_receipt=False)) as hub,
        pytest.raises(ReceiptInvalid, match="without a receipt"),
    ):
        send(hub, WRITE)

    assert len(hub.calls) == 1


def test_a_method_not_known_here_counts_as_a_write() -> None:
    unknown = Prepared("/tongdui.exchange.v9.NewService/DoSomething", b"")

    with fake_hub(Reply(b"", has_receipt=False)) as hub, pytest.raises(ReceiptInvalid):
        send(hub, unknown)

    assert len(hub.calls) == 1


def test_a_read_needs_no_receipt() -> None:
    with fake_hub(Reply(b"answer", has_receipt=False)) as hub:
        answer = send(hub, READ)

    assert (answer.body, answer.receipt) == (b"answer", None)


def test_a_receipt_on_a_read_must_verify_all_the_same() -> None:
    with fake_hub(halved) as hub, pytest.raises(ReceiptInvalid):
        send(hub, READ)

    assert len(hub.calls) == 1


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (CODE.NOT_FOUND, "MEMBER_UNKNOWN", Refused),
        (CODE.FAILED_PRECONDITION, "SOMETHING_NEW", Refused),
        (CODE.INVALID_ARGUMENT, "INVALID_FIELD", InvalidRequest),
        (CODE.PERMISSION_DENIED, "ROLE_REQUIRED", Forbidden),
        (CODE.RESOURCE_EXHAUSTED, "HUB_BUSY", Busy),
    ],
)
def test_a_signed_refusal_is_raised_with_its_verified_receipt(
    code: grpc.StatusCode, reason: str, expected: type[HubError]
) -> None:
    reply = refused(code, reason, detail="7")

    with fake_hub(reply) as hub, pytest.raises(expected) as error:
        send(hub, WRITE)

    assert (error.value.reason, error.value.code, error.value.metadata) == (
        reason,
        code.name,
        {"detail": "7"},
    )
    assert error.value.receipt is not None
    assert error.value.receipt.answer == reply.details
    assert verify_receipt(error.value.receipt, HUB_KEYS).key_id in HUB_KEYS
    assert error.value.request_id == "id-001"


@pytest.mark.parametrize("reason", ["MEMBER_UNKNOWN", "SOMETHING_NEW"])
def test_a_refusal_for_ever_without_a_receipt_is_not_believed(reason: str) -> None:
    reply = refused(CODE.NOT_FOUND, reason)

    with (
        fake_hub(Reply(code=reply.code, details=reply.details, spoil=without_receipt)) as hub,
        pytest.raises(ReceiptInvalid, match=reason) as error,
    ):
        send(hub, WRITE)

    assert error.value.prepared == WRITE


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (CODE.UNAUTHENTICATED, "SIGNATURE_INVALID", Untrusted),
        (CODE.UNAUTHENTICATED, "SIGNATURE_STALE", Stale),
        (CODE.INVALID_ARGUMENT, "INVALID_FIELD", InvalidRequest),
        (CODE.RESOURCE_EXHAUSTED, "HUB_BUSY", Busy),
        (CODE.UNAVAILABLE, "HUB_UNAVAILABLE", OutcomeUnknown),
        (CODE.INTERNAL, "INTERNAL", OutcomeUnknown),
    ],
)
def test_what_is_not_recorded_needs_no_receipt(
    code: grpc.StatusCode, reason: str, expected: type[HubError]
) -> None:
    reply = refused(code, reason)

    with (
        fake_hub(Reply(code=reply.code, details=reply.details, has_receipt=False)) as hub,
        pytest.raises(expected) as error,
    ):
        send(hub, WRITE)

    assert type(error.value) is expected
    assert error.value.receipt is None


def test_a_refusal_whose_receipt_is_of_other_bytes_is_not_believed() -> None:
    reply = refused(CODE.NOT_FOUND, "MEMBER_UNKNOWN")

    def forged(call: Call) -> Reply:
        entries = (("grpc-status-details-bin", reply.details or b""), *receipt_for(call, b"other"))
        return Reply(code=reply.code, has_receipt=False, spoil=lambda _: entries)

    with fake_hub(forged) as hub, pytest.raises(ReceiptInvalid):
        send(hub, WRITE)

    assert len(hub.calls) == 1


GARBLED = [
    pytest.param(CODE.NOT_FOUND, None, id="no details"),
    pytest.param(CODE.NOT_FOUND, b"\xff\xff", id="no message"),
    pytest.param(CODE.NOT_FOUND, b"", id="empty"),
    pytest.param(CODE.NOT_FOUND, Status(code=5, message="proxy").SerializeToString(), id="no reason"),
    pytest.param(
        CODE.NOT_FOUND, status(CODE.ALREADY_EXISTS, "ALIAS_TAKEN").SerializeToString(), id="two codes"
    ),
    pytest.param(CODE.UNIMPLEMENTED, None, id="unimplemented"),
    pytest.param(CODE.RESOURCE_EXHAUSTED, None, id="exhausted by gRPC"),
    pytest.param(CODE.UNAUTHENTICATED, None, id="a proxy's 401"),
]


@pytest.mark.parametrize(("code", "details"), GARBLED)
def test_an_error_that_no_hub_wrote_leaves_the_outcome_unknown(
    code: grpc.StatusCode, details: bytes | None
) -> None:
    with fake_hub(Reply(code=code, details=details)) as hub, pytest.raises(OutcomeUnknown) as error:
        send(hub, WRITE)

    assert error.value.reason == Reason.NO_ANSWER
    assert error.value.code == code.name
    assert error.value.prepared == WRITE


def test_details_given_twice_leave_the_outcome_unknown() -> None:
    reply = refused(CODE.NOT_FOUND, "MEMBER_UNKNOWN")
    twice = Reply(code=reply.code, details=reply.details, spoil=lambda entries: entries[:1] + entries)

    with fake_hub(twice) as hub, pytest.raises(OutcomeUnknown) as error:
        send(hub, WRITE)

    assert error.value.reason == Reason.NO_ANSWER


def test_a_signed_refusal_cannot_be_passed_off_as_an_acceptance() -> None:
    refusal = status(CODE.FAILED_PRECONDITION, "INSUFFICIENT_POINTS").SerializeToString()

    with fake_hub(Reply(refusal)) as hub, pytest.raises(ReceiptInvalid, match="posing as an acceptance"):
        send(hub, WRITE)

    assert len(hub.calls) == 1


def test_a_hub_that_does_not_answer_in_time_leaves_the_outcome_unknown() -> None:
    caller_gave_up = threading.Event()

    def late(_: Call) -> Reply:
        caller_gave_up.wait(WAIT_SECONDS)
        return OK

    with fake_hub(late) as hub:
        with pytest.raises(OutcomeUnknown) as error:
            send(hub, WRITE, deadline_seconds=0.2)
        caller_gave_up.set()

    assert error.value.code == "DEADLINE_EXCEEDED"
    assert error.value.prepared == WRITE


def test_a_deadline_holds_for_a_call_that_waits_for_its_turn() -> None:
    turn_is_over = threading.Event()

    def late(_: Call) -> Reply:
        turn_is_over.wait(WAIT_SECONDS)
        return OK

    async def one_too_many(hub: FakeHub) -> tuple[OutcomeUnknown, list[AnswerBytes]]:
        async with SignedChannel.open(hub.address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS) as channel:
            sending = (channel.send(WRITE, deadline_seconds=WAIT_SECONDS) for _ in range(MAX_CALLS_IN_FLIGHT))
            others = [asyncio.create_task(one) for one in sending]
            await asyncio.sleep(0)
            with pytest.raises(OutcomeUnknown) as error:
                await channel.send(WAITING, deadline_seconds=0.05)
            turn_is_over.set()
            answers = await asyncio.gather(*others)
            await channel.send(WAITING, deadline_seconds=WAIT_SECONDS)
            return error.value, answers

    with fake_hub(late) as hub:
        unknown, answers = asyncio.run(one_too_many(hub))

    assert (unknown.code, unknown.prepared) == ("DEADLINE_EXCEEDED", WAITING)
    assert len(answers) == MAX_CALLS_IN_FLIGHT
    assert [call.body for call in hub.calls].count(WAITING.body) == 1


def test_a_hub_that_is_not_there_leaves_the_outcome_unknown() -> None:
    gone = FakeHub(lambda _call: OK)
    gone.address = "127.0.0.1:1"

    with pytest.raises(OutcomeUnknown) as error:
        send(gone, WRITE)

    assert error.value.code == "UNAVAILABLE"
    assert error.value.prepared == WRITE


def test_a_repeat_sends_the_same_bytes_under_a_signature_of_its_own() -> None:
    async def twice(hub: FakeHub) -> None:
        async with SignedChannel.open(hub.address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS) as channel:
            with pytest.raises(OutcomeUnknown) as lost:
                await channel.send(WRITE)
            assert lost.value.prepared is not None
            await channel.send(lost.value.prepared)

    replies = iter([Reply(code=CODE.UNAVAILABLE), OK])
    with fake_hub(lambda _call: next(replies)) as hub:
        asyncio.run(twice(hub))

    first, second = hub.calls
    assert (first.path, first.body) == (second.path, second.body)


def test_a_thousand_calls_at_once_are_all_answered_by_a_hub_that_takes_fewer() -> None:
    async def thousand(hub: FakeHub) -> list[AnswerBytes]:
        async with SignedChannel.open(
            hub.address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS, timeout_seconds=WAIT_SECONDS
        ) as channel:
            return await asyncio.gather(*(channel.send(WRITE) for _ in range(1_000)))

    with fake_hub(OK, max_streams=2 * MAX_CALLS_IN_FLIGHT) as hub:
        answers = asyncio.run(thousand(hub))

    assert [answer.body for answer in answers] == [OK.body] * 1_000


def test_a_message_over_the_limit_is_not_sent() -> None:
    long = Prepared(EARN, bytes(MAX_REQUEST_BYTES + 1))

    with fake_hub(OK) as hub, pytest.raises(InvalidRequest) as error:
        send(hub, long)

    assert hub.calls == []
    assert error.value.fields[0].field == "request"


@pytest.mark.parametrize("is_bytes", [False, True], ids=["message", "bytes"])
def test_any_method_of_any_service_can_be_called(is_bytes: bool) -> None:
    method = DESCRIPTOR.services_by_name["PartnersService"].methods_by_name["CreatePartner"]
    request = CreatePartnerRequest(request_id="id-002")
    made = CreatePartnerResponse()
    made.partner.partner_id = "bank"

    async def call(hub: FakeHub) -> Answer[CreatePartnerResponse]:
        async with SignedChannel.open(hub.address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS) as channel:
            sent = request.SerializeToString() if is_bytes else request
            return await channel.call(method, sent, CreatePartnerResponse)

    with fake_hub(accepted(made)) as hub:
        answer = asyncio.run(call(hub))

    assert hub.calls[0].path == "/tongdui.exchange.v1.PartnersService/CreatePartner"
    assert hub.calls[0].body == request.SerializeToString()
    assert answer.message == made
    assert answer.receipt is not None


def test_an_operators_refusal_names_its_request_id() -> None:
    async def call(hub: FakeHub) -> None:
        async with SignedChannel.open(hub.address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS) as channel:
            request = CreatePartnerRequest(request_id="id-002")
            await channel.call(
                "/tongdui.exchange.v1.PartnersService/CreatePartner", request, CreatePartnerResponse
            )

    with fake_hub(refused(CODE.ALREADY_EXISTS, "PARTNER_EXISTS")) as hub, pytest.raises(Refused) as error:
        asyncio.run(call(hub))

    assert (error.value.reason, error.value.request_id) == (Reason.PARTNER_EXISTS, "id-002")


def test_an_answer_that_is_no_message_of_its_kind_leaves_the_outcome_unknown() -> None:
    async def call(hub: FakeHub) -> None:
        async with SignedChannel.open(hub.address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS) as channel:
            await channel.call(EARN, WRITE.body, EarnResponse)

    with (
        fake_hub(Reply(b"\xff\xff")) as hub,
        pytest.raises(OutcomeUnknown, match="not a EarnResponse") as error,
    ):
        asyncio.run(call(hub))

    assert error.value.receipt is not None
