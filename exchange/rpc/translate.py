"""Between wire and core: requests become commands, or one `InvalidField` that names what is wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet
from google.type import date_pb2

from exchange.core.commands import Asked, Burn, Earn
from exchange.core.ids import member_number
from exchange.core.points import MAX_POINTS, MAX_SPEND_MINOR
from exchange.core.rates import NEVER
from exchange.rpc.errors import InvalidField
from tongdui.exchange.v1 import commands_pb2
from tongdui.signing import fingerprint

MAX_ID: Final = 64
MAX_REASON: Final = 200

_EARLIEST: Final = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
_LATEST: Final = int(datetime(9998, 12, 31, tzinfo=UTC).timestamp())

_M = TypeVar("_M", bound=Message)
_Request = commands_pb2.EarnRequest | commands_pb2.BurnRequest


def parse(kind: type[_M], body: bytes) -> _M:
    """The message in a request's bytes, without unknown fields anywhere in it."""
    message = parse_lenient(kind, body)
    refuse_unknown(message)
    return message


def parse_lenient(kind: type[_M], body: bytes) -> _M:
    """The message in a request's bytes; unknown fields are still to be refused."""
    try:
        return kind.FromString(body)
    except DecodeError as malformed:
        raise InvalidField("message", f"must be a {kind.DESCRIPTOR.full_name}") from malformed


def has_unknown(message: Message) -> bool:
    """Whether the message, or one inside it, holds a field that the contract lacks."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return known.ByteSize() != message.ByteSize()


def refuse_unknown(message: Message) -> None:
    """Refuses fields the contract lacks: a client that misspells one must not be half understood."""
    if has_unknown(message):
        numbers = sorted(unknown.field_number for unknown in UnknownFieldSet(message))  # type: ignore[attr-defined]  # iterable, but not by its stub
        where = f"field {numbers[0]}" if numbers else "a field of a message inside it"
        raise InvalidField("message", f"{where} is not in the contract")


def check_text(name: str, value: str, limit: int = MAX_ID) -> str:
    """Required text of 1 to `limit` printable characters."""
    if not 0 < len(value) <= limit or not value.isprintable():
        raise InvalidField(name, f"must be 1 to {limit} printable characters")
    return value


def check_optional_text(name: str, value: str, limit: int = MAX_ID) -> str:
    """Optional text of at most `limit` printable characters."""
    if value and (len(value) > limit or not value.isprintable()):
        raise InvalidField(name, f"must be at most {limit} printable characters")
    return value


def check_request_id(value: str) -> str:
    """A request id: required, ASCII."""
    if not value.isascii():
        raise InvalidField("request_id", "must be ASCII")
    return check_text("request_id", value)


def check_range(name: str, value: int, lowest: int, highest: int) -> int:
    """A number between two bounds, both allowed."""
    if not lowest <= value <= highest:
        raise InvalidField(name, f"must be {lowest} to {highest}")
    return value


def from_timestamp(name: str, moment: Timestamp) -> datetime:
    """A required moment of the years 2000 to 9998, in whole microseconds."""
    seconds = moment.seconds
    if not _EARLIEST <= seconds <= _LATEST or not 0 <= moment.nanos < 1_000_000_000:
        raise InvalidField(name, "must be a time of the years 2000 to 9998")
    made = datetime.fromtimestamp(seconds, UTC)
    return made.replace(microsecond=moment.nanos // 1000) if moment.nanos else made


def to_timestamp(moment: datetime) -> Timestamp:
    """A moment for the wire."""
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def from_date(name: str, day: date_pb2.Date) -> date:
    """A whole calendar date of the years 2000 to 9998."""
    try:
        made = date(day.year, day.month, day.day)
    except ValueError as malformed:
        raise InvalidField(name, "must be a calendar date") from malformed
    if not 2000 <= made.year <= 9998:
        raise InvalidField(name, "must be a date of the years 2000 to 9998")
    return made


def to_date(day: date) -> date_pb2.Date | None:
    """A day for the wire; None, which is absent, for never."""
    return None if day == NEVER else date_pb2.Date(year=day.year, month=day.month, day=day.day)


def to_earn(partner_id: int, request: commands_pb2.EarnRequest) -> Earn:
    """An earn of the calling partner."""
    basis = request.WhichOneof("basis")
    if basis is None:
        raise InvalidField("basis", "exactly one of points and eligible_spend_minor must be set")
    points = spend = 0
    if basis == "points":
        points = check_range("points", request.points, 1, MAX_POINTS)
    else:
        spend = check_range("eligible_spend_minor", request.eligible_spend_minor, 1, MAX_SPEND_MINOR)
    expiry_date = None
    if request.HasField("expiry_date"):
        expiry_date = from_date("expiry_date", request.expiry_date)
    return Earn(partner_id, *_common("earn", request), points, spend, expiry_date)


def to_burn(partner_id: int, request: commands_pb2.BurnRequest) -> Burn:
    """A burn at the calling partner."""
    points = check_range("points", request.points, 1, MAX_POINTS)
    return Burn(partner_id, *_common("burn", request), points)


def to_command(partner_id: int, command: commands_pb2.Command) -> Asked:
    """A command of a batch."""
    which = command.WhichOneof("command")
    if which == "earn":
        return to_earn(partner_id, command.earn)
    if which == "burn":
        return to_burn(partner_id, command.burn)
    raise InvalidField("command", "exactly one command must be set")


def _common(kind: str, request: _Request) -> tuple[str, bytes, int, datetime, str, str, str, str, str, str]:
    member_id = check_text("member_id", request.member_id)
    if not request.HasField("event_time"):
        raise InvalidField("event_time", "must be set")
    return (
        check_request_id(request.request_id),
        fingerprint(kind, request.SerializeToString(deterministic=True)),
        member_number(member_id),
        from_timestamp("event_time", request.event_time),
        check_text("store_id", request.store_id),
        check_text("terminal_id", request.terminal_id),
        check_text("reference", request.reference),
        check_optional_text("reason", request.reason, MAX_REASON),
        check_optional_text("campaign_id", request.campaign_id),
        check_optional_text("channel", request.channel),
    )
