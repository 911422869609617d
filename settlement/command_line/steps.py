"""The commands that settle: close, net, certify, and run, which is all three."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from settlement.command_line import screen
from settlement.command_line.csv_rows import statements_csv
from settlement.command_line.session import (
    Session,
    make_verifier,
    open_daily_run,
    open_hub,
    own_key,
    read_day,
)
from settlement.core.business_day import days, window_end
from settlement.core.certificate import check_content, time_text
from settlement.core.checks import Check
from settlement.core.rounding import rounding_bounds
from settlement.core.run_state import StepOutOfOrder, WindowState
from settlement.core.statement import Statement, payable_minor, statements
from settlement.core.window import ClosedWindow, Computed, Ledger
from settlement.daily_run import ChecksFailed, DailyRun, Verify
from settlement.rpc.hub_client import HubClient, HubRefused
from settlement.store.load import StoredCertificate


def close(session: Session, arguments: argparse.Namespace) -> None:
    """Has the hub fix a day's watermark."""
    verify = make_verifier(session.settings)
    with open_daily_run(session.settings) as run, open_hub(session.settings) as hub:
        window = _close(run, hub, verify, arguments.date)
    content = {
        "window_date": str(window.window_date),
        "first_sequence": window.first_sequence,
        "last_sequence": window.last_sequence,
        "last_hash": window.last_hash.hex(),
        "entry_count": window.entry_count,
        "close_time": time_text(window.close_time),
    }
    text = f"{window.window_date} closed: {window.entry_count:,} entries, last batch {window.last_sequence:,}"
    session.show(content, lambda: text)


def net(session: Session, arguments: argparse.Namespace) -> None:
    """Computes a closed day's statement lines."""
    with open_daily_run(session.settings) as run:
        computed = run.net(arguments.date)
    day = read_day(session, arguments.date)
    content = {"window_date": str(arguments.date), "state": day.state.value} | _figures(day.statements)
    text = f"{arguments.date} computed: {len(computed.lines)} statement lines to date"
    session.show(content, lambda: f"{text}, {screen.payable_text(day.statements, day.ledger)} payable")


def certify(session: Session, arguments: argparse.Namespace) -> None:
    """Checks a computed day and signs its certificate."""
    signer, verify = own_key(session.settings), make_verifier(session.settings)
    with open_daily_run(session.settings) as run:
        try:
            certificate, checks = run.certify(arguments.date, signer, verify)
        except ChecksFailed as failure:
            content = {"window_date": str(arguments.date), "checks": list(map(check_content, failure.checks))}
            session.show(content, partial(screen.checks_view, failure.checks))
            raise
    content = {
        "window_date": str(arguments.date),
        "certificate_sha256": certificate.document_sha256,
        "key_id": certificate.key_id,
        "checks": list(map(check_content, checks)),
    }
    session.show(content, partial(screen.certificate_view, certificate))


def run(session: Session, arguments: argparse.Namespace) -> None:
    """Closes, nets and certifies one day or every day that is due, on one connection."""
    signer, verify = own_key(session.settings), make_verifier(session.settings)
    done: list[dict[str, Any]] = []
    content: dict[str, Any] = {"days": done}
    with open_daily_run(session.settings) as daily, open_hub(session.settings) as hub:
        pending = [arguments.date] if arguments.date else _due(daily, hub, verify, arguments)
        try:
            for window_date in _progress(pending, session):
                window = _close(daily, hub, verify, window_date)
                computed = daily.net(window_date)
                signed, checks = daily.certify(window_date, signer, verify)
                done.append(_day_content(window, computed, checks, signed))
                if arguments.csv:
                    _write_day(Path(arguments.csv), window_date, computed, daily.ledger)
        except ChecksFailed as failure:
            content["failed"] = {
                "window_date": str(failure.window_date),
                "checks": list(map(check_content, failure.checks)),
            }
            raise
        finally:
            # Whatever ended the run, the days before that are settled and are shown.
            session.show(content, partial(screen.run_view, done, content.get("failed"), daily.ledger))


def _close(run: DailyRun, hub: HubClient, verify: Verify, window_date: date) -> ClosedWindow:
    try:
        return run.close(window_date, hub, verify)
    except HubRefused as refusal:
        if refusal.reason == "WINDOW_STILL_OPEN":
            ends = window_end(window_date, run.ledger.cut_off_seconds, ZoneInfo(run.ledger.time_zone))
            raise StepOutOfOrder(
                f"{window_date}: the window is still open; it ends at {time_text(ends)} on the ledger clock"
            ) from None
        if refusal.reason == "WINDOW_OUT_OF_ORDER":
            expected = refusal.metadata.get("next_window_date", "another one")
            raise StepOutOfOrder(f"{window_date}: the hub's next window to close is {expected}") from None
        raise


def _due(run: DailyRun, hub: HubClient, verify: Verify, arguments: argparse.Namespace) -> list[date]:
    """The days `run --through` has to deal with."""
    pending = run.days_through(arguments.through, arguments.first)
    if not pending or arguments.first:
        return pending
    # Before anything is settled only the hub knows where its ledger began; asked for another day it tells.
    try:
        run.close(pending[0], hub, verify)
    except HubRefused as refusal:
        begin = refusal.metadata.get("next_window_date")
        if refusal.reason == "WINDOW_OUT_OF_ORDER" and begin:
            return list(days(date.fromisoformat(begin), arguments.through))
        # Any other refusal comes again, and is told, when the run itself closes this day.
    return pending


def _progress(pending: Sequence[date], session: Session) -> Iterator[date]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    errors = screen.make_console(stderr=True)
    with Progress(*columns, console=errors, disable=session.as_json or not errors.is_terminal) as progress:
        task = progress.add_task("settling", total=len(pending))
        for window_date in pending:
            progress.update(task, description=f"settling {window_date}")
            yield window_date
            progress.advance(task)


def _day_content(
    window: ClosedWindow, computed: Computed, checks: Sequence[Check], signed: StoredCertificate
) -> dict[str, Any]:
    return {
        "window_date": str(window.window_date),
        "state": WindowState.CERTIFIED.value,
        "entry_count": window.entry_count,
        "check_count": len(checks),
        "rounding_to_date_minor": rounding_bounds(computed.lines).to_date_minor,
        "certificate_sha256": signed.document_sha256,
    } | _figures(statements(window.window_date, computed.lines))


def _figures(settled: Sequence[Statement]) -> dict[str, Any]:
    return {
        "payable_minor": payable_minor(settled),
        "net_minor": sum(one.net_minor for one in settled),
        "parties": {one.party_id: one.net_minor for one in settled},
    }


def _write_day(directory: Path, window_date: date, computed: Computed, ledger: Ledger) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    settled = statements(window_date, computed.lines)
    text = statements_csv(settled, ledger.minor_unit_digits, ledger.currency_code)
    (directory / f"{window_date}.csv").write_text(text, encoding="utf-8", newline="")
