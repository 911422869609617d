"""What can go wrong in the database, in the two words the hub acts on: it raced, or it is away."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Final

import psycopg
from psycopg import errors

_RACES: Final = frozenset(
    {
        "requests_pkey",
        "requests_reference_key",
        "aliases_pkey",
        "aliases_member_key",
        "wallets_pkey",
        "terminals_pkey",
        "contacts_lookup_key",
        "data_keys_pkey",
        "proofs_request_key",
    }
)
"""Constraints that two transactions may meet at without anybody's fault."""


_FRAMES: Final = 6
"""Calls of a stack that are told: those next to where it went wrong."""


class Race(Exception):
    """Another transaction came first: the whole batch is to be run again. Nothing was written."""


class StoreUnavailable(Exception):
    """The database could not be reached or gave up. The outcome is unknown; the same request tells it."""


@contextmanager
def translated_failures() -> Iterator[None]:
    """Turns the driver's exceptions into `Race` and `StoreUnavailable`; any other is a defect and stays."""
    try:
        yield
    except (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable) as error:
        raise Race from error
    except errors.UniqueViolation as error:
        if error.diag.constraint_name not in _RACES:
            raise
        raise Race from error
    except (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        errors.IdleInTransactionSessionTimeout,
    ) as error:
        raise StoreUnavailable("the database is not reachable") from error


def without_values(failure: BaseException) -> str:
    """An exception and its causes for the log: what they are and where they were raised, never their messages.

    The message of a database error holds the row that was refused, and any other may hold an id of a customer.
    """
    told: list[str] = []
    seen: set[int] = set()
    link: BaseException | None = failure
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        told.append(_kind_and_place(link))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return " from ".join(told)


def _kind_and_place(failure: BaseException) -> str:
    kind = type(failure).__name__
    if isinstance(failure, psycopg.Error):
        kind += f" {failure.sqlstate} {failure.diag.constraint_name or ''}".rstrip()
    frames = traceback.extract_tb(failure.__traceback__)[-_FRAMES:]
    places = " > ".join(f"{PurePath(it.filename).name}:{it.lineno} {it.name}" for it in frames)
    return f"{kind} ({places})" if places else kind
