"""One run of all figures: baselines, then the hub on the same server with the same settings."""

from __future__ import annotations

import asyncio
import gc
import itertools
import re
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.baselines import EchoServer, Pgbench, echo_latencies, echo_rate
from benchmarks.coalition import CHUNK, Population, Sales, populate
from benchmarks.floor import floor_rate, read_batches
from benchmarks.pace import at_rate, flat_out
from examples.coalition import AUDIENCE, HubProcess, Site, open_hub, open_operators, operator_keys
from exchange.store.embedded import EmbeddedPostgres, start
from merchant_adapter import Hub, Prepared, Refusal, prepare, read_results
from merchant_adapter.signing import RequestSigner

Figures = dict[str, float]

IN_FLIGHT_BATCHES: Final = 6
IN_FLIGHT_CALLS: Final = 64
CONNECTIONS: Final = 3
FLOOR_BATCHES: Final = 60
MANY_LOTS: Final = 150
FEW_LOTS: Final = 3
BATCH_ROUNDS: Final = 3
UNARY_ROUNDS: Final = 9
ECHO_SAMPLES: Final = 10_000
EXPECTED_RATE: Final = 25_000
"""Commands a second that messages are made for beforehand; the load stops early rather than run dry."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How large and how long. `total_commands` is how many the memory is watched over, 0 for no more than ran.

    `settle_entries` are the entries of the window that settlement is measured with, `outbox_commands` the sales that an
    outbox takes while its memory is watched.
    """

    members: int
    pgbench_seconds: int
    batch_seconds: float
    unary_seconds: float
    lot_members: int
    total_commands: int = 0
    settle_entries: int = 100_000
    outbox_commands: int = 100_000


async def measure(folder: Path, plan: Plan, hub_count: int, console: Console) -> Figures:
    """Every figure, in the order it was taken."""
    figures: Figures = {}
    with start(folder / "postgres") as cluster, _progress(console) as progress:
        bench = _Bench(folder, cluster, plan, hub_count, progress, figures)
        await bench.run()
    return figures


