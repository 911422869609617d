"""The commands that show what is settled: statement, matrix, certificate."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from settlement.command_line import screen
from settlement.command_line.csv_rows import statements_csv
from settlement.command_line.drill import all_line_entries
from settlement.command_line.session import (
    Misconfigured,
    NotThere,
    Session,
    open_reads,
    open_snapshot,
    read_day,
)
from settlement.core.certificate import flow_content
from settlement.core.statement import Statement, statement_content
from settlement.store.reads import DayOfStatements


def statement(session: Session, arguments: argparse.Namespace) -> None:
    """Shows all statements of a day, or one partner's, or writes them as CSV."""
    day = read_day(session, arguments.date)
    chosen = _chosen(session, day, arguments)
    if arguments.csv:
        _write(arguments.csv, statements_csv(chosen, day.ledger.minor_unit_digits, day.ledger.currency_code))
        return
    if arguments.xlsx:
        _write_workbook(session, arguments, day, chosen)
        return
    if session.as_json:
        content = {
            "window_date": str(arguments.date),
            "state": day.state.value,
            "currency_code": day.ledger.currency_code,
            "minor_unit_digits": day.ledger.minor_unit_digits,
            "statements": list(map(statement_content, chosen)),
        }
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
        return
    if arguments.partner is None:
        session.console.print(screen.overview(day))
    for one in chosen:
        session.console.print(screen.statement_view(day, one))


def matrix(session: Session, arguments: argparse.Namespace) -> None:
    """Shows who owed whom on a day."""
    day = read_day(session, arguments.date)
    content = {"window_date": str(arguments.date), "flows": list(map(flow_content, day.flows))}
    title = f"Who owed whom on {arguments.date}, exact, {day.ledger.currency_code}"
    digits = day.ledger.minor_unit_digits
    session.show(content, lambda: screen.matrix_view(day.flows, title, digits, session.console))


def certificate(session: Session, arguments: argparse.Namespace) -> None:
    """Shows a day's certificate, or prints it byte for byte."""
    with open_reads(session.settings) as reads:
        found = reads.certificate(arguments.date)
    if found is None:
        raise NotThere(f"{arguments.date}: no certificate; run `run --date {arguments.date}` first")
    if session.as_json:
        # Byte for byte, so that its SHA-256 is the one the next certificate names; a terminal gets a line end.
        sys.stdout.buffer.write(found.document + (b"\n" if sys.stdout.isatty() else b""))
        sys.stdout.flush()
    else:
        session.console.print(screen.certificate_view(found))


def _chosen(session: Session, day: DayOfStatements, arguments: argparse.Namespace) -> tuple[Statement, ...]:
    if arguments.partner is None:
        return day.statements
    own = tuple(one for one in day.statements if one.party_id == arguments.partner)
    if own:
        return own
    with open_reads(session.settings) as reads:
        quiet = reads.statement(arguments.date, arguments.partner)
    if quiet is None:
        raise Misconfigured(f"--partner {arguments.partner}: the coalition has no such partner")
    return (quiet,)


def _write_workbook(
    session: Session, arguments: argparse.Namespace, day: DayOfStatements, chosen: tuple[Statement, ...]
) -> None:
    # Loaded here, because no other command needs it.
    from settlement.command_line.workbook import write_workbook

    with open_snapshot(session.settings) as connection:
        entries = partial(all_line_entries, connection, arguments.date)
        write_workbook(Path(arguments.xlsx), day.ledger, screen.party_names(day), chosen, entries)


def _write(target: str, text: str) -> None:
    if target == "-":
        sys.stdout.write(text)
    else:
        Path(target).write_text(text, encoding="utf-8", newline="")
