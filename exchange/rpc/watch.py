"""WatchEntries: the journal as a stream that goes on where its reader stopped.

A stream holds a place in the ledger's order and, while it is being sent, one page. gRPC's flow control is the
back-pressure: the next page is looked for when the one before it was taken, and no snapshot of the database is open
in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Final

from exchange.rpc.calls import ANYONE, Incoming, Stream
from exchange.rpc.errors import CallError, error
from exchange.rpc.lanes import Lane
from exchange.rpc.reading import MAX_ENTRY_INDEX, from_entry, seen_by
from exchange.rpc.signatures import Caller
from exchange.rpc.tail import Reader, Recent, Tail, Watcher, place_of, recent
from exchange.rpc.translate import check_range, parse
from exchange.store.failures import StoreUnavailable, without_values
from exchange.store.reads.accounts import FullEntry, Place
from exchange.store.reads.snapshots import Snapshots
from exchange.store.reads.stream import START, Chunk, CursorAhead, read_chunk
from tongdui.exchange.v1 import journal_service_pb2 as messages

MAX_STREAMS: Final = 256
"""Streams of one hub."""

MAX_KEY_STREAMS: Final = 8
"""Streams of one key."""

PAGE: Final = 200
"""Entries of one response, and of a reading for one stream: nothing is kept while a response waits to be taken."""

TAIL_CHUNK: Final = 500
"""Entries of one reading for all who wait at the journal's end."""

PAGE_BYTES: Final = 256 * 1024
"""A response ends with the entry that fills it so far."""

CHECK_SECONDS: Final = 1.0
"""How often every open stream's key is looked at; revocation must work in every process within 5 s."""

MOVE_SECONDS: Final = 30.0
"""After so long without entries for its caller, a stream sends the cursor alone, if it moved."""

STALE_SECONDS: Final = 1.0
"""A page that took longer to send leaves its stream behind the journal's end: it catches up by itself."""

MAX_SEQUENCE: Final = 2**63 - 1

_log = logging.getLogger(__name__)


