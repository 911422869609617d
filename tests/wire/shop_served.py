"""A shop whose orders a sidecar takes, before a hub that enrols its customers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import grpc

from merchant_adapter import methods
from merchant_adapter.sidecar import webhooks
from merchant_adapter.webhooks import GenericPlatform, OrderPolicy, sign_webhook
from tests.waiting import WAIT_SECONDS
from tests.wire.adapter_fake_hub import Call, Reply, accepted, fake_hub, status
from tests.wire.sidecar_served import NO_WORD, Caller, Heard, SilentLedger, sidecar
from tongdui.exchange.v1 import members_service_pb2 as members

ORDERS = "/v1/webhooks/orders"
OLD, NEW = b"0123456789abcdef0123456789abcdef", b"fedcba9876543210fedcba9876543210"
POLICY = OrderPolicy(currency="CNY", store_id="web", terminal_id="shop")
ORDER: dict[str, Any] = {
    "delivery_id": "d-1",
    "order_id": "A-1",
    "version": 1,
    "state": "paid",
    "paid_time": "2026-01-01T20:00:00+08:00",
    "currency": "CNY",
    "paid_minor": 10_000,
    "customer_id": "c-1",
}
COMPLETED = ORDER | {
    "delivery_id": "d-2",
    "version": 2,
    "state": "completed",
    "completed_time": "2026-01-02T20:00:00+08:00",
}


@dataclass(slots=True)
class Hub:
    """A ledger that also enrols: `m-` and the customer's id, but for those it refuses."""

    ledger: SilentLedger = field(default_factory=SilentLedger)
    is_away: bool = False
    refused: dict[str, tuple[grpc.StatusCode, str]] = field(default_factory=dict)
    enrolled: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, call: Call) -> Reply:
        if self.is_away:
            return NO_WORD
        if call.path != methods.BATCH_ENROLL_MEMBERS:
            return self.ledger.reply(call)
        batch = members.BatchEnrollMembersRequest.FromString(call.body)
        with self.lock:
            self.enrolled += [one.customer_id for one in batch.requests]
        results = [self._enrolled(one.customer_id) for one in batch.requests]
        return accepted(members.BatchEnrollMembersResponse(results=results))

    def _enrolled(self, customer: str) -> members.EnrollMemberResult:
        if customer in self.refused:
            return members.EnrollMemberResult(error=status(*self.refused[customer]))
        return members.EnrollMemberResult(member=members.EnrollMemberResponse(member_id=f"m-{customer}"))

    def posted(self) -> list[str]:
        """The kinds that were posted, in no order."""
        with self.ledger.lock:
            return sorted(one.WhichOneof("result") or "" for one in self.ledger.decided.values())


@dataclass(frozen=True, slots=True)
class Shop:
    """A sidecar that takes orders, before its hub."""

    hub: Hub
    caller: Caller
    platform: GenericPlatform

    def tell(self, order: dict[str, Any], secret: bytes = OLD, off: int = 0) -> Heard:
        body = json.dumps(order).encode()
        timestamp = int(time.time()) + off
        return self.send(body, str(timestamp), sign_webhook(secret, timestamp, body))

    def send(self, body: bytes, timestamp: str, signature: str) -> Heard:
        caller = Caller(self.caller.address, token="")
        headers = {"Tongdui-Webhook-Timestamp": timestamp, "Tongdui-Webhook-Signature": signature}
        return caller.ask("POST", ORDERS, body, **headers)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.caller.get("/v1/webhooks").body
        return found

    def dead(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.caller.get("/v1/webhooks/dead").body["dead"]
        return found

    def act(self, name: str, **body: Any) -> Heard:
        return self.caller.post(f"/v1/webhooks/dead/{name}", body)


@contextmanager
def shop(location: Path | str, hub: Hub | None = None) -> Iterator[Shop]:
    """`location` is the outbox's. The platform's secrets can be changed as a signal would.

    This platform waits for its answers: a machine that stood still for 2 s would make each of them a 503.
    """
    made, platform = hub or Hub(), GenericPlatform((OLD, NEW))
    with (
        mock.patch.object(webhooks, "ANSWER_SECONDS", WAIT_SECONDS),
        fake_hub(made.reply) as served,
        sidecar(
            served.address, location, mount=lambda it: [webhooks.mounted(it, POLICY, platform)]
        ) as caller,
    ):
        yield Shop(made, caller, platform)
