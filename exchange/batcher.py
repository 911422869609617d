"""Gathers commands into batches: while one batch is being committed, the next one fills.

One batch is one transaction. A lone command in an idle hub waits for no timer; a second batch starts beside a
running one only when enough commands wait to make it worth a connection. Where many call at once, the next batch
waits a moment for those that the last one has just answered, as PostgreSQL's `commit_delay` does for siblings:
larger batches cost the hub, its database and its callers less than the moment. A small batch runs in the event
loop, because a thread beside it would cost more in hand-overs of the interpreter than its work; a large one has a
thread, so that callers are still heard. Batches that run side by side never share a member: they would wait for
each other's locks in the database, so a command whose member is busy waits here for the next batch instead. A call
may so be decided in parts, which changes no answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from exchange.core.book import Book, Terms
from exchange.core.commands import Command, Merge, Transfer, Wake
from exchange.core.decisions import Accepted, Decision, Refused
from exchange.core.evidence import Call
from exchange.core.planner import plan
from exchange.core.rates import Cards
from exchange.store.engine import forget_plans
from exchange.store.failures import Race, StoreUnavailable, translated_failures
from exchange.store.load import load_book
from exchange.store.pipeline import ROLLBACK, HubConnection, Request, Steps
from exchange.store.reads import read_cards
from exchange.store.save import (
    NO_ENTRY,
    RequestRow,
    call_id_of,
    save_batch,
    system_requests,
)

MAX_BATCH: Final = 1000
"""Commands of one transaction."""

SMALL: Final = 100
"""Commands up to which a batch runs in the loop and is inserted; a larger one has a thread, and is copied."""

MAX_QUEUE: Final = 20_000
"""Commands that may wait; one more is refused, because it would only time out."""

SIBLINGS: Final = 8
"""Calls of a batch from which on the next one gathers."""

GATHER_SECONDS: Final = 0.008
"""How long after such a batch the next one starts, unless `WORTH_A_BATCH` commands wait before."""

WORTH_A_BATCH: Final = 24
"""Waiting commands that start a batch at once, beside a running one too: more would leave the database idle."""

MAX_RETRIES: Final = 3
"""Repeats of a batch that met a deadlock, a serialization failure or a racing request id."""


class Answer(NamedTuple):
    """What goes back for one command: an answer message of the command's kind, or a status."""

    kind: str
    accepted: bool
    replayed: bool
    body: bytes


class BatchFigures(NamedTuple):
    """What one batch did, for the metrics."""

    command_count: int
    entry_count: int
    retry_count: int
    waited_seconds: float
    took_seconds: float


_T = TypeVar("_T")

Encode = Callable[[Sequence[Command], Sequence[Decision], Book], list[Answer]]


class QueueFull(Exception):
    """Too many commands wait. Nothing was decided."""


@dataclass(slots=True, eq=False, repr=False)  # a repr in a log would hold commands
class _Submission:
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


class _Part(NamedTuple):
    """The commands of a submission that one batch decides."""

    submission: _Submission
    indexes: list[int]

    def commands(self) -> Iterator[Command]:
        for index in self.indexes:
            yield self.submission.commands[index]


