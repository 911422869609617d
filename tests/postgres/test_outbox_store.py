"""What an outbox keeps, in SQLite and in PostgreSQL alike."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from merchant_adapter import (
    CaptureBurnCommand,
    ConfirmEarnCommand,
    EarnCommand,
    InvalidRequest,
    PointsCommand,
    Receipt,
    prepare,
)
from merchant_adapter.outbox import (
    CommandUnknown,
    Limits,
    Outbox,
    OutboxFull,
    OutboxInUse,
    OutboxUnavailable,
    RequestIdTaken,
    State,
)
from merchant_adapter.outbox.history import BEGINNING
from merchant_adapter.outbox.lanes import Waiting
from merchant_adapter.outbox.policy import ACCEPTED, BEHIND_DEAD_LETTER, Fate, Verdict
from merchant_adapter.outbox.records import Settled
from merchant_adapter.outbox.times import now_ms
from merchant_adapter.private_files import FileRefused
from tests.conftest import Databases
from tests.waiting import eventually, is_alone

Open = Callable[..., Outbox]
RECEIPT = Receipt("/path", b"request", (("a", "b"),), b"answer", (("c", "d"), ("e", "f")))
FINAL_REFUSAL = Verdict(Fate.REFUSED, "EVENT_TOO_OLD", is_noted=True)
MALFORMED = Verdict(Fate.DEAD, "INVALID_FIELD")
DISTRUSTED = Verdict(Fate.DEAD, "SIGNATURE_INVALID", holds_member=True)
WHEN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def sale(member: str = "m-1", **changes: Any) -> EarnCommand:
    values: dict[str, Any] = {"points": 5, "event_time": WHEN, "store_id": "s", "terminal_id": "t"}
    return EarnCommand(**({"member_id": member, "reference": "r"} | values | changes))


def confirmation(of: PointsCommand[Any]) -> ConfirmEarnCommand:
    return ConfirmEarnCommand(
        member_id=of.member_id,
        event_time=WHEN,
        store_id="s",
        terminal_id="t",
        reference="r",
        original_request_id=of.request_id,
    )


@pytest.fixture(scope="module")
def postgres_url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        yield url


def emptied(url: str) -> str:
    """The database without an outbox."""
    with psycopg.connect(url) as connection:
        connection.execute("DROP SCHEMA IF EXISTS tongdui_outbox CASCADE")
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def open_outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the test's outbox, as often as wanted."""
    location = (
        str(tmp_path / "outbox.db")
        if request.param == "sqlite"
        else emptied(request.getfixturevalue("postgres_url"))
    )
    opened: list[Outbox] = []

    def open_it(**limits: int) -> Outbox:
        opened.append(Outbox.open(location, limits=Limits(**limits)))
        return opened[-1]

    yield open_it
    for outbox in opened:
        outbox.close()


@pytest.fixture
def outbox(open_outbox: Open) -> Outbox:
    return open_outbox()


def heads(outbox: Outbox) -> list[Waiting]:
    """What a dispatcher would find."""
    return outbox.writer.do(lambda: outbox.store.read(0, 1_000)).result()


def settle(outbox: Outbox, verdicts: dict[str, Verdict], receipt: Receipt | None = RECEIPT) -> list[Waiting]:
    """Settles waiting commands by their ids, and gives the next ones of their members."""
    found = {one.request_id: one for one in heads(outbox)}
    settled = [
        Settled(found[name].number, len(found[name].message), 1, verdict, "said", "e-1", index)
        for index, (name, verdict) in enumerate(verdicts.items())
    ]
    members = [found[name].member_id for name in verdicts]
    return outbox.writer.do(lambda: outbox.store.settle(receipt, settled, members, now_ms())).result()[0]


def test_an_accepted_command_is_there_with_its_exact_bytes_after_another_opening(open_outbox: Open) -> None:
    command = sale()
    first = open_outbox()
    queued = first.accept(command)
    first.close()

    (found,) = heads(open_outbox())

    assert (queued.request_id, queued.state, queued.is_repeat) == (command.request_id, State.WAITING, False)
    assert (found.request_id, found.member_id, found.kind) == (command.request_id, "m-1", "earn")
    assert found.message == prepare(command).body


def test_the_same_command_again_is_the_same_and_another_under_its_id_is_an_error(outbox: Outbox) -> None:
    command = sale()
    first = outbox.accept(command)

    again = outbox.accept(command)
    with pytest.raises(RequestIdTaken, match=command.request_id):
        outbox.accept(replace(command, points=6))

    assert (again.is_repeat, again.accepted_time) == (True, first.accepted_time)
    assert outbox.status().waiting == 1


