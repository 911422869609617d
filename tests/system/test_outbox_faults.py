"""Sales accepted by an outbox while adapter, hub, both or their answers die: each is in the journal exactly once.

`TONGDUI_FAULTS=50` makes a campaign of it: so many kills, and twice as many lost answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from merchant_adapter import BurnCommand, EarnCommand, Enrolled, EnrollMember, Hub, verify_receipt
from merchant_adapter.outbox import Archived, Dispatcher, Outbox, RetryPolicy, State
from merchant_adapter.till import Till
from tests.live_hub import POINTS, Coalition
from tests.system.dropping_proxy import dropping_proxy
from tests.system.outbox_adapter import next_sale
from tongdui.exchange.v1 import entries_pb2, points_service_pb2

FAULTS: Final = int(os.environ.get("TONGDUI_FAULTS", "0"))
KILLS: Final = FAULTS or 3
DROPS: Final = 2 * FAULTS or 20
TILL_DROPS: Final = FAULTS or 8
EMPTY_SECONDS: Final = 30.0
SALES_BETWEEN: Final = 60


def restart(coalition: Coalition) -> None:
    coalition.close()
    port = int(coalition.hub.address.rpartition(":")[2])
    coalition.hub = coalition.site.serve(port)


@dataclass(slots=True)
class Adapter:
    """The process of a mall, started again after every kill, and the sales that its tills were told are safe."""

    coalition: Coalition
    folder: Path
    members: list[str]
    accepted: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Request ids by member, in the order of acceptance."""
    asked: dict[str, str] = field(default_factory=dict)
    """What a till where somebody waits was told, by request id: the kind of the answer."""
    count: int = 0
    process: subprocess.Popen[str] | None = None
    _reader: threading.Thread | None = None

    @property
    def file(self) -> Path:
        return self.folder / "outbox.db"

    def start(self) -> None:
        settings = {
            "outbox": str(self.file),
            "hub": self.coalition.hub.address,
            "audience": self.coalition.site.audience,
            "key": str(self._key()),
            "hub_keys": str(self.coalition.site.hub_keys_file),
            "members": self.members,
            "pause_seconds": 0.01,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.system.outbox_adapter", json.dumps(settings)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,))
        self._reader.start()

    def wait_for(self, more: int) -> None:
        wanted, ends = self.count + more, time.monotonic() + EMPTY_SECONDS
        while self.count < wanted:
            assert time.monotonic() < ends, "the adapter accepts nothing"
            time.sleep(0.005)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self._end()

    def stop(self) -> float:
        """Asks it to empty the outbox and end; gives the seconds that took."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.terminate()
        assert self._end() == 0
        return time.monotonic() - begun

    def _end(self) -> int:
        assert self.process is not None
        assert self._reader is not None
        code = self.process.wait(2 * EMPTY_SECONDS)
        self._reader.join()
        return code

    def _key(self) -> Path:
        key = self.coalition.keys["cafe"]
        path = self.folder / f"{key.key_id}.jwk"
        return path if path.exists() else key.save(self.folder)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                if line.endswith("\n"):  # a killed process may leave half of one
                    member_id, request_id, *told = line.split()
                    if told:
                        (self.asked[request_id],) = told
                    else:
                        self.accepted[member_id].append(request_id)
                    self.count += 1


def journal(coalition: Coalition, members: list[str]) -> dict[str, list[entries_pb2.Entry]]:
    """The entries of these members, oldest first."""
    found = {}
    for member_id in members:
        entries: list[entries_pb2.Entry] = []
        token = ""
        while True:
            page = coalition.wire.accepted(
                coalition.people[0],
                POINTS + "ListEntries",
                points_service_pb2.ListEntriesRequest(member_id=member_id, page_size=1_000, page_token=token),
                points_service_pb2.ListEntriesResponse,
            )
            entries += page.entries
            token = page.next_page_token
            if not token:
                break
        found[member_id] = entries[::-1]
    return found


def archived(file: Path, request_ids: list[str]) -> dict[str, Archived]:
    with Outbox.open(file, must_exist=True) as outbox:
        assert (outbox.status().waiting, outbox.status().dead) == (0, 0)
        found = {name: outbox.find(name) for name in request_ids}
    assert None not in found.values()
    return {name: one for name, one in found.items() if one is not None}


def check_every_sale_once(
    coalition: Coalition, file: Path, accepted: dict[str, list[str]], asked: Mapping[str, str] | None = None
) -> None:
    """The journal has exactly the accepted sales, each once, in order, and each answer verifies offline.

    No till was told anything else than what the journal says; `asked` has the kinds of what they were told.
    """
    asked = asked or {}
    told = [*(name for names in accepted.values() for name in names), *asked]
    assert len(set(told)) == len(told)
    posted = journal(coalition, list(accepted))
    in_journal = [entry.request_id for entries in posted.values() for entry in entries]
    assert len(set(in_journal)) == len(in_journal)
    # What the outbox had stored when it was killed, before the till was told, is posted too.
    known = archived(file, [*told, *(name for name in in_journal if name not in set(told))])
    for one in known.values():
        assert one.receipt is not None
        verify_receipt(one.receipt, coalition.hub_keys)
    assert {name for name, one in known.items() if one.state is State.ACCEPTED} == set(in_journal)
    assert {one.state for one in known.values()} == {State.ACCEPTED, State.REFUSED}
    for name, kind in asked.items():
        assert kind in ("Resolving", "Refusal" if known[name].state is State.REFUSED else "Earned", "Burned")
        assert kind != "Burned" or known[name].state is State.ACCEPTED
    for member_id, entries in posted.items():
        told_here = set(accepted[member_id])
        in_order = [entry.request_id for entry in entries if entry.request_id in told_here]
        assert in_order == [name for name in accepted[member_id] if known[name].state is State.ACCEPTED]


def new_members(coalition: Coalition, count: int) -> list[str]:
    return [coalition.member("cafe") for _ in range(count)]


def test_killing_adapter_hub_and_both_under_load_leaves_every_accepted_sale_in_the_journal_once(
    coalition: Coalition, tmp_path: Path
) -> None:
    chance = random.Random(11)
    adapter = Adapter(coalition, tmp_path, new_members(coalition, 12))
    adapter.start()

    for number in range(KILLS):
        adapter.wait_for(SALES_BETWEEN)
        time.sleep(chance.random() * 0.05)  # between any two steps
        victims = ("adapter", "hub", "both")[number % 3]
        if victims != "adapter":
            coalition.hub.kill()
        if victims != "hub":
            adapter.kill()
            adapter.start()
        if victims != "adapter":
            adapter.wait_for(SALES_BETWEEN)  # sold while the hub is away
            restart(coalition)
    adapter.wait_for(SALES_BETWEEN)
    seconds = adapter.stop()

    assert seconds <= EMPTY_SECONDS
    check_every_sale_once(coalition, adapter.file, adapter.accepted, adapter.asked)
    assert {"Earned", "Resolving"} <= set(adapter.asked.values())


def test_answers_dropped_after_the_commit_are_asked_for_again_and_nothing_is_posted_twice(
    coalition: Coalition, tmp_path: Path
) -> None:
    members, file = new_members(coalition, 12), tmp_path / "outbox.db"
    accepted: dict[str, list[str]] = defaultdict(list)

    async def sell(outbox: Outbox, address: str) -> None:
        chance = random.Random(12)
        async with Hub.connect(
            address,
            coalition.site.audience,
            key=coalition.keys["cafe"],
            hub_keys=coalition.hub_keys,
            timeout_seconds=5.0,
        ) as hub:
            progressed, sold = asyncio.Event(), 0
            dispatcher = Dispatcher(outbox, hub, on_progress=lambda _: progressed.set())
            running = asyncio.create_task(dispatcher.run())
            for _ in range(DROPS):
                proxy.drop_next()
                while proxy.is_armed:
                    sale: EarnCommand | BurnCommand = next_sale(chance, members)
                    await outbox.accept_async(sale)
                    accepted[sale.member_id].append(sale.request_id)
                    sold += 1
                    await asyncio.sleep(0.01)
                # Answers dropped one after the other would only show the pauses.
                async with asyncio.timeout(EMPTY_SECONDS):
                    while dispatcher.progress.accepted + dispatcher.progress.refused < sold:
                        progressed.clear()
                        await progressed.wait()
            dispatcher.stop()
            await running
            async with asyncio.timeout(EMPTY_SECONDS):
                await Dispatcher(outbox, hub).drain(wait=True)

    with dropping_proxy(coalition.hub.address) as proxy, Outbox.open(file) as outbox:
        asyncio.run(sell(outbox, proxy.address))

    assert proxy.dropped == DROPS
    check_every_sale_once(coalition, file, accepted)


@pytest.mark.parametrize(
    ("pause_seconds", "deadline_seconds"),
    [(0.05, 60.0), (1.0, 0.5)],
    ids=["asked-again", "left-to-the-dispatcher"],
)
def test_a_till_whose_answers_are_dropped_is_never_told_a_guess_and_its_sales_are_posted_once(
    coalition: Coalition, tmp_path: Path, pause_seconds: float, deadline_seconds: float
) -> None:
    members, file = new_members(coalition, 3), tmp_path / "outbox.db"
    policy = RetryPolicy(first_pause_seconds=pause_seconds, longest_pause_seconds=pause_seconds)
    told: dict[str, str] = {}

    async def sell(outbox: Outbox, address: str) -> None:
        chance = random.Random(13)
        async with Hub.connect(
            address,
            coalition.site.audience,
            key=coalition.keys["cafe"],
            hub_keys=coalition.hub_keys,
            timeout_seconds=5.0,
        ) as hub:
            till = Till(hub, outbox, policy=policy)
            while proxy.dropped < TILL_DROPS:  # a refusal is not dropped: it comes without DATA
                proxy.drop_next()
                sale: EarnCommand | BurnCommand = next_sale(chance, members)
                told[sale.request_id] = type(await till.ask(sale, deadline_seconds)).__name__
            async with asyncio.timeout(EMPTY_SECONDS):
                await Dispatcher(outbox, hub, policy=RetryPolicy(longest_pause_seconds=0.2)).drain(wait=True)

    with dropping_proxy(coalition.hub.address) as proxy, Outbox.open(file) as outbox:
        asyncio.run(sell(outbox, proxy.address))

    resolving = [name for name, kind in told.items() if kind == "Resolving"]
    if pause_seconds < deadline_seconds:
        assert not resolving
    else:  # a refusal is not dropped, but may come too late
        assert len(resolving) >= TILL_DROPS
    check_every_sale_once(coalition, file, {member_id: [] for member_id in members}, told)


async def enroll(coalition: Coalition, count: int) -> list[str]:
    async with coalition.open_hub("cafe") as hub:
        wanted = [EnrollMember(customer_id=f"backlog-{number}") for number in range(count)]
        found = [await hub.enroll_batch(wanted[first : first + 1_000]) for first in range(0, count, 1_000)]
    return [one.member_id for results in found for one in results if isinstance(one, Enrolled)]


def test_the_backlog_of_an_outage_empties_within_30_seconds_of_recovery(
    coalition: Coalition, tmp_path: Path
) -> None:
    count = 100_000 if FAULTS else 4_000
    members = asyncio.run(enroll(coalition, 5_000 if FAULTS else 1_000))
    file = tmp_path / "outbox.db"
    now = datetime.now(UTC)
    sales = [
        EarnCommand(
            member_id=members[number % len(members)],
            points=1,
            event_time=now,
            store_id="s",
            terminal_id="t",
            reference=f"backlog-{number}",
        )
        for number in range(count)
    ]
    coalition.hub.kill()

    async def outage() -> float:
        async with Hub.connect(
            coalition.hub.address,
            coalition.site.audience,
            key=coalition.keys["cafe"],
            hub_keys=coalition.hub_keys,
            timeout_seconds=5.0,
        ) as hub:
            draining = asyncio.create_task(Dispatcher(outbox, hub).drain(wait=True))
            for first in range(0, count, 500):
                await asyncio.to_thread(outbox.accept_all, sales[first : first + 500])
            await asyncio.to_thread(restart, coalition)
            begun = time.monotonic()
            progress = await asyncio.wait_for(draining, 2 * EMPTY_SECONDS)
            assert (progress.accepted, progress.waiting) == (count, 0)
            return time.monotonic() - begun

    with Outbox.open(file) as outbox:
        outbox.accept_all(sales[:1])
        seconds = asyncio.run(outage())
        status = outbox.status()

    assert seconds <= EMPTY_SECONDS
    assert status.waiting == 0
    # An entry for each: with `accepted` of as many request ids, that is each once.
    ((entries, ids),) = coalition.rows(
        "SELECT count(*), count(DISTINCT request_id) FROM exchange.entries WHERE reference LIKE 'backlog-%'"
    )
    assert (entries, ids) == (count, count)
