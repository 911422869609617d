"""Streams the journal's rows as the chain hashes them, a stretch of batches at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import psycopg
from sqlalchemy import Connection, Table, select
from sqlalchemy.exc import DBAPIError

from settlement.core.chain import Batch, HashedJournal, Rehash
from settlement.core.window import ClosedWindow
from settlement.store import views

BATCHES_IN_HAND: Final = 10_000
ENTRIES_IN_HAND: Final = 50_000
"""Bounds of a stretch: what is sorted by the database and hashed side by side here."""

_TABLES: Final[tuple[tuple[str, Table, str], ...]] = (
    ("entries", views.chained_entries_v1, "batch_sequence, entry_index"),
    ("legs", views.chained_legs_v1, "batch_sequence, entry_index, leg_number"),
    ("lines", views.chained_lines_v1, "batch_sequence, entry_index, line_number"),
)

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"


def read_journal(
    connection: Connection, window: ClosedWindow, hash_before: bytes, seen: Callable[[int], None]
) -> HashedJournal:
    """Hashes every row between a window's watermarks again. `hash_before` is the chain's before the window.

    `seen` is called with the number of entries of each stretch that is hashed. Memory stays the same however
    long the window is.
    """
    rehash = Rehash(window, hash_before)
    first = window.first_sequence
    while batches := _read_batches(connection, first, window.last_sequence):
        rehash.begin(batches)
        for name, table, order in _TABLES:
            rehash.add(name, _rows(connection, table, order, batches[0].sequence, batches[-1].sequence))
        rehash.end(batches)
        seen(sum(batch.entry_count for batch in batches))
        first = batches[-1].sequence + 1
    return rehash.finish(_party_names(connection))


def _read_batches(connection: Connection, first: int, last: int) -> list[Batch]:
    """The next batches, as many as have about `ENTRIES_IN_HAND` entries; at least one if there is any."""
    columns = views.chained_batches_v1.c
    rows = connection.execute(
        select(
            columns.sequence,
            columns.batch_id,
            columns.window_date,
            columns.entry_count,
            columns.digest,
            columns.hash,
        )
        .where(columns.sequence.between(first, last))
        .order_by(columns.sequence)
        .limit(BATCHES_IN_HAND)
    )
    batches: list[Batch] = []
    entry_count = 0
    for row in rows:
        batches.append(Batch(*row))
        entry_count += row.entry_count
        if entry_count >= ENTRIES_IN_HAND:
            break
    rows.close()
    return batches


def _rows(connection: Connection, table: Table, order: str, first: int, last: int) -> Iterator[bytes]:
    """The rows of a view as binary COPY prints them, one by one, without its header and trailer."""
    columns = ", ".join(column.name for column in table.columns)
    statement = (
        f"COPY (SELECT {columns} FROM {table.fullname} WHERE batch_sequence BETWEEN {first:d} AND {last:d}"  # noqa: S608 - names of ours and two whole numbers
        f" ORDER BY {order}) TO STDOUT (FORMAT BINARY)"
    )
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    try:
        with driver.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            # libpq hands out COPY data row by row; the header comes with the first of them.
            for number, data in enumerate(copy):
                row = bytes(data)
                if number == 0:
                    row = row.removeprefix(_HEADER)
                if row and row != _TRAILER:
                    yield row
    except psycopg.Error as error:
        # As SQLAlchemy would have raised it, so that one place tells people of database trouble.
        raise DBAPIError.instance(statement, None, error, psycopg.Error) from error


def _party_names(connection: Connection) -> dict[int, str]:
    columns = views.chained_parties_v1.c
    rows = connection.execute(select(columns.party_number, columns.party_id))
    return {row.party_number: row.party_id for row in rows}
