"""The tail: one reading for all who wait at the journal's end, and nobody passed over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final

import pytest

from exchange.rpc import tail as tail_module
from exchange.rpc.signatures import Caller
from exchange.rpc.tail import Reader, Tail, Watcher, place_of
from exchange.rpc.watch import PAGE_BYTES, to_page
from exchange.store.failures import StoreUnavailable
from exchange.store.reads.accounts import EntryRow, FullEntry, LineRow, Place
from exchange.store.reads.stream import START, Chunk
from tests.waiting import WAIT_SECONDS
from tongdui.exchange.v1 import journal_service_pb2

CODES: Final = {1: "cafe", 2: "books"}
NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
STAFF: Final = Reader(None, "operator")
CAFE: Final = Reader(1, "cafe")
BOOKS: Final = Reader(2, "books")


def entry(sequence: int, index: int = 0, poster: int = 1, reason: str = "") -> FullEntry:
    row: dict[str, Any] = dict.fromkeys(EntryRow._fields, "") | EntryRow._field_defaults
    row |= {
        "batch_id": sequence + 100,
        "entry_index": index,
        "batch_sequence": sequence,
        "decided_time": NOON,
        "window_date": date(2026, 1, 1),
        "partner_code": CODES[poster],
        "member_id": 1,
        "event_time": NOON,
        "points": 1,
        "rate_version": 1,
        "reason": reason,
    }
    lines = [LineRow("cafe", "", "POOL", "", 1), LineRow("books", "", "POOL", "", 2)]
    return FullEntry(EntryRow(**row), [], lines)


@dataclass
class Journal:
    """Entries in order, read as the database would be, and how often."""

    entries: list[FullEntry] = field(default_factory=list)
    limit: int = 100
    readings: list[tuple[Place, frozenset[int] | None]] = field(default_factory=list)
    failure: Exception | None = None
    was_read: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the end of each reading."""

    async def read(self, after: Place, posters: frozenset[int] | None) -> Chunk:
        self.readings.append((after, posters))
        await asyncio.sleep(0)
        self.was_read.set()
        if self.failure is not None:
            raise self.failure
        codes = CODES.values() if posters is None else [CODES[it] for it in posters]
        behind = [it for it in self.entries if place_of(it) > after]
        found = [it for it in behind if it.entry.partner_code in codes][: self.limit]
        is_last = len(found) < self.limit
        end = place_of((behind if is_last else found)[-1]) if behind else after
        return Chunk(after, end, posters, found, is_last)


def watcher(reader: Reader, place: Place = START) -> Watcher:
    caller = Caller(f"{reader.code}.key", reader.code, reader.partner_id or -2, "", frozenset())
    return Watcher(caller, reader, place, place, 0.0)


