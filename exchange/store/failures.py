"""What can go wrong in the database, in the two words the hub acts on: it raced, or it is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import errors

_RACES: Final = frozenset(
    {"requests_pkey", "requests_reference_key", "aliases_pkey", "aliases_member_key", "wallets_pkey"}
)
"""Constraints that two transactions may meet at without anybody's fault."""


class Race(Exception):
    """Another transaction came first: the whole batch is to be run again. Nothing was written."""


class StoreUnavailable(Exception):
    """The database could not be reached or gave up. The outcome is unknown; the same request tells it."""


@contextmanager
def translated_failures() -> Iterator[None]:
    """Turns the driver's exceptions into `Race` and `StoreUnavailable`; any other is a defect and stays."""
    try:
        yield
    except (errors.SerializationFailure, errors.DeadlockDetected) as error:
        raise Race from error
    except errors.UniqueViolation as error:
        if error.diag.constraint_name not in _RACES:
            raise
        raise Race from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnavailable("the database is not reachable") from error
