"""Decided times: a member's never go back, whatever becomes of the clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import psycopg
import pytest

from exchange.core.book import Book
from exchange.core.rates import Cards
from exchange.store.engine import migrate, open_connection
from exchange.store.load import load_book
from exchange.store.pipeline import CopyIn
from tests.builders import TERMS, earn
from tests.conftest import Databases
from tests.postgres.ledger_at_work import begin_anew
from tests.postgres.ledger_rows import CLOCK, clocked

MEMBER = 7


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    """A ledger of the system's clock, which sessions of `clocked` have from a table."""
    with databases.fresh() as url:
        migrate(url)
        begin_anew(url)
        with psycopg.connect(url) as owner:
            owner.execute(CLOCK)
            owner.execute("UPDATE exchange.ledger SET clock = 'system', manual_time = NULL")
        yield url


def decided_last(owner: psycopg.Connection[tuple[datetime]], from_now: str) -> datetime:
    """When a new member's last entry was decided."""
    owner.execute("DELETE FROM exchange.wallets")
    row = owner.execute(
        "INSERT INTO exchange.wallets (member_id, last_decided_time) VALUES (%s, clock_timestamp() + %s::interval)"
        " RETURNING last_decided_time",
        (MEMBER, from_now),
    ).fetchone()
    assert row is not None
    return row[0]


def load_while_the_clock_is_set_to(
    url: str, owner: psycopg.Connection[tuple[datetime]], from_now: str
) -> Book:
    """What a batch loads that meets this between its lock, for which it may wait long, and all that follows."""
    steps = load_book([earn("e-1", member_id=MEMBER)], Cards([]), TERMS)
    with open_connection(clocked(url)) as connection:
        requests = next(steps)
        assert not isinstance(requests, CopyIn)
        rows = connection.run(requests[:2])
        owner.execute("UPDATE wall.clock SET moment = now() + %s::interval", (from_now,))
        rows += connection.run(requests[2:])
        try:
            while True:
                requests = steps.send(rows)
                assert not isinstance(requests, CopyIn)
                rows = connection.run(requests)
        except StopIteration as end:
            book: Book = end.value.book
            return book
        finally:
            connection.rollback()


@pytest.mark.parametrize("last", ["-10 ms", "1 hour"])
@pytest.mark.parametrize("clock", ["0", "-2 s", "-1 day"])
def test_no_decision_is_before_the_members_last_one(url: str, last: str, clock: str) -> None:
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("UPDATE wall.clock SET moment = now()")
        before = decided_last(owner, last)

        book = load_while_the_clock_is_set_to(url, owner, clock)

    assert book.decided_time >= before
