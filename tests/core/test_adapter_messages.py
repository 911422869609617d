"""Between plain values and messages: nothing is left out, and what cannot be written is named."""

import dataclasses
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from google.protobuf.message import Message
from google.type.date_pb2 import Date

from merchant_adapter import (
    Consent,
    ContactProof,
    EarnCommand,
    Enrolled,
    EnrollMember,
    Entry,
    EntryPage,
    ExpiringPoints,
    InvalidRequest,
    IssuePayCode,
    Ledger,
    Leg,
    Line,
    LinkAlias,
    Linked,
    OwedPoints,
    PayCode,
    Prepared,
    ProofStarted,
    SetConsent,
    UnlinkAlias,
    Unlinked,
    Wallet,
    WalletLot,
    prepare,
    prepare_batch,
)
from merchant_adapter.from_messages import from_entry, from_wallet
from merchant_adapter.points import points_method
from tongdui.exchange.v1 import (
    accounts_service_pb2,
    commands_pb2,
    entries_pb2,
    journal_service_pb2,
    partners_service_pb2,
    points_service_pb2,
    rate_cards_service_pb2,
)
from tongdui.exchange.v1 import members_service_pb2 as members_pb2

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=8)))


def earn(**changes: Any) -> EarnCommand:
    fields: dict[str, Any] = {
        "member_id": "m-1",
        "event_time": NOON,
        "store_id": "s-1",
        "terminal_id": "t-1",
        "reference": "r-1",
        "points": 5,
    }
    return EarnCommand(**fields | changes)


def sent(command: EarnCommand) -> commands_pb2.EarnRequest:
    return commands_pb2.EarnRequest.FromString(prepare(command).body)


SERVICES = (
    accounts_service_pb2,
    journal_service_pb2,
    members_pb2,
    partners_service_pb2,
    points_service_pb2,
    rate_cards_service_pb2,
)
LIMITS = Consent(per_burn_limit_points=1, per_day_limit_points=2)
PAIRS: list[tuple[type[Any], type[Message]]] = [
    (Consent, members_pb2.Consent),
    (EnrollMember, members_pb2.EnrollMemberRequest),
    (LinkAlias, members_pb2.LinkAliasRequest),
    (SetConsent, members_pb2.SetConsentRequest),
    (ContactProof, members_pb2.ContactProof),
    (UnlinkAlias, members_pb2.UnlinkAliasRequest),
    (IssuePayCode, members_pb2.IssuePayCodeRequest),
    (ProofStarted, members_pb2.StartContactProofResponse),
    (Unlinked, members_pb2.UnlinkAliasResponse),
    (PayCode, members_pb2.IssuePayCodeResponse),
    (Enrolled, members_pb2.EnrollMemberResponse),
    (Linked, members_pb2.LinkAliasResponse),
    (Wallet, points_service_pb2.GetWalletResponse),
    (OwedPoints, points_service_pb2.OwedPoints),
    (ExpiringPoints, points_service_pb2.ExpiringPoints),
    (WalletLot, points_service_pb2.WalletLot),
    (EntryPage, points_service_pb2.ListEntriesResponse),
    (Entry, entries_pb2.Entry),
    (Leg, entries_pb2.Leg),
    (Line, entries_pb2.Line),
    (Ledger, journal_service_pb2.GetLedgerResponse),
]


@pytest.mark.parametrize(("value", "message"), PAIRS, ids=[value.__name__ for value, _ in PAIRS])
def test_a_value_has_the_fields_of_its_message(value: type[Any], message: type[Message]) -> None:
    of_value = {field.name for field in dataclasses.fields(value)}
    of_message = {field.name for field in message.DESCRIPTOR.fields}

    # An answer's value also says to which request, and shows its receipt.
    assert of_value - of_message <= {"request_id", "receipt"}
    assert of_message <= of_value


