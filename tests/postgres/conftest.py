"""A new ledger for each test, in one database of the session."""

from collections.abc import Iterator

import pytest

from exchange.store.engine import migrate
from tests.conftest import Databases
from tests.postgres.ledger_at_work import Office, begin_anew, open_office


@pytest.fixture(scope="session")
def ledger_url(databases: Databases) -> Iterator[str]:
    """A migrated database."""
    with databases.fresh() as url:
        migrate(url)
        yield url


@pytest.fixture
def office(ledger_url: str) -> Iterator[Office]:
    """A registrar at work on a new ledger."""
    begin_anew(ledger_url)
    made = open_office(ledger_url)
    yield made
    made.engine.dispose()
