"""Orders told to a sidecar over HTTP: signed, stored before the answer, and posted once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from merchant_adapter import methods
from merchant_adapter.outbox import Outbox
from merchant_adapter.sidecar import webhooks
from merchant_adapter.webhooks import OrderPolicy, WebhookSettings, sign_webhook
from tests.waiting import eventually
from tests.wire.adapter_fake_hub import Call, FakeHub, Reply, accepted, fake_hub, status
from tests.wire.sidecar_served import NO_WORD, Caller, Heard, SilentLedger, sidecar
from tongdui.exchange.v1 import members_service_pb2 as members

ORDERS = "/v1/webhooks/orders"
OLD, NEW = b"0123456789abcdef0123456789abcdef", b"fedcba9876543210fedcba9876543210"
SETTINGS = WebhookSettings(OrderPolicy(currency="CNY", store_id="web", terminal_id="shop"), (OLD, NEW))
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
        return sorted(one.WhichOneof("result") or "" for one in self.ledger.decided.values())


@dataclass(frozen=True, slots=True)
class Shop:
    """A sidecar that takes orders, before its hub."""

    hub: Hub
    caller: Caller

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
def shop(file: Path, hub: Hub | None = None) -> Iterator[Shop]:
    made = hub or Hub()
    with fake_hub(made.reply) as served, opened(served, file) as caller:
        yield Shop(made, caller)


@contextmanager
def opened(served: FakeHub, file: Path) -> Iterator[Caller]:
    with sidecar(served.address, file, mount=lambda it: [webhooks.mounted(it, SETTINGS)]) as caller:
        yield caller


@pytest.fixture
def open_shop(tmp_path: Path) -> Iterator[Shop]:
    with shop(tmp_path / "outbox.db") as it:
        yield it


def test_an_order_that_is_told_twice_and_out_of_order_is_posted_once(open_shop: Shop) -> None:
    heard = [open_shop.tell(order) for order in (COMPLETED, ORDER, COMPLETED)]
    again = open_shop.tell(COMPLETED | {"delivery_id": "d-3"}, NEW)

    assert [one.body["outcome"] for one in (*heard, again)] == ["stored", "ignored", "duplicate", "duplicate"]
    assert {one.status for one in (*heard, again)} == {200}
    eventually(lambda: open_shop.hub.posted() == ["confirm_earn", "earn"])
    assert open_shop.tell(COMPLETED | {"delivery_id": "d-4"}).body["outcome"] == "duplicate"
    assert open_shop.status() | {"oldest_seconds": 0} == {"waiting": 0, "dead": 0, "oldest_seconds": 0}


def test_a_customer_is_enrolled_once_for_all_orders(open_shop: Shop) -> None:
    open_shop.tell(ORDER)
    eventually(lambda: open_shop.hub.posted() == ["earn"])
    for number in range(2, 6):
        open_shop.tell(ORDER | {"order_id": f"A-{number}", "delivery_id": f"d-{number}"})
    eventually(lambda: open_shop.hub.posted() == ["earn"] * 5)

    assert open_shop.hub.enrolled == ["c-1"]


def test_what_is_not_signed_is_refused_without_saying_why_and_nothing_is_kept(open_shop: Shop) -> None:
    body, now = json.dumps(ORDER).encode(), int(time.time())
    good = sign_webhook(OLD, now, body)

    heard = [
        open_shop.tell(ORDER, secret=b"x" * 32),
        open_shop.tell(ORDER, off=-400),
        open_shop.tell(ORDER, off=400),
        open_shop.send(body + b" ", str(now), good),
        open_shop.send(body, str(now + 1), good),
        open_shop.send(b"not JSON", str(now), good),
        open_shop.send(body, "", ""),
    ]

    assert {one.status for one in heard} == {401}
    assert {one.raw for one in heard} == {heard[0].raw}
    assert heard[0].body["reason"] == "NOT_SIGNED"
    assert open_shop.tell(ORDER).body["outcome"] == "stored"


def test_a_signed_order_needs_no_token_and_looking_at_them_does(open_shop: Shop) -> None:
    stranger = Caller(open_shop.caller.address, token="")

    assert open_shop.tell(ORDER).status == 200
    assert stranger.get("/v1/webhooks").status == stranger.get("/v1/webhooks/dead").status == 401


def test_what_is_wrong_with_an_order_is_named(open_shop: Shop) -> None:
    heard = open_shop.tell(ORDER | {"version": "1", "currency": "USD", "refunds": [{}]})
    other = open_shop.tell(ORDER | {"currency": "USD"})

    assert (heard.status, other.status) == (422, 422)
    assert heard.headers["Content-Type"] == "application/problem+json"
    assert [one["field"] for one in heard.body["fields"]] == [
        "version",
        "refunds[0].refund_id",
        "refunds[0].time",
        "refunds[0].refunded_minor",
    ]
    assert [one["field"] for one in other.body["fields"]] == ["currency"]


def test_another_order_under_a_version_or_delivery_that_is_known_is_refused_aloud(open_shop: Shop) -> None:
    open_shop.tell(ORDER)

    same_version = open_shop.tell(ORDER | {"delivery_id": "d-2", "paid_minor": 1})
    same_delivery = open_shop.tell(ORDER | {"version": 2, "paid_minor": 1})

    assert [(one.status, one.body["reason"]) for one in (same_version, same_delivery)] == [
        (409, "DELIVERY_CONFLICT")
    ] * 2
    assert same_version.body["detail"].startswith("version")
    assert same_delivery.body["detail"].startswith("delivery_id")


def test_orders_are_taken_while_the_hub_is_away_and_posted_when_it_is_back(open_shop: Shop) -> None:
    open_shop.hub.is_away = True
    told = [
        open_shop.tell(ORDER | {"order_id": f"A-{it}", "delivery_id": f"d-{it}", "customer_id": f"c-{it}"})
        for it in range(3)
    ]
    eventually(lambda: open_shop.status()["waiting"] == 3)

    open_shop.hub.is_away = False

    assert {one.status for one in told} == {200}
    eventually(lambda: open_shop.hub.posted() == ["earn"] * 3)
    assert open_shop.dead() == []


def test_orders_survive_the_end_of_the_sidecar(tmp_path: Path) -> None:
    away = Hub(is_away=True)
    with shop(tmp_path / "outbox.db", away) as first:
        first.tell(ORDER)
        first.tell(COMPLETED)
    away.is_away = False

    with shop(tmp_path / "outbox.db", away) as second:
        eventually(lambda: second.hub.posted() == ["confirm_earn", "earn"])
        again = second.tell(ORDER)

    assert again.body["outcome"] in ("ignored", "duplicate")


def test_an_order_that_contradicts_itself_waits_for_a_person_until_a_newer_version_comes(
    open_shop: Shop,
) -> None:
    open_shop.tell(ORDER)
    eventually(lambda: open_shop.hub.posted() == ["earn"])

    open_shop.tell(ORDER | {"version": 2, "delivery_id": "d-2", "paid_minor": 9_000})
    eventually(open_shop.dead)
    (dead,) = open_shop.dead()
    assert open_shop.act("resubmit", order_id="A-1").status == 200
    eventually(open_shop.dead)
    open_shop.tell(COMPLETED | {"version": 3, "delivery_id": "d-3"})

    assert (dead["order_id"], dead["version"], dead["reason"]) == ("A-1", 2, "ORDER_CHANGED")
    assert "eligible_spend_minor was 10000 before, and is 9000 now" in dead["detail"]
    eventually(lambda: open_shop.hub.posted() == ["confirm_earn", "earn"])
    assert open_shop.dead() == []


def test_a_customer_whom_the_hub_refuses_makes_dead_letters_of_its_own_orders_alone(open_shop: Shop) -> None:
    open_shop.hub.refused["c-2"] = (grpc.StatusCode.PERMISSION_DENIED, "ATTESTATION_NOT_ALLOWED")
    open_shop.tell(ORDER | {"order_id": "A-2", "delivery_id": "d-2", "customer_id": "c-2"})
    open_shop.tell(ORDER)
    eventually(lambda: open_shop.hub.posted() == ["earn"] and open_shop.dead())

    (dead,) = open_shop.dead()
    dropped = open_shop.act("drop", order_id="A-2", reason="not ours")

    assert (dead["order_id"], dead["reason"]) == ("A-2", "ATTESTATION_NOT_ALLOWED")
    assert (dropped.status, dropped.body) == (200, {"order_id": "A-2"})
    assert open_shop.dead() == []
    assert open_shop.act("drop", order_id="A-2", reason="again").status == 404
    assert open_shop.act("resubmit", order_id="A-2").body["reason"] == "ORDER_UNKNOWN"


def test_a_guest_earns_nothing_and_is_nobodys_trouble(open_shop: Shop) -> None:
    open_shop.tell(COMPLETED | {"customer_id": ""})
    eventually(lambda: open_shop.status()["waiting"] == 0)
    open_shop.tell(COMPLETED | {"version": 3, "delivery_id": "d-3"})

    eventually(lambda: open_shop.hub.posted() == ["confirm_earn", "earn"])
    assert open_shop.hub.enrolled == ["c-1"]


def test_the_document_says_that_the_signature_is_the_authority(open_shop: Shop) -> None:
    operation = open_shop.caller.get("/openapi.json").body["paths"][ORDERS]["post"]

    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert "security" not in operation
    assert "HMAC-SHA256" in operation["description"]
    assert {"200", "401", "409", "413", "415", "422", "503", "507"} <= set(operation["responses"])
    assert set(schema["required"]) >= {
        "delivery_id",
        "order_id",
        "version",
        "state",
        "currency",
        "paid_minor",
    }
    assert "refund_id" in schema["properties"]["refunds"]["items"]["properties"]


def test_no_secret_is_stored_beside_the_orders(tmp_path: Path) -> None:
    file = tmp_path / "outbox.db"
    with shop(file) as it:
        it.tell(ORDER)
        stored = b"".join(part.read_bytes() for part in file.parent.iterdir() if part.is_file())

    assert b"A-1" in stored
    assert OLD not in stored
    with Outbox.open(file) as outbox:
        assert outbox.status().dead == 0
