"""Statements as an XLSX workbook whose figures are formulas over the entries behind them.

A sheet a party, one with all parties that nets to 0, and one of entries behind each party's lines. Exact amounts are
shown in the major unit; cached results are settlement's own figures, so the workbook reads the same in a program that
does not calculate.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any, Final

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from settlement.command_line.session import Misconfigured
from settlement.core.amounts import MICRO_DIGITS
from settlement.core.certificate import time_text
from settlement.core.drill_down import LineEntry
from settlement.core.parties import OPERATOR, POOL
from settlement.core.rounding import ROUNDING
from settlement.core.statement import Statement
from settlement.core.window import Ledger

MAX_ROWS: Final = 1_048_576
"""Rows of a sheet, by the format."""

SUMMARY: Final = "Summary"
_MAX_NAME: Final = 31
_FORBIDDEN: Final = re.compile(r"[\[\]:*?/\\']")

Entries = Callable[[str], Iterable[LineEntry]]
"""Gives the entries behind all lines of a party's statement."""


@dataclass(slots=True)
class _Book:
    workbook: Any
    ledger: Ledger
    names: set[str] = field(default_factory=set)
    bold: Format = field(init=False)
    amount: Format = field(init=False)
    total: Format = field(init=False)
    exact: Format = field(init=False)

    def __post_init__(self) -> None:
        digits = self.ledger.minor_unit_digits
        number = "#,##0" + ("." + "0" * digits if digits else "")
        exact = "#,##0." + "0" * MICRO_DIGITS
        self.bold = self.workbook.add_format({"bold": True})
        self.amount = self.workbook.add_format({"num_format": f"{number};[Red]-{number}"})
        self.total = self.workbook.add_format(
            {"num_format": f"{number};[Red]-{number}", "bold": True, "top": 1}
        )
        self.exact = self.workbook.add_format({"num_format": exact})

    def sheet(self, wanted: str) -> Worksheet:
        """A new sheet; its name is shortened, cleaned and numbered where the format asks for it."""
        cleaned = _FORBIDDEN.sub("_", wanted)[:_MAX_NAME] or "_"
        name, number = cleaned, 1
        while name.casefold() in self.names:
            number += 1
            name = f"{cleaned[: _MAX_NAME - len(str(number)) - 1]}~{number}"
        self.names.add(name.casefold())
        return self.workbook.add_worksheet(name)

    def minor(self, amount: int) -> float:
        """An amount in minor units as the number a cell holds."""
        return amount / int(10**self.ledger.minor_unit_digits)


def write_workbook(
    path: Path, ledger: Ledger, names: Mapping[str, str], chosen: Sequence[Statement], entries: Entries
) -> None:
    """Writes the workbook of some statements of one day. Raises OSError, Misconfigured where a sheet is too short.

    `names` are display names by party. Rows are written through to disk as they come; texts are never formulas.
    """
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    workbook = xlsxwriter.Workbook(str(path), options)
    # The day, not the time of writing: the same statements give the same bytes.
    workbook.set_properties({"created": datetime.combine(chosen[0].window_date, time.min, UTC)})
    try:
        book = _Book(workbook, ledger)
        summary = book.sheet(SUMMARY)
        sheets = [book.sheet(one.party_id) for one in chosen]
        details = [book.sheet(f"{one.party_id} entries") for one in chosen]
        for one, sheet, detail in zip(chosen, sheets, details, strict=True):
            last = _write_entries(book, detail, one, entries(one.party_id))
            _write_statement(book, sheet, one, names, (detail.get_name(), last))
        _write_summary(book, summary, chosen, names, [sheet.get_name() for sheet in sheets])
    finally:
        workbook.close()


_ENTRY_COLUMNS: Final = (
    *("entry", "posted by", "request", "kind", "reference", "store", "terminal", "member", "event time"),
    *("points", "rate version", "batch", "component", "money lines", "exact", "micros"),
)
_COMPONENT, _EXACT, _MICROS = "M", "O", "P"


def _write_entries(book: _Book, sheet: Worksheet, statement: Statement, entries: Iterable[LineEntry]) -> int:
    """Writes a party's entries and tells the last row; 1 is the header."""
    sheet.set_column(0, 8, 18)
    sheet.set_column(9, 15, 14)
    sheet.freeze_panes(1, 0)
    for column, name in enumerate(_ENTRY_COLUMNS):
        sheet.write_string(0, column, name, book.bold)
    row = 0
    for row, entry in enumerate(entries, 1):
        if row >= MAX_ROWS:
            raise Misconfigured(
                f"{statement.party_id}: more than {MAX_ROWS - 1:,} entries, a sheet has no room; give --partner "
                "another, or use `lines --csv`"
            )
        _write_entry(book, sheet, row, entry)
    return row + 1


def _write_entry(book: _Book, sheet: Worksheet, row: int, entry: LineEntry) -> None:
    texts = (
        *(entry.entry_id, entry.partner_id, entry.request_id, entry.kind, entry.reference, entry.store_id),
        *(entry.terminal_id, entry.member_id, time_text(entry.event_time)),
    )
    for column, text in enumerate(texts):
        sheet.write_string(row, column, text)
    for column, number in enumerate((entry.points, entry.rate_version, entry.place.batch_sequence), 9):
        sheet.write_number(row, column, number)
    sheet.write_string(row, 12, entry.component)
    sheet.write_number(row, 13, entry.line_count)
    sheet.write_number(row, 14, entry.micros / 10**MICRO_DIGITS, book.exact)
    sheet.write_number(row, 15, entry.micros)


