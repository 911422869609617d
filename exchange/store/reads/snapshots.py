"""Reads without locks, each at one moment of the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine

from exchange.store.transactions import translated

_T = TypeVar("_T")


class Snapshots:
    """Runs reads on pooled connections."""

    def __init__(self, engine: Engine) -> None:
        """Takes the pool."""
        self._engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def read(self, work: Callable[[Connection], _T]) -> _T:
        """What `work` reads, in as many statements as it likes. Raises `StoreUnavailable`."""
        with translated(), self._engine.connect() as connection:
            return work(connection)
