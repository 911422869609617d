"""One signed call: bytes out under our signature, bytes back under the hub's. Knows no service."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message

from merchant_adapter.answered import Trailing, acceptance, failure_of
from merchant_adapter.errors import HubError, InvalidRequest, OutcomeUnknown, Refusal
from merchant_adapter.keys import FilePath, HubKeys, Key, PinnedKeys
from merchant_adapter.prepared import Prepared
from merchant_adapter.reasons import Reason
from merchant_adapter.receipts import Entries, Receipt
from merchant_adapter.signing import RequestSigner
from merchant_adapter.transport import MAX_REQUEST_BYTES, Tls, open_channel

DEFAULT_TIMEOUT_SECONDS = 10.0

MAX_CALLS_IN_FLIGHT = 256
"""Calls of one channel that are under way at once; more wait for their turn, unsigned.

A hub resets calls beyond the streams it allows (1,024 a connection), which would leave their outcome unknown.
"""

Sent = TypeVar("Sent", bound=Message)
T = TypeVar("T", bound=Message)
Call = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
Answering = grpc.aio.UnaryUnaryCall[bytes, bytes] | grpc.aio.StreamUnaryCall[bytes, bytes]


@dataclass(frozen=True, slots=True)
class AnswerBytes:
    """An answer as it came: `receipt` is verified, and None only for a read without one."""

    body: bytes
    receipt: Receipt | None


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """An answer with its message parsed."""

    message: T
    body: bytes = field(repr=False)
    receipt: Receipt | None = field(repr=False)


class SignedChannel:
    """Signs calls of any Tongdui service with one key and verifies what comes back.

    Open it where an event loop runs and close it there, or use it with `async with`.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        signer: RequestSigner,
        keys: PinnedKeys,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        self._channel = channel
        self._signer = signer
        self._keys = keys
        self._timeout_seconds = timeout_seconds
        self._calls: dict[str, Call] = {}
        self._in_flight = asyncio.Semaphore(MAX_CALLS_IN_FLIGHT)

    @classmethod
    def open(
        cls,
        address: str,
        audience: str,
        *,
        key: Key | FilePath,
        hub_keys: PinnedKeys | FilePath,
        tls: Tls | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> Self:
        """A channel to the hub called `audience` at `address`; it connects when first used.

        `key` and `hub_keys` are values or the paths of their files; with `SettlementKeys` it is a channel to
        settlement. `timeout_seconds` is each call's
        deadline unless the call has its own. Without `tls`, TLS with the system's root certificates is used
        for any address that is not on this machine. Raises
        FileRefused, Unreadable, SignatureMalformed or ValueError for what is wrong with these arguments.
        """
        signer = RequestSigner(key if isinstance(key, Key) else Key.load(key), audience)
        known = hub_keys if isinstance(hub_keys, PinnedKeys) else HubKeys.load(hub_keys)
        return cls(open_channel(address, tls), signer, known, timeout_seconds)

    @property
    def key(self) -> Key:
        """The key that signs."""
        return self._signer.key

    @property
    def audience(self) -> str:
        """The hub's name that every request is signed for."""
        return self._signer.audience

    async def call(
        self,
        method: str | MethodDescriptor,
        request: Message | bytes,
        answer_type: type[T],
        *,
        deadline_seconds: float | None = None,
    ) -> Answer[T]:
        """Calls any unary method: `method` is its descriptor or `/package.Service/Method`.

        A `Message` is serialised once; `bytes` are sent as they are. Raises HubError.
        """
        prepared = prepare_call(method, request)
        answer = await self.send(prepared, deadline_seconds=deadline_seconds)
        return Answer(parse_answer(prepared, answer, answer_type), answer.body, answer.receipt)

    async def send(self, prepared: Prepared, *, deadline_seconds: float | None = None) -> AnswerBytes:
        """Signs these bytes afresh, sends them and returns the accepted answer, verified but not parsed.

        Raises HubError; its `prepared` is this request. A cancelled call leaves the outcome unknown, and so does
        one without an answer after `deadline_seconds`, waiting for its turn included. Without them it waits for
        its turn as long as it takes, and then for the channel's `timeout_seconds`.
        """
        if len(prepared.body) > MAX_REQUEST_BYTES:
            error = InvalidRequest.of_field("request", f"longer than {MAX_REQUEST_BYTES} bytes")
            error.prepared = prepared
            raise error
        if deadline_seconds is None:
            async with self._in_flight:
                return await self._exchange(prepared, self._timeout_seconds)
        now = asyncio.get_running_loop().time
        ends = now() + deadline_seconds
        try:
            async with asyncio.timeout_at(ends):
                await self._in_flight.acquire()
        except TimeoutError:
            raise _not_sent(prepared) from None
        try:
            return await self._exchange(prepared, ends - now())
        finally:
            self._in_flight.release()

    async def stream(self, prepared: Prepared) -> AsyncGenerator[bytes, None]:
        """Signs these bytes afresh and gives the messages of a streaming method as they come, not parsed.

        The hub sends on as messages are taken. It has no deadline; closing the generator ends the call. Raises
        HubError; its `prepared` is this request.
        """
        entries = self._signer.sign(prepared.path, prepared.body)
        method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(prepared.path)
        call = method(prepared.body, metadata=entries)
        try:
            async for body in call:
                yield body
        except grpc.aio.AioRpcError as failure:
            raise failure_of(prepared, entries, failure, self._keys) from None
        finally:
            call.cancel()

    async def upload(
        self,
        prepared: Prepared,
        messages: AsyncGenerator[bytes, None],
        *,
        deadline_seconds: float | None = None,
    ) -> AnswerBytes:
        """Signs the first message of an upload, `prepared`, sends it and those that follow, and gives the answer.

        Raises HubError as `send` does, and what `messages` raises; then nothing was taken in.
        """
        entries = self._signer.sign(prepared.path, prepared.body)
        broken: list[BaseException] = []

        async def all_messages() -> AsyncGenerator[bytes, None]:
            yield prepared.body
            try:
                async for message in messages:
                    yield message
            except Exception as error:
                broken.append(error)
                call.cancel()
                raise

        method: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = self._channel.stream_unary(prepared.path)
        timeout = self._timeout_seconds if deadline_seconds is None else deadline_seconds
        async with self._in_flight:
            call = method(all_messages(), metadata=entries, timeout=timeout)
            try:
                return await self._answer(prepared, entries, call)
            except (HubError, asyncio.CancelledError):
                if broken:
                    raise broken[0] from None
                raise

    async def close(self) -> None:
        """Closes the connection; calls still under way are cancelled and their outcome is unknown."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _exchange(self, prepared: Prepared, timeout_seconds: float) -> AnswerBytes:
        entries = self._signer.sign(prepared.path, prepared.body)
        call = self._call(prepared.path)(prepared.body, metadata=entries, timeout=timeout_seconds)
        return await self._answer(prepared, entries, call)

    async def _answer(self, prepared: Prepared, entries: Entries, call: Answering) -> AnswerBytes:
        try:
            body = await call
            trailing: Trailing = list(await call.trailing_metadata())
            return AnswerBytes(body, acceptance(prepared, entries, body, trailing, self._keys))
        except grpc.aio.AioRpcError as failure:
            # gRPC's own traceback is of no use to a till, and its text is in the message already.
            raise failure_of(prepared, entries, failure, self._keys) from None
        except HubError as error:
            error.prepared = prepared
            raise

    def _call(self, path: str) -> Call:
        if path not in self._calls:
            # No serialiser on either side: the signatures are over exactly these bytes.
            self._calls[path] = self._channel.unary_unary(path)
        return self._calls[path]


def prepare_call(method: str | MethodDescriptor, request: Message | bytes) -> Prepared:
    """Serialises any request once."""
    path = method if isinstance(method, str) else f"/{method.containing_service.full_name}/{method.name}"
    if isinstance(request, bytes):
        return Prepared(path, request)
    request_id = getattr(request, "request_id", "")
    return Prepared(path, request.SerializeToString(), (request_id,) if request_id else ())


def parse_answer(prepared: Prepared, answer: AnswerBytes, answer_type: type[T]) -> T:
    """The answer's message; raises OutcomeUnknown where the bytes are not one."""
    try:
        return answer_type.FromString(answer.body)
    except DecodeError:
        raise unreadable(f"the answer is not a {answer_type.DESCRIPTOR.name}", prepared, answer) from None


def unreadable(detail: str, prepared: Prepared, answer: AnswerBytes) -> OutcomeUnknown:
    """The error of an answer that is the hub's but that this version cannot read."""
    return OutcomeUnknown(Refusal("", Reason.NO_ANSWER, detail), receipt=answer.receipt, prepared=prepared)


@contextmanager
def readable(prepared: Prepared, answer: AnswerBytes) -> Iterator[None]:
    """Turns what `from_messages` raises over an answer that makes no sense into `unreadable`."""
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise unreadable(f"the answer makes no sense: {error}", prepared, answer) from error


def _not_sent(prepared: Prepared) -> OutcomeUnknown:
    # Unknown all the same: an earlier try of this request may have been decided.
    message = "not sent: other calls were under way until the deadline"
    return OutcomeUnknown(Refusal("DEADLINE_EXCEEDED", Reason.NO_ANSWER, message), prepared=prepared)
