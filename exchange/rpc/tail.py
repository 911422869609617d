"""The end of the journal as one hub sees it: read once for all who wait there, however many they are.

Only while somebody waits is anything read: at once after a batch of this hub, and every 0.15 s for what other hubs
posted. A watcher keeps nothing but its place. What is newest stays in a small window; a watcher that fell behind the
window reads the journal by itself (`exchange.rpc.watch`).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from exchange.rpc.signatures import Caller
from exchange.store.reads.accounts import FullEntry, Place
from exchange.store.reads.stream import START, Chunk

POLL_SECONDS: Final = 0.15
"""How long another hub's batch may stay unnoticed."""

GATHER_SECONDS: Final = 0.02
"""Between two readings at least: batches that commit in between share one."""

WINDOW: Final = 8
"""Chunks that are kept for watchers that are a little behind."""

ReadChunk = Callable[[Place, frozenset[int] | None], Awaitable[Chunk]]


class Reader(NamedTuple):
    """Whose eyes: a partner, which sees the entries it posted, or with no number the operator's people."""

    partner_id: int | None
    code: str

    @property
    def posters(self) -> frozenset[int] | None:
        """Whose entries it sees, for a reading of its own."""
        return None if self.partner_id is None else frozenset((self.partner_id,))


@dataclass(slots=True, eq=False)
class Watcher:
    """One stream: where it is, what it last said, and why it has to end, once it has to."""

    caller: Caller
    reader: Reader
    place: Place
    """Up to which everything was handed out, or is not the reader's."""
    sent: Place
    """The last cursor sent."""
    sent_time: float
    """When, on the loop's clock."""
    ending: Exception | None = None
    sleep: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Ends its wait, if it waits."""
        if self.sleep is not None and not self.sleep.done():
            self.sleep.set_result(None)

    def end(self, why: Exception) -> None:
        """Has its stream end with an error; the first one stays."""
        self.ending = self.ending or why
        self.wake()


class Recent(NamedTuple):
    """A chunk, and its entries by who posted them."""

    chunk: Chunk
    by_code: dict[str, list[FullEntry]]

    def holds(self, reader: Reader) -> bool:
        """Whether all of the reader's entries between its two places are in it."""
        posters = self.chunk.posters
        return posters is None or (reader.partner_id is not None and reader.partner_id in posters)

    def following(self, reader: Reader, place: Place) -> list[FullEntry]:
        """The reader's entries in it after a place."""
        entries = self.chunk.entries if reader.partner_id is None else self.by_code.get(reader.code, [])
        if not entries or place_of(entries[0]) > place:
            return entries
        return [full for full in entries if place_of(full) > place]


def place_of(full: FullEntry) -> Place:
    """Where an entry stands in the ledger's order."""
    return Place(full.entry.batch_sequence, full.entry.entry_index)


def recent(chunk: Chunk) -> Recent:
    """A chunk with its entries sorted out."""
    by_code: dict[str, list[FullEntry]] = {}
    for full in chunk.entries:
        by_code.setdefault(full.entry.partner_code, []).append(full)
    return Recent(chunk, by_code)


class Tail:
    """Reads what is new for all watchers at the journal's end."""

    def __init__(self, read: ReadChunk) -> None:
        """`read(after, posters)` gives the next chunk. Make it where an event loop runs."""
        self._read = read
        self._end = START
        self._window: deque[Recent] = deque(maxlen=WINDOW)
        self._followed: Counter[int | None] = Counter()
        self._waiting: set[Watcher] = set()
        self._needed = asyncio.Event()
        self._posted = asyncio.Event()

    @property
    def end(self) -> Place:
        """The place up to which it has read."""
        return self._end

    def notice(self) -> None:
        """This hub has posted entries."""
        self._posted.set()

    @contextmanager
    def followed_by(self, reader: Reader) -> Iterator[None]:
        """As long as the context, the reader's entries are among those that are read."""
        self._followed[reader.partner_id] += 1
        try:
            yield
        finally:
            self._followed[reader.partner_id] -= 1
            if not self._followed[reader.partner_id]:
                del self._followed[reader.partner_id]
            if not self._followed:
                self._window.clear()

    def window(self, reader: Reader, place: Place) -> Recent | None:
        """The chunk that goes on after a place, if it is still kept and was read for this reader too."""
        for it in self._window:
            if it.chunk.after <= place < it.chunk.end and it.holds(reader):
                return it
        return None

    async def wait(self, watcher: Watcher) -> None:
        """Returns when there may be something for it: something after its place, or a reason to end."""
        if watcher.ending is not None or watcher.place < self._end:
            return
        if not self._waiting and watcher.place > self._end:
            # Nobody waited, so nothing was read; a watcher that read by itself went further.
            self._window.clear()
            self._end = watcher.place
        watcher.sleep = asyncio.get_running_loop().create_future()
        self._waiting.add(watcher)
        self._needed.set()
        try:
            await watcher.sleep
        finally:
            self._waiting.discard(watcher)
            watcher.sleep = None

    async def run(self) -> None:
        """Reads for ever, as long as somebody waits."""
        while True:
            if not self._waiting:
                self._needed.clear()
                await self._needed.wait()
            self._posted.clear()  # before the reading, so that a batch that it does not see is noticed
            if await self._read_on():
                await self._pause()

    async def _read_on(self) -> bool:
        """Reads the next chunk for those who wait, and says whether it was the last one."""
        posters = None if None in self._followed else frozenset(it for it in self._followed if it is not None)
        try:
            chunk = await self._read(self._end, posters)
        except Exception as failure:  # noqa: BLE001  # whatever it is, it belongs to those who wait for it
            self._window.clear()
            self._end = START  # the next to wait says where to go on
            for watcher in self._waiting:
                watcher.end(failure)
            return True
        if chunk.end > chunk.after:
            self._hand_out(recent(chunk))
        return chunk.is_last

    def _hand_out(self, it: Recent) -> None:
        self._window.append(it)
        self._end = it.chunk.end
        for watcher in self._waiting:
            # One that stands before the chunk, or for whom it was not read, has to look by itself.
            is_covered = it.chunk.after <= watcher.place and it.holds(watcher.reader)
            if not is_covered or it.following(watcher.reader, watcher.place):
                watcher.wake()
            else:
                watcher.place = max(watcher.place, it.chunk.end)

    async def _pause(self) -> None:
        await asyncio.sleep(GATHER_SECONDS)
        try:
            async with asyncio.timeout(POLL_SECONDS - GATHER_SECONDS):
                await self._posted.wait()
        except TimeoutError:
            return
