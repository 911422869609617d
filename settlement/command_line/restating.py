"""The command `restate`: a closed day beside what it would have been."""

from __future__ import annotations

import argparse
from datetime import date
from functools import partial

from rich.console import RenderableType
from rich.text import Text

from settlement.command_line import screen
from settlement.command_line.session import NotThere, Session, open_snapshot
from settlement.core.amounts import minor_text
from settlement.core.restatement import Restatement
from settlement.core.window import Ledger
from settlement.store import feed
from settlement.store.restatement import read_restatement


def restate(session: Session, arguments: argparse.Namespace) -> None:
    """Shows what a day would have been with everything that happened on it, and changes nothing."""
    with open_snapshot(session.settings) as connection:
        ledger = feed.read_ledger(connection)
        restated = read_restatement(connection, arguments.date)
    if restated is None:
        raise NotThere(f"{arguments.date}: not computed; run `run --date {arguments.date}` first")
    content = {
        "window_date": str(arguments.date),
        "currency_code": ledger.currency_code,
        "minor_unit_digits": ledger.minor_unit_digits,
        "entries_in": restated.entries_in,
        "entries_out": restated.entries_out,
        "lines": [
            {
                "party_id": line.party_id,
                "component": line.component,
                "was_minor": line.was_minor,
                "would_be_minor": line.would_be_minor,
                "difference_minor": line.difference_minor,
                "was_micros": line.was_micros,
                "would_be_micros": line.would_be_micros,
            }
            for line in restated.lines
        ],
        "nets": [
            {"party_id": party, "was_minor": was, "would_be_minor": would, "difference_minor": would - was}
            for party, was, would in restated.nets()
        ],
    }
    session.show(content, partial(_view, arguments.date, restated, ledger))


def _view(window_date: date, restated: Restatement, ledger: Ledger) -> RenderableType:
    digits = ledger.minor_unit_digits
    table = screen.plain_table(["party", "component"], ["was", "would be", "difference"])
    for party, was, would in restated.nets():
        for line in (it for it in restated.lines if it.party_id == party):
            amounts = (line.was_minor, line.would_be_minor, line.difference_minor)
            table.add_row("", line.component, *(minor_text(minor, digits) for minor in amounts), style="dim")
        texts = (minor_text(minor, digits) for minor in (was, would, would - was))
        table.add_row(party, "net", *texts, style="bold")
    totals = [sum(column) for column in zip(*(net[1:] for net in restated.nets()), strict=True)] or [0, 0]
    table.add_section()
    shown = (minor_text(minor, digits) for minor in (*totals, totals[1] - totals[0]))
    table.add_row("all parties", "net", *shown, style="bold")
    moved = (
        f"{restated.entries_in:,} entries of the day are in other windows,"
        f" {restated.entries_out:,} of other days are in this one"
    )
    return screen.titled(f"{window_date} restated, {ledger.currency_code}", table, Text(moved, style="dim"))
