"""A till at which somebody waits, against a hub that a test tells how to misbehave."""

from __future__ import annotations

import asyncio
import random
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merchant_adapter import (
    ConfirmEarnCommand,
    EarnCommand,
    EarnConfirmed,
    Earned,
    InvalidRequest,
    PointsAnswer,
    PointsCommand,
    Refusal,
    SyncHub,
    prepare,
    verify_receipt,
)
from merchant_adapter.outbox import Dispatcher, Limits, Outbox, OutboxFull, RequestIdTaken, State
from merchant_adapter.till import DROPPED, Resolving, SyncTill, Till
from tests.property.profiles import tries
from tests.waiting import WAIT_SECONDS
from tests.wire.adapter_fake_hub import (
    AUDIENCE,
    CAFE_KEY,
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
from tongdui.exchange.v1.commands_pb2 import Command, CommandResult, ConfirmEarnResponse

T = TypeVar("T")
Outcome = PointsAnswer | Refusal | Resolving


@asynccontextmanager
async def till_at(address: str, outbox: Outbox) -> AsyncIterator[Till]:
    async with await open_hub(address) as hub:
        yield Till(hub, outbox, policy=QUICK)


@asynccontextmanager
async def dispatching(
    address: str, outbox: Outbox
) -> AsyncIterator[Callable[[int], Coroutine[Any, Any, None]]]:
    """A dispatcher that runs; what is given waits until it has had so many answers."""
    async with await open_hub(address) as hub:
        progressed = asyncio.Event()
        dispatcher = Dispatcher(outbox, hub, policy=QUICK, on_progress=lambda _: progressed.set())

        async def answered(count: int) -> None:
            while dispatcher.progress.accepted < count:
                progressed.clear()
                await progressed.wait()

        running = asyncio.create_task(dispatcher.run())
        try:
            yield answered
        finally:
            dispatcher.stop()
            await running


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 2 * WAIT_SECONDS))


def ask(outbox: Outbox, address: str, command: PointsCommand[Any], seconds: float = WAIT_SECONDS) -> Outcome:
    async def asking() -> Outcome:
        async with till_at(address, outbox) as till:
            found: Outcome = await till.ask(command, seconds)
            return found

    return run(asking())


async def resolving(till: Till, command: PointsCommand[Any], seconds: float, reason: str) -> Resolving:
    """What a till is told that waits so long, asked again where that was over before a try, or in the midst of one."""
    while True:
        told: Outcome = await till.ask(command, seconds)
        assert isinstance(told, Resolving)
        if told.reason == reason:
            return told


def give_up(outbox: Outbox) -> None:
    """Leaves all that waits to the dispatcher, as it is once the time of those who asked for it is over."""
    for one in outbox.writer.do(lambda: outbox.store.read(0, 1_000)).result():
        outbox.writer.do(partial(outbox.asking.give_up, one.number)).result()


def confirmation(of: PointsCommand[Any], **changes: Any) -> ConfirmEarnCommand:
    values: dict[str, Any] = {
        "member_id": of.member_id,
        "event_time": WHEN,
        "store_id": "s",
        "terminal_id": "t",
    }
    return ConfirmEarnCommand(**(values | {"reference": "c", "original_request_id": of.request_id} | changes))


def test_an_answer_is_given_at_once_and_archived_with_a_receipt_that_verifies_offline(outbox: Outbox) -> None:
    command, ledger = sale(), Ledger()

    with fake_hub(ledger.post) as hub:
        answer = ask(outbox, hub.address, command)
        drain(outbox, hub.address)

    (call,) = hub.calls
    found = outbox.find(command.request_id)
    assert isinstance(answer, Earned)
    assert (answer.entry_id, answer.decided_time) == (f"e-{command.request_id}", WHEN)
    assert call.body == prepare(command).body
    assert found is not None
    assert found.receipt is not None
    assert (found.state, found.batch_index, found.entry_id) == (State.ACCEPTED, None, answer.entry_id)
    assert (outbox.status().waiting, outbox.status().stored_bytes) == (0, 0)
    verify_receipt(found.receipt, HUB_KEYS)


