"""One batch to the hub and back: signed afresh, its receipt verified, and what it means for each command."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from merchant_adapter import methods
from merchant_adapter.channel import AnswerBytes
from merchant_adapter.client import Hub
from merchant_adapter.errors import HubError, Refusal
from merchant_adapter.outbox.frames import batch_body
from merchant_adapter.outbox.lanes import Waiting
from merchant_adapter.outbox.policy import (
    ACCEPTED,
    BEHIND,
    Fate,
    RetryPolicy,
    Tried,
    Verdict,
    is_about_one,
    judge,
)
from merchant_adapter.outbox.records import Settled
from merchant_adapter.outbox.times import now_ms, to_ms
from merchant_adapter.points import METHOD_OF_KIND
from merchant_adapter.points_answers import PointsAnswer
from merchant_adapter.prepared import Prepared
from merchant_adapter.reasons import Reason
from merchant_adapter.receipts import Receipt
from merchant_adapter.results import read_one
from merchant_adapter.statuses import read_status
from tongdui.exchange.v1.commands_pb2 import CommandResult
from tongdui.exchange.v1.points_service_pb2 import PostBatchResponse

_UNREADABLE = Refusal("", Reason.NO_ANSWER, "the answer is none that this version can read")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of the commands of one call.

    Attributes:
        settled: each command with what became of it.
        receipt: the hub's verified answer to all of them, None where there was none.
        hub_failure: why nothing more should be sent for a while, None where the hub answered.
    """

    settled: Sequence[tuple[Waiting, Settled]]
    receipt: Receipt | None = None
    hub_failure: Refusal | None = None


@dataclass(frozen=True, slots=True)
class DeliveredAlone:
    """What became of a command that was sent by itself.

    Attributes:
        settled: what is to be kept of the try.
        outcome: what the hub said.
        receipt: its verified signature over that, None where it came with none.
    """

    settled: Settled
    outcome: PointsAnswer | HubError
    receipt: Receipt | None


async def deliver(
    hub: Hub, batch: Sequence[Waiting], policy: RetryPolicy, chance: Callable[[], float]
) -> list[Delivery]:
    """Sends the commands, in one call where the hub takes them so; gives at least one delivery."""
    behind = [command for command in batch if command.is_behind]
    sendable = [command for command in batch if not command.is_behind]
    deliveries = [Delivery([(one, _settled(one, BEHIND, one.attempts)) for one in behind])] if behind else []
    if sendable:
        deliveries += await _send(hub, sendable, policy, chance)
    return deliveries


async def deliver_alone(
    hub: Hub, command: Waiting, policy: RetryPolicy, chance: Callable[[], float], deadline_seconds: float
) -> DeliveredAlone:
    """Sends one command by itself, as its own method takes it, to somebody who waits so long at most."""
    method = METHOD_OF_KIND[command.kind]
    prepared = Prepared(method.path, command.message, (command.request_id,))
    try:
        answer = await hub.send(prepared, deadline_seconds=deadline_seconds)
        found: PointsAnswer = read_one(prepared, answer, method.response, method.read)
    except HubError as error:
        settled = _judged(command, error.refusal, policy, chance(), None)
        return DeliveredAlone(settled, error, error.receipt)
    decided_ms = to_ms(found.decided_time)
    settled = _settled(
        command, ACCEPTED, command.attempts + 1, entry_id=found.entry_id, decided_ms=decided_ms
    )
    return DeliveredAlone(settled, found, answer.receipt)


async def _send(
    hub: Hub, batch: Sequence[Waiting], policy: RetryPolicy, chance: Callable[[], float]
) -> list[Delivery]:
    body = batch_body((command.kind, command.message) for command in batch)
    prepared = Prepared(methods.POST_BATCH, body, tuple(command.request_id for command in batch))
    try:
        answer = await hub.send(prepared)
    except HubError as error:
        if len(batch) > 1 and is_about_one(error.refusal):
            # One command spoils it for all: halves find it, and the others pass.
            middle = len(batch) // 2
            first = await _send(hub, batch[:middle], policy, chance)
            return first + await _send(hub, batch[middle:], policy, chance)
        return [_refused(batch, error, policy, chance)]
    return [_answered(batch, answer, policy, chance)]


def _refused(
    batch: Sequence[Waiting], error: HubError, policy: RetryPolicy, chance: Callable[[], float]
) -> Delivery:
    """The call as a whole was not accepted."""
    settled = [(one, _judged(one, error.refusal, policy, chance(), 0)) for one in batch]
    again = any(one.verdict.fate is Fate.AGAIN for _, one in settled)
    return Delivery(settled, error.receipt, error.refusal if again else None)


def _answered(
    batch: Sequence[Waiting], answer: AnswerBytes, policy: RetryPolicy, chance: Callable[[], float]
) -> Delivery:
    try:
        results = list(PostBatchResponse.FromString(answer.body).results)
    except DecodeError:
        results = []
    if len(results) != len(batch):
        return _refused(batch, _UNREADABLE.to_error(), policy, chance)
    settled = []
    for index, (command, result) in enumerate(zip(batch, results, strict=True)):
        kind = result.WhichOneof("result")
        if kind == command.kind:
            found = getattr(result, kind)
            decided = found.decided_time.ToMilliseconds()
            one = _settled(
                command, ACCEPTED, command.attempts + 1, index, entry_id=found.entry_id, decided_ms=decided
            )
        else:
            one = _judged(command, _refusal(kind, result), policy, chance(), index)
        settled.append((command, one))
    return Delivery(settled, answer.receipt)


def _refusal(kind: str | None, result: CommandResult) -> Refusal:
    return read_status(result.error) if kind == "error" else _UNREADABLE


def _judged(
    command: Waiting, refusal: Refusal, policy: RetryPolicy, chance: float, index: int | None
) -> Settled:
    tried = Tried(command.attempts + 1, command.untrusted_since)
    now = now_ms()
    verdict = judge(refusal, tried, now / 1000, chance, policy)
    said = "; ".join([refusal.message, *(f"{one.field}: {one.description}" for one in refusal.fields)])
    return _settled(command, verdict, tried.attempts, index, detail=said, now=now)


def _settled(
    command: Waiting,
    verdict: Verdict,
    attempts: int,
    index: int | None = None,
    *,
    detail: str = "",
    entry_id: str = "",
    now: int = 0,
    decided_ms: int | None = None,
) -> Settled:
    return Settled(
        number=command.number,
        size=len(command.message),
        attempts=attempts,
        verdict=verdict,
        detail=detail,
        entry_id=entry_id,
        batch_index=index,
        due_ms=now + int(verdict.pause_seconds * 1000),
        decided_ms=decided_ms,
    )
