"""The commands that go from a statement's line down to the hub's journal: lines and entry."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Final, TextIO

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from settlement.command_line.session import Misconfigured, NotThere, Session, open_snapshot
from settlement.core.amounts import MICRO_DIGITS, decimal_text, micros_texts
from settlement.core.certificate import time_text
from settlement.core.drill_down import LineEntry, PostedEntry, line_entry_content, posted_entry_content
from settlement.core.rounding import StatementLine
from settlement.core.run_state import WindowState
from settlement.store import feed, load
from settlement.store.drill import BEGINNING, load_entry, load_line_entries, load_party_entries

PAGE: Final = 5_000
"""Entries read at once where all are wanted."""

CSV_COLUMNS: Final = (
    *(
        "window_date",
        "party_id",
        "component",
        "place",
        "entry_id",
        "partner_id",
        "request_id",
        "kind",
        "reference",
    ),
    *("store_id", "terminal_id", "member_id", "event_time", "points", "rate_version", "line_count", "exact"),
)


def lines(session: Session, arguments: argparse.Namespace) -> None:
    """Shows the entries behind one line of a statement, or writes them as CSV."""
    with open_snapshot(session.settings) as connection:
        line = _statement_line(connection, arguments)
        if arguments.csv:
            _write_csv(connection, arguments)
            return
        found = load_line_entries(
            connection,
            arguments.date,
            arguments.partner,
            arguments.component,
            arguments.after,
            arguments.limit + 1,
        )
        ledger = feed.read_ledger(connection)
    page, more = found[: arguments.limit], len(found) > arguments.limit
    following = str(page[-1].place) if more else ""
    content = {
        "window_date": str(arguments.date),
        "party_id": arguments.partner,
        "component": arguments.component,
        "exact_micros": line.exact_micros,
        "amount_minor": line.amount_minor,
        "line_count": line.line_count,
        "entries": list(map(line_entry_content, page)),
        "next_after": following,
    }
    title = f"Behind {arguments.component} of {arguments.partner}, {arguments.date}, {ledger.currency_code}"
    session.show(content, lambda: _page_view(title, line, page, following, ledger.minor_unit_digits))


def entry(session: Session, arguments: argparse.Namespace) -> None:
    """Shows one entry with its legs, its lines, and what the hub signed of it."""
    with open_snapshot(session.settings) as connection:
        found = load_entry(connection, arguments.entry_id)
        if found is None:
            raise NotThere(f"{arguments.entry_id}: the journal has no such entry")
        stored = load.load_window(connection, found.window_date)
        digits = feed.read_ledger(connection).minor_unit_digits
    state = stored.state.value if stored else "open"
    content = {**posted_entry_content(found), "window_state": state}
    session.show(content, lambda: _entry_view(found, state, digits))


def all_line_entries(
    connection: Connection, window_date: date, party_id: str, component: str = ""
) -> Iterator[LineEntry]:
    """The entries behind one line of a party's statement, or without `component` behind all, page by page."""
    after = BEGINNING
    while True:
        page = (
            load_line_entries(connection, window_date, party_id, component, after, PAGE)
            if component
            else load_party_entries(connection, window_date, party_id, after, PAGE)
        )
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].place


def _statement_line(connection: Connection, arguments: argparse.Namespace) -> StatementLine:
    stored = load.load_window(connection, arguments.date)
    if stored is None or not stored.state.reached(WindowState.COMPUTED):
        raise NotThere(f"{arguments.date}: not computed; run `run --date {arguments.date}` first")
    own = [
        line
        for line in load.load_computed(connection, arguments.date).lines
        if line.party_id == arguments.partner
    ]
    for line in own:
        if line.component == arguments.component:
            return line
    known = ", ".join(line.component for line in own if line.moved) or "none"
    raise Misconfigured(
        f"--component {arguments.component}: no line of {arguments.partner} on {arguments.date}; there are: {known}"
    )


