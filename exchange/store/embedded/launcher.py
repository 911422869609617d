"""Starts the embedded PostgreSQL, makes sure that it answers, and stops it."""

import contextlib
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Literal, NamedTuple, Self

import psycopg
from psycopg import sql

from exchange.store.embedded import layout as files
from exchange.store.embedded.account import Account, installed_programs, runnable_programs, server_account
from exchange.store.embedded.errors import EmbeddedPostgresError
from exchange.store.embedded.ownership import disarm_stale_pid_file, owner_lock, server_lock
from exchange.store.embedded.server_process import (
    ServerProcess,
    running_server,
    server_command,
    wait_until_ready,
)
from exchange.store.embedded.server_settings import complete_settings

StopMode = Literal["smart", "fast", "immediate"]

_STOP_SIGNALS: Mapping[StopMode, signal.Signals] = MappingProxyType(
    {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A started server: `url` is a libpq URI without a secret, `pid` the postmaster's process id."""

    url: str
    data_dir: Path
    pid: int
    socket_directory: Path
    service_file: Path
    log: Path


class _Home(NamedTuple):
    """What a server is started with, the first time and again."""

    layout: files.Layout
    account: Account
    socket: files.SocketDirectory
    command: list[str]
    start_timeout_seconds: float


class _Running(NamedTuple):
    """A server, and what ends with it."""

    server: ServerProcess
    resources: contextlib.ExitStack


class EmbeddedPostgres:
    """A started embedded server, owned by this process; a context manager that stops it."""

    def __init__(self, home: _Home, running: _Running, held: contextlib.ExitStack) -> None:
        """Takes over a started server and what is to be released after its end. Made by `start` only."""
        self._home = home
        self._running = running
        self._held = held

    @property
    def cluster(self) -> Cluster:
        """What is known of the server that runs now."""
        layout, socket = self._home.layout, self._home.socket
        return Cluster(
            url=files.database_url(socket.path),
            data_dir=layout.data_dir,
            pid=self._running.server.process_id,
            socket_directory=socket.path,
            service_file=layout.service_file,
            log=layout.log,
        )

    @property
    def url(self) -> str:
        """The libpq URI of the database `tongdui`."""
        return files.database_url(self._home.socket.path)

    @property
    def running(self) -> bool:
        """Whether the server still runs. It is not restarted by itself: `start_again` does that."""
        return self._running.server.is_running()

    def url_of(self, database: str) -> str:
        """The libpq URI of another database of the same server."""
        return files.database_url(self._home.socket.path, database)

    def binary(self, name: str) -> Path:
        """The path of a PostgreSQL program (psql, pgbench, pg_dump...); `ValueError` if none is so named."""
        path = installed_programs() / name
        if not name or Path(name).name != name or not path.is_file():
            raise ValueError(f"the embedded PostgreSQL has no program named {name!r}")
        return path

    def stop(self, mode: StopMode = "fast") -> None:
        """Stops the server and returns after its end; does nothing if it has ended.

        `smart` waits for the clients to leave, `fast` ends their transactions, `immediate` leaves recovery to
        the next start. A shutdown that takes over a minute is followed by an immediate one.
        """
        with self._held, self._running.resources:
            self._running.server.stop(_STOP_SIGNALS[mode])

    def start_again(self) -> None:
        """Starts a server that has ended, at the same URL; recovery loses nothing that was committed.

        Raises `EmbeddedPostgresError` if it does not start.
        """
        self._running.resources.close()
        self._running = _launched(self._home)

    def kill(self) -> None:
        """Kills the postmaster with SIGKILL, as a crash would: for tests of recovery."""
        with self._held, self._running.resources:
            self._running.server.stop(signal.SIGKILL)

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
        self.stop()


def start(
    data_dir: Path,
    *,
    settings: Mapping[str, str] = MappingProxyType({}),
    start_timeout_seconds: float = 120,
) -> EmbeddedPostgres:
    """Starts the server whose data are in `data_dir`, which is created with an empty database if missing.

    `settings` are PostgreSQL parameters on top of `server_settings.DEFAULT_SETTINGS`. Recovery after a crash
    may take as long as it needs: `start_timeout_seconds` is for how long the server may add nothing to its
    log meanwhile (PostgreSQL reports its progress every 10 s).

    Raises `ValueError` for a setting that is not the caller's to choose, and `EmbeddedPostgresError` if
    another process has the directory (naming its id) or the server does not start (with the end of its log).
    """
    if sys.platform != "linux":
        raise EmbeddedPostgresError("the embedded PostgreSQL runs on Linux only; set DATABASE_URL")
    all_settings = complete_settings(settings)
    layout = files.Layout(data_dir.expanduser().resolve())
    account = server_account()
    programs = runnable_programs(account, installed_programs())
    files.make_directories(layout, account)
    with contextlib.ExitStack() as held:
        held.enter_context(owner_lock(layout))
        with server_lock(layout) as lock_fd:
            files.create_cluster_if_missing(layout, account, programs, lock_fd)
        files.write_access_rules(layout, account)
        socket = held.enter_context(files.socket_directory(layout, account))
        command = server_command(programs, socket.name_for_server, all_settings)
        home = _Home(layout, account, socket, command, start_timeout_seconds)
        running = _launched(home)
        files.write_service_file(layout, socket.path)
        return EmbeddedPostgres(home, running, held.pop_all())


def _launched(home: _Home) -> _Running:
    """A server that answers."""
    with contextlib.ExitStack() as resources:
        with server_lock(home.layout) as lock_fd:
            disarm_stale_pid_file(home.layout)
            files.clear_socket_directory(home.socket)
            server = resources.enter_context(running_server(home.layout, home.account, home.command, lock_fd))
        wait_until_ready(server, home.layout, home.start_timeout_seconds)
        _ensure_database(files.database_url(home.socket.path, "postgres"))
        return _Running(server, resources.pop_all())


def _ensure_database(maintenance_url: str) -> None:
    """Creates the hub's database at the first start; at every start it shows that the server answers."""
    find = "SELECT FROM pg_database WHERE datname = %s"
    create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(files.DATABASE))
    try:
        with psycopg.connect(maintenance_url, autocommit=True) as connection:
            if connection.execute(find, [files.DATABASE]).rowcount == 0:
                connection.execute(create)
    except psycopg.Error as error:
        raise EmbeddedPostgresError(f"PostgreSQL has started but does not answer: {error}") from error