def test_the_same_command_again_is_told_what_the_archive_says_without_asking(outbox: Outbox) -> None:
    earned, frozen = sale("m-1"), sale("m-2")
    ledger = Ledger(
        lambda command: (
            refusal(CODE.FAILED_PRECONDITION, "MEMBER_FROZEN")
            if request_of(command).member_id == "m-2"
            else acceptance(request_of(command).request_id)
        )
    )

    with fake_hub(ledger.post) as hub:
        first = [ask(outbox, hub.address, command) for command in (earned, frozen)]
        again = [ask(outbox, hub.address, command) for command in (earned, frozen)]

    assert ledger.lone == [earned.request_id, frozen.request_id]
    assert again == first
    assert isinstance(first[1], Refusal)
    assert (first[1].reason, first[1].request_id) == ("MEMBER_FROZEN", frozen.request_id)


def test_what_was_accepted_and_sent_in_a_batch_is_told_like_what_was_asked(outbox: Outbox) -> None:
    kept, frozen = sale("m-1"), sale("m-2")
    outbox.accept_all([kept, frozen])
    ledger = Ledger(
        lambda command: (
            refusal(CODE.FAILED_PRECONDITION, "MEMBER_FROZEN")
            if request_of(command).member_id == "m-2"
            else acceptance(request_of(command).request_id)
        )
    )

    with fake_hub(ledger.post) as hub:
        drain(outbox, hub.address)
        answer, refused_one = (ask(outbox, hub.address, command) for command in (kept, frozen))

    assert ledger.lone == []
    assert isinstance(answer, Earned)
    assert (answer.request_id, answer.entry_id) == (kept.request_id, f"e-{kept.request_id}")
    assert isinstance(refused_one, Refusal)
    assert refused_one.reason == "MEMBER_FROZEN"


def test_an_answer_lost_after_the_commit_is_resolving_and_then_the_entry_that_was_posted(
    outbox: Outbox,
) -> None:
    command, ledger = sale(), Ledger()
    losing = threading.Event()
    losing.set()

    def reply(call: Call) -> Reply:
        answer = ledger.post(call)
        return UNAVAILABLE if losing.is_set() else answer

    async def shift(address: str) -> tuple[Resolving, Outcome | None]:
        async with till_at(address, outbox) as till:
            told = await resolving(till, command, 0.2, "HUB_UNAVAILABLE")
            losing.clear()
            async with dispatching(address, outbox) as answered:
                await answered(1)
            return told, await till.outcome(command.request_id)

    with fake_hub(reply) as hub:
        told, known = run(shift(hub.address))

    assert (told.request_id, told.is_dead) == (command.request_id, False)
    assert isinstance(known, Earned)
    assert list(ledger.decided) == [command.request_id]
    assert outbox.status().waiting == 0


def test_a_hub_that_does_not_answer_keeps_nobody_longer_than_the_deadline(outbox: Outbox) -> None:
    released = threading.Event()

    def reply(call: Call) -> Reply:
        released.wait(WAIT_SECONDS)
        return ledger.post(call)

    async def shift(address: str) -> Resolving:
        async with till_at(address, outbox) as till:
            return await resolving(till, command, 0.3, "NO_ANSWER")

    ledger, command = Ledger(), sale()
    with fake_hub(reply) as hub:
        begun = time.monotonic()
        told = run(shift(hub.address))
        seconds = time.monotonic() - begun
        released.set()

    assert told.request_id == command.request_id
    assert 0.3 <= seconds < WAIT_SECONDS