def tailing(journal: Journal, work: Callable[[Tail], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        tail = Tail(journal.read)
        running = asyncio.create_task(tail.run())
        try:
            await asyncio.wait_for(work(tail), WAIT_SECONDS)
        finally:
            running.cancel()

    asyncio.run(run())


def test_nothing_is_read_while_nobody_waits() -> None:
    journal = Journal([entry(1)])

    async def work(tail: Tail) -> None:
        with tail.followed_by(STAFF):
            tail.notice()
            await asyncio.sleep(3 * tail_module.POLL_SECONDS)
            assert journal.readings == []
            await tail.wait(watcher(STAFF))
            assert len(journal.readings) == 1

    tailing(journal, work)


def test_a_hundred_who_wait_cost_one_reading_and_only_those_concerned_are_woken() -> None:
    journal = Journal([entry(1)])

    async def work(tail: Tail) -> None:
        at_end = Place(1, 0)
        cafes, bookshop = [watcher(CAFE, at_end) for _ in range(100)], watcher(BOOKS, at_end)
        with tail.followed_by(CAFE), tail.followed_by(BOOKS):
            waits = [asyncio.ensure_future(tail.wait(it)) for it in (*cafes, bookshop)]
            await journal.was_read.wait()  # one that is under way would find what is posted now
            before = len(journal.readings)
            journal.entries += [entry(2, 0), entry(2, 1)]
            tail.notice()
            await asyncio.wait(waits[:100])

            assert len(journal.readings) == before + 1
            assert journal.readings[-1] == (at_end, frozenset({1, 2}))
            assert not waits[100].done()
            assert bookshop.place == Place(2, 1)  # moved on past what is not its own
            found = tail.window(CAFE, at_end)
            assert found is not None
            assert found.following(CAFE, at_end) == journal.entries[1:]
            bookshop.wake()
            await waits[100]

    tailing(journal, work)


def test_what_another_hub_posted_is_found_without_a_notice() -> None:
    journal = Journal([entry(1)])

    async def work(tail: Tail) -> None:
        with tail.followed_by(CAFE):
            waiting = asyncio.ensure_future(tail.wait(watcher(CAFE, Place(1, 0))))
            await asyncio.sleep(0.05)
            journal.entries.append(entry(2))
            await waiting

    tailing(journal, work)


def test_one_for_whom_a_chunk_was_not_read_looks_by_itself() -> None:
    journal = Journal([entry(1)])

    async def work(tail: Tail) -> None:
        late = watcher(BOOKS, Place(1, 0))
        with tail.followed_by(CAFE):
            waits = [asyncio.ensure_future(tail.wait(it)) for it in (watcher(CAFE, Place(1, 0)), late)]
            await asyncio.sleep(0.05)
            journal.entries += [entry(2, 0, poster=2), entry(2, 1)]
            tail.notice()
            await asyncio.wait(waits)

            assert late.place == Place(1, 0)
            assert tail.window(BOOKS, late.place) is None

    tailing(journal, work)


def test_one_behind_the_end_does_not_wait_and_one_beyond_it_is_not_passed_over() -> None:
    journal = Journal([entry(it) for it in range(1, 4)])

    async def work(tail: Tail) -> None:
        with tail.followed_by(CAFE):
            waiting = asyncio.ensure_future(tail.wait(watcher(CAFE, Place(2, 0))))
            await waiting
            assert tail.end == Place(3, 0)
            await tail.wait(watcher(CAFE, Place(1, 0)))  # returns at once

            beyond = watcher(CAFE, Place(4, 0))  # it read by itself what the tail has not yet read
            waiting = asyncio.ensure_future(tail.wait(beyond))
            await asyncio.sleep(0.05)
            journal.entries += [entry(4), entry(5)]
            tail.notice()
            await waiting
            found = tail.window(CAFE, beyond.place)
            assert found is not None
            assert found.following(CAFE, beyond.place) == [journal.entries[-1]]

    tailing(journal, work)


def test_a_failed_reading_ends_those_who_wait_and_the_next_one_is_served() -> None:
    journal = Journal([entry(1)], failure=StoreUnavailable("away"))

    async def work(tail: Tail) -> None:
        first, second = watcher(CAFE), watcher(CAFE)
        with tail.followed_by(CAFE):
            await tail.wait(first)
            assert first.ending is journal.failure
            journal.failure = None
            await tail.wait(second)
            assert second.ending is None
            assert tail.window(CAFE, START) is not None

    tailing(journal, work)


def test_a_long_absence_is_read_chunk_by_chunk_without_a_pause() -> None:
    journal = Journal([entry(it) for it in range(1, 51)], limit=5)

    async def work(tail: Tail) -> None:
        reader = watcher(CAFE)
        with tail.followed_by(CAFE):
            seen: list[FullEntry] = []
            while len(seen) < 50:
                found = tail.window(CAFE, reader.place)
                if found is None:
                    await tail.wait(reader)
                else:
                    seen += found.following(CAFE, reader.place)
                    reader.place = found.chunk.end
            assert seen == journal.entries

    tailing(journal, work)


# --- pages


def page_of(
    entries: list[FullEntry], reader: Reader, end: Place | None
) -> tuple[journal_service_pb2.WatchEntriesResponse, Place]:
    body, place = to_page(entries, reader, end)
    return journal_service_pb2.WatchEntriesResponse.FromString(body), place


def test_a_whole_page_s_cursor_is_the_end_of_what_was_read() -> None:
    page, place = page_of([entry(1), entry(2)], STAFF, Place(9, 4))

    assert place == Place(9, 4)
    assert (page.cursor.batch_sequence, page.cursor.entry_index) == place
    assert [it.batch_sequence for it in page.entries] == [1, 2]


def test_a_cut_page_s_cursor_is_its_last_entry() -> None:
    page, place = page_of([entry(1), entry(2, 3)], STAFF, None)

    assert place == Place(2, 3)
    assert len(page.entries) == 2


def test_a_page_of_large_entries_ends_when_it_is_full() -> None:
    large = [entry(it, reason="x" * (PAGE_BYTES // 3)) for it in range(1, 9)]

    page, place = page_of(large, STAFF, Place(9, 0))

    assert len(page.entries) == 3
    assert place == Place(3, 0)


@pytest.mark.parametrize(("reader", "payers"), [(STAFF, ["cafe", "books"]), (CAFE, ["cafe"])])
def test_a_partner_is_shown_its_own_lines(reader: Reader, payers: list[str]) -> None:
    page, _ = page_of([entry(1)], reader, None)

    assert [line.payer_id for line in page.entries[0].lines] == payers
