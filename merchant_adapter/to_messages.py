"""From the adapter's plain values to the contract's messages."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import date, datetime
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from merchant_adapter.commands import (
    Consent,
    ContactProof,
    EnrollMember,
    IssuePayCode,
    LinkAlias,
    SetConsent,
    StartContactProof,
    UnlinkAlias,
)
from merchant_adapter.errors import InvalidRequest
from merchant_adapter.quotes import QuoteRequest
from tongdui.exchange.v1 import members_service_pb2, points_service_pb2

_M = TypeVar("_M", bound=Message)


def writer_of(value: type[Any], request: type[_M]) -> Callable[[Any], _M]:
    """What writes such values into such requests: each field of the value into the field of its name.

    The writer raises InvalidRequest naming a field that cannot be written: also where not exactly one member of
    a `oneof` is set, and for a 0 where only None says "not set", since the message could not tell them apart.
    """
    found = request.DESCRIPTOR.fields_by_name
    named = [one.name for one in fields(value)]
    times = [name for name in named if found[name].message_type == Timestamp.DESCRIPTOR]
    days = [name for name in named if found[name].message_type == Date.DESCRIPTOR]
    choices = {one.name: [member.name for member in one.fields] for one in request.DESCRIPTOR.oneofs}
    plain = [name for name in named if not found[name].has_presence]
    unset_is_0 = [one.name for one in fields(value) if one.name in plain and one.default is None]

    def write(command: Any) -> _M:
        # Left out is what an empty value would be read as, and is quicker.
        written = {name: it for name in plain if (it := getattr(command, name))}
        for name in times:
            written[name] = _to_timestamp(name, getattr(command, name))
        for name in days:
            written[name] = _to_date(getattr(command, name))
        for oneof, members in choices.items():
            name = _the_one_set(command, oneof, members)
            written[name] = getattr(command, name)
        for name in unset_is_0:
            if getattr(command, name) == 0:
                raise InvalidRequest.of_field(name, "0 would be read as not set; None says that")
        return _built(request, written)

    return write


def to_enroll_request(command: EnrollMember) -> members_service_pb2.EnrollMemberRequest:
    """The request of `MembersService.EnrollMember`."""
    return _built(
        members_service_pb2.EnrollMemberRequest,
        {
            "request_id": command.request_id,
            "customer_id": command.customer_id,
            "consent": _to_consent(command.consent),
            "proof": _to_proof(command.proof),
        },
    )


def to_link_request(command: LinkAlias) -> members_service_pb2.LinkAliasRequest:
    """The request of `MembersService.LinkAlias`."""
    return _built(
        members_service_pb2.LinkAliasRequest,
        {
            "request_id": command.request_id,
            "member_id": command.member_id,
            "customer_id": command.customer_id,
            "consent": _to_consent(command.consent),
            "proof": _to_proof(command.proof),
        },
    )


def to_proof_request(command: StartContactProof) -> members_service_pb2.StartContactProofRequest:
    """Refuses both or neither of `phone` and `email`: the message could hold only one."""
    if bool(command.phone) == bool(command.email):
        raise InvalidRequest.of_field("contact", "exactly one of phone and email must be set")
    named = {"phone": command.phone} if command.phone else {"email": command.email}
    return _built(
        members_service_pb2.StartContactProofRequest,
        {
            "request_id": command.request_id,
            "contact": _built(members_service_pb2.Contact, named),
            "attested": command.attested,
        },
    )


def to_unlink_request(command: UnlinkAlias) -> members_service_pb2.UnlinkAliasRequest:
    """The request of `MembersService.UnlinkAlias`."""
    return _built(
        members_service_pb2.UnlinkAliasRequest,
        {
            "request_id": command.request_id,
            "member_id": command.member_id,
            "partner_id": command.partner_id,
        },
    )


def to_pay_code_request(command: IssuePayCode) -> members_service_pb2.IssuePayCodeRequest:
    """The request of `MembersService.IssuePayCode`."""
    return _built(
        members_service_pb2.IssuePayCodeRequest,
        {
            "request_id": command.request_id,
            "member_id": command.member_id,
            "max_points": command.max_points,
            "partner_id": command.partner_id,
        },
    )


def to_consent_request(command: SetConsent) -> members_service_pb2.SetConsentRequest:
    """The request of `MembersService.SetConsent`."""
    return _built(
        members_service_pb2.SetConsentRequest,
        {
            "request_id": command.request_id,
            "member_id": command.member_id,
            "partner_id": command.partner_id,
            "consent": _to_consent(command.consent),
        },
    )


to_quote_request = writer_of(QuoteRequest, points_service_pb2.QuoteRequest)
"""The request of `PointsService.Quote`; refuses any but exactly one amount."""


def to_wallet_request(member_id: str) -> points_service_pb2.GetWalletRequest:
    """The request of `PointsService.GetWallet`."""
    return _built(points_service_pb2.GetWalletRequest, {"member_id": member_id})


def to_entries_request(
    member_id: str, page_size: int, page_token: str
) -> points_service_pb2.ListEntriesRequest:
    """The request of `PointsService.ListEntries`."""
    return _built(
        points_service_pb2.ListEntriesRequest,
        {"member_id": member_id, "page_size": page_size, "page_token": page_token},
    )


def _the_one_set(command: object, oneof: str, members: Sequence[str]) -> str:
    given = [name for name in members if getattr(command, name) is not None]
    if len(given) != 1:
        listed = f"{', '.join(members[:-1])} and {members[-1]}"
        raise InvalidRequest.of_field(oneof, f"exactly one of {listed} must be set")
    return given[0]


def _to_timestamp(name: str, time: datetime) -> Timestamp:
    if time.tzinfo is None:
        raise InvalidRequest.of_field(name, "has no time zone; give an aware datetime")
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


def _to_date(day: date | None) -> Date | None:
    return None if day is None else Date(year=day.year, month=day.month, day=day.day)


def _to_consent(consent: Consent | None) -> members_service_pb2.Consent | None:
    if consent is None:
        return None
    return _built(
        members_service_pb2.Consent,
        {
            "per_burn_limit_points": consent.per_burn_limit_points,
            "per_day_limit_points": consent.per_day_limit_points,
        },
    )


def _to_proof(proof: ContactProof | None) -> members_service_pb2.ContactProof | None:
    if proof is None:
        return None
    return _built(members_service_pb2.ContactProof, {"proof_id": proof.proof_id, "code": proof.code})


def _built(kind: type[_M], values: dict[str, Any]) -> _M:
    try:
        return kind(**values)
    except (TypeError, ValueError):
        # protobuf does not name the field; only now, on the way out, is it worth searching for.
        for name, value in values.items():
            try:
                kind(**{name: value})
            except (TypeError, ValueError) as error:
                raise InvalidRequest.of_field(name, str(error)) from error
        raise
