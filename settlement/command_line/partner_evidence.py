"""Checks partner files that were kept: their bytes by SHA-256, and each loaded line by reading the file again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import count
from typing import Any, Final

from sqlalchemy import Connection

from settlement.command_line.session import NotThere, Session, open_snapshot
from settlement.core.amounts import decimal_text
from settlement.core.evidence import EvidenceWrong, Fault
from settlement.core.file_readers import CsvReader, JsonlReader, Reader
from settlement.core.mapping import MappedReader, read_mapping
from settlement.core.partner_file import FORMAT_NAME, FORMAT_VERSION, Expected, FileFormat, FileRefused, Unit
from settlement.core.window import Ledger
from settlement.store import feed
from settlement.store.partner_evidence import (
    KeptFile,
    LineDifference,
    begin_again,
    copy_again,
    first_difference,
    load_kept_files,
    read_part,
)

_LAST_LINE: Final = 2**62


@dataclass(frozen=True, slots=True)
class _Reading:
    """What reading a kept file again found."""

    sha256: str
    refused: FileRefused | None
    difference: LineDifference | None
    header_field: str


def verify_partner_files(session: Session, business_date: date) -> Iterator[dict[str, Any]]:
    """Every file kept for a day, one after the other. Raises EvidenceWrong for the first that is damaged."""
    with open_snapshot(session.settings) as connection:
        ledger = feed.read_ledger(connection)
        files = load_kept_files(connection, business_date)
        if not files:
            raise NotThere(f"{business_date}: no partner file is kept for this day")
        for file in files:
            _verify(connection, ledger, file)
            row = file.row
            text = f"file {row.file_id} of {row.partner_id}, {business_date}: holds, {row.line_count:,} lines"
            yield {"file_id": row.file_id, "partner_id": row.partner_id, "sha256": row.sha256, "text": text}


def _verify(connection: Connection, ledger: Ledger, file: KeptFile) -> None:
    reading = _read_again(connection, ledger, file, by_line=False)
    if reading.refused:
        # Once more, line by line: what stands before the line that is refused has to be compared to its end.
        reading = _read_again(connection, ledger, file, by_line=True)
    name = f"partner file {file.row.file_id} of {file.row.partner_id}"
    intact = reading.sha256 == file.row.sha256
    where = "loaded lines" if intact else "kept bytes"
    found = reading.difference
    if found:
        what = f"{where}: the line is loaded as {found.kept!r}, the file says {found.again!r}"
        raise EvidenceWrong(Fault(name, what, found.line, found.field))
    if reading.header_field:
        raise EvidenceWrong(Fault(name, f"{where}: not what was accepted", 1, reading.header_field))
    if reading.refused:
        what = f"{where}: {reading.refused}"
        raise EvidenceWrong(Fault(name, what, reading.refused.line, reading.refused.field))
    if not intact:
        raise EvidenceWrong(
            Fault(name, f"kept bytes: their SHA-256 is {reading.sha256}, not {file.row.sha256}")
        )


def _read_again(connection: Connection, ledger: Ledger, file: KeptFile, *, by_line: bool) -> _Reading:
    reader, hashed, refused = _reader(ledger, file), hashlib.sha256(), None
    begin_again(connection)
    for number in count():
        part = read_part(connection, file.row.file_id, number)
        if part is None:
            break
        hashed.update(part)
        if refused is None:
            refused = _feed(connection, reader, part, by_line=by_line)
    if refused is None:
        refused = _finish(connection, reader)
    last_line = refused.line - 1 if refused and refused.line else _LAST_LINE
    return _Reading(
        sha256=hashed.hexdigest(),
        refused=refused,
        difference=first_difference(connection, file.row.file_id, last_line),
        header_field=_header_field(reader, file),
    )


def _feed(connection: Connection, reader: Reader, part: bytes, *, by_line: bool) -> FileRefused | None:
    """Reads a part and keeps its rows; gives what it is refused for, as far as it was read."""
    rows = []
    refused = None
    for piece in part.splitlines(keepends=True) if by_line else (part,):
        try:
            rows.append(reader.feed(piece))
        except FileRefused as error:
            refused = error
            break
    try:
        copy_again(connection, b"".join(rows))
    except FileRefused as error:
        return error
    return refused


def _finish(connection: Connection, reader: Reader) -> FileRefused | None:
    try:
        copy_again(connection, reader.finish())
    except FileRefused as error:
        return error
    return None


def _reader(ledger: Ledger, file: KeptFile) -> Reader:
    row = file.row
    expected = Expected(row.partner_id, row.business_date, ledger.currency_code, ledger.minor_unit_digits)
    kind = FileFormat(row.format)
    if kind is FileFormat.CSV:
        return CsvReader(row.file_id, expected)
    if kind is FileFormat.JSONL:
        return JsonlReader(row.file_id, expected)
    return MappedReader(row.file_id, expected, read_mapping(file.mapping), _control(ledger, file))


def _control(ledger: Ledger, file: KeptFile) -> bytes:
    """What was stated beside a mapped file, from what was kept of it."""
    row, controls = file.row, file.row.controls
    digits = Unit(row.unit).exponent(ledger.minor_unit_digits)
    stated = {
        "format": FORMAT_NAME,
        "version": FORMAT_VERSION,
        "partner_id": row.partner_id,
        "business_date": row.business_date.isoformat(),
        "currency": ledger.currency_code,
        "unit": row.unit,
        "count": row.line_count,
        "earned_points": controls.earned_points,
        "burned_points": controls.burned_points,
        "claimed": decimal_text(controls.claimed_micros, digits),
        "owed": decimal_text(controls.owed_micros, digits),
    }
    return json.dumps(stated).encode()


def _header_field(reader: Reader, file: KeptFile) -> str:
    """The first field of the header that is not as it was accepted; empty where all are."""
    header, row = reader.header, file.row
    if header is None:
        return ""
    for name in ("earned_points", "burned_points", "claimed_micros", "owed_micros"):
        if getattr(header.controls, name) != getattr(row.controls, name):
            return name.removesuffix("_micros")
    if header.count != row.line_count:
        return "count"
    return "unit" if header.unit.value != row.unit else ""
