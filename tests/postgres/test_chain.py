"""The chain of batches as an auditor recomputes it, and the windows that its links fall into."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date, timedelta
from hashlib import sha256
from typing import Final

import psycopg
import pytest

from exchange.core.commands import Command
from tests.builders import NOON, burn, earn
from tests.postgres.ledger_at_work import Office, days_on
from tests.postgres.shop import Shop, at_work, call, new_batcher, open_shop


@pytest.fixture
def shop(office: Office) -> Shop:
    return open_shop(office, 4)


class Chain:
    """The chain as an auditor recomputes it: from the rows, without a line of the hub's code."""

    TABLES: Final = (
        (
            "entries",
            "batch_id, entry_index, member_id, partner_id, points, rate_version, event_time,"
            " spend_minor, native_points, original_batch_id, original_entry_index, kind, request_id, store_id,"
            " terminal_id, reference, reason, campaign_id, channel",
            "entry_index",
        ),
        (
            "legs",
            "batch_id, entry_index, leg_number, member_id, lot_sequence, issuer_id, rate_version, points,"
            " from_account, to_account",
            "entry_index, leg_number",
        ),
        (
            "lines",
            "batch_id, entry_index, line_number, member_id, payer_id, payee_id, micros, payer_component,"
            " payee_component",
            "entry_index, line_number",
        ),
    )

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url)

    def rows(self, table: str, columns: str, order: str, batch_id: int) -> bytes:
        """The rows of a batch as binary COPY prints them, without its header and trailer."""
        query = (
            f"COPY (SELECT {columns} FROM exchange.{table} WHERE batch_id = {batch_id} ORDER BY {order})"
            " TO STDOUT (FORMAT BINARY)"
        )
        with self.connection.cursor().copy(query.encode()) as copy:
            stream = b"".join(bytes(part) for part in copy)
        assert stream[:11] == b"PGCOPY\n\xff\r\n\0"
        assert stream[-2:] == b"\xff\xff"
        return stream[19:-2]

    def check(self) -> int:
        """Recomputes every link and gives their number. AssertionError at the first that is not as it was."""
        expected, last_hash = 1, bytes(32)
        batches = self.connection.execute(
            "SELECT sequence, batch_id, digest, hash, entry_count FROM exchange.batches ORDER BY sequence"
        ).fetchall()
        for sequence, batch_id, digest, hash_, entry_count in batches:
            assert sequence == expected, "a gap"
            parts = [self.rows(*table, batch_id) for table in self.TABLES]
            assert sha256(b"".join(parts)).digest() == digest, f"batch {sequence}"
            last_hash = sha256(last_hash + digest).digest()
            assert hash_ == last_hash, f"batch {sequence}"
            ((found,),) = self.connection.execute(
                "SELECT count(*) FROM exchange.entries WHERE batch_id = %s", (batch_id,)
            ).fetchall()
            assert found == entry_count
            expected += 1
        ((end, end_hash),) = self.connection.execute("SELECT sequence, hash FROM exchange.chain").fetchall()
        assert (end, end_hash) == (expected - 1, last_hash)
        self.connection.rollback()
        return len(batches)


@pytest.fixture
def chain(shop: Shop) -> Iterator[Chain]:
    made = Chain(shop.url)
    yield made
    made.connection.close()


def lived_through(shop: Shop) -> None:
    """Batches of two batchers at once: earns, burns over several lots, refusals, expiries."""

    async def live() -> None:
        here, there = new_batcher(shop.url), new_batcher(shop.url)
        async with at_work(here, there):
            for number in range(12):
                shop.office.set_time(days_on(number * 5))
                event_time = days_on(number * 5)
                calls = []
                for who, member_id in enumerate(shop.members):
                    commands: list[Command] = [
                        earn(f"e-{number}-{who}", points=50, member_id=member_id, event_time=event_time),
                        burn(
                            f"b-{number}-{who}", points=20 + who, member_id=member_id, event_time=event_time
                        ),
                        burn(f"x-{number}-{who}", points=9_999, member_id=member_id, event_time=event_time),
                    ]
                    calls.append((here, there)[who % 2].submit(commands, call(shop)))
                await asyncio.gather(*calls)

    asyncio.run(live())


