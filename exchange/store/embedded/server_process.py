"""The running server as its owner handles it: through the supervisor, never by a process id."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from exchange.store.embedded import supervisor
from exchange.store.embedded.account import Account
from exchange.store.embedded.errors import EmbeddedPostgresError
from exchange.store.embedded.layout import HERE, PORT, SERVER_ENVIRONMENT, Layout
from exchange.store.embedded.ownership import is_ready

_POLL_SECONDS = 0.01
_PROGRESS_SECONDS = 5.0
_LOG_TAIL_BYTES = 4_096
_log = logging.getLogger(__name__)


class ServerProcess:
    """A server under its supervisor, which takes signal numbers through a pipe and ends with the server."""

    def __init__(self, supervising: "subprocess.Popen[bytes]", process_id: int) -> None:
        """Takes the supervisor, and the postmaster's process id as the supervisor told it."""
        self._supervising = supervising
        self.process_id = process_id

    def is_running(self) -> bool:
        """Whether the server has not ended."""
        return self._supervising.poll() is None

    def ended_within(self, seconds: float) -> bool:
        """Waits at most so long for the server's end and tells whether it came."""
        with contextlib.suppress(subprocess.TimeoutExpired):  # that is the answer no
            self._supervising.wait(seconds)
        return not self.is_running()

    def stop(self, number: signal.Signals) -> None:
        """Has the signal sent and waits for the server's end; after a minute it is stopped at once."""
        self._order(number)
        if not self.ended_within(supervisor.FAST_SHUTDOWN_SECONDS):
            _log.warning("PostgreSQL does not shut down; stopping it at once")
            self._order(signal.SIGQUIT)
            self._supervising.wait()

    def _order(self, number: signal.Signals) -> None:
        assert self._supervising.stdin is not None
        if self.is_running():
            with contextlib.suppress(BrokenPipeError):  # it has ended since
                self._supervising.stdin.write(bytes([number]))


@contextlib.contextmanager
def running_server(
    layout: Layout, account: Account, command: list[str], lock_fd: int
) -> Iterator[ServerProcess]:
    """Launches the server under a supervisor; stops it at the end."""
    with _launched_supervisor(layout, account, command, lock_fd) as supervising:
        assert supervising.stdout is not None
        first_line = supervising.stdout.readline()
        if not first_line:
            raise _start_error(layout)
        server = ServerProcess(supervising, int(first_line))
        try:
            yield server
        finally:
            server.stop(signal.SIGINT)


def server_command(programs: Path, socket_directories: str, settings: Mapping[str, str]) -> list[str]:
    """The postmaster's command line; no TCP, whatever the configuration file says."""
    private = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": socket_directories,
        "unix_socket_permissions": "0700",
    }
    options = [f"--{name}={value}" for name, value in {**settings, **private}.items()]
    return [str(programs / "postgres"), "-D", HERE, *options]


def wait_until_ready(server: ServerProcess, layout: Layout, silence_seconds: float) -> None:
    """Returns when the server accepts connections; raises if it ends, or says nothing new for so long."""
    begun = heard = told = time.monotonic()
    log_bytes = 0
    while not is_ready(layout, server.process_id):
        if server.ended_within(_POLL_SECONDS):
            raise _start_error(layout)
        now = time.monotonic()
        size = layout.log.stat().st_size
        if size != log_bytes:
            heard, log_bytes = now, size
        if now - heard >= silence_seconds:
            raise EmbeddedPostgresError(
                f"PostgreSQL in {layout.data_dir} did not get ready and said nothing new for "
                f"{silence_seconds:g} s; its log ends:\n{_log_tail(layout)}"
            )
        if now - told >= _PROGRESS_SECONDS:
            told = now
            last_line = _log_tail(layout).rpartition("\n")[2]
            _log.info("PostgreSQL is starting (%.0f s): %s", now - begun, last_line)


def _launched_supervisor(
    layout: Layout, account: Account, command: list[str], lock_fd: int
) -> "subprocess.Popen[bytes]":
    script = [sys.executable, "-I", "-S", str(Path(supervisor.__file__).resolve())]
    identity = ["-" if number is None else str(number) for number in (account.user_id, account.group_id)]
    log_fd = os.open(layout.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            [*script, str(lock_fd), *identity, *command],
            cwd=layout.cluster,
            env=SERVER_ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_fd,
            bufsize=0,
            pass_fds=(lock_fd,),
            start_new_session=True,  # Ctrl-C is for the hub, which still needs its database to finish
        )
    except OSError as error:
        raise EmbeddedPostgresError(f"cannot run {sys.executable}: {error}") from error
    finally:
        os.close(log_fd)


def _start_error(layout: Layout) -> EmbeddedPostgresError:
    tail = _log_tail(layout)
    return EmbeddedPostgresError(f"PostgreSQL did not start in {layout.data_dir}; its log ends:\n{tail}")


def _log_tail(layout: Layout) -> str:
    with layout.log.open("rb") as log:
        log.seek(max(0, layout.log.stat().st_size - _LOG_TAIL_BYTES))
        return log.read().decode("utf-8", "replace").strip()
