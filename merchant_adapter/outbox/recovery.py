"""Brings what can be read of a damaged SQLite outbox into a new one, row by row where it must be."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merchant_adapter.outbox.errors import OutboxDamaged
from merchant_adapter.outbox.frames import digest
from merchant_adapter.outbox.sqlite import SqliteDatabase
from merchant_adapter.private_files import FileRefused

ROWS_AT_ONCE = 1_000
MOST_ROWS_BESIDE = 1_000_000

_QUEUE = (
    *("number", "request_id", "member_id", "kind", "message", "follows"),
    *("digest", "accepted_ms", "state", "attempts", "due_ms", "tried_ms"),
    *("untrusted_ms", "holds_member", "reason", "detail", "asked_ms"),
)
_ARCHIVE = (
    *("request_id", "member_id", "kind", "digest", "accepted_ms", "attempts"),
    *("state", "reason", "entry_id", "final_ms", "receipt_id", "batch_index"),
    *("is_noted", "message", "decided_ms", "follows"),
)
_RECEIPTS = (
    *("id", "path", "request", "request_entries", "answer", "answer_entries"),
    *("final_ms",),
)

_Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was brought over, and what could not be.

    Attributes:
        commands: of the queue: they will be sent.
        answered: of the archive.
        receipts: of batches.
        unreadable_commands: places in the queue that cannot be read. Some may have been empty; compare with the
            mall's own record of sales, and accept what is missing with its old request id.
        unreadable_answers: rows of the archive that cannot be read.
        orders: told by webhooks.
        unreadable_orders: of them; their platform has to tell them again.
    """

    commands: int
    answered: int
    receipts: int
    unreadable_commands: int
    unreadable_answers: int
    orders: int = 0
    unreadable_orders: int = 0


def recover(damaged: Path, into: Path) -> Recovered:
    """Makes the new outbox `into`; `damaged` and its -wal are left as they are read.

    Raises FileRefused where `into` exists, OutboxDamaged where not even the list of tables can be read.
    """
    if into.exists():
        raise FileRefused(f"{into}: exists already and is never overwritten")
    if not damaged.exists():
        raise FileRefused(f"{damaged}: no such file")
    old = sqlite3.connect(damaged, isolation_level=None)
    try:
        last = _last_number(old, damaged)
        new = SqliteDatabase(into)
        try:
            return _bring_over(old, new, last)
        finally:
            new.close()
    finally:
        old.close()


def _last_number(old: sqlite3.Connection, damaged: Path) -> int:
    try:
        rows = old.execute("SELECT seq FROM sqlite_sequence WHERE name = 'queue'").fetchall()
    except sqlite3.Error as error:
        raise OutboxDamaged(
            f"{damaged}: {error}: too much is gone for this. Try `.recover` of the sqlite3 shell on a copy"
        ) from error
    return int(rows[0][0]) if rows else 0


def _bring_over(old: sqlite3.Connection, new: SqliteDatabase, last: int) -> Recovered:
    for name, value in _facts(old):
        new.change(
            "INSERT INTO facts (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING",
            {"name": name, "value": value},
        )
    queue, archive, receipts = (
        _Copy("queue", "number", _QUEUE),
        _Copy("archive", "rowid", _ARCHIVE),
        _Copy("receipts", "id", _RECEIPTS),
    )
    # Each command was in the queue once, so no other table has had more rows.
    for copy in (queue, archive, receipts):
        copy.run(old, new, last)
    # What was archived before it could be deleted is in both; its answer is final.
    new.change("DELETE FROM queue WHERE request_id IN (SELECT request_id FROM archive)", {})
    new.change(
        "UPDATE totals SET commands = (SELECT count(*) FROM queue),"
        " bytes = (SELECT coalesce(sum(length(message)), 0) FROM queue)",
        {},
    )
    orders, unreadable_orders = _bring_beside(old, new)
    return Recovered(
        commands=queue.copied,
        answered=archive.copied,
        receipts=receipts.copied,
        unreadable_commands=queue.unreadable,
        unreadable_answers=archive.unreadable,
        orders=orders,
        unreadable_orders=unreadable_orders,
    )


def _bring_beside(old: sqlite3.Connection, new: SqliteDatabase) -> tuple[int, int]:
    """The tables of webhooks, by their own statements where there are any. Gives (orders, unreadable orders)."""
    orders = unreadable = 0
    made = old.execute(
        "SELECT name, sql FROM sqlite_schema WHERE name LIKE 'webhook!_%' ESCAPE '!' ORDER BY type DESC"
    )
    for name, statement in made.fetchall():
        with new.transaction():
            new.change(statement, {})
        if not statement.startswith("CREATE TABLE"):
            continue
        columns = [column for _, column, *_ in old.execute(f"PRAGMA table_info({name})")]
        copy = _Copy(name, "rowid", columns)
        copy.run(old, new, _last_row(old, name))
        if name == "webhook_orders":
            orders, unreadable = copy.copied, copy.unreadable
    return orders, unreadable


def _last_row(old: sqlite3.Connection, table: str) -> int:
    try:
        ((last,),) = old.execute(f"SELECT coalesce(max(rowid), 0) FROM {table}").fetchall()  # noqa: S608  # a name of ours
    except sqlite3.Error:
        return MOST_ROWS_BESIDE  # the end of the table is damaged
    return int(last)


def _facts(old: sqlite3.Connection) -> list[_Row]:
    try:
        return old.execute("SELECT name, value FROM facts WHERE name <> 'format'").fetchall()
    except sqlite3.Error:
        return []  # the next one to drain says again whose outbox it is


class _Copy:
    """One table's way over. `key` is its row number."""

    def __init__(self, table: str, key: str, columns: Sequence[str]) -> None:
        self.copied = 0
        self.unreadable = 0
        self._table = table
        self._columns = columns
        self._select = f"SELECT {', '.join(columns)} FROM {table} WHERE {key} "  # noqa: S608  # names of ours
        values = ", ".join(f":{name}" for name in columns)
        self._insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values}) ON CONFLICT DO NOTHING"  # noqa: S608  # names of ours

    def run(self, old: sqlite3.Connection, new: SqliteDatabase, last: int) -> None:
        for first in range(1, last + 1, ROWS_AT_ONCE):
            rows = [row for row in self._read(old, first, first + ROWS_AT_ONCE - 1) if self._is_sound(row)]
            with new.transaction():
                new.change_each(self._insert, [dict(zip(self._columns, row, strict=True)) for row in rows])
            self.copied += len(rows)

    def _read(self, old: sqlite3.Connection, first: int, last: int) -> Iterator[_Row]:
        """The rows of these numbers; a range that has a damaged page in it is read in halves."""
        try:
            found = old.execute(self._select + "BETWEEN ? AND ?", (first, last)).fetchall()
        except sqlite3.Error:
            if first == last:
                self.unreadable += 1
                return
            middle = (first + last) // 2
            yield from self._read(old, first, middle)
            yield from self._read(old, middle + 1, last)
        else:
            yield from found

    def _is_sound(self, row: _Row) -> bool:
        if self._table != "queue":
            return True
        values = dict(zip(self._columns, row, strict=True))
        kind, message = values["kind"], values["message"]
        sound = (
            isinstance(kind, str) and isinstance(message, bytes) and digest(kind, message) == values["digest"]
        )
        self.unreadable += not sound
        return sound
