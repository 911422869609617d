"""kill -9 under load: an answer with a receipt is never lost, and no command has two effects.

The oracle is the callers' own: each keeps every answer it verified, repeats what it got no answer to, and in the end
the journal must hold exactly the accepted commands, each once, under the entry ids that were answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Final

import grpc
import psycopg
import pytest
from google.protobuf.message import Message

from exchange.store.embedded import EmbeddedPostgres, start
from merchant_adapter import (
    BurnCommand,
    Burned,
    EarnCommand,
    Earned,
    Hub,
    Key,
    OutcomeUnknown,
    Prepared,
    ReceiptInvalid,
    Refusal,
    Refused,
    prepare,
    prepare_batch,
    read_results,
)
from tests.live_hub import (
    EARN,
    JOURNAL,
    PARTNERS,
    POINTS,
    Coalition,
    found_coalition,
    is_serving,
    new_site,
    running,
)
from tests.waiting import eventually
from tongdui.exchange.v1 import (
    entries_pb2,
    journal_service_pb2,
    partners_service_pb2,
    points_service_pb2,
)

KILLS: Final = 5
FIRST_ANSWER_SECONDS: Final = 10.0
WORKERS: Final = 8
BATCH: Final = 20
RETRY_SECONDS: Final = 0.05
CALL_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 120.0


@dataclass(slots=True)
class Load:
    """Eight tills, each with one command or batch under way, sent again until it is answered."""

    coalition: Coalition
    members: Sequence[str]
    chance: random.Random
    accepted: dict[str, Earned | Burned] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)
    """Calls without an answer, by reason."""
    sent: list[tuple[str, Prepared]] = field(default_factory=list)
    """Every call, with the partner whose it was."""
    numbers: count[int] = field(default_factory=count)
    closing: bool = False
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def answered_count(self) -> int:
        return len(self.accepted) + len(self.refused)

    def command(self) -> EarnCommand | BurnCommand:
        """Earns of 1 to 20 points, and burns of 1 to 30 that often find too few."""
        number = next(self.numbers)
        member_id, till, reference = self.chance.choice(self.members), f"till-{number % 3}", f"order-{number}"
        now = datetime.now(UTC)
        if self.chance.random() < 0.5:
            return EarnCommand(
                member_id=member_id,
                event_time=now,
                store_id="s",
                terminal_id=till,
                reference=reference,
                points=self.chance.randint(1, 20),
            )
        return BurnCommand(
            member_id=member_id,
            event_time=now,
            store_id="s",
            terminal_id=till,
            reference=reference,
            points=self.chance.randint(1, 30),
        )

    async def till(self, number: int) -> None:
        code = "cafe" if number % 2 else "books"
        async with self.coalition.open_hub(code, seconds=CALL_SECONDS) as hub:
            while not self.closing:
                batch = [self.command() for _ in range(BATCH)]
                prepared = prepare_batch(batch) if number % 4 == 0 else prepare(batch[0])
                self.sent.append((code, prepared))
                await self.settle(hub, prepared)

    async def settle(self, hub: Hub, prepared: Prepared) -> None:
        """Sends until it is answered, as an outbox does."""
        while True:
            try:
                outcomes = read_results(prepared, await hub.send(prepared))
                break
            except ReceiptInvalid:
                raise
            except OutcomeUnknown as unknown:
                self.unknown[unknown.reason] += 1
                self.grown.set()
                await asyncio.sleep(RETRY_SECONDS)
            except Refused as refusal:  # a recorded one never comes without a receipt that verifies
                outcomes = [refusal.refusal.with_request_id(refusal.request_id)]
                break
        for outcome in outcomes:
            assert outcome.request_id not in self.accepted.keys() | self.refused.keys()
            if isinstance(outcome, Refusal):
                self.refused[outcome.request_id] = outcome
            else:
                assert isinstance(outcome, Earned | Burned)
                self.accepted[outcome.request_id] = outcome
        self.grown.set()

    async def answers(self, more: int) -> float:
        """Waits for so many more answers and says how long that took."""
        wanted, begun = self.answered_count + more, time.monotonic()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.answered_count < wanted:
                self.grown.clear()
                await self.grown.wait()
        return time.monotonic() - begun

    async def unanswered(self) -> None:
        """Waits for the first call without an answer."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.unknown:
                self.grown.clear()
                await self.grown.wait()


@contextlib.asynccontextmanager
async def under_load(load: Load) -> AsyncIterator[None]:
    """Keeps the tills busy; at the end every one of them has its last answer."""
    tills = [asyncio.create_task(load.till(number)) for number in range(WORKERS)]
    watch = asyncio.gather(*tills)
    try:
        await load.answers(100)
        yield
        load.closing = True
        async with asyncio.timeout(PATIENCE_SECONDS):
            await watch
    finally:
        for task in tills:
            task.cancel()
        await asyncio.gather(*tills, return_exceptions=True)


