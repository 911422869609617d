"""Every statement of the hot path walks the index it was written for, and scans no table that grows.

The hub's session has generic plans and no sequential scans (`exchange.store.engine.SESSION`). A plan made while
the tables were empty may take another index of the same table; the batcher has plans made anew as the tables grow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

import psycopg
import pytest

from exchange.store import load, load_originals, load_standings, save, save_standings
from exchange.store.engine import migrate, open_connection
from exchange.store.pipeline import HubConnection
from exchange.store.reads.registry import READ_DUE
from tests.conftest import Databases

INTENDED: Final = {
    "LOCK_WALLETS": (load.LOCK_WALLETS, {"wallets_pkey"}),
    "READ_LOTS_BY_KEY": (load.READ_LOTS_BY_KEY, {"lots_once"}),
    "READ_FIRST_LOTS": (load.READ_FIRST_LOTS, {"lots_consumption"}),
    "READ_OPEN_LOTS": (load.READ_OPEN_LOTS, {"lots_consumption"}),
    "READ_LINKS": (load.READ_LINKS, {"links_pkey"}),
    "READ_REQUESTS": (load.READ_REQUESTS, {"requests_pkey"}),
    "READ_REFERENCES": (load.READ_REFERENCES, {"requests_reference_key"}),
    "READ_ORIGINALS": (
        load_originals.READ_ORIGINALS,
        {"requests_pkey", "entries_original", "entries_pkey"},
    ),
    "READ_ORIGINAL_LEGS": (
        load_originals.READ_ORIGINAL_LEGS,
        {"requests_pkey", "entries_original", "legs_pkey"},
    ),
    "READ_ORIGINAL_LOTS": (
        load_originals.READ_ORIGINAL_LOTS,
        {"requests_pkey", "entries_original", "legs_pkey", "lot_moves_source", "lots_pkey"},
    ),
    "READ_ORIGINAL_MOVES": (
        load_originals.READ_ORIGINAL_MOVES,
        {"requests_pkey", "entries_original", "legs_pkey", "lot_moves_source"},
    ),
    "READ_MERGE_MOVES": (load_originals.READ_MERGE_MOVES, {"lot_moves_merge"}),
    "READ_ALL_LOTS": (load_standings.READ_ALL_LOTS, {"lots_once"}),
    "READ_REACHED_LOTS": (load_standings.READ_REACHED_LOTS, {"lot_moves_source", "lots_pkey"}),
    "READ_REACHED_MOVES": (load_standings.READ_REACHED_MOVES, {"lot_moves_source"}),
    "READ_DEFICITS": (load_standings.READ_DEFICITS, {"deficits_pkey"}),
    "READ_HOLDS": (load_standings.READ_HOLDS, {"holds_member"}),
    "READ_HOLDS_BY_KEY": (load_standings.READ_HOLDS_BY_KEY, {"holds_pkey"}),
    "READ_PENDING_EARNS": (load_standings.READ_PENDING_EARNS, {"pending_earns_member"}),
    "READ_PENDING_EARNS_BY_KEY": (load_standings.READ_PENDING_EARNS_BY_KEY, {"pending_earns_pkey"}),
    "READ_MARKS": (load_standings.READ_MARKS, {"marks_pkey"}),
    "READ_ALL_MARKS": (load_standings.READ_ALL_MARKS, {"marks_pkey"}),
    "READ_ALL_LINKS": (load_standings.READ_ALL_LINKS, {"links_pkey"}),
    "READ_QUOTES": (load_standings.READ_QUOTES, {"quotes_pkey"}),
    "READ_PAY_CODES": (load_standings.READ_PAY_CODES, {"pay_codes_pkey"}),
    "LOCK_TERMINALS": (load_standings.LOCK_TERMINALS, {"terminals_pkey"}),
    "LOCK_ADJUSTMENTS": (load_standings.LOCK_ADJUSTMENTS, {"adjustments_pkey"}),
    "UPDATE_STANDINGS": (save_standings.UPDATE_STANDINGS, {"wallets_pkey"}),
    "UPDATE_HOLDS": (save_standings.UPDATE_HOLDS, {"holds_pkey"}),
    "DELETE_HOLDS": (save_standings.DELETE_HOLDS, {"holds_pkey"}),
    "UPDATE_PENDING_EARNS": (save_standings.UPDATE_PENDING_EARNS, {"pending_earns_pkey"}),
    "SET_OWN_EXPIRY": (save_standings.SET_OWN_EXPIRY, {"pending_earns_pkey"}),
    "DELETE_PENDING_EARNS": (save_standings.DELETE_PENDING_EARNS, {"pending_earns_pkey"}),
    "UPDATE_DEFICITS": (save_standings.UPDATE_DEFICITS, {"deficits_pkey"}),
    "UPDATE_PAY_CODES": (save_standings.UPDATE_PAY_CODES, {"pay_codes_pkey"}),
    "UPDATE_TERMINALS": (save_standings.UPDATE_TERMINALS, {"terminals_pkey"}),
    "UPDATE_COMMON_COUNTERS": (save.UPDATE_COMMON_COUNTERS, {"lots_pkey"}),
    "UPDATE_LOTS": (save.UPDATE_LOTS, {"lots_pkey"}),
    "UPDATE_WALLETS": (save.UPDATE_WALLETS, {"wallets_pkey"}),
    "UPDATE_LINKS": (save.UPDATE_LINKS, {"links_pkey"}),
    "READ_DUE": (READ_DUE, {"wallets_next_deadline", "wallets_next_cancel", "wallets_next_expiry"}),
}
"""What each statement that reads a growing table goes through."""

SMALL: Final = {"READ_CONSTANTS": load.READ_CONSTANTS, "APPEND_TO_CHAIN": save.APPEND_TO_CHAIN}
"""Statements on tables of one row."""

ONE_ROW_TABLES: Final = {"ledger", "registry", "chain"}

GROW: Final = """
INSERT INTO exchange.wallets (member_id, next_expiry_date)
    SELECT member_id, CASE WHEN member_id % 100 = 0 THEN date '2025-12-31' ELSE date '2027-01-31' END
    FROM generate_series(1, 20000) AS member_id;