def test_a_hub_that_is_busy_for_a_moment_is_asked_again_within_the_deadline(outbox: Outbox) -> None:
    ledger, busy = Ledger(), iter([True, True, False])

    def reply(call: Call) -> Reply:
        return refused(CODE.RESOURCE_EXHAUSTED, "HUB_BUSY") if next(busy) else ledger.post(call)

    with fake_hub(reply) as hub:
        answer = ask(outbox, hub.address, sale())

    assert isinstance(answer, Earned)
    assert len(hub.calls) == 3
    assert len({call.body for call in hub.calls}) == 1


def test_a_pause_that_the_hub_asks_for_beyond_the_deadline_is_told_and_not_waited_for(outbox: Outbox) -> None:
    with fake_hub(busy_for(milliseconds=90_000)) as hub:
        begun = time.monotonic()
        told = ask(outbox, hub.address, sale(), WAIT_SECONDS)
        seconds = time.monotonic() - begun

    assert isinstance(told, Resolving)
    assert (told.reason, len(hub.calls)) == ("HUB_BUSY", 1)
    assert seconds < WAIT_SECONDS


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (CODE.UNAUTHENTICATED, "SIGNATURE_INVALID"),
        (CODE.UNAUTHENTICATED, "SIGNATURE_STALE"),
        (CODE.PERMISSION_DENIED, "ROLE_REQUIRED"),
    ],
)
def test_a_key_that_is_not_trusted_leaves_the_command_queued_and_is_said_at_once(
    outbox: Outbox, code: grpc.StatusCode, reason: str
) -> None:
    with fake_hub(refused(code, reason)) as hub:
        told = ask(outbox, hub.address, sale())

    assert isinstance(told, Resolving)
    assert (told.reason, len(hub.calls)) == (reason, 1)
    assert (outbox.status().waiting, outbox.status().dead) == (1, 0)


