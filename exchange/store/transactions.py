"""Transactions on pooled connections, run again where they raced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from exchange.store.failures import Race, StoreUnavailable, translated_failures

MAX_RETRIES: Final = 3
"""Repeats of a transaction that met another one at a key, or in a deadlock."""

_T = TypeVar("_T")


def run_transaction(engine: Engine, work: Callable[[Connection], _T]) -> _T:
    """Runs `work` in a transaction and commits. Raises what `work` raises, or `StoreUnavailable`.

    Where another transaction came first at the same key it runs again, and then sees what that one wrote.
    """
    for attempt in range(MAX_RETRIES + 1):
        try:
            with translated(), engine.begin() as connection:
                return work(connection)
        except Race as race:
            if attempt == MAX_RETRIES:
                raise StoreUnavailable("too many retries") from race
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def translated() -> Iterator[None]:
    """The driver's own exception inside SQLAlchemy's wrapping, in the words of `store.failures`."""
    with translated_failures():
        try:
            yield
        except DBAPIError as wrapped:
            if wrapped.orig is None:
                raise
            raise wrapped.orig from wrapped
        except PoolTimeout as busy:
            raise StoreUnavailable("no connection became free") from busy
