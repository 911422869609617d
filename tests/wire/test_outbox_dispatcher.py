"""The dispatcher against a hub that a test tells how to misbehave."""

from __future__ import annotations

import asyncio
import random
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merchant_adapter import (
    ConfirmEarnCommand,
    EarnCommand,
    PointsCommand,
    prepare_batch,
    verify_receipt,
)
from merchant_adapter.outbox import (
    Dispatcher,
    Limits,
    Outbox,
    OutboxFull,
    OutboxInUse,
    State,
)
from merchant_adapter.outbox.lanes import Waiting
from merchant_adapter.outbox.policy import BEHIND_DEAD_LETTER
from merchant_adapter.outbox.store import Store
from tests.property.profiles import tries
from tests.waiting import WAIT_SECONDS, eventually
from tests.wire.adapter_fake_hub import (
    AUDIENCE,
    HUB_KEYS,
    Call,
    Reply,
    fake_hub,
    refused,
)
from tests.wire.fake_ledger import (
    CODE,
    QUICK,
    UNAVAILABLE,
    WHEN,
    Ledger,
    MoodyHub,
    acceptance,
    busy_for,
    drain,
    open_hub,
    refusal,
    request_of,
    sale,
)
from tongdui.exchange.v1.commands_pb2 import Command, CommandResult
from tongdui.exchange.v1.points_service_pb2 import PostBatchRequest, PostBatchResponse


def accept(outbox: Outbox, *commands: PointsCommand[Any]) -> None:
    outbox.accept_all(commands)


def test_a_sale_is_sent_as_its_stored_bytes_and_archived_with_a_receipt_that_verifies_offline(
    outbox: Outbox,
) -> None:
    commands = [sale("m-1"), sale("m-2")]
    accept(outbox, *commands)

    with fake_hub(Ledger().post) as hub:
        progress = drain(outbox, hub.address)

    (call,) = hub.calls
    found = outbox.find(commands[1].request_id)
    assert call.body == prepare_batch(commands).body
    assert (progress.accepted, progress.waiting) == (2, 0)
    assert found is not None
    assert found.receipt is not None
    assert (found.state, found.entry_id) == (State.ACCEPTED, f"e-{commands[1].request_id}")
    verify_receipt(found.receipt, HUB_KEYS)
    answer = PostBatchResponse.FromString(found.receipt.answer)
    assert found.batch_index == 1
    assert answer.results[1].earn.entry_id == found.entry_id


def test_a_backlog_goes_in_batches_of_a_thousand_with_one_command_of_each_member(outbox: Outbox) -> None:
    ledger = Ledger()
    accept(outbox, *[sale(f"m-{number % 1500}") for number in range(3_000)])

    with fake_hub(ledger.post) as hub:
        drain(outbox, hub.address)

    assert max(ledger.batch_sizes) == 1_000
    assert sum(ledger.batch_sizes) == 3_000
    for call in hub.calls:
        members = [request_of(one).member_id for one in PostBatchRequest.FromString(call.body).commands]
        assert len(set(members)) == len(members)


async def live_through(path: Path, address: str, sales: list[EarnCommand], chance: random.Random) -> None:
    """Accepts sales while a dispatcher runs, which ends now and then, politely or not, until all are settled."""
    while sales:
        with Outbox.open(path) as outbox:
            async with await open_hub(address) as hub:
                dispatcher = Dispatcher(outbox, hub, policy=QUICK)
                running = asyncio.create_task(dispatcher.run())
                for _ in range(min(chance.randrange(10, 60), len(sales))):
                    await outbox.accept_async(sales.pop(0))
                await asyncio.sleep(chance.random() * 0.05)
                if chance.random() < 0.5:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                else:
                    dispatcher.stop()
                    await running
    with Outbox.open(path) as outbox:
        async with await open_hub(address) as hub:
            await Dispatcher(outbox, hub, policy=QUICK).drain(wait=True)


