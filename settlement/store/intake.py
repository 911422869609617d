"""Partner files on their way in: lines by COPY, bytes in parts, totals by one aggregate. Nothing here commits.

Memory stays flat: of a file, a few parts of 1 MiB and their rows are held at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import chain, islice
from typing import Any, Final, cast

import psycopg
from psycopg.copy import QueuedLibpqWriter
from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from settlement.core.break_types import Controls
from settlement.core.file_readers import ROW_COLUMNS, Reader
from settlement.core.kinds import BURNED, EARNED
from settlement.core.partner_file import FileRefused
from settlement.store.reconciliation_tables import partner_files

PART_BYTES: Final = 1 << 20
GROUP_PARTS: Final = 8
"""Parts whose lines go into one COPY."""

SLICE_BYTES: Final = 1 << 17
"""What is checked here while the database stores what came before."""

_COPY: Final = (
    f"COPY settlement.partner_file_lines ({', '.join(ROW_COLUMNS)}) FROM STDIN (FORMAT csv,"
    " FORCE_NOT_NULL (request_id, reference, member_id, store_id, terminal_id, state))"
)
_INSERT_PART: Final = b"INSERT INTO settlement.partner_file_parts VALUES (%s, %s, %b)"


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file settlement has. Hashes are hex, states ACCEPTED or SUPERSEDED."""

    file_id: int
    partner_id: str
    business_date: date
    sha256: str
    format: str
    unit: str
    line_count: int
    controls: Controls
    state: str


def next_file_id(connection: Connection) -> int:
    """The id of a file about to be read; its lines and parts are stored before the file itself is known."""
    statement = text("SELECT nextval('settlement.partner_files_file_id_seq')")
    return int(connection.execute(statement).scalar_one())


def lock_partner(connection: Connection, partner_id: str) -> None:
    """Makes other loads and reconciliations of this partner wait until the transaction ends."""
    statement = text("SELECT pg_advisory_xact_lock(hashtextextended(:partner_id, 5))")
    connection.execute(statement, {"partner_id": partner_id})


