"""A till at which somebody waits: asked at once with a deadline, and never told a guess.

    till = Till(hub, outbox)
    match await till.ask(BurnCommand(member_id=..., points=700, ...), deadline_seconds=3.0):
        case Burned() as burned: ...  # posted; its receipt is in the archive of the outbox
        case Refusal() as refusal: ...  # decided against, for ever
        case Resolving() as resolving: ...  # unknown: ask again, or look later with `outcome`

A `Dispatcher` of the same outbox, here or in another process, finds out what became of a `Resolving`.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar, cast

from merchant_adapter.client import Hub
from merchant_adapter.errors import HubError, InvalidRequest, Refusal
from merchant_adapter.outbox.asking import Asked
from merchant_adapter.outbox.delivery import DeliveredAlone, deliver_alone
from merchant_adapter.outbox.errors import OutboxError, OutboxFull
from merchant_adapter.outbox.lanes import MOST_ASKED_SECONDS
from merchant_adapter.outbox.outbox import Outbox
from merchant_adapter.outbox.outcomes import outcome_of
from merchant_adapter.outbox.policy import Fate, RetryPolicy
from merchant_adapter.outbox.records import Archived, State
from merchant_adapter.outbox.times import now_ms
from merchant_adapter.points_answers import PointsAnswer
from merchant_adapter.points_commands import PointsCommand
from merchant_adapter.sync import SyncHub

__all__ = ["DROPPED", "Resolving", "SyncTill", "Till"]

A = TypeVar("A", bound=PointsAnswer)
T = TypeVar("T")

DEFAULT_DEADLINE_SECONDS = 3.0

DROPPED = "DROPPED"
"""The reason of a command that a person gave up. The hub may have decided it all the same."""

LOOK_SECONDS = 0.05
"""How often a till looks whether the command that its own follows has an answer."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolving:
    """Not decided yet, or decided and not known here yet. It is stored, and asked for until it is known.

    Attributes:
        request_id: names it, for `Till.outcome`.
        since: when it was stored first.
        reason: why the last try came to nothing, as in `Refusal`; empty where none has ended.
        detail: what was said then, for people.
        is_dead: whether it is a dead letter: nothing happens before a person resubmits or drops it.
    """

    request_id: str
    since: datetime
    reason: str = ""
    detail: str = ""
    is_dead: bool = False


