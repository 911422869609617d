"""One run of the demo from its empty directory to its figures, and serving what a run left."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console

from examples.coalition import HubFailed, HubProcess, Site, operator_keys
from examples.month import settling
from examples.month.directory import DemoDirectory
from examples.month.environment import demo_site, settlement_environment, write_for_strangers
from examples.month.figures import check_agreement, collect
from examples.month.screen import DaysShown, make_console, show_days, show_further, show_totals
from examples.month.tills import Totals
from examples.month.walk import Day, Walk, by_day
from examples.purchases.reader import read_month, read_year
from merchant_adapter import Key


@dataclass(frozen=True, slots=True)
class Choices:
    """What a person may choose: the whole year, its first days only, JSON, a hub that stays."""

    year: bool = False
    days: int | None = None
    json: bool = False
    keep: bool = False


@dataclass(slots=True)
class Run:
    """What a run works with, and how long each of its phases took."""

    directory: DemoDirectory
    site: Site
    console: Console
    days: Sequence[Day]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times a block."""
        begin = monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(monotonic() - begin, 2)


def run_demo(directory: DemoDirectory, choices: Choices) -> None:
    """Runs the demo. Raises what does not work or does not hold."""
    console = make_console(stderr=choices.json)
    begin = monotonic()
    days = by_day(list(read_year() if choices.year else read_month()))[: choices.days]
    run = Run(directory, demo_site(directory), console, days, {"read": round(monotonic() - begin, 2)})
    with directory.made_anew() as lock:
        console.print(f"A new hub with an embedded PostgreSQL starts in {_short(directory.path)}")
        with run.phase("start"):
            people = _initialise(run)
            hub = run.site.serve(pass_fds=(lock,))
        try:
            directory.note_hub(hub.process.pid)
            figures = asyncio.run(_walk(run, hub, people))
            _conclude(run, figures, hub, as_json=choices.json)
            if choices.keep:
                show_further(console, _short(directory.path), figures, running=True)
                _wait(hub)
        finally:
            hub.stop()
    if not (choices.json or choices.keep):
        show_further(console, _short(directory.path), figures, running=False)


def serve_again(directory: DemoDirectory) -> None:
    """Serves what the last run left, until interrupted. Raises `DirectoryRefused`, `HubFailed`."""
    console = make_console(stderr=False)
    with directory.held() as lock:
        figures = json.loads(directory.read_figures())
        hub = demo_site(directory).serve(pass_fds=(lock,))
        try:
            directory.note_hub(hub.process.pid)
            write_for_strangers(directory, hub.address)
            show_further(console, _short(directory.path), figures, running=True)
            _wait(hub)
        finally:
            hub.stop()


def _wait(hub: HubProcess) -> None:
    """Waits for Ctrl-C, which is how this is meant to end."""
    with suppress(KeyboardInterrupt):
        hub.process.wait()
        raise HubFailed(f"the hub has ended; its log is {hub.log}")


def _initialise(run: Run) -> list[Key]:
    people = operator_keys()
    run.site.initialise(people, "--zone", "UTC", "--manual-clock", run.days[0].begin_time.isoformat())
    for key in people:
        key.save(run.directory.keys / "operators")
    return people


async def _walk(run: Run, hub: HubProcess, people: Sequence[Key]) -> dict[str, Any]:
    """Everything that calls the hub; gives the figures."""
    totals, first, last = Totals(), run.days[0], run.days[-1]
    async with Walk(run.site, hub.address, people, totals) as walk:
        with run.phase("set up"):
            await walk.admit_finance(run.directory.keys)
            environment = settlement_environment(run.directory, hub.address)
            migrated = asyncio.create_task(asyncio.to_thread(settling.migrate, environment))
            await walk.set_up(first.begin_time, run.directory.keys)
            await migrated
            write_for_strangers(run.directory, hub.address)
        with show_days(run.console, len(run.days)) as shown:
            settlement = settling.Settlement(environment, run.directory.statements)
            with run.phase("days"):
                for day in run.days:
                    await walk.through(day)
                    settlement.end_of(day.date)
                    _show_day(shown, day, totals, settlement)
            with run.phase("settle the rest"):
                shown.waiting("settling")
                await settlement.finish()
            with run.phase("prove"):
                shown.waiting("hashing the journal again, and adding all of it up in one sum")
                proven = await asyncio.to_thread(settling.prove, environment, last.date)
    for partner, receipt in totals.last_receipts.items():
        (run.directory.receipts / f"{partner}.json").write_text(receipt.to_json() + "\n", encoding="utf-8")
    certificate = settling.ask(environment, "certificate", "--date", last.date.isoformat())
    settling.check_certificate(certificate, last.date)
    figures = collect(totals, walk.households, settlement.settled, certificate) | proven
    check_agreement(figures, totals, first.date, last.date)
    return figures


def _show_day(shown: DaysShown, day: Day, totals: Totals, settlement: settling.Settlement) -> None:
    settled = settlement.settled[-1]["window_date"] if settlement.settled else "-"
    shown.day_done(day.date.isoformat(), f"{totals.posted:,} commands, settled to {settled}")


def _conclude(run: Run, figures: dict[str, Any], hub: HubProcess, *, as_json: bool) -> None:
    """Shows the last day as its people would look at it, then the run's figures, which it also keeps."""
    environment = settlement_environment(run.directory, hub.address)
    with run.phase("show"):
        for command in () if as_json else ("statement", "matrix", "certificate"):
            settling.show(environment, command, "--date", figures["last_day"])
    figures["seconds"] = run.seconds
    text = json.dumps(figures, indent=2)
    run.directory.keep_figures(text)
    if as_json:
        print(text)
    else:
        show_totals(run.console, figures)


def _short(path: Path) -> Path:
    """As seen from here, where that is shorter."""
    return min(path, Path(os.path.relpath(path)), key=lambda it: len(str(it)))
