"""Every field of every kind of command, out of shape: the answer names it. New kinds and fields join by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from exchange.core.ids import member_text
from exchange.rpc.commands import KINDS, Asker
from exchange.rpc.errors import InvalidField
from exchange.rpc.quotes import QuoteBook

ASKER = Asker(1, "a", QuoteBook(Ed25519PrivateKey.generate(), {}))
OPTIONAL = {"reason": 200, "campaign_id": 64, "channel": 64, "once_rule": 64}
OWN_SHAPE: dict[str, list[Any]] = {
    "pay_code": ["1" * 19, "1" * 21, "1" * 19 + "x", "\u0661" * 20],
    "quote": [b"x", b"\x0a\x01x"],
}
ZERO_IS_GOOD = {"part", "hold_seconds of authorize_burn", "points of capture_burn"}
WHOLE = {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_INT32}
LARGEST: dict[int, int] = {FieldDescriptor.CPPTYPE_INT64: 2**63 - 1, FieldDescriptor.CPPTYPE_INT32: 2**31 - 1}


def good(kind: str) -> Any:
    """A command in shape; of a basis it has the first."""
    request: Any = KINDS[kind].message()
    for field in request.DESCRIPTOR.fields:
        if field.containing_oneof is not None and field.containing_oneof.fields[0] is not field:
            continue
        if field.name in OPTIONAL or field.name in OWN_SHAPE:
            continue
        if field.cpp_type in WHOLE:
            setattr(request, field.name, 1)
        elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            setattr(request, field.name, member_text(5) if "member" in field.name else "x-1")
    request.event_time.FromSeconds(1_770_000_000)
    return request


def out_of_shape(kind: str) -> Iterator[tuple[str, Any]]:
    """Field by field, a command with nothing else wrong."""
    for field in KINDS[kind].message.DESCRIPTOR.fields:
        for value in values_out_of_shape(kind, field):
            request = good(kind)
            if isinstance(value, Timestamp | Date):
                getattr(request, field.name).CopyFrom(value)
            else:
                setattr(request, field.name, value)
            yield field.name, request


def values_out_of_shape(kind: str, field: Any) -> list[Any]:
    name = field.name
    if name in OWN_SHAPE:
        return OWN_SHAPE[name]
    if field.cpp_type in WHOLE:
        lowest = -1 if {name, f"{name} of {kind}"} & ZERO_IS_GOOD else 0
        return [lowest, -(LARGEST[field.cpp_type]) - 1, LARGEST[field.cpp_type]]
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        empty = [] if name in OPTIONAL else [""]
        return [*empty, "x" * (OPTIONAL.get(name, 64) + 1), "x\0", "x\u202e", "x\n"]
    if field.message_type is not None and field.message_type.name == "Timestamp":
        return [Timestamp(seconds=0), Timestamp(seconds=2**62), Timestamp(seconds=1_770_000_000, nanos=-1)]
    if field.message_type is not None and field.message_type.name == "Date":
        return [Date(), Date(year=2026), Date(year=2026, month=2, day=30), Date(year=9999, month=12, day=31)]
    return []


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_with_one_field_out_of_shape_names_it(kind: str) -> None:
    assert KINDS[kind].to_command(ASKER, good(kind)).kind == kind

    for name, request in out_of_shape(kind):
        with pytest.raises(InvalidField) as refused:
            KINDS[kind].to_command(ASKER, request)

        assert refused.value.field == name, request


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_without_a_time_or_a_basis_names_that(kind: str) -> None:
    missing = ["event_time", *(it.name for it in KINDS[kind].message.DESCRIPTOR.oneofs)]

    for name in missing:
        request = good(kind)
        request.ClearField(name)

        with pytest.raises(InvalidField) as refused:
            KINDS[kind].to_command(ASKER, request)

        assert refused.value.field == name