def _write_statement(
    book: _Book, sheet: Worksheet, statement: Statement, names: Mapping[str, str], detail: tuple[str, int]
) -> None:
    """A party's sheet: facts, opening, lines, net, closing. Rows are fixed, so that the summary can name them."""
    sheet.set_column(0, 0, 28)
    sheet.set_column(1, 4, 18)
    title = f"Statement of {statement.party_id}"
    facts = (
        (title, names.get(statement.party_id, "")),
        ("business day", statement.window_date.isoformat()),
        ("hub", book.ledger.audience),
        ("currency", book.ledger.currency_code),
    )
    for row, (name, text) in enumerate(facts):
        sheet.write_string(row, 0, name, book.bold)
        sheet.write_string(row, 1, text)
    header = ("component", "money lines", "exact", "amount", "exact, by entries")
    for column, name in enumerate(header):
        sheet.write_string(_HEADER_ROW, column, name, book.bold)
    sheet.write_string(_OPENING_ROW, 0, "opening")
    sheet.write_number(_OPENING_ROW, 3, book.minor(statement.opening_minor), book.amount)
    row = _OPENING_ROW
    for row, line in enumerate(statement.lines, _OPENING_ROW + 1):
        sheet.write_string(row, 0, line.component)
        sheet.write_number(row, 1, line.line_count)
        sheet.write_number(row, 2, line.exact_micros / 10**MICRO_DIGITS, book.exact)
        sheet.write_number(row, 3, book.minor(line.amount_minor), book.amount)
        if line.component != ROUNDING:
            formula = _by_entries(detail, row + 1)
            sheet.write_formula(row, 4, formula, book.exact, line.exact_micros / 10**MICRO_DIGITS)
    _write_totals(book, sheet, statement, row)


_HEADER_ROW: Final = 5
_OPENING_ROW: Final = 6


def _by_entries(detail: tuple[str, int], row: int) -> str:
    """Micros are whole and summed as such: a sum of fractions would drift away from the exact amount."""
    name, last = detail
    micros = f"'{name}'!${_MICROS}$2:${_MICROS}${max(last, 2)}"
    components = f"'{name}'!${_COMPONENT}$2:${_COMPONENT}${max(last, 2)}"
    return f"=SUMIFS({micros},{components},$A{row})/{10**MICRO_DIGITS}"


def _write_totals(book: _Book, sheet: Worksheet, statement: Statement, last: int) -> None:
    net, closing = last + 1, last + 2
    first = _OPENING_ROW + 2  # as a sheet counts: from 1, and the row after the opening
    digits = book.ledger.minor_unit_digits
    sheet.write_string(net, 0, "net", book.bold)
    lines = f"SUM(D{first}:D{last + 1})" if statement.lines else "0"
    sheet.write_formula(net, 3, f"=ROUND({lines},{digits})", book.total, book.minor(statement.net_minor))
    sheet.write_string(closing, 0, "closing", book.bold)
    formula = f"=ROUND(D{_OPENING_ROW + 1}+D{net + 1},{digits})"
    sheet.write_formula(closing, 3, formula, book.total, book.minor(statement.closing_minor))


def _write_summary(
    book: _Book,
    sheet: Worksheet,
    chosen: Sequence[Statement],
    names: Mapping[str, str],
    sheets: Sequence[str],
) -> None:
    sheet.set_column(0, 4, 20)
    columns = ("party", "name", "opening", "net", "closing")
    for column, name in enumerate(columns):
        sheet.write_string(0, column, name, book.bold)
    for row, (one, name) in enumerate(zip(chosen, sheets, strict=True), 1):
        net = _OPENING_ROW + len(one.lines) + 2
        sheet.write_string(row, 0, one.party_id)
        sheet.write_string(row, 1, names.get(one.party_id, ""))
        for column, (place, amount) in enumerate(_figures(one, net), 2):
            sheet.write_formula(row, column, f"='{name}'!{place}", book.amount, book.minor(amount))
    last = len(chosen) + 1
    sheet.write_string(last, 0, "all parties" if _whole(chosen) else "together", book.bold)
    for column, letter in ((2, "C"), (3, "D"), (4, "E")):
        total = sum(
            amount for one in chosen for at, (_, amount) in enumerate(_figures(one, 0), 2) if at == column
        )
        formula = f"=ROUND(SUM({letter}2:{letter}{last}),{book.ledger.minor_unit_digits})"
        sheet.write_formula(last, column, formula, book.total, book.minor(total))


def _figures(statement: Statement, net: int) -> Iterator[tuple[str, int]]:
    """(cell, minor units) of opening, net and closing on a party's sheet; `net` is the row of the net."""
    yield f"D{_OPENING_ROW + 1}", statement.opening_minor
    yield f"D{net}", statement.net_minor
    yield f"D{net + 1}", statement.closing_minor


def _whole(chosen: Sequence[Statement]) -> bool:
    return {POOL, OPERATOR} <= {one.party_id for one in chosen}
