"""The hot path's connection: prepared statements sent together and answered together.

psycopg's own pipeline polls the socket at every statement. Beside a busy event loop each poll hands the
interpreter over and waits to get it back: some 40 times a batch, which cost more than the statements.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Final, NamedTuple

import psycopg
from psycopg import errors
from psycopg.adapt import Transformer
from psycopg.generators import fetch_many, send
from psycopg.pq import ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow

BEGIN: Final = b"BEGIN"
COMMIT: Final = b"COMMIT"
ROLLBACK: Final = b"ROLLBACK"

_OK: Final = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK})


class Request(NamedTuple):
    """A statement with `%s` places and its values, each in PostgreSQL's binary format."""

    statement: bytes
    values: tuple[bytes, ...] = ()


class HubConnection(psycopg.Connection[TupleRow]):
    """A connection in autocommit mode that also runs whole pipelines; its user says BEGIN and COMMIT."""

    _statement_names: dict[bytes, bytes]

    def run(self, requests: Sequence[Request]) -> list[list[TupleRow]]:
        """Sends all requests at once and gives the rows of each. Raises the first failure, after all are read."""
        pgconn = self.pgconn
        names = [self._prepare(request.statement) for request in requests]
        pgconn.enter_pipeline_mode()
        for name, request in zip(names, requests, strict=True):
            values = request.values
            pgconn.send_query_prepared(name, values, [Format.BINARY] * len(values), Format.BINARY)
        pgconn.pipeline_sync()
        self.wait(send(pgconn))
        results = [self.wait(fetch_many(pgconn))[0] for _ in requests]
        self.wait(fetch_many(pgconn))  # the end of the pipeline itself
        pgconn.exit_pipeline_mode()
        for result in results:
            if result.status not in _OK:
                raise errors.error_from_result(result)
        return [self._rows(result) for result in results]

    def rollback(self) -> None:
        """Ends an open transaction. psycopg's own would also deallocate every prepared statement."""
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            self.run([Request(ROLLBACK)])

    def _prepare(self, statement: bytes) -> bytes:
        try:
            prepared = self._statement_names
        except AttributeError:
            prepared = self._statement_names = {}
        name = prepared.get(statement)
        if name is None:
            name = f"hub_{len(prepared)}".encode()
            result = self.pgconn.prepare(name, _numbered(statement))
            if result.status not in _OK:
                raise errors.error_from_result(result)
            prepared[statement] = name
        return name

    def _rows(self, result: PGresult) -> list[TupleRow]:
        if not result.ntuples:
            return []
        transformer = Transformer(self)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)


@lru_cache(100)
def _numbered(statement: bytes) -> bytes:
    """The statement with `$1`, `$2`... in its places."""
    numbers = count(1)
    return re.sub(rb"%s", lambda _: b"$%d" % next(numbers), statement)