def copy_file(
    connection: Connection,
    file_id: int,
    reader: Reader,
    pieces: Iterable[bytes],
    byte_limit: int,
    seen: Callable[[int], None],
) -> int:
    """Stores the bytes and lines of a file and gives the number of its bytes. Raises FileRefused."""
    byte_count = 0
    parts = _limited(_parts(pieces), byte_limit)
    held: list[bytes] = []
    while first := next(parts, None):
        held.clear()
        _copy(connection, reader, _rows(reader, chain((first,), islice(parts, GROUP_PARTS - 1)), held))
        rows = [(file_id, number, part) for number, part in enumerate(held, byte_count // PART_BYTES)]
        with _driver(connection).cursor() as cursor:
            cursor.executemany(_INSERT_PART, rows)
        byte_count += sum(map(len, held))
        seen(byte_count)
    _copy(connection, reader, (reader.finish() for _ in (1,)))
    return byte_count


def _rows(reader: Reader, parts: Iterable[bytes], held: list[bytes]) -> Iterator[bytes]:
    """The rows of parts, which are held for when the connection is free again."""
    for part in parts:
        held.append(part)
        yield from map(reader.feed, _slices(part))


def _limited(parts: Iterator[bytes], byte_limit: int) -> Iterator[bytes]:
    byte_count = 0
    for part in parts:
        byte_count += len(part)
        if byte_count > byte_limit:
            raise FileRefused(f"has more than {byte_limit:,} bytes")
        yield part


def _parts(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in parts of `PART_BYTES`, the last one smaller."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size < PART_BYTES:
            continue
        joined = b"".join(held)
        whole = size - size % PART_BYTES
        yield from (joined[start : start + PART_BYTES] for start in range(0, whole, PART_BYTES))
        held, size = [joined[whole:]], size - whole
    if size:
        yield b"".join(held)


def _slices(part: bytes) -> Iterator[bytes]:
    for start in range(0, len(part), SLICE_BYTES):
        yield part[start : start + SLICE_BYTES]


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)


_PLACE: Final = re.compile(r"line (\d+)(?:, column (\w+))?")


def _copy(connection: Connection, reader: Reader, rows: Iterator[bytes]) -> None:
    first = reader.deal_count
    try:
        with (
            _driver(connection).cursor() as cursor,
            # A thread waits for the database to take rows while the next ones are checked here.
            cursor.copy(_COPY.encode(), writer=QueuedLibpqWriter(cursor)) as copy,
        ):
            for piece in rows:
                copy.write(piece)
    except psycopg.DataError as error:
        # The last word on a value is the database's: what it does not take is refused like all else.
        place = _PLACE.search(error.diag.context or "")
        number = first + int(place[1]) if place else 0
        field = (place[2] or "") if place else ""
        raise FileRefused(
            "is no such value", line=_line_of_deal(number), field=field.removesuffix("_micros")
        ) from error
    except psycopg.Error as error:
        # As SQLAlchemy would have raised it, so that one place tells people of database trouble.
        raise DBAPIError.instance(_COPY, None, error, psycopg.Error) from error


def _line_of_deal(number: int) -> int:
    """Deals stand on the lines after the first, one a line, in every format."""
    return number + 1 if number else 0


def _signed(kinds: Mapping[str, int]) -> str:
    """Points of a row with the sign of its kind; words of ours only."""
    plus, minus = (
        ", ".join(f"'{kind}'" for kind, sign in kinds.items() if sign == wanted) for wanted in (1, -1)
    )
    return f"CASE WHEN kind IN ({plus}) THEN points WHEN kind IN ({minus}) THEN -points ELSE 0 END"


EARNED_SQL: Final = _signed(EARNED)
BURNED_SQL: Final = _signed(BURNED)

_TOTALS: Final = text(
    f"SELECT coalesce(sum({EARNED_SQL}), 0), coalesce(sum({BURNED_SQL}), 0), coalesce(sum(claimed_micros), 0),"  # noqa: S608 - words of ours
    " coalesce(sum(owed_micros), 0) FROM settlement.partner_file_lines WHERE file_id = :file_id"
)


def read_file_controls(connection: Connection, file_id: int) -> Controls:
    """The four totals, added up from the lines."""
    row = connection.execute(_TOTALS, {"file_id": file_id}).one()
    return Controls(*(int(total) for total in row))


def find_file(
    connection: Connection,
    partner_id: str,
    business_date: date,
    sha256: str,
    profile_version: int | None,
    states: Collection[str] = ("ACCEPTED",),
) -> FileRow | None:
    """The newest file of this content for this partner and day, in one of `states`.

    `profile_version` is what it was read by; None for a file that needs no mapping.
    """
    columns = partner_files.c
    row = connection.execute(
        select(partner_files)
        .where(
            columns.partner_id == partner_id,
            columns.business_date == business_date,
            columns.sha256 == sha256,
            columns.profile_version.is_not_distinct_from(profile_version),
            columns.state.in_(states),
        )
        .order_by(columns.file_id.desc())
        .limit(1)
    ).one_or_none()
    return file_row(row) if row else None


def find_accepted(connection: Connection, partner_id: str, business_date: date) -> FileRow | None:
    """The file that counts for a partner and day."""
    columns = partner_files.c
    row = connection.execute(
        select(partner_files).where(
            columns.partner_id == partner_id,
            columns.business_date == business_date,
            columns.state == "ACCEPTED",
        )
    ).one_or_none()
    return file_row(row) if row else None


def find_accepted_of_day(connection: Connection, business_date: date) -> list[FileRow]:
    """The files that count for a day, by partner."""
    columns = partner_files.c
    rows = connection.execute(
        select(partner_files)
        .where(columns.business_date == business_date, columns.state == "ACCEPTED")
        .order_by(columns.partner_id)
    )
    return [file_row(row) for row in rows]


def file_row(row: Any) -> FileRow:
    """A row of `partner_files`."""
    return FileRow(
        row.file_id,
        row.partner_id,
        row.business_date,
        row.sha256,
        row.format,
        row.unit,
        row.line_count,
        Controls(row.earned_points, row.burned_points, row.claimed_micros, row.owed_micros),
        row.state,
    )


def supersede(connection: Connection, file_id: int) -> None:
    """A newer file takes its place."""
    connection.execute(
        update(partner_files).where(partner_files.c.file_id == file_id).values(state="SUPERSEDED")
    )


def save_file(connection: Connection, values: Mapping[str, Any]) -> None:
    """The file itself; its parts and lines are there already."""
    connection.execute(insert(partner_files).values(**values))
