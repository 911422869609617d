"""`tongdui-adapter serve` as a process before a real hub: a mall that has HTTP and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from merchant_adapter import Receipt, verify_receipt
from merchant_adapter.outbox import Dispatcher, Outbox
from merchant_adapter.webhooks import sign_webhook
from tests.live_hub import Coalition
from tests.waiting import WAIT_SECONDS, eventually
from tests.wire.sidecar_served import Caller

TILLS: Final = 4 if "TONGDUI_FAULTS" not in os.environ else 32
SALES: Final = 40 if "TONGDUI_FAULTS" not in os.environ else 4_000
SECONDS: Final = 30.0
PATIENT: Final = "wait=20"
"""For who is to be told what was decided: a call without it hears 202 from a hub that takes 3 s."""
OLD, NEW = b"0123456789abcdef0123456789abcdef", b"fedcba9876543210fedcba9876543210"


@dataclass(frozen=True, slots=True)
class Running:
    """A sidecar's process, and who calls it."""

    process: subprocess.Popen[bytes]
    folder: Path
    log: Path
    caller: Caller


def arguments(coalition: Coalition, folder: Path) -> list[str]:
    key = coalition.keys["cafe"]
    file = folder / f"{key.key_id}.jwk"
    return [
        f"--key={file if file.exists() else key.save(folder)}",
        f"--hub={coalition.hub.address}",
        f"--audience={coalition.site.audience}",
        f"--hub-keys={coalition.site.hub_keys_file}",
        f"--outbox={folder / 'outbox.db'}",
    ]


