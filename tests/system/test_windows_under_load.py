"""Windows that close while 50 writers post, and a settlement that is killed at every step of every one of them.

The oracle is what the writers were answered: each answer says when the hub decided on the ledger clock, hence in which
window the entry has to be, and what it costs whom. Added up one after the other, that is what the statements must say.
One crossing belongs to every run of the tests; `make faults` asks for twenty (TONGDUI_FAULTS).
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import count
from typing import Any, Final
from zoneinfo import ZoneInfo

import psycopg
import pytest

from examples.coalition import open_operators
from merchant_adapter import (
    BurnCommand,
    Burned,
    EarnCommand,
    Earned,
    Hub,
    Key,
    Refusal,
    Refused,
    prepare,
    prepare_batch,
    read_results,
)
from settlement.__main__ import main
from tests.conftest import Databases
from tests.live_hub import Coalition, found_coalition, new_site, running
from tests.waiting import eventually
from tongdui.exchange.v1 import partners_service_pb2

CROSSINGS: Final = int(os.environ.get("TONGDUI_FAULTS", "1"))
RANDOM_KILLS: Final = 1 if CROSSINGS == 1 else 3
WRITERS: Final = 50
BATCH: Final = 10
PAUSE_SECONDS: Final = 0.4
"""At most so long a writer waits between two calls while settlement works; none at the cut-off."""

ZONE: Final = ZoneInfo("Asia/Shanghai")
FIRST_DAY: Final = date(2026, 1, 5)
BUSY: Final = 6
FUNDING, FEE = 10_000, 200
"""F and f of every card, micros a point; all of F is prefunded."""

STEPS: Final = {"hub_receipts": None, "statement_lines": "CLOSED", "certificates": "COMPUTED"}
"""The table in whose rows a run is stopped, and how far its window has come by then."""

Line = tuple[str, str]
"""(party, component)."""


@dataclass(slots=True)
class Load:
    """50 writers and everything they were answered."""

    coalition: Coalition
    members: Sequence[str]
    chance: random.Random
    day: date = FIRST_DAY
    """Of the events they tell of; the ledger clock may be past it."""
    pause: float = 0.0
    accepted: dict[str, tuple[str, Earned | Burned]] = field(default_factory=dict)
    """By request id: whose it was, and the answer."""
    refused: Counter[str] = field(default_factory=Counter)
    numbers: count[int] = field(default_factory=count)
    closing: bool = False
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    def command(self) -> EarnCommand | BurnCommand:
        number = next(self.numbers)
        kind = EarnCommand if self.chance.random() < 0.6 else BurnCommand
        return kind(
            member_id=self.chance.choice(self.members),
            event_time=datetime(self.day.year, self.day.month, self.day.day, 12, tzinfo=ZONE),
            store_id="s",
            terminal_id=f"till-{number % 7}",
            reference=f"order-{number}",
            points=self.chance.randint(1, 60),
        )

    async def write(self, number: int) -> None:
        """Every fifth writer sends batches, the others one command at a time."""
        code = "cafe" if number % 2 else "books"
        async with self.coalition.open_hub(code, seconds=30.0) as hub:
            while not self.closing:
                await self._send(hub, code, batch=number % 5 == 0)
                self.grown.set()
                await asyncio.sleep(self.chance.random() * self.pause)

    async def _send(self, hub: Hub, code: str, *, batch: bool) -> None:
        prepared = prepare_batch([self.command() for _ in range(BATCH)]) if batch else prepare(self.command())
        try:
            outcomes = read_results(prepared, await hub.send(prepared))
        except Refused as refusal:
            self.refused[refusal.reason] += 1
            return
        for outcome in outcomes:
            if isinstance(outcome, Refusal):
                self.refused[outcome.reason] += 1
            else:
                assert isinstance(outcome, Earned | Burned)
                self.accepted[outcome.request_id] = (code, outcome)

    async def answers(self, more: int) -> None:
        """Waits for so many more entries."""
        wanted = len(self.accepted) + more
        async with asyncio.timeout(60):
            while len(self.accepted) < wanted:
                self.grown.clear()
                await self.grown.wait()

    def of(self, day: date) -> list[tuple[str, Earned | Burned]]:
        """What was decided on a day of the ledger clock."""
        return [it for it in self.accepted.values() if decided_on(it[1]) == day]


def decided_on(answer: Earned | Burned) -> date:
    """The day of the ledger clock."""
    return answer.decided_time.astimezone(ZONE).date()


@contextlib.asynccontextmanager
async def writing(load: Load) -> AsyncIterator[None]:
    """Keeps the writers at work; at the end every one of them has its last answer."""
    writers = [asyncio.create_task(load.write(number)) for number in range(WRITERS)]
    watch = asyncio.gather(*writers)
    try:
        yield
        load.closing = True
        async with asyncio.timeout(60):
            await watch
    finally:
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Office:
    """`tongdui-settle` on this coalition's ledger."""

    coalition: Coalition
    environment: Mapping[str, str]

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "settlement", *arguments, "--json"],
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def settle(self, *arguments: str) -> Any:
        """What a command says, here in this process; again as long as the connection of a killed run holds the lock."""
        output = io.StringIO()

        def done() -> bool:
            with contextlib.redirect_stdout(output), pytest.MonkeyPatch.context() as environment:
                for name, value in self.environment.items():
                    environment.setenv(name, value)
                code = main([*arguments, "--json"])
            assert code in (0, BUSY)
            return code == 0

        eventually(done)
        return json.loads(output.getvalue())

    def kill_inside(self, table: str, *arguments: str) -> None:
        """Kills a run in the middle of the step that writes this table, its transaction open."""
        with psycopg.connect(self.coalition.database_url) as blocker:
            blocker.execute(f"LOCK TABLE settlement.{table} IN SHARE MODE".encode())  # reads go on
            eventually(lambda: self._killed_waiting(table, arguments))

    def _killed_waiting(self, table: str, arguments: Sequence[str]) -> bool:
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
        process = self.begin(*arguments)
        try:
            eventually(
                lambda: process.poll() is not None or self.coalition.rows(waiting, f"settlement.{table}")
            )
        finally:
            process.kill()
            _, complaint = process.communicate()
        assert process.returncode in (-9, BUSY), complaint.decode()
        return process.returncode == -9

    def kill_after(self, seconds: float, *arguments: str) -> None:
        process = self.begin(*arguments)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        process.communicate()

    def state(self, day: date) -> str | None:
        found = self.coalition.rows("SELECT state FROM settlement.windows WHERE window_date = %s", day)
        return found[0][0] if found else None

    def kept(self, day: date) -> list[tuple[Any, ...]]:
        """Everything that stands for a day, as it is stored."""
        return [
            row
            for table in ("windows", "hub_receipts", "flows", "leg_sums", "entry_sums", "statement_lines")
            for row in self.coalition.rows(
                f"SELECT to_jsonb(kept)::text FROM settlement.{table} AS kept WHERE window_date = %s ORDER BY 1",
                day,
            )
        ] + self.coalition.rows("SELECT document FROM settlement.certificates WHERE window_date = %s", day)


