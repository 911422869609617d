"""Reading accounts, entries and lists."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import NamedTuple, TypeVar

import pytest
from sqlalchemy import Connection, event, text

from exchange.core.ids import OPERATOR, member_text
from exchange.core.rates import ExpiryKind, ExpiryPolicy
from exchange.registrar import Actor
from exchange.store.engine import open_engine
from exchange.store.failures import StoreUnavailable
from exchange.store.reads.accounts import EntryFilter, FullEntry, Place, list_entries, read_entry
from exchange.store.reads.ledger import read_clock
from exchange.store.reads.pages import (
    list_batches,
    list_cards,
    list_keys,
    list_partners,
    list_windows,
    partner_id_of,
)
from exchange.store.reads.snapshots import Snapshots
from exchange.store.reads.wallets import read_wallet
from tests.builders import NOON, burn, earn
from tests.postgres.ledger_at_work import AUDIENCE, WIDE, Office, days_on, new_card

_T = TypeVar("_T")
DAY = timedelta(days=1)
FIRST = date(2026, 1, 1)


class Story(NamedTuple):
    """Two partners and a member of both: 100 earned at the café for 30 days, 40 burned at the tea house."""

    cafe: Actor
    tea: Actor
    member: int


def read(office: Office, work: Callable[[Connection], _T]) -> _T:
    return Snapshots(office.engine).read(work)


@pytest.fixture
def story(office: Office) -> Story:
    cafe, tea = office.partner("cafe"), office.partner("tea")
    for code in ("cafe", "tea"):
        office.approve_card(office.propose(new_card(code)))
    member = office.enroll(cafe, "c-1", WIDE)
    office.link(tea, member, "t-1", WIDE)
    office.post(earn("e-1", points=100, partner_id=cafe.partner_id, member_id=member))
    office.post(burn("b-1", points=40, partner_id=tea.partner_id, member_id=member))
    return Story(cafe, tea, member)


def test_a_wallet_shows_what_can_be_spent_and_from_which_lots(office: Office, story: Story) -> None:
    wallet = read(office, lambda it: read_wallet(it, story.member, story.tea.partner_id))

    assert wallet is not None
    assert (wallet.available_points, wallet.pending_points, wallet.held_points, wallet.deficit_points) == (
        60,
        0,
        0,
        0,
    )
    assert wallet.lots == [(1, "cafe", 1, FIRST + 30 * DAY, 60, 0)]
    assert wallet.read_time == NOON


def test_points_past_their_day_are_not_available_before_any_sweep_posted_it(
    office: Office, story: Story
) -> None:
    office.set_time(days_on(30))
    on_the_last_day = read(office, lambda it: read_wallet(it, story.member, None))
    office.set_time(days_on(31))

    wallet = read(office, lambda it: read_wallet(it, story.member, None))

    assert on_the_last_day is not None
    assert on_the_last_day.available_points == 60
    assert wallet is not None
    assert (wallet.available_points, wallet.lots) == (0, [])
    assert office.rows("SELECT open_points FROM exchange.wallets") == [(60,)]  # nothing posted it


def test_held_points_of_a_lot_past_its_day_are_still_shown(office: Office, story: Story) -> None:
    office.rows("UPDATE exchange.lots SET open_points = 50, held_points = 10 RETURNING 1")
    office.rows("UPDATE exchange.wallets SET open_points = 50, held_points = 10 RETURNING 1")
    office.set_time(days_on(31))

    wallet = read(office, lambda it: read_wallet(it, story.member, None))

    assert wallet is not None
    assert (wallet.available_points, wallet.held_points) == (0, 10)
    assert wallet.lots == [(1, "cafe", 1, FIRST + 30 * DAY, 0, 10)]


def test_lots_come_in_the_order_they_are_spent(office: Office, story: Story) -> None:
    cafe, member = story.cafe, story.member
    never, soon = ExpiryPolicy(ExpiryKind.NEVER), ExpiryPolicy(ExpiryKind.DAYS, 5)
    for begin, policy in ((1, never), (2, soon)):
        office.approve_card(office.propose(new_card("cafe", valid_from=days_on(begin), expiry_policy=policy)))
        office.set_time(days_on(begin))
        office.post(
            earn(f"e-{begin}x", partner_id=cafe.partner_id, member_id=member, event_time=days_on(begin))
        )

    wallet = read(office, lambda it: read_wallet(it, member, None))

    assert wallet is not None
    assert [(lot.rate_version, lot.expiry_date) for lot in wallet.lots] == [
        (3, FIRST + 7 * DAY),
        (1, FIRST + 30 * DAY),
        (2, date.max),
    ]


@pytest.mark.parametrize("linked_to", [None, 1, 2, 99])
def test_nobody_reads_a_member_that_is_not_there(office: Office, story: Story, linked_to: int | None) -> None:
    assert read(office, lambda it: read_wallet(it, -1, linked_to)) is None


def test_a_partner_reads_no_member_that_is_linked_to_others_only(office: Office, story: Story) -> None:
    stranger = office.partner("stranger")

    assert read(office, lambda it: read_wallet(it, story.member, stranger.partner_id)) is None


def test_entries_come_newest_first_with_legs_and_lines(office: Office, story: Story) -> None:
    burned, earned = read(office, lambda it: list_entries(it, EntryFilter(), None, 10))

    assert (earned.entry.kind, earned.entry.points, earned.entry.partner_code) == ("earn", 100, "cafe")
    assert (earned.entry.batch_sequence, earned.entry.entry_index, earned.entry.window_date) == (1, 0, FIRST)
    assert earned.legs == [(story.member, 1, "cafe", 1, "issued", "open", 100)]
    assert earned.lines == [
        ("cafe", "ISSUE_FUNDING", "POOL", "ISSUE_FUNDING", 1_000_000),
        ("cafe", "ISSUE_FEE", "OPERATOR", "ISSUE_FEE", 20_000),
    ]
    assert (burned.entry.kind, burned.entry.points, burned.entry.batch_sequence) == ("burn", 40, 2)
    assert burned.legs == [(story.member, 1, "cafe", 1, "open", "burned", 40)]
    assert burned.lines == [
        ("POOL", "BURN_FUNDING", "tea", "BURN_REIMBURSE", 380_000),
        ("POOL", "BURN_FUNDING", "OPERATOR", "SPREAD", 20_000),
    ]


def test_a_partner_sees_the_entries_it_posted_and_its_own_lines(office: Office, story: Story) -> None:
    mine = read(office, lambda it: list_entries(it, EntryFilter(story.tea.partner_id), None, 10))

    assert [full.entry.request_id for full in mine] == ["b-1"]
    assert mine[0].lines == [("POOL", "BURN_FUNDING", "tea", "BURN_REIMBURSE", 380_000)]


def test_entries_of_a_member_are_its_own(office: Office, story: Story) -> None:
    other = office.enroll(story.cafe, "c-2")
    office.post(earn("e-2", partner_id=story.cafe.partner_id, member_id=other))

    def requests(wanted: EntryFilter) -> list[str]:
        return [full.entry.request_id for full in read(office, lambda it: list_entries(it, wanted, None, 10))]

    assert requests(EntryFilter(None, other)) == ["e-2"]
    assert requests(EntryFilter(story.cafe.partner_id, story.member)) == ["e-1"]
    assert requests(EntryFilter(story.tea.partner_id, other)) == []


def test_pages_of_entries_miss_and_repeat_nothing(office: Office, story: Story) -> None:
    cafe, member = story.cafe.partner_id, story.member
    for batch in range(3):
        office.post(*(earn(f"m-{batch}-{it}", partner_id=cafe, member_id=member) for it in range(4)))
    everything = read(office, lambda it: list_entries(it, EntryFilter(), None, 100))

    def page_before(place: Place | None) -> list[FullEntry]:
        return read(office, lambda it: list_entries(it, EntryFilter(), place, 3))

    seen = []
    place: Place | None = None
    while page := page_before(place):
        seen += page
        place = Place(page[-1].entry.batch_sequence, page[-1].entry.entry_index)

    assert seen == everything
    assert len(seen) == 14
    places = [(full.entry.batch_sequence, full.entry.entry_index) for full in seen]
    assert places == sorted(places, reverse=True)


def test_an_entry_is_read_by_its_id_by_who_posted_it(office: Office, story: Story) -> None:
    (_, earned) = read(office, lambda it: list_entries(it, EntryFilter(), None, 10))
    batch_id = earned.entry.batch_id

    assert read(office, lambda it: read_entry(it, batch_id, 0, None)) == earned
    assert read(office, lambda it: read_entry(it, batch_id, 0, story.tea.partner_id)) is None
    assert read(office, lambda it: read_entry(it, batch_id, 1, None)) is None
    mine = read(office, lambda it: read_entry(it, batch_id, 0, story.cafe.partner_id))
    assert mine == earned


def test_lists_go_on_where_the_page_before_ended(office: Office, story: Story) -> None:
    office.approve_card(office.propose(new_card("cafe", valid_from=days_on(1))))
    office.propose(new_card("cafe"))
    office.set_time(days_on(3))
    windows = [office.close(FIRST + index * DAY) for index in range(3)]

    def codes(after: str, limit: int) -> list[str]:
        return [row.code for row in read(office, lambda it: list_partners(it, after, limit))]

    assert codes("", 10) == ["cafe", "tea"]
    assert codes("", 1) == ["cafe"]
    assert codes("cafe", 10) == ["tea"]
    cards = read(office, lambda it: list_cards(it, "cafe", story.cafe.partner_id, 3, 10))
    assert [(card.version, card.state) for card in cards] == [(2, "approved"), (1, "approved")]
    assert read(office, lambda it: list_windows(it, None, 2)) == [windows[2], windows[1]]
    assert read(office, lambda it: list_windows(it, windows[1].window_date, 2)) == [windows[0]]
    assert [row.sequence for row in read(office, lambda it: list_batches(it, 2, 10))] == [2]


def test_keys_are_listed_by_owner(office: Office) -> None:
    keys = read(office, lambda it: list_keys(it, (), "", 10))
    hubs = read(office, lambda it: list_keys(it, ("hub", "cafe"), "", 10))

    assert [key.owner for key in keys] == ["hub", "operator", "operator"]
    assert [key.owner for key in hubs] == ["hub"]
    assert read(office, lambda it: list_keys(it, (), keys[1].key_id, 10)) == keys[2:]


@pytest.mark.parametrize("code", ["hub", "POOL", "OPERATOR", "nobody"])
def test_a_reserved_party_is_no_partner(office: Office, code: str) -> None:
    assert read(office, lambda it: partner_id_of(it, code)) is None


def test_the_ledger_tells_its_constants_and_its_time(office: Office) -> None:
    ledger = read(office, read_clock)

    assert ledger.audience == AUDIENCE
    assert (ledger.currency_code, ledger.minor_unit_digits) == ("CNY", 2)
    assert (ledger.clock, ledger.ledger_time, ledger.first_window_date) == ("manual", NOON, FIRST)


def test_settlement_sees_the_same_entries_legs_and_lines(office: Office, story: Story) -> None:
    """The views that settlement reads (`exchange.*_v1`), in settlement's own role."""
    burned, earned = read(office, lambda it: list_entries(it, EntryFilter(), None, 10))
    office.set_time(days_on(1))
    window = office.close(FIRST)
    settlement = open_engine(office.url, role="tongdui_settlement")

    with settlement.connect() as connection:
        entries, legs, lines, windows = (
            [
                tuple(row)
                for row in connection.execute(text(f"SELECT {columns} FROM exchange.{view} ORDER BY {key}"))
            ]
            for columns, view, key in (
                ("batch_sequence, entry_id, kind, partner_id, member_id, points", "posted_entries_v1", 1),
                ("batch_sequence, issuer_id, from_account, to_account, points", "posted_legs_v1", 1),
                (
                    "payer_id, payer_component, payee_id, payee_component, micros",
                    "posted_lines_v1",
                    "batch_sequence, line_number",
                ),
                ("window_date, first_sequence, last_sequence, entry_count", "windows_v1", 1),
            )
        )

    settlement.dispose()
    member = member_text(story.member)
    assert entries == [
        (1, f"{earned.entry.batch_id}-0", "earn", "cafe", member, 100),
        (2, f"{burned.entry.batch_id}-0", "burn", "tea", member, 40),
    ]
    assert legs == [(1, "cafe", "issued", "open", 100), (2, "cafe", "open", "burned", 40)]
    assert lines == [tuple(line) for line in (*earned.lines, *burned.lines)]
    assert windows == [(FIRST, 1, 2, window.entry_count)]


