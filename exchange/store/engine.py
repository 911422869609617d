"""Connections: PostgreSQL by URL, the hub's session settings, and migrations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import psycopg
from alembic import command
from alembic.config import Config
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from sqlalchemy import Engine, NullPool, create_engine, text

from exchange.store.pipeline import HubConnection

HUB_ROLE: Final = "tongdui_hub"

_DIALECT: Final = "postgresql+psycopg://"  # and no more: libpq alone reads DATABASE_URL

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
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "5s",  # then the batch is run again, and others may go before it
}

_POOLED_SESSION: Final = {"timezone": "UTC", "idle_in_transaction_session_timeout": "10s"}

# A server that vanished without a word is noticed in seconds, unless the URL has its own patience.
_PATIENCE: Final = {"connect_timeout": "5", "tcp_user_timeout": "10000"}  # seconds; milliseconds

_DURABLE: Final = ("fsync", "full_page_writes", "synchronous_commit")


class UnsafeServer(RuntimeError):
    """The server is set to lose answered commands in a crash; the hub does not run on it."""


class BadDatabaseUrl(ValueError):
    """What DATABASE_URL holds can not be read. The message does not show it: it may hold a password."""


def connect(
    database_url: str, session: Mapping[str, str] = MappingProxyType({})
) -> psycopg.Connection[TupleRow]:
    """A connection with these settings of its session. libpq reads the URL, so all of its forms work.

    `database_url` is a `postgresql://` URL, with several hosts where it likes, or a connection string such as
    `service=tongdui`. Raises `BadDatabaseUrl`, or `psycopg.OperationalError` where the server is away.
    """
    connection = psycopg.connect(_with_patience(database_url))
    _set_session(connection, session)
    return connection


def open_engine(database_url: str, *, role: str | None = HUB_ROLE) -> Engine:
    """An engine for the registrar and the readers; a pool of up to 11 connections. Raises `BadDatabaseUrl`."""
    _with_patience(database_url)  # a bad one is told now, not at the first call
    session = _POOLED_SESSION | ({"role": role} if role else {})
    return create_engine(
        _DIALECT,
        creator=lambda: connect(database_url, session),
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=6,
        hide_parameters=True,  # an error that is logged must not show what was sent
    )


def open_connection(database_url: str) -> HubConnection:
    """A connection for the hot path, in the hub's role and with its plans pinned."""
    connection = HubConnection.connect(
        _with_patience(database_url),
        autocommit=True,
        prepare_threshold=None,  # it prepares its own statements, which psycopg must not deallocate
    )
    _set_session(connection, SESSION)
    return connection


def _with_patience(database_url: str) -> str:
    try:
        own = conninfo_to_dict(database_url)
        if any(port and not 0 < int(port) < 2**16 for port in str(own.get("port", "")).split(",")):
            raise ValueError("port")  # libpq would look, and then tell of a host that it can not resolve
    except (psycopg.ProgrammingError, ValueError):
        # Not even as the cause: libpq quotes the part that it can not read, which may be the password.
        raise BadDatabaseUrl("DATABASE_URL is no PostgreSQL URL or connection string") from None
    return make_conninfo(database_url, **{**_PATIENCE, **own})


def _set_session(connection: psycopg.Connection[TupleRow], session: Mapping[str, str]) -> None:
    try:
        for name, value in session.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        connection.commit()
    except BaseException:
        connection.close()
        raise


def forget_plans(connection: HubConnection) -> None:
    """Has every statement planned anew, for tables that have grown since."""
    connection.execute("DISCARD PLANS")


def migrate(database_url: str) -> None:
    """Brings the schema `exchange` to the newest version; harmless when it is there already."""
    engine = create_engine(
        _DIALECT, creator=lambda: connect(database_url), poolclass=NullPool, hide_parameters=True
    )
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
    with connect(database_url) as connection:
        for name in _DURABLE:
            row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            if row is None or row[0] == "off" or (name == "synchronous_commit" and row[0] == "local"):
                raise UnsafeServer(f"PostgreSQL runs with {name} = {row and row[0]}; the hub needs it on")
