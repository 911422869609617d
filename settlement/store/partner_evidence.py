"""Partner files as they were kept: their bytes again, and the lines loaded from them held against a second reading."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Final, cast

import psycopg
from sqlalchemy import Connection, select, text

from settlement.core.file_readers import ROW_COLUMNS
from settlement.core.partner_file import FileRefused
from settlement.store.intake import FileRow, file_row
from settlement.store.profiles import load_profiles
from settlement.store.reconciliation_tables import partner_file_parts, partner_files

_COMPARED: Final = tuple(name for name in ROW_COLUMNS if name not in ("file_id", "line_number"))

_COPY: Final = (
    f"COPY pg_temp.read_again ({', '.join(ROW_COLUMNS)}) FROM STDIN (FORMAT csv,"
    " FORCE_NOT_NULL (request_id, reference, member_id, store_id, terminal_id, state))"
)

_FIRST_DIFFERENCE: Final = text(
    "SELECT line_number, "  # noqa: S608 - names of ours
    + ", ".join(f"kept.{name}, again.{name}" for name in _COMPARED)
    + " FROM (SELECT * FROM settlement.partner_file_lines"
    " WHERE file_id = :file_id AND line_number <= :last_line) AS kept"
    " FULL JOIN pg_temp.read_again AS again USING (line_number) WHERE "
    + "ROW({}) IS DISTINCT FROM ROW({})".format(
        ", ".join(f"kept.{name}" for name in _COMPARED), ", ".join(f"again.{name}" for name in _COMPARED)
    )
    + " ORDER BY line_number LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A partner file settlement has kept. `mapping` is the column mapping it was read by; None for our own formats."""

    row: FileRow
    byte_count: int
    mapping: Any


@dataclass(frozen=True, slots=True)
class LineDifference:
    """The first line that is not loaded as its file says it. `kept` and `again` are what stands and what it says."""

    line: int
    field: str
    kept: object
    again: object


def load_kept_files(connection: Connection, business_date: date) -> list[KeptFile]:
    """Every file of a day, superseded ones too, by partner and age."""
    columns = partner_files.c
    rows = connection.execute(
        select(partner_files)
        .where(columns.business_date == business_date)
        .order_by(columns.partner_id, columns.file_id)
    ).all()
    return [KeptFile(file_row(row), row.byte_count, _mapping(connection, row)) for row in rows]


def _mapping(connection: Connection, row: Any) -> Any:
    if row.profile_version is None:
        return None
    versions = load_profiles(connection, row.partner_id)
    return next((it.mapping for it in versions if it.version == row.profile_version), None)


def read_part(connection: Connection, file_id: int, number: int) -> bytes | None:
    """One part of a file's bytes, counted from 0; None after the last."""
    columns = partner_file_parts.c
    content = connection.execute(
        select(columns.content).where(columns.file_id == file_id, columns.part_number == number)
    ).scalar_one_or_none()
    return None if content is None else bytes(content)


def begin_again(connection: Connection) -> None:
    """Makes room for the rows of one file that is read again; it lasts until the transaction ends."""
    connection.execute(text("DROP TABLE IF EXISTS pg_temp.read_again"))
    connection.execute(
        text("CREATE TEMPORARY TABLE read_again (LIKE settlement.partner_file_lines) ON COMMIT DROP")
    )


def copy_again(connection: Connection, rows: bytes) -> None:
    """Takes rows that were read again, as a Reader gives them. Raises FileRefused for a value that is none."""
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    try:
        with connection.begin_nested(), driver.cursor() as cursor, cursor.copy(_COPY.encode()) as copy:
            copy.write(rows)
    except psycopg.DataError as error:
        raise FileRefused("holds a value that the database does not take") from error


def first_difference(connection: Connection, file_id: int, last_line: int) -> LineDifference | None:
    """The first line up to `last_line` of which a file's loaded rows and those read again are not the same."""
    found = connection.execute(_FIRST_DIFFERENCE, {"file_id": file_id, "last_line": last_line}).one_or_none()
    if found is None:
        return None
    line, *pairs = tuple(found)
    for name, kept, again in zip(_COMPARED, pairs[::2], pairs[1::2], strict=True):
        if kept != again:
            return LineDifference(line, name, kept, again)
    return LineDifference(line, "", None, None)