def test_a_reading_sees_one_moment(office: Office, story: Story) -> None:
    def read_twice(connection: Connection) -> list[int]:
        first = read_wallet(connection, story.member, None)
        office.post(earn("e-9", partner_id=story.cafe.partner_id, member_id=story.member))
        second = read_wallet(connection, story.member, None)
        assert first is not None
        assert second is not None
        return [first.available_points, second.available_points]

    assert read(office, read_twice) == [60, 60]


def test_a_reading_cannot_write(office: Office) -> None:
    with pytest.raises(Exception, match="read-only transaction"):
        read(office, lambda it: it.execute(text("UPDATE exchange.registry SET version = 0")))


def test_a_database_that_is_away_is_unavailable() -> None:
    engine = open_engine("postgresql://nobody@127.0.0.1:1/none")

    with pytest.raises(StoreUnavailable):
        Snapshots(engine).read(read_clock)

    engine.dispose()


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (EntryFilter(None, 5), "entries_member"),
        (EntryFilter(OPERATOR, None), "entries_partner"),  # who posts nothing, beside 50 who do
    ],
)
def test_entries_are_found_by_an_index(office: Office, wanted: EntryFilter, index: str) -> None:
    """With 20,000 entries in 2,000 batches, as the planner sees them after ANALYZE."""
    plans = _plans(office, lambda it: list_entries(it, wanted, None, 10))

    assert index in plans[0]
    assert "Seq Scan on entries" not in plans[0]


