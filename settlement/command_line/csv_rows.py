"""Statements as CSV: one row a statement line, between a party's opening and closing."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Final

from settlement.core.amounts import MICRO_DIGITS, decimal_text
from settlement.core.statement import Statement

COLUMNS: Final = {
    "window_date": "business day, YYYY-MM-DD",
    "party_id": "partner id, POOL or OPERATOR",
    "row": "opening, line, net or closing; the lines of a party add up to its net",
    "component": "what the line is for, such as BURN_REIMBURSE; empty in other rows",
    "line_count": "money lines of the day behind it; empty where none are counted",
    "exact": "exact amount of the day in the major unit, 6 decimals; empty in opening and closing",
    "amount": "amount to settle in the major unit; received is positive, paid negative",
    "currency": "ISO 4217 code",
}
"""The columns and their meaning."""


def statements_csv(statements: Iterable[Statement], minor_unit_digits: int, currency_code: str) -> str:
    """The whole file: a header row, then each party's rows. Lines end in LF."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for statement in statements:
        for row in _rows(statement, minor_unit_digits):
            common = {"window_date": statement.window_date.isoformat(), "party_id": statement.party_id}
            writer.writerow(common | row | {"currency": currency_code})
    return text.getvalue()


def _rows(statement: Statement, digits: int) -> Iterator[dict[str, str]]:
    yield {"row": "opening", "amount": decimal_text(statement.opening_minor, digits)}
    for line in statement.lines:
        yield {
            "row": "line",
            "component": line.component,
            "line_count": str(line.line_count),
            "exact": decimal_text(line.exact_micros, MICRO_DIGITS),
            "amount": decimal_text(line.amount_minor, digits),
        }
    yield {
        "row": "net",
        "exact": decimal_text(statement.exact_micros, MICRO_DIGITS),
        "amount": decimal_text(statement.net_minor, digits),
    }
    yield {"row": "closing", "amount": decimal_text(statement.closing_minor, digits)}
