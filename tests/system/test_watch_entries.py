"""WatchEntries on real hubs: each entry once and in order, whoever is killed or slow, and to none but its own."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from examples.coalition import CardTerms, HubProcess
from exchange.server import STOP_SECONDS
from merchant_adapter import (
    Busy,
    Cursor,
    EarnCommand,
    Entry,
    Hub,
    HubError,
    InvalidRequest,
    Key,
    OutcomeUnknown,
    Prepared,
    SyncHub,
    Untrusted,
    new_request_id,
)
from tests.live_hub import (
    JOURNAL,
    PARTNERS,
    POINTS,
    Coalition,
    another_hub,
    found_coalition,
    new_site,
    running,
)
from tests.waiting import eventually, in_time
from tongdui.exchange.v1 import (
    entries_pb2,
    journal_service_pb2,
    partners_service_pb2,
    points_service_pb2,
)

KILLS: Final = 8
TILLS: Final = 4
PROJECT: Final = Path(__file__).parents[2]
PATIENCE_SECONDS: Final = 60.0


# --- load


@dataclass(slots=True)
class Load:
    """Tills of two partners that post batches at whichever hub; what becomes of one batch is not their concern."""

    coalition: Coalition
    hubs: list[HubProcess]
    members: Sequence[str]
    chance: random.Random = field(default_factory=lambda: random.Random(11))
    numbers: count[int] = field(default_factory=count)
    answered: int = 0
    closing: bool = False
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    def command(self) -> EarnCommand:
        return earn_of(self.chance.choice(self.members), f"load-{next(self.numbers)}")

    async def till(self, number: int) -> None:
        code = "cafe" if number % 2 else "books"
        while not self.closing:
            address = self.hubs[number % len(self.hubs)].address
            async with self.coalition.open_hub(code, address=address, seconds=3.0) as hub:
                with contextlib.suppress(OutcomeUnknown, Busy):  # the hub is being killed, or starts again
                    while not self.closing:
                        await hub.post_batch([self.command() for _ in range(self.chance.randint(1, 30))])
                        self.answered += 1
                        self.grown.set()
            await asyncio.sleep(0.05)

    async def answers(self, more: int) -> None:
        wanted = self.answered + more
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.answered < wanted:
                self.grown.clear()
                await self.grown.wait()


def earn_of(member_id: str, reference: str) -> EarnCommand:
    return EarnCommand(
        member_id=member_id,
        event_time=datetime.now(UTC),
        store_id="s",
        terminal_id="t",
        reference=reference,
        points=5,
    )


@contextlib.asynccontextmanager
async def under_load(load: Load) -> AsyncIterator[None]:
    tills = [asyncio.create_task(load.till(number)) for number in range(TILLS)]
    try:
        await load.answers(5)
        yield
        load.closing = True
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*tills)
    finally:
        for task in tills:
            task.cancel()
        await asyncio.gather(*tills, return_exceptions=True)


# --- consumers


@dataclass(slots=True)
class Consumer:
    """A process that keeps the stream of one key in a database of its own."""

    directory: Path
    coalition: Coalition
    key: Key
    process: subprocess.Popen[bytes] | None = None
    kills: int = 0

    @property
    def database(self) -> Path:
        return self.directory / "consumer.sqlite"

    def start(self, hub: HubProcess) -> None:
        site = self.coalition.site
        key_file = next(self.directory.glob("*.jwk"), None) or self.key.save(self.directory)
        arguments = [str(self.database), hub.address, site.audience, str(key_file), str(site.hub_keys_file)]
        with (self.directory / "consumer.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.system.watching_consumer", *arguments], stderr=log, cwd=PROJECT
            )

    def kill(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "consumer.log").read_text()
        self.process.kill()
        self.process.wait()
        self.kills += 1

    def entry_ids(self) -> list[str]:
        """What it has kept, in the order in which it came."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=PATIENCE_SECONDS)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'entries'").fetchall():
                return []  # the process has just started
            found = connection.execute("SELECT entry_id FROM entries ORDER BY number").fetchall()
        return [entry_id for (entry_id,) in found]


def new_consumer(directory: Path, coalition: Coalition, key: Key) -> Consumer:
    directory.mkdir(0o700)
    return Consumer(directory, coalition, key)


def journal(coalition: Coalition, key: Key) -> list[entries_pb2.Entry]:
    """All entries that a key may list, oldest first."""
    entries: list[entries_pb2.Entry] = []
    token = ""
    while True:
        page = coalition.wire.accepted(
            key,
            POINTS + "ListEntries",
            points_service_pb2.ListEntriesRequest(page_size=1_000, page_token=token),
            points_service_pb2.ListEntriesResponse,
        )
        entries += page.entries
        token = page.next_page_token
        if not token:
            return entries[::-1]


