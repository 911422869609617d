"""The schema: what migrations make, what tables.py says of it, and who may change what."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from psycopg import errors
from sqlalchemy import Engine, inspect

from exchange.core.ids import member_text
from exchange.store import engine as engine_module
from exchange.store.engine import migrate, open_engine
from exchange.store.tables import METADATA, SCHEMA
from tests.conftest import Databases
from tests.postgres.ledger_at_work import Office

APPEND_ONLY = (
    "requests",
    "entries",
    "legs",
    "lines",
    "batches",
    "calls",
    "windows",
    "partners",
    "consent_history",
)
TABLES = {table.name: table for table in METADATA.sorted_tables}
VIEWS = (
    "ledger_v1",
    "partners_v1",
    "keys_v1",
    "windows_v1",
    "posted_entries_v1",
    "posted_legs_v1",
    "posted_lines_v1",
    "chained_batches_v1",
    "chained_entries_v1",
    "chained_legs_v1",
    "chained_lines_v1",
    "chained_parties_v1",
    "card_prices_v1",
)


@pytest.fixture(scope="module")
def migrated(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        migrate(url)
        yield url


@pytest.fixture(scope="module")
def catalogue(migrated: str) -> Iterator[Engine]:
    engine = open_engine(migrated, role=None)
    yield engine
    engine.dispose()


def test_every_table_of_the_schema_is_described_and_no_other(catalogue: Engine) -> None:
    described = set(TABLES)

    found = set(inspect(catalogue).get_table_names(SCHEMA))

    assert found - {"schema_version"} == described


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_has_the_columns_that_are_described(catalogue: Engine, name: str) -> None:
    dialect = catalogue.dialect
    described = [
        (column.name, column.type.compile(dialect), column.nullable) for column in TABLES[name].columns
    ]

    found = [
        (column["name"], column["type"].compile(dialect), column["nullable"])
        for column in inspect(catalogue).get_columns(name, SCHEMA)
    ]

    assert found == described


def test_migrations_go_up_down_and_up_again(database_url: str) -> None:
    migrate(database_url)
    engine = open_engine(database_url, role=None)
    with engine.begin() as connection:
        config = Config()
        script_location = engine_module.__file__.replace("engine.py", "migrations")
        config.set_main_option("script_location", script_location)
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        left = inspect(connection).get_table_names(SCHEMA)

    migrate(database_url)
    migrate(database_url)  # harmless where it is the newest already

    with engine.connect() as connection:
        made = set(inspect(connection).get_table_names(SCHEMA))
    engine.dispose()
    assert left == ["schema_version"]
    assert made == {*TABLES, "schema_version"}


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("statement", ["DELETE FROM exchange.{}", "TRUNCATE exchange.{}"])
def test_the_hub_cannot_remove_what_it_wrote(migrated: str, table: str, statement: str) -> None:
    with psycopg.connect(migrated) as connection:
        connection.execute("SET ROLE tongdui_hub")

        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement.format(table).encode())


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_the_hub_cannot_rewrite_what_it_wrote(migrated: str, table: str) -> None:
    first_column = TABLES[table].columns[0].name
    with psycopg.connect(migrated) as connection:
        connection.execute("SET ROLE tongdui_hub")

        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(f"UPDATE exchange.{table} SET {first_column} = {first_column}".encode())


@pytest.mark.parametrize("table", ["ledger", "chain", "wallets", "lots", "keys", "rate_cards"])
def test_the_hub_cannot_remove_a_standing_row(migrated: str, table: str) -> None:
    with psycopg.connect(migrated) as connection:
        connection.execute("SET ROLE tongdui_hub")

        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(f"DELETE FROM exchange.{table}".encode())


def test_the_hub_cannot_change_what_the_coalition_agreed(office: Office) -> None:
    with psycopg.connect(office.url) as connection:
        connection.execute("SET ROLE tongdui_hub")

        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("UPDATE exchange.ledger SET currency_code = 'EUR'")


@pytest.mark.parametrize("view", VIEWS)
def test_settlement_reads_the_views(migrated: str, view: str) -> None:
    with psycopg.connect(migrated) as connection:
        connection.execute("SET ROLE tongdui_settlement")

        rows = connection.execute(f"SELECT * FROM exchange.{view}".encode()).fetchall()

    seeded = [(0, "hub"), (-1, "POOL"), (-2, "OPERATOR")]
    assert rows == (seeded if view == "chained_parties_v1" else [])


@pytest.mark.parametrize("table", sorted(TABLES))
def test_settlement_reads_no_table(migrated: str, table: str) -> None:
    with psycopg.connect(migrated) as connection:
        connection.execute("SET ROLE tongdui_settlement")

        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(f"SELECT 1 FROM exchange.{table}".encode())


@pytest.mark.parametrize("member_id", [0, 1, 31, 32, 2**60 - 1, 347560259935594563])
def test_the_database_writes_member_ids_as_the_hub_does(migrated: str, member_id: int) -> None:
    with psycopg.connect(migrated) as connection:
        row = connection.execute("SELECT exchange.member_text(%s)", (member_id,)).fetchone()

    assert row == (member_text(member_id),)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("keys", "public_key"),
        ("keys", "owner"),
        ("keys", "roles"),
        ("key_challenges", "expire_time"),
        ("rate_cards", "funding_micros"),
        ("rate_cards", "proposed_by"),
    ],
)
def test_the_hub_changes_of_keys_and_cards_their_state_alone(migrated: str, table: str, column: str) -> None:
    with psycopg.connect(migrated) as connection:
        connection.execute("SET ROLE tongdui_hub")

        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(f"UPDATE exchange.{table} SET {column} = {column}".encode())