INSERT INTO exchange.links (member_id, partner_id)
    SELECT member_id, partner_id FROM generate_series(1, 20000) AS member_id, generate_series(1, 3) AS partner_id;
INSERT INTO exchange.lots (member_id, lot_sequence, issuer_id, rate_version, expiry_date, spent, funding_micros,
    prefunded_micros, issued_points, open_points, burned_points)
    SELECT member_id, number, number % 3 + 1, 1, date '2026-01-01' + number, number % 2 = 0, 1, 1, 5,
        5 * (number % 2), 5 - 5 * (number % 2)
    FROM generate_series(1, 20000) AS member_id, generate_series(1, 6) AS number;
INSERT INTO exchange.requests (partner_id, request_id, fingerprint, accepted, batch_id, entry_index, call_id, kind,
    reference, part, answer)
    SELECT number % 50 + 1, 'r-' || number, '', number % 10 <> 0, number, 0, number,
        CASE WHEN number % 3 = 0 THEN 'burn' ELSE 'earn' END, 'order-' || number, 0, ''
    FROM generate_series(1, 60000) AS number;
INSERT INTO exchange.entries (batch_id, entry_index, member_id, partner_id, points, rate_version, event_time, kind,
    request_id, store_id, terminal_id, reference, reason, campaign_id, channel, original_batch_id)
    SELECT number, 0, number % 20000 + 1, number % 50 + 1, 5, 1, now(), CASE WHEN number % 30 = 0 THEN 'refund_burn'
        ELSE 'earn' END, 'r-' || number, 's', 't', 'o', '', '', '', CASE WHEN number % 30 = 0 THEN number - 1 ELSE 0 END
    FROM generate_series(1, 60000) AS number;
INSERT INTO exchange.legs (batch_id, entry_index, leg_number, member_id, lot_sequence, issuer_id, rate_version, points,
    from_account, to_account)
    SELECT number, 0, 0, number % 20000 + 1, 1, 1, 1, 5, 'issued', 'open' FROM generate_series(1, 60000) AS number;
INSERT INTO exchange.holds (partner_id, request_id, member_id, batch_id, entry_index, kind, points, rate_version,
    authorised_time, deadline)
    SELECT number % 50 + 1, 'r-' || number, number, number, 0, 'burn', 1, 1, now(), now()
    FROM generate_series(1, 5000) AS number;
INSERT INTO exchange.pending_earns (partner_id, request_id, member_id, batch_id, entry_index, points, due_date)
    SELECT number % 50 + 1, 'r-' || number, number, number, 0, 1, '2027-01-01' FROM generate_series(1, 5000) AS number;
