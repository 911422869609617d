"""Bank results as CSV: what became of payments, one row each. A file is taken whole or refused whole."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Final

from settlement.core.payments import PaymentState, Report, ResultsRefused

COLUMNS: Final = {
    "payment_id": "as on the payment list",
    "state": "sent, received or rejected",
    "amount": "what arrived, in the major unit, as 158.10; may be empty unless the state is received",
    "reference": "the bank's reference; the same report with the same reference counts once",
}
"""The columns and their meaning."""

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
MAX_REFERENCE: Final = 140
"""Characters, as bank messages allow."""

_STATES: Final = {
    state.value.lower(): state for state in (PaymentState.SENT, PaymentState.RECEIVED, PaymentState.REJECTED)
}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def read_results(path: Path, minor_unit_digits: int) -> list[tuple[int, Report]]:
    """The reports of a file with their line numbers. Raises ResultsRefused naming line and field, OSError."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ResultsRefused(1, "file", f"longer than {MAX_FILE_BYTES} bytes")
    return parse_results(content, minor_unit_digits)


def parse_results(content: bytes, minor_unit_digits: int) -> list[tuple[int, Report]]:
    """The reports in the bytes of a file. Raises ResultsRefused."""
    rows = csv.reader(io.StringIO(_text(content), newline=""), strict=True)
    reports: list[tuple[int, Report]] = []
    seen: dict[tuple[str, str, str], int] = {}
    try:
        header = next(rows, [])
        if header != list(COLUMNS):
            raise ResultsRefused(1, "header", f"must be {','.join(COLUMNS)}")
        for row in rows:
            line = rows.line_num
            report = _report(line, row, minor_unit_digits)
            key = (report.payment_id, report.reported.value, report.reference)
            if key in seen:
                raise ResultsRefused(line, "reference", f"the same report as line {seen[key]}")
            seen[key] = line
            reports.append((line, report))
    except csv.Error as fault:
        raise ResultsRefused(rows.line_num, "row", str(fault)) from fault
    if not reports:
        raise ResultsRefused(1, "file", "holds no results")
    return reports


def reference_fault(reference: str) -> str:
    """What is wrong with a reference; empty where nothing is."""
    sound = reference.strip() and len(reference) <= MAX_REFERENCE and reference.isprintable()
    return "" if sound else f"1 to {MAX_REFERENCE} printable characters"


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise ResultsRefused(content.count(b"\n", 0, fault.start) + 1, "encoding", "not UTF-8") from fault
    if "\0" in text:
        raise ResultsRefused(text.count("\n", 0, text.index("\0")) + 1, "encoding", "holds a zero byte")
    if text and not text.endswith("\n"):
        raise ResultsRefused(text.count("\n") + 1, "row", "the last line has no end: the file was cut")
    return text


def _report(line: int, row: list[str], digits: int) -> Report:
    if len(row) != len(COLUMNS):
        raise ResultsRefused(line, "row", f"{len(row)} fields, expected {len(COLUMNS)}")
    payment_id, state_name, amount, reference = row
    for name, value in zip(COLUMNS, row, strict=True):
        if value.startswith(_FORMULA):
            raise ResultsRefused(line, name, "begins like a formula")
    state = _STATES.get(state_name)
    if state is None:
        raise ResultsRefused(line, "state", f"{state_name!r}, expected {', '.join(_STATES)}")
    if fault := reference_fault(reference):
        raise ResultsRefused(line, "reference", fault)
    if not payment_id:
        raise ResultsRefused(line, "payment_id", "empty")
    if not amount and state is not PaymentState.RECEIVED:
        return Report(payment_id, state, 0, reference)
    return Report(payment_id, state, _minor(line, amount, digits), reference)


def _minor(line: int, amount: str, digits: int) -> int:
    shape = r"[0-9]{1,30}" + (rf"\.[0-9]{{{digits}}}" if digits else "")
    if not re.fullmatch(shape, amount, re.ASCII):
        example = "158" + ("." + "10".ljust(digits, "0")[:digits] if digits else "")
        raise ResultsRefused(line, "amount", f"{amount!r}, expected an amount such as {example}")
    minor = int(amount.replace(".", ""))
    if minor == 0:
        raise ResultsRefused(line, "amount", "is zero")
    return minor
