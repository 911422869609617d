"""Gathers commands into batches: while one batch is being committed, the next one fills.

One batch is one transaction. A lone command in an idle hub waits for no timer; a second batch starts beside a
running one only when enough commands wait to make it worth a connection. Where many call at once, the next batch
waits a moment for those that the last one has just answered (`exchange.gathering`). Batches that run side by side
never share a member: they would wait for each other's locks in the database, so a command whose member is busy waits
here for the next batch instead. A call may so be decided in parts, which changes no answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from exchange.batch import SMALL, Answer, BatchRunner, Encode, Lane, Outcome, Part, Submission
from exchange.core.book import Terms
from exchange.core.commands import Command, Merge, Transfer, Wake
from exchange.core.evidence import Call
from exchange.gathering import Gathering
from exchange.store.failures import StoreUnavailable
from exchange.store.pipeline import HubConnection

MAX_BATCH: Final = 1000
"""Commands of one transaction."""

MAX_QUEUE: Final = 20_000
"""Commands that may wait; one more is refused, because it would only time out."""

MAX_DEFECTS: Final = 64
"""Calls of one batch that are found to meet a defect; where there are more, what is left fails with the last one."""


class BatchFigures(NamedTuple):
    """What one batch did, for the metrics."""

    command_count: int
    entry_count: int
    retry_count: int
    waited_seconds: float
    took_seconds: float


class QueueFull(Exception):
    """Too many commands wait. Nothing was decided."""


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
        self._lanes = tuple(Lane(connect) for _ in range(connections))
        self._idle = list(self._lanes)
        self._threads = ThreadPoolExecutor(connections, "batch")
        self._runner = BatchRunner(terms, encode, self._threads)
        self._queue: deque[Submission] = deque()
        self._queued = 0
        self._busy: set[int] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._searching = 0
        self._stopping = False
        self._starting: asyncio.Handle | None = None
        self._gathering = Gathering()
        self._is_gathering = False
        self._running_calls = 0

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
        self._queue.append(Submission(commands, call, done, loop.time(), waiting))
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
        enough = self._queued >= self._gathering.enough
        if self._starting is not None:
            if not (enough and self._is_gathering):
                return
            self._starting.cancel()
        until = None if enough else self._gathering.end_of_wait(loop.time())
        self._is_gathering = until is not None
        if until is not None:
            self._starting = loop.call_at(until, self._start_when_quiet, self._queued)
        else:
            self._starting = loop.call_soon(self._start_when_quiet, self._queued)

    def _start_when_quiet(self, queued: int) -> None:
        if queued < self._queued < SMALL:  # this round of the loop brought more: so may the next
            self._starting = asyncio.get_running_loop().call_soon(self._start_when_quiet, self._queued)
            return
        self._starting = None
        self._is_gathering = False
        self._start_batches()

    def _start_batches(self) -> None:
        while self._queue and self._idle:
            is_beside = len(self._running) > self._searching
            if is_beside and self._queued < self._gathering.enough_beside():
                return
            batch = self._take()
            if not batch:
                return  # every member that waits is busy; the batch that has it will start the next
            self._running_calls += len(batch)
            task = asyncio.ensure_future(self._run(self._idle.pop(), batch))
            self._running.add(task)
            task.add_done_callback(self._finished)

    def _take(self) -> list[Part]:
        """The oldest waiting commands whose members are free, at most `MAX_BATCH` of them."""
        batch: list[Part] = []
        room = MAX_BATCH
        blocked = set(self._busy)
        members: set[int] = set()
        left: deque[Submission] = deque()
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

    def _take_part(self, submission: Submission, room: int, blocked: set[int], members: set[int]) -> Part:
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
        return Part(submission, taken)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start_soon()

    async def _run(self, lane: Lane, batch: list[Part]) -> None:
        try:
            defect = await self._decide(lane, batch)
            if defect is not None and len(batch) > 1:
                await self._search(lane, batch)
            elif defect is not None:
                self._fail(batch, defect)
        finally:
            self._idle.append(lane)
            for part in batch:
                for command in part.commands():
                    self._busy.difference_update((command.member_id, _other_member(command)))
                part.submission.first_part_runs = False
            self._running_calls -= len(batch)
        now = asyncio.get_running_loop().time()
        self._gathering.learn(len(batch), len(self._queue), self._running_calls, now)

    async def _decide(self, lane: Lane, batch: list[Part]) -> Exception | None:
        """Runs the batch and hands out its answers. Gives a defect that it met; then nothing of it was decided."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            outcome = await self._runner.run(lane, batch)
        except StoreUnavailable as away:
            self._fail(batch, away)
            return None
        except Exception as defect:  # noqa: BLE001  # whatever it is, it belongs to those who wait for it
            return defect
        _settle(batch, outcome)
        figures = (len(outcome.answers), outcome.entry_count, outcome.retry_count)
        self._observe(BatchFigures(*figures, started - batch[0].submission.arrived, loop.time() - started))
        return None

    async def _search(self, lane: Lane, batch: list[Part]) -> None:
        """Runs each half of a batch with a defect again, until the defect is alone with the call that meets it.

        Other batches start meanwhile as if there were none, so that nobody else waits for the search.
        """
        self._searching += 1
        self._start_soon()
        try:
            left, found = _halves(batch), 0
            while left:
                calls = left.pop()
                defect = await self._decide(lane, calls)
                if defect is None:
                    continue
                if len(calls) > 1 and found < MAX_DEFECTS:
                    left += _halves(calls)
                else:
                    self._fail(calls, defect)
                    found += 1
        finally:
            self._searching -= 1

    def _fail(self, batch: list[Part], error: Exception) -> None:
        for part in batch:
            submission = part.submission
            self._queued -= len(submission.waiting)
            submission.waiting = []  # nothing of it is taken any more; the queue drops it when it comes by
            if not submission.done.done():
                submission.done.set_exception(error)


def _halves(batch: list[Part]) -> list[list[Part]]:
    """Both, the first one last: the order in which calls came is the order they are taken off the list."""
    middle = len(batch) // 2
    return [batch[middle:], batch[:middle]]


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


def _settle(batch: list[Part], outcome: Outcome) -> None:
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
