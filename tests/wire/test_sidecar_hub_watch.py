"""What a sidecar's log says of its hub: once for each change, with what to do about it, and no secrets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from merchant_adapter import Hub, HubKeys, Key, methods
from merchant_adapter.sidecar import hub_watch
from merchant_adapter.sidecar.hub_watch import HubWatch
from tests.waiting import WAIT_SECONDS, eventually
from tests.wire.adapter_fake_hub import AUDIENCE, CAFE_KEY, Call, FakeHub, Reply, accepted, fake_hub
from tests.wire.adapter_fake_hub import refused as refusal
from tests.wire.fake_ledger import CODE, open_hub
from tests.wire.sidecar_served import SALE, SilentLedger, sidecar
from tongdui.exchange.v1.journal_service_pb2 import GetLedgerResponse

LOGGER = "merchant_adapter.sidecar.hub_watch"
LEDGER = accepted(GetLedgerResponse(audience=AUDIENCE))
NOT_ADMITTED = refusal(CODE.UNAUTHENTICATED, "SIGNATURE_INVALID")
STALE = refusal(CODE.UNAUTHENTICATED, "SIGNATURE_STALE")
NOT_ALLOWED = refusal(CODE.PERMISSION_DENIED, "ROLE_REQUIRED")
AWAY = refusal(CODE.UNAVAILABLE, "HUB_UNAVAILABLE")


async def watched(hub: FakeHub, calls: int) -> None:
    """Watches a hub until it was asked so often and the last answer was taken."""
    async with await open_hub(hub.address) as client:
        running = asyncio.create_task(HubWatch(client, pause_seconds=0.001).run())
        await asyncio.to_thread(eventually, lambda: len(hub.calls) > calls)
        running.cancel()


def lines_of(replies: Sequence[Reply], caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """What is logged of a hub that answers so, and the last of it for ever."""
    given = list(replies)

    def reply(_: Call) -> Reply:
        return given.pop(0) if len(given) > 1 else given[0]

    with (
        fake_hub(reply) as hub,
        caplog.at_level(logging.INFO, LOGGER),
        # A question that is given up, because the machine stood still, would be a change that is not among these.
        mock.patch.object(hub_watch, "DEADLINE_SECONDS", WAIT_SECONDS),
    ):
        asyncio.run(watched(hub, len(replies)))
    return [(one.levelno, one.getMessage()) for one in caplog.records if one.name == LOGGER]


def test_a_key_that_the_hub_does_not_take_is_said_once_and_again_only_when_that_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    replies = [
        NOT_ADMITTED,
        NOT_ADMITTED,
        NOT_ADMITTED,
        LEDGER,
        LEDGER,
        AWAY,
        AWAY,
        NOT_ADMITTED,
        NOT_ADMITTED,
    ]

    said = lines_of(replies, caplog)

    assert [level for level, _ in said] == [logging.ERROR, logging.INFO, logging.WARNING, logging.ERROR]
    first, back, away, again = (text for _, text in said)
    assert (first, back.partition(":")[0], away.partition(":")[0]) == (
        again,
        "hub reachable",
        "hub unreachable",
    )
    for part in ("hub untrusted", "SIGNATURE_INVALID", CAFE_KEY.key_id, AUDIENCE, "--key", "approved"):
        assert part in first


@pytest.mark.parametrize(
    ("reply", "then"), [(STALE, "NTP"), (NOT_ALLOWED, "role")], ids=["stale", "not allowed"]
)
def test_the_log_says_what_to_do_about_a_clock_or_a_role(
    caplog: pytest.LogCaptureFixture, reply: Reply, then: str
) -> None:
    ((level, said),) = lines_of([reply, reply], caplog)

    assert level == logging.ERROR
    assert then in said
    assert "sales stay in the outbox" in said


def test_a_cause_that_becomes_another_is_said(caplog: pytest.LogCaptureFixture) -> None:
    said = lines_of([STALE, NOT_ADMITTED, NOT_ADMITTED], caplog)

    assert len(said) == 2


def test_a_hub_whose_receipts_are_not_of_the_pinned_keys_is_said_once_and_shown_until_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = SilentLedger()

    def reply(call: Call) -> Reply:
        return replace(ledger.reply(call), has_receipt=call.path != methods.GET_LEDGER)  # a question has none

    others = HubKeys({Key("hub", b"x" * 32).key_id: Key("hub", b"x" * 32).public_key})

    with fake_hub(reply) as hub, caplog.at_level(logging.INFO, LOGGER):

        def connect() -> Hub:
            return Hub.connect(hub.address, AUDIENCE, key=CAFE_KEY, hub_keys=others)

        with sidecar(hub.address, tmp_path / "o.db", connect=connect) as caller:
            heard = caller.post("/v1/earn", SALE, Prefer="respond-async")
            eventually(lambda: caller.get("/readyz").body["hub"] == "untrusted")
            tries = len(ledger.batch_sizes) + len(ledger.lone)
            eventually(lambda: len(ledger.batch_sizes) + len(ledger.lone) > tries + 3)
        with sidecar(hub.address, tmp_path / "o.db") as caller:
            eventually(lambda: caller.get("/v1/outbox").body["waiting"] == 0)
            eventually(lambda: caller.get("/readyz").body["hub"] == "reachable")

    said = [one.getMessage() for one in caplog.records if one.name == LOGGER and one.levelno == logging.ERROR]
    assert heard.status == 202
    assert len(said) == 1
    assert "RECEIPT_INVALID" in said[0]
    assert "--hub-keys" in said[0]
