"""Between wire and core: requests become commands, or one `InvalidField` that names what is wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet
from google.type import date_pb2

from exchange.core.rates import NEVER
from exchange.rpc.errors import InvalidField

MAX_ID: Final = 64

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST: Final = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
_LATEST: Final = int(datetime(9998, 12, 31, tzinfo=UTC).timestamp())

_M = TypeVar("_M", bound=Message)


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
    return _second(seconds) + timedelta(0, 0, moment.nanos // 1000)


@lru_cache(4096)  # most events of a moment are of the same few seconds
def _second(seconds: int) -> datetime:
    return _EPOCH + timedelta(0, seconds)


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