class Batcher:
    """Runs commands through load, plan and save on a few connections, each with a thread of its own."""

    def __init__(
        self,
        connect: Callable[[], HubConnection],
        terms: Terms,
        encode: Encode,
        observe: Callable[[BatchFigures], None],
        connections: int = 3,
    ) -> None:
        """Takes what opens a connection, what turns decisions into answer bytes, and who watches."""
        self._observe = observe
        self._lanes = tuple(_Lane(connect) for _ in range(connections))
        self._idle = list(self._lanes)
        self._threads = ThreadPoolExecutor(connections, "batch")
        self._runner = _BatchRunner(terms, encode, self._threads)
        self._queue: deque[_Submission] = deque()
        self._queued = 0
        self._busy: set[int] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._starting: asyncio.Handle | None = None
        self._gathering = False
        self._gather_until = 0.0

    async def submit(self, commands: Sequence[Command], call: Call | None) -> list[Answer]:
        """Decides the commands and gives one answer each, in order, once they are durable.

        `call` is the evidence that is kept with them. Raises `QueueFull`, or `StoreUnavailable` with the
        outcome unknown.
        """
        if self._stopping or self._queued + len(commands) > MAX_QUEUE:
            raise QueueFull
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[Answer]] = loop.create_future()
        waiting = list(range(len(commands)))
        self._queue.append(_Submission(commands, call, done, loop.time(), waiting))
        self._queued += len(commands)
        self._start_soon()
        return await done

    async def stop(self) -> None:
        """Takes nothing new, finishes what waits, closes the connections."""
        self._stopping = True
        while self._queue or self._running:
            self._start_batches()
            if self._running:
                await asyncio.wait(self._running)
        self._threads.shutdown()
        for lane in self._lanes:
            lane.close()

    def _start_soon(self) -> None:
        """Not at once but when the loop has run what is ready now: calls that come together share a batch."""
        loop = asyncio.get_running_loop()
        enough = self._queued >= WORTH_A_BATCH
        if self._starting is not None:
            if not (enough and self._gathering):
                return
            self._starting.cancel()
        self._gathering = not enough and loop.time() < self._gather_until
        if self._gathering:
            self._starting = loop.call_at(self._gather_until, self._start_when_quiet, self._queued)
        else:
            self._starting = loop.call_soon(self._start_when_quiet, self._queued)

    def _start_when_quiet(self, queued: int) -> None:
        if queued < self._queued < SMALL:  # this round of the loop brought more: so may the next
            self._starting = asyncio.get_running_loop().call_soon(self._start_when_quiet, self._queued)
            return
        self._starting = None
        self._gathering = False
        self._start_batches()

    def _start_batches(self) -> None:
        while self._queue and self._idle:
            if self._running and self._queued < WORTH_A_BATCH:
                return
            batch = self._take()
            if not batch:
                return  # every member that waits is busy; the batch that has it will start the next
            task = asyncio.ensure_future(self._run(self._idle.pop(), batch))
            self._running.add(task)
            task.add_done_callback(self._finished)

    def _take(self) -> list[_Part]:
        """The oldest waiting commands whose members are free, at most `MAX_BATCH` of them."""
        batch: list[_Part] = []
        room = MAX_BATCH
        blocked = set(self._busy)
        members: set[int] = set()
        left: deque[_Submission] = deque()
        while self._queue and room:
            submission = self._queue.popleft()
            part = self._take_part(submission, room, blocked, members)
            if part.indexes:
                room -= len(part.indexes)
                batch.append(part)
            if submission.waiting:
                left.append(submission)
        self._queue.extendleft(reversed(left))
        self._queued -= MAX_BATCH - room
        self._busy |= members
        return batch

    def _take_part(self, submission: _Submission, room: int, blocked: set[int], members: set[int]) -> _Part:
        taken: list[int] = []
        stays: list[int] = []
        held: set[tuple[str, ...]] = set()
        held_back = submission.first_part_runs  # its evidence is being written: the rest refers to it
        for index in submission.waiting:
            command = submission.commands[index]
            member, other = command.member_id, _other_member(command)
            waits = held_back or len(taken) == room or member in blocked or other in blocked
            if waits or (held and not held.isdisjoint(_names(command))):
                blocked.update((member, other))  # and whatever comes later for them
                held.update(_names(command))
                stays.append(index)
            else:
                members.add(member)
                if other != member:
                    members.add(other)
                taken.append(index)
        submission.waiting = stays
        if taken and submission.call_id is None:
            submission.first_part_runs = True
        return _Part(submission, taken)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start_soon()

    async def _run(self, lane: _Lane, batch: list[_Part]) -> None:
        try:
            await self._decide(lane, batch)
        finally:
            self._idle.append(lane)
            for part in batch:
                for command in part.commands():
                    self._busy.difference_update((command.member_id, _other_member(command)))
                part.submission.first_part_runs = False
        now = asyncio.get_running_loop().time()
        self._gather_until = now + GATHER_SECONDS if len(batch) >= SIBLINGS else 0.0

    async def _decide(self, lane: _Lane, batch: list[_Part]) -> None:
        """Runs the batch and hands out its answers; what goes wrong is told to those who wait for it.

        A defect rolls everything back. Whose it is nobody knows, so each half runs again on its own, until the
        defect is alone with the call that meets it.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        outcome: _Outcome | Exception
        try:
            outcome = await self._runner.run(lane, batch)
        except Exception as failure:  # noqa: BLE001  # whatever it is, it belongs to those who wait for it
            outcome = failure
        if isinstance(outcome, _Outcome):
            _settle(batch, outcome)
            figures = (len(outcome.answers), outcome.entry_count, outcome.retry_count)
            self._observe(
                BatchFigures(*figures, started - batch[0].submission.arrived, loop.time() - started)
            )
        elif isinstance(outcome, StoreUnavailable) or len(batch) == 1:
            self._fail(batch, outcome)
        else:
            half = len(batch) // 2
            await self._decide(lane, batch[:half])
            await self._decide(lane, batch[half:])

    def _fail(self, batch: list[_Part], error: Exception) -> None:
        for part in batch:
            submission = part.submission
            self._queued -= len(submission.waiting)
            submission.waiting = []  # nothing of it is taken any more; the queue drops it when it comes by
            if not submission.done.done():
                submission.done.set_exception(error)


def _other_member(command: Command) -> int:
    """The second member of a command that has one, or its only one."""
    if isinstance(command, Transfer):
        return command.to_member_id
    return command.into_member_id if isinstance(command, Merge) else command.member_id


def _names(command: Command) -> tuple[tuple[str, ...], ...]:
    """What decides between two commands of one call besides their member: their order must hold for these."""
    if isinstance(command, Wake):
        return ()
    return ("request", command.request_id), (command.kind, command.reference)


def _settle(batch: list[_Part], outcome: _Outcome) -> None:
    """Hands out the answers of a committed batch."""
    answers = iter(outcome.answers)
    for part, call_id in zip(batch, outcome.call_ids, strict=True):
        submission = part.submission
        submission.call_id = call_id
        for index in part.indexes:
            submission.answers[index] = next(answers)
        complete = len(submission.answers) == len(submission.commands)
        if complete and not submission.done.done():  # a caller that gave up cancels its future
            submission.done.set_result(
                [submission.answers[index] for index in range(len(submission.commands))]
            )


class _Lane:
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
        if self._connection is not None:
            self._connection.rollback()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _StaleCards(Exception):
    """The cards changed since they were cached; the batch starts over with the new ones."""


class _Outcome(NamedTuple):
    """A committed batch: answers in order, where each part's evidence is kept, and figures."""

    answers: list[Answer]
    call_ids: list[int | None]
    entry_count: int
    retry_count: int


