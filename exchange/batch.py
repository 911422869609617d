"""A batch: the commands of several calls, decided and saved in one transaction on one connection.

A small batch runs in the event loop, because a thread beside it would cost more in hand-overs of the interpreter
than its work; a large one has a thread, so that callers are still heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from exchange.core.book import Book, Terms
from exchange.core.commands import Command, Wake
from exchange.core.decisions import Accepted, Decision, Refused
from exchange.core.evidence import Call
from exchange.core.planner import plan
from exchange.core.rates import Cards
from exchange.store.engine import forget_plans
from exchange.store.failures import Race, StoreUnavailable, translated_failures
from exchange.store.load import load_book
from exchange.store.pipeline import ROLLBACK, HubConnection, Request, Steps
from exchange.store.reads import read_cards
from exchange.store.save import NO_ENTRY, RequestRow, call_id_of, save_batch, system_requests

SMALL: Final = 100
"""Commands up to which a batch runs in the loop and is inserted; a larger one has a thread, and is copied."""

MAX_RETRIES: Final = 3
"""Repeats of a batch that met a deadlock, a serialization failure or a racing request id."""


class Answer(NamedTuple):
    """What goes back for one command: an answer message of the command's kind, or a status."""

    kind: str
    accepted: bool
    replayed: bool
    body: bytes


_T = TypeVar("_T")

Encode = Callable[[Sequence[Command], Sequence[Decision], Book], list[Answer]]


@dataclass(slots=True, eq=False, repr=False)  # a repr in a log would hold commands
class Submission:
    """A call's commands on their way: which still wait, and the answers so far."""

    commands: Sequence[Command]
    call: Call | None
    done: asyncio.Future[list[Answer]]
    arrived: float
    waiting: list[int] = field(default_factory=list)
    answers: dict[int, Answer] = field(default_factory=dict)
    call_id: int | None = None
    """Where the call's evidence is kept, once a batch committed it."""
    first_part_runs: bool = False


class Part(NamedTuple):
    """The commands of a submission that one batch decides."""

    submission: Submission
    indexes: list[int]

    def commands(self) -> Iterator[Command]:
        """Them, in the call's order."""
        for index in self.indexes:
            yield self.submission.commands[index]


class Lane:
    """One connection, opened when first needed and again after it broke.

    Its plans are made for tables of the size they had, so they are made anew after 1, 2, 4, 8... batches: a
    plan for empty tables may take any index, and stays until the server's own ANALYZE, a minute later.
    """

    def __init__(self, connect: Callable[[], HubConnection]) -> None:
        self._connect = connect
        self._connection: HubConnection | None = None
        self.batch_count = 0

    @property
    def ready(self) -> HubConnection | None:
        """The connection, where it stands and has good plans; None where `connect` is to be called first."""
        return None if self._plans_are_old() else self._standing()

    def connect(self) -> HubConnection:
        """The connection, opened and with new plans where it must be. Waits for the server."""
        connection = self._standing()
        if connection is None:
            connection = self._connection = self._connect()
        elif self._plans_are_old():
            forget_plans(connection)
        return connection

    def _standing(self) -> HubConnection | None:
        """The connection, unless there is none or the server has hung up since it was used last."""
        if self._connection is None or self._connection.has_ended():
            return None
        return self._connection

    def _plans_are_old(self) -> bool:
        return self.batch_count > 0 and self.batch_count & (self.batch_count - 1) == 0

    def rollback(self) -> None:
        """Ends the transaction, where one is open."""
        if self._connection is not None:
            self._connection.rollback()

    def recover(self) -> None:
        """Ends the transaction, and the connection with it where that can't be done otherwise."""
        if self._connection is not None:
            self._connection.recover()

    def close(self) -> None:
        """Closes the connection, and rolls back what it had not committed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _StaleCards(Exception):
    """The cards changed since they were cached; the batch starts over with the new ones."""


class Outcome(NamedTuple):
    """A committed batch: answers in order, where each part's evidence is kept, and figures."""

    answers: list[Answer]
    call_ids: list[int | None]
    entry_count: int
    retry_count: int


