"""The one way a call enters and leaves the hub: admission, role, handler, receipt, errors.

Handlers get and give bytes, because a signature is over the bytes received and a receipt over the bytes sent.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Final, NamedTuple

import grpc
import grpc.aio

from exchange.batcher import QueueFull
from exchange.core.evidence import Call
from exchange.rpc.errors import (
    CallError,
    InvalidField,
    error,
    grpc_code,
    internal_error,
    invalid_field_status,
)
from exchange.rpc.receipts import ReceiptSigner
from exchange.rpc.signatures import Admission, Caller
from exchange.store.failures import StoreUnavailable, without_values
from tongdui.signing import SignedRequest

MAX_MESSAGE: Final = 64 * 1024
MAX_BATCH_MESSAGE: Final = 4 * 1024 * 1024

REPLAYED: Final = ("tongdui-replayed", "1")
"""The hint that an answer was given before."""

ANYONE: Final = frozenset({"partner", "operator", "finance_maker", "finance_checker", "auditor"})

COLLECT_CALLS: Final = 32
"""Calls after which what they left behind is collected.

gRPC leaves nine objects in a cycle with every call, and its message with them: a third of a MiB where it is a large
batch. The collector by itself waits for 100,000 objects, for the sake of large batches (`server.py`): ten thousand
calls and gigabytes, and then every caller waits a tenth of a second for it.
"""

OLDER: Final = 8
"""Collections after which one also looks at what the last ones found in use, and of these the one that looks at all."""

_log = logging.getLogger(__name__)


class Incoming(NamedTuple):
    """An admitted call."""

    caller: Caller
    path: str
    signed: SignedRequest
    body: bytes
    hints: list[tuple[str, str]]
    """Unsigned trailing metadata for people, filled by the handler."""

    def evidence(self) -> Call:
        """What the journal keeps of it."""
        signed = self.signed
        return Call(
            self.caller.partner_id,
            signed.key_id,
            self.path,
            signed.params_text,
            signed.signature,
            self.body,
        )


Handler = Callable[[Incoming], Awaitable[bytes]]
Metadata = tuple[tuple[str, str | bytes], ...]


class Method(NamedTuple):
    """One rpc: who may call it, whether its answer carries a receipt, and how large its request may be."""

    name: str
    roles: frozenset[str]
    handler: Handler
    is_write: bool
    max_bytes: int = MAX_MESSAGE


Pages = Callable[[Incoming], AsyncGenerator[bytes, None]]


class Stream(NamedTuple):
    """One rpc that answers with pages for as long as its caller likes. It is a read: no receipt."""

    name: str
    roles: frozenset[str]
    pages: Pages
    max_bytes: int = MAX_MESSAGE

    @property
    def is_write(self) -> bool:
        """Never."""
        return False


class CallFigures(NamedTuple):
    """How one call ended, for the metrics."""

    path: str
    outcome: str


class Gate:
    """Puts every method behind admission and turns whatever happens into an answer or a status."""

    def __init__(
        self, admission: Admission, receipts: ReceiptSigner, observe: Callable[[CallFigures], None]
    ) -> None:
        """Takes who checks callers, who signs answers, and who watches."""
        self._admission = admission
        self._receipts = receipts
        self._observe = observe
        self._calls = 0

    def service(self, name: str, methods: Sequence[Method | Stream]) -> grpc.GenericRpcHandler:
        """A gRPC service of these methods, with bytes in and bytes out."""
        handlers = {method.name: self._handler(f"/{name}/{method.name}", method) for method in methods}
        return grpc.method_handlers_generic_handler(name, handlers)

    def _handler(self, path: str, method: Method | Stream) -> grpc.RpcMethodHandler[bytes, bytes]:
        if isinstance(method, Stream):
            return grpc.unary_stream_rpc_method_handler(self._streaming(path, method))
        return grpc.unary_unary_rpc_method_handler(self._unary(path, method))

    def _unary(
        self, path: str, method: Method
    ) -> Callable[[bytes, grpc.aio.ServicerContext[bytes, bytes]], Awaitable[bytes]]:
        async def answer(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            incoming: Incoming | None = None
            try:
                with _only_call_errors(path):
                    metadata: Iterable[tuple[str, str | bytes]] = context.invocation_metadata() or ()
                    caller, signed = await self._admission.admit(path, metadata, body)
                    incoming = Incoming(caller, path, signed, body, [])
                    response = await _handle(method, incoming)
                    context.set_trailing_metadata(self._trailing(method, incoming, response))
            except CallError as refused:
                self._ended(CallFigures(path, refused.reason))
                trailing: Metadata = (("grpc-status-details-bin", refused.details),)
                if incoming is not None and refused.has_receipt:
                    trailing += self._trailing(method, incoming, refused.details)
                await context.abort(grpc_code(refused.status), refused.status.message, trailing)
                raise AssertionError("abort always raises") from refused
            self._ended(CallFigures(path, "OK"))
            return response

        return answer

    def _ended(self, figures: CallFigures) -> None:
        self._observe(figures)
        self._calls += 1
        if self._calls % COLLECT_CALLS:
            return
        collections = self._calls // COLLECT_CALLS
        if collections % OLDER:
            gc.collect(0)
        else:
            gc.collect(1 if collections % OLDER**2 else 2)

    def _streaming(
        self, path: str, method: Stream
    ) -> Callable[[bytes, grpc.aio.ServicerContext[bytes, bytes]], Awaitable[None]]:
        async def answer(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
            try:
                with _only_call_errors(path):
                    metadata: Iterable[tuple[str, str | bytes]] = context.invocation_metadata() or ()
                    caller, signed = await self._admission.admit(path, metadata, body)
                    incoming = Incoming(caller, path, signed, body, [])
                    _check_allowed(method, incoming)
                    async with aclosing(method.pages(incoming)) as pages:
                        async for page in pages:
                            await context.write(page)
            except CallError as refused:
                self._ended(CallFigures(path, refused.reason))
                trailing: Metadata = (("grpc-status-details-bin", refused.details),)
                await context.abort(grpc_code(refused.status), refused.status.message, trailing)
                raise AssertionError("abort always raises") from refused
            except asyncio.CancelledError:  # the caller has had enough, or is gone
                self._ended(CallFigures(path, "CANCELLED"))
                raise
            self._ended(CallFigures(path, "OK"))

        return answer

    def _trailing(self, method: Method, incoming: Incoming, answer: bytes) -> Metadata:
        """The receipt of a write, and unsigned hints."""
        hints = tuple(incoming.hints)
        if not method.is_write:
            return hints
        return hints + self._receipts.receipt(incoming.path, incoming.signed, answer)


async def _handle(method: Method, incoming: Incoming) -> bytes:
    _check_allowed(method, incoming)
    return await method.handler(incoming)


def _check_allowed(method: Method | Stream, incoming: Incoming) -> None:
    if not method.roles & incoming.caller.roles:
        raise error("ROLE_REQUIRED")
    if len(incoming.body) > method.max_bytes:
        raise InvalidField("message", f"at most {method.max_bytes} bytes")


@contextmanager
def _only_call_errors(path: str) -> Iterator[None]:
    """Whatever is raised inside leaves as a `CallError`: gRPC would send any other exception's text out."""
    try:
        yield
    except CallError:
        raise
    except InvalidField as problem:
        raise CallError(invalid_field_status(problem), "INVALID_FIELD") from problem
    except QueueFull as full:
        raise error("HUB_BUSY") from full
    except StoreUnavailable as away:
        # A line, not a stack: while the database is away every call ends here.
        _log.warning("the store is unavailable: %s in %s", type(away.__cause__).__name__, path)
        raise error("HUB_UNAVAILABLE") from away
    except Exception as defect:
        call_error, incident_id = internal_error()
        _log.error("incident %s in %s: %s", incident_id, path, without_values(defect))
        raise call_error from defect
