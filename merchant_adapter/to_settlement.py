"""Values as settlement's messages, and files as the messages of an upload."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.type.date_pb2 import Date

from merchant_adapter.errors import InvalidRequest
from merchant_adapter.keys import FilePath
from merchant_adapter.settlement_values import Evidence
from tongdui.settlement.v1 import reconciliation_service_pb2 as reconciling

PART_BYTES = 1024 * 1024

T = TypeVar("T", bound=Message)


def message_of(kind: type[T], **fields: Any) -> T:
    """A message of these fields. Raises InvalidRequest naming one that cannot be written."""
    made = kind()
    for name, value in fields.items():
        try:
            made.MergeFrom(kind(**{name: value}))
        except (TypeError, ValueError) as error:
            raise InvalidRequest.of_field(name, str(error)) from error
    return made


def to_date(day: date) -> Date:
    """A day."""
    return Date(year=day.year, month=day.month, day=day.day)


def to_evidence(evidence: Evidence | None) -> reconciling.Evidence | None:
    """Evidence, where there is some."""
    return None if evidence is None else reconciling.Evidence(name=evidence.name, content=evidence.content)


def measured(file: bytes | FilePath) -> tuple[int, bytes]:
    """How many bytes a file has, and their SHA-256. Raises OSError."""
    if isinstance(file, bytes):
        return len(file), hashlib.sha256(file).digest()
    digest, byte_count = hashlib.sha256(), 0
    with Path(file).open("rb") as opened:
        while part := opened.read(PART_BYTES):
            digest.update(part)
            byte_count += len(part)
    return byte_count, digest.digest()


async def upload_messages(file: bytes | FilePath) -> AsyncGenerator[bytes, None]:
    """The messages of an upload after its header."""
    if isinstance(file, bytes):
        for start in range(0, len(file), PART_BYTES):
            yield _data_message(file[start : start + PART_BYTES])
        return
    opened = await asyncio.to_thread(Path(file).open, "rb")
    try:
        while part := await asyncio.to_thread(opened.read, PART_BYTES):
            yield _data_message(part)
    finally:
        opened.close()


def _data_message(part: bytes) -> bytes:
    return reconciling.UploadPartnerFileRequest(data=part).SerializeToString()
