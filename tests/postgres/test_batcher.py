"""The batcher on a real database: answers in order, one evidence row a call, the chain, and what happens in trouble."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from fractions import Fraction
from functools import partial
from typing import Any, Final

import psycopg
import pytest

from exchange.batch import SMALL, Answer
from exchange.batcher import MAX_DEFECTS, MAX_QUEUE, Batcher, QueueFull
from exchange.core.book import Book
from exchange.core.commands import Authority, Command, Wake
from exchange.core.decide.burn import FIRST_LOTS
from exchange.core.decisions import Accepted, Decision
from exchange.core.planner import plan
from exchange.gathering import SIBLINGS
from exchange.rpc.answers import encode
from exchange.store.engine import SESSION, open_connection
from exchange.store.failures import StoreUnavailable
from exchange.store.load import load_book
from exchange.store.pipeline import HubConnection
from exchange.store.readings import LOT_COLUMNS, add_lots
from exchange.store.reads import read_cards
from tests.builders import NOON, TERMS, burn, earn
from tests.postgres.ledger_at_work import Office, begin_anew, days_on, new_card
from tests.postgres.shop import Shop, at_work, call, defect, entry_id, new_batcher, open_shop, posting, reason
from tests.waiting import WAIT_SECONDS, lock_waits
from tongdui.exchange.v1 import commands_pb2

MANY: Final = 2_600

MOST_OF_THEM: Final = SIBLINGS * 3 // 4
"""The calls that the batch after a crowd of `SIBLINGS` waits for."""


@pytest.fixture
def shop(office: Office) -> Shop:
    return open_shop(office, 4)


@pytest.fixture
def crowd(office: Office) -> Shop:
    """As many members as a few batches of 1,000 commands need."""
    shop = open_shop(office, 0)
    crowd = list(range(1_000, 1_000 + MANY))
    with psycopg.connect(office.url) as connection, connection.cursor() as cursor:
        for statement in (
            "INSERT INTO exchange.wallets (member_id) SELECT unnest(%s::bigint[])",
            "INSERT INTO exchange.links (member_id, partner_id, per_burn_limit_points, per_day_limit_points)"
            f" SELECT unnest(%s::bigint[]), {shop.a.partner_id}, 1000, 1000",
        ):
            cursor.execute(statement.encode(), (crowd,))
    return Shop(office, shop.a, shop.b, crowd)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub whose batches wait as long as the test holds a lock, and none of them starts over meanwhile."""
    monkeypatch.setitem(SESSION, "lock_timeout", "0")


# --- answers


def test_calls_that_share_members_get_their_answers_in_their_own_order(shop: Shop) -> None:
    orders: list[list[Command]] = []
    for caller in range(20):
        commands: list[Command] = []
        for number in range(15):
            name, member_id = f"{caller}-{number}", shop.members[(caller + number) % 4]
            commands.append(earn(f"e-{name}", points=caller * 100 + number + 1, member_id=member_id))
            commands.append(burn(f"b-{name}", points=number + 1, member_id=member_id))
        orders.append(commands)

    async def all_at_once(batcher: Batcher) -> list[list[Answer]]:
        return await asyncio.gather(*(batcher.submit(commands, call(shop)) for commands in orders))

    answers = posting(shop, all_at_once)

    for caller, theirs in enumerate(answers):
        assert [answer.kind for answer in theirs] == ["earn", "burn"] * 15
        points = [commands_pb2.EarnResponse.FromString(answer.body).points for answer in theirs[::2]]
        assert points == [caller * 100 + number + 1 for number in range(15)]
    posted = shop.office.rows("SELECT kind, count(*), sum(points) FROM exchange.entries GROUP BY kind")
    assert sorted(posted) == [("burn", 300, 20 * 120), ("earn", 300, 15 * 100 * 190 + 20 * 120)]
    assert len({entry_id(answer) for theirs in answers for answer in theirs}) == 600


def test_a_call_of_one_member_is_decided_in_its_order_though_others_crowd_in(shop: Shop) -> None:
    member_id = shop.members[0]
    steps: list[Command] = [earn("e-1", points=10, member_id=member_id)]
    steps += [burn(f"b-{number}", points=3, member_id=member_id) for number in range(4)]

    async def among_others(batcher: Batcher) -> list[Answer]:
        others = [
            batcher.submit([earn(f"o-{number}", member_id=shop.members[1 + number % 3])], None)
            for number in range(30)
        ]
        mine, *_ = await asyncio.gather(batcher.submit(steps, None), *others)
        return mine

    answers = posting(shop, among_others)

    assert [reason(answer) for answer in answers] == ["", "", "", "", "INSUFFICIENT_POINTS"]