class _BatchRunner:
    """One batch from commands to answers: in the loop where it is small, else in a thread."""

    def __init__(self, terms: Terms, encode: Encode, threads: ThreadPoolExecutor) -> None:
        self._terms = terms
        self._encode = encode
        self._threads = threads
        self._cards: tuple[int, Cards] = (0, Cards([]))  # with their registry version; replaced as a whole

    async def run(self, lane: _Lane, batch: list[_Part]) -> _Outcome:
        """The committed batch's outcome. Raises `StoreUnavailable`, or what went wrong."""
        retries = 0
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
            except BaseException:
                lane.close()  # whatever went wrong, the transaction must not live on
                raise

    async def _attempt(self, lane: _Lane, batch: list[_Part]) -> _Outcome:
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

    def _steps(self, batch: list[_Part], commands: list[Command]) -> Steps[_Outcome]:
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
                loaded.wallet_rows,
                by_copy=len(commands) > SMALL,
            )
        else:
            yield [Request(ROLLBACK)]  # nothing new: repeats and rejections write nothing
        return _Outcome(answers, record.call_ids, len(book.entries), 0)

    def _refresh(self, lane: _Lane) -> None:
        connection = lane.connect()
        connection.rollback()
        self._cards = read_cards(connection)


class _Record(NamedTuple):
    """What is to be kept of a batch: new decisions, new calls, and where each part's call is."""

    requests: list[RequestRow]
    calls: list[tuple[int, Call]]
    call_ids: list[int | None]


def _to_record(batch: list[_Part], decisions: list[Decision], answers: list[Answer], book: Book) -> _Record:
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