@pytest.fixture(scope="module")
def office(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    directory = tmp_path_factory.mktemp("hub")
    with databases.fresh() as url:
        begin = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, 23, 59, 50, tzinfo=ZONE)
        site, people = new_site(directory, {"DATABASE_URL": url}, f"--manual-clock={begin.isoformat()}")
        with running(site, people, url) as coalition:
            found_coalition(coalition)
            finance = Key.generate("operator", "fiona")
            coalition.operate(lambda it: it.admit_key(finance, [partners_service_pb2.ROLE_FINANCE_MAKER]))
            made = Office(
                coalition,
                {
                    "DATABASE_URL": url,
                    "TONGDUI_HUB_ADDRESS": coalition.hub.address,
                    "TONGDUI_HUB_KEYS": str(site.hub_keys_file),
                    "TONGDUI_AUDIENCE": site.audience,
                    "TONGDUI_SETTLEMENT_KEY": str(finance.save(directory / "finance")),
                },
            )
            made.settle("migrate")
            yield made


async def set_time(coalition: Coalition, moment: datetime) -> None:
    operators = open_operators(coalition.site, coalition.hub.address, coalition.people)
    try:
        await operators.first.set_time(moment)
    finally:
        await operators.close()


async def cross(load: Load, office: Office, day: date) -> None:
    """The clock passes the cut-off in the middle of the writers' calls, and the day is settled against all odds."""
    evening = datetime(day.year, day.month, day.day, 23, 59, 50, tzinfo=ZONE)
    await set_time(load.coalition, evening)
    load.day, load.pause = day, 0.0
    await load.answers(100)
    await set_time(load.coalition, evening + timedelta(seconds=10))
    await load.answers(100)
    load.pause = PAUSE_SECONDS
    await asyncio.to_thread(settle_against_all_odds, load, office, day)


