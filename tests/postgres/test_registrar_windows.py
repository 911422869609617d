"""The ledger clock and the windows in the registrar."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from hashlib import sha256

import pytest

from exchange.core.commands import Earn
from exchange.registrar import RegistrarRefusal
from exchange.store.reads.pages import Window
from tests.builders import NOON, earn
from tests.postgres.ledger_at_work import (
    CHEN,
    WIDE,
    Office,
    begin_anew,
    days_on,
    new_card,
    new_ledger,
    open_batcher,
    open_office,
)
from tests.waiting import WAIT_SECONDS

FIRST = date(2026, 1, 1)
DAY = timedelta(days=1)
NO_HASH = bytes(32)


@pytest.fixture
def system_office(ledger_url: str) -> Iterator[Office]:
    """A ledger whose clock follows the system."""
    begin_anew(ledger_url, new_ledger(manual_time=None))
    made = open_office(ledger_url)
    yield made
    made.engine.dispose()


def member_with_card(office: Office) -> tuple[int, int]:
    """A partner that can post, and its member."""
    cafe = office.partner("cafe")
    office.approve_card(office.propose(new_card("cafe")))
    return cafe.partner_id, office.enroll(cafe, "c-1", WIDE)


def an_earn(office: Office, partner_id: int, member_id: int, day: float = 0) -> Earn:
    request_id = office.asked().request_id
    return earn(request_id, partner_id=partner_id, member_id=member_id, event_time=days_on(day))


def test_the_clock_moves_forward_and_may_be_set_to_where_it_stands(office: Office) -> None:
    office.set_time(days_on(1))
    office.set_time(days_on(1))

    with pytest.raises(RegistrarRefusal, match="CLOCK_BACKWARDS") as refused:
        office.set_time(days_on(0.5))

    assert refused.value.metadata == {"ledger_time": days_on(1).isoformat()}
    assert office.rows("SELECT manual_time FROM exchange.ledger") == [(days_on(1),)]


def test_a_clock_that_follows_the_system_is_not_set(system_office: Office) -> None:
    with pytest.raises(RegistrarRefusal, match="CLOCK_NOT_MANUAL"):
        system_office.set_time(days_on(10_000))


def test_a_move_of_the_clock_is_answered_once(office: Office) -> None:
    registrar, write = office.registrar, office.write(CHEN, "r-1")
    assert registrar.move_clock(write, days_on(1)) is None
    assert registrar.move_clock(write, days_on(1)) is None  # the hub died before it could answer

    recorded = registrar.record_clock_move(write, b"7 woken")
    late = registrar.record_clock_move(write, b"0 woken")  # a repeat that swept beside the first
    office.set_time(days_on(2))
    again = registrar.move_clock(write, days_on(1))

    assert recorded == (b"7 woken", False)
    assert late == again == (b"7 woken", True)
    assert office.rows("SELECT manual_time FROM exchange.ledger") == [(days_on(2),)]


def test_a_window_is_open_until_its_cut_off(office: Office) -> None:
    with pytest.raises(RegistrarRefusal, match="WINDOW_STILL_OPEN"):
        office.close(FIRST)
    midnight = NOON + timedelta(hours=12)
    office.set_time(midnight)

    window = office.close(FIRST)

    assert window == Window(FIRST, 1, 0, NO_HASH, 0, midnight)


def test_windows_close_in_order_empty_ones_too(office: Office) -> None:
    office.set_time(days_on(5))

    with pytest.raises(RegistrarRefusal, match="WINDOW_OUT_OF_ORDER") as skipped:
        office.close(FIRST + DAY)
    with pytest.raises(RegistrarRefusal, match="WINDOW_OUT_OF_ORDER"):
        office.close(FIRST - DAY)
    closed = [office.close(FIRST + index * DAY) for index in range(3)]

    assert skipped.value.metadata == {"next_window_date": "2026-01-01"}
    assert [(it.first_sequence, it.last_sequence, it.entry_count) for it in closed] == [(1, 0, 0)] * 3


def test_a_closed_window_is_given_again_as_it_was(office: Office) -> None:
    office.set_time(days_on(1))
    closed = office.close(FIRST)
    office.set_time(days_on(2))

    again = office.close(FIRST)

    assert again == closed
    assert again.close_time == days_on(1)


def test_windows_cut_the_chain_into_days(office: Office) -> None:
    partner, member = member_with_card(office)
    office.post(an_earn(office, partner, member), an_earn(office, partner, member))
    office.post(an_earn(office, partner, member))
    office.set_time(days_on(2))
    office.post(an_earn(office, partner, member, 2))
    office.set_time(days_on(3))

    windows = [office.close(FIRST + index * DAY) for index in range(3)]

    hashes = dict(office.rows("SELECT sequence, hash FROM exchange.batches"))
    assert [(it.first_sequence, it.last_sequence, it.entry_count) for it in windows] == [
        (1, 2, 3),
        (3, 2, 0),
        (3, 3, 1),
    ]
    assert [it.last_hash for it in windows] == [hashes[2], hashes[2], hashes[3]]


def test_a_ledger_whose_first_batch_came_later_still_begins_on_its_first_day(office: Office) -> None:
    partner, member = member_with_card(office)
    office.set_time(days_on(2))
    office.post(an_earn(office, partner, member, 2))
    office.set_time(days_on(3))

    windows = [office.close(FIRST + index * DAY) for index in range(3)]

    assert [it.entry_count for it in windows] == [0, 0, 1]


def test_no_batch_enters_a_closed_window(office: Office) -> None:
    """Between cut-off and closing a batch may carry the old day's time; after it the chain is a day on."""
    partner, member = member_with_card(office)
    office.set_time(days_on(1))
    office.close(FIRST)
    office.rows("UPDATE exchange.ledger SET manual_time = :noon RETURNING 1", noon=NOON)  # a clock gone back

    office.post(an_earn(office, partner, member))

    assert office.rows("SELECT window_date FROM exchange.batches") == [(FIRST + DAY,)]


