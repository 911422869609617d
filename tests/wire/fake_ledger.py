"""A hub's journal without rules behind the fake hub, and one that fails at random."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import RetryInfo

from merchant_adapter import EarnCommand, Hub
from merchant_adapter.methods import POST_BATCH
from merchant_adapter.outbox import Dispatcher, Outbox, Progress, RetryPolicy
from merchant_adapter.points import POINTS_METHODS
from tests.waiting import WAIT_SECONDS
from tests.wire.adapter_fake_hub import (
    AUDIENCE,
    CAFE_KEY,
    HUB_KEYS,
    Call,
    Reply,
    accepted,
    add_detail,
    refused,
    status,
)
from tongdui.exchange.v1.commands_pb2 import Command, CommandResult, EarnResponse
from tongdui.exchange.v1.points_service_pb2 import PostBatchRequest, PostBatchResponse

CODE = grpc.StatusCode
WHEN = datetime(2026, 1, 1, 12, tzinfo=UTC)
QUICK = RetryPolicy(first_pause_seconds=0.002, longest_pause_seconds=0.02)
UNAVAILABLE = refused(CODE.UNAVAILABLE, "HUB_UNAVAILABLE")


def sale(member: str = "m-1", **changes: Any) -> EarnCommand:
    values: dict[str, Any] = {"points": 5, "event_time": WHEN, "store_id": "s", "terminal_id": "t"}
    return EarnCommand(**({"member_id": member, "reference": "r"} | values | changes))


def acceptance(request_id: str) -> CommandResult:
    decided = Timestamp()
    decided.FromDatetime(WHEN)
    return CommandResult(earn=EarnResponse(entry_id=f"e-{request_id}", points=5, decided_time=decided))


def refusal(code: grpc.StatusCode, reason: str) -> CommandResult:
    return CommandResult(error=status(code, reason))


def busy_for(*, milliseconds: int) -> Reply:
    """A hub that asks for a pause."""
    made = status(CODE.RESOURCE_EXHAUSTED, "HUB_BUSY")
    add_detail(
        made,
        RetryInfo(
            retry_delay=Duration(nanos=milliseconds % 1_000 * 1_000_000, seconds=milliseconds // 1_000)
        ),
    )
    return Reply(code=CODE.RESOURCE_EXHAUSTED, details=made.SerializeToString())


def request_of(command: Command) -> Any:
    return getattr(command, command.WhichOneof("command") or "")


@dataclass(slots=True)
class Ledger:
    """A hub's journal without rules: the first decision of a request id stays, whatever is asked again."""

    decide: Callable[[Command], CommandResult] = lambda command: acceptance(request_of(command).request_id)
    decided: dict[str, CommandResult] = field(default_factory=dict)
    order: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    batch_sizes: list[int] = field(default_factory=list)
    lone: list[str] = field(default_factory=list)
    """The request ids of those that came by themselves."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, call: Call) -> Reply:
        with self.lock:
            if call.path != POST_BATCH:
                return self.post_alone(call)
            request = PostBatchRequest.FromString(call.body)
            self.batch_sizes.append(len(request.commands))
            return accepted(PostBatchResponse(results=[self.result(one) for one in request.commands]))

    def post_alone(self, call: Call) -> Reply:
        (method,) = (one for one in POINTS_METHODS if one.path == call.path)
        fields: dict[str, Any] = {method.name: method.request.FromString(call.body)}
        command = Command(**fields)
        self.lone.append(request_of(command).request_id)
        result = self.result(command)
        if result.WhichOneof("result") == "error":
            (code,) = (one for one in CODE if one.value[0] == result.error.code)
            return Reply(code=code, details=result.error.SerializeToString())
        return accepted(getattr(result, method.name))

    def result(self, command: Command) -> CommandResult:
        own = request_of(command)
        if own.request_id not in self.decided:
            found = self.decide(command)
            if found.WhichOneof("result") == "error" and found.error.code in (3, 8, 14):
                return found  # not recorded
            self.decided[own.request_id] = found
            self.order[own.member_id].append(own.request_id)
        return self.decided[own.request_id]


async def open_hub(address: str, timeout_seconds: float = 30.0) -> Hub:
    return Hub.connect(address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS, timeout_seconds=timeout_seconds)


def drain(
    outbox: Outbox,
    address: str,
    *,
    wait: bool = True,
    policy: RetryPolicy = QUICK,
    on_progress: Callable[[Progress], None] | None = None,
) -> Progress:
    """What became of what waits in an outbox."""

    async def run() -> Progress:
        async with await open_hub(address) as hub, asyncio.timeout(WAIT_SECONDS):
            return await Dispatcher(outbox, hub, policy=policy, on_progress=on_progress).drain(wait=wait)

    return asyncio.run(run())


@dataclass(slots=True)
class MoodyHub:
    """Fails before it decides, after it has decided, and for single commands, as chance has it."""

    chance: random.Random
    ledger: Ledger = field(default_factory=Ledger)
    failures: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.ledger.decide = self.decide

    def happens(self, what: str, share: float) -> bool:
        if self.chance.random() >= share:
            return False
        self.failures[what] += 1
        return True

    def decide(self, command: Command) -> CommandResult:
        if self.happens("one unavailable", 0.15):
            return refusal(CODE.UNAVAILABLE, "HUB_UNAVAILABLE")
        if self.happens("one busy", 0.05):
            return refusal(CODE.RESOURCE_EXHAUSTED, "HUB_BUSY")
        if self.happens("refused", 0.1):
            return refusal(CODE.FAILED_PRECONDITION, "MEMBER_FROZEN")
        return acceptance(request_of(command).request_id)

    def reply(self, call: Call) -> Reply:
        if self.happens("unavailable", 0.1):
            return UNAVAILABLE
        if self.happens("busy", 0.05):
            return refused(CODE.RESOURCE_EXHAUSTED, "HUB_BUSY")
        if self.happens("defect", 0.05):
            return refused(CODE.INTERNAL, "INTERNAL")
        answer = self.ledger.post(call)
        if self.happens("answer lost", 0.1):
            return UNAVAILABLE
        if self.happens("receipt lost", 0.1):
            return Reply(body=answer.body, has_receipt=False)
        return answer
