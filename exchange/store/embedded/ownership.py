"""Who may start a server on a data directory, and what becomes of one whose hub was killed.

Two locks, both `flock`, so the kernel releases them however a process ends:

* `owner.lock` is held by the process that called `start`. Whoever cannot get it is refused.
* `server.lock` is inherited by the supervisor, the postmaster and all its backends, so it is free exactly
  when no process of the last server is left. No process id has to be believed to know that.

The process id in `postmaster.pid` may be stale and by now somebody else's. A signal is sent only to a process
that was verified, while a pidfd pinned it, to be a PostgreSQL server working in this very cluster directory.
"""

import contextlib
import fcntl
import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from exchange.store.embedded.errors import EmbeddedPostgresError
from exchange.store.embedded.layout import Layout

_POLL_SECONDS = 0.02
_DYING_SECONDS = 1.0
_FAST_SHUTDOWN_SECONDS = 60.0
_IMMEDIATE_SHUTDOWN_SECONDS = 15.0
_IMPOSSIBLE_PROCESS_ID = 2**31 - 1  # Linux stops at 2**22 (proc(5), pid_max)
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def owner_lock(layout: Layout) -> Iterator[None]:
    """Holds the right to run a server on this data directory; raises if another process has it.

    Tries for a second, because a process that was just killed may take a moment to be gone.
    """
    path = layout.enclosure / "owner.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _lock_within(descriptor, _DYING_SECONDS):
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            raise EmbeddedPostgresError(
                f"the embedded PostgreSQL in {layout.data_dir} is in use by process {holder or 'unknown'}"
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def server_lock(layout: Layout) -> Iterator[int]:
    """Yields a descriptor for the server's processes to inherit, once none of an earlier server is left.

    A server whose hub was killed is already shutting down by itself; it is told so again, and after a minute
    to do so at once. Raises `EmbeddedPostgresError` if it stays, or if a server started by hand runs there.
    """
    descriptor = os.open(layout.enclosure / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _lock_within(descriptor, seconds=0):
            _outwait_orphan(layout, descriptor)
        _refuse_foreign_server(layout)
        yield descriptor
    finally:
        os.close(descriptor)


def disarm_stale_pid_file(layout: Layout) -> None:
    """Replaces the process id of a dead server by one that cannot exist. Call it under both locks only.

    PostgreSQL refuses to start if that id has meanwhile become another living process's. The rest of the file
    stays: PostgreSQL checks with it that no process is attached to the dead server's shared memory.
    """
    path = layout.cluster / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError):  # the last server shut down in good order
        lines = path.read_bytes().splitlines(keepends=True)
        if lines:
            path.write_bytes(b"".join([b"%d\n" % _IMPOSSIBLE_PROCESS_ID, *lines[1:]]))


def is_ready(layout: Layout, process_id: int) -> bool:
    """Whether the postmaster `process_id` says that it accepts connections (line 8 of `postmaster.pid`)."""
    lines = _pid_file_lines(layout.cluster)
    return lines[:1] == [str(process_id)] and [line.strip() for line in lines[7:8]] == ["ready"]


def _outwait_orphan(layout: Layout, descriptor: int) -> None:
    _log.warning("an earlier PostgreSQL server in %s has not ended yet; waiting for that", layout.data_dir)
    for number, patience in (
        (signal.SIGINT, _FAST_SHUTDOWN_SECONDS),
        (signal.SIGQUIT, _IMMEDIATE_SHUTDOWN_SECONDS),
    ):
        _signal_postmaster(layout.cluster, number)
        if _lock_within(descriptor, patience):
            return
    raise EmbeddedPostgresError(
        f"processes of an earlier PostgreSQL server in {layout.data_dir} do not end "
        f"(its postmaster was process {_recorded_process_id(layout.cluster) or 'unknown'}); end them by hand"
    )


def _refuse_foreign_server(layout: Layout) -> None:
    process_id = _recorded_process_id(layout.cluster)
    if process_id is not None and _works_in(process_id, layout.cluster):
        raise EmbeddedPostgresError(
            f"process {process_id} is a PostgreSQL server in {layout.cluster} that the hub did not start; "
            "stop it first"
        )


def _signal_postmaster(cluster: Path, number: signal.Signals) -> None:
    process_id = _recorded_process_id(cluster)
    if process_id is None:
        return
    try:
        pinned = os.pidfd_open(process_id)
    except ProcessLookupError:
        return
    try:
        if _works_in(process_id, cluster):
            signal.pidfd_send_signal(pinned, number)
    except ProcessLookupError:
        return  # it ended between the two lines, which is what the signal asks for
    finally:
        os.close(pinned)


def _recorded_process_id(cluster: Path) -> int | None:
    lines = _pid_file_lines(cluster)
    return int(lines[0]) if lines and lines[0].strip().isdigit() else None


def _works_in(process_id: int, cluster: Path) -> bool:
    """Whether the process is a PostgreSQL server whose working directory is this very cluster.

    Stricter than comparing start times, which move when the clock is set: whatever `postgres` works in this
    directory is the server of this cluster. A process we may not look at is not: a server here runs as us, or
    we are root.
    """
    process = Path("/proc") / str(process_id)
    try:
        program = (process / "cmdline").read_bytes().split(b"\0")[0]
        return program.rpartition(b"/")[2] == b"postgres" and (process / "cwd").samefile(cluster)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def _pid_file_lines(cluster: Path) -> list[str]:
    try:
        return (cluster / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _lock_within(descriptor: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True
