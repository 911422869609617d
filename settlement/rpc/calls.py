"""The one way a call enters and leaves settlement: admission, handler in a thread, receipt, errors.

Handlers get and give bytes, because a signature is over the bytes received and a receipt over the bytes sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

import grpc
import grpc.aio

from settlement.rpc.admission import ROLE_PARTNER, Admission, Incoming
from settlement.rpc.errors import UNSIGNED, CallError, internal, invalid_field, unavailable
from settlement.rpc.signed_answers import ReceiptSigner
from settlement.rpc.transport import MAX_MESSAGE
from settlement.store.reads import DatabaseUnavailable

REPLAYED: Final = ("tongdui-replayed", "1")
"""The hint that an answer was given before."""

Metadata = tuple[tuple[str, str | bytes], ...]
Context = grpc.aio.ServicerContext[bytes, bytes]
R = TypeVar("R")

_log = logging.getLogger("settlement.rpc")


class Lane:
    """Threads for one kind of work, and a bound on how much of it waits for one."""

    def __init__(self, threads: ThreadPoolExecutor, most_calls: int) -> None:
        """`most_calls` running and waiting."""
        self._threads = threads
        self._free = most_calls

    async def run(self, work: Callable[[], R]) -> R:
        """What `work` gives, done in a thread. Raises CallError at once where too many wait already."""
        if self._free == 0:
            raise unavailable()
        self._free -= 1
        done = asyncio.get_running_loop().run_in_executor(self._threads, work)
        done.add_done_callback(self._give_back)  # with the thread's end, which a caller may not wait for
        return await done

    def _give_back(self, _: Awaitable[R]) -> None:
        self._free += 1


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer's bytes, and whether they were given to this request before."""

    body: bytes
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class Method:
    """One unary rpc.

    Attributes:
        answer: gives the answer to an admitted call; runs in a thread.
        has_receipt: whether the answer, or the refusal, carries one: all writes, and reads that are evidence.
        max_bytes: how large a request may be.
    """

    name: str
    answer: Callable[[Incoming], Answered]
    has_receipt: bool = False
    max_bytes: int = MAX_MESSAGE


class Messages(Protocol):
    """The messages of an upload, as they come."""

    def __aiter__(self) -> Messages: ...

    async def __anext__(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Upload:
    """One rpc that takes a stream. Its signature is over the first message.

    Attributes:
        answer: gives the answer to an admitted call from the messages that follow; runs on the loop.
    """

    name: str
    answer: Callable[[Incoming, Messages], Awaitable[Answered]]
    first_seconds: float = 30.0


class Gate:
    """Puts every method behind admission and turns whatever happens into an answer or a status."""

    def __init__(self, admission: Admission, receipts: ReceiptSigner, lane: Lane) -> None:
        """`lane` is where admission and unary methods do their work."""
        self._admission = admission
        self._receipts = receipts
        self._lane = lane

    def service(self, name: str, methods: Sequence[Method | Upload]) -> grpc.GenericRpcHandler:
        """A gRPC service of these methods, with bytes in and bytes out."""
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            method.name: self._unary(f"/{name}/{method.name}", method)
            if isinstance(method, Method)
            else self._upload(f"/{name}/{method.name}", method)
            for method in methods
        }
        return grpc.method_handlers_generic_handler(name, handlers)

    def _unary(self, path: str, method: Method) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def handle(body: bytes, context: Context) -> bytes:
            sealer = _Sealer(self._receipts, context)

            def work() -> Answered:
                incoming = self._admission.admit(path, _metadata(context), body)
                if method.has_receipt:
                    sealer.incoming = incoming
                _check_called(incoming, method.max_bytes)
                return method.answer(incoming)

            return await sealer.answer(path, partial(self._lane.run, work))

        return grpc.unary_unary_rpc_method_handler(handle)

    def _upload(self, path: str, method: Upload) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def handle(messages: Messages, context: Context) -> bytes:
            sealer = _Sealer(self._receipts, context)

            async def work() -> Answered:
                header = await _first(messages, method.first_seconds)
                admit = partial(self._admission.admit, path, _metadata(context), header)
                incoming = sealer.incoming = await self._lane.run(admit)
                _check_called(incoming, MAX_MESSAGE)
                return await method.answer(incoming, messages)

            return await sealer.answer(path, work)

        return grpc.stream_unary_rpc_method_handler(handle)


@dataclass(slots=True)
class _Sealer:
    """Ends one call: with an answer under a receipt, or with a status under one."""

    receipts: ReceiptSigner
    context: Context
    incoming: Incoming | None = None
    """The call, once it is admitted and if its answer carries a receipt."""

    async def answer(self, path: str, work: Callable[[], Awaitable[Answered]]) -> bytes:
        """What `work` gives, or the refusal of whatever it raises."""
        try:
            with _only_call_errors(path):
                answered = await work()
                hints = (REPLAYED,) if answered.is_repeat else ()
                self.context.set_trailing_metadata(hints + self._receipt(answered.body))
                return answered.body
        except CallError as refused:
            details = refused.status.SerializeToString()
            trailing: Metadata = (("grpc-status-details-bin", details),)
            if refused.reason not in UNSIGNED:
                trailing += self._receipt(details)
            await self.context.abort(refused.code, refused.status.message, trailing)
            raise AssertionError("abort raises") from refused

    def _receipt(self, answer: bytes) -> Metadata:
        if self.incoming is None:
            return ()
        return self.receipts.receipt(self.incoming.path, self.incoming.signed, answer)


async def _first(messages: Messages, seconds: float) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await anext(messages)
    except (StopAsyncIteration, TimeoutError):
        raise CallError("SIGNATURE_INVALID") from None


def _metadata(context: Context) -> Metadata:
    return tuple(context.invocation_metadata() or ())


def _check_called(incoming: Incoming, max_bytes: int) -> None:
    if not incoming.caller.sees_all and ROLE_PARTNER not in incoming.caller.roles:
        raise CallError("ROLE_REQUIRED")
    if len(incoming.body) > max_bytes:
        raise invalid_field("message", f"at most {max_bytes} bytes")


@contextmanager
def _only_call_errors(path: str) -> Iterator[None]:
    """Whatever is raised inside leaves as a `CallError`: gRPC would send any other exception's text out."""
    try:
        yield
    except CallError:
        raise
    except DatabaseUnavailable as trouble:
        _log.warning("%s: the database does not answer", path)
        raise unavailable() from trouble
    except Exception as defect:
        refused, incident_id = internal()
        _log.exception("%s: incident %s", path, incident_id)
        raise refused from defect