class Till:
    """Asks a hub for one command at a time, with an outbox behind it. Calls may run side by side."""

    def __init__(self, hub: Hub, outbox: Outbox, *, policy: RetryPolicy | None = None) -> None:
        """`policy` judges what a try came to, and is best the dispatcher's."""
        self._hub = hub
        self._outbox = outbox
        self._policy = policy or RetryPolicy()

    async def ask(
        self, command: PointsCommand[A], deadline_seconds: float = DEFAULT_DEADLINE_SECONDS
    ) -> A | Refusal | Resolving:
        """Stores the command durably, asks the hub at once, and says what is known when the deadline has passed.

        An answer that the hub recorded is archived with its receipt. The same command again is told that answer, or
        is asked for again: it is one decision. A `Refusal` is final, and so is InvalidRequest, which is raised for
        what makes no sense; where nothing was decided nothing is kept. A command that follows one without an answer
        waits for that one. Cancelled, the command is sent by the dispatcher.

        Raises InvalidRequest; ValueError for a deadline that is not above 0 and at most 60 seconds; OutboxError where
        it could not be stored: then a new command was not sent. RequestIdTaken of these where the outbox has another
        command of its request id.
        """
        if not 0 < deadline_seconds <= MOST_ASKED_SECONDS:
            raise ValueError(f"deadline_seconds: above 0 and at most {MOST_ASKED_SECONDS:g}")
        ends, until_ms = _now() + deadline_seconds, now_ms() + int(deadline_seconds * 1000)
        found = None
        while found is None:  # again where somebody else was told meanwhile that it makes no sense
            hand_in = self._outbox.hand_in([command], asked_seconds=deadline_seconds)
            (queued,) = await asyncio.wrap_future(hand_in)
            try:
                found = await self._asked(command.request_id, ends, until_ms)
            except OutboxError as error:
                # It is stored and will be sent: whatever is wrong now, nobody may take it for refused.
                _log.warning("outbox: %s", error)
                found = Resolving(request_id=command.request_id, since=queued.accepted_time)
        return cast("A | Refusal | Resolving", found)

    async def outcome(self, request_id: str) -> PointsAnswer | Refusal | Resolving | None:
        """What became of a command of this outbox, asked here or accepted; None where it has none of this id.

        One that a person dropped is a `Refusal` with the reason `DROPPED`. Raises OutboxError, and Unreadable where
        the receipt in the archive does not answer the command.
        """
        found = await asyncio.to_thread(self._outbox.find, request_id)
        return None if found is None else told(found)

    async def _asked(
        self, request_id: str, ends: float, until_ms: int
    ) -> PointsAnswer | Refusal | Resolving | None:
        while (asked := await self._begin(request_id, until_ms)) is not None:
            if not asked.follows_one:
                return await self._ask(asked, ends)
            if asked.command.is_behind or _now() + LOOK_SECONDS >= ends:
                await self._give_up(asked)
                break
            await asyncio.sleep(LOOK_SECONDS)
        return await self.outcome(request_id)

    async def _begin(self, request_id: str, until_ms: int) -> Asked | None:
        begin = self._outbox.asking.begin
        try:
            return await self._store(lambda: begin(request_id, until_ms))
        except OutboxFull:
            # Asked before, and now the disk is full: then the dispatcher may ask beside us, which does no harm.
            return await self._store(lambda: begin(request_id, 0))

    async def _ask(self, asked: Asked, ends: float) -> PointsAnswer | Refusal | Resolving:
        """Asks until there is an answer, or nothing more will come of it before the deadline."""
        command, tried = asked.command, None
        while (left := ends - _now()) > 0:
            tried = await deliver_alone(self._hub, command, self._policy, random.random, left)
            verdict = tried.settled.verdict
            # A key that is not trusted is not trusted a moment later.
            is_over = verdict.fate is not Fate.AGAIN or verdict.untrusted_since is not None
            if is_over or _now() + verdict.pause_seconds >= ends:
                break
            await asyncio.sleep(verdict.pause_seconds)
            command = replace(command, attempts=tried.settled.attempts)
        if tried is None:
            await self._give_up(asked)
            return Resolving(request_id=command.request_id, since=asked.since)
        return await self._keep(asked, tried)

    async def _keep(self, asked: Asked, tried: DeliveredAlone) -> PointsAnswer | Refusal | Resolving:
        """Keeps what the last try came to, and says it."""
        settled, outcome = tried.settled, tried.outcome
        request_id, verdict = asked.command.request_id, settled.verdict
        if verdict.fate is Fate.DEAD and isinstance(outcome, HubError) and not verdict.holds_member:
            # It can never be decided, and whoever waits is told so: nobody else has to look at it.
            await self._write(lambda: self._outbox.asking.forget(settled.number, settled.size))
            if isinstance(outcome, InvalidRequest):
                raise outcome
            return outcome.refusal.with_request_id(request_id)
        kept = await self._write(lambda: self._outbox.store.settle(tried.receipt, [settled], [], now_ms()))
        if not isinstance(outcome, HubError):
            return outcome
        if verdict.fate is Fate.REFUSED:
            return outcome.refusal.with_request_id(request_id)
        found = await self.outcome(request_id) if kept else None
        # The dispatcher may have had the answer in the meantime.
        return found or Resolving(
            request_id=request_id, since=asked.since, reason=verdict.reason, detail=settled.detail
        )

    async def _give_up(self, asked: Asked) -> None:
        await self._write(lambda: self._outbox.asking.give_up(asked.command.number))

    async def _write(self, work: Callable[[], object]) -> bool:
        """Writes down what a try came to. Where that fails the dispatcher asks again, and is told the same."""
        try:
            await self._store(work)
        except OutboxError as error:
            _log.warning("outbox: %s", error)
            return False
        self._outbox.writer.on_change()
        return True

    async def _store(self, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._outbox.writer.do(work))


def told(found: Archived) -> PointsAnswer | Refusal | Resolving:
    """What a till is told of a command. Raises Unreadable where its receipt does not answer it."""
    if found.state is State.DROPPED:
        return Refusal("", DROPPED, found.reason, request_id=found.request_id)
    if found.state not in (State.WAITING, State.DEAD):
        return outcome_of(found)
    return Resolving(
        request_id=found.request_id,
        since=found.accepted_time,
        reason=found.reason,
        detail=found.detail,
        is_dead=found.state is State.DEAD,
    )


def _now() -> float:
    return asyncio.get_running_loop().time()


class SyncTill:
    """The same for code without an event loop; threads may share it."""

    def __init__(self, hub: SyncHub, outbox: Outbox, *, policy: RetryPolicy | None = None) -> None:
        """`policy` as in `Till`."""
        self._hub = hub
        self._till = Till(hub._hub, outbox, policy=policy)

    def ask(
        self, command: PointsCommand[A], deadline_seconds: float = DEFAULT_DEADLINE_SECONDS
    ) -> A | Refusal | Resolving:
        """What `Till.ask` does. Where the caller is interrupted (Ctrl-C), the dispatcher sends the command."""
        return self._hub._run(self._till.ask(command, deadline_seconds))

    def outcome(self, request_id: str) -> PointsAnswer | Refusal | Resolving | None:
        """What `Till.outcome` does."""
        return self._hub._run(self._till.outcome(request_id))
