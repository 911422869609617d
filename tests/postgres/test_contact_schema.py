"""Schema `contacts`: what the migration makes of it, and who may do what there."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import Engine, inspect

from exchange.store.contact_tables import CONTACTS_METADATA, CONTACTS_SCHEMA
from exchange.store.engine import open_engine

TABLES = {table.name: table for table in CONTACTS_METADATA.sorted_tables}


@pytest.fixture(scope="module")
def catalogue(ledger_url: str) -> Iterator[Engine]:
    engine = open_engine(ledger_url, role=None)
    yield engine
    engine.dispose()


def test_every_table_of_contacts_is_described_and_no_other(catalogue: Engine) -> None:
    described = set(TABLES)

    found = set(inspect(catalogue).get_table_names(CONTACTS_SCHEMA))

    assert found == described


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_of_contacts_has_the_columns_that_are_described(catalogue: Engine, name: str) -> None:
    dialect = catalogue.dialect
    described = [
        (column.name, column.type.compile(dialect), column.nullable) for column in TABLES[name].columns
    ]

    found = [
        (column["name"], column["type"].compile(dialect), column["nullable"])
        for column in inspect(catalogue).get_columns(name, CONTACTS_SCHEMA)
    ]

    assert found == described


@pytest.mark.parametrize("name", sorted(TABLES))
def test_settlement_can_not_read_contacts(ledger_url: str, name: str) -> None:
    with psycopg.connect(ledger_url) as connection:
        connection.execute("SET ROLE tongdui_settlement")

        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(f"SELECT 1 FROM contacts.{name}".encode())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE contacts.contacts SET member_id = member_id",
        "UPDATE contacts.data_keys SET sealed_key = sealed_key",
        "UPDATE contacts.proofs SET code_hash = code_hash",
        "UPDATE contacts.master_key SET key_check = key_check",
        "DELETE FROM contacts.master_key",
        "DELETE FROM contacts.erasures",
    ],
)
def test_the_hub_adds_and_destroys_contacts_but_does_not_change_them(ledger_url: str, statement: str) -> None:
    with psycopg.connect(ledger_url) as connection:
        connection.execute("SET ROLE tongdui_hub")

        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement.encode())
