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

from exchange.store import load, save
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
    "UPDATE_LOTS": (save.UPDATE_LOTS, {"lots_pkey"}),
    "UPDATE_WALLETS": (save.UPDATE_WALLETS, {"wallets_pkey"}),
    "UPDATE_LINKS": (save.UPDATE_LINKS, {"links_pkey"}),
    "READ_DUE": (READ_DUE, {"wallets_next_expiry"}),
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
        for module in (load, save)
        for name, value in vars(module).items()
        if isinstance(value, bytes) and name.isupper() and not name.startswith(("COPY_", "_"))
    }

    assert written - {"BEGIN", "COMMIT"} == (INTENDED.keys() | SMALL.keys()) - {"READ_DUE"}