def test_a_request_id_is_known_after_its_answer_too(outbox: Outbox) -> None:
    command = sale()
    outbox.accept(command)
    settle(outbox, {command.request_id: ACCEPTED})

    again = outbox.accept(command)
    with pytest.raises(RequestIdTaken):
        outbox.accept(replace(command, points=6))

    assert (again.state, again.is_repeat) == (State.ACCEPTED, True)
    assert outbox.status().waiting == 0


def test_several_are_stored_together_or_not_at_all(outbox: Outbox) -> None:
    known = sale()
    outbox.accept(known)

    with pytest.raises(RequestIdTaken):
        outbox.accept_all([sale(), replace(known, points=6)])
    outbox.accept_all([first := sale(), second := sale(), first])

    assert [one.request_id for one in heads(outbox)] == [
        known.request_id,
        first.request_id,
        second.request_id,
    ]


@pytest.mark.parametrize("name", ["request_id", "member_id"])
@pytest.mark.parametrize("text", ["", "x" * 65, "a\x00b", "a\nb"])
def test_what_could_never_be_sent_is_refused_at_the_till(outbox: Outbox, name: str, text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        outbox.accept(sale(**{name: text} if name == "request_id" else {"member": text}))

    assert [one.field for one in refused.value.fields] == [name]
    assert outbox.status().waiting == 0


def test_an_original_that_no_command_can_be_is_refused_and_others_are_stored(outbox: Outbox) -> None:
    with pytest.raises(InvalidRequest) as refused:
        outbox.accept(confirmation(sale(request_id="a\x00b")))
    outbox.accept(sale())

    assert [one.field for one in refused.value.fields] == ["original_request_id"]
    assert outbox.status().waiting == 1


def test_a_full_outbox_refuses_aloud_and_takes_repeats_and_goes_on_when_there_is_room(
    open_outbox: Open,
) -> None:
    outbox = open_outbox(most_commands=3)
    commands = [sale() for _ in range(3)]
    outbox.accept_all(commands)

    with pytest.raises(OutboxFull, match="3 commands wait of 3"):
        outbox.accept(sale())
    assert outbox.accept(commands[0]).is_repeat
    settle(outbox, {commands[0].request_id: ACCEPTED})

    assert not outbox.accept(sale()).is_repeat


def test_the_bytes_are_limited_too(open_outbox: Open) -> None:
    command = sale()
    outbox = open_outbox(most_bytes=len(prepare(command).body) + 10)
    outbox.accept(command)

    with pytest.raises(OutboxFull, match="bytes wait of"):
        outbox.accept(sale())

    assert outbox.status().stored_bytes == len(prepare(command).body)


def test_tills_that_accept_at_once_from_two_processes_worth_of_outboxes_all_get_their_place(
    open_outbox: Open,
) -> None:
    both = [open_outbox(), open_outbox()]
    commands = [sale(f"m-{number % 7}") for number in range(200)]
    shared = commands[:20]

    def till(number: int) -> None:
        for command in [*commands[number::8], *shared]:
            both[number % 2].accept(command)

    with ThreadPoolExecutor(8) as tills:
        list(tills.map(till, range(8)))

    found = heads(both[0])
    assert sorted(one.request_id for one in found) == sorted(one.request_id for one in commands)
    assert both[1].status().waiting == 200


def test_a_cancelled_task_does_not_disturb_the_others(outbox: Outbox) -> None:
    commands = [sale() for _ in range(20)]

    async def run() -> list[Any]:
        tasks = [asyncio.create_task(outbox.accept_async(one)) for one in commands]
        await asyncio.sleep(0)
        tasks[7].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(run())

    assert [type(one).__name__ for one in results].count("Queued") >= 19
    assert outbox.status().waiting >= 19


def test_an_answer_moves_a_command_to_the_archive_with_the_receipt_of_its_batch(outbox: Outbox) -> None:
    first, second = sale("m-1"), sale("m-2")
    outbox.accept_all([first, second])

    settle(outbox, {first.request_id: ACCEPTED, second.request_id: Verdict(Fate.REFUSED, "MEMBER_FROZEN")})

    one, other = outbox.find(first.request_id), outbox.find(second.request_id)
    assert one is not None
    assert other is not None
    assert (one.state, one.entry_id, one.batch_index, one.receipt) == (State.ACCEPTED, "e-1", 0, RECEIPT)
    assert (other.state, other.reason, other.batch_index) == (State.REFUSED, "MEMBER_FROZEN", 1)
    assert outbox.status().final_last_minute == 2
    assert heads(outbox) == []


def test_the_next_command_of_a_member_is_the_oldest_that_waits(outbox: Outbox) -> None:
    first, other, second, third = sale("m-1"), sale("m-2"), sale("m-1"), sale("m-1")
    outbox.accept_all([first, other, second, third])

    (found,) = settle(outbox, {first.request_id: ACCEPTED})

    assert found.request_id == second.request_id


def test_one_asked_again_keeps_its_place_its_tries_and_its_last_error(outbox: Outbox) -> None:
    command = sale()
    outbox.accept(command)

    settle(outbox, {command.request_id: Verdict(Fate.AGAIN, "HUB_BUSY", untrusted_since=12.5)}, None)

    (found,) = heads(outbox)
    (trouble,) = outbox.status().troubles
    assert (found.attempts, found.untrusted_since) == (1, 12.5)
    assert (trouble.reason, trouble.commands) == ("HUB_BUSY", 1)


def test_a_dead_letter_lets_the_member_pass_but_not_what_follows_it(outbox: Outbox) -> None:
    dead, passing = sale(pending=True), sale()
    follower = confirmation(dead)
    further = CaptureBurnCommand(
        member_id="m-1",
        event_time=WHEN,
        store_id="s",
        terminal_id="t",
        reference="r",
        original_request_id=follower.request_id,
    )
    outbox.accept_all([dead, follower, further, passing])

    (next_one,) = settle(outbox, {dead.request_id: MALFORMED}, None)
    assert (next_one.request_id, next_one.is_behind) == (follower.request_id, True)
    settle(outbox, {follower.request_id: Verdict(Fate.DEAD, BEHIND_DEAD_LETTER)}, None)
    behind = {one.request_id: one.is_behind for one in heads(outbox)}

    assert behind == {further.request_id: True, passing.request_id: False}


def test_a_dead_letter_for_distrust_holds_its_whole_member_back_and_nobody_else(outbox: Outbox) -> None:
    dead, later, other = sale("m-1"), sale("m-1"), sale("m-2")
    outbox.accept_all([dead, later, other])

    settle(outbox, {dead.request_id: DISTRUSTED}, None)

    assert {one.request_id: one.is_behind for one in heads(outbox)} == {
        later.request_id: True,
        other.request_id: False,
    }


def test_resubmitting_one_puts_it_and_those_behind_it_back_in_their_order(outbox: Outbox) -> None:
    dead, other = sale("m-1", pending=True), sale("m-2")
    follower = confirmation(dead)
    outbox.accept_all([dead, other, follower])
    settle(outbox, {dead.request_id: MALFORMED, other.request_id: MALFORMED}, None)
    settle(outbox, {follower.request_id: Verdict(Fate.DEAD, BEHIND_DEAD_LETTER)}, None)

    count = outbox.resubmit(dead.request_id)

    assert count == 2
    assert [(one.request_id, one.is_behind, one.attempts) for one in heads(outbox)] == [
        (dead.request_id, False, 0),
        (follower.request_id, False, 0),
    ]
    assert [one.request_id for one in outbox.dead_letters()] == [other.request_id]
    assert outbox.resubmit() == 1
    assert outbox.status().dead == 0


def test_a_dropped_letter_stays_in_the_archive_with_the_reason_and_makes_room(outbox: Outbox) -> None:
    command = sale()
    outbox.accept(command)
    settle(outbox, {command.request_id: MALFORMED}, None)
    (letter,) = outbox.dead_letters()

    outbox.drop(command.request_id, "posted by hand")

    found = outbox.find(command.request_id)
    assert (letter.reason, letter.detail, letter.is_final) == ("INVALID_FIELD", "said", False)
    assert found is not None
    assert (found.state, found.reason) == (State.DROPPED, "posted by hand")
    assert (outbox.status().dead, outbox.status().stored_bytes) == (0, 0)
    assert outbox.accept(command).state is State.DROPPED


def test_only_dead_letters_can_be_resubmitted_or_dropped(outbox: Outbox) -> None:
    command = sale()
    outbox.accept(command)

    for name in (command.request_id, "no-such"):
        with pytest.raises(CommandUnknown, match=name):
            outbox.drop(name, "why not")
        with pytest.raises(CommandUnknown, match=name):
            outbox.resubmit(name)

    assert outbox.status().waiting == 1


def test_a_noted_refusal_is_shown_with_the_dead_letters_until_it_is_dropped(outbox: Outbox) -> None:
    command = sale()
    outbox.accept(command)
    settle(outbox, {command.request_id: FINAL_REFUSAL})

    (letter,) = outbox.dead_letters()
    with pytest.raises(CommandUnknown, match="for ever"):
        outbox.resubmit(command.request_id)
    assert outbox.prune(-1) == (0, 0)
    outbox.drop(command.request_id, "told the customer")

    assert (letter.is_final, letter.reason) == (True, "EVENT_TOO_OLD")
    assert outbox.dead_letters() == []
    found = outbox.find(command.request_id)
    assert found is not None
    assert (found.state, found.receipt) == (State.REFUSED, RECEIPT)


def test_the_archive_forgets_what_is_older_than_its_retention_and_nothing_that_waits(outbox: Outbox) -> None:
    answered, waiting = sale("m-1"), sale("m-2")
    outbox.accept_all([answered, waiting])
    settle(outbox, {answered.request_id: ACCEPTED})

    kept = outbox.prune(1)
    forgotten = outbox.prune(-1)  # a day ahead: all of it is older

    assert (kept, forgotten) == ((0, 0), (1, 1))
    assert outbox.find(answered.request_id) is None
    assert [one.request_id for one in heads(outbox)] == [waiting.request_id]


def test_one_process_at_a_time_drains_an_outbox_and_only_for_its_own_partner_and_hub(
    open_outbox: Open,
) -> None:
    first, second = open_outbox(), open_outbox()

    def begin(outbox: Outbox, owner: str, hub: str) -> None:
        outbox.writer.do(lambda: outbox.store.begin_draining(owner, hub)).result()

    begin(first, "cafe", "hub/a")
    with pytest.raises(OutboxInUse, match="another process"):
        begin(second, "cafe", "hub/a")
    first.close()
    for owner, hub in (("books", "hub/a"), ("cafe", "hub/b")):
        with pytest.raises(OutboxInUse, match="this outbox is of"):
            begin(second, owner, hub)
    begin(second, "cafe", "hub/a")


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    Outbox.open(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)

    with pytest.raises(FileRefused, match="chmod 600"):
        Outbox.open(path)


def test_another_sqlite_file_and_a_missing_one_are_told_apart_from_an_outbox(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "mall.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE sales (id)")
    connection.close()
    path.chmod(0o600)

    with pytest.raises(FileRefused, match="not an outbox"):
        Outbox.open(path)
    with pytest.raises(FileRefused, match="no such outbox"):
        Outbox.open(tmp_path / "none.db", must_exist=True)


def test_closing_stores_what_was_handed_in_before(open_outbox: Open) -> None:
    outbox = open_outbox()
    futures = [outbox.hand_in([sale()]) for _ in range(50)]
    closer = threading.Thread(target=outbox.close)
    closer.start()
    closer.join()

    assert all(future.result(0)[0].state is State.WAITING for future in futures)
    assert open_outbox().status().waiting == 50


def test_a_lost_connection_is_made_again_and_only_its_drainer_loses_something_the_lock(
    postgres_url: str,
) -> None:
    command = sale()
    with Outbox.open(emptied(postgres_url)) as outbox, Outbox.open(postgres_url) as another:

        def check(who: Outbox) -> None:
            who.writer.do(who.store.check_draining).result()

        def begin(who: Outbox) -> None:
            who.writer.do(lambda: who.store.begin_draining("cafe", "hub/a")).result()

        begin(outbox)
        check(outbox)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid()"
            )

        assert outbox.accept(command).state is State.WAITING
        with pytest.raises(OutboxUnavailable, match="the lock of its drainer"):
            check(outbox)
        begin(another)
        with pytest.raises(OutboxInUse):
            begin(outbox)
        assert another.status().waiting == 1