@tries(4)
@given(seed=st.integers(0, 2**32))
def test_order_per_member_holds_and_nothing_is_lost_with_a_hub_that_fails_at_random(seed: int) -> None:
    chance = random.Random(seed)
    moody = MoodyHub(chance)
    commands = [sale(f"m-{chance.randrange(12)}") for _ in range(120)]
    accepted_order = defaultdict(list)
    for command in commands:
        accepted_order[command.member_id].append(command.request_id)

    with tempfile.TemporaryDirectory() as folder, fake_hub(moody.reply) as hub:
        path = Path(folder) / "outbox.db"
        asyncio.run(asyncio.wait_for(live_through(path, hub.address, list(commands), chance), 60))
        with Outbox.open(path) as outbox:
            left = outbox.status()
            found = [outbox.find(command.request_id) for command in commands]

    assert moody.ledger.order == accepted_order
    assert (left.waiting, left.dead) == (0, 0)
    assert sum(moody.failures.values()) > 20
    for one in found:
        assert one is not None
        assert one.receipt is not None
        verify_receipt(one.receipt, HUB_KEYS)
        decided = moody.ledger.decided[one.request_id].WhichOneof("result")
        assert one.state is (State.REFUSED if decided == "error" else State.ACCEPTED)


def test_an_answer_without_a_good_receipt_settles_nothing(outbox: Outbox) -> None:
    ledger, is_signing = Ledger(), threading.Event()
    command = sale()
    accept(outbox, command)

    def reply(call: Call) -> Reply:
        return replace(ledger.post(call), has_receipt=is_signing.is_set())

    with fake_hub(reply) as hub:
        stopped = drain(outbox, hub.address, wait=False)
        waiting = outbox.status()
        is_signing.set()
        progress = drain(outbox, hub.address)

    assert (stopped.accepted, stopped.trouble) == (0, "RECEIPT_INVALID")
    assert [one.reason for one in waiting.troubles] == ["RECEIPT_INVALID"]
    assert (progress.accepted, outbox.status().waiting) == (1, 0)


def test_one_malformed_command_becomes_a_dead_letter_and_the_others_pass(outbox: Outbox) -> None:
    bad = sale("m-1", reference="bad", pending=True)
    follower = ConfirmEarnCommand(
        member_id="m-1",
        event_time=WHEN,
        store_id="s",
        terminal_id="t",
        reference="c",
        original_request_id=bad.request_id,
    )
    good = [sale("m-1"), sale("m-2")]
    accept(outbox, bad, follower, *good)

    def decide(command: Command) -> CommandResult:
        if request_of(command).reference == "bad":
            return refusal(CODE.INVALID_ARGUMENT, "INVALID_FIELD")
        return acceptance(request_of(command).request_id)

    with fake_hub(Ledger(decide).post) as hub:
        progress = drain(outbox, hub.address)

    assert (progress.accepted, progress.dead, progress.waiting) == (2, 2, 0)
    assert [(one.request_id, one.reason) for one in outbox.dead_letters()] == [
        (bad.request_id, "INVALID_FIELD"),
        (follower.request_id, BEHIND_DEAD_LETTER),
    ]


def test_one_command_that_spoils_whole_batches_is_found_by_halving_them(outbox: Outbox) -> None:
    bad, ledger = sale("m-bad", reference="bad"), Ledger()
    accept(outbox, *[sale(f"m-{number}") for number in range(20)], bad)

    def reply(call: Call) -> Reply:
        found = PostBatchRequest.FromString(call.body).commands
        if any(request_of(one).reference == "bad" for one in found):
            return refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", field="commands")
        return ledger.post(call)

    with fake_hub(reply) as hub:
        progress = drain(outbox, hub.address)

    assert (progress.accepted, progress.dead) == (20, 1)
    assert [one.request_id for one in outbox.dead_letters()] == [bad.request_id]


def test_a_resubmitted_letter_is_found_by_a_dispatcher_that_has_long_read_on(outbox: Outbox) -> None:
    mended, ledger = threading.Event(), Ledger()
    bad, other = sale("m-1", reference="bad"), sale("m-2")
    accept(outbox, bad, other)

    def decide(command: Command) -> CommandResult:
        if request_of(command).reference == "bad" and not mended.is_set():
            return refusal(CODE.INVALID_ARGUMENT, "INVALID_FIELD")
        return acceptance(request_of(command).request_id)

    async def run(address: str) -> None:
        seen = asyncio.Event()
        async with await open_hub(address) as hub, asyncio.timeout(WAIT_SECONDS):
            dispatcher = Dispatcher(outbox, hub, policy=QUICK, on_progress=lambda _: seen.set())
            running = asyncio.create_task(dispatcher.run())
            while dispatcher.progress.dead + dispatcher.progress.accepted < 2:
                seen.clear()
                await seen.wait()
            mended.set()
            await asyncio.to_thread(outbox.resubmit, bad.request_id)
            while dispatcher.progress.accepted < 2:
                seen.clear()
                await seen.wait()
            dispatcher.stop()
            await running

    ledger.decide = decide
    with fake_hub(ledger.post) as hub:
        asyncio.run(run(hub.address))

    assert outbox.status().dead == 0
    assert set(ledger.decided) == {bad.request_id, other.request_id}


