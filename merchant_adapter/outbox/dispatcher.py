"""Sends what an outbox holds: in batches, in order per member, until the hub has answered each command."""

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from merchant_adapter.client import Hub
from merchant_adapter.outbox.delivery import Delivery, deliver
from merchant_adapter.outbox.errors import OutboxDamaged, OutboxError, OutboxInUse
from merchant_adapter.outbox.frames import FRAME_BYTES
from merchant_adapter.outbox.lanes import Lanes, Waiting
from merchant_adapter.outbox.outbox import DEFAULT_RETENTION_DAYS, Outbox
from merchant_adapter.outbox.policy import Fate, RetryPolicy, pause_seconds
from merchant_adapter.outbox.times import now_ms
from merchant_adapter.transport import MAX_REQUEST_BYTES

T = TypeVar("T")

MOST_COMMANDS = 1_000
MOST_IN_FLIGHT = 4
READ_AT_ONCE = 2_000
READY_ENOUGH = 4_000
POLL_SECONDS = 0.25
"""How soon commands that another process accepted are noticed; those of this one are at once."""

TAKE_OVER_SECONDS = 5.0

PRUNE_SECONDS = 3_600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a dispatcher is: what it settled since it began, and what still waits.

    Attributes:
        accepted, refused: commands with a final answer, archived with its receipt.
        dead: commands that became dead letters.
        waiting: commands in the outbox without a final answer, dead letters left out; None before the first batch.
        trouble: why the hub could not be asked the last time, empty while it answers.
    """

    accepted: int = 0
    refused: int = 0
    dead: int = 0
    waiting: int | None = None
    trouble: str = ""


class Dispatcher:
    """Sends one outbox to one hub. One at a time for each outbox, in this process or any other."""

    def __init__(
        self,
        outbox: Outbox,
        hub: Hub,
        *,
        policy: RetryPolicy | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        retention_days: float = DEFAULT_RETENTION_DAYS,
        take_over_seconds: float = TAKE_OVER_SECONDS,
    ) -> None:
        """`on_progress` is called after each batch; `retention_days` is how long receipts are kept.

        `take_over_seconds` is how long to wait for a process that drains and may just be ending.
        """
        self._outbox = outbox
        self._hub = hub
        self._policy = policy or RetryPolicy()
        self._on_progress = on_progress
        self._retention_days = retention_days
        self._take_over_seconds = take_over_seconds
        self.progress = Progress()
        self._lanes = Lanes()
        self._resubmits = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._order = asyncio.Lock()
        self._stopping = False
        self._gives_up = False
        self._failures = 0
        self._pause_ends = 0.0
        self._next_prune = 0.0

    async def run(self) -> None:
        """Sends what is accepted, until `stop`. Outlives the hub and a disk that is full for a while.

        Raises OutboxInUse where another process drains, OutboxDamaged.
        """
        self._gives_up = False
        while not self._stopping:
            try:
                await self._session(lambda: False)
            except (OutboxDamaged, OutboxInUse):
                raise
            except OutboxError as error:
                # What was answered and could not be kept is asked again, and answered the same.
                _log.warning("outbox: %s", error)
                await self._rest(self._policy.longest_pause_seconds)

    async def drain(self, *, wait: bool = False) -> Progress:
        """Sends until nothing waits, and says what became of it.

        Without `wait` it ends as soon as the hub can't be asked, or when only what the hub put off is left. Raises
        OutboxError.
        """
        self._gives_up = not wait
        await self._session(self._is_drained)
        self._report(waiting=await self._store(self._outbox.store.waiting))
        return self.progress

    def stop(self) -> None:
        """Ends `run` or `drain` once the answers of what was sent are kept."""
        self._stopping = True
        self._wake.set()

    # --- one session: from taking the lock to giving it back

    async def _session(self, is_done: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        await self._begin()
        self._lanes, self._resubmits = Lanes(no_pause_seconds=self._policy.no_pause_seconds), 0
        self._outbox.writer.on_change = lambda: _call_soon(loop, self._wake.set)
        try:
            while not self._stopping:
                self._wake.clear()
                await self._read()
                self._launch()
                if not self._tasks and is_done():
                    break
                await self._pause()
                await self._prune()
            await self._settle_tasks()
        finally:
            self._outbox.writer.on_change = lambda: None
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._tasks.clear()
            await self._store(self._outbox.store.end_draining)

    async def _begin(self) -> None:
        ends = time.monotonic() + self._take_over_seconds
        channel = self._hub.channel
        while True:
            try:
                await self._store(
                    lambda: self._outbox.store.begin_draining(channel.key.owner, channel.audience)
                )
                return
            except OutboxInUse:
                if time.monotonic() >= ends:
                    raise
            await asyncio.sleep(POLL_SECONDS)

    async def _read(self) -> None:
        """Reads on in the store while there is room here."""
        async with self._order:
            await self._look_at_asked()
            resubmits = await self._drainer(self._outbox.store.resubmits)
            if resubmits != self._resubmits:
                self._resubmits, self._lanes.cursor = resubmits, 0
            while self._lanes.ready_count < READY_ENOUGH and not self._lanes.is_full:
                found = await self._store(partial(self._outbox.store.read, self._lanes.cursor, READ_AT_ONCE))
                self._lanes.read(found)
                if len(found) < READ_AT_ONCE:
                    break

    async def _look_at_asked(self) -> None:
        """What tills ask for themselves is theirs until they have an answer or give up."""
        if not self._lanes.asked:
            return
        store, numbers = self._outbox.store, self._lanes.asked
        gone = self._lanes.look_again(await self._store(lambda: store.those(numbers)), time.time())
        if gone:
            self._lanes.advance(gone, await self._store(lambda: store.heads(gone)))

    def _launch(self) -> None:
        """Sends what is due. A lone command goes at once; while calls are under way, the next batch grows."""
        if self._gives_up and self._failures:
            return  # also where the pause after the failure is over by now
        # While the hub can't be asked, one call finds out whether it can again.
        most = 1 if self._failures else MOST_IN_FLIGHT
        room = MAX_REQUEST_BYTES - MOST_COMMANDS * FRAME_BYTES
        while len(self._tasks) < most and time.monotonic() >= self._pause_ends:
            batch = self._lanes.take(time.time(), MOST_COMMANDS, room)
            if not batch:
                return
            task = asyncio.create_task(self._settle(batch))
            self._tasks.add(task)
            task.add_done_callback(lambda _: self._wake.set())

    async def _pause(self) -> None:
        """Waits for a batch, a new command, or the time that something is due."""
        seconds = POLL_SECONDS
        if self._failures:
            seconds = min(seconds, max(self._pause_ends - time.monotonic(), 0.0))
        if self._lanes.next_due is not None:
            seconds = min(seconds, max(self._lanes.next_due - time.time(), 0.0))
        await self._rest(max(seconds, 0.005))
        for task in [task for task in self._tasks if task.done()]:
            self._tasks.remove(task)
            task.result()

    async def _settle_tasks(self) -> None:
        for task in list(self._tasks):
            await task
        self._tasks.clear()

    async def _settle(self, batch: Sequence[Waiting]) -> None:
        """Sends a batch and keeps what became of it."""
        deliveries = await deliver(self._hub, batch, self._policy, random.random)
        for delivery in deliveries:
            await self._keep(delivery)
        last = deliveries[-1]
        if last.hub_failure is None:
            self._failures = 0
        else:
            self._failures += 1
            asked = last.hub_failure.retry_after_seconds
            pause = pause_seconds(self._failures, asked, random.random(), self._policy)  # noqa: S311  # no secret
            self._pause_ends = time.monotonic() + pause
            if self._failures == 1:
                _log.warning("outbox: the hub can't be asked: %s", last.hub_failure.reason)
        self._report(trouble="" if last.hub_failure is None else last.hub_failure.reason)

    async def _keep(self, delivery: Delivery) -> None:
        gone = [
            command.member_id
            for command, settled in delivery.settled
            if settled.verdict.fate is not Fate.AGAIN
        ]
        settled = [one for _, one in delivery.settled]
        async with self._order:
            heads, tally = await self._drainer(
                lambda: self._outbox.store.settle(delivery.receipt, settled, gone, now_ms())
            )
            self._lanes.advance(gone, heads)
            for command, one in delivery.settled:
                if one.verdict.fate is Fate.AGAIN:
                    self._lanes.put_off(
                        replace(
                            command,
                            attempts=one.attempts,
                            due=one.due_ms / 1000,
                            untrusted_since=one.verdict.untrusted_since,
                            asked_until=0.0,
                        )
                    )
        fates = Counter(tally.fates)
        self._report(
            accepted=self.progress.accepted + fates[Fate.ACCEPTED],
            refused=self.progress.refused + fates[Fate.REFUSED],
            dead=self.progress.dead + fates[Fate.DEAD],
            waiting=tally.waiting,
        )

    def _is_drained(self) -> bool:
        if self._lanes.is_empty:
            return True
        return self._gives_up and (self._failures > 0 or self._lanes.ready_count == 0)

    async def _prune(self) -> None:
        if time.monotonic() >= self._next_prune:
            self._next_prune = time.monotonic() + PRUNE_SECONDS
            await asyncio.to_thread(self._outbox.prune, self._retention_days)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _drainer(self, work: Callable[[], T]) -> T:
        """Work that only the one may do who has the lock."""

        def checked() -> T:
            self._outbox.store.check_draining()
            return work()

        return await self._store(checked)

    async def _store(self, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._outbox.writer.do(work))

    def _report(self, **changes: int | str) -> None:
        self.progress = replace(self.progress, **changes)  # type: ignore[arg-type]  # names and types are Progress's own
        if self._on_progress is not None:
            self._on_progress(self.progress)


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has just been closed: nobody is left to wake
        loop.call_soon_threadsafe(callback)
