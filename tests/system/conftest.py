"""The hub that a module's tests share: a real process on a database of its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from examples.coalition import Site
from merchant_adapter import Key
from tests.conftest import Databases
from tests.live_hub import Coalition, found_coalition, new_site, running
from tests.waiting import eventually

SESSIONS = "SELECT FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"


@pytest.fixture(scope="session")
def initialised(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path, list[Key]]]:
    """A database with a ledger, made by `tongdui-hub init`, to copy: its name, the hub's files, the operators."""
    directory = tmp_path_factory.mktemp("initialised")
    with databases.fresh() as url:
        _, people = new_site(directory, {"DATABASE_URL": url})
        name = str(conninfo_to_dict(url)["dbname"])
        with psycopg.connect(databases.server.url, autocommit=True) as connection:
            # PostgreSQL waits only so long for the sessions of what has ended, and copies nothing that is in use.
            eventually(lambda: not connection.execute(SESSIONS, [name]).rowcount)
        yield name, directory, people


@pytest.fixture(scope="module")
def coalition(
    databases: Databases,
    initialised: tuple[str, Path, list[Key]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Coalition]:
    """Three partners and a hub on the system's clock."""
    template, files, people = initialised
    directory = tmp_path_factory.mktemp("hub")
    shutil.copytree(files, directory, dirs_exist_ok=True)
    with databases.fresh(template) as url:
        site = Site(directory, environment={"DATABASE_URL": url})
        with running(site, people, url) as made:
            found_coalition(made)
            yield made