def test_the_pause_that_the_hub_asks_for_is_kept(outbox: Outbox) -> None:
    ledger = Ledger()
    times: list[float] = []
    accept(outbox, sale())

    def reply(call: Call) -> Reply:
        times.append(time.monotonic())
        if len(times) > 1:
            return ledger.post(call)
        return busy_for(milliseconds=300)

    with fake_hub(reply) as hub:
        drain(outbox, hub.address)

    assert times[1] - times[0] >= 0.3


def test_a_key_that_is_not_trusted_ends_a_drain_and_loses_nothing(outbox: Outbox) -> None:
    accept(outbox, sale("m-1"), sale("m-2"))

    with fake_hub(refused(CODE.UNAUTHENTICATED, "SIGNATURE_INVALID")) as hub:
        progress = drain(outbox, hub.address, wait=False)

    assert (progress.trouble, progress.waiting, progress.dead) == ("SIGNATURE_INVALID", 2, 0)


def test_without_waiting_a_drain_asks_a_hub_that_is_away_once_however_slow_the_disk_is(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(outbox, sale())
    read = Store.read

    def slow_read(store: Store, after: int, most: int) -> list[Waiting]:
        time.sleep(2 * QUICK.longest_pause_seconds)  # so the pause after a failure is over when it ends
        return read(store, after, most)

    monkeypatch.setattr(Store, "read", slow_read)
    with fake_hub(UNAVAILABLE) as hub:
        drain(outbox, hub.address, wait=False)

        assert len(hub.calls) == 1


def test_without_waiting_a_drain_ends_where_the_hub_is_away(outbox: Outbox) -> None:
    accept(outbox, sale())

    progress = drain(outbox, "127.0.0.1:1", wait=False)

    assert (progress.trouble, progress.waiting) == ("NO_ANSWER", 1)


def test_a_dispatcher_that_gave_up_a_drain_tries_again_when_it_is_run(outbox: Outbox) -> None:
    ledger, is_away = Ledger(), iter([True, True])
    accept(outbox, sale())

    async def drain_and_run(address: str) -> str:
        async with await open_hub(address) as hub, asyncio.timeout(WAIT_SECONDS):
            dispatcher = Dispatcher(outbox, hub, policy=QUICK)
            trouble = (await dispatcher.drain()).trouble
            running = asyncio.create_task(dispatcher.run())
            await asyncio.to_thread(eventually, lambda: not outbox.status().waiting)
            dispatcher.stop()
            await running
            return trouble

    with fake_hub(lambda call: UNAVAILABLE if next(is_away, False) else ledger.post(call)) as hub:
        assert asyncio.run(drain_and_run(hub.address)) == "HUB_UNAVAILABLE"


def test_an_outbox_that_another_process_drains_is_left_to_it(outbox: Outbox, tmp_path: Path) -> None:
    outbox.writer.do(lambda: outbox.store.begin_draining("cafe", AUDIENCE)).result()

    async def run(second: Outbox, address: str) -> None:
        async with await open_hub(address) as hub:
            await Dispatcher(second, hub, take_over_seconds=0.1).drain()

    with (
        Outbox.open(tmp_path / "outbox.db") as second,
        fake_hub(Ledger().post) as hub,
        pytest.raises(OutboxInUse),
    ):
        asyncio.run(run(second, hub.address))


def test_a_disk_that_is_full_for_a_while_delays_answers_and_loses_none(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    commands = [sale(f"m-{number}") for number in range(300)]
    ledger = Ledger()

    with Outbox.open(path) as outbox:
        accept(outbox, *commands)
    full = path.stat().st_size
    with fake_hub(ledger.post) as hub:
        with Outbox.open(path, limits=Limits(most_file_bytes=full)) as outbox:
            with pytest.raises(OutboxFull):
                drain(outbox, hub.address)
            left = outbox.status().waiting
        with Outbox.open(path) as outbox:
            drain(outbox, hub.address)
            found = [outbox.find(one.request_id) for one in commands]

    assert left == 300
    assert sorted(ledger.decided) == sorted(one.request_id for one in commands)
    assert [one is not None and one.state for one in found] == [State.ACCEPTED] * 300