def check_exactly_once(coalition: Coalition, consumer: Consumer) -> None:
    def has_all() -> bool:
        # Read anew each time: what a killed hub sent last to the database may be committed late.
        posted = [entry.entry_id for entry in journal(coalition, consumer.key)]
        return bool(posted) and consumer.entry_ids() == posted

    eventually(has_all, PATIENCE_SECONDS)
    assert consumer.process is not None
    assert consumer.process.poll() is None, "it met an entry twice"


async def kill_at_random(load: Load, consumers: Sequence[Consumer], ports: Sequence[int]) -> int:
    """Kills hubs and consumers under load, each starting again where another may be; how many hubs."""
    chance, hub_kills = random.Random(9), 0  # of its own, or the tills' pace would choose the victims
    async with under_load(load):
        for _ in range(KILLS):
            await load.answers(chance.randint(1, 20))
            await asyncio.sleep(chance.uniform(0.0, 0.3))
            victims = chance.choice([(True, False), (False, True), (True, True)])
            number = chance.randrange(len(load.hubs))
            if victims[0]:
                load.hubs[number].kill()
                hub_kills += 1
            if victims[1]:
                for consumer in consumers:
                    consumer.kill()
            if victims[0]:
                name = f"hub-{number}"
                load.hubs[number] = await asyncio.to_thread(load.coalition.site.serve, ports[number], name)
            if victims[1]:
                for consumer in consumers:
                    consumer.start(chance.choice(load.hubs))
    return hub_kills


@contextlib.contextmanager
def watched_by(consumers: Sequence[Consumer], hub: HubProcess) -> Iterator[None]:
    for consumer in consumers:
        consumer.start(hub)
    try:
        yield
    finally:
        for consumer in consumers:
            if consumer.process is not None:
                consumer.process.kill()
                consumer.process.wait()


def check_killed_at_random(coalition: Coalition, hubs: list[HubProcess], directory: Path) -> None:
    members = [coalition.member("cafe", "books") for _ in range(12)]
    load = Load(coalition, hubs, members)
    consumers = [
        new_consumer(directory / "cafe", coalition, coalition.keys["cafe"]),
        new_consumer(directory / "operator", coalition, coalition.people[0]),
    ]
    ports = [int(hub.address.rpartition(":")[2]) for hub in hubs]

    with watched_by(consumers, hubs[0]):
        hub_kills = asyncio.run(kill_at_random(load, consumers, ports))
        coalition.hub = hubs[0]
        coalition.close()  # a connection that saw the hub die may still be waiting to try again
        for code in ("cafe", "books"):
            coalition.member(code, points=1)  # so each has an entry, whoever's tills were quicker
        for consumer in consumers:
            check_exactly_once(coalition, consumer)

    assert hub_kills
    assert consumers[0].kills
    for hub in hubs:
        assert "incident" not in hub.log.read_text()
    assert len(consumers[0].entry_ids()) < len(consumers[1].entry_ids())


def test_hub_and_consumers_killed_at_random_under_load_deliver_each_entry_once_and_in_order(
    tmp_path: Path,
) -> None:
    """The hub's embedded PostgreSQL dies with it."""
    (tmp_path / "hub").mkdir()
    site, people = new_site(tmp_path / "hub", {"DATABASE_URL": ""})
    with running(site, people, "") as coalition:
        found_coalition(coalition)
        hubs = [coalition.hub]
        check_killed_at_random(coalition, hubs, tmp_path)


def test_with_two_hubs_on_one_database_each_entry_comes_once_and_in_order_from_either(
    coalition: Coalition, tmp_path: Path
) -> None:
    with another_hub(coalition) as second:
        hubs = [coalition.hub, second]
        try:
            check_killed_at_random(coalition, hubs, tmp_path)
        finally:
            hubs[1].stop()


# --- one stream


def watch_call(after: Cursor | None = None) -> Prepared:
    request = journal_service_pb2.WatchEntriesRequest()
    if after is not None:
        request.after.batch_sequence, request.after.entry_index = after.batch_sequence, after.entry_index
    return Prepared(JOURNAL + "WatchEntries", request.SerializeToString())


async def first_error(hub: Hub, prepared: Prepared, heard: Callable[[], object] = bool) -> HubError:
    """How the stream breaks; `heard` is called for all that comes through."""

    async def listen() -> None:
        async for _ in hub.channel.stream(prepared):
            heard()

    with pytest.raises(HubError) as broken:
        await asyncio.wait_for(listen(), PATIENCE_SECONDS)
    return broken.value


