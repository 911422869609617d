"""Keeps an embedded server running for a hub that serves: one that was killed is started again."""

import logging
from pathlib import Path
from types import TracebackType
from typing import Self

from exchange.store.embedded.launcher import start

_log = logging.getLogger(__name__)


class Keeper:
    """A running server and what starts it again on the same directory; a context manager that stops it."""

    def __init__(self, data_dir: Path) -> None:
        """Starts the server. Raises what `start` raises."""
        self._server = start(data_dir)

    @property
    def url(self) -> str:
        """The libpq URI of the hub's database; the same for as long as there is a keeper."""
        return self._server.url

    @property
    def running(self) -> bool:
        """Whether the server still runs."""
        return self._server.running

    def revive(self) -> None:
        """Starts a server that has ended, and returns when it answers; recovery loses nothing committed.

        Raises `EmbeddedPostgresError` where it does not start.
        """
        _log.warning("the embedded PostgreSQL has ended; it is started again")
        self._server.start_again()
        _log.warning("the embedded PostgreSQL runs again")

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops the server fast."""
        self._server.stop()
