"""The commands that look across windows: rollforward, exposure, ageing."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from settlement.command_line.session import NotThere, Session, open_snapshot
from settlement.core.amounts import MICRO_DIGITS, decimal_text, micros_per_minor, micros_texts, minor_text
from settlement.core.exposure import BUCKETS, Aged, Exposure, aged, aged_content, exposures
from settlement.core.roll_forward import MOVEMENTS, RollForward, roll_forward_content, totals
from settlement.core.window import Ledger
from settlement.store import feed, positions

Rows = Iterable[Sequence[object]]

_ALL: Final = "all"


class RollForwardOpen(Exception):
    """A roll-forward does not close; `str()` says whose and by how much."""


def rollforward(session: Session, arguments: argparse.Namespace) -> None:
    """Shows how each issuer's outstanding points and their money came to be what they are."""
    last = arguments.through or arguments.date
    with open_snapshot(session.settings) as connection:
        ledger = feed.read_ledger(connection)
        found = positions.load_roll_forwards(connection, arguments.date, last)
    if arguments.csv:
        _write(
            arguments.csv,
            ("issuer_id", "measure", "opening", *MOVEMENTS, "closing"),
            _roll_forward_rows(found),
        )
    else:
        content = {
            "first_date": str(arguments.date),
            "last_date": str(last),
            "currency_code": ledger.currency_code,
            "roll_forwards": list(map(roll_forward_content, found)),
        }
        title = f"Liability roll-forward, {arguments.date} to {last}, {ledger.currency_code}"
        session.show(content, lambda: _roll_forward_view(title, found, ledger.minor_unit_digits))
    _refuse_open(found)


def _refuse_open(found: Iterable[RollForward]) -> None:
    for row in found:
        if row.difference:
            raise RollForwardOpen(f"{row.issuer_id}: {row.measure} does not close, by {row.difference}")


def _roll_forward_rows(found: Iterable[RollForward]) -> Iterator[tuple[object, ...]]:
    for row in found:
        amounts = (row.opening, *(row.moved[name] for name in MOVEMENTS), row.closing)
        money = row.measure != "points"
        texts = (decimal_text(it, MICRO_DIGITS) if money else str(it) for it in amounts)
        yield (row.issuer_id, row.measure, *texts)


def _roll_forward_view(title: str, found: Sequence[RollForward], digits: int) -> RenderableType:
    parts: list[RenderableType] = [Text(title, style="bold")]
    for measure, text in (
        ("points", "points"),
        ("liability", "liability, points x F"),
        ("escrow", "escrow, points x P"),
    ):
        rows = [*(row for row in found if row.measure == measure), totals(found, measure, _ALL)]
        table = _table(["issuer"], ["opening", *(name.replace("_", " ") for name in MOVEMENTS), "closing"])
        columns = [
            [row.opening for row in rows],
            *([MOVEMENTS[name] * row.moved[name] for row in rows] for name in MOVEMENTS),
            [row.closing for row in rows],
        ]
        shown = [
            [f"{it:,}" for it in one] if measure == "points" else micros_texts(one, digits) for one in columns
        ]
        for number, row in enumerate(rows):
            if row.issuer_id == _ALL:
                table.add_section()
            table.add_row(row.issuer_id, *(column[number] for column in shown))
        parts += [text, table]
    return Group(*parts, "")


def exposure(session: Session, arguments: argparse.Namespace) -> None:
    """Shows what each party owes and is owed that is not settled yet, gross and net."""
    with open_snapshot(session.settings) as connection:
        ledger = feed.read_ledger(connection)
        unit_micros = micros_per_minor(ledger.minor_unit_digits)
        found = exposures(
            positions.load_unsettled(connection), positions.load_posted(connection), unit_micros
        )
    if arguments.csv:
        _write(arguments.csv, _EXPOSURE_COLUMNS, (_exposure_row(row, unit_micros) for row in found))
        return
    content = {
        "currency_code": ledger.currency_code,
        "minor_unit_digits": ledger.minor_unit_digits,
        "exposures": [asdict(row) for row in found],
    }
    session.show(content, lambda: _exposure_view(found, ledger))


_EXPOSURE_COLUMNS: Final = (
    *("party_id", "windows", "receives", "pays", "posted_receives", "posted_pays", "net"),
)


def _exposure_row(row: Exposure, unit_micros: int) -> tuple[object, ...]:
    amounts = (
        row.receives_minor * unit_micros,
        row.pays_minor * unit_micros,
        row.posted_receives_micros,
        row.posted_pays_micros,
        row.net_micros,
    )
    return (row.party_id, row.window_count, *(decimal_text(it, MICRO_DIGITS) for it in amounts))


