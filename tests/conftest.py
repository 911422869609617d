"""What tests of every kind may ask for: one embedded PostgreSQL per session, and databases in it."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import TupleRow

from exchange.store.embedded import EmbeddedPostgres, start
from tests.waiting import eventually

# gRPC's handlers of fork() can wait for ever (grpc/grpc#37259), and a program that is started as another user is
# forked. Nothing here uses gRPC in a fork; it reads this when it is first used, so before any test.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


@dataclass(frozen=True, slots=True)
class Databases:
    """Makes databases in the session's server."""

    server: EmbeddedPostgres
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    @contextlib.contextmanager
    def fresh(self, template: str = "template1") -> Iterator[str]:
        """The URL of a new database, a copy of the database `template`; dropped at the end, in use or not.

        For a module's worth of tests use it in a fixture of that scope; for one test there is `database_url`.
        A template must have no connections while it is copied.
        """
        name = f"test_{next(self.numbers)}"
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template)
        )
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            connection.execute(create)
        try:
            yield self.server.url_of(name)
        finally:
            with psycopg.connect(self.server.url, autocommit=True) as connection:
                eventually(lambda: is_dropped(connection, drop))


def is_dropped(connection: psycopg.Connection[TupleRow], drop: sql.Composed) -> bool:
    """Drops a database; False where it is still in use. The server gives those that it ends 5 seconds to be gone."""
    try:
        connection.execute(drop)
    except psycopg.errors.ObjectInUse:
        return False
    return True


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """The session's server, as durable as the real one (the hub refuses others), only smaller."""
    data_dir = tmp_path_factory.mktemp("postgres")
    with start(data_dir, settings={"shared_buffers": "128MB", "max_wal_size": "512MB"}) as server:
        yield server
    shutil.rmtree(data_dir)


@pytest.fixture(scope="session")
def databases(postgres: EmbeddedPostgres) -> Databases:
    """Where a test, or a fixture for several, gets a database of its own."""
    return Databases(postgres)


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """The URL of an empty database for this test alone."""
    with databases.fresh() as url:
        yield url
