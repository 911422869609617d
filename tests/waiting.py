"""Waiting for what happens elsewhere: in a server, in a thread, in another process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import psycopg
from psycopg.rows import TupleRow

WAIT_SECONDS: Final = 60.0
"""For what is not to take long but may, on a machine that does something else."""

_LOCK_WAITS: Final = (
    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
_OTHERS: Final = (
    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend'"
)


def eventually(holds: Callable[[], object], seconds: float = WAIT_SECONDS) -> float:
    """Waits until it holds and says how long that took. AssertionError after `seconds`."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < seconds, f"not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - begun


def in_time(seconds: float, measured: Callable[[], float], tries: int = 3) -> bool:
    """Whether what is measured took less in one of the tries: in another the machine may have stood still."""
    return any(measured() < seconds for _ in range(tries))


def lock_waits(connection: psycopg.Connection[TupleRow]) -> int:
    """Sessions of this database that wait for another one's lock. Only a superuser is told of all."""
    connection.execute("SELECT pg_stat_clear_snapshot()")  # one transaction would be told the same for ever
    return connection.execute(_LOCK_WAITS).rowcount


def somebody_waits(connection: psycopg.Connection[TupleRow], seconds: float = WAIT_SECONDS) -> bool:
    """Whether within that time a session waits for a lock; for who must let go of it before anything fails."""
    try:
        eventually(lambda: lock_waits(connection), seconds)
    except AssertionError:
        return False
    return True


def is_alone(connection: psycopg.Connection[TupleRow]) -> bool:
    """Whether nobody else is in this database. A server takes a moment to see a client off."""
    return not connection.execute(_OTHERS).rowcount
