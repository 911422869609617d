"""Messages of the contract as plain values: what `--json` prints, and what tables are made of."""

from datetime import UTC
from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status
from google.type.date_pb2 import Date

from merchant_adapter.json_object import to_base64url
from merchant_adapter.statuses import read_status
from tongdui.type.v1.fraction_pb2 import Fraction

Row = dict[str, Any]


def to_plain(message: Message) -> Row:
    """A message as JSON has it.

    Times and days are in ISO 8601, fractions `1/3`, enums their name without prefix, bytes base64url. A field
    that can be absent is left out where it is.
    """
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _value(field: Any, value: Any) -> Any:
    if field.is_repeated:
        return [_single(field, one) for one in value]
    return _single(field, value)


def _single(field: Any, value: Any) -> Any:
    if field.enum_type is not None:
        return _enum_text(field.enum_type, value)
    if isinstance(value, bytes):
        return to_base64url(value)
    return _message(value) if isinstance(value, Message) else value


def _message(value: Message) -> Any:
    match value:
        case Timestamp():
            return value.ToDatetime(tzinfo=UTC).isoformat()
        case Date():
            return f"{value.year:04}-{value.month:02}-{value.day:02}"
        case Fraction():
            return f"{value.numerator}/{value.denominator}"
        case Status():
            refusal = read_status(value)
            return {
                "reason": str(refusal.reason),
                "message": refusal.message,
                "metadata": dict(refusal.metadata),
            }
        case _:
            return to_plain(value)


def _enum_text(kind: EnumDescriptor, number: int) -> str:
    """An enum's value without the prefix that the style guide wants, such as `active`; a new one's number."""
    found = kind.values_by_number.get(number)
    return str(number) if found is None else found.name.removeprefix(f"{kind.name.upper()}_").lower()