INSERT INTO exchange.deficits (member_id, deficit_sequence, issuer_id, funding_micros, raised_time, raised_points,
    moved_in_points, absorbed_points, forgiven_points, moved_out_points)
    SELECT number, 1, 1, 1, now(), 1, 0, 0, 0, 0 FROM generate_series(1, 5000) AS number;
INSERT INTO exchange.lot_moves (from_member_id, from_lot_sequence, to_member_id, to_lot_sequence, batch_id, entry_index,
    why, points)
    SELECT number, 1, number + 1, 1, number, 0, 'merge', 1 FROM generate_series(1, 5000) AS number;
INSERT INTO exchange.marks (member_id, partner_id, once_rule)
    SELECT number, 1, 'welcome' FROM generate_series(1, 20000) AS number;
INSERT INTO exchange.quotes (quote_id, batch_id, entry_index)
    SELECT 'q-' || number, number, 0 FROM generate_series(1, 20000) AS number;
INSERT INTO exchange.pay_codes (digest, member_id, partner_id, max_points, issue_time, expire_time)
    SELECT sha256(number::text::bytea), number, 0, 1, now(), now() FROM generate_series(1, 20000) AS number;
INSERT INTO exchange.terminals (partner_id, store_id, terminal_id, wrong_tries, locked, spent_date, spent_count,
    spent_points)
    SELECT 1, 's-' || number, 't', 0, false, '2026-01-01', 0, 0 FROM generate_series(1, 20000) AS number;
INSERT INTO exchange.adjustments (proposal, request_id, proposed_by)
    SELECT '', 'adj-' || number, 'li.na' FROM generate_series(1, 20000) AS number;
ANALYZE;
"""


@pytest.fixture(scope="module")
def empty_url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        migrate(url)
        yield url


@pytest.fixture(scope="module")
def grown_url(databases: Databases) -> Iterator[str]:
    """20,000 members with 6 lots and 3 links each, and 60,000 decisions."""
    with databases.fresh() as url:
        migrate(url)
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute(GROW.encode())
        yield url


def generic_plan(connection: HubConnection, statement: bytes) -> list[dict[str, Any]]:
    """The nodes of the plan that the hub's session keeps for a statement."""
    numbers = count(1)
    text = re.sub(r"%s", lambda _: f"${next(numbers)}", statement.decode())
    row = connection.execute(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {text}".encode()).fetchone()
    connection.rollback()
    assert row is not None
    return list(nodes(row[0][0]["Plan"]))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def scanned(plan: list[dict[str, Any]]) -> set[str]:
    """Tables that are read from end to end."""
    return {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"}


def indexes(plan: list[dict[str, Any]]) -> set[str]:
    return {node["Index Name"] for node in plan if "Index Name" in node}


@pytest.mark.parametrize("name", INTENDED)
def test_a_grown_table_is_read_through_the_intended_index_alone(grown_url: str, name: str) -> None:
    statement, intended = INTENDED[name]
    with open_connection(grown_url) as connection:
        plan = generic_plan(connection, statement)

    assert indexes(plan) - {"ledger_pkey"} == intended
    assert scanned(plan) <= ONE_ROW_TABLES


@pytest.mark.parametrize("name", INTENDED)
def test_a_plan_made_for_empty_tables_scans_none_of_them(empty_url: str, name: str) -> None:
    statement, _ = INTENDED[name]
    with open_connection(empty_url) as connection:
        plan = generic_plan(connection, statement)

    assert indexes(plan)
    assert scanned(plan) <= ONE_ROW_TABLES


@pytest.mark.parametrize("name", SMALL)
def test_the_other_statements_touch_tables_of_one_row_only(grown_url: str, name: str) -> None:
    with open_connection(grown_url) as connection:
        plan = generic_plan(connection, SMALL[name])

    read = {node["Relation Name"] for node in plan if "Relation Name" in node}
    assert read <= ONE_ROW_TABLES | {"batches"}  # which is only inserted into
    assert "batches" not in scanned(plan)


def test_every_statement_of_the_hot_path_is_in_these_tables() -> None:
    written = {
        name
        for module in (load, load_originals, load_standings, save, save_standings)
        for name, value in vars(module).items()
        if isinstance(value, bytes) and name.isupper() and not name.startswith(("COPY_", "_"))
    }

    assert written - {"BEGIN", "COMMIT", "ROLLBACK", "LOT_COLUMNS", "MOVE_COLUMNS", "READ_STANDING"} == (
        INTENDED.keys() | SMALL.keys()
    ) - {"READ_DUE"}