@pytest.fixture(scope="module")
def running(coalition: Coalition, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A sidecar on a free port; its first start makes the token."""
    folder = tmp_path_factory.mktemp("sidecar")
    token, log = folder / "token", folder / "log"
    keep_secrets(folder, OLD)
    (folder / "webhooks.toml").write_text(
        'currency = "CNY"\nstore_id = "web"\nterminal_id = "shop"\nsecrets_file = "secrets"\n'
    )
    with log.open("wb") as written:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "merchant_adapter", "serve", "--listen=127.0.0.1:0"),
                *(
                    f"--token-file={token}",
                    f"--webhooks={folder / 'webhooks.toml'}",
                    *arguments(coalition, folder),
                ),
            ],
            stderr=written,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        )
    try:
        eventually(lambda: "listening on" in log.read_text() or process.poll() is not None, SECONDS)
        port = int(log.read_text().partition("127.0.0.1:")[2].split()[0])
        caller = Caller(("127.0.0.1", port), token.read_text().strip())
        eventually(lambda: _answers(caller), SECONDS)
        yield Running(process, folder, log, caller)
    finally:
        process.kill()
        process.wait()


def keep_secrets(folder: Path, *secrets: bytes) -> None:
    file = folder / "secrets"
    file.touch(0o600)
    file.write_bytes(b"\n".join(secrets))


def _answers(caller: Caller) -> bool:
    with suppress(OSError):
        return caller.get("/healthz").status == 200
    return False


def sale(member_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "request_id": str(uuid4()),
        "member_id": member_id,
        "event_time": datetime.now(UTC).isoformat(),
        "store_id": "store-1",
        "terminal_id": "till-1",
        "reference": f"r-{uuid4()}",
        "points": 10,
    } | changes


def told_order(caller: Caller, secret: bytes) -> int:
    """The status that one order of a guest gets, signed so; it is the same each time.

    A sender repeats what was not stored in time (503).
    """
    now = int(time.time())
    order: dict[str, Any] = {
        "delivery_id": "d-1",
        "order_id": "o-1",
        "version": 1,
        "state": "paid",
        "currency": "CNY",
    }
    order |= {"paid_time": "2026-01-01T20:00:00+08:00", "paid_minor": 1_000}
    body = json.dumps(order).encode()
    headers = {
        "Tongdui-Webhook-Timestamp": str(now),
        "Tongdui-Webhook-Signature": sign_webhook(secret, now, body),
    }
    statuses: list[int] = []

    def is_taken() -> bool:
        platform = Caller(caller.address, token="")
        statuses.append(platform.ask("POST", "/v1/webhooks/orders", body, **headers).status)
        return statuses[-1] != HTTPStatus.SERVICE_UNAVAILABLE

    eventually(is_taken)
    return statuses[-1]


async def drained(coalition: Coalition, file: Path, member_ids: Sequence[str]) -> dict[str, list[str]]:
    """Sends what is left in the outbox; gives the request ids of these members' entries in the journal."""
    with Outbox.open(file) as outbox:
        async with coalition.open_hub("cafe") as hub:
            await Dispatcher(outbox, hub).drain(wait=True)
            pages = {one: await hub.entries(member_id=one, page_size=1_000) for one in member_ids}
    assert not any(page.next_page_token for page in pages.values())
    return {one: [entry.request_id for entry in page.entries] for one, page in pages.items()}


def test_a_mall_earns_burns_and_looks_up(coalition: Coalition, running: Running) -> None:
    wide = {"per_burn_limit_points": 1_000, "per_day_limit_points": 1_000}
    caller = running.caller

    member_id = caller.post("/v1/enroll", {"customer_id": "over-http", "consent": wide}).body["member_id"]
    earned = sale(member_id)
    first, again = (caller.post("/v1/earn", earned, Prefer=PATIENT) for _ in range(2))
    burned = caller.post("/v1/burn", sale(member_id, points=4), Prefer=PATIENT)
    refused = caller.post("/v1/burn", sale(member_id, points=7), Prefer=PATIENT)
    malformed = caller.post("/v1/earn", sale(member_id, store_id="\u0007"), Prefer=PATIENT)
    wallet = caller.get(f"/v1/members/{member_id}/wallet").body
    entries = caller.get(f"/v1/members/{member_id}/entries").body["entries"]
    receipt = caller.get(f"/v1/requests/{refused.body['request_id']}/receipt").raw

    assert (running.folder / "token").stat().st_mode & 0o777 == 0o600
    assert first.status == again.status == burned.status == 200
    assert first.body == again.body
    assert (refused.status, refused.body["reason"]) == (409, "INSUFFICIENT_POINTS")
    assert (malformed.status, malformed.body["fields"][0]["field"]) == (422, "store_id")
    assert (wallet["available_points"], [one["points"] for one in entries]) == (6, [4, 10])
    verify_receipt(Receipt.from_json(receipt), coalition.hub_keys)


def test_sighup_has_the_webhooks_secrets_read_anew_and_a_bad_file_changes_nothing(running: Running) -> None:
    keep_secrets(running.folder, OLD, NEW)
    before = [told_order(running.caller, one) for one in (OLD, NEW)]

    running.process.send_signal(signal.SIGHUP)
    eventually(lambda: "secrets read anew, 2 count" in running.log.read_text())
    both = [told_order(running.caller, one) for one in (OLD, NEW)]
    keep_secrets(running.folder, b"short")
    running.process.send_signal(signal.SIGHUP)
    eventually(lambda: "cannot be read" in running.log.read_text())
    kept = [told_order(running.caller, one) for one in (OLD, NEW)]

    assert (before, both, kept) == ([200, 401], [200, 200], [200, 200])
    log = running.log.read_text()
    assert not any(one.decode() in log for one in (OLD, NEW, b"short"))


def test_sigterm_under_load_loses_nothing_that_a_till_was_told_is_safe(
    coalition: Coalition, running: Running
) -> None:
    member_ids = [coalition.member("cafe") for _ in range(TILLS)]
    told: dict[str, list[str]] = {member_id: [] for member_id in member_ids}

    def till(member_id: str) -> None:
        prefer = "respond-async" if member_id in member_ids[::2] else "wait=5"
        with suppress(OSError, HTTPException):  # it has stopped: what was not answered was not promised
            while True:
                asked = sale(member_id)
                heard = running.caller.post("/v1/earn", asked, Prefer=prefer)
                assert heard.status in (200, 202)
                told[member_id].append(asked["request_id"])

    threads = [threading.Thread(target=till, args=(one,)) for one in member_ids]
    for thread in threads:
        thread.start()
    eventually(lambda: sum(map(len, told.values())) >= SALES, SECONDS)
    running.process.send_signal(signal.SIGTERM)
    code = running.process.wait(WAIT_SECONDS)
    for thread in threads:
        thread.join()
    posted = asyncio.run(drained(coalition, running.folder / "outbox.db", member_ids))

    assert code == 0
    log = running.log.read_text()
    assert "Traceback" not in log
    assert running.caller.token not in log
    for member_id in member_ids:
        # Some may have been stored and posted whose answer the till did not hear.
        assert len(set(posted[member_id])) == len(posted[member_id])
        assert set(told[member_id]) <= set(posted[member_id])