def settle_against_all_odds(load: Load, office: Office, day: date) -> None:
    run = ("run", "--date", day.isoformat())
    for table, state in STEPS.items():
        office.kill_inside(table, *run)

        assert office.state(day) == state
    for _ in range(RANDOM_KILLS):
        office.kill_after(load.chance.uniform(0.3, 1.5), *run)
    (settled,) = office.settle(*run)["days"]
    kept = office.kept(day)
    (again,) = office.settle(*run)["days"]

    assert (settled["state"], settled["net_minor"]) == ("CERTIFIED", 0)
    assert again == settled
    assert office.kept(day) == kept


def replayed(answers: Sequence[tuple[str, Earned | Burned]]) -> dict[Line, int]:
    """Micros received less paid by party and component, one answer after the other."""
    sums: Counter[Line] = Counter()
    for code, answer in answers:
        if isinstance(answer, Earned):
            owed = [(code, "ISSUE_FUNDING", "POOL", "ESCROW", answer.points * FUNDING)]
            owed += [(code, "ISSUE_FEE", "OPERATOR", "ISSUE_FEE", answer.points * FEE)]
        else:
            paid = answer.reimbursement_micros
            owed = [("POOL", "ESCROW", code, "BURN_REIMBURSE", paid)]
            owed += [("POOL", "ESCROW", "OPERATOR", "SPREAD", answer.points * FUNDING - paid)]
        for payer, payer_component, payee, payee_component, micros in owed:
            sums[payer, payer_component] -= micros
            sums[payee, payee_component] += micros
    return {line: micros for line, micros in sums.items() if micros}


def windows_by_the_rule(decided: Mapping[int, date], closed: Sequence[tuple[date, int]]) -> dict[int, date]:
    """The window of each batch by its sequence, from the day it was decided on: dates never go back along the chain.

    Batches decided side by side around the cut-off may take their sequences in any order, and one may take its own
    after the day was closed (docs/adr/0007).
    """
    windows: dict[int, date] = {}
    reached = date.min
    for sequence, day in sorted(decided.items()):
        opened = (window + timedelta(days=1) for window, last in closed if last < sequence)
        reached = windows[sequence] = max(reached, day, *opened)
    return windows


def check_windows(load: Load, coalition: Coalition, days: Sequence[date]) -> None:
    """Every answered entry is in the one window that is its own, and statements are the sums of the answers."""
    posted = coalition.rows("SELECT entry_id, window_date, batch_sequence FROM exchange.posted_entries_v1")
    windows = {entry_id: window_date for entry_id, window_date, _ in posted}
    answers = {answer.entry_id: (code, answer) for code, answer in load.accepted.values()}
    assert len(posted) == len(windows) == len(load.accepted)
    assert windows.keys() == answers.keys()
    ranges = coalition.rows(
        "SELECT window_date, first_sequence, last_sequence, entry_count FROM settlement.windows ORDER BY 1"
    )
    assert [row[0] for row in ranges] == list(days)
    decided = {sequence: decided_on(answers[entry_id][1]) for entry_id, _, sequence in posted}
    by_the_rule = windows_by_the_rule(decided, [(row[0], row[2]) for row in ranges])
    assert {sequence: window_date for _, window_date, sequence in posted} == by_the_rule
    following = 1
    for day, first, last, entry_count in ranges:
        inside = {sequence for _, window_date, sequence in posted if window_date == day}
        assert first == following <= min(inside)
        assert max(inside) <= last
        of_the_day = [answers[entry_id] for entry_id, window_date, _ in posted if window_date == day]
        assert entry_count == len(of_the_day)
        lines = coalition.rows(
            "SELECT party_id, component, exact_micros::bigint FROM settlement.statement_lines"
            " WHERE window_date = %s AND exact_micros <> 0",
            day,
        )
        assert {(party, component): micros for party, component, micros in lines} == replayed(of_the_day)
        following = last + 1


def test_windows_that_close_under_50_writers_settle_what_was_answered_however_often_a_run_is_killed(
    office: Office,
) -> None:
    coalition = office.coalition
    members = [coalition.member("cafe", "books") for _ in range(12)]
    load = Load(coalition, members, random.Random(4))
    days = [FIRST_DAY + timedelta(days=number) for number in range(CROSSINGS)]

    async def live() -> None:
        async with writing(load):
            for day in days:
                await cross(load, office, day)

    asyncio.run(live())

    last = ("--through", days[-1].isoformat())
    audits = office.settle("audit-journal", *last)["audits"]
    checked = office.settle("check", *last)
    assert [(audit["window_date"], audit["holds"]) for audit in audits] == [(str(day), True) for day in days]
    assert (checked["holds"], checked["windows"]) == (True, len(days))
    check_windows(load, coalition, days)
    assert all(len(load.of(day)) >= 100 for day in (*days, days[-1] + timedelta(days=1)))
    assert load.refused.keys() == {"INSUFFICIENT_POINTS"}