async def broken_later(hub: Hub, prepared: Prepared) -> asyncio.Task[HubError]:
    """How a stream breaks that is open: the hub has sent something. Calls of one channel may overtake each other."""
    is_open = asyncio.Event()
    broken = asyncio.create_task(first_error(hub, prepared, is_open.set))
    await asyncio.wait_for(is_open.wait(), PATIENCE_SECONDS)
    return broken


def last_place(coalition: Coalition) -> Cursor:
    entry = journal(coalition, coalition.people[0])[-1]
    return Cursor(entry.batch_sequence, entry.entry_index)


def place_before_one_entry(coalition: Coalition, code: str) -> Cursor:
    """A place after which the partner has one entry."""
    coalition.member(code, points=1)
    after = last_place(coalition)
    coalition.member(code, points=1)
    return after


def test_a_partner_is_streamed_its_own_entries_as_it_may_read_them(coalition: Coalition) -> None:
    member_id = coalition.member("cafe", "books", points=20)
    after = last_place(coalition)

    async def run() -> tuple[list[Entry], list[Entry]]:
        async with coalition.open_hub("cafe") as cafe, coalition.open_hub("books") as books:
            async with aclosing(cafe.watch_entries(after=after)) as pages:
                await books.earn(earn_of(member_id, "not-cafe's"))
                await cafe.earn(earn_of(member_id, "cafe's"))
                page = await asyncio.wait_for(anext(pages), PATIENCE_SECONDS)
            assert page.cursor >= Cursor.of(page.entries[-1])
            return list(page.entries), list((await cafe.entries(page_size=1)).entries)

    streamed, listed = asyncio.run(run())

    assert streamed == [replace(entry, explanation="") for entry in listed]
    assert [entry.reference for entry in streamed] == ["cafe's"]
    assert all("cafe" in (line.payer_id, line.payee_id) for line in streamed[0].lines)


def test_an_entry_posted_at_one_hub_is_streamed_by_another_within_a_second(coalition: Coalition) -> None:
    member_id = coalition.member("cafe", points=1)
    numbers = count(1)

    async def run(second: HubProcess, after: Cursor) -> float:
        reference = f"from-the-other-{next(numbers)}"  # earned once, however often it is tried
        async with (
            coalition.open_hub("cafe") as here,
            coalition.open_hub("cafe", address=second.address) as there,
            aclosing(there.watch_entries(after=after)) as pages,
        ):
            coming = asyncio.ensure_future(anext(pages))
            await there.ledger()  # the stream was asked for before this
            await here.earn(earn_of(member_id, reference))
            begun = time.monotonic()
            page = await asyncio.wait_for(coming, PATIENCE_SECONDS)
            assert [entry.reference for entry in page.entries] == [reference]
            return time.monotonic() - begun

    with another_hub(coalition) as second:
        assert in_time(1.0, lambda: asyncio.run(run(second, last_place(coalition))))


def test_a_consumer_that_takes_nothing_holds_no_snapshot_and_nobody_up(coalition: Coalition) -> None:
    """10,000 entries wait for it, of which it takes none for a while; then it takes them all."""
    members = [coalition.member("cafe") for _ in range(20)]
    after = last_place(coalition)

    async def run() -> list[str]:
        async with (
            coalition.open_hub("cafe") as cafe,
            coalition.open_hub("cafe") as slow,
            aclosing(slow.channel.stream(watch_call(after))) as stalled,
        ):
            first = asyncio.ensure_future(anext(stalled))
            for batch in range(10):
                await cafe.post_batch([earn_of(members[it % 20], f"slow-{batch}-{it}") for it in range(1000)])
            bodies = [await first]
            await asyncio.sleep(1.5)  # the stream stands still; the hub's own short readings come and go
            # On a machine that stood still those may be old too, but only for a moment.
            eventually(lambda: not long_transactions(coalition), 5.0)
            quick = await take(cafe, after, 10_000)
            found: list[str] = []
            while len(found) < 10_000:
                page = journal_service_pb2.WatchEntriesResponse.FromString(bodies[-1])
                found += [entry.entry_id for entry in page.entries]
                if len(found) < 10_000:
                    bodies.append(await asyncio.wait_for(anext(stalled), PATIENCE_SECONDS))
            assert found == quick
            return found

    found = asyncio.run(run())

    posted = journal(coalition, coalition.keys["cafe"])[-10_000:]
    assert found == [entry.entry_id for entry in posted]


