"""Connections: the database from a URL or a libpq service, settlement's role, its migrations, its run lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psycopg
from sqlalchemy import Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

ROLE: Final = "tongdui_settlement"
"""Reads the hub's views, and of its own tables may only add rows and move a window's state on."""


_RUN_LOCK: Final = "hashtext('tongdui settlement run')"


class AnotherRun(Exception):
    """Another settlement run is at work on this database."""


def open_engine(database_url: str) -> Engine:
    """An engine whose connections act in settlement's role, in UTC.

    `database_url` is a `postgresql://` URL (libpq's form, several hosts allowed) or a libpq connection string
    such as `service=tongdui`.
    """

    def connect() -> psycopg.Connection:
        connection = psycopg.connect(libpq_conninfo(database_url))
        try:
            connection.execute(f"SET ROLE {ROLE}".encode())
            connection.execute("SET timezone TO 'UTC'")
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    return create_engine(
        "postgresql+psycopg://", creator=connect, pool_size=5, max_overflow=5, pool_pre_ping=True
    )


def libpq_conninfo(database_url: str) -> str:
    """What libpq takes: the URL without SQLAlchemy's driver name, anything else as it is."""
    scheme, separator, rest = database_url.partition("://")
    if separator and scheme.split("+")[0] in ("postgresql", "postgres"):
        return f"postgresql://{rest}"
    return database_url


def migrate(database_url: str) -> None:
    """Brings the schema `settlement` to the newest version; harmless when it is there already.

    Needs a user that may create schemas and roles, unlike every other step.
    """
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(libpq_conninfo(database_url)),
        poolclass=NullPool,
    )
    try:
        with engine.begin() as connection:
            # Two programs that migrate at the same time do so one after the other.
            connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtext('tongdui settlement migrations'))")
            )
            connection.execute(text("CREATE SCHEMA IF NOT EXISTS settlement"))
            _upgrade(connection)
    finally:
        engine.dispose()


def _upgrade(connection: Connection) -> None:
    # Loaded here, because it would add a tenth of a second to every other command.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@contextmanager
def exclusive_run(engine: Engine) -> Iterator[Connection]:
    """The one connection of a run that writes. Raises AnotherRun where one is at work already.

    The lock belongs to the connection: whatever ends the run, the database lets go of it.
    """
    with engine.connect() as connection:
        free = connection.execute(text(f"SELECT pg_try_advisory_lock({_RUN_LOCK})")).scalar_one()
        connection.commit()
        if not free:
            raise AnotherRun(
                "another settlement run is at work on this database; try again when it has ended"
            )
        try:
            yield connection
        finally:
            _let_go(connection)


def _let_go(connection: Connection) -> None:
    # A connection that is broken took its lock with it; there is nothing left to do for it.
    with suppress(DBAPIError):
        connection.rollback()
        connection.execute(text(f"SELECT pg_advisory_unlock({_RUN_LOCK})"))
        connection.commit()
