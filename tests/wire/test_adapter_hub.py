"""The typed client, asynchronous and synchronous, against a peer that answers as told."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.type.date_pb2 import Date

from merchant_adapter import (
    BurnCommand,
    Burned,
    Consent,
    EarnCommand,
    Earned,
    Enrolled,
    EnrollMember,
    Hub,
    HubError,
    InvalidRequest,
    LinkAlias,
    Linked,
    OutcomeUnknown,
    Reason,
    Refusal,
    Refused,
    SetConsent,
    SyncHub,
    prepare,
    prepare_batch,
    read_results,
    verify_receipt,
)
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
from tongdui.exchange.v1 import commands_pb2, entries_pb2, journal_service_pb2, points_service_pb2
from tongdui.exchange.v1 import members_service_pb2 as members_pb2

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CODE = grpc.StatusCode
EARNED = commands_pb2.EarnResponse(
    entry_id="1-0",
    points=5,
    available_points=12,
    rate_version=3,
    expiry_date=Date(year=2026, month=12, day=31),
)
EARNED.decided_time.FromDatetime(NOON)
BURNED = commands_pb2.BurnResponse(
    entry_id="1-1",
    points=7,
    available_points=5,
    rate_version=3,
    value_micros=70_000,
    reimbursement_micros=66_500,
)
BURNED.decided_time.FromDatetime(NOON)


def earn(reference: str = "r-1", points: int = 5) -> EarnCommand:
    return EarnCommand(
        member_id="m-1",
        event_time=NOON,
        store_id="s-1",
        terminal_id="t-1",
        reference=reference,
        points=points,
    )


def burn() -> BurnCommand:
    return BurnCommand(
        member_id="m-1", event_time=NOON, store_id="s-1", terminal_id="t-1", reference="r-2", points=7
    )


def client_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "tongdui-hub"}


def connect(hub: FakeHub) -> SyncHub:
    return SyncHub.connect(hub.address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS)


def batch(*results: commands_pb2.CommandResult) -> Reply:
    return accepted(points_service_pb2.PostBatchResponse(results=results))


def test_an_accepted_earn_is_a_value_with_request_id_and_receipt() -> None:
    command = earn()

    async def once(hub: FakeHub) -> Earned:
        async with Hub.connect(hub.address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS) as client:
            return await client.earn(command)

    with fake_hub(accepted(EARNED)) as hub:
        earned = asyncio.run(once(hub))

    assert earned == Earned(
        request_id=command.request_id,
        entry_id="1-0",
        points=5,
        available_points=12,
        decided_time=NOON,
        rate_version=3,
        expiry_date=date(2026, 12, 31),
    )
    assert earned.receipt is not None
    assert verify_receipt(earned.receipt, HUB_KEYS).key_id in HUB_KEYS
    sent = commands_pb2.EarnRequest.FromString(hub.calls[0].body)
    assert (sent.request_id, sent.points, sent.reference) == (command.request_id, 5, "r-1")


def test_an_accepted_burn_is_a_value() -> None:
    command = burn()

    with fake_hub(accepted(BURNED)) as hub, connect(hub) as client:
        burned = client.burn(command)

    assert burned == Burned(
        request_id=command.request_id,
        entry_id="1-1",
        points=7,
        available_points=5,
        decided_time=NOON,
        rate_version=3,
        value_micros=70_000,
        reimbursement_micros=66_500,
    )


def test_a_refused_earn_is_raised_with_request_id_and_receipt() -> None:
    command = earn()

    with (
        fake_hub(refused(CODE.FAILED_PRECONDITION, "NOTHING_TO_EARN")) as hub,
        connect(hub) as client,
        pytest.raises(Refused) as error,
    ):
        client.earn(command)

    assert (error.value.reason, error.value.recorded) == (Reason.NOTHING_TO_EARN, True)
    assert error.value.request_id == command.request_id
    assert error.value.receipt is not None


def test_a_batch_has_a_value_for_each_command_refused_or_not() -> None:
    commands: list[EarnCommand | BurnCommand] = [earn("r-1"), burn(), earn("r-3"), earn("r-4", 0)]
    refusal = status(CODE.NOT_FOUND, "MEMBER_UNKNOWN")
    malformed = status(CODE.INVALID_ARGUMENT, "INVALID_FIELD")
    reply = batch(
        commands_pb2.CommandResult(earn=EARNED),
        commands_pb2.CommandResult(burn=BURNED),
        commands_pb2.CommandResult(error=refusal),
        commands_pb2.CommandResult(error=malformed),
    )

    with fake_hub(reply) as hub, connect(hub) as client:
        results = client.post_batch(commands)

    kinds = [type(result) for result in results]
    assert kinds == [Earned, Burned, Refusal, Refusal]
    assert [result.request_id for result in results] == [command.request_id for command in commands]
    assert results.receipt is not None
    assert results[-1] == results[3]
    assert results[1:3] == [results[1], results[2]]
    third, fourth = results[2], results[3]
    assert isinstance(third, Refusal)
    assert isinstance(fourth, Refusal)
    assert (type(third.to_error()), third.reason) == (Refused, Reason.MEMBER_UNKNOWN)
    assert type(fourth.to_error()) is InvalidRequest


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(batch(), id="no result"),
        pytest.param(batch(*[commands_pb2.CommandResult(earn=EARNED)] * 2), id="two results"),
        pytest.param(Reply(b"\xff"), id="no message"),
    ],
)
def test_a_batch_answered_with_another_number_of_results_leaves_the_outcome_unknown(reply: Reply) -> None:
    with fake_hub(reply) as hub, connect(hub) as client, pytest.raises(OutcomeUnknown) as error:
        client.post_batch([earn()])

    assert error.value.receipt is not None
    assert error.value.prepared is not None


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(commands_pb2.CommandResult(), id="nothing"),
        pytest.param(commands_pb2.CommandResult(earn=commands_pb2.EarnResponse()), id="an empty acceptance"),
    ],
)
def test_only_the_result_that_makes_no_sense_is_unknown(result: commands_pb2.CommandResult) -> None:
    with (
        fake_hub(batch(commands_pb2.CommandResult(earn=EARNED), result)) as hub,
        connect(hub) as client,
    ):
        results = client.post_batch([earn("r-1"), earn("r-2")])

    assert isinstance(results[0], Earned)
    with pytest.raises(OutcomeUnknown):
        _ = results[1]


def test_a_refused_batch_is_raised_with_all_its_request_ids() -> None:
    commands = [earn("r-1"), earn("r-2")]

    with (
        fake_hub(refused(CODE.RESOURCE_EXHAUSTED, "HUB_BUSY")) as hub,
        connect(hub) as client,
        pytest.raises(HubError) as error,
    ):
        client.post_batch(commands)

    assert error.value.prepared is not None
    assert error.value.prepared.request_ids == tuple(command.request_id for command in commands)


def test_prepared_bytes_are_sent_unchanged_and_their_results_read_later() -> None:
    prepared = prepare_batch([earn()])

    with fake_hub(batch(commands_pb2.CommandResult(earn=EARNED))) as hub, connect(hub) as client:
        answer = client.send(prepared)

    results = read_results(prepared, answer)
    assert hub.calls[0].body == prepared.body
    assert [type(result) for result in results] == [Earned]


def test_results_of_a_single_command_are_read_the_same_way() -> None:
    prepared = prepare(burn())

    with fake_hub(accepted(BURNED)) as hub, connect(hub) as client:
        (result,) = read_results(prepared, client.send(prepared))

    assert isinstance(result, Burned)
    assert result.request_id == prepared.request_ids[0]


def member(call: Call) -> Message:
    return members_pb2.EnrollMemberResponse(member_id="m-1")


def members(call: Call) -> Message:
    one = members_pb2.EnrollMemberResult(member=members_pb2.EnrollMemberResponse(member_id="m-1"))
    other = members_pb2.EnrollMemberResult(error=status(CODE.INVALID_ARGUMENT, "INVALID_FIELD"))
    return members_pb2.BatchEnrollMembersResponse(results=[one, other])


def links(call: Call) -> Message:
    one = members_pb2.LinkAliasResult(link=members_pb2.LinkAliasResponse(member_id="m-1"))
    other = members_pb2.LinkAliasResult(error=status(CODE.ALREADY_EXISTS, "ALIAS_TAKEN"))
    return members_pb2.BatchLinkAliasesResponse(results=[one, other])


LIMITS = Consent(per_burn_limit_points=100, per_day_limit_points=500)


def test_enrolling_names_the_member() -> None:
    with fake_hub(lambda call: accepted(member(call))) as hub, connect(hub) as client:
        enrolled = client.enroll(EnrollMember(customer_id="c-1", consent=LIMITS, request_id="id-1"))

    sent = members_pb2.EnrollMemberRequest.FromString(hub.calls[0].body)
    assert enrolled == Enrolled("id-1", "m-1")
    assert (sent.customer_id, sent.consent.per_day_limit_points) == ("c-1", 500)


@pytest.mark.parametrize(
    ("reply", "call", "kinds"),
    [
        (
            members,
            lambda hub: hub.enroll_batch([EnrollMember(customer_id=c) for c in "ab"]),
            [Enrolled, Refusal],
        ),
        (
            links,
            lambda hub: hub.link_batch([LinkAlias(member_id="m-1", customer_id=c) for c in "ab"]),
            [Linked, Refusal],
        ),
    ],
    ids=["enrol", "link"],
)
def test_batches_of_members_have_a_value_each(
    reply: Callable[[Call], Message], call: Callable[[SyncHub], Any], kinds: list[type[Any]]
) -> None:
    with fake_hub(lambda received: accepted(reply(received))) as hub, connect(hub) as client:
        results = call(client)

    assert [type(result) for result in results] == kinds


def test_a_link_and_a_consent_are_answered_with_what_stands() -> None:
    def reply(call: Call) -> Reply:
        if call.path.endswith("LinkAlias"):
            return accepted(members_pb2.LinkAliasResponse(member_id="m-1"))
        return accepted(members_pb2.SetConsentResponse(consent=members_pb2.Consent()))

    with fake_hub(reply) as hub, connect(hub) as client:
        linked = client.link(LinkAlias(member_id="m-1", customer_id="c-1"))
        withdrawn = client.set_consent(
            SetConsent(member_id="m-1", consent=Consent(per_burn_limit_points=0, per_day_limit_points=0))
        )

    assert linked.member_id == "m-1"
    assert withdrawn.consent == Consent(per_burn_limit_points=0, per_day_limit_points=0)


def test_a_wallet_shows_points_and_lots() -> None:
    message = points_service_pb2.GetWalletResponse(member_id="m-1", available_points=12, held_points=3)
    message.lots.add(lot_sequence=1, issuer_id="cafe", rate_version=2, open_points=12, held_points=3)
    message.read_time.FromDatetime(NOON)
    message.state = points_service_pb2.GetWalletResponse.STATE_FROZEN
    message.value_micros = 120_000
    message.deficits.add(issuer_id="books", points=4)
    message.expiry_forecast.add(expiry_date=Date(year=2026, month=1, day=31), points=12)

    with fake_hub(Reply(message.SerializeToString(), has_receipt=False)) as hub, connect(hub) as client:
        wallet = client.wallet("m-1")

    assert (wallet.state, wallet.value_micros) == ("frozen", 120_000)
    assert [(owed.issuer_id, owed.points) for owed in wallet.deficits] == [("books", 4)]
    assert [(day.expiry_date, day.points) for day in wallet.expiry_forecast] == [(date(2026, 1, 31), 12)]
    assert (wallet.available_points, wallet.held_points, wallet.read_time) == (12, 3, NOON)
    assert [(lot.issuer_id, lot.open_points, lot.expiry_date) for lot in wallet.lots] == [("cafe", 12, None)]


def test_entries_come_in_pages_with_legs_and_lines() -> None:
    entry = entries_pb2.Entry(
        entry_id="1-0", kind="earn", points=5, window_date=Date(year=2026, month=1, day=1)
    )
    entry.legs.add(lot_sequence=1, issuer_id="cafe", from_account="issued", to_account="open", points=5)
    entry.lines.add(payer_id="cafe", payer_component="ISSUE_FUNDING", payee_id="POOL", micros=50_000)
    message = points_service_pb2.ListEntriesResponse(entries=[entry], next_page_token="next")

    with fake_hub(Reply(message.SerializeToString(), has_receipt=False)) as hub, connect(hub) as client:
        page = client.entries(member_id="m-1", page_size=1, page_token="token")

    sent = points_service_pb2.ListEntriesRequest.FromString(hub.calls[0].body)
    assert (sent.member_id, sent.page_size, sent.page_token) == ("m-1", 1, "token")
    assert page.next_page_token == "next"
    assert page.entries[0].window_date == date(2026, 1, 1)
    assert (page.entries[0].legs[0].points, page.entries[0].lines[0].micros) == (5, 50_000)


def test_the_ledgers_constants_are_read() -> None:
    message = journal_service_pb2.GetLedgerResponse(
        audience=AUDIENCE, currency_code="CNY", minor_unit_digits=2, time_zone="Asia/Shanghai"
    )
    message.clock = journal_service_pb2.GetLedgerResponse.CLOCK_MANUAL
    message.ledger_time.FromDatetime(NOON)

    with fake_hub(Reply(message.SerializeToString(), has_receipt=False)) as hub, connect(hub) as client:
        ledger = client.ledger()

    assert (ledger.audience, ledger.currency_code, ledger.clock) == (AUDIENCE, "CNY", "manual")
    assert ledger.ledger_time == NOON


def test_an_empty_answer_is_no_wallet() -> None:
    with (
        fake_hub(Reply(b"", has_receipt=False)) as hub,
        connect(hub) as client,
        pytest.raises(OutcomeUnknown, match="member_id is missing"),
    ):
        client.wallet("m-1")

    assert len(hub.calls) == 1


def test_a_command_that_cannot_be_written_is_not_sent() -> None:
    with fake_hub(accepted(EARNED)) as hub, connect(hub) as client, pytest.raises(InvalidRequest) as error:
        client.post_batch([earn(), earn(points=2**63)])

    assert hub.calls == []
    assert error.value.fields[0].field == "points"


def test_calls_run_side_by_side() -> None:
    both_are_there = threading.Barrier(2, timeout=WAIT_SECONDS)

    def reply(call: Call) -> Reply:
        both_are_there.wait()
        return accepted(EARNED)

    async def two(hub: FakeHub) -> tuple[Earned, Earned]:
        async with Hub.connect(hub.address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS) as client:
            return await asyncio.gather(client.earn(earn("r-1")), client.earn(earn("r-2")))

    with fake_hub(reply) as hub:
        earned = asyncio.run(two(hub))

    assert len({one.request_id for one in earned}) == 2


def test_threads_share_a_synchronous_hub() -> None:
    both_are_there = threading.Barrier(2, timeout=WAIT_SECONDS)

    def reply(call: Call) -> Reply:
        both_are_there.wait()
        return accepted(EARNED)

    with fake_hub(reply) as hub, connect(hub) as client:
        threads = [threading.Thread(target=client.earn, args=(earn(f"r-{n}"),)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(hub.calls) == 2


def test_a_closed_synchronous_hub_says_so_and_leaves_no_thread() -> None:
    before = client_threads()

    with fake_hub(accepted(EARNED)) as hub:
        client = connect(hub)
        client.close()
        client.close()

        with pytest.raises(RuntimeError, match="closed"):
            client.earn(earn())

    assert client_threads() <= before


def test_arguments_that_are_wrong_leave_no_thread_behind() -> None:
    before = client_threads()

    with pytest.raises(ValueError, match="audience"):
        SyncHub.connect("127.0.0.1:1", "Not A Name", key=CAFE_KEY, hub_keys=HUB_KEYS)

    assert client_threads() <= before
