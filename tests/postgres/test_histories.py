"""The random histories of the core's tests through the hub's store: what it reads and writes is all there is.

What the core changes and the store does not write, or needs and the store does not read, shows as a row or an
answer that differs from those of the in-memory rows (tests/rows.py), with which the core's own tests work.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime
from random import Random
from typing import Any

import psycopg
import pytest
from hypothesis import Phase, given
from hypothesis import strategies as st

from exchange.batch import SMALL
from exchange.batch import Answer as Sent
from exchange.batcher import Batcher
from exchange.core.commands import Command
from exchange.store.engine import migrate, open_connection
from tests.conftest import Databases
from tests.postgres.ledger_at_work import begin_anew
from tests.postgres.ledger_rows import (
    CLOCK,
    Teller,
    begin,
    clocked,
    kept_in_database,
    kept_in_memory,
    set_clocks,
)
from tests.property.coalition import Coalition
from tests.property.histories import HISTORIES, History
from tests.property.playing import Answer, PlayingCore
from tests.property.profiles import tries

Told = list[tuple[Answer, bool]]


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    """A migrated ledger whose hub goes by a wall clock of the test's."""
    with databases.fresh() as made:
        migrate(made)
        begin_anew(made)
        with psycopg.connect(made, autocommit=True) as connection:
            connection.execute(CLOCK)
        yield made


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of what failed
@pytest.mark.parametrize("small", [SMALL, 3])
def test_random_histories_leave_the_rows_and_answers_of_the_core_however_they_are_cut(
    url: str, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches above `SMALL` commands are copied in: with a small one, nearly all are."""
    monkeypatch.setattr("exchange.batch.SMALL", small)

    # Each try takes a tenth of a second and more: to find a shorter one would take minutes.
    @tries(40, [Phase.generate])
    @given(HISTORIES, st.integers(0, 2**32))
    def compare(history: History, cuts: int) -> None:
        core = PlayingCore(history.coalition, history.pay_codes)
        expected = [
            answer
            for batch in history.batches
            for answer in core.tell(batch.commands, batch.decided_time, batch.wall_time)
        ]

        with psycopg.connect(url, autocommit=True) as connection:
            begin(connection, history.coalition, history.pay_codes)
            told = asyncio.run(_tell(url, connection, history, Random(cuts)))
            kept = kept_in_database(connection)

        assert told == expected
        wanted = kept_in_memory(core.rows)
        for table, rows in wanted.items():
            assert kept[table] == rows, table

    compare()


async def _tell(url: str, connection: psycopg.Connection[Any], history: History, random: Random) -> Told:
    """The answers, with each batch of the history cut at random places."""
    hub = Batcher(
        lambda: open_connection(clocked(url)),
        history.coalition.terms,
        Teller(history.coalition).encode,
        lambda _: None,
        1,
    )
    told: Told = []
    try:
        for batch in history.batches:
            set_clocks(connection, batch.decided_time, batch.wall_time)
            for commands in _cut(batch.commands, random):
                answers = await hub.submit(commands, None)
                told += [(json.loads(answer.body), answer.replayed) for answer in answers]
    finally:
        await hub.stop()
    return told


def _cut(commands: tuple[Command, ...], random: Random) -> Iterator[tuple[Command, ...]]:
    place = 0
    while place < len(commands):
        size = random.choice((1, 2, 5, 100))
        yield commands[place : place + size]
        place += size


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of what failed
def test_random_histories_told_to_two_hubs_at_once_are_those_of_one_order(url: str) -> None:
    """The chain says in which order the batches came; told in that order, the core makes the same rows."""

    @tries(30, [Phase.generate])
    @given(HISTORIES, st.integers(0, 2**32))
    def compare(history: History, cuts: int) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            begin(connection, history.coalition, history.pay_codes)
            teller = Recorder(history.coalition)
            asyncio.run(_tell_both(url, connection, history, teller, Random(cuts)))
            order = connection.execute("SELECT batch_id FROM exchange.batches ORDER BY sequence").fetchall()
            kept = kept_in_database(connection)

        core = PlayingCore(history.coalition, history.pay_codes)
        for (batch_id,) in order:
            core.rows.run(*teller.batches[batch_id])

        wanted = kept_in_memory(core.rows)
        for table, rows in wanted.items():
            assert _without_bounds(table, kept[table]) == _without_bounds(table, rows), table

    compare()


class Recorder(Teller):
    """A teller that remembers what each try of a batch was asked, and at which times."""

    def __init__(self, coalition: Coalition) -> None:
        super().__init__(coalition)
        self.batches: dict[int, tuple[list[Command], datetime, datetime]] = {}

    def encode(self, commands: Any, decisions: Any, book: Any) -> list[Sent]:
        """As a teller does."""
        self.batches[book.batch_id] = list(commands), book.decided_time, book.wall_time
        return super().encode(commands, decisions, book)


async def _tell_both(
    url: str, connection: psycopg.Connection[Any], history: History, teller: Recorder, random: Random
) -> None:
    hubs = [
        Batcher(
            lambda: open_connection(clocked(url)), history.coalition.terms, teller.encode, lambda _: None, 2
        )
        for _ in range(2)
    ]
    try:
        for batch in history.batches:
            set_clocks(connection, batch.decided_time, batch.wall_time)
            calls = _cut(batch.commands, random)
            await asyncio.gather(*(random.choice(hubs).submit(commands, None) for commands in calls))
    finally:
        for hub in hubs:
            await hub.stop()


def _without_bounds(table: str, rows: Any) -> Any:
    """Wallets without the days before which nothing is due: a wake that found nothing may move these, unrecorded."""
    if table != "wallets":
        return rows
    bounds = {5, 10, 11}
    return {
        member: [value for place, value in enumerate(row) if place not in bounds]
        for member, row in rows.items()
    }
