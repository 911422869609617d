"""Reading the journal forward: every entry once, in the ledger's order, and nothing past a gap."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest
from sqlalchemy import event, text

from exchange.core.ids import OPERATOR
from exchange.registrar import Actor
from exchange.store.engine import open_engine
from exchange.store.reads import stream
from exchange.store.reads.accounts import EntryFilter, FullEntry, Place, list_entries
from exchange.store.reads.snapshots import Snapshots
from exchange.store.reads.stream import START, Chunk, CursorAhead, JournalDamaged, read_chunk
from tests.builders import burn, earn
from tests.postgres.ledger_at_work import WIDE, Office, new_card
from tests.postgres.shop import at_work, new_batcher


class Story(NamedTuple):
    """Two partners and a member of both, and what they posted: batches of 1 to 4 entries, one only refused."""

    cafe: Actor
    tea: Actor
    member: int


@pytest.fixture
def story(office: Office) -> Story:
    cafe, tea = office.partner("cafe"), office.partner("tea")
    for code in ("cafe", "tea"):
        office.approve_card(office.propose(new_card(code)))
    member = office.enroll(cafe, "c-1", WIDE)
    office.link(tea, member, "t-1", WIDE)
    a, b = cafe.partner_id, tea.partner_id
    office.post(*(earn(f"e-{it}", points=10, partner_id=a, member_id=member) for it in range(3)))
    office.post(burn("b-refused", points=1_000, partner_id=b, member_id=member))
    office.post(
        earn("e-3", points=10, partner_id=a, member_id=member),
        burn("b-1", points=5, partner_id=b, member_id=member),
        burn("b-2", points=5, partner_id=b, member_id=member),
        earn("e-4", points=10, partner_id=a, member_id=member),
    )
    office.post(burn("b-3", points=5, partner_id=b, member_id=member))
    return Story(cafe, tea, member)


def chunk(office: Office, after: Place, posters: frozenset[int] | None = None, limit: int = 100) -> Chunk:
    return Snapshots(office.engine).read(lambda it: read_chunk(it, after, posters, limit))


def read_through(office: Office, posters: frozenset[int] | None, limit: int) -> list[FullEntry]:
    """All chunks from the start on."""
    entries: list[FullEntry] = []
    place = START
    while True:
        found = chunk(office, place, posters, limit)
        assert found.after == place
        assert len(found.entries) <= limit
        entries += found.entries
        if found.is_last:
            return entries
        assert found.end > place
        place = found.end


def everything(office: Office) -> list[FullEntry]:
    return Snapshots(office.engine).read(lambda it: list_entries(it, EntryFilter(), None, 1000))[::-1]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 8, 100])
def test_chunks_of_any_size_miss_and_repeat_nothing(office: Office, story: Story, limit: int) -> None:
    posted = everything(office)
    assert len(posted) == 8

    assert read_through(office, None, limit) == posted
    for partner in (story.cafe, story.tea):
        own = [full for full in posted if full.entry.partner_code == partner.owner]
        streamed = read_through(office, frozenset({partner.partner_id}), limit)
        assert [full.entry.request_id for full in streamed] == [full.entry.request_id for full in own]


@pytest.mark.parametrize("batches", [2, 3])
def test_a_walk_over_many_batches_is_cut_and_goes_on(
    office: Office, story: Story, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_BATCHES", batches)
    monkeypatch.setattr(stream, "MAX_SCANNED", 3)
    posted = everything(office)

    found: list[FullEntry] = []
    place, readings = START, 0
    while len(found) < 3:
        read = chunk(office, place, frozenset({story.tea.partner_id}))
        found += read.entries
        place, readings = read.end, readings + 1

    assert [it.entry.request_id for it in found] == ["b-1", "b-2", "b-3"]
    assert readings > 1
    assert place == Place(posted[-1].entry.batch_sequence, 0)


def test_at_the_end_there_is_nothing_until_something_is_posted(office: Office, story: Story) -> None:
    end = chunk(office, START).end

    at_end = chunk(office, end)
    office.post(earn("e-9", points=1, partner_id=story.cafe.partner_id, member_id=story.member))
    after = chunk(office, end)

    assert (at_end.end, at_end.entries, at_end.is_last) == (end, [], True)
    assert [full.entry.request_id for full in after.entries] == ["e-9"]
    assert after.end == Place(end.batch_sequence + 1, 0)


def test_a_partner_s_place_moves_on_past_the_entries_of_others(office: Office, story: Story) -> None:
    stranger = office.partner("stranger")

    found = chunk(office, START, frozenset({stranger.partner_id}))

    assert found.entries == []
    assert found.end == chunk(office, START).end


def test_an_empty_ledger_has_an_end_too(office: Office) -> None:
    assert chunk(office, START) == Chunk(START, START, None, [], is_last=True)


def test_a_place_past_the_chain_s_end_is_refused(office: Office, story: Story) -> None:
    with pytest.raises(CursorAhead) as ahead:
        chunk(office, Place(5, 0))

    assert ahead.value.last_sequence == 4


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM exchange.entries WHERE request_id = 'b-1'",
        "UPDATE exchange.batches SET entry_count = entry_count + 1 WHERE sequence = 3",
        "DELETE FROM exchange.batches WHERE sequence = 3",
    ],
)
def test_nobody_reads_past_a_batch_that_is_not_whole(office: Office, story: Story, damage: str) -> None:
    owner = open_engine(office.url, role=None)
    with owner.begin() as connection:
        connection.execute(text(damage))
    owner.dispose()

    for posters in (None, frozenset({story.cafe.partner_id})):
        with pytest.raises(JournalDamaged):
            read_through(office, posters, 100)
    assert [full.entry.request_id for full in chunk(office, START, None, 3).entries] == ["e-0", "e-1", "e-2"]


def test_a_reader_beside_four_batchers_sees_every_entry_once_and_in_order(
    office: Office, story: Story
) -> None:
    members = [office.enroll(story.cafe, f"m-{number}", WIDE) for number in range(12)]
    begun = chunk(office, START).end

    async def post_and_read() -> list[FullEntry]:
        batchers = [new_batcher(office.url, 2) for _ in range(2)]

        async def post(number: int) -> None:
            batcher = batchers[number % 2]
            for turn in range(15):
                commands = [
                    earn(
                        f"w-{number}-{turn}-{it}",
                        points=1,
                        partner_id=story.cafe.partner_id,
                        member_id=members[3 * number + it],
                    )
                    for it in range(3)
                ]
                await batcher.submit(commands, None)

        found: list[FullEntry] = []
        async with at_work(*batchers):
            posting = asyncio.gather(*(post(number) for number in range(4)))
            place = begun
            while not posting.done() or len(found) < 180:
                read = await asyncio.to_thread(chunk, office, place, None, 7)
                found += read.entries
                place = read.end
            await posting
        return found

    found = asyncio.run(asyncio.wait_for(post_and_read(), 60.0))

    assert found == everything(office)[8:]
    assert len(found) == 180


@pytest.mark.parametrize("posters", [None, frozenset({OPERATOR}), frozenset({99})])
def test_a_reading_walks_the_chain_and_finds_entries_by_batch(
    office: Office, posters: frozenset[int] | None
) -> None:
    """With 20,000 entries of three posters in 2,000 batches, as the planner sees them after ANALYZE."""
    fill(office)
    statements: list[tuple[str, Any]] = []

    def remember(_c: object, _k: object, statement: str, parameters: object, _x: object, _m: bool) -> None:
        statements.append((statement, parameters))

    event.listen(office.engine, "before_cursor_execute", remember)
    found = chunk(office, Place(1_980, 5), posters, 15)
    event.remove(office.engine, "before_cursor_execute", remember)

    with office.engine.connect() as connection:
        plans = [
            "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters))
            for statement, parameters in statements
        ]
    # Of two indexes that hold it; which of them, where there is one window, is a matter of their bloat.
    assert "Index Cond: (sequence >=" in plans[0]
    for plan in plans:
        assert "Seq Scan on entries" not in plan
        assert "Seq Scan on batches" not in plan
    assert len(found.entries) == (0 if posters == frozenset({99}) else 15)


def fill(office: Office) -> None:
    owner = open_engine(office.url, role=None)
    with owner.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO exchange.batches (batch_id, sequence, decided_time, window_date, entry_count, digest,"
                " hash) SELECT number, number, now(), '2026-01-01', 10, '', '' FROM generate_series(1, 2000) AS number"
            )
        )
        connection.execute(
            text(
                "INSERT INTO exchange.entries (batch_id, entry_index, member_id, partner_id, points, rate_version,"
                " event_time, kind, request_id, store_id, terminal_id, reference, reason, campaign_id, channel)"
                " SELECT batch, index, (batch * 10 + index) % 1000, -(batch % 3), 1, 1, now(), 'earn', '', '', '', '',"
                " '', '', '' FROM generate_series(1, 2000) AS batch, generate_series(0, 9) AS index"
            )
        )
        connection.execute(text("ANALYZE exchange.entries, exchange.batches"))
    owner.dispose()
