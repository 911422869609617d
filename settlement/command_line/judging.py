"""The commands by which people judge a run: approve, abort, and runs, which shows what they did."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType

from settlement.command_line import screen
from settlement.command_line.session import NotThere, Session, open_daily_run, open_snapshot
from settlement.core.certificate import time_text
from settlement.store.runs import StoredRun, load_runs


def approve(session: Session, arguments: argparse.Namespace) -> None:
    """Approves a certified day as a second person."""
    session.settings.require("person_key_file")
    with open_daily_run(session.settings) as run:
        approval = run.approve(arguments.date)
    content = {
        "window_date": str(approval.window_date),
        "state": "APPROVED",
        "certified_by": approval.certified_by,
        "approved_by": approval.approved_by,
        "certificate_sha256": approval.certificate_sha256,
    }
    text = f"{approval.window_date} approved by {approval.approved_by}, certified by {approval.certified_by}"
    session.show(content, lambda: f"{text}, certificate {approval.certificate_sha256}")


def abort(session: Session, arguments: argparse.Namespace) -> None:
    """Gives up the run of a computed or certified day."""
    session.settings.require("person_key_file")
    with open_daily_run(session.settings) as run:
        run_number = run.abort(arguments.date, arguments.reason)
    content = {"window_date": str(arguments.date), "state": "CLOSED", "run_number": run_number}
    text = f"{arguments.date}: run {run_number - 1} aborted, its figures stay; run {run_number} begins with `net`"
    session.show(content, lambda: text)


def show_runs(session: Session, arguments: argparse.Namespace) -> None:
    """Shows every run of a day: what became of it, by whom, why and when."""
    with open_snapshot(session.settings) as connection:
        runs = load_runs(connection, arguments.date)
    if not runs:
        raise NotThere(f"{arguments.date}: no run yet; run `net --date {arguments.date}` first")
    content = {"window_date": str(arguments.date), "runs": list(map(_run_content, runs))}
    session.show(content, lambda: _runs_table(runs, f"Runs of {arguments.date}"))


def _run_content(run: StoredRun) -> dict[str, Any]:
    return {
        "run_number": run.run_number,
        "state": run.state.value,
        "certified_by": run.certified_by,
        "approved_by": run.approved_by,
        "aborted_by": run.aborted_by,
        "reason": run.reason,
        "begin_time": time_text(run.begin_time),
        "end_time": time_text(run.end_time) if run.end_time else "",
        "certificate_sha256": run.certificate_sha256,
    }


def _runs_table(runs: Sequence[StoredRun], title: str) -> RenderableType:
    table = screen.plain_table(["run", "state", "certified by", "approved by", "aborted by"], [])
    for name in ("reason", "begun", "ended", "certificate"):
        table.add_column(name)
    for run in runs:
        number, *texts, certificate = _run_content(run).values()
        table.add_row(str(number), *texts, certificate[:16])
    return screen.titled(title, table)