@pytest.mark.parametrize("before", [None, Place(1500, 3)])
def test_all_entries_are_read_along_the_chain(office: Office, before: Place | None) -> None:
    plans = _plans(office, lambda it: list_entries(it, EntryFilter(), before, 10))

    assert "batches_sequence_key" in plans[0]
    assert "entries_pkey" in plans[0]
    assert "Seq Scan on entries" not in plans[0]


def _plans(office: Office, work: Callable[[Connection], object]) -> list[str]:
    """The plans of the statements that `work` runs on a ledger of some size."""
    _fill(office)
    statements: list[tuple[str, object]] = []

    def remember(_c: object, _k: object, statement: str, parameters: object, _x: object, _m: bool) -> None:
        statements.append((statement, parameters))

    event.listen(office.engine, "before_cursor_execute", remember)
    read(office, work)
    event.remove(office.engine, "before_cursor_execute", remember)
    plans = []
    with office.engine.connect() as connection:
        for statement, parameters in statements:
            rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)  # type: ignore[arg-type]  # as given
            plans.append("\n".join(row[0] for row in rows))
    return plans


def _fill(office: Office) -> None:
    owner = open_engine(office.url, role=None)
    with owner.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO exchange.batches SELECT number, number, now(), '2026-01-01', 10, '', ''"
                " FROM generate_series(1, 2000) AS number"
            )
        )
        connection.execute(
            text(
                "INSERT INTO exchange.entries SELECT batch, index, (batch * 10 + index) % 1000, batch % 50, 1, 1,"
                " now(), 'earn', '', '', '', '', '', '', ''"
                " FROM generate_series(1, 2000) AS batch, generate_series(0, 9) AS index"
            )
        )
        connection.execute(text("ANALYZE exchange.entries, exchange.batches"))
    owner.dispose()