class BatchRunner:
    """One batch from commands to answers: in the loop where it is small, else in a thread."""

    def __init__(self, terms: Terms, encode: Encode, threads: ThreadPoolExecutor) -> None:
        self._terms = terms
        self._encode = encode
        self._threads = threads
        self._cards: tuple[int, Cards] = (0, Cards([]))  # with their registry version; replaced as a whole

    async def run(self, lane: Lane, batch: list[Part]) -> Outcome:
        """The committed batch's outcome. Raises `StoreUnavailable`, or what went wrong."""
        retries = 0
        try:
            while True:
                try:
                    with translated_failures():
                        outcome = await self._attempt(lane, batch)
                        return outcome._replace(retry_count=retries)
                except _StaleCards:
                    with translated_failures():
                        await self._in_thread(self._refresh, lane)
                except Race as race:
                    retries += 1
                    with translated_failures():
                        await self._in_thread(lane.rollback)
                    if retries > MAX_RETRIES:
                        raise StoreUnavailable("too many retries") from race
        except StoreUnavailable:
            lane.close()
            raise
        except Exception:  # a defect, which has nothing to do with the connection
            await self._in_thread(lane.recover)
            raise
        except BaseException:
            lane.close()  # whatever went wrong, the transaction must not live on
            raise

    async def _attempt(self, lane: Lane, batch: list[Part]) -> Outcome:
        """Decides and saves the batch once."""
        commands = [command for part in batch for command in part.commands()]
        steps = self._steps(batch, commands)
        connection = lane.ready
        if connection is None:  # it has to connect first, which can't be done in the loop
            connection = await self._in_thread(lane.connect)
        lane.batch_count += 1
        if len(commands) <= SMALL:
            return await connection.drive_in_loop(steps)
        return await self._in_thread(connection.drive, steps)

    async def _in_thread(self, work: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def _steps(self, batch: list[Part], commands: list[Command]) -> Steps[Outcome]:
        version, cards = self._cards
        loaded = yield from load_book(commands, cards, self._terms)
        if loaded.registry_version != version:
            raise _StaleCards
        book = loaded.book
        decisions = plan(commands, book)
        answers = self._encode(commands, decisions, book)
        record = _to_record(batch, decisions, answers, book)
        if record.requests or any(wallet.changed for wallet in book.wallets.values()):
            window_date = self._terms.window_of(book.decided_time)
            yield from save_batch(
                book,
                record.requests,
                record.calls,
                window_date,
                loaded.standings,
                by_copy=len(commands) > SMALL,
            )
        else:
            yield [Request(ROLLBACK)]  # nothing new: repeats and rejections write nothing
        return Outcome(answers, record.call_ids, len(book.entries), 0)

    def _refresh(self, lane: Lane) -> None:
        connection = lane.connect()
        connection.rollback()
        self._cards = read_cards(connection)


class _Record(NamedTuple):
    """What is to be kept of a batch: new decisions, new calls, and where each part's call is."""

    requests: list[RequestRow]
    calls: list[tuple[int, Call]]
    call_ids: list[int | None]


def _to_record(batch: list[Part], decisions: list[Decision], answers: list[Answer], book: Book) -> _Record:
    record = _Record([], [], [])
    outcomes = zip(decisions, answers, strict=True)
    for part in batch:
        call_id = part.submission.call_id
        kept = call_id if call_id is not None else call_id_of(book.batch_id, len(record.calls))
        before = len(record.requests)
        for command in part.commands():
            decision, answer = next(outcomes)
            if isinstance(decision, Accepted) and not isinstance(command, Wake):
                record.requests.append(RequestRow(command, True, decision.entry_index, kept, answer.body))
            elif isinstance(decision, Refused):
                record.requests.append(RequestRow(decision.command, False, NO_ENTRY, kept, answer.body))
        if call_id is None and part.submission.call is not None and len(record.requests) > before:
            record.calls.append((kept, part.submission.call))
            call_id = kept
        record.call_ids.append(call_id)
    record.requests.extend(system_requests(book))
    return record