def long_transactions(coalition: Coalition) -> list[tuple[int]]:
    return coalition.rows(
        "SELECT pid FROM pg_stat_activity WHERE clock_timestamp() - xact_start > interval '1 second'"
        " AND backend_type = 'client backend' AND datname = current_database()"
    )


async def take(hub: Hub, after: Cursor, wanted: int) -> list[str]:
    """The ids of the next entries."""
    found: list[str] = []
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(hub.watch_entries(after=after)) as pages:
        async for page in pages:
            found += [entry.entry_id for entry in page.entries]
            if len(found) >= wanted:
                break
    return found


def test_a_hub_that_stops_ends_its_streams_at_once(coalition: Coalition) -> None:
    async def run(second: HubProcess) -> tuple[HubError, float]:
        async with coalition.open_hub("cafe", address=second.address) as hub:
            broken = await broken_later(hub, watch_call(after))
            begun = time.monotonic()
            await asyncio.to_thread(second.stop)
            return await broken, time.monotonic() - begun

    after = place_before_one_entry(coalition, "cafe")
    with another_hub(coalition) as second:
        error, took = asyncio.run(run(second))

    assert (error.code, error.reason) == ("UNAVAILABLE", "HUB_UNAVAILABLE")
    assert took < STOP_SECONDS  # which calls that go on are given
    assert "incident" not in second.log.read_text()


def test_a_revoked_key_s_stream_ends_within_5_seconds(coalition: Coalition) -> None:
    numbers = count(1)

    def seconds() -> float:
        code = f"kiosk-{next(numbers)}"
        key = coalition.add_partner(code, cards=[CardTerms()])
        coalition.member(code, points=1)
        return asyncio.run(run(code, key))

    async def run(code: str, key: Key) -> float:
        async with coalition.open_hub(code) as hub:
            broken = await broken_later(hub, watch_call())
            await asyncio.to_thread(revoke, coalition, key)
            begun = time.monotonic()
            error = await broken
            assert isinstance(error, Untrusted)
            assert error.reason == "SIGNATURE_INVALID"
            return time.monotonic() - begun

    assert in_time(5.0, seconds)


def revoke(coalition: Coalition, key: Key) -> None:
    request = partners_service_pb2.RevokeKeyRequest(
        request_id=new_request_id(), key_id=key.key_id, reason="lost"
    )
    kind = partners_service_pb2.RevokeKeyResponse
    coalition.wire.accepted(coalition.people[0], PARTNERS + "RevokeKey", request, kind)


def test_a_key_has_8_streams_at_a_hub_and_one_more_once_one_has_ended(coalition: Coalition) -> None:
    coalition.member("books", points=5)

    async def run() -> HubError:
        async with coalition.open_hub("books") as hub:
            streams = [hub.channel.stream(watch_call()) for _ in range(8)]
            for stream in streams:
                await asyncio.wait_for(anext(stream), PATIENCE_SECONDS)
            refused = await first_error(hub, watch_call())
            await streams[0].aclose()
            another = hub.watch_entries()  # tries again by itself while the hub is busy
            await asyncio.wait_for(anext(another), PATIENCE_SECONDS)
            await another.aclose()
            for stream in streams[1:]:
                await stream.aclose()
            return refused

    refused = asyncio.run(run())

    assert isinstance(refused, Busy)
    assert refused.reason == "HUB_BUSY"


@pytest.mark.parametrize(
    ("after", "kind", "reason"),
    [
        (Cursor(1_000_000, 0), InvalidRequest, "CURSOR_AHEAD"),
        (Cursor(-1, 0), InvalidRequest, "INVALID_FIELD"),
        (Cursor(1, -1), InvalidRequest, "INVALID_FIELD"),
    ],
)
def test_a_cursor_that_names_no_place_is_refused(
    coalition: Coalition, after: Cursor, kind: type[HubError], reason: str
) -> None:
    async def run() -> HubError:
        async with coalition.open_hub("cafe") as hub:
            return await first_error(hub, watch_call(after))

    error = asyncio.run(run())

    assert isinstance(error, kind)
    assert error.reason == reason


def test_the_synchronous_client_iterates_too(coalition: Coalition) -> None:
    member_id = coalition.member("cafe", points=20)
    after = last_place(coalition)
    site = coalition.site
    with SyncHub.connect(
        coalition.hub.address, site.audience, key=coalition.keys["cafe"], hub_keys=site.hub_keys_file
    ) as hub:
        pages = hub.watch_entries(after=after)
        for number in range(3):
            hub.earn(earn_of(member_id, f"sync-{number}"))
            page = next(pages)
            assert [entry.reference for entry in page.entries] == [f"sync-{number}"]
