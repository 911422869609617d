"""The sweep: points past their day expire though nobody calls."""

from __future__ import annotations

import asyncio
import logging

import psycopg
import pytest

from exchange.batcher import Batcher
from exchange.housekeeper import Housekeeper
from exchange.store.reads import read_due_members
from tests.builders import earn
from tests.postgres.ledger_at_work import Office, days_on
from tests.postgres.shop import Shop, defect, open_shop, posting


@pytest.fixture
def shop(office: Office) -> Shop:
    """Three members, each with ten points whose day is over."""
    shop = open_shop(office, 3)
    tomorrow = days_on(1).date()
    office.post(*(earn(f"e-{it}", points=10, member_id=it, expiry_date=tomorrow) for it in shop.members))
    office.set_time(days_on(3))
    return shop


def housekeeper(shop: Shop, batcher: Batcher) -> Housekeeper:
    async def read_due(limit: int) -> list[int]:
        with psycopg.connect(shop.url) as connection:
            return read_due_members(connection, limit)

    return Housekeeper(batcher, read_due)


async def sweep(shop: Shop, batcher: Batcher) -> int:
    return await housekeeper(shop, batcher).sweep()


def expired(shop: Shop) -> set[int]:
    rows = shop.office.rows("SELECT member_id FROM exchange.entries WHERE kind = 'expire'")
    return {member_id for (member_id,) in rows}


def test_a_sweep_expires_what_is_past_its_day_and_counts_who_was_woken(shop: Shop) -> None:
    woken = posting(shop, lambda batcher: sweep(shop, batcher))

    assert (woken, expired(shop)) == (3, set(shop.members))


def test_whoever_sweeps_alone_counts_everybody_though_another_sweep_was_asked_for_before(shop: Shop) -> None:
    async def both(batcher: Batcher) -> tuple[int, int]:
        keeper = housekeeper(shop, batcher)
        async with keeper.alone() as sweep_alone:
            other = asyncio.ensure_future(keeper.sweep())
            await asyncio.wait([other], timeout=0.5)  # long enough for it to have taken them all, if it could
            woken = await sweep_alone()
        return woken, await other

    assert posting(shop, both) == (3, 0)


def test_a_defect_at_one_member_keeps_nobody_elses_points_from_expiring(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    first, broken, last = shop.members

    with defect(shop.url, f"member_id = {broken}"), caplog.at_level(logging.ERROR):
        woken = posting(shop, lambda batcher: sweep(shop, batcher))

    assert (woken, expired(shop)) == (2, {first, last})
    assert "1 members were not woken, the first: CheckViolation" in caplog.text