@pytest.mark.parametrize(
    ("code", "reason"), [(CODE.INVALID_ARGUMENT, "INVALID_FIELD"), (CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED")]
)
def test_what_can_never_be_decided_is_said_and_leaves_nothing_behind(
    outbox: Outbox, code: grpc.StatusCode, reason: str
) -> None:
    command, later = sale(), sale()

    async def shift(address: str) -> str:
        async with till_at(address, outbox) as till:
            try:
                found = await till.ask(command, WAIT_SECONDS)
            except InvalidRequest as error:
                assert reason == "INVALID_FIELD"
                return error.reason
            assert isinstance(found, Refusal)
            assert await till.outcome(command.request_id) is None
            return found.reason

    with fake_hub(refused(code, reason)) as hub:
        told = run(shift(hub.address))
    outbox.accept(later)

    assert told == reason
    assert outbox.find(command.request_id) is None
    assert outbox.dead_letters() == []
    assert (outbox.status().waiting, outbox.accept(replace(command, points=6)).is_repeat) == (1, False)


def test_two_who_ask_the_same_nonsense_at_once_are_both_told_so(outbox: Outbox) -> None:
    command = sale()

    async def shift(address: str) -> list[Any]:
        async with till_at(address, outbox) as till:
            asking = (till.ask(command, WAIT_SECONDS) for _ in range(8))
            return await asyncio.gather(*asking, return_exceptions=True)

    with fake_hub(refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD")) as hub:
        told = run(shift(hub.address))

    assert {type(one) for one in told} == {InvalidRequest}
    assert outbox.find(command.request_id) is None


def test_an_outbox_that_ends_while_somebody_waits_turns_no_stored_command_into_a_refusal(
    tmp_path: Path,
) -> None:
    lost, known, ledger = sale("m-1"), sale("m-2"), Ledger()
    ending: dict[str, Outbox] = {}

    def reply(call: Call) -> Reply:
        # By the command: a call that was given up may come here when the other one's outbox is open.
        (name,) = (one for one in ending if one.encode() in call.body)
        ending[name].close()
        answer = ledger.post(call)
        return UNAVAILABLE if name == lost.request_id else answer

    told: list[Outcome] = []
    with fake_hub(reply) as hub:
        for command, seconds in ((lost, 0.05), (known, WAIT_SECONDS)):
            with Outbox.open(tmp_path / "outbox.db") as outbox:
                ending[command.request_id] = outbox
                told.append(ask(outbox, hub.address, command, seconds))
    with fake_hub(ledger.post) as hub, Outbox.open(tmp_path / "outbox.db") as outbox:
        give_up(outbox)
        drain(outbox, hub.address)
        states = [found.state for one in (lost, known) if (found := outbox.find(one.request_id))]

    assert [type(one) for one in told] == [Resolving, Earned]
    assert states == [State.ACCEPTED] * 2


def test_a_command_that_could_not_be_written_or_stored_is_never_sent(outbox: Outbox, tmp_path: Path) -> None:
    command = sale()
    outbox.accept(command)

    with (
        fake_hub(Ledger().post) as hub,
        Outbox.open(tmp_path / "full.db", limits=Limits(most_commands=0)) as full,
    ):
        with pytest.raises(RequestIdTaken):
            ask(outbox, hub.address, replace(command, points=6))
        with pytest.raises(OutboxFull):
            ask(full, hub.address, sale())
        with pytest.raises(InvalidRequest):
            ask(outbox, hub.address, sale(event_time=WHEN.replace(tzinfo=None)))
        with pytest.raises(ValueError, match="deadline_seconds"):
            ask(outbox, hub.address, sale(), 0.0)

    assert hub.calls == []


def test_a_process_that_died_between_storing_and_sending_leaves_the_command_to_the_dispatcher(
    tmp_path: Path,
) -> None:
    path, command, behind, ledger = tmp_path / "outbox.db", sale(), sale(), Ledger()
    begun = time.time()
    with Outbox.open(path) as dying:
        dying.hand_in([command], asked_seconds=0.6).result()
        dying.accept(behind)
    times: list[float] = []

    def reply(call: Call) -> Reply:
        times.append(time.time())
        return ledger.post(call)

    with fake_hub(reply) as hub, Outbox.open(path) as outbox:
        drain(outbox, hub.address)
        states = [found.state for one in (command, behind) if (found := outbox.find(one.request_id))]

    assert times[0] - begun >= 0.59  # the till was still asking, for all that anybody knew
    assert ledger.order["m-1"] == [command.request_id, behind.request_id]
    assert states == [State.ACCEPTED] * 2


def test_a_till_whose_clock_was_set_back_does_not_keep_its_command_from_the_dispatcher(
    outbox: Outbox,
) -> None:
    command = sale()
    outbox.hand_in([command], asked_seconds=86_400).result()

    with fake_hub(Ledger().post) as hub:
        drain(outbox, hub.address)

    found = outbox.find(command.request_id)
    assert found is not None
    assert found.state is State.ACCEPTED


def test_it_goes_before_older_commands_of_its_member_and_later_ones_wait_behind_it(outbox: Outbox) -> None:
    older, asked, later = (sale("m-1", reference=name) for name in ("older", "asked", "later"))
    ledger, losing = Ledger(), threading.Event()
    losing.set()
    outbox.accept(older)

    def reply(call: Call) -> Reply:
        return UNAVAILABLE if losing.is_set() else ledger.post(call)

    async def shift(address: str) -> tuple[Outcome, Outcome]:
        async with till_at(address, outbox) as till:
            first: Outcome = await till.ask(asked, 0.1)
            outbox.accept(later)
            losing.clear()
            second: Outcome = await till.ask(asked, WAIT_SECONDS)
            return first, second

    with fake_hub(reply) as hub:
        first, second = run(shift(hub.address))
        straight_through = list(ledger.order["m-1"])
        drain(outbox, hub.address)

    assert isinstance(first, Resolving)
    assert isinstance(second, Earned)
    assert straight_through == [asked.request_id]
    assert ledger.order["m-1"] == [one.request_id for one in (asked, older, later)]


def test_later_commands_of_its_member_wait_while_it_is_asked_and_go_as_soon_as_it_has_its_answer(
    outbox: Outbox,
) -> None:
    asked, later, other = sale("m-1"), sale("m-1"), sale("m-2")
    ledger, arrived, released = Ledger(), threading.Event(), threading.Event()

    def reply(call: Call) -> Reply:
        if call.path.endswith("/Earn"):
            arrived.set()
            released.wait(WAIT_SECONDS)
        return ledger.post(call)

    async def shift(address: str) -> Outcome:
        async with till_at(address, outbox) as till, dispatching(address, outbox) as answered:
            asking = asyncio.create_task(till.ask(asked, WAIT_SECONDS))
            await asyncio.to_thread(arrived.wait, WAIT_SECONDS)
            outbox.accept_all([later, other])
            await answered(1)
            assert list(ledger.decided) == [other.request_id]
            released.set()
            answer: Outcome = await asking
            await answered(2)
            return answer

    with fake_hub(reply) as hub:
        begun = time.monotonic()
        answer = run(shift(hub.address))
        seconds = time.monotonic() - begun

    assert isinstance(answer, Earned)
    assert ledger.order["m-1"] == [asked.request_id, later.request_id]
    assert ledger.lone == [asked.request_id]
    assert seconds < WAIT_SECONDS  # the till's deadline


def test_a_command_that_follows_one_without_an_answer_waits_for_that_one(outbox: Outbox) -> None:
    first, ledger = sale(pending=True), Ledger()
    follower = confirmation(first)
    outbox.accept(first)

    def decide(command: Command) -> CommandResult:
        if request_of(command).request_id == first.request_id:
            return acceptance(first.request_id)
        if first.request_id not in ledger.decided:
            return refusal(CODE.NOT_FOUND, "ORIGINAL_UNKNOWN")
        found = acceptance(follower.request_id).earn
        return CommandResult(
            confirm_earn=ConfirmEarnResponse(entry_id=found.entry_id, decided_time=found.decided_time)
        )

    ledger.decide = decide

    async def shift(address: str) -> tuple[Outcome, list[str], Outcome]:
        async with till_at(address, outbox) as till:
            early: Outcome = await till.ask(follower, 0.2)
            sent = list(ledger.decided)
            asking = asyncio.create_task(till.ask(follower, WAIT_SECONDS))
            async with dispatching(address, outbox):
                return early, sent, await asking

    with fake_hub(ledger.post) as hub:
        early, sent, told = run(shift(hub.address))

    assert isinstance(early, Resolving)
    assert sent == []
    assert isinstance(told, EarnConfirmed)
    assert ledger.order["m-1"] == [first.request_id, follower.request_id]


def test_a_disk_that_is_full_by_then_keeps_no_answer_from_the_till(tmp_path: Path) -> None:
    path, commands, ledger = tmp_path / "outbox.db", [sale() for _ in range(20)], Ledger()
    with Outbox.open(path) as outbox:
        outbox.accept_all(commands)
    full = path.stat().st_size

    with fake_hub(ledger.post) as hub:
        with Outbox.open(path, limits=Limits(most_file_bytes=full)) as outbox:
            answers = [ask(outbox, hub.address, command) for command in commands]
            left = outbox.status().waiting
        with Outbox.open(path) as outbox:
            give_up(outbox)
            drain(outbox, hub.address)
            kept = [ask(outbox, hub.address, command) for command in commands]

    assert {type(answer) for answer in answers} == {Earned}
    assert left > 0
    assert kept == answers


def test_a_dropped_dead_letter_is_told_as_such_and_a_dead_one_as_one_that_a_person_has_to_look_at(
    outbox: Outbox,
) -> None:
    command = sale()
    outbox.accept(command)
    with fake_hub(refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD")) as hub:
        drain(outbox, hub.address)
        dead = ask(outbox, hub.address, command)
        outbox.drop(command.request_id, "typed twice")
        dropped = ask(outbox, hub.address, command)

    assert isinstance(dead, Resolving)
    assert (dead.is_dead, dead.reason) == (True, "INVALID_FIELD")
    assert isinstance(dropped, Refusal)
    assert (dropped.reason, dropped.message) == (DROPPED, "typed twice")


def test_code_without_an_event_loop_asks_the_same_way(outbox: Outbox) -> None:
    command = sale()

    with (
        fake_hub(Ledger().post) as served,
        SyncHub.connect(served.address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS) as hub,
    ):
        till = SyncTill(hub, outbox)
        unknown = till.outcome(command.request_id)
        answer = till.ask(command, WAIT_SECONDS)

        assert unknown is None
        assert isinstance(answer, Earned)
        assert till.outcome(command.request_id) == answer


async def live_through(
    path: Path, address: str, commands: list[EarnCommand], chance: random.Random
) -> dict[str, Outcome]:
    """Asks for some and accepts others while a dispatcher runs and tills are torn away, until all are settled."""
    told: dict[str, Outcome] = {}
    waiting = list(commands)
    while waiting:
        with Outbox.open(path) as outbox:
            async with till_at(address, outbox) as till, dispatching(address, outbox):
                asking = set()
                for _ in range(min(chance.randrange(10, 40), len(waiting))):
                    command = waiting.pop(0)
                    if command.reference != "asked":
                        await outbox.accept_async(command)
                        continue
                    asking.add(asyncio.create_task(till.ask(command, chance.choice((0.001, 5.0)))))
                    await asyncio.sleep(0)
                await asyncio.sleep(chance.random() * 0.05)
                for one in asking:
                    if chance.random() < 0.3:
                        one.cancel()
                for found in await asyncio.gather(*asking, return_exceptions=True):
                    if isinstance(found, PointsAnswer | Refusal | Resolving):
                        told[found.request_id] = found
                    else:
                        assert isinstance(found, asyncio.CancelledError)
    return told


@tries(4)
@given(seed=st.integers(0, 2**32))
def test_with_a_hub_that_fails_at_random_nothing_told_is_a_guess_and_everything_stored_is_decided_once(
    seed: int,
) -> None:
    chance = random.Random(seed)
    moody = MoodyHub(chance)
    names = ("asked", "queued")
    commands = [sale(f"m-{chance.randrange(8)}", reference=chance.choice(names)) for _ in range(120)]

    with tempfile.TemporaryDirectory() as folder, fake_hub(moody.reply) as hub:
        path = Path(folder) / "outbox.db"
        told = run(live_through(path, hub.address, commands, chance))
        with Outbox.open(path) as outbox:
            drain(outbox, hub.address)
            left = outbox.status()
            known = {one.request_id: outbox.find(one.request_id) for one in commands}

    decided = {name: result.WhichOneof("result") for name, result in moody.ledger.decided.items()}
    assert (left.waiting, left.dead, left.stored_bytes) == (0, 0, 0)
    stored = {name: found for name, found in known.items() if found is not None}
    assert set(stored) == set(decided)
    for name, found in stored.items():
        assert found.receipt is not None
        verify_receipt(found.receipt, HUB_KEYS)
        assert found.state is (State.REFUSED if decided[name] == "error" else State.ACCEPTED)
    for name, outcome in told.items():
        if not isinstance(outcome, Resolving):
            assert isinstance(outcome, Refusal) == (decided[name] == "error")
    assert {type(one) for one in told.values()} >= {Earned, Resolving}
    for member, order in moody.ledger.order.items():
        queued = [one.request_id for one in commands if one.member_id == member and one.reference == "queued"]
        assert [name for name in order if name in set(queued)] == queued
