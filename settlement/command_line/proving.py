"""The commands that prove what was settled once more: audit-journal and check."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from settlement.command_line import screen
from settlement.command_line.session import NotThere, Session, open_daily_run, open_snapshot
from settlement.core.amounts import micros_per_minor, minor_text
from settlement.core.journal_audit import JournalAudit, JournalDiffers, audit_content
from settlement.core.recount import HistoryDiffers, history_difference
from settlement.store import feed, load, recount


def add_proof_commands(
    command: Callable[..., argparse.ArgumentParser], day: Callable[[str], date], database: tuple[str, ...]
) -> None:
    """Adds both; `command(name, summary, settings, dated=...)` makes one."""
    audit = command(
        "audit-journal",
        "hash a computed day's journal again, row by row",
        (*database, "key_file", "person_key_file"),
        dated=False,
    )
    which = audit.add_mutually_exclusive_group(required=True)
    which.add_argument("--date", type=day, metavar="DAY", help="this day (YYYY-MM-DD)")
    which.add_argument(
        "--through", type=day, metavar="DAY", help="every computed day to this that is not audited yet"
    )
    check = command(
        "check", "compare all statements with one sum over the whole journal", database, dated=False
    )
    check.add_argument(
        "--through", type=day, metavar="DAY", help="last day (default: the newest computed one)"
    )


def audit_journal(session: Session, arguments: argparse.Namespace) -> None:
    """Hashes every row of a day, or of every day that is due, and keeps what came out."""
    done: list[JournalAudit] = []
    with open_daily_run(session.settings) as run:
        pending = [arguments.date] if arguments.date else run.days_to_audit(arguments.through)
        for window_date in pending:
            with _hashing(session, window_date, run.entry_count(window_date)) as seen:
                done.append(run.audit_journal(window_date, seen))
            if not done[-1].holds:
                break
    content: dict[str, Any] = {"audits": list(map(audit_content, done))}
    session.show(content, lambda: "\n".join(map(_audit_text, done)) or "no day is left to audit")
    if done and not done[-1].holds:
        raise JournalDiffers(f"{done[-1].window_date}: {done[-1].fault}")


def _audit_text(audit: JournalAudit) -> str:
    rows = f"{audit.entry_count:,} entries, {audit.leg_count:,} legs, {audit.line_count:,} lines"
    verdict = "as the hub signed for" if audit.holds else audit.fault
    return f"{audit.window_date} audited: {rows} in {audit.batch_count:,} batches: {verdict}"


@contextmanager
def _hashing(session: Session, window_date: date, entry_count: int) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    errors = screen.make_console(stderr=True)
    with Progress(*columns, console=errors, disable=session.as_json or not errors.is_terminal) as progress:
        task = progress.add_task(f"hashing {window_date}", total=entry_count)
        yield lambda count: progress.advance(task, count)


def check(session: Session, arguments: argparse.Namespace) -> None:
    """Compares all statements to a day with one sum over every money line of the journal."""
    with open_snapshot(session.settings) as connection:
        ledger = feed.read_ledger(connection)
        newest = load.load_last_computed_date(connection)
        last = arguments.through or newest
        if last is None or newest is None or last > newest:
            raise NotThere(f"{last or 'no day'}: not computed; the newest computed day is {newest or 'none'}")
        counted = recount.count_journal(connection, last)
        settled = recount.sum_statements(connection, last)
        window_count = recount.count_windows(connection, last)
    fault = history_difference(counted, settled, micros_per_minor(ledger.minor_unit_digits))
    nets: dict[str, int] = {}
    for line in settled:
        nets[line.party_id] = nets.get(line.party_id, 0) + line.amount_minor
    # Each money line is counted with the one who pays and with the one who receives.
    money_lines = sum(movement.line_count for movement in counted.values()) // 2
    content: dict[str, Any] = {
        "through": str(last),
        "windows": window_count,
        "money_lines": money_lines,
        "statement_lines": len(settled),
        "parties": nets,
        "net_minor": sum(nets.values()),
        "holds": not fault,
        "fault": fault,
    }
    net = minor_text(sum(nets.values()), ledger.minor_unit_digits)
    text = (
        f"{window_count:,} windows to {last}: {money_lines:,} money lines added up in one sum"
        f" {'are not' if fault else 'are'} the {len(settled):,} statement lines to date,"
        f" to the minor unit; net of all {net} {ledger.currency_code}"
    )
    session.show(content, lambda: text)
    if fault:
        raise HistoryDiffers(f"to {last}: {fault}")
