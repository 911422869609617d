"""Orders told to a sidecar over HTTP: signed, stored before the answer, and posted once."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from merchant_adapter.outbox import Outbox
from merchant_adapter.sidecar.webhooks import read_secrets_again
from merchant_adapter.webhooks import GenericPlatform, sign_webhook
from tests.waiting import eventually
from tests.wire.shop_served import COMPLETED, NEW, OLD, ORDER, ORDERS, Hub, Shop, shop
from tests.wire.sidecar_served import Caller


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
    nothing = {"waiting": 0, "put_off": 0, "dead": 0, "oldest_seconds": 0}
    assert open_shop.status() | {"oldest_seconds": 0} == nothing


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


def test_the_figures_tell_how_many_orders_wait_are_put_off_and_are_dead(open_shop: Shop) -> None:
    open_shop.hub.refused["c-2"] = (grpc.StatusCode.PERMISSION_DENIED, "ATTESTATION_NOT_ALLOWED")
    open_shop.tell(ORDER | {"order_id": "A-2", "delivery_id": "d-2", "customer_id": "c-2"})
    eventually(open_shop.dead)
    open_shop.hub.is_away = True
    open_shop.tell(ORDER)

    def figures() -> dict[str, float]:
        text = open_shop.caller.get("/metrics").raw.decode()
        found = re.findall(r"^tongdui_inbox_([a-z_]+) ([0-9.]+)", text, re.MULTILINE)
        return {name: float(value) for name, value in found}

    def are_told() -> bool:
        # In one look: once its pause is over, the order is put off no more until it was tried again.
        told = figures()
        return told.pop("oldest_seconds") > 0 and told == {"waiting": 1, "put_off": 1, "dead": 1}

    eventually(are_told)


def test_secrets_that_are_read_again_count_from_then_on(open_shop: Shop, tmp_path: Path) -> None:
    latest = b"a" * 32
    file, secrets = tmp_path / "webhooks.toml", tmp_path / "secrets"
    file.write_text('currency = "CNY"\nstore_id = "web"\nterminal_id = "shop"\nsecrets_file = "secrets"\n')
    secrets.write_bytes(NEW + b"\n" + latest)
    secrets.chmod(0o600)
    before = open_shop.tell(ORDER, latest)

    read_secrets_again(open_shop.platform, file)

    assert before.status == 401
    assert [open_shop.tell(ORDER, secret).status for secret in (OLD, NEW, latest)] == [401, 200, 200]


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (b"short", 0o600, "at least 32 characters"),
        (b"b" * 32, 0o644, "chmod 600"),
        (b"", 0o600, "one secret"),
        (None, 0o600, "No such file"),
    ],
)
def test_secrets_that_cannot_be_used_change_nothing_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None, mode: int, says: str
) -> None:
    file, secrets = tmp_path / "webhooks.toml", tmp_path / "secrets"
    file.write_text('currency = "CNY"\nstore_id = "web"\nterminal_id = "shop"\nsecrets_file = "secrets"\n')
    if content is not None:
        secrets.write_bytes(content)
        secrets.chmod(mode)
    platform = GenericPlatform((OLD,))

    with caplog.at_level(logging.INFO):
        read_secrets_again(platform, file)

    (line,) = caplog.messages
    assert platform.secrets == (OLD,)
    assert says in line
    assert not content or content.decode() not in line


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