class EntryWatch:
    """Streams entries to whoever may see them."""

    def __init__(
        self,
        snapshots: Snapshots,
        lane: Lane,
        tail_lane: Lane,
        recheck: Callable[[Caller], Awaitable[None]],
    ) -> None:
        """Takes who reads, where streams read, where the tail does, and what raises once a caller has to go."""
        self._snapshots = snapshots
        self._lane = lane
        self._recheck = recheck
        self._tail = Tail(partial(self._read, tail_lane, TAIL_CHUNK))
        self._open: set[Watcher] = set()
        self._by_key: Counter[str] = Counter()
        self._stopping = False

    def methods(self) -> tuple[Stream, ...]:
        """The rpcs it serves."""
        return (Stream("WatchEntries", ANYONE, self._watch),)

    def notice(self) -> None:
        """This hub has posted entries."""
        self._tail.notice()

    async def run(self) -> None:
        """Reads and looks after the streams for ever."""
        await asyncio.gather(self._tail.run(), self._look_after())

    def stop(self) -> None:
        """Ends every stream, and lets none begin."""
        self._stopping = True
        for watcher in self._open:
            watcher.end(error("HUB_UNAVAILABLE"))

    async def _watch(self, incoming: Incoming) -> AsyncGenerator[bytes, None]:
        """Pages without end. Raises CURSOR_AHEAD, HUB_BUSY, or why the stream has to end."""
        request = parse(messages.WatchEntriesRequest, incoming.body)
        place = to_place(request.after) if request.HasField("after") else START
        caller = incoming.caller
        reader = Reader(seen_by(caller), caller.owner)
        watcher = Watcher(caller, reader, place, place, asyncio.get_running_loop().time())
        with self._opened(watcher), self._tail.followed_by(reader):
            try:
                async with aclosing(self._pages(watcher)) as pages:
                    async for page in pages:
                        yield page
            except CursorAhead as ahead:
                raise error("CURSOR_AHEAD", last_sequence=str(ahead.last_sequence)) from ahead

    @contextmanager
    def _opened(self, watcher: Watcher) -> Iterator[None]:
        key_id = watcher.caller.key_id
        if self._stopping:
            raise error("HUB_UNAVAILABLE")
        if len(self._open) >= MAX_STREAMS or self._by_key[key_id] >= MAX_KEY_STREAMS:
            raise error("HUB_BUSY")
        self._open.add(watcher)
        self._by_key[key_id] += 1
        try:
            yield
        finally:
            self._open.discard(watcher)
            self._by_key[key_id] -= 1
            if not self._by_key[key_id]:
                del self._by_key[key_id]

    async def _pages(self, watcher: Watcher) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        is_at_end = False
        while True:
            if watcher.ending is not None:
                raise watcher.ending
            found = self._tail.window(watcher.reader, watcher.place)
            if found is None and is_at_end and watcher.place >= self._tail.end:
                await self._tail.wait(watcher)
            elif found is None:
                chunk = await self._read(self._lane, PAGE, watcher.place, watcher.reader.posters)
                found, is_at_end = recent(chunk), chunk.is_last
            page = await self._next_page(watcher, found)
            if page is not None:
                begun = loop.time()
                yield page
                watcher.sent, watcher.sent_time = watcher.place, loop.time()
                is_at_end = is_at_end and watcher.sent_time - begun < STALE_SECONDS

    async def _next_page(self, watcher: Watcher, found: Recent | None) -> bytes | None:
        """What is to be sent of a chunk, and the watcher's place behind it."""
        entries = found.following(watcher.reader, watcher.place) if found is not None else []
        if found is not None and entries:
            whole = (entries[:PAGE], watcher.reader, found.chunk.end if len(entries) <= PAGE else None)
            page, watcher.place = await self._lane.run(lambda: to_page(*whole))
            return page
        if found is not None:
            watcher.place = max(watcher.place, found.chunk.end)
        if not self._is_silent(watcher):
            return None
        return messages.WatchEntriesResponse(cursor=from_place(watcher.place)).SerializeToString()

    def _is_silent(self, watcher: Watcher) -> bool:
        """Whether it has moved on without a word for so long that the cursor alone is worth sending."""
        now = asyncio.get_running_loop().time()
        return watcher.place > watcher.sent and now - watcher.sent_time >= MOVE_SECONDS

    async def _read(self, lane: Lane, limit: int, after: Place, posters: frozenset[int] | None) -> Chunk:
        return await lane.run(lambda: self._snapshots.read(lambda it: read_chunk(it, after, posters, limit)))

    async def _look_after(self) -> None:
        """Ends the streams whose keys are gone, and has the silent ones speak."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            for watcher in tuple(self._open):
                try:
                    await self._recheck(watcher.caller)
                except (CallError, StoreUnavailable) as gone:
                    watcher.end(gone)
                except Exception as failure:  # noqa: BLE001  # the others must be looked after too; it is logged
                    _log.error("a stream's key could not be checked: %s", without_values(failure))
                    watcher.end(error("HUB_UNAVAILABLE"))
                if self._is_silent(watcher):
                    watcher.wake()


def to_page(entries: Sequence[FullEntry], reader: Reader, end: Place | None) -> tuple[bytes, Place]:
    """A response with the first of the entries that fit, and the place behind it: `end` where all of them do."""
    page = messages.WatchEntriesResponse()
    size = 0
    for full in entries:
        if size >= PAGE_BYTES:
            end = None
            break
        entry = page.entries.add()
        entry.CopyFrom(from_entry(_seen(full, reader)))
        size += entry.ByteSize()
    place = end or place_of(entries[len(page.entries) - 1])
    page.cursor.CopyFrom(from_place(place))
    return page.SerializeToString(), place


def _seen(full: FullEntry, reader: Reader) -> FullEntry:
    """An entry as its reader may see it: a partner is shown the lines it pays or receives."""
    if reader.partner_id is None:
        return full
    own = [line for line in full.lines if reader.code in (line.payer_code, line.payee_code)]
    return full._replace(lines=own)


def to_place(cursor: messages.EntryCursor) -> Place:
    """A cursor of a caller. Raises `InvalidField`."""
    return Place(
        check_range("after.batch_sequence", cursor.batch_sequence, 0, MAX_SEQUENCE),
        check_range("after.entry_index", cursor.entry_index, 0, MAX_ENTRY_INDEX),
    )


def from_place(place: Place) -> messages.EntryCursor:
    """A place for the wire."""
    return messages.EntryCursor(batch_sequence=place.batch_sequence, entry_index=place.entry_index)
