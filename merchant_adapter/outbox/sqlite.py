"""The tables of an outbox in one SQLite file: in WAL mode, every transaction synced to the disk."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from merchant_adapter.outbox.errors import (
    RECOVERY,
    OutboxDamaged,
    OutboxError,
    OutboxFull,
    OutboxUnavailable,
)
from merchant_adapter.outbox.tables import SCHEMA, Database, check_format
from merchant_adapter.private_files import FileRefused, check_private, write_private

APPLICATION_ID = 0x746F6F62
"""Marks the file as ours: `toob`, for Tongdui outbox."""

BUSY_SECONDS = 10.0
PAGE_BYTES = 4096

_WORDS = {
    "{counted}": "INTEGER PRIMARY KEY AUTOINCREMENT",  # a number is never given out twice
    "{octets}": "BLOB",
    "{integer}": "INTEGER",
}


class SqliteDatabase(Database):
    """A file, opened by one process or several; `<file>.draining` is the lock of the one that drains."""

    def __init__(self, path: Path, most_file_bytes: int | None = None, *, must_exist: bool = False) -> None:
        """Makes the file with mode 0600 unless it `must_exist`, and checks what is in it.

        Raises FileRefused, OutboxDamaged, OutboxFull, OutboxUnavailable.
        """
        self._path = path
        self._lock: int | None = None
        if sqlite3.sqlite_version_info < (3, 35):
            raise OutboxUnavailable(
                f"SQLite {sqlite3.sqlite_version} is too old: 3.35 at least, or PostgreSQL"
            )
        if not path.exists():
            if must_exist:
                raise FileRefused(f"{path}: no such outbox")
            _make(path)
        check_private(path)
        self._connection = self._connect()
        try:
            self._set_up(most_file_bytes)
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Begins by taking the file's one lock for writers, so that nothing is read that another then changes."""
        with self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def query(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows that a statement gives."""
        with self._translated():
            return self._connection.execute(statement, values).fetchall()

    def change(self, statement: str, values: Mapping[str, Any]) -> int:
        """How many rows a statement changed."""
        with self._translated():
            return self._connection.execute(statement, values).rowcount

    def change_each(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs a statement once for each row of values."""
        with self._translated():
            self._connection.executemany(statement, rows)

    def lock_draining(self) -> bool:
        """A lock of the kernel's on a file beside it: it cannot outlive the process."""
        if self._lock is None:
            try:
                self._lock = os.open(f"{self._path}.draining", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise OutboxUnavailable(f"{self._path}.draining: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.unlock_draining()
            return False
        return True

    @property
    def is_draining(self) -> bool:
        """Whether the lock's file is open."""
        return self._lock is not None

    def unlock_draining(self) -> None:
        """Closing the file ends its lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def close(self) -> None:
        """Ends the connection; the last one of a file empties its WAL."""
        self.unlock_draining()
        self._connection.close()

    def _connect(self) -> sqlite3.Connection:
        with self._translated():
            # Used by the outbox's own thread, but opened where an error can still be raised to the caller.
            return sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )

    def _set_up(self, most_file_bytes: int | None) -> None:
        with self._translated():
            run = self._connection.execute
            run("PRAGMA synchronous = FULL")
            run("PRAGMA fullfsync = ON")  # macOS keeps what was synced in the disk's cache without it
            (application_id,) = run("PRAGMA application_id").fetchone()
            (tables,) = run("SELECT count(*) FROM sqlite_schema").fetchone()
            if application_id != APPLICATION_ID and tables:
                raise FileRefused(f"{self._path}: a SQLite file, but not an outbox")
            run("PRAGMA journal_mode = WAL")
            if most_file_bytes is not None:
                run(f"PRAGMA max_page_count = {max(most_file_bytes // PAGE_BYTES, 1)}")
            if not tables:
                self._create()
            # The archive may be large, and is met by whoever asks for it; new sales depend on the queue.
            found = [row[0] for row in run("PRAGMA integrity_check(queue)").fetchall()]
        if found != ["ok"]:
            raise OutboxDamaged(f"{self._path}: damaged: {found[0]}. {RECOVERY}")
        check_format(self)

    def _create(self) -> None:
        with self.transaction():
            self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            for statement in SCHEMA:
                self._connection.execute(_worded(statement))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _error(self, error: sqlite3.Error) -> OutboxError:
        # The low byte is the kind of error, the others say more.
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return OutboxDamaged(f"{self._path}: damaged: {error}. {RECOVERY}")
            case sqlite3.SQLITE_FULL:
                return OutboxFull(
                    f"{self._path}: the disk is full, or the file at its limit ({error}): nothing was stored. What was"
                    " accepted before is safe. Make room, or prune the archive; then go on"
                )
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return OutboxUnavailable(
                    f"{self._path}: another process kept it locked for {BUSY_SECONDS:g} s; nothing was stored"
                )
            case _:
                return OutboxUnavailable(
                    f"{self._path}: {error}. Whether it was stored is unknown: check the disk and offer the same"
                    " command again. What was accepted before is safe"
                )


def _make(path: Path) -> None:
    try:
        write_private(path, b"")
    except FileRefused:
        if not path.exists():  # else another process was faster, which is as good
            raise


def _worded(statement: str) -> str:
    for word, meaning in _WORDS.items():
        statement = statement.replace(word, meaning)
    return statement
