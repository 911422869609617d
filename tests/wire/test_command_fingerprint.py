"""The command fingerprint: its vector, what it ignores, and that protobuf writes the canonical fields."""

import hashlib
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from tests.property.profiles import tries
from tongdui.signing import SignatureMalformed, fingerprint

Field = descriptor_pb2.FieldDescriptorProto

# A command as the contract writes them: text, signed and unsigned numbers, enum, flag, bytes, a choice,
# repeated text and packed numbers, a nested message; declared out of order on purpose.
FIELDS = [
    ("flag", 7, Field.TYPE_BOOL, Field.LABEL_OPTIONAL),
    ("text", 1, Field.TYPE_STRING, Field.LABEL_OPTIONAL),
    ("points", 2, Field.TYPE_INT64, Field.LABEL_OPTIONAL),
    ("count", 3, Field.TYPE_UINT32, Field.LABEL_OPTIONAL),
    ("raw", 16, Field.TYPE_BYTES, Field.LABEL_OPTIONAL),
    ("names", 4, Field.TYPE_STRING, Field.LABEL_REPEATED),
    ("numbers", 5, Field.TYPE_INT64, Field.LABEL_REPEATED),
]


def command_class() -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(name="test_command.proto", package="test", syntax="proto3")
    command = file.message_type.add(name="Command")
    for name, number, kind, label in FIELDS:
        command.field.add(name=name, number=number, type=kind, label=label)
    command.field.add(
        name="inner",
        number=6,
        type=Field.TYPE_MESSAGE,
        type_name=".test.Command",
        label=Field.LABEL_OPTIONAL,
    )
    command.oneof_decl.add(name="choice")
    command.field.add(
        name="chosen", number=8, type=Field.TYPE_INT64, label=Field.LABEL_OPTIONAL, oneof_index=0
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.Command"))


Command = command_class()


def varint(value: int) -> bytes:
    value %= 1 << 64
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def prefixed(number: int, octets: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(octets)) + octets


def canonical(command: dict[str, Any]) -> bytes:
    """The canonical fields as docs/protocol.md states them, written without protobuf."""
    out = b""
    for name, number in (("text", 1), ("points", 2), ("count", 3)):
        value = command.get(name)
        if value:
            out += prefixed(number, value.encode()) if name == "text" else varint(number << 3) + varint(value)
    for value in command.get("names", []):
        out += prefixed(4, value.encode())
    if command.get("numbers"):
        out += prefixed(5, b"".join(varint(value) for value in command["numbers"]))
    if "inner" in command:
        out += prefixed(6, canonical(command["inner"]))
    if command.get("flag"):
        out += varint(7 << 3) + varint(1)
    if "chosen" in command:  # a choice that was made is written, even at its default
        out += varint(8 << 3) + varint(command["chosen"])
    if command.get("raw"):
        out += prefixed(16, command["raw"])
    return out


INT64 = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 300)
SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text(max_size=200),
    "points": INT64,
    "count": st.integers(0, 2**32 - 1),
    "raw": st.binary(max_size=20),
    "names": st.lists(st.text(max_size=5), max_size=4),
    "numbers": st.lists(INT64, max_size=4),
    "flag": st.booleans(),
    "chosen": INT64,
}
COMMANDS = st.recursive(
    st.fixed_dictionaries({}, optional=SIMPLE),
    lambda inner: st.fixed_dictionaries({"inner": inner}, optional=SIMPLE),
    max_leaves=3,
)


@tries(500)
@given(COMMANDS)
def test_deterministic_protobuf_writes_the_canonical_fields(command: dict[str, Any]) -> None:
    message = Command(**command)

    written = message.SerializeToString(deterministic=True)

    assert written == canonical(command)


@pytest.mark.parametrize(
    "received",
    [
        "0a0b6f726465722d3130303031100a",  # as canonical
        "100a0a0b6f726465722d3130303031",  # fields in another order
        "0a0b6f726465722d3130303031108a00",  # a varint with a needless byte
        "0a016110050a0b6f726465722d3130303031100a",  # fields given twice: the last counts
        "0a0b6f726465722d3130303031100a1800",  # a default written out
        "0a0b6f726465722d3130303031100a9a060178",  # an unknown field (99)
    ],
)
def test_another_writing_of_one_command_keeps_its_fingerprint(received: str) -> None:
    message = Command()
    message.ParseFromString(bytes.fromhex(received))
    message.DiscardUnknownFields()

    print_of_received = fingerprint("earn", message.SerializeToString(deterministic=True))

    assert print_of_received == fingerprint("earn", canonical({"text": "order-10001", "points": 10}))


def test_the_fingerprint_is_the_published_vector() -> None:
    fields = b"".join(
        (
            prefixed(1, b"r-0001"),  # request_id
            prefixed(2, b"m-0001"),  # member_id
            prefixed(3, varint(1 << 3) + varint(1767225590)),  # event_time.seconds
            prefixed(4, b"s-01"),  # store_id
            prefixed(5, b"t-1"),  # terminal_id
            prefixed(6, b"order-10001"),  # reference
            varint(11 << 3) + varint(12800),  # eligible_spend_minor
            prefixed(12, bytes.fromhex("08ea0f100c181f")),  # expiry_date: 2026-12-31
        )
    )

    octets = fingerprint("earn", fields)

    assert fields.hex() == (
        "0a06722d3030303112066d2d303030311a0608f6f1d6ca062204732d30312a03742d31"
        "320b6f726465722d3130303031588064620708ea0f100c181f"
    )
    assert octets.hex() == "69dc7a5c37b78d3c63c131452e5c61878b0263a49e7deda169ead3bd107f474a"
    assert octets == hashlib.sha256(b"tongdui-command-v1\nearn\n" + fields).digest()


def test_the_same_fields_under_another_kind_are_another_command() -> None:
    fields = canonical({"text": "order-10001"})

    prints = {fingerprint(kind, fields) for kind in ("earn", "burn")}

    assert len(prints) == 2


@pytest.mark.parametrize("kind", ["", "Earn", "claw-back", "earn\n", "1st", "e" * 65, "\u00e9arn"])
def test_a_kind_that_is_not_lower_snake_case_is_refused(kind: str) -> None:
    fields = b""

    with pytest.raises(SignatureMalformed, match="kind"):
        fingerprint(kind, fields)
