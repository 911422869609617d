"""A `PostBatchRequest` put together from stored bytes: what was serialised once is never serialised again."""

import hashlib
from collections.abc import Iterable, Mapping

from tongdui.exchange.v1.commands_pb2 import Command
from tongdui.exchange.v1.points_service_pb2 import PostBatchRequest

FRAME_BYTES = 16
"""More than what `batch_body` adds to a command: two tags and two lengths of a message below 4 MiB."""


def batch_body(commands: Iterable[tuple[str, bytes]]) -> bytes:
    """The batch of these (kind, request message bytes): the very bytes that protobuf would make of them."""
    parts: list[bytes] = []
    for kind, message in commands:
        head = _KIND_TAGS[kind] + _varint(len(message))
        parts += (_COMMAND_TAG, _varint(len(head) + len(message)), head, message)
    return b"".join(parts)


def digest(kind: str, message: bytes) -> bytes:
    """SHA-256 over both: tells a repeated command from a reused id, and stored bytes from damaged ones."""
    return hashlib.sha256(kind.encode() + b"\n" + message).digest()


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _tag(field_number: int) -> bytes:
    return _varint(field_number << 3 | 2)  # wire type 2: a length, then so many bytes


_COMMAND_TAG = _tag(PostBatchRequest.DESCRIPTOR.fields_by_name["commands"].number)
_KIND_TAGS: Mapping[str, bytes] = {one.name: _tag(one.number) for one in Command.DESCRIPTOR.fields}
