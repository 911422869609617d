"""What an inbox keeps beside an outbox, in SQLite and in PostgreSQL alike, whatever dies."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from merchant_adapter import Hub, HubKeys, Key
from merchant_adapter.outbox import CommandUnknown, Limits, Outbox, OutboxFull
from merchant_adapter.outbox.recovery import recover
from merchant_adapter.outbox.times import now_ms
from merchant_adapter.webhooks import (
    DeliveryConflict,
    Inbox,
    OrderEvent,
    OrderPolicy,
    OrderProcessor,
    OrderState,
    Received,
)
from merchant_adapter.webhooks.inbox_records import Undone
from tests.conftest import Databases
from tongdui.exchange.v1.commands_pb2 import ConfirmEarnRequest, EarnRequest

Open = Callable[..., Outbox]
T = TypeVar("T")
WHEN = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = OrderPolicy(currency="CNY", store_id="web", terminal_id="shop")
KILLS = int(os.environ.get("TONGDUI_FAULTS", "2"))
NO_HUB: dict[str, Any] = {"key": Key("cafe", b"k" * 32), "hub_keys": HubKeys({})}


def order(number: int = 1, version: int = 1, **changes: Any) -> OrderEvent:
    """A paid order of customer c-1; from version 2 on it is completed."""
    values: dict[str, Any] = {
        "delivery_id": f"d-{number}-{version}",
        "order_id": f"A-{number}",
        "version": version,
        "state": OrderState.PAID,
        "paid_time": WHEN,
        "currency": "CNY",
        "paid_minor": 10_000,
        "customer_id": "c-1",
    }
    if version > 1:
        values |= {"state": OrderState.COMPLETED, "completed_time": WHEN + timedelta(days=1)}
    return OrderEvent(**(values | changes))


@pytest.fixture(scope="module")
def postgres_url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "outbox.db")
    url: str = request.getfixturevalue("postgres_url")
    with psycopg.connect(url) as connection:
        connection.execute("DROP SCHEMA IF EXISTS tongdui_outbox CASCADE")
    return url


@pytest.fixture
def open_outbox(location: str) -> Iterator[Open]:
    opened: list[Outbox] = []

    def open_it(**limits: int) -> Outbox:
        opened.append(Outbox.open(location, limits=Limits(**limits)))
        return opened[-1]

    yield open_it
    for outbox in opened:
        outbox.close()


def with_inbox(outbox: Outbox, work: Callable[[Inbox], Awaitable[T]]) -> T:
    async def run() -> T:
        return await work(Inbox(outbox, "generic"))

    return asyncio.run(run())


def receive(outbox: Outbox, *events: OrderEvent) -> list[Received]:
    async def run(inbox: Inbox) -> list[Received]:
        return [await inbox.receive(event) for event in events]

    return with_inbox(outbox, run)


def process(outbox: Outbox, rounds: int = 1) -> None:
    """Works as the sidecar does, for customers who are known; the hub cannot be reached."""

    async def run(inbox: Inbox) -> None:
        await inbox.keep_members({"c-1": "m-1"})
        async with Hub.connect("127.0.0.1:1", "hub.example/test", **NO_HUB) as hub:
            processor = OrderProcessor(inbox, hub, POLICY, "generic")
            for _ in range(rounds):
                await processor.work()

    with_inbox(outbox, run)


def queued(outbox: Outbox) -> list[str]:
    return [one.kind for one in outbox.writer.do(lambda: outbox.store.read(0, 100_000)).result()]


def test_a_received_order_is_there_after_another_opening(open_outbox: Open) -> None:
    first = open_outbox()
    event = order()
    receive(first, event)
    first.close()

    (waiting,) = with_inbox(open_outbox(), lambda inbox: inbox.due(10, 120.0))

    assert replace(waiting.event, delivery_id=event.delivery_id) == event
    assert (waiting.applied, waiting.member_id, waiting.attempts) == (None, "", 0)


def test_the_newest_version_is_kept_and_a_delivery_counts_once(open_outbox: Open) -> None:
    outbox = open_outbox()

    found = receive(
        outbox,
        order(version=2),
        order(),
        order(version=2),
        order(version=2, delivery_id="d"),
        order(version=3),
    )

    stored, ignored, duplicate = Received.STORED, Received.IGNORED, Received.DUPLICATE
    assert found == [stored, ignored, duplicate, duplicate, stored]
    (waiting,) = with_inbox(outbox, lambda inbox: inbox.due(10, 120.0))
    assert waiting.event.version == 3


@pytest.mark.parametrize(
    "other",
    [order(paid_minor=1), order(paid_minor=1, delivery_id="d"), order(version=2, delivery_id="d-1-1")],
)
def test_another_content_under_a_known_version_or_delivery_is_an_error_and_changes_nothing(
    open_outbox: Open, other: OrderEvent
) -> None:
    outbox = open_outbox()
    receive(outbox, order())

    with pytest.raises(DeliveryConflict):
        receive(outbox, other)

    (waiting,) = with_inbox(outbox, lambda inbox: inbox.due(10, 120.0))
    assert (waiting.event.version, waiting.event.paid_minor) == (1, 10_000)


def test_a_version_that_comes_after_the_commands_of_another_adds_only_what_is_new(open_outbox: Open) -> None:
    outbox = open_outbox()
    receive(outbox, order())
    process(outbox)
    receive(outbox, order(version=2))

    process(outbox)
    process(outbox)

    assert queued(outbox) == ["earn", "confirm_earn"]
    assert with_inbox(outbox, lambda inbox: inbox.status()).waiting == 0


def test_an_order_keeps_the_policy_it_began_with(open_outbox: Open) -> None:
    outbox = open_outbox()
    receive(outbox, order())
    process(outbox)
    receive(outbox, order(version=2))

    async def at_once(inbox: Inbox) -> None:
        async with Hub.connect("127.0.0.1:1", "hub.example/test", **NO_HUB) as hub:
            await OrderProcessor(inbox, hub, replace(POLICY, confirm_on=OrderState.PAID), "generic").work()

    with_inbox(outbox, at_once)

    assert queued(outbox) == ["earn", "confirm_earn"]


def test_a_version_that_comes_while_an_older_one_is_at_work_is_not_lost(open_outbox: Open) -> None:
    outbox = open_outbox()
    receive(outbox, order())

    async def overtaken(inbox: Inbox) -> None:
        (waiting,) = await inbox.due(10, 120.0)
        await inbox.receive(order(version=2))
        await inbox.put_aside([Undone(waiting, "ORDER_CHANGED", "the old version's fault")])

    with_inbox(outbox, overtaken)
    process(outbox)

    assert queued(outbox) == ["earn", "confirm_earn"]


def test_a_full_outbox_takes_no_commands_and_the_order_waits(open_outbox: Open) -> None:
    outbox = open_outbox(most_commands=1)
    receive(outbox, order(), order(2, version=2))
    process(outbox)
    status = with_inbox(outbox, lambda inbox: inbox.status())
    outbox.close()

    roomy = open_outbox()
    time.sleep(0.3)  # until the order that was put off is due
    process(roomy)

    assert (status.waiting, status.dead) == (1, 0)
    assert queued(roomy) == ["earn", "earn", "confirm_earn"]


def test_an_order_that_was_put_off_before_the_clock_was_set_back_is_due(open_outbox: Open) -> None:
    outbox = open_outbox()
    receive(outbox, order(), order(2))

    async def run(inbox: Inbox) -> list[list[str]]:
        soon, late = await inbox.due(10, 120.0)
        minute, day = now_ms() + 60_000, now_ms() + 86_400_000
        await inbox.put_aside([Undone(soon, "BUSY", "", minute), Undone(late, "BUSY", "", day)])
        return [[one.event.order_id for one in await inbox.due(10, 120.0)] for _ in range(2)]

    assert with_inbox(outbox, run) == [["A-2"], ["A-2"]]


def test_a_dead_letter_can_be_put_back_or_dropped_once(open_outbox: Open) -> None:
    outbox = open_outbox()
    receive(outbox, order())

    async def run(inbox: Inbox) -> list[list[str]]:
        found = []
        (waiting,) = await inbox.due(1, 120.0)
        for _ in range(2):
            await inbox.put_aside([Undone(waiting, "ORDER_CHANGED", "said")])
            found.append([one.order_id for one in await inbox.dead_orders()])
            await inbox.resubmit("A-1")
        await inbox.put_aside([Undone(waiting, "ORDER_CHANGED", "said")])
        await inbox.drop("A-1", "a mistake")
        with pytest.raises(CommandUnknown):
            await inbox.drop("A-1", "again")
        return [*found, [one.order_id for one in await inbox.dead_orders()]]

    assert with_inbox(outbox, run) == [["A-1"], ["A-1"], []]
    assert receive(outbox, order(), order(version=2)) == [Received.DUPLICATE, Received.STORED]


def test_pruning_forgets_what_is_done_and_nothing_that_waits(open_outbox: Open) -> None:
    outbox = open_outbox()
    receive(outbox, order())
    process(outbox)
    receive(outbox, order(2))

    pruned = with_inbox(outbox, lambda inbox: inbox.prune(-1))

    assert pruned == 1
    assert with_inbox(outbox, lambda inbox: inbox.status()).waiting == 1
    assert receive(outbox, order(2)) == [Received.DUPLICATE]


def test_a_damaged_order_is_a_dead_letter_and_others_go_on(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "outbox.db") as outbox:
        receive(outbox, order(1), order(2))
        with sqlite3.connect(tmp_path / "outbox.db") as connection:
            connection.execute(
                "UPDATE webhook_orders SET event = replace(event, '10000', '90000') WHERE order_id = 'A-1'"
            )
        connection.close()

        process(outbox)

        (dead,) = with_inbox(outbox, lambda inbox: inbox.dead_orders())
        assert (dead.order_id, dead.reason) == ("A-1", "DAMAGED")
        assert queued(outbox) == ["earn"]


def test_recovery_brings_orders_over_too(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "outbox.db") as outbox:
        receive(outbox, order(1))
        process(outbox)
        receive(outbox, order(1, version=2), order(2))

    recovered = recover(tmp_path / "outbox.db", tmp_path / "new.db")

    assert (recovered.commands, recovered.orders, recovered.unreadable_orders) == (1, 2, 0)
    with Outbox.open(tmp_path / "new.db") as outbox:
        process(outbox)
        assert sorted(queued(outbox)) == ["confirm_earn", "earn", "earn"]
        assert receive(outbox, order(1)) == [Received.DUPLICATE]


def test_the_inbox_says_that_the_disk_is_full(tmp_path: Path) -> None:
    limits = Limits(most_file_bytes=40 * 4096)
    with Outbox.open(tmp_path / "outbox.db", limits=limits) as outbox:
        with pytest.raises(OutboxFull):
            receive(outbox, *(order(number, store_id="s" * 64) for number in range(1_000)))

        kept = with_inbox(outbox, lambda inbox: inbox.status()).waiting

    with Outbox.open(tmp_path / "outbox.db") as outbox:
        assert 0 < kept == with_inbox(outbox, lambda inbox: inbox.status()).waiting


# --- kill -9


def test_killed_anywhere_every_order_that_was_answered_becomes_its_commands_once(tmp_path: Path) -> None:
    file = tmp_path / "outbox.db"
    chance = random.Random(20260101)
    said: set[str] = set()

    for kill in range(KILLS):
        process_ = subprocess.Popen(
            [sys.executable, str(Path(__file__)), json.dumps({"file": str(file), "first": kill * 1_000})],
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": ":".join(sys.path)},
        )
        assert process_.stdout is not None
        said |= {process_.stdout.readline().strip() for _ in range(6)}
        time.sleep(chance.uniform(0.0, 0.15))
        process_.send_signal(signal.SIGKILL)
        said |= {line.strip() for line in process_.stdout if line.endswith("\n")}
        process_.wait()
        process_.stdout.close()

    with Outbox.open(file) as outbox:
        process(outbox, rounds=10)
        found = outbox.writer.do(lambda: outbox.store.read(0, 100_000)).result()
        status = with_inbox(outbox, lambda inbox: inbox.status())
    earned = [EarnRequest.FromString(one.message).reference for one in found if one.kind == "earn"]
    confirmed = [
        ConfirmEarnRequest.FromString(one.message).reference for one in found if one.kind == "confirm_earn"
    ]
    assert (status.waiting, status.dead) == (0, 0)
    assert said <= set(earned)
    assert sorted(earned) == sorted(confirmed) == sorted(set(earned))
    assert len(said) > 5 * KILLS


async def _tell_and_work(settings: dict[str, Any]) -> None:
    with Outbox.open(settings["file"]) as outbox:
        inbox = Inbox(outbox, "generic")
        await inbox.keep_members({"c-1": "m-1"})
        async with Hub.connect("127.0.0.1:1", "hub.example/test", **NO_HUB) as hub:
            working = asyncio.create_task(OrderProcessor(inbox, hub, POLICY, "generic").run())
            for number in range(settings["first"], settings["first"] + 1_000):
                await inbox.receive(order(number, version=2))
                sys.stdout.write(f"A-{number}\n")
                sys.stdout.flush()
            await working


if __name__ == "__main__":
    asyncio.run(_tell_and_work(json.loads(sys.argv[1])))