def test_what_a_till_asks_for_waits_for_it_and_is_settled_by_whoever_has_the_answer_first(
    outbox: Outbox,
) -> None:
    command, other = sale(), sale("m-2")
    outbox.hand_in([command], asked_seconds=30.0).result()
    outbox.accept(other)
    (left_alone, _) = heads(outbox)
    asked = outbox.writer.do(lambda: outbox.asking.begin(command.request_id, now_ms())).result()
    assert asked is not None

    settle(outbox, {command.request_id: ACCEPTED})
    twice = Settled(
        asked.command.number, len(asked.command.message), 1, ACCEPTED, entry_id="e-2", decided_ms=7
    )
    outbox.writer.do(lambda: outbox.store.settle(RECEIPT, [twice], [], now_ms())).result()

    found, status = outbox.find(command.request_id), outbox.status()
    assert left_alone.asked_until > left_alone.due
    assert (asked.command.request_id, asked.follows_one) == (command.request_id, False)
    assert found is not None
    assert (found.entry_id, found.batch_index) == ("e-1", 0)
    assert (status.waiting, status.stored_bytes) == (1, len(prepare(other).body))
    assert outbox.writer.do(lambda: outbox.asking.begin(command.request_id, 0)).result() is None


def test_a_till_leaves_a_command_to_the_dispatcher_or_takes_it_back_or_has_it_forgotten(
    outbox: Outbox,
) -> None:
    first = sale(pending=True)
    follower = confirmation(first)
    outbox.accept_all([first, follower])
    until = now_ms() + 30_000
    asking = outbox.asking

    asked = outbox.writer.do(lambda: asking.begin(follower.request_id, until)).result()
    assert asked is not None
    (taken,) = (one for one in heads(outbox) if one.request_id == follower.request_id)
    outbox.writer.do(lambda: asking.give_up(taken.number)).result()
    (given_up,) = outbox.writer.do(lambda: outbox.store.those([taken.number])).result()
    outbox.writer.do(lambda: asking.forget(taken.number, len(taken.message))).result()
    outbox.writer.do(lambda: asking.forget(taken.number, len(taken.message))).result()

    assert asked.follows_one
    assert (taken.asked_until, given_up.asked_until) == (until / 1000, 0.0)
    assert outbox.find(follower.request_id) is None
    assert (outbox.status().waiting, outbox.status().stored_bytes) == (1, len(prepare(first).body))