def _exposure_view(found: Sequence[Exposure], ledger: Ledger) -> RenderableType:
    digits = ledger.minor_unit_digits
    table = _table(["party"], ["windows", "receives", "pays", "since: receives", "since: pays", "net"])
    posted = [
        micros_texts([*column, sum(column)], digits)
        for column in (
            [row.posted_receives_micros for row in found],
            [row.posted_pays_micros for row in found],
            [row.net_micros for row in found],
        )
    ]
    for number, row in enumerate(found):
        settled = (minor_text(row.receives_minor, digits), minor_text(row.pays_minor, digits))
        table.add_row(row.party_id, f"{row.window_count:,}", *settled, *(column[number] for column in posted))
    table.add_section()
    sums = (sum(row.receives_minor for row in found), sum(row.pays_minor for row in found))
    table.add_row(
        "all parties", "", *(minor_text(it, digits) for it in sums), *(column[-1] for column in posted)
    )
    title = Text(f"Not settled, {ledger.currency_code}; negative is what a party owes", style="bold")
    return Group(title, table, "since: what is posted and not computed yet, exact", "")


def ageing(session: Session, arguments: argparse.Namespace) -> None:
    """Shows what is not settled, and what members owe issuers, by age."""
    with open_snapshot(session.settings) as connection:
        ledger = feed.read_ledger(connection)
        as_of = arguments.as_of or positions.load_ledger_day(connection)
        if as_of is None:
            raise NotThere("nothing is posted yet")
        unsettled = positions.load_unsettled(connection)
        deficits = positions.load_deficits(connection, ledger.time_zone)
    lists = {
        "positions_minor": aged(((it.party_id, it.window_date, it.net_minor) for it in unsettled), as_of),
        "deficit_points": aged(((it.issuer_id, it.raised_date, it.points) for it in deficits), as_of),
        "deficit_micros": aged(((it.issuer_id, it.raised_date, it.micros) for it in deficits), as_of),
    }
    if arguments.csv:
        columns = ("list", "party_id", *(name for name, _ in BUCKETS), "total")
        _write(arguments.csv, columns, _ageing_rows(lists))
        return
    content: dict[str, Any] = {"as_of": str(as_of), "currency_code": ledger.currency_code}
    content |= {name: list(map(aged_content, rows)) for name, rows in lists.items()}
    session.show(content, lambda: _ageing_view(lists, as_of, ledger))


def _ageing_rows(lists: dict[str, tuple[Aged, ...]]) -> Iterator[tuple[object, ...]]:
    for name, rows in lists.items():
        for row in rows:
            yield (name, row.party_id, *row.amounts, row.total)


def _ageing_view(lists: dict[str, tuple[Aged, ...]], as_of: date, ledger: Ledger) -> RenderableType:
    digits = ledger.minor_unit_digits
    titles = {
        "positions_minor": f"Net positions not settled, {ledger.currency_code}; negative is what a party owes",
        "deficit_points": "Deficits: points that members owe an issuer",
        "deficit_micros": f"Deficits in money, {ledger.currency_code}",
    }
    parts: list[RenderableType] = [Text(f"Ages in days as of {as_of}", style="bold")]
    for name, rows in lists.items():
        table = _table(
            ["party" if name == "positions_minor" else "issuer"], [*(it for it, _ in BUCKETS), "total"]
        )
        for row in rows:
            table.add_row(row.party_id, *_aged_texts(name, [*row.amounts, row.total], digits))
        table.add_section()
        sums = [sum(column) for column in zip(*((*row.amounts, row.total) for row in rows), strict=True)]
        table.add_row(_ALL, *_aged_texts(name, sums or [0] * (len(BUCKETS) + 1), digits), style="bold")
        parts += [titles[name], table]
    return Group(*parts, "")


def _aged_texts(name: str, amounts: Sequence[int], digits: int) -> list[str]:
    if name == "positions_minor":
        return [minor_text(it, digits) for it in amounts]
    return [f"{it:,}" for it in amounts] if name == "deficit_points" else micros_texts(amounts, digits)


def _write(target: str, columns: Sequence[str], rows: Rows) -> None:
    if target == "-":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([columns, *rows])
        return
    with Path(target).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([columns, *rows])


def _table(texts: Sequence[str], amounts: Sequence[str]) -> Table:
    table = Table(header_style="")
    for name in texts:
        table.add_column(name, no_wrap=True)
    for name in amounts:
        table.add_column(name, justify="right", no_wrap=True)
    return table
