"""The service of WatchEntries on a real ledger: pages, the cursor alone, and how a stream ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from exchange.registrar import Actor
from exchange.rpc import watch as watch_module
from exchange.rpc.calls import Incoming
from exchange.rpc.errors import CallError, error
from exchange.rpc.lanes import Lane
from exchange.rpc.signatures import Caller
from exchange.rpc.watch import EntryWatch
from exchange.store.reads.snapshots import Snapshots
from tests.builders import earn
from tests.postgres.ledger_at_work import AUDIENCE, CHEN, Office
from tests.postgres.shop import Shop, open_shop
from tests.waiting import WAIT_SECONDS
from tongdui.exchange.v1.journal_service_pb2 import EntryCursor, WatchEntriesRequest, WatchEntriesResponse
from tongdui.signing import SignedRequest


@pytest.fixture
def shop(office: Office) -> Shop:
    return open_shop(office, 2)


async def still_there(_: Caller) -> None:
    return None


@asynccontextmanager
async def watching(
    office: Office, recheck: Callable[[Caller], Awaitable[None]] = still_there
) -> AsyncIterator[EntryWatch]:
    lanes = Lane("stream", 1, 8), Lane("tail", 1, 1)
    watch = EntryWatch(Snapshots(office.engine), *lanes, recheck)
    running = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            yield watch
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for lane in lanes:
            lane.close()


async def pages(
    watch: EntryWatch, who: Actor, request: WatchEntriesRequest | None = None
) -> AsyncIterator[WatchEntriesResponse]:
    (stream,) = watch.methods()
    caller = Caller(f"{who.owner}.key", who.owner, who.partner_id, "", frozenset({"partner"}))
    signed = SignedRequest("", AUDIENCE, "params", 0, 0, caller.key_id, bytes(64))
    body = (request or WatchEntriesRequest()).SerializeToString()
    async with aclosing(stream.pages(Incoming(caller, "/WatchEntries", signed, body, []))) as bodies:
        async for page in bodies:
            yield WatchEntriesResponse.FromString(page)


async def post(shop: Shop, who: Actor, *request_ids: str) -> None:
    """One batch, posted by another process as far as the watch can tell."""
    commands = [
        earn(request_id, points=1, partner_id=who.partner_id, member_id=shop.members[0])
        for request_id in request_ids
    ]
    await asyncio.to_thread(shop.office.post, *commands)


def ids(page: WatchEntriesResponse) -> list[str]:
    return [entry.request_id for entry in page.entries]


def test_each_is_streamed_what_is_its_own_and_staff_all(office: Office, shop: Shop) -> None:
    async def run() -> None:
        async with watching(office) as watch:
            streams = [pages(watch, who) for who in (shop.a, shop.b, CHEN)]
            await post(shop, shop.a, "a-1", "a-2")
            await post(shop, shop.b, "b-1")
            a, b, all_of_them = [await anext(stream) for stream in streams]
            assert (ids(a), ids(b), ids(all_of_them)) == (["a-1", "a-2"], ["b-1"], ["a-1", "a-2", "b-1"])

            coming = [asyncio.ensure_future(anext(stream)) for stream in streams]
            await asyncio.sleep(0.1)  # they wait at the end
            await post(shop, shop.b, "b-2")
            assert ids(await coming[1]) == ["b-2"]
            assert ids(await coming[2]) == ["b-2"]
            await post(shop, shop.a, "a-3")
            assert ids(await coming[0]) == ["a-3"]

    asyncio.run(run())


def test_a_stream_goes_on_after_any_entry_within_a_batch_too(office: Office, shop: Shop) -> None:
    async def run() -> list[str]:
        async with watching(office) as watch:
            await post(shop, shop.a, *(f"a-{number}" for number in range(5)))
            request = WatchEntriesRequest(after=EntryCursor(batch_sequence=1, entry_index=2))
            return ids(await anext(pages(watch, shop.a, request)))

    assert asyncio.run(run()) == ["a-3", "a-4"]


def test_a_stream_without_entries_of_its_own_is_told_how_far_it_is(
    office: Office, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "MOVE_SECONDS", 0.5)
    monkeypatch.setattr(watch_module, "CHECK_SECONDS", 0.1)

    async def run() -> WatchEntriesResponse:
        async with watching(office) as watch:
            coming = asyncio.ensure_future(anext(pages(watch, shop.b)))
            await asyncio.sleep(0.1)
            await post(shop, shop.a, "a-1", "a-2", "a-3")
            return await coming

    moved = asyncio.run(run())

    assert ids(moved) == []
    assert (moved.cursor.batch_sequence, moved.cursor.entry_index) == (1, 2)


def test_a_caller_that_is_gone_is_sent_nothing_more(
    office: Office, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "CHECK_SECONDS", 0.05)
    gone: list[str] = []

    async def recheck(caller: Caller) -> None:
        if caller.owner in gone:
            raise error("SIGNATURE_INVALID")

    async def run() -> str:
        async with watching(office, recheck) as watch:
            stays, goes = pages(watch, shop.a), pages(watch, shop.b)
            coming = [asyncio.ensure_future(anext(stream)) for stream in (stays, goes)]
            await asyncio.sleep(0.1)
            gone.append("b")
            with pytest.raises(CallError) as ended:
                await coming[1]
            await post(shop, shop.a, "a-1")
            assert ids(await coming[0]) == ["a-1"]
            return ended.value.reason

    assert asyncio.run(run()) == "SIGNATURE_INVALID"


def test_a_stopping_hub_ends_its_streams_and_begins_none(office: Office, shop: Shop) -> None:
    async def run() -> list[str]:
        async with watching(office) as watch:
            coming = asyncio.ensure_future(anext(pages(watch, shop.a)))
            await asyncio.sleep(0.1)
            watch.stop()
            reasons = []
            for waiting in (coming, anext(pages(watch, shop.b))):
                with pytest.raises(CallError) as ended:
                    await waiting
                reasons.append(ended.value.reason)
            return reasons

    assert asyncio.run(run()) == ["HUB_UNAVAILABLE"] * 2


def test_a_hub_has_only_so_many_streams_whoever_asks(
    office: Office, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "MAX_STREAMS", 2)

    async def run() -> str:
        async with watching(office) as watch:
            await post(shop, shop.a, "a-1")
            held = [pages(watch, shop.a) for _ in range(2)]
            for stream in held:
                await anext(stream)
            with pytest.raises(CallError) as refused:
                await anext(pages(watch, CHEN))
            return refused.value.reason

    assert asyncio.run(run()) == "HUB_BUSY"