@pytest.mark.parametrize(
    ("command", "request_type"),
    [
        (
            EnrollMember(
                customer_id="c-1", consent=LIMITS, proof=ContactProof(proof_id="p-1", code="123456")
            ),
            members_pb2.EnrollMemberRequest,
        ),
        (LinkAlias(member_id="m-1", customer_id="c-1"), members_pb2.LinkAliasRequest),
        (SetConsent(member_id="m-1", consent=LIMITS, partner_id="cafe"), members_pb2.SetConsentRequest),
        (UnlinkAlias(member_id="m-1", partner_id="cafe"), members_pb2.UnlinkAliasRequest),
        (IssuePayCode(member_id="m-1", max_points=5, partner_id="cafe"), members_pb2.IssuePayCodeRequest),
    ],
    ids=["enroll", "link", "consent", "unlink", "pay code"],
)
def test_every_field_that_is_set_reaches_the_message(command: Any, request_type: type[Message]) -> None:
    message = request_type.FromString(prepare(command).body)

    given = {
        field.name for field in dataclasses.fields(command) if getattr(command, field.name) not in (None, "")
    }

    assert {field.name for field, _ in message.ListFields()} == given


def test_a_time_is_written_as_the_same_instant_to_the_microsecond() -> None:
    message = sent(earn(event_time=NOON.replace(microsecond=123_456)))

    assert (message.event_time.seconds, message.event_time.nanos) == (1767240000, 123_456_000)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"event_time": datetime(2026, 1, 1)}, "event_time"),  # noqa: DTZ001 - what a caller must not do
        ({"points": 2**63}, "points"),
        ({"points": -(2**63) - 1}, "points"),
        ({"points": 1.5}, "points"),
        ({"points": "5"}, "points"),
        ({"points": None}, "basis"),
        ({"eligible_spend_minor": 5}, "basis"),
        ({"member_id": 5}, "member_id"),
        ({"reason": "\udcff"}, "reason"),
    ],
)
def test_what_cannot_be_written_is_named_and_not_sent(change: dict[str, Any], named: str) -> None:
    command = earn(**change)

    with pytest.raises(InvalidRequest) as refused:
        prepare(command)
    assert [one.field for one in refused.value.fields] == [named]


def test_zero_points_are_sent_for_the_hub_to_refuse() -> None:
    message = sent(earn(points=0))

    assert message.WhichOneof("basis") == "points"


def test_a_batch_keeps_order_and_ids() -> None:
    commands = [earn(reference=f"r-{n}") for n in range(3)]

    prepared = prepare_batch(commands)

    message = points_service_pb2.PostBatchRequest.FromString(prepared.body)
    assert [one.earn.reference for one in message.commands] == ["r-0", "r-1", "r-2"]
    assert prepared.request_ids == tuple(command.request_id for command in commands)
    assert prepared.request_ids == tuple(one.earn.request_id for one in message.commands)


def test_the_same_command_is_prepared_to_the_same_bytes() -> None:
    command = earn()

    assert prepare(command) == prepare(command)


def test_two_commands_made_alike_are_two_decisions() -> None:
    assert earn().request_id != earn().request_id


def test_points_that_never_expire_have_no_date() -> None:
    read = points_method(earn()).read
    message = commands_pb2.EarnResponse(entry_id="1-0", points=5)
    message.decided_time.FromDatetime(NOON)

    forever = read("id", message, None)
    message.expiry_date.CopyFrom(Date(year=2026, month=12, day=31))
    until = read("id", message, None)

    assert (forever.expiry_date, until.expiry_date) == (None, date(2026, 12, 31))
    assert until.decided_time == datetime(2026, 1, 1, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("message", "read"),
    [
        (points_service_pb2.GetWalletResponse(), from_wallet),
        (entries_pb2.Entry(), from_entry),
        (entries_pb2.Entry(entry_id="1-0", window_date=Date(year=2026, month=2, day=30)), from_entry),
    ],
    ids=["no member", "no entry id", "30 February"],
)
def test_an_answer_without_its_name_or_with_an_impossible_date_is_none(message: Any, read: Any) -> None:
    with pytest.raises(ValueError, match=r"missing|day is out of range"):
        read(message)


def test_a_method_whose_request_has_a_request_id_is_a_write() -> None:
    services = [service for one in SERVICES for service in one.DESCRIPTOR.services_by_name.values()]
    methods = [method for service in services for method in service.methods]

    writes = {
        method.full_name
        for method in methods
        if Prepared(f"/{method.containing_service.full_name}/{method.name}", b"").is_write
    }

    decided = {"request_id", "requests", "commands"}
    assert writes == {one.full_name for one in methods if decided & set(one.input_type.fields_by_name)}
    assert len(methods) > len(writes) > 20