def new_load(coalition: Coalition) -> Load:
    members = [coalition.member("cafe", "books", points=20) for _ in range(12)]
    return Load(coalition, members, random.Random(5))


# --- what must hold afterwards


def journal(coalition: Coalition) -> list[entries_pb2.Entry]:
    """All entries, oldest first, as an operator reads them."""
    entries: list[entries_pb2.Entry] = []
    token = ""
    while True:
        page = coalition.wire.accepted(
            coalition.people[0],
            POINTS + "ListEntries",
            points_service_pb2.ListEntriesRequest(page_size=1_000, page_token=token),
            points_service_pb2.ListEntriesResponse,
        )
        entries += page.entries
        token = page.next_page_token
        if not token:
            return entries[::-1]


def check_nothing_lost_or_doubled(load: Load, seeded: int) -> None:
    """`seeded` entries were posted before the load."""
    coalition = load.coalition
    entries = journal(coalition)
    posted = entries[seeded:]
    assert Counter(entry.request_id for entry in posted) == Counter(load.accepted.keys())
    assert {entry.request_id: entry.entry_id for entry in posted} == {
        request_id: accepted.entry_id for request_id, accepted in load.accepted.items()
    }
    balances: Counter[str] = Counter()
    for entry in entries:
        balances[entry.member_id] += entry.points if entry.kind == "earn" else -entry.points
        assert balances[entry.member_id] >= 0
    for member_id in load.members:
        wallet = coalition.wire.accepted(
            coalition.people[0],
            POINTS + "GetWallet",
            points_service_pb2.GetWalletRequest(member_id=member_id),
            points_service_pb2.GetWalletResponse,
        )
        assert wallet.available_points == balances[member_id]
        assert wallet.available_points == sum(lot.open_points for lot in wallet.lots)


def check_answers_stay(load: Load) -> None:
    """Whatever was answered is answered the same again."""

    async def repeat() -> None:
        async with load.coalition.open_hub("cafe") as cafe, load.coalition.open_hub("books") as books:
            hubs = {"cafe": cafe, "books": books}
            for code, prepared in load.chance.sample(load.sent, min(60, len(load.sent))):
                try:
                    outcomes = read_results(prepared, await hubs[code].send(prepared))
                except Refused as refusal:
                    outcomes = [refusal.refusal.with_request_id(refusal.request_id)]
                for outcome in outcomes:
                    kept = load.refused if isinstance(outcome, Refusal) else load.accepted
                    assert outcome == kept[outcome.request_id]

    asyncio.run(repeat())


def check_chain(coalition: Coalition) -> None:
    """Sequences without gaps, each hash over the one before it and the batch's digest."""
    sequence, last_hash, token = 0, bytes(32), ""
    while True:
        page = coalition.wire.accepted(
            coalition.people[0],
            JOURNAL + "ListBatches",
            journal_service_pb2.ListBatchesRequest(page_size=1_000, page_token=token),
            journal_service_pb2.ListBatchesResponse,
        )
        for batch in page.batches:
            sequence, last_hash = sequence + 1, sha256(last_hash + batch.digest).digest()
            assert (batch.sequence, batch.hash) == (sequence, last_hash)
        token = page.next_page_token
        if not token:
            break
    assert sequence > 0


def check_all(load: Load, seeded: int) -> None:
    load.coalition.close()  # a connection that saw the hub die may still be waiting to try again
    check_nothing_lost_or_doubled(load, seeded)
    check_chain(load.coalition)
    check_answers_stay(load)
    assert load.accepted
    assert load.refused


# --- the hub


@pytest.fixture(scope="module")
def own_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coalition]:
    """A hub with an embedded PostgreSQL of its own, which ends and starts with it."""
    site, people = new_site(tmp_path_factory.mktemp("hub"), {"DATABASE_URL": ""})
    with running(site, people, "") as coalition:
        found_coalition(coalition)
        yield coalition


def test_killing_the_hub_five_times_under_load_loses_no_answered_command_and_doubles_none(
    own_database: Coalition,
) -> None:
    coalition, load = own_database, new_load(own_database)
    seeded = len(journal(coalition))
    port = int(coalition.hub.address.rpartition(":")[2])
    waits: list[float] = []

    async def kill_and_restart() -> None:
        async with under_load(load):
            for _ in range(KILLS):
                await load.answers(load.chance.randint(20, 200))
                coalition.hub.kill()
                coalition.hub = await asyncio.to_thread(coalition.site.serve, port)
                waits.append(await load.answers(1))

    asyncio.run(kill_and_restart())

    assert len(waits) == KILLS
    assert max(waits) <= FIRST_ANSWER_SECONDS
    assert sum(load.unknown.values()) >= KILLS  # each kill left some call without an answer
    check_all(load, seeded)


