"""The floor: the very rows a run of the hub wrote, written again by bare COPY and UPDATE in another database."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import psycopg

_JOURNAL: Final = {
    "entries": "batch_id = %(batch)s",
    "legs": "batch_id = %(batch)s",
    "lines": "batch_id = %(batch)s",
    "requests": "batch_id = %(batch)s",
    "calls": "call_id >> 16 = %(batch)s",
    "batches": "batch_id = %(batch)s",
}

_UPDATES: Final = (
    """UPDATE exchange.wallets SET open_points = new.open_points, last_decided_time = now()
       FROM unnest(%s::bigint[], %s::bigint[]) AS new (member_id, open_points)
       WHERE wallets.member_id = new.member_id""",
    """UPDATE exchange.lots SET issued_points = issued_points + new.points, open_points = open_points + new.points
       FROM unnest(%s::bigint[], %s::integer[], %s::bigint[]) AS new (member_id, lot_sequence, points)
       WHERE lots.member_id = new.member_id AND lots.lot_sequence = new.lot_sequence""",
)


@dataclass(frozen=True, slots=True)
class WrittenBatch:
    """One batch's rows: a binary COPY stream a table, and the arguments of the updates."""

    command_count: int
    streams: dict[str, bytes]
    wallets: tuple[list[int], list[int]]
    lots: tuple[list[int], list[int], list[int]]


def read_batches(url: str, first_sequence: int, count: int) -> list[WrittenBatch]:
    """The rows of `count` batches of the chain from `first_sequence` on."""
    with psycopg.connect(url) as connection:
        batches = connection.execute(
            "SELECT batch_id FROM exchange.batches WHERE sequence >= %s ORDER BY sequence LIMIT %s",
            (first_sequence, count),
        ).fetchall()
        return [_read_batch(connection, batch_id) for (batch_id,) in batches]


def _read_batch(connection: psycopg.Connection[Any], batch_id: int) -> WrittenBatch:
    streams = {}
    for table, condition in _JOURNAL.items():
        query = f"COPY (SELECT * FROM exchange.{table} WHERE {condition}) TO STDOUT (FORMAT BINARY)"  # noqa: S608  # names of our own
        with connection.cursor().copy(query % {"batch": batch_id}) as copy:  # an integer of our own
            streams[table] = b"".join(copy)
    wallets = connection.execute(
        "SELECT member_id, open_points FROM exchange.wallets WHERE member_id IN"
        " (SELECT member_id FROM exchange.entries WHERE batch_id = %s) ORDER BY member_id",
        (batch_id,),
    ).fetchall()
    lots = connection.execute(
        "SELECT member_id, lot_sequence, max(points) FROM exchange.legs WHERE batch_id = %s GROUP BY 1, 2"
        " ORDER BY 1, 2",
        (batch_id,),
    ).fetchall()
    commands = connection.execute("SELECT count(*) FROM exchange.requests WHERE batch_id = %s", (batch_id,))
    return WrittenBatch(
        commands.fetchall()[0][0],
        streams,
        ([row[0] for row in wallets], [row[1] for row in wallets]),
        ([row[0] for row in lots], [row[1] for row in lots], [row[2] for row in lots]),
    )


def floor_rate(url: str, batches: Sequence[WrittenBatch], connections: int) -> float:
    """Commands a second at which the server takes these rows over `connections` connections."""
    shares = [batches[start::connections] for start in range(connections)]
    with ThreadPoolExecutor(connections) as threads:
        started = time.monotonic()
        list(threads.map(lambda share: _write(url, share), shares))
        took = time.monotonic() - started
    return sum(batch.command_count for batch in batches) / took


def _write(url: str, batches: Sequence[WrittenBatch]) -> None:
    with psycopg.connect(url) as connection:
        for batch in batches:
            for table, stream in batch.streams.items():
                with connection.cursor().copy(f"COPY exchange.{table} FROM STDIN (FORMAT BINARY)") as copy:
                    copy.write(stream)
            for update, values in zip(_UPDATES, (batch.wallets, batch.lots), strict=True):
                connection.execute(update, values, prepare=True)
            connection.commit()
