"""The tables of an outbox in a schema of their own, `tongdui_outbox`, of a PostgreSQL that the mall has."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors

from merchant_adapter.outbox.errors import OutboxDamaged, OutboxError, OutboxFull, OutboxUnavailable
from merchant_adapter.outbox.tables import SCHEMA, Database, check_format
from merchant_adapter.private_files import FileRefused

CONNECT_SECONDS = 10

_SETTINGS = (
    "SET search_path = tongdui_outbox",
    # `on` at least, whatever the server's default: what was accepted survives a crash of the server.
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') IN ('off', 'local')",
    "SET lock_timeout = '10s'",
)
_MAKING_LOCK = 0x746F6F62
_DRAINING_LOCK = _MAKING_LOCK + 1

_WORDS = {
    "{counted}": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "{octets}": "BYTEA",
    "{integer}": "BIGINT",
}


class PostgresDatabase(Database):
    """A connection that is made again when it was lost. The lock of the draining process ends with it."""

    def __init__(self, url: str, *, must_exist: bool = False) -> None:
        """Makes schema and tables unless they `must_exist`. Raises FileRefused, OutboxDamaged, OutboxUnavailable."""
        self._url = url
        self._is_locked = self._in_transaction = False
        with self._translated():
            self._connection = self._connect()
        try:
            self._prepare(must_exist=must_exist)
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Begins by taking the one row of `totals`, so that no two transactions run side by side."""
        with self._translated():
            self._execute(b"BEGIN", {})
            self._in_transaction = True
            try:
                self._connection.execute("SELECT 1 FROM totals FOR UPDATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if not self._connection.closed:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._in_transaction = False

    def query(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows that a statement gives."""
        with self._translated():
            # A transaction is of one connection and fails with it; a read alone can be repeated.
            run = self._connection.execute if self._in_transaction else self._execute
            return run(_worded(statement), values).fetchall()

    def change(self, statement: str, values: Mapping[str, Any]) -> int:
        """How many rows a statement changed; within a transaction."""
        with self._translated():
            return self._connection.execute(_worded(statement), values).rowcount

    def change_each(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs a statement once for each row of values, all of them under way at once."""
        with self._translated(), self._connection.cursor() as cursor:
            cursor.executemany(_worded(statement), rows)

    def lock_draining(self) -> bool:
        """An advisory lock: the server drops it with the connection."""
        if not self._is_locked:
            ((self._is_locked,),) = self.query(f"SELECT pg_try_advisory_lock({_DRAINING_LOCK})", {})
        return self._is_locked

    @property
    def is_draining(self) -> bool:
        """Whether the connection is still the one that took the lock."""
        return self._is_locked and not self._connection.closed

    def unlock_draining(self) -> None:
        """Gives it back; where the connection was lost, it is gone already."""
        if self._is_locked and not self._connection.closed:
            self.query(f"SELECT pg_advisory_unlock({_DRAINING_LOCK})", {})
        self._is_locked = False

    def close(self) -> None:
        """Ends the connection. The lock first: the server notices the end of a connection only some time after."""
        with contextlib.suppress(OutboxError):
            self.unlock_draining()
        self._connection.close()

    def _connect(self) -> psycopg.Connection:
        connection = psycopg.connect(self._url, autocommit=True, connect_timeout=CONNECT_SECONDS)
        try:
            for statement in _SETTINGS:
                connection.execute(statement.encode())
        except BaseException:
            connection.close()
            raise
        return connection

    def _execute(self, statement: bytes, values: Mapping[str, Any]) -> "psycopg.Cursor[tuple[Any, ...]]":
        """Runs what may run twice, on a new connection where the one there was is found to be lost.

        A lock that the lost one held is somebody else's to take.
        """
        if not self._connection.closed:
            try:
                return self._connection.execute(statement, values)
            except psycopg.OperationalError:
                if not self._connection.closed:
                    raise
        self._is_locked = False
        self._connection = self._connect()
        return self._connection.execute(statement, values)

    def _prepare(self, *, must_exist: bool) -> None:
        with self._translated():
            ((found,),) = self._connection.execute(
                "SELECT to_regclass('tongdui_outbox.totals')::text"
            ).fetchall()
            if found is None and must_exist:
                raise FileRefused("no outbox in this database: there is no schema tongdui_outbox")
            if found is None:
                self._create()
        check_format(self)

    def _create(self) -> None:
        with self._connection.transaction():
            self._connection.execute(f"SELECT pg_advisory_xact_lock({_MAKING_LOCK})".encode())
            self._connection.execute("CREATE SCHEMA IF NOT EXISTS tongdui_outbox")
            for statement in SCHEMA:
                self._connection.execute(_worded(statement))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError) as error:
            raise _error(error) from error


def _error(error: psycopg.Error) -> OutboxError:
    said = str(error).partition("\n")[0]
    match error:
        case errors.DiskFull():
            return OutboxFull(
                f"the outbox's PostgreSQL: {said}: nothing was stored. What was accepted before is safe. Make room;"
                " then go on"
            )
        case errors.DataCorrupted() | errors.IndexCorrupted():
            return OutboxDamaged(
                f"the outbox's PostgreSQL: {said}. Restore it from its WAL archive or a standby"
            )
        case _:
            return OutboxUnavailable(
                f"the outbox's PostgreSQL: {said}. Whether it was stored is unknown: offer the same command again."
                " What was accepted before is safe"
            )


def _worded(statement: str) -> bytes:
    """The statement as psycopg and PostgreSQL have it."""
    statement = re.sub(
        r"json_each\(:(\w+)\)", r"json_array_elements_text(%(\1)s::json) AS each_one(value)", statement
    )
    statement = re.sub(r"(?<!:):([a-z_]+)", r"%(\1)s", statement)
    for word, meaning in _WORDS.items():
        statement = statement.replace(word, meaning)
    return statement.encode()