# --- PostgreSQL


@pytest.fixture(scope="module")
def cluster_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pg")


@pytest.fixture
def server(cluster_dir: Path) -> Iterator[list[EmbeddedPostgres]]:
    """A server that the hub does not own; the last of the list is the one that runs."""
    servers = [start(cluster_dir, settings={"shared_buffers": "32MB"})]
    yield servers
    servers[-1].stop()


@pytest.fixture
def beside_it(
    server: list[EmbeddedPostgres], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Coalition]:
    """A hub that outlives its database server."""
    url = server[0].url
    site, people = new_site(tmp_path_factory.mktemp("hub"), {"DATABASE_URL": url})
    with running(site, people, url) as coalition:
        found_coalition(coalition)
        yield coalition


def kill_backend(coalition: Coalition) -> None:
    """Kills a process that serves the hub, in a transaction of calls that wait for their answers."""
    with contextlib.closing(psycopg.connect(coalition.database_url)) as holding:
        holding.execute("SELECT FROM exchange.wallets FOR UPDATE")

        def is_killed() -> bool:
            waiting = coalition.rows("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            for (pid,) in waiting[:1]:
                os.kill(pid, signal.SIGKILL)
            return bool(waiting)

        eventually(is_killed)


def has_ended(cluster_dir: Path) -> bool:
    """Whether no process of a killed server is left: each has the lock as long as it lives."""
    with (cluster_dir / "postgresql" / "server.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def is_unavailable(coalition: Coalition, key: Key, path: str, request: Message) -> bool:
    return coalition.wire.call(key, path, request).reason == "HUB_UNAVAILABLE"


def check_unavailable(coalition: Coalition) -> None:
    """While the database is away every call says so, one of an unknown key too, and so does the health service."""
    chen, stranger = coalition.people[0], Key.generate("cafe")
    calls: list[tuple[Key, str, Message]] = [
        (coalition.keys["cafe"], EARN, coalition.earn("m-x")),
        (chen, PARTNERS + "ListPartners", partners_service_pb2.ListPartnersRequest()),
        (
            chen,
            PARTNERS + "CreateKeyChallenge",
            partners_service_pb2.CreateKeyChallengeRequest(request_id="r-1", owner="cafe"),
        ),
        (stranger, JOURNAL + "GetLedger", journal_service_pb2.GetLedgerRequest()),
    ]
    # The directory looked a moment ago, while the database was there, and says no to strangers until it looks again.
    for call in calls:
        eventually(partial(is_unavailable, coalition, *call))
        answer = coalition.wire.call(*call)
        assert (answer.code, answer.reason) == (grpc.StatusCode.UNAVAILABLE, "HUB_UNAVAILABLE")
        assert not answer.has_receipt
        answer.check_no_leak()
    eventually(lambda: not is_serving(coalition.hub.address))


def test_killing_a_backend_and_then_the_postmaster_loses_nothing_and_the_hub_goes_on_by_itself(
    beside_it: Coalition, server: list[EmbeddedPostgres], cluster_dir: Path
) -> None:
    coalition, load = beside_it, new_load(beside_it)
    seeded = len(journal(coalition))
    hub_process = coalition.hub.process.pid
    waits: list[float] = []

    async def kill_backend_then_postmaster() -> None:
        async with under_load(load):
            await asyncio.to_thread(kill_backend, coalition)
            waits.append(await load.answers(1))
            await load.unanswered()  # the postmaster ends all sessions for it, once it has seen
            await load.answers(100)
            server[-1].kill()
            # A backend may outlive its postmaster by a call or two.
            await asyncio.to_thread(eventually, partial(has_ended, cluster_dir))
            await asyncio.to_thread(check_unavailable, coalition)
            server.append(await asyncio.to_thread(start, cluster_dir, settings={"shared_buffers": "32MB"}))
            waits.append(await load.answers(1))
            await load.answers(100)

    asyncio.run(kill_backend_then_postmaster())

    assert server[0].url == server[-1].url
    assert max(waits) <= FIRST_ANSWER_SECONDS
    assert load.unknown.keys() == {"HUB_UNAVAILABLE"}
    assert coalition.hub.process.pid == hub_process
    assert coalition.hub.process.poll() is None
    eventually(lambda: is_serving(coalition.hub.address))
    assert "incident" not in coalition.hub.log.read_text()
    check_all(load, seeded)