def test_a_window_closed_by_eight_at_once_is_one_window(office: Office) -> None:
    office.set_time(days_on(1))

    with ThreadPoolExecutor(8) as threads:
        windows = set(threads.map(lambda _: office.close(FIRST), range(8)))

    assert len(windows) == 1
    assert office.rows("SELECT count(*) FROM exchange.windows") == [(1,)]


def test_closing_beside_running_batches_loses_no_entry_and_waits_for_nobody(office: Office) -> None:
    partner, member = member_with_card(office)
    office.set_time(days_on(40))
    commands = [an_earn(office, partner, member, 40) for _ in range(60)]

    async def run() -> list[Window]:
        batcher = open_batcher(office.url)
        posting = [asyncio.create_task(batcher.submit([command], None)) for command in commands]
        windows = [await asyncio.to_thread(office.close, FIRST + index * DAY) for index in range(40)]
        answers = await asyncio.gather(*posting)
        await batcher.stop()
        assert all(answer.accepted for (answer,) in answers)
        return windows

    windows = asyncio.run(asyncio.wait_for(run(), WAIT_SECONDS))

    assert [it.entry_count for it in windows] == [0] * 40
    assert office.rows("SELECT sum(entry_count), min(window_date) FROM exchange.batches") == [
        (60, FIRST + 40 * DAY)
    ]


def test_each_entry_is_in_the_window_that_its_batch_committed_before(office: Office) -> None:
    partner, member = member_with_card(office)
    commands = [an_earn(office, partner, member) for _ in range(80)]

    async def run() -> Window:
        batcher = open_batcher(office.url)
        first = [asyncio.create_task(batcher.submit([command], None)) for command in commands[:40]]
        await first[0]
        await asyncio.to_thread(office.set_time, days_on(1))
        second = [asyncio.create_task(batcher.submit([command], None)) for command in commands[40:]]
        window = await asyncio.to_thread(office.close, FIRST)
        await asyncio.gather(*first, *second)
        await batcher.stop()
        return window

    window = asyncio.run(asyncio.wait_for(run(), WAIT_SECONDS))

    rows = office.rows(
        "SELECT sequence, window_date, entry_count, digest, hash FROM exchange.batches ORDER BY 1"
    )
    inside = [row for row in rows if row[1] == FIRST]
    assert [row[0] for row in inside] == list(range(window.first_sequence, window.last_sequence + 1))
    assert sum(row[2] for row in inside) == window.entry_count
    assert sum(row[2] for row in rows) == 80
    link = NO_HASH
    for _, _, _, digest, made in rows:
        link = sha256(link + digest).digest()
        assert made == link
    assert window.last_hash == (inside[-1][4] if inside else NO_HASH)
