"""Connections: PostgreSQL by URL, the hub's session settings, and migrations."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.engine import make_url

from exchange.store.binary import register_binary
from exchange.store.load import Connection

HUB_ROLE: Final = "tongdui_hub"

# The hot path's statements are all lookups by key. Generic plans save a millisecond on a lone command, but one
# made while a table was empty would scan it for ever: with scans and hash or merge joins off, there is only
# the plan we want (a query-plan test watches over it).
SESSION: Final = {
    "role": HUB_ROLE,
    "timezone": "UTC",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "idle_in_transaction_session_timeout": "60s",
}

_DURABLE: Final = ("fsync", "full_page_writes", "synchronous_commit")


class UnsafeServer(RuntimeError):
    """The server is set to lose answered commands in a crash; the hub does not run on it."""


def engine_url(database_url: str) -> str:
    """The URL for SQLAlchemy: any `postgresql` URL, through psycopg 3."""
    url = make_url(database_url)
    if url.get_backend_name() != "postgresql":
        raise ValueError("DATABASE_URL must be a postgresql:// URL")
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def libpq_url(database_url: str) -> str:
    """The URL for psycopg itself."""
    return make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)


def open_engine(database_url: str, *, role: str | None = HUB_ROLE) -> Engine:
    """An engine for the registrar and the readers; a pool of up to 10 connections."""
    arguments = {"options": "-c timezone=UTC" + (f" -c role={role}" if role else "")}
    return create_engine(
        engine_url(database_url), connect_args=arguments, pool_pre_ping=True, pool_size=5, max_overflow=5
    )


def open_connection(database_url: str) -> Connection:
    """A connection for the hot path, in the hub's role and with its plans pinned."""
    connection = psycopg.connect(libpq_url(database_url))
    register_binary(connection)
    for name, value in SESSION.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))
    connection.commit()
    return connection


def forget_plans(connection: Connection) -> None:
    """Has every statement planned anew, for tables that have grown since."""
    connection.execute("DISCARD PLANS")
    connection.commit()


def migrate(database_url: str) -> None:
    """Brings the schema `exchange` to the newest version; harmless when it is there already."""
    engine = create_engine(engine_url(database_url), poolclass=NullPool)
    try:
        with engine.begin() as connection:
            # Two hubs that start together migrate one after the other.
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('tongdui exchange migrations'))"))
            connection.execute(text("CREATE SCHEMA IF NOT EXISTS exchange"))
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def check_durability(database_url: str) -> None:
    """Refuses a server that may lose what it has confirmed. Raises `UnsafeServer`."""
    with psycopg.connect(libpq_url(database_url)) as connection:
        for name in _DURABLE:
            row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            if row is None or row[0] == "off" or (name == "synchronous_commit" and row[0] == "local"):
                raise UnsafeServer(f"PostgreSQL runs with {name} = {row and row[0]}; the hub needs it on")
