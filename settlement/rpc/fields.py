"""Fields of requests: parsed, checked, and refused by name."""

from __future__ import annotations

import re
from datetime import date
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message
from google.type.date_pb2 import Date

from settlement.rpc.admission import Caller
from settlement.rpc.errors import CallError, invalid_field

MAX_PAGE_SIZE: Final = 1_000
DEFAULT_PAGE_SIZE: Final = 100
MAX_TEXT: Final = 2_000
"""Characters of a comment, a claim or an answer."""

_PARTNER_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_REQUEST_ID: Final = re.compile(r"[!-~]{1,64}")

T = TypeVar("T", bound=Message)


def parsed(message_type: type[T], body: bytes, name: str = "request") -> T:
    """The message; refuses bytes that are none and fields that this version does not know."""
    try:
        message = message_type.FromString(body)
    except DecodeError:
        raise invalid_field(name, f"not a {message_type.DESCRIPTOR.name}") from None
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != size:
        raise invalid_field(name, "has a field this version does not know")
    return message


def whose(caller: Caller, partner_id: str) -> str:
    """The partner that is asked about; a partner can only mean itself, whoever else it names."""
    if not caller.sees_all:
        if partner_id not in ("", caller.owner):
            raise CallError("ROLE_REQUIRED")
        return caller.owner
    return checked_partner("partner_id", partner_id)


def checked_partner(field: str, partner_id: str) -> str:
    """The id, if it may name a partner."""
    if _PARTNER_ID.fullmatch(partner_id) is None:
        raise invalid_field(field, "required, the id of a partner")
    return partner_id


def checked_request_id(request_id: str, field: str = "request_id") -> str:
    """The id, if it is one."""
    if _REQUEST_ID.fullmatch(request_id) is None:
        raise invalid_field(field, "required, 1 to 64 printable ASCII characters without spaces")
    return request_id


def checked_text(field: str, text: str, most: int = MAX_TEXT) -> str:
    """The text, if it says something and can be kept."""
    if not text.strip() or len(text) > most or "\0" in text:
        raise invalid_field(field, f"required, at most {most} characters, none of them NUL")
    return text


def from_date(field: str, request: Message) -> date:
    """A required business day."""
    if not request.HasField(field):
        raise invalid_field(field, "required")
    return checked_date(field, getattr(request, field))


def checked_date(field: str, day: Date) -> date:
    """A day, if it is on the calendar."""
    try:
        return date(day.year, day.month, day.day)
    except (ValueError, OverflowError):
        raise invalid_field(field, "not a calendar day") from None


def to_date(day: date) -> Date:
    """A day as a message."""
    return Date(year=day.year, month=day.month, day=day.day)


def page_size(asked: int) -> int:
    """How many at most."""
    if not 0 <= asked <= MAX_PAGE_SIZE:
        raise invalid_field("page_size", f"expected 1 to {MAX_PAGE_SIZE}, or none")
    return asked or DEFAULT_PAGE_SIZE


def invalid_page_token() -> CallError:
    """A token that no page gave."""
    return invalid_field("page_token", "not a token of an earlier page")


def page_number(token: str) -> int:
    """The number after which a page goes on; 0 for the first."""
    if not token:
        return 0
    if not (token.isascii() and token.isdecimal() and len(token) <= 18):
        raise invalid_page_token()
    return int(token)
