"""From the adapter's plain values to the contract's messages."""

from datetime import date, datetime
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from merchant_adapter.commands import (
    AnyCommand,
    BurnCommand,
    Consent,
    EarnCommand,
    EnrollMember,
    LinkAlias,
    PointsCommand,
    SetConsent,
)
from merchant_adapter.errors import InvalidRequest
from tongdui.exchange.v1 import commands_pb2, members_service_pb2, points_service_pb2

_M = TypeVar("_M", bound=Message)


def to_message(command: AnyCommand) -> Message:
    """The command's request message; raises InvalidRequest naming a field that cannot be written."""
    match command:
        case EarnCommand():
            return to_earn_request(command)
        case BurnCommand():
            return to_burn_request(command)
        case EnrollMember():
            return to_enroll_request(command)
        case LinkAlias():
            return to_link_request(command)
        case SetConsent():
            return to_consent_request(command)


def to_command(command: PointsCommand) -> commands_pb2.Command:
    """The command as one of a batch."""
    if isinstance(command, EarnCommand):
        return commands_pb2.Command(earn=to_earn_request(command))
    return commands_pb2.Command(burn=to_burn_request(command))


def to_earn_request(command: EarnCommand) -> commands_pb2.EarnRequest:
    """Refuses both or neither of `points` and `eligible_spend_minor`: the message could hold only one."""
    if (command.points is None) == (command.eligible_spend_minor is None):
        raise InvalidRequest.of_field("basis", "exactly one of points and eligible_spend_minor must be set")
    return _built(
        commands_pb2.EarnRequest,
        _common_fields(command)
        | {
            "points": command.points,
            "eligible_spend_minor": command.eligible_spend_minor,
            "expiry_date": _to_date(command.expiry_date),
        },
    )


def to_burn_request(command: BurnCommand) -> commands_pb2.BurnRequest:
    """The request of `PointsService.Burn`."""
    return _built(commands_pb2.BurnRequest, _common_fields(command) | {"points": command.points})


def to_enroll_request(command: EnrollMember) -> members_service_pb2.EnrollMemberRequest:
    """The request of `MembersService.EnrollMember`."""
    return _built(
        members_service_pb2.EnrollMemberRequest,
        {
            "request_id": command.request_id,
            "customer_id": command.customer_id,
            "consent": _to_consent(command.consent),
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


def _common_fields(command: PointsCommand) -> dict[str, Any]:
    return {
        "request_id": command.request_id,
        "member_id": command.member_id,
        "event_time": _to_timestamp("event_time", command.event_time),
        "store_id": command.store_id,
        "terminal_id": command.terminal_id,
        "reference": command.reference,
        "reason": command.reason,
        "campaign_id": command.campaign_id,
        "channel": command.channel,
    }


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


def _built(kind: type[_M], fields: dict[str, Any]) -> _M:
    try:
        return kind(**fields)
    except (TypeError, ValueError):
        # protobuf does not name the field; only now, on the way out, is it worth searching for.
        for name, value in fields.items():
            try:
                kind(**{name: value})
            except (TypeError, ValueError) as error:
                raise InvalidRequest.of_field(name, str(error)) from error
        raise