def test_a_lone_command_is_one_batch_and_waits_for_no_timer(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathering_for(monkeypatch, 3_600.0)

    async def alone(batcher: Batcher) -> None:
        for number in range(20):
            lone = batcher.submit([earn(f"e-{number}", member_id=shop.members[0])], None)
            await asyncio.wait_for(lone, WAIT_SECONDS)

    posting(shop, alone)

    assert shop.office.rows("SELECT max(sequence), max(entry_count) FROM exchange.batches") == [(20, 1)]


def gathering_for(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr("exchange.gathering.GATHER_SECONDS", seconds)


def call_together(batcher: Batcher, shop: Shop, name: str, count: int) -> asyncio.Future[list[list[Answer]]]:
    return asyncio.gather(
        *(
            batcher.submit([earn(f"{name}-{number}", member_id=shop.members[number % 4])], None)
            for number in range(count)
        )
    )


def batch_sizes(shop: Shop) -> list[int]:
    sizes = shop.office.rows(
        "SELECT entry_count FROM exchange.batches WHERE entry_count > 0 ORDER BY sequence"
    )
    return [size for (size,) in sizes]


def test_calls_that_come_again_after_a_crowded_batch_share_the_next_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathering_for(monkeypatch, 3_600.0)

    async def crowd_twice(batcher: Batcher) -> None:
        await call_together(batcher, shop, "crowd", SIBLINGS)
        first = asyncio.create_task(batcher.submit([earn("e-1", member_id=shop.members[0])], None))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(batcher.submit([earn("e-2", member_id=shop.members[1])], None))
        await asyncio.sleep(0)
        await asyncio.wait_for(batcher.stop(), WAIT_SECONDS)
        await asyncio.gather(first, second)

    posting(shop, crowd_twice)

    assert batch_sizes(shop) == [SIBLINGS, 2]


def test_after_fewer_calls_than_a_crowd_the_next_waits_for_no_timer(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathering_for(monkeypatch, 3_600.0)

    async def few(batcher: Batcher) -> None:
        for number in range(5):
            await asyncio.wait_for(call_together(batcher, shop, f"few-{number}", SIBLINGS - 1), WAIT_SECONDS)

    posting(shop, few)

    assert batch_sizes(shop) == [SIBLINGS - 1] * 5


def test_a_batch_stops_gathering_as_soon_as_enough_wait(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    gathering_for(monkeypatch, 3_600.0)

    async def crowd_on_crowd(batcher: Batcher) -> None:
        await call_together(batcher, shop, "crowd", SIBLINGS)
        waits = asyncio.create_task(batcher.submit([earn("waits", member_id=shop.members[0])], None))
        await asyncio.sleep(0.1)
        assert not waits.done()
        await asyncio.wait_for(
            asyncio.gather(waits, call_together(batcher, shop, "more", MOST_OF_THEM - 1)), WAIT_SECONDS
        )

    posting(shop, crowd_on_crowd)

    assert batch_sizes(shop) == [SIBLINGS, MOST_OF_THEM]


def test_a_batcher_that_stops_does_not_wait_for_what_gathers(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathering_for(monkeypatch, 3_600.0)

    async def stop_while_gathering() -> Answer:
        batcher = new_batcher(shop.url)
        async with at_work(batcher):
            await call_together(batcher, shop, "crowd", SIBLINGS)
            waits = asyncio.create_task(batcher.submit([earn("waits", member_id=shop.members[0])], None))
            await asyncio.sleep(0)
            await asyncio.wait_for(batcher.stop(), WAIT_SECONDS)
            return (await waits)[0]

    assert asyncio.run(stop_while_gathering()).accepted


# --- a call in parts


def locks_held(shop: Shop) -> int:
    """Connections that wait for a lock; only the database's owner is told."""
    with psycopg.connect(shop.url) as owner:
        return lock_waits(owner)


def are_held(shop: Shop, locks: int) -> bool:
    return locks_held(shop) == locks


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 - a database wakes nobody who waits for it
            await asyncio.sleep(0.005)


@pytest.mark.usefixtures("patient")
def test_a_call_decided_in_parts_keeps_one_evidence_row_and_its_answers(crowd: Shop) -> None:
    busy, free = crowd.members[0], crowd.members[1]
    first: list[Command] = [earn("first", member_id=busy)]
    # Enough to start a second batch beside the one that the lock keeps running, with one member of that one.
    mixed: list[Command] = [earn(f"m-{it}", member_id=it) for it in crowd.members[1:301]]
    mixed[7] = earn("m-busy", member_id=busy)
    mixed[8] = burn("m-again", points=5, member_id=busy, partner_id=crowd.a.partner_id)

    async def in_parts(batcher: Batcher) -> list[Answer]:
        with psycopg.connect(crowd.url) as holding:
            holding.execute("SELECT FROM exchange.wallets WHERE member_id = %s FOR UPDATE", (busy,))
            one = asyncio.create_task(batcher.submit(first, call(crowd, "first")))
            await until(lambda: locks_held(crowd) == 1)
            two = asyncio.create_task(batcher.submit(mixed, call(crowd, "mixed")))
            await until(lambda: bool(posted_by(crowd, f"m-{free}")))
            assert not two.done()
            holding.rollback()
            await one
            return await two

    answers = posting(crowd, in_parts)

    assert [reason(answer) for answer in answers] == [""] * 300
    assert (answers[7].kind, answers[8].kind) == ("earn", "burn")
    bodies = crowd.office.rows(
        "SELECT convert_from(body, 'UTF8'), count(*) FROM exchange.calls"
        " WHERE path = '/test' AND key_id = 'a.key' AND body IN ('first', 'mixed') GROUP BY 1 ORDER BY 1"
    )
    assert bodies == [("first", 1), ("mixed", 1)]
    found = crowd.office.rows(
        "SELECT count(DISTINCT batch_id), count(DISTINCT call_id) FROM exchange.requests"
        " WHERE request_id LIKE 'm-%'"
    )
    assert found == [(2, 1)]  # decided by two batches, and both point at the one call


@pytest.mark.usefixtures("patient")
def test_commands_of_one_call_that_share_a_reference_or_an_id_keep_their_order_across_parts(
    crowd: Shop,
) -> None:
    busy, free, other = crowd.members[0], crowd.members[1], crowd.members[2]
    first: list[Command] = [earn("first", member_id=busy)]
    mixed: list[Command] = [earn(f"m-{it}", member_id=it) for it in crowd.members[3:303]]
    # The member of the earlier command is busy, that of the later one free: the later must not overtake.
    mixed[5] = earn("r-1", member_id=busy, reference="order-1")
    mixed[6] = earn("r-2", member_id=free, reference="order-1")
    mixed[7] = earn("twice", member_id=busy)
    mixed[8] = earn("twice", member_id=other)

    async def in_parts(batcher: Batcher) -> list[Answer]:
        with psycopg.connect(crowd.url) as holding:
            holding.execute("SELECT FROM exchange.wallets WHERE member_id = %s FOR UPDATE", (busy,))
            one = asyncio.create_task(batcher.submit(first, call(crowd, "first")))
            await until(lambda: locks_held(crowd) == 1)
            two = asyncio.create_task(batcher.submit(mixed, call(crowd, "mixed")))
            await until(lambda: bool(posted_by(crowd, f"m-{crowd.members[3]}")))
            holding.rollback()
            await one
            return await two

    answers = posting(crowd, in_parts)

    assert [reason(answer) for answer in answers[5:9]] == [
        "",
        "DUPLICATE_REFERENCE",
        "",
        "REQUEST_ID_REUSED",
    ]


def posted_by(shop: Shop, request_id: str) -> list[tuple[Any, ...]]:
    return shop.office.rows("SELECT batch_id FROM exchange.entries WHERE request_id = :it", it=request_id)


def test_a_call_without_any_new_decision_leaves_no_evidence(shop: Shop) -> None:
    once: list[Command] = [earn("e-1", member_id=shop.members[0])]
    late = earn("e-2", member_id=shop.members[0], event_time=NOON + timedelta(days=1))

    async def twice(batcher: Batcher) -> list[Answer]:
        (first,) = await batcher.submit(once, call(shop, "first"))
        (again,) = await batcher.submit(once, call(shop, "again"))
        (rejected,) = await batcher.submit([late], call(shop, "rejected"))
        return [first, again, rejected]

    first, again, rejected = posting(shop, twice)

    assert (again.body, again.replayed, first.replayed) == (first.body, True, False)
    assert reason(rejected) == "EVENT_IN_FUTURE"
    kept = shop.office.rows("SELECT body FROM exchange.calls WHERE body IN ('first', 'again', 'rejected')")
    assert [bytes(body) for (body,) in kept] == [b"first"]
    assert shop.office.rows("SELECT count(*) FROM exchange.batches") == [(1,)]


# --- cards


def test_a_card_approved_between_two_batches_prices_the_second_at_once_in_every_batcher(shop: Shop) -> None:
    new = new_card("a", valid_from=NOON + timedelta(seconds=1), earn_rate=Fraction(3), issue_fee_micros=100)

    async def around_an_approval() -> list[Answer]:
        here, there = new_batcher(shop.url), new_batcher(shop.url)
        async with at_work(here, there):
            for number, batcher in enumerate((here, there)):
                await batcher.submit([earn(f"warm-{number}", member_id=shop.members[0])], None)
            shop.office.approve_card(shop.office.propose(new))
            shop.office.set_time(NOON + timedelta(seconds=10))
            later = NOON + timedelta(seconds=5)
            commands = [
                earn(f"e-{number}", spend_minor=1_000, member_id=shop.members[0], event_time=later)
                for number in range(2)
            ]
            answers = [
                await batcher.submit([command], None)
                for batcher, command in zip((here, there), commands, strict=True)
            ]
            return [answer for (answer,) in answers]

    answers = [commands_pb2.EarnResponse.FromString(it.body) for it in asyncio.run(around_an_approval())]

    assert [(answer.rate_version, answer.points) for answer in answers] == [(2, 30), (2, 30)]


# --- races


def test_a_request_id_raced_by_two_batchers_is_decided_once(shop: Shop) -> None:
    async def race() -> tuple[list[Answer], list[Answer]]:
        here, there = new_batcher(shop.url), new_batcher(shop.url)
        async with at_work(here, there):
            same: list[Answer] = []
            other: list[Answer] = []
            for number in range(25):
                command = earn(f"same-{number}", member_id=shop.members[0])
                pair = await asyncio.gather(here.submit([command], None), there.submit([command], None))
                same += [answer for (answer,) in pair]
                # Of two members, so that no wallet's lock brings the two into an order.
                rivals = [earn(f"other-{number}", member_id=member_id) for member_id in shop.members[1:3]]
                answers = await asyncio.gather(
                    *(it.submit([rival], None) for it, rival in zip((here, there), rivals, strict=True))
                )
                other += [answer for (answer,) in answers]
            return same, other

    same, other = asyncio.run(race())

    for first, second in zip(same[::2], same[1::2], strict=True):
        assert first.body == second.body
    pairs = zip(other[::2], other[1::2], strict=True)
    assert {tuple(sorted(map(reason, pair))) for pair in pairs} == {("", "REQUEST_ID_REUSED")}
    assert shop.office.rows("SELECT count(*), count(DISTINCT request_id) FROM exchange.entries") == [(50, 50)]


def test_a_reference_raced_by_two_batchers_is_earned_once(shop: Shop) -> None:
    async def race() -> list[Answer]:
        here, there = new_batcher(shop.url), new_batcher(shop.url)
        async with at_work(here, there):
            found: list[Answer] = []
            for number in range(25):
                answers = await asyncio.gather(
                    *(
                        batcher.submit(
                            [earn(f"e-{number}-{who}", member_id=shop.members[who], reference=f"r-{number}")],
                            None,
                        )
                        for who, batcher in enumerate((here, there))
                    )
                )
                found += [answer for (answer,) in answers]
            return found

    answers = asyncio.run(race())

    assert Counter(map(reason, answers)) == {"": 25, "DUPLICATE_REFERENCE": 25}
    assert shop.office.rows("SELECT count(*) FROM exchange.entries") == [(25,)]


def test_two_batchers_that_spend_the_same_wallets_in_any_order_never_spend_a_point_twice(shop: Shop) -> None:
    chance = random.Random(3)

    async def spend() -> list[Answer]:
        here, there = new_batcher(shop.url), new_batcher(shop.url)
        async with at_work(here, there):
            await here.submit([earn(f"e-{it}", points=100, member_id=it) for it in shop.members], None)
            calls = []
            for number in range(40):
                members = chance.sample(shop.members, 4)
                commands = [burn(f"b-{number}-{it}", points=7, member_id=it) for it in members]
                calls.append((here, there)[number % 2].submit(commands, None))
            return [answer for answers in await asyncio.gather(*calls) for answer in answers]

    answers = asyncio.run(spend())

    assert Counter(map(reason, answers)) == {"": 4 * (100 // 7), "INSUFFICIENT_POINTS": 160 - 4 * (100 // 7)}
    assert shop.office.rows("SELECT DISTINCT open_points FROM exchange.wallets") == [(100 % 7,)]


def test_a_till_first_seen_by_two_batchers_counts_the_wrong_pay_codes_of_both(shop: Shop) -> None:
    """Its row is there for neither to lock: the second to make it starts over, and counts on."""
    wrong = Authority(pay_code=bytes(32))

    async def race() -> list[Answer]:
        here, there = new_batcher(shop.url), new_batcher(shop.url)
        async with at_work(here, there):
            found: list[Answer] = []
            for number in range(25):
                tries = [
                    replace(
                        burn(f"b-{number}-{who}", member_id=shop.members[who]),
                        authority=wrong,
                        terminal_id=f"till-{number}",
                    )
                    for who in range(2)
                ]
                answers = await asyncio.gather(here.submit(tries[:1], None), there.submit(tries[1:], None))
                found += [answer for (answer,) in answers]
            return found

    answers = asyncio.run(race())

    assert set(map(reason, answers)) == {"PAY_CODE_INVALID"}
    assert shop.office.rows("SELECT wrong_tries, count(*) FROM exchange.terminals GROUP BY 1") == [(2, 25)]


# --- trouble


def test_more_than_the_queue_holds_is_refused_and_nothing_is_decided(shop: Shop) -> None:
    async def overload(batcher: Batcher) -> None:
        wakes = [Wake(member_id) for member_id in range(MAX_QUEUE)]
        waiting = asyncio.create_task(batcher.submit(wakes, None))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await batcher.submit([earn("e-1", member_id=shop.members[0])], None)
        await waiting
        (answer,) = await batcher.submit([earn("e-1", member_id=shop.members[0])], None)
        assert answer.accepted

    posting(shop, overload)

    assert shop.office.rows("SELECT count(*) FROM exchange.entries") == [(1,)]


def test_a_batcher_that_stops_takes_nothing_new_and_finishes_what_waits(shop: Shop) -> None:
    async def stop_while_waiting() -> list[Answer]:
        batcher = new_batcher(shop.url)
        async with at_work(batcher):
            calls = [
                asyncio.create_task(batcher.submit([earn(f"e-{number}", member_id=shop.members[0])], None))
                for number in range(50)
            ]
            await until(lambda: bool(shop.office.rows("SELECT 1 FROM exchange.entries LIMIT 1")))
            await batcher.stop()
            with pytest.raises(QueueFull):
                await batcher.submit([earn("late", member_id=shop.members[0])], None)
            return [answer for answers in await asyncio.gather(*calls) for answer in answers]

    answers = asyncio.run(stop_while_waiting())

    assert len(answers) == 50
    assert shop.office.rows("SELECT count(*) FROM exchange.entries") == [(50,)]


def end_waiting_connections(shop: Shop, at_most: int = 100) -> None:
    """Ends those that wait for a lock, the oldest first, as the end of the server would."""
    with psycopg.connect(shop.url, autocommit=True) as owner:
        owner.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM (SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " ORDER BY xact_start LIMIT %s) AS waiting",
            (at_most,),
        )


@pytest.mark.usefixtures("patient")
def test_a_store_that_is_away_is_unavailable_and_the_next_call_finds_it_again(shop: Shop) -> None:
    command = earn("e-1", member_id=shop.members[0])

    async def through_an_outage(batcher: Batcher) -> list[Answer]:
        with psycopg.connect(shop.url) as holding:
            holding.execute("SELECT FROM exchange.wallets FOR UPDATE")
            call = asyncio.create_task(batcher.submit([command], None))
            await until(lambda: locks_held(shop) == 1)
            await asyncio.to_thread(end_waiting_connections, shop)
            with pytest.raises(StoreUnavailable):
                await call
        return await batcher.submit([command], None)

    (answer,) = posting(shop, through_an_outage)

    assert answer.accepted
    assert not answer.replayed
    assert shop.office.rows("SELECT count(*) FROM exchange.entries") == [(1,)]


def test_a_connection_that_ended_while_nobody_used_it_costs_no_answer(shop: Shop) -> None:
    async def through_a_restart(batcher: Batcher) -> list[Answer]:
        first = await batcher.submit([earn("e-1", member_id=shop.members[0])], None)
        with psycopg.connect(shop.url, autocommit=True) as owner:
            owner.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        return first + await batcher.submit([earn("e-2", member_id=shop.members[0])], None)

    answers = posting(shop, through_a_restart)

    assert [reason(answer) for answer in answers] == ["", ""]


def test_a_server_nobody_can_reach_is_unavailable() -> None:
    async def reach() -> None:
        batcher = new_batcher("postgresql://hub@127.0.0.1:1/none")
        async with at_work(batcher):
            with pytest.raises(StoreUnavailable):
                await batcher.submit([earn()], None)

    asyncio.run(reach())


@pytest.mark.usefixtures("patient")
def test_when_the_database_dies_every_call_of_every_running_batch_is_told(crowd: Shop) -> None:
    members = crowd.members
    # Decided in parts: 1,000 and then 1,000; the 20 that are left are too few for a batch beside that one until
    # the small call comes, and ten of them stay behind then too, because their member is busy.
    large: list[Command] = [earn(f"l-{it}", member_id=it) for it in members[:2_010]]
    large += [earn(f"w-{number}", member_id=members[1_000]) for number in range(10)]
    small: list[Command] = [earn(f"s-{it}", member_id=it) for it in members[2_010:2_210]]

    async def die(batcher: Batcher) -> list[list[Answer] | BaseException]:
        with psycopg.connect(crowd.url) as holding:
            holding.execute(
                "SELECT FROM exchange.wallets WHERE member_id = ANY(%s) FOR UPDATE", (members[1_000:],)
            )
            calls = []
            for number, commands in enumerate((large, small), start=1):
                calls.append(asyncio.create_task(batcher.submit(commands, call(crowd))))
                await until(partial(are_held, crowd, number))
            for one in calls:  # the batch that has only commands of the large call ends first
                await asyncio.to_thread(end_waiting_connections, crowd, at_most=1)
                async with asyncio.timeout(WAIT_SECONDS):
                    await asyncio.wait([one])
            return list(await asyncio.gather(*calls, return_exceptions=True))

    outcomes = posting(crowd, die)

    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 2
    assert crowd.office.rows("SELECT count(*) FROM exchange.entries") == [(1_000,)]


# --- loading by need


def lots_of(shop: Shop) -> list[tuple[Any, ...]]:
    return shop.office.rows(
        "SELECT member_id, issuer_id, rate_version, expiry_date, issued_points, open_points, burned_points,"
        " expired_points, spent FROM exchange.lots ORDER BY 1, 2, 3, 4"
    )


def test_a_defect_is_told_to_the_call_that_meets_it_and_the_rest_of_its_batch_is_decided(crowd: Shop) -> None:
    calls: list[list[Command]] = [
        [earn(f"{name}-{it}", member_id=member) for name in "ab"]
        for it, member in enumerate(crowd.members[:20])
    ]
    calls[13][1] = earn("defect", member_id=crowd.members[13], reference="broken")
    calls[14] = [earn("after", member_id=crowd.members[13])]

    async def together(batcher: Batcher) -> list[list[Answer] | BaseException]:
        named = [call(crowd, f"halves-{it}") for it in range(20)]
        waiting = [batcher.submit(*it) for it in zip(calls, named, strict=True)]
        return await asyncio.gather(*waiting, return_exceptions=True)

    with defect(crowd.url, "reference = 'broken'"):
        outcomes = posting(crowd, together)

    assert [type(it) for it in outcomes if isinstance(it, BaseException)] == [psycopg.errors.CheckViolation]
    assert isinstance(outcomes[13], psycopg.errors.CheckViolation)
    told = [[reason(answer) for answer in it] for it in outcomes if not isinstance(it, BaseException)]
    assert told == [[""] * len(it) for number, it in enumerate(calls) if number != 13]
    evidence = crowd.office.rows(
        "SELECT count(*), count(DISTINCT body) FROM exchange.calls WHERE convert_from(body, 'UTF8') LIKE 'halves-%'"
    )
    assert evidence == [(19, 19)]
    assert crowd.office.rows("SELECT count(*) FROM exchange.entries") == [(37,)]


@dataclass
class Counted:
    """A batcher's connections, and how often it decided a batch."""

    url: str
    connections: int = 0
    tries: int = 0

    def connect(self) -> HubConnection:
        self.connections += 1
        return open_connection(self.url)

    def encode(self, commands: Sequence[Command], decisions: Sequence[Decision], book: Book) -> list[Answer]:
        self.tries += 1
        return encode(commands, decisions, book)


def submit_defects(batcher: Batcher, shop: Shop, count: int) -> asyncio.Future[list[Any]]:
    calls = [
        earn(f"d-{it}", member_id=member, reference="broken")
        for it, member in enumerate(shop.members[1 : count + 1])
    ]
    return asyncio.gather(*(batcher.submit([it], None) for it in calls), return_exceptions=True)


def test_nobody_else_waits_while_defects_are_searched_for(crowd: Shop) -> None:
    searching, answered = threading.Event(), threading.Event()

    def held(commands: Sequence[Command], decisions: Sequence[Decision], book: Book) -> list[Answer]:
        if SMALL < len(commands) < 1_000:  # a half of the batch, in a thread of the batcher's
            searching.set()
            answered.wait(WAIT_SECONDS)
        return encode(commands, decisions, book)

    async def beside_a_search() -> bool:
        batcher = Batcher(lambda: open_connection(crowd.url), TERMS, held, lambda _: None)
        async with at_work(batcher):
            search = submit_defects(batcher, crowd, 1_000)
            await until(searching.is_set)
            await batcher.submit([earn("lone", member_id=crowd.members[0])], None)
            is_over = search.done()
            answered.set()
            await search
            return is_over

    with defect(crowd.url, "reference = 'broken'"):
        is_over = asyncio.run(beside_a_search())

    assert not is_over


def test_a_batch_full_of_defects_ends_after_some_tries_on_the_connection_that_it_has(crowd: Shop) -> None:
    counted = Counted(crowd.url)

    async def fail() -> list[Any]:
        batcher = Batcher(counted.connect, TERMS, counted.encode, lambda _: None, 1)
        async with at_work(batcher):
            return await submit_defects(batcher, crowd, 1_000)

    with defect(crowd.url, "reference = 'broken'"):
        outcomes = asyncio.run(fail())

    assert {type(it) for it in outcomes} == {psycopg.errors.CheckViolation}
    assert counted.connections == 1
    assert MAX_DEFECTS < counted.tries < 4 * MAX_DEFECTS


def test_a_burn_takes_as_many_lots_as_it_needs_in_consumption_order(shop: Shop) -> None:
    member_id, last = shop.members[0], date(2026, 1, 31)
    shop.office.post(
        *(
            earn(f"e-{number}", points=10, member_id=member_id, expiry_date=last - timedelta(days=number))
            for number in range(9)
        )
    )

    (answer,) = shop.office.post(burn("b-1", points=75, member_id=member_id))

    assert answer.accepted
    legs = shop.office.rows(
        "SELECT lot_sequence, legs.points FROM exchange.legs JOIN exchange.entries USING (batch_id, entry_index)"
        " WHERE kind = 'burn' ORDER BY leg_number"
    )
    assert legs == [(9, 10), (8, 10), (7, 10), (6, 10), (5, 10), (4, 10), (3, 10), (2, 5)]


def test_random_wallets_of_many_lots_end_the_same_in_single_batches_as_in_one(office: Office) -> None:
    histories = []
    for big in (True, False):
        shop = open_shop(office, 3)
        chance = random.Random(42)
        commands: list[Command] = []
        for number in range(240):
            member_id = chance.choice(range(3))
            if chance.random() < 0.6:
                commands.append(
                    earn(
                        f"e-{number}",
                        points=chance.randint(1, 9),
                        partner_id=chance.choice([shop.a, shop.b]).partner_id,
                        member_id=shop.members[member_id],
                        expiry_date=date(2026, 1, chance.randint(1, 31)),
                    )
                )
            else:
                commands.append(
                    burn(
                        f"b-{number}",
                        points=chance.randint(1, 60),
                        partner_id=shop.b.partner_id,
                        member_id=shop.members[member_id],
                    )
                )
        sizes = [240] if big else [1] * 240
        answers = posting(shop, partial(one_by_one, parts=cut(commands, sizes)))
        places = {member_id: place for place, member_id in enumerate(shop.members)}
        lots = sorted((places[lot[0]], *lot[1:]) for lot in lots_of(shop))
        histories.append(([(reason(answer), points_of(answer)) for answer in answers], lots))
        begin_anew(office.url)

    assert histories[0] == histories[1]
    reasons = Counter(it[0] for it in histories[0][0])
    assert reasons[""] > 100
    assert reasons["INSUFFICIENT_POINTS"] > 5
    assert len(histories[0][1]) > 60


def fill(shop: Shop, chance: random.Random) -> None:
    """Gives every member up to 30 lots of both partners, some spent, some past their day."""
    lots, wallets = [], []
    for member_id in shop.members:
        keys = [(issuer, day) for issuer in (shop.a.partner_id, shop.b.partner_id) for day in range(-10, 30)]
        chosen = chance.sample(keys, chance.randint(0, 30))
        points = [chance.choice([0, 1, 5, 20]) for _ in chosen]
        for sequence, ((issuer, day), opened) in enumerate(zip(chosen, points, strict=True), start=1):
            expiry = (days_on(day)).date()
            lots.append((member_id, sequence, issuer, expiry, opened == 0, 20, opened, 20 - opened))
        usable = [days_on(day).date() for (_, day), opened in zip(chosen, points, strict=True) if opened]
        wallets.append((sum(points), len(chosen), min(usable, default=date.max), member_id))
    with psycopg.connect(shop.url) as owner, owner.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO exchange.lots (member_id, lot_sequence, issuer_id, rate_version, expiry_date, spent,"
            " funding_micros, prefunded_micros, issued_points, open_points, burned_points)"
            " VALUES (%s, %s, %s, 1, %s, %s, 10000, 10000, %s, %s, %s)",
            lots,
        )
        cursor.executemany(
            "UPDATE exchange.wallets SET open_points = %s, lot_sequence = %s, next_expiry_date = %s"
            " WHERE member_id = %s",
            wallets,
        )


def test_lots_loaded_by_need_decide_as_all_lots_would(office: Office) -> None:
    shop, chance = open_shop(office, 80), random.Random(17)
    fill(shop, chance)
    commands: list[Command] = []
    for number, member_id in enumerate(shop.members * 3):
        expiry = days_on(chance.randint(-3, 29)).date()
        commands.append(
            burn(f"b-{number}", points=chance.choice([1, 7, 40, 200]), member_id=member_id)
            if chance.random() < 0.7
            else earn(f"e-{number}", points=chance.randint(1, 30), member_id=member_id, expiry_date=expiry)
        )
    chance.shuffle(commands)

    with open_connection(shop.url) as connection:
        _, cards = read_cards(connection)
        by_need, complete = (connection.drive(load_book(commands, cards, TERMS)).book for _ in range(2))
        every = b"SELECT " + LOT_COLUMNS + b" FROM exchange.lots"
        add_lots(complete, connection.execute(every, binary=True).fetchall())
        connection.rollback()
    loaded = [sum(len(wallet.lots) for wallet in it.wallets.values()) for it in (by_need, complete)]
    decisions = [[strip(decision) for decision in plan(commands, it)] for it in (by_need, complete)]

    assert loaded[0] < loaded[1]
    assert by_need.entries == complete.entries
    assert decisions[0] == decisions[1]
    kinds = Counter(entry.command.kind for entry in by_need.entries)
    assert min(kinds["earn"], kinds["burn"], kinds["expire"]) > 20
    assert max(len(entry.legs) for entry in by_need.entries) > FIRST_LOTS
    totals = [{it.member_id: it.open_points for it in book.wallets.values()} for book in (by_need, complete)]
    assert totals[0] == totals[1]


def strip(decision: Decision) -> object:
    """What a decision says, without where it stands."""
    return decision._replace(entry_index=0) if isinstance(decision, Accepted) else decision


def cut(commands: Sequence[Command], sizes: Sequence[int]) -> list[Sequence[Command]]:
    places = [sum(sizes[:number]) for number in range(len(sizes))]
    return [commands[place : place + size] for place, size in zip(places, sizes, strict=True)]


async def one_by_one(batcher: Batcher, *, parts: Sequence[Sequence[Command]]) -> list[Answer]:
    return [answer for part in parts for answer in await batcher.submit(part, None)]


def points_of(answer: Answer) -> tuple[int, int]:
    if not answer.accepted:
        return (0, 0)
    made = commands_pb2.BurnResponse.FromString(
        answer.body
    )  # points and available are fields 2 and 3 of both
    return (made.points, made.available_points)
