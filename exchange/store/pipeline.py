"""The hot path's connection: prepared statements sent together and answered together.

psycopg's own pipeline polls the socket at every statement. Beside a busy event loop each poll hands the
interpreter over and waits to get it back: some 40 times a batch, which cost more than the statements.

What a batch does with its connection is written as steps: a generator that yields what is to be sent and is
given the rows. So the same text runs in a thread, where a large batch does not keep the loop from its callers,
and in the event loop itself, where a small one does without a thread and the interpreter's hand-overs.
"""

from __future__ import annotations

import asyncio
import logging
import re
import select
from collections.abc import Generator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import count
from typing import Final, NamedTuple, TypeAlias, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.generators import fetch_many, send
from psycopg.pq import ExecStatus, Format, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow
from psycopg.waiting import Ready, Wait

BEGIN: Final = b"BEGIN"
COMMIT: Final = b"COMMIT"
ROLLBACK: Final = b"ROLLBACK"

_log = logging.getLogger(__name__)

_OK: Final = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK})


class Request(NamedTuple):
    """A statement with `%s` places and its values, each in PostgreSQL's binary format."""

    statement: bytes
    values: tuple[bytes, ...] = ()


class CopyIn(NamedTuple):
    """A COPY FROM STDIN and its whole binary stream. It can't share a pipeline, so it is a step of its own."""

    statement: bytes
    stream: bytes


Rows: TypeAlias = list[list[TupleRow]]

_T = TypeVar("_T")

Steps: TypeAlias = Generator[Sequence[Request] | CopyIn, Rows, _T]
"""Work on a connection: yields requests to be sent together, or a copy, and is given the rows of each request."""


class HubConnection(psycopg.Connection[TupleRow]):
    """A connection in autocommit mode that also runs whole pipelines; its user says BEGIN and COMMIT."""

    _statement_names: dict[bytes, bytes]

    def run(self, requests: Sequence[Request]) -> Rows:
        """Sends all requests at once and gives the rows of each. Raises the first failure, after all are read."""
        return self.wait(self._exchange(requests))

    def drive(self, steps: Steps[_T]) -> _T:
        """Takes steps to their end in this thread and gives what they return."""
        try:
            step = next(steps)
            while True:
                try:
                    rows = self._perform(step)
                except psycopg.Error as failure:
                    step = steps.throw(failure)
                else:
                    step = steps.send(rows)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # the generator's type says what it is

    async def drive_in_loop(self, steps: Steps[_T]) -> _T:
        """Takes steps to their end in the event loop. They may not copy: a COPY waits for the server."""
        try:
            step = next(steps)
            while True:
                assert not isinstance(step, CopyIn)
                try:
                    rows = await _wait_in_loop(self._exchange(step), self.pgconn.socket)
                except psycopg.Error as failure:
                    step = steps.throw(failure)
                else:
                    step = steps.send(rows)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # the generator's type says what it is

    def has_ended(self) -> bool:
        """Whether it was closed, or the server hung up on it while nobody used it.

        A restarted server would else be noticed by the first batch after it, whose outcome would be unknown.
        """
        while not self.closed and self._socket_is_readable():
            with suppress(
                psycopg.OperationalError
            ):  # the end; what else the server says unasked is read here
                self.pgconn.consume_input()
        return self.closed

    def _socket_is_readable(self) -> bool:
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return bool(poll.poll(0))

    def _perform(self, step: Sequence[Request] | CopyIn) -> Rows:
        if not isinstance(step, CopyIn):
            return self.run(step)
        with self.cursor().copy(step.statement) as copy:
            copy.write(step.stream)
        return []

    def _exchange(self, requests: Sequence[Request]) -> PQGen[Rows]:
        pgconn = self.pgconn
        pgconn.enter_pipeline_mode()
        unknown = self._prepare(requests)
        names = self._statement_names
        for statement, values in requests:
            name = names.get(statement) or unknown[statement]
            pgconn.send_query_prepared(name, values, [Format.BINARY] * len(values), Format.BINARY)
        pgconn.pipeline_sync()
        yield from send(pgconn)
        results: list[PGresult] = []
        for _ in range(len(unknown) + len(requests)):
            results += yield from fetch_many(pgconn)
        yield from fetch_many(pgconn)  # the end of the pipeline itself
        pgconn.exit_pipeline_mode()
        for (statement, name), result in zip(unknown.items(), results, strict=False):
            if result.status in _OK:
                names[statement] = name
        for result in results:
            if result.status not in _OK:
                raise errors.error_from_result(result)
        return [self._rows(result) for result in results[len(unknown) :]]

    def rollback(self) -> None:
        """Ends an open transaction. psycopg's own would also deallocate every prepared statement."""
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            self.run([Request(ROLLBACK)])

    def recover(self) -> None:
        """Ends an open transaction, or the connection where it broke or was left in the middle of an exchange."""
        try:
            if self.pgconn.pipeline_status == PipelineStatus.OFF:
                self.rollback()
                return
        except psycopg.Error:
            _log.warning("a connection to the database is given up: it can't be rolled back")
        self.close()

    def _prepare(self, requests: Sequence[Request]) -> dict[bytes, bytes]:
        """Has the statements prepared that this connection has not seen yet; gives their names."""
        try:
            known = self._statement_names
        except AttributeError:
            known = self._statement_names = {}
        unknown: dict[bytes, bytes] = {}
        for statement, _ in requests:
            if statement not in known and statement not in unknown:
                name = f"hub_{len(known) + len(unknown)}".encode()
                self.pgconn.send_prepare(name, _numbered(statement))
                unknown[statement] = name
        return unknown

    def _rows(self, result: PGresult) -> list[TupleRow]:
        if not result.ntuples:
            return []
        transformer = Transformer(self)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)


async def _wait_in_loop(exchange: PQGen[Rows], socket: int) -> Rows:
    """Does what `psycopg.waiting.wait_async` does, without the task and the timer that it makes for every wait."""
    loop = asyncio.get_running_loop()
    try:
        wanted = next(exchange)
        while True:
            wanted = exchange.send(await _readiness(loop, socket, wanted))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # the generator's type says what it is


async def _readiness(loop: asyncio.AbstractEventLoop, socket: int, wanted: Wait) -> Ready:
    came: asyncio.Future[Ready] = loop.create_future()

    def note(ready: Ready) -> None:
        if not came.done():
            came.set_result(ready)

    if wanted & Wait.R:
        loop.add_reader(socket, note, Ready.R)
    if wanted & Wait.W:
        loop.add_writer(socket, note, Ready.W)
    try:
        return await came
    finally:
        if wanted & Wait.R:
            loop.remove_reader(socket)
        if wanted & Wait.W:
            loop.remove_writer(socket)


@lru_cache(100)
def _numbered(statement: bytes) -> bytes:
    """The statement with `$1`, `$2`... in its places."""
    numbers = count(1)
    return re.sub(rb"%s", lambda _: b"$%d" % next(numbers), statement)