def _write_csv(connection: Connection, arguments: argparse.Namespace) -> None:
    found = all_line_entries(connection, arguments.date, arguments.partner, arguments.component)
    if arguments.csv == "-":
        _write_rows(sys.stdout, arguments, found)
    else:
        with Path(arguments.csv).open("w", encoding="utf-8", newline="") as file:
            _write_rows(file, arguments, found)


def _write_rows(file: TextIO, arguments: argparse.Namespace, found: Iterable[LineEntry]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for one in found:
        texts = [one.entry_id, one.partner_id, one.request_id, one.kind, one.reference, one.store_id]
        texts += [one.terminal_id, one.member_id]
        figures = (time_text(one.event_time), one.points, one.rate_version, one.line_count)
        exact = decimal_text(one.micros, MICRO_DIGITS)
        head = (arguments.date.isoformat(), arguments.partner, one.component, one.place)
        writer.writerow((*head, *map(plain_text, texts), *figures, exact))


def plain_text(text: str) -> str:
    """A text for a CSV cell that no spreadsheet takes for a formula: with an apostrophe before it where it would."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _page_view(
    title: str, line: StatementLine, page: list[LineEntry], following: str, digits: int
) -> RenderableType:
    table = Table(header_style="")
    for name in (
        "place",
        "entry",
        "posted by",
        "request",
        "kind",
        "reference",
        "store",
        "member",
        "event time",
    ):
        table.add_column(name, overflow="fold")
    for name in ("points", "rates", "exact"):
        table.add_column(name, justify="right", no_wrap=True)
    amounts = [one.micros for one in page]
    texts = micros_texts([*amounts, sum(amounts), line.exact_micros], digits)
    for one, exact in zip(page, texts, strict=False):
        cells = [str(one.place), one.entry_id, one.partner_id, one.request_id, one.kind, one.reference]
        cells += [one.store_id, one.member_id, time_text(one.event_time)[:19]]
        table.add_row(*map(Text, cells), f"{one.points:,}", str(one.rate_version), exact)
    shown = f"{len(page):,} entries shown, {texts[-2]}; the whole line: {texts[-1]}, {line.line_count:,} money lines"
    more = f"next page: --after {following}" if following else "no more entries"
    return Group(Text(title, style="bold"), table, shown, more, "")


def _entry_view(found: PostedEntry, state: str, digits: int) -> RenderableType:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in (
        ("kind", found.kind),
        ("posted by", found.partner_id),
        ("request", f"{found.request_id} (the hub's receipt for it is with {found.partner_id})"),
        ("member", found.member_id),
        ("reference", found.reference),
        ("store, terminal", f"{found.store_id} {found.terminal_id}"),
        ("event time", time_text(found.event_time)),
        ("decided", time_text(found.decided_time)),
        ("points", f"{found.points:,}"),
        ("rate version", str(found.rate_version)),
        ("window", f"{found.window_date}, {state}"),
        ("batch", f"{found.place.batch_sequence:,}, entry {found.place.entry_index}"),
        ("batch's digest", found.digest.hex()),
        ("chain's hash", found.chain_hash.hex()),
    ):
        facts.add_row(Text(name, style="dim"), Text(value))
    return Group(
        Text(f"Entry {found.entry_id}", style="bold"), facts, "", _legs(found), _lines(found, digits), ""
    )


def _legs(found: PostedEntry) -> Table:
    table = Table(header_style="", title="points", title_justify="left")
    for name in ("issuer", "from", "to", "points", "F", "P"):
        table.add_column(name, no_wrap=True)
    for leg in found.legs:
        funding, prefunded = micros_texts([leg.funding_micros, leg.prefunded_micros], 2)
        table.add_row(leg.issuer_id, leg.from_account, leg.to_account, f"{leg.points:,}", funding, prefunded)
    return table


def _lines(found: PostedEntry, digits: int) -> Table:
    table = Table(header_style="", title="money", title_justify="left")
    for name in ("pays", "as", "receives", "as", "exact"):
        table.add_column(name, no_wrap=True)
    texts = micros_texts([line.micros for line in found.lines], digits)
    for line, text in zip(found.lines, texts, strict=True):
        table.add_row(line.payer_id, line.payer_component, line.payee_id, line.payee_component, text)
    return table