class _Bench:
    """The hub's part of a run."""

    def __init__(
        self,
        folder: Path,
        cluster: EmbeddedPostgres,
        plan: Plan,
        hub_count: int,
        progress: Progress,
        figures: Figures,
    ) -> None:
        self._cluster = cluster
        self._plan = plan
        self._hub_count = hub_count
        self._progress = progress
        self._figures = figures
        self._site = Site(
            folder / "hub", environment={"DATABASE_URL": cluster.url, "TONGDUI_LOG_LEVEL": "WARNING"}
        )
        self._seeds = itertools.count(1)
        self._commands = 0

    async def run(self) -> None:
        keys = operator_keys()
        self._site.initialise(keys)
        hub = self._site.serve()
        try:
            with _step(self._progress, "members", self._plan.members) as advance:
                operators = open_operators(self._site, hub.address, keys)
                people = await populate(self._site, hub.address, operators, self._plan.members, advance)
                await operators.close()
            with _step(self._progress, "stock", self._plan.members) as advance:
                await self._stock(hub.address, people, advance)
        finally:
            hub.stop()
        self._vacuum()
        floor_url = self._copy_database("floor")
        hubs = [self._site.serve(name=f"hub{number}") for number in range(self._hub_count)]
        try:
            await self._batches(hubs, people)
            self._vacuum()  # or the server would do it beside single calls, as it sees fit
            await self._unary(hubs[0].address, people)
            await self._lots(hubs, people)
            await self._memory(hubs, people)
        finally:
            for hub in hubs:
                hub.stop()
        with _step(self._progress, "floor"):
            self._figures["floor.commands_per_s"] = await asyncio.to_thread(self._floor, floor_url)
        self._figures["batch.vs_floor"] = (
            self._figures["batch.commands_per_s"] / self._figures["floor.commands_per_s"]
        )

    def _vacuum(self) -> None:
        with psycopg.connect(self._cluster.url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        self._checkpoint()

    def _checkpoint(self) -> None:
        with psycopg.connect(self._cluster.url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def _copy_database(self, name: str) -> str:
        with psycopg.connect(self._cluster.url_of("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE tongdui STRATEGY file_copy")
        return self._cluster.url_of(name)

    async def _stock(self, address: str, people: Population, advance: Callable[[int], None]) -> None:
        """Gives every member enough points at its first partner."""
        for number, key in enumerate(people.keys):
            own = people.enrolled[number]
            sales = Sales(people, number, 0)
            async with open_hub(self._site, address, key) as hub:
                for first in range(0, len(own), CHUNK):
                    prepared = sales.stock(own[first : first + CHUNK])
                    await _post(hub, prepared)
                    advance(min(CHUNK, len(own) - first))

    async def _batches(self, hubs: Sequence[HubProcess], people: Population) -> None:
        """batch.*: a 70/30 mix in batches of 1,000, several calls in flight, in turns with pgbench."""
        await self._post_for(hubs, people, min(5.0, self._plan.batch_seconds / 3), "warm up")
        self._first_sequence = self._sequence() + 1
        rounds = []
        with _step(self._progress, "pgbench's tables"), Pgbench(self._cluster) as pgbench:
            # In turns: the machine's own speed changes within minutes.
            for number in range(1, BATCH_ROUNDS + 1):
                name, seconds = f"batches {number}", self._plan.batch_seconds / BATCH_ROUNDS
                waiting = await self._messages(people, seconds, name)
                self._checkpoint()
                with _step(self._progress, f"pgbench {number}"):
                    tps = await asyncio.to_thread(pgbench.tps, self._plan.pgbench_seconds)
                self._checkpoint()
                rate = await self._post_all(hubs, people, waiting, seconds, name)
                rounds.append((rate / tps, rate, tps))
        self._keep_medians(("batch.vs_pgbench", "batch.commands_per_s", "pgbench.tps"), rounds)

    async def _post_for(
        self, hubs: Sequence[HubProcess], people: Population, seconds: float, name: str
    ) -> float:
        waiting = await self._messages(people, seconds, name)
        return await self._post_all(hubs, people, waiting, seconds, name)

    async def _messages(self, people: Population, seconds: float, name: str) -> list[tuple[int, Prepared]]:
        """As many batches as can be posted in that time, each with the number of its partner."""
        count = int(EXPECTED_RATE * seconds / CHUNK)
        seed = next(self._seeds)
        everyone = [Sales(people, number, seed) for number in range(len(people.keys))]
        waiting: list[tuple[int, Prepared]] = []
        with _step(self._progress, f"{name}: messages", count) as advance:
            for number in range(count):
                partner = number % len(everyone)
                waiting.append((partner, await asyncio.to_thread(everyone[partner].batch, CHUNK)))
                advance(1)
        return waiting

    async def _post_all(
        self,
        hubs: Sequence[HubProcess],
        people: Population,
        waiting: list[tuple[int, Prepared]],
        seconds: float,
        name: str,
    ) -> float:
        """Posts prepared batches for so long, or until none is left; gives commands a second."""
        connections = [[open_hub(self._site, hub.address, key) for key in people.keys] for hub in hubs]
        end = time.monotonic() + seconds
        done = 0
        with _step(self._progress, name, None) as advance:

            async def worker(number: int) -> None:
                nonlocal done
                while waiting and time.monotonic() < end:
                    partner, prepared = waiting.pop()
                    await connections[number % len(hubs)][partner].send(prepared)
                    done += len(prepared.request_ids)
                    advance(len(prepared.request_ids))

            started = time.monotonic()
            await asyncio.gather(*(worker(number) for number in range(IN_FLIGHT_BATCHES)))
            took = time.monotonic() - started
        self._commands += done
        for hub in itertools.chain.from_iterable(connections):
            await hub.close()
        return done / took

    async def _unary(self, address: str, people: Population) -> None:
        """unary.*: signed single burns against a bare echo of the same bytes."""
        plan = self._plan
        bodies = self._burns(people, int(6_000 * plan.unary_seconds * 2))
        signer = RequestSigner(people.keys[0], AUDIENCE)
        signed = [(it.body, signer.sign(it.path, it.body)) for it in itertools.islice(bodies, ECHO_SAMPLES)]
        echoes = itertools.cycle(signed)
        gc.collect()
        gc.freeze()  # what was prepared is not to be looked through again while the clock runs
        with EchoServer() as echo, _step(self._progress, "echo and single burns"):
            async with open_hub(self._site, address, people.keys[0]) as hub:
                await flat_out(_sender(hub, bodies), IN_FLIGHT_CALLS, 2.0)
                seconds = plan.unary_seconds / UNARY_ROUNDS
                rounds = []
                for _ in range(UNARY_ROUNDS):  # in turns: the machine's own speed changes within seconds
                    plain_rate = await echo_rate(echo.address, echoes, IN_FLIGHT_CALLS, seconds)
                    rate = await flat_out(_sender(hub, bodies), IN_FLIGHT_CALLS, seconds)
                    rounds.append((rate / plain_rate, rate, plain_rate))
                self._keep_medians(("unary.vs_echo", "unary.calls_per_s", "echo.calls_per_s"), rounds)
                peak = self._figures["unary.calls_per_s"]
                with _step(self._progress, "latencies"):
                    burns = await at_rate(_sender(hub, bodies), peak / 2, plan.unary_seconds)
                    plain = await echo_latencies(echo.address, echoes, peak / 2, plan.unary_seconds)
                    alone = await at_rate(_sender(hub, bodies), 20.0, plan.unary_seconds / 2)
        self._figures["unary.p99_ms"] = 1000 * burns.percentile(0.99)
        self._figures["echo.p99_ms"] = 1000 * plain.percentile(0.99)
        self._figures["unary.p99_vs_echo"] = burns.percentile(0.99) / plain.percentile(0.99)
        self._figures["unary.alone_ms"] = 1000 * alone.percentile(0.5)

    def _keep_medians(self, names: Sequence[str], rounds: Sequence[Sequence[float]]) -> None:
        for name, values in zip(names, zip(*rounds, strict=True), strict=True):
            self._figures[name] = statistics.median(values)

    def _burns(self, people: Population, count: int) -> Iterator[Prepared]:
        sales = Sales(people, 0, next(self._seeds))
        return iter([prepare(sales.burn()) for _ in range(count)])

    async def _lots(self, hubs: Sequence[HubProcess], people: Population) -> None:
        """growth.lots: members with 150 open lots against members with 3, at the same work."""
        rates = {}
        for lots in (FEW_LOTS, MANY_LOTS):
            chosen = Population(people.keys[:1], members=[people.members[0][: self._plan.lot_members]])
            await self._open_lots(hubs, chosen, lots)
            self._vacuum()
            seconds = self._plan.batch_seconds / 2
            rates[lots] = await self._post_for(hubs, chosen, seconds, f"{lots} lots")
        self._figures["growth.lots"] = rates[MANY_LOTS] / rates[FEW_LOTS]

    async def _open_lots(self, hubs: Sequence[HubProcess], chosen: Population, count: int) -> None:
        """Opens lots that expire before all others, so that burns go through them."""
        first = (datetime.now(UTC) + timedelta(days=5)).date()
        sales = Sales(chosen, 0, next(self._seeds))
        members = chosen.members[0]
        size = max(1, CHUNK // count)
        waiting = [
            (0, sales.lots(members[place : place + size], first, count))
            for place in range(0, len(members), size)
        ]
        await self._post_all(hubs, chosen, waiting, 600.0, f"opening {count} lots")

    async def _memory(self, hubs: Sequence[HubProcess], people: Population) -> None:
        """memory.*: the largest hub process after all commands of the run."""
        self._figures["memory.before_mib"] = max(_resident_mib(hub) for hub in hubs)
        while self._commands < self._plan.total_commands:
            await self._post_for(hubs, people, 20.0, f"memory ({self._commands:,})")
        self._figures["memory.commands"] = self._commands
        self._figures["memory.hub_mib"] = max(_resident_mib(hub) for hub in hubs)

    def _sequence(self) -> int:
        with psycopg.connect(self._cluster.url) as connection:
            return int(connection.execute("SELECT sequence FROM exchange.chain").fetchall()[0][0])

    def _floor(self, url: str) -> float:
        batches = read_batches(self._cluster.url, self._first_sequence, FLOOR_BATCHES)
        return floor_rate(url, batches, CONNECTIONS)


def _sender(hub: Hub, bodies: Iterator[Prepared]) -> Callable[[], Awaitable[object]]:
    async def once() -> object:
        return await hub.send(next(bodies))

    return once


async def _post(hub: Hub, prepared: Prepared) -> None:
    """Posts a batch in which nothing may be refused."""
    results = read_results(prepared, await hub.send(prepared))
    refused = [result for result in results if isinstance(result, Refusal)]
    if refused:
        raise RuntimeError(f"{len(refused)} commands were refused, the first: {refused[0]}")


def _resident_mib(hub: HubProcess) -> float:
    status = Path(f"/proc/{hub.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError("the hub's memory could not be read")
    return int(found[1]) / 1024


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


class _step:  # noqa: N801  # used like a function
    """A line of the progress display; its value advances it."""

    def __init__(self, progress: Progress, name: str, total: int | None = None) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=total)

    def __enter__(self) -> Callable[[int], None]:
        return lambda count: self._progress.advance(self._task, count)

    def __exit__(self, *_: object) -> None:
        done = self._progress.tasks[self._task].completed
        self._progress.update(self._task, total=done or 1, completed=done or 1)