def test_the_chain_is_recomputed_from_the_rows_as_documented(shop: Shop, chain: Chain) -> None:
    lived_through(shop)

    links = chain.check()

    assert links >= 12
    kinds = dict(shop.office.rows("SELECT kind, count(*) FROM exchange.entries GROUP BY kind"))
    assert set(kinds) == {"earn", "burn", "expire"}


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE exchange.entries SET points = points + 1 WHERE ctid = (SELECT ctid FROM exchange.entries"
        " ORDER BY batch_id OFFSET 9 LIMIT 1)",
        "UPDATE exchange.lines SET micros = micros - 1 WHERE ctid = (SELECT ctid FROM exchange.lines"
        " ORDER BY batch_id OFFSET 9 LIMIT 1)",
        "DELETE FROM exchange.legs WHERE ctid = (SELECT ctid FROM exchange.legs ORDER BY batch_id OFFSET 9 LIMIT 1)",
        "UPDATE exchange.batches SET hash = set_byte(hash, 0, get_byte(hash, 0) # 1) WHERE sequence = 5",
        "DELETE FROM exchange.batches WHERE sequence = 5",
    ],
    ids=["points", "money", "a leg gone", "a hash", "a batch gone"],
)
def test_a_row_changed_behind_the_hubs_back_breaks_the_chain(shop: Shop, chain: Chain, harm: str) -> None:
    lived_through(shop)
    chain.check()

    with psycopg.connect(shop.url) as owner:
        owner.execute(harm.encode())

    with pytest.raises(AssertionError):
        chain.check()


def test_a_batch_that_only_refuses_is_a_link_without_entries(shop: Shop, chain: Chain) -> None:
    shop.office.post(burn("b-1", member_id=shop.members[0]))

    assert chain.check() == 1
    found = shop.office.rows("SELECT entry_count, digest FROM exchange.batches")
    assert [(count_, bytes(digest)) for count_, digest in found] == [(0, sha256(b"").digest())]


# --- windows


def test_a_batch_falls_into_the_window_of_its_decided_time_and_windows_never_go_back(shop: Shop) -> None:
    member_id = shop.members[0]
    moments = [NOON, NOON + timedelta(hours=11, minutes=59), NOON + timedelta(hours=12), days_on(3)]

    for number, moment in enumerate(moments):
        shop.office.set_time(moment)
        shop.office.post(earn(f"e-{number}", member_id=member_id))
    closed = [shop.office.close(date(2026, 1, day)) for day in (1, 2, 3)]
    shop.office.post(earn("after", member_id=member_id))

    windows = shop.office.rows("SELECT window_date FROM exchange.batches ORDER BY sequence")
    assert [day.day for (day,) in windows] == [1, 1, 2, 4, 4]
    assert [(it.first_sequence, it.last_sequence, it.entry_count) for it in closed] == [
        *((1, 2, 2), (3, 3, 1), (4, 3, 0)),
    ]
    decided = shop.office.rows("SELECT decided_time FROM exchange.batches ORDER BY sequence")
    assert [moment for (moment,) in decided] == [*moments, moments[-1]]


def test_a_closed_window_stays_closed_though_the_clock_stands_on_its_last_moment(shop: Shop) -> None:
    shop.office.set_time(NOON + timedelta(hours=12))  # the first moment of 2 January
    shop.office.close(date(2026, 1, 1))
    with psycopg.connect(shop.url) as owner:  # a system clock that stepped back would do this
        owner.execute("UPDATE exchange.ledger SET manual_time = %s", (NOON,))

    shop.office.post(earn("e-1", member_id=shop.members[0]))

    assert shop.office.rows("SELECT window_date FROM exchange.batches") == [(date(2026, 1, 2),)]
