"""What few commands change is read as one value, and as none where it is what it nearly always is."""

from __future__ import annotations

from typing import Any

import pytest

from exchange.core.accounts import Wallet
from exchange.core.lots import RARE_COUNTERS
from exchange.store.binary import int8s
from exchange.store.engine import open_connection
from exchange.store.load import LOCK_WALLETS
from exchange.store.pipeline import Request
from exchange.store.save import LOT_COUNTERS
from exchange.store.standing import COLUMNS, PLAIN, standing_of, take_standing, to_row
from tests.builders import burn, earn
from tests.postgres.ledger_at_work import Office
from tests.postgres.shop import Shop, open_shop

STANDINGS = (
    *("pending_points = 7", "held_points = 7", "state = 'frozen'", "state = 'merged', survivor_id = 3"),
    *("merged_batch_id = 8", "merged_batch_id = 8, merged_entry_index = 9", "deficit_sequence = 2"),
    *("next_cancel_date = '2026-03-04'", "next_deadline = '2026-03-04 05:06:07.000008+00'"),
    *("spent_date = '2026-03-04'", "spent_count = 2", "spent_points = 6", "transferred_points = 5"),
)
COUNTERS = {
    **{name: f"{name} = 5, open_points = open_points - 5" for name in RARE_COUNTERS},
    "moved_in_points": "moved_in_points = 5, open_points = open_points + 5",
    "transferred_points": "transferred_points = 5, moved_out_points = 5, open_points = open_points - 5",
    "deficit_raised_points": "deficit_raised_points = 5",
}


@pytest.fixture
def shop(office: Office) -> Shop:
    shop = open_shop(office, 1)
    office.post(earn("e-1", points=100, member_id=shop.members[0]))
    return shop


def change(shop: Shop, table: str, changes: str) -> None:
    shop.office.rows(f"UPDATE exchange.{table} SET {changes} RETURNING 1")


def stored(shop: Shop, table: str, columns: tuple[str, ...]) -> dict[str, Any]:
    (row,) = shop.office.rows(f"SELECT {', '.join(columns)} FROM exchange.{table}")
    return dict(zip(columns, row, strict=True))


def read_standing(shop: Shop) -> tuple[object, ...] | None:
    with open_connection(shop.url) as connection:
        ((row,),) = connection.run([Request(LOCK_WALLETS, (int8s(shop.members),))])
    found: tuple[object, ...] | None = row[-1]
    return found


def test_a_plain_standing_is_not_sent(shop: Shop) -> None:
    wallet = Wallet(1)

    assert read_standing(shop) is None
    assert take_standing(wallet, None) == standing_of(wallet) == PLAIN
    assert to_row(PLAIN) == tuple(stored(shop, "wallets", COLUMNS).values())


@pytest.mark.parametrize("changes", STANDINGS)
def test_every_standing_that_is_not_plain_is_read_as_it_is_stored(shop: Shop, changes: str) -> None:
    change(shop, "wallets", changes)
    wallet = Wallet(1)

    standing = take_standing(wallet, read_standing(shop))

    assert standing == standing_of(wallet)
    assert to_row(standing) == tuple(stored(shop, "wallets", COLUMNS).values())


@pytest.mark.parametrize("name", RARE_COUNTERS)
def test_an_earn_and_a_burn_leave_every_other_counter_of_their_lot_as_it_was(shop: Shop, name: str) -> None:
    change(shop, "lots", COUNTERS[name])
    change(shop, "wallets", "open_points = (SELECT open_points FROM exchange.lots)")
    before = stored(shop, "lots", LOT_COUNTERS)

    (member_id,) = shop.members
    answers = shop.office.post(
        earn("e-2", points=10, member_id=member_id), burn("b-1", points=1, member_id=member_id)
    )

    changes = {"issued_points": 10, "open_points": 9, "burned_points": 1}
    after = {counter: points + changes.get(counter, 0) for counter, points in before.items()}
    assert all(answer.accepted for answer in answers)
    assert stored(shop, "lots", LOT_COUNTERS) == after