def test_a_database_without_an_outbox_is_refused_and_its_connection_closed(postgres_url: str) -> None:
    url = emptied(postgres_url)

    with psycopg.connect(url, autocommit=True) as connection:
        with pytest.raises(FileRefused, match="no outbox"):
            Outbox.open(url, must_exist=True)

        eventually(lambda: is_alone(connection))


def test_the_history_of_a_time_is_read_in_pages_with_receipts_and_what_has_no_answer_beside_it(
    outbox: Outbox,
) -> None:
    commands = [sale(f"m-{number}") for number in range(4)]
    follower = replace(confirmation(commands[0]), member_id="m-5")
    outbox.accept_all([*commands, follower])
    found = {one.request_id: one for one in heads(outbox)}
    settled = [
        Settled(
            found[one.request_id].number,
            1,
            1,
            ACCEPTED,
            entry_id="e-1",
            batch_index=at,
            decided_ms=10 + at // 2,
        )
        for at, one in enumerate([*commands[:3], follower])
    ]
    outbox.writer.do(lambda: outbox.store.settle(RECEIPT, settled, [], now_ms())).result()
    history = outbox.history

    first, place = outbox.writer.do(lambda: history.decided(10, 12, BEGINNING, 2)).result()
    assert place is not None
    second, end = outbox.writer.do(lambda: history.decided(10, 12, place, 3)).result()
    (unanswered,) = outbox.writer.do(lambda: history.unanswered(0, 9)).result()
    confirmed = outbox.writer.do(lambda: history.follower(commands[0].request_id, "confirm_earn")).result()
    outbox.writer.do(lambda: history.keep_fact("ledger", "old")).result()
    outbox.writer.do(lambda: history.keep_fact("ledger", "new")).result()

    assert [one.request_id for one in (*first, *second)] == [
        *(one.request_id for one in commands[:2]),
        *sorted([commands[2].request_id, follower.request_id]),
    ]
    assert end is None
    assert {one.receipt for one in (*first, *second)} == {RECEIPT}
    assert outbox.writer.do(lambda: history.decided(0, 10, BEGINNING, 3)).result() == ([], None)
    assert (unanswered.request_id, unanswered.message) == (commands[3].request_id, prepare(commands[3]).body)
    assert confirmed is not None
    assert (confirmed.request_id, confirmed.batch_index) == (follower.request_id, 3)
    assert outbox.writer.do(lambda: history.follower(follower.request_id, "confirm_earn")).result() is None
    assert outbox.writer.do(lambda: history.fact("ledger")).result() == "new"
