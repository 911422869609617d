"""The gate's streams over real gRPC: admission, errors, an end for whoever leaves, and back-pressure."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import grpc.aio
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from exchange.rpc.calls import ANYONE, COLLECT_CALLS, OLDER, CallFigures, Gate, Incoming, Pages, Stream
from exchange.rpc.errors import error
from exchange.rpc.receipts import ReceiptSigner
from exchange.rpc.signatures import AdmissibleKey, Admission, Caller
from merchant_adapter import Busy, Forbidden, HubError, Key, OutcomeUnknown, Prepared, Untrusted
from merchant_adapter.channel import SignedChannel
from tests.waiting import WAIT_SECONDS
from tests.wire.adapter_fake_hub import AUDIENCE, CAFE_KEY, HUB_KEYS

SERVICE: Final = "test.Streams"
CALL: Final = Prepared(f"/{SERVICE}/WatchPages", b"request")
PAGE: Final = bytes(64 * 1024)
CAFE: Final = Caller(CAFE_KEY.key_id, "cafe", 1, "", frozenset({"partner"}))

_T = TypeVar("_T")


@dataclass
class Keys:
    """The keys of this moment."""

    active: dict[str, AdmissibleKey] = field(
        default_factory=lambda: {CAFE.key_id: AdmissibleKey(CAFE, CAFE_KEY.public_key, 0, 2**40)}
    )

    async def find(self, key_id: str) -> AdmissibleKey | None:
        return self.active.get(key_id)


def streaming(
    pages: Pages,
    work: Callable[[SignedChannel], Awaitable[_T]],
    *,
    roles: frozenset[str] = ANYONE,
    key: Key = CAFE_KEY,
    figures: list[CallFigures] | None = None,
) -> _T:
    """What `work` does with a server of one stream."""

    async def run() -> _T:
        watched = figures if figures is not None else []
        gate = Gate(Admission(AUDIENCE, Keys()), ReceiptSigner(Ed25519PrivateKey.generate()), watched.append)
        server = grpc.aio.server()
        stream = Stream("WatchPages", roles, pages, max_bytes=100)
        server.add_generic_rpc_handlers((gate.service(SERVICE, (stream,)),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with SignedChannel.open(
                f"127.0.0.1:{port}", AUDIENCE, key=key, hub_keys=HUB_KEYS
            ) as channel:
                return await asyncio.wait_for(work(channel), WAIT_SECONDS)
        finally:
            await server.stop(None)

    return asyncio.run(run())


async def taken(channel: SignedChannel, prepared: Prepared = CALL) -> list[bytes]:
    return [body async for body in channel.stream(prepared)]


async def three(incoming: Incoming) -> AsyncGenerator[bytes, None]:
    for number in range(3):
        yield incoming.caller.owner.encode() + bytes((number,))


def test_pages_come_in_order_and_the_stream_ends_where_the_handler_does() -> None:
    figures: list[CallFigures] = []

    pages = streaming(three, taken, figures=figures)

    assert pages == [b"cafe\0", b"cafe\1", b"cafe\2"]
    assert figures == [(CALL.path, "OK")]


def test_a_stranger_a_role_and_a_size_are_refused_before_the_first_page() -> None:
    called: list[Incoming] = []

    async def never(incoming: Incoming) -> AsyncGenerator[bytes, None]:
        called.append(incoming)
        yield b"page"

    async def long(channel: SignedChannel) -> list[bytes]:
        return await taken(channel, Prepared(CALL.path, bytes(101)))

    with pytest.raises(Untrusted, match="SIGNATURE_INVALID"):
        streaming(never, taken, key=Key.generate("cafe"))
    with pytest.raises(Forbidden):
        streaming(never, taken, roles=frozenset({"auditor"}))
    with pytest.raises(HubError, match="at most 100 bytes"):
        streaming(never, long)
    assert called == []


def test_an_error_ends_the_stream_after_the_pages_before_it() -> None:
    async def one_and_busy(_: Incoming) -> AsyncGenerator[bytes, None]:
        yield b"one"
        raise error("HUB_BUSY")

    figures: list[CallFigures] = []
    pages: list[bytes] = []

    async def take(channel: SignedChannel) -> None:
        async for body in channel.stream(CALL):
            pages.append(body)  # noqa: PERF401  # what came before the error counts

    with pytest.raises(Busy) as refused:
        streaming(one_and_busy, take, figures=figures)

    assert pages == [b"one"]
    assert refused.value.reason == "HUB_BUSY"
    assert refused.value.retry_after_seconds == 1.0
    assert figures == [(CALL.path, "HUB_BUSY")]


def test_a_defect_says_an_incident_id_and_no_more() -> None:
    async def defect(_: Incoming) -> AsyncGenerator[bytes, None]:
        yield b"one"
        raise RuntimeError("a secret of the hub")

    with pytest.raises(OutcomeUnknown) as broken:
        streaming(defect, taken)

    assert broken.value.reason == "INTERNAL"
    assert broken.value.metadata.keys() == {"incident_id"}
    assert "secret" not in str(broken.value)


def test_a_caller_that_leaves_closes_the_handler() -> None:
    closed = asyncio.Event()
    figures: list[CallFigures] = []

    async def endless(_: Incoming) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"page"
                await asyncio.sleep(0)
        finally:
            closed.set()

    async def leave(channel: SignedChannel) -> None:
        stream = channel.stream(CALL)
        await anext(stream)
        await stream.aclose()
        await closed.wait()

    streaming(endless, leave, figures=figures)

    assert figures == [(CALL.path, "CANCELLED")]


def test_a_caller_that_takes_nothing_is_sent_a_few_pages_and_the_rest_when_it_takes_them() -> None:
    made: list[int] = []

    async def pages(_: Incoming) -> AsyncGenerator[bytes, None]:
        for number in range(1000):
            made.append(number)
            yield PAGE

    async def stall(channel: SignedChannel) -> tuple[int, int]:
        stream = channel.stream(CALL)
        await anext(stream)
        before = -1
        while len(made) > before:  # until nothing more is made for it
            before = len(made)
            await asyncio.sleep(0.3)
        rest = [body async for body in stream]
        return before, len(rest)

    ahead, rest = streaming(pages, stall)

    # Of 62.5 MiB. gRPC lets a receiver's window grow with the connection's speed, at most to 16 MiB, and the
    # kernel's buffers at both ends of the connection hold up to 10 MiB more.
    assert ahead * len(PAGE) < 32 * 1024 * 1024
    assert rest == 999


class Left:
    """In a cycle, which only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


async def call_often(channel: SignedChannel, calls: int) -> None:
    for _ in range(calls):
        with suppress(Untrusted):
            await taken(channel)


@pytest.mark.parametrize("key", [CAFE_KEY, Key.generate("cafe")], ids=["answered", "refused"])
def test_what_calls_left_in_cycles_is_collected(key: Key) -> None:
    gc.disable()
    try:
        left = weakref.ref(Left())
        streaming(three, partial(call_often, calls=COLLECT_CALLS - 1), key=key)
        assert left() is not None
        streaming(three, partial(call_often, calls=COLLECT_CALLS), key=key)
        assert left() is None
    finally:
        gc.enable()


def test_what_was_in_use_when_it_was_looked_at_is_collected_later() -> None:
    gc.disable()
    try:
        held = Left()
        left = weakref.ref(held)
        gc.collect(0)
        del held
        streaming(three, partial(call_often, calls=COLLECT_CALLS * OLDER))
        assert left() is None
    finally:
        gc.enable()
