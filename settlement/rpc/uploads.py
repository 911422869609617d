"""Uploads: a signed header, then the file's bytes, spooled to disk and only taken in when all of them have come."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, Final

from settlement.partner_calls import FileUpload
from settlement.rpc.admission import ROLE_PARTNER, Admission, Incoming
from settlement.rpc.calls import Answered, Lane, Messages
from settlement.rpc.errors import CallError, busy, invalid_field, unavailable
from settlement.rpc.fields import checked_date, checked_request_id, parsed
from tongdui.settlement.v1.reconciliation_service_pb2 import (
    FileFormat,
    UploadHeader,
    UploadPartnerFileRequest,
)

PART_BYTES: Final = 1024 * 1024
MAX_CONTROL_BYTES: Final = 4_096
SHA256_BYTES: Final = 32

FORMATS: Final = {
    FileFormat.FILE_FORMAT_CSV: "CSV",
    FileFormat.FILE_FORMAT_JSONL: "JSONL",
    FileFormat.FILE_FORMAT_MAPPED: "MAPPED",
}

_log = logging.getLogger("settlement.rpc.uploads")


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What uploads may take: bytes, seconds in all and between two messages, and how many at once."""

    max_bytes: int = 512 * 1024 * 1024
    max_seconds: float = 900.0
    idle_seconds: float = 30.0
    of_partner: int = 2
    of_server: int = 8


Load = Callable[[Incoming, FileUpload, Iterator[bytes]], Answered]
"""Takes a complete file in and gives the answer; runs in a thread."""


class Uploads:
    """Receives files. Made on the loop that it runs on."""

    def __init__(
        self,
        admission: Admission,
        spooling: ThreadPoolExecutor,
        lane: Lane,
        load: Load,
        limits: UploadLimits | None = None,
    ) -> None:
        """`spooling` are threads that write parts to disk; `lane` those that take files in."""
        self._admission = admission
        self._spooling = spooling
        self._lane = lane
        self._load = load
        self._limits = limits or UploadLimits()
        self.under_way: Counter[str] = Counter()
        """Uploads that have a place now, by partner."""

    async def receive(self, incoming: Incoming, messages: Messages) -> Answered:
        """The answer to an admitted header and the messages after it. Raises CallError."""
        if ROLE_PARTNER not in incoming.caller.roles:
            raise CallError("ROLE_REQUIRED")
        upload = read_header(incoming.body, self._limits.max_bytes)
        with self._slot(incoming.caller.owner):
            spool, loading = _Spool(upload), None
            try:
                await self._spooled(spool, messages)
                # The key may have been revoked while the bytes came.
                still_admits = partial(self._admission.still_admits, incoming.caller)
                if not spool.is_as_signed or not await self._lane.run(still_admits):
                    raise CallError("SIGNATURE_INVALID")
                work = partial(self._load, incoming, upload, spool.parts())
                loading = asyncio.ensure_future(self._lane.run(work))
                return await asyncio.shield(loading)  # what has begun ends, also where the caller has gone
            finally:
                if loading is None or loading.done():
                    spool.close()
                else:
                    loading.add_done_callback(partial(_close_after, spool))

    async def _spooled(self, spool: _Spool, messages: Messages) -> None:
        ends = time.monotonic() + self._limits.max_seconds
        async with aclosing(_data(messages, self._limits.idle_seconds, ends)) as parts:
            async for data in parts:
                await self._spool_part(spool, data)

    async def _spool_part(self, spool: _Spool, data: bytes) -> None:
        if spool.byte_count + len(data) > spool.upload.byte_count:
            raise CallError("SIGNATURE_INVALID")
        try:
            await asyncio.get_running_loop().run_in_executor(self._spooling, spool.add, data)
        except OSError as trouble:
            _log.warning("an upload cannot be spooled: %s", trouble.strerror)
            raise unavailable() from trouble

    @contextmanager
    def _slot(self, owner: str) -> Iterator[None]:
        if (
            self.under_way[owner] >= self._limits.of_partner
            or self.under_way.total() >= self._limits.of_server
        ):
            raise busy()
        self.under_way[owner] += 1
        try:
            yield
        finally:
            self.under_way[owner] -= 1
            if not self.under_way[owner]:
                del self.under_way[owner]


class _Spool:
    """The bytes of one upload, on disk without a name."""

    def __init__(self, upload: FileUpload) -> None:
        self.upload = upload
        self.byte_count = 0
        self._digest = hashlib.sha256()
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="tongdui-upload-")  # noqa: SIM115 - closed by `close`

    def add(self, data: bytes) -> None:
        """The next bytes. Raises OSError."""
        self._file.write(data)
        self._digest.update(data)
        self.byte_count += len(data)

    @property
    def is_as_signed(self) -> bool:
        """Whether these are the bytes that the header states."""
        return (self.byte_count, self._digest.digest()) == (self.upload.byte_count, self.upload.sha256)

    def parts(self) -> Iterator[bytes]:
        """All bytes from the beginning, in parts."""
        self._file.seek(0)
        while part := self._file.read(PART_BYTES):
            yield part

    def close(self) -> None:
        """Gives the disk back."""
        self._file.close()


def _close_after(spool: _Spool, loading: asyncio.Future[Answered]) -> None:
    spool.close()
    if not loading.cancelled() and loading.exception() is not None:
        _log.warning("a file whose sender had gone was not taken in: %s", type(loading.exception()).__name__)


async def _data(messages: Messages, idle_seconds: float, ends: float) -> AsyncGenerator[bytes, None]:
    """The data of each message, as long as the next one comes in time."""
    while True:
        try:
            async with asyncio.timeout(min(idle_seconds, max(ends - time.monotonic(), 0))):
                body = await anext(messages)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise unavailable() from None  # nothing was decided, and the same upload can be tried again
        message = parsed(UploadPartnerFileRequest, body)
        if message.WhichOneof("part") != "data" or not 1 <= len(message.data) <= PART_BYTES:
            raise invalid_field("data", f"required after the first message, 1 to {PART_BYTES} bytes")
        yield message.data


def read_header(body: bytes, max_bytes: int) -> FileUpload:
    """What an upload says it is. Raises CallError."""
    message = parsed(UploadPartnerFileRequest, body)
    if message.WhichOneof("part") != "header":
        raise invalid_field("header", "required in the first message")
    header = message.header
    if header.format not in FORMATS:
        raise invalid_field("header.format", "required")
    if not header.HasField("business_date"):
        raise invalid_field("header.business_date", "required")
    if not 1 <= header.byte_count <= max_bytes:
        raise invalid_field("header.byte_count", f"required, at most {max_bytes}")
    if len(header.sha256) != SHA256_BYTES:
        raise invalid_field("header.sha256", f"required, {SHA256_BYTES} bytes")
    return FileUpload(
        request_id=checked_request_id(header.request_id, "header.request_id"),
        business_date=checked_date("header.business_date", header.business_date),
        format=FORMATS[header.format],
        byte_count=header.byte_count,
        sha256=header.sha256,
        control=_control(header),
    )


def _control(header: UploadHeader) -> bytes:
    is_mapped = header.format == FileFormat.FILE_FORMAT_MAPPED
    if bool(header.control) is not is_mapped or len(header.control) > MAX_CONTROL_BYTES:
        raise invalid_field(
            "header.control", f"required for FILE_FORMAT_MAPPED alone, at most {MAX_CONTROL_BYTES} bytes"
        )
    return header.control
