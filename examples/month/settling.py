"""`tongdui-settle` as the demo uses it: a program of its own, told everything by environment and arguments."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

_PROGRAM: Final = (sys.executable, "-m", "settlement")


class SettlementFailed(RuntimeError):
    """`tongdui-settle` ended with an error, or what it settled does not add up; the message says how."""


@dataclass(slots=True)
class Settlement:
    """Settles days that are over, beside everything else, each run in a process of its own.

    A run closes, nets and certifies every day that is due, as a nightly job would. While it works more days
    may end; the next run has them all. `settled` are the days as the runs reported them.
    """

    environment: Mapping[str, str]
    statements: Path
    settled: list[dict[str, Any]] = field(default_factory=list)
    _ended: date | None = None
    _running: asyncio.Task[None] | None = None

    def end_of(self, day: date) -> None:
        """Says that a day is over on the ledger clock. Raises what a run before came to grief with."""
        self._ended = day
        if self._running is not None and self._running.done():
            self._running.result()
            self._running = None
        if self._running is None:
            self._running = asyncio.create_task(self._settle())

    async def finish(self) -> None:
        """Waits until every day that is over is settled. Raises `SettlementFailed`."""
        if self._running is not None:
            await self._running

    async def _settle(self) -> None:
        done: date | None = None
        while self._ended is not None and self._ended != done:
            done = self._ended
            await self._run_through(done)

    async def _run_through(self, day: date) -> None:
        arguments = ("run", "--through", day.isoformat(), "--csv", str(self.statements), "--json")
        process = await asyncio.create_subprocess_exec(
            *_PROGRAM,
            *arguments,
            env=_whole(self.environment),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, complaint = await process.communicate()
        except asyncio.CancelledError:
            process.terminate()  # every step it committed stands
            await process.wait()
            raise
        if process.returncode:
            raise SettlementFailed(_said(arguments, process.returncode, output, complaint))
        days: list[dict[str, Any]] = json.loads(output)["days"]
        for one in days:
            check_day(one)
        self.settled += days


def check_day(settled: Mapping[str, Any]) -> None:
    """Raises `SettlementFailed` unless a day of `run --json` is certified and its nets sum to zero."""
    day, nets = settled["window_date"], settled["parties"].values()
    if settled["state"] != "CERTIFIED" or not settled["check_count"]:
        raise SettlementFailed(f"{day}: {settled['state']}, {settled['check_count']} checks")
    if settled["net_minor"] or sum(nets):
        raise SettlementFailed(f"{day}: the nets of all parties sum to {sum(nets)} minor units, not to 0")


def check_certificate(document: Mapping[str, Any], day: date) -> None:
    """Raises `SettlementFailed` unless a certificate is for this day and says true to every check."""
    content = document["certificate"]
    if content["window"]["window_date"] != day.isoformat():
        raise SettlementFailed(f"{day}: the certificate is for {content['window']['window_date']}")
    failed = [check["name"] for check in content["checks"] if check["holds"] is not True]
    if failed or not content["checks"]:
        raise SettlementFailed(
            f"{day}: the certificate does not say true to {', '.join(failed) or 'anything'}"
        )


def prove(environment: Mapping[str, str], last: date) -> dict[str, Any]:
    """Everything settled, proven twice more: every row hashed again, and one sum over the whole journal.

    Raises `SettlementFailed` where a row is not as the hub signed for it, or any statement is not that sum to the
    minor unit.
    """
    audits = ask(environment, "audit-journal", "--through", last.isoformat())["audits"]
    checked = ask(environment, "check", "--through", last.isoformat())
    if checked["holds"] is not True or checked["net_minor"] or not all(one["holds"] for one in audits):
        raise SettlementFailed(f"to {last}: not proven: {checked['fault']}")
    rows = sum(one["entries"] + one["legs"] + one["lines"] for one in audits)
    return {"audited": {"windows": len(audits), "rows": rows}, "checked": checked}


def migrate(environment: Mapping[str, str]) -> None:
    """Prepares settlement's schema in the hub's database. Raises `SettlementFailed`."""
    ask(environment, "migrate")


def ask(environment: Mapping[str, str], *arguments: str) -> Any:
    """Runs one command with `--json` and gives what it said. Raises `SettlementFailed`."""
    command = [*_PROGRAM, *arguments, "--json"]
    done = subprocess.run(command, env=_whole(environment), capture_output=True, check=False)
    if done.returncode:
        raise SettlementFailed(_said(arguments, done.returncode, done.stdout, done.stderr))
    return json.loads(done.stdout)


def show(environment: Mapping[str, str], *arguments: str) -> None:
    """Runs one command for a person to read, saying which. Raises `SettlementFailed`."""
    print(f"$ tongdui-settle {' '.join(arguments)}", flush=True)
    done = subprocess.run([*_PROGRAM, *arguments], env=_whole(environment), check=False)
    if done.returncode:
        raise SettlementFailed(f"tongdui-settle {' '.join(arguments)} ended with code {done.returncode}")


def _whole(environment: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, **environment}


def _said(arguments: tuple[str, ...], code: int, output: bytes, complaint: bytes) -> str:
    said = f"tongdui-settle {' '.join(arguments)} ended with code {code}: {complaint.decode().strip()}"
    failed = json.loads(output).get("failed") if output else None
    for check in failed["checks"] if failed else ():
        if check["holds"] is not True:
            said += f"\n{check['name']}: {check['claim']}: {check['figures']}"
    return said
