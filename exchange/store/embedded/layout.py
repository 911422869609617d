"""What the embedded PostgreSQL keeps on disk, and how each piece is made.

In the data directory:

    data_dir/pg_service.conf      for libpq programs of the hub's user
    data_dir/postgresql.log
    data_dir/postgresql/          enclosure: closed to everybody but the hub's user and the server
        owner.lock server.lock    see `ownership`
        cluster/                  PostgreSQL's own data directory
        socket/                   where the server listens
        socket-directory          the path of the socket directory, if it had to be elsewhere
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from exchange.store.embedded.account import Account
from exchange.store.embedded.errors import EmbeddedPostgresError

PORT = 5432  # only a part of the socket's name
SUPERUSER = "tongdui"
DATABASE = "tongdui"
_SOCKET_PATH_BYTES = 107  # sockaddr_un.sun_path, less its closing zero (unix(7))
# The server finds its cluster as its working directory, not by a path from the root: it may run as a user who
# may not enter a directory on that path. The kernel resolves this name without walking it.
HERE = "/proc/self/cwd"
# Nothing of the caller's PGDATA, PGPORT, PGOPTIONS, LANG or TZ reaches the server.
SERVER_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below one data directory, which is absolute."""

    data_dir: Path

    @property
    def service_file(self) -> Path:
        """The libpq service file, with the one section `[tongdui]`."""
        return self.data_dir / "pg_service.conf"

    @property
    def log(self) -> Path:
        """What the server and its supervisor say."""
        return self.data_dir / "postgresql.log"

    @property
    def enclosure(self) -> Path:
        """The directory around everything that is private."""
        return self.data_dir / "postgresql"

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.enclosure / "cluster"


@dataclass(frozen=True, slots=True)
class SocketDirectory:
    """Where the socket is: the path for clients, and what the server, which works in the cluster, is told."""

    path: Path
    name_for_server: str


def make_directories(layout: Layout, account: Account) -> None:
    """Makes the data directory (closed to others, if it is new) and the enclosure in it."""
    try:
        layout.data_dir.parent.mkdir(parents=True, exist_ok=True)
        layout.data_dir.mkdir(mode=0o700, exist_ok=True)
        account.make_enclosure(layout.enclosure)
    except OSError as error:
        raise EmbeddedPostgresError(f"cannot prepare the data directory: {error}") from error


def create_cluster_if_missing(layout: Layout, account: Account, programs: Path, lock_fd: int) -> None:
    """Runs initdb: UTF-8, text compared by its bytes ("C"), data checksums on (PostgreSQL 18's default).

    Under a temporary name first, so that an interrupted initdb is never taken for a cluster. `lock_fd` is
    inherited, so that nobody else starts while an initdb that outlived its caller is still writing.
    """
    if layout.cluster.exists():
        _check_cluster_owner(layout, account)
        return
    draft = layout.enclosure / "cluster.new"
    if draft.exists():
        shutil.rmtree(draft)
    account.make_server_directory(draft)
    options = ["--auth=peer", "--encoding=UTF8", "--no-locale", "--no-instructions"]
    try:
        result = subprocess.run(
            [str(programs / "initdb"), "-D", HERE, "-U", SUPERUSER, *options],
            cwd=draft,
            env=SERVER_ENVIRONMENT,
            user=account.user_id,
            group=account.group_id,
            extra_groups=account.extra_groups,
            pass_fds=(lock_fd,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except OSError as error:
        raise EmbeddedPostgresError(f"cannot run {programs / 'initdb'}: {error}") from error
    if result.returncode != 0:
        raise EmbeddedPostgresError(f"initdb failed for {layout.data_dir}:\n{result.stdout.strip()}")
    draft.rename(layout.cluster)
    _sync_directory(layout.enclosure)


def write_access_rules(layout: Layout, account: Account) -> None:
    """Lets the hub's user in, as any database role, and nobody else. Written at every start: users change."""
    rules = "local all all peer map=hub\nlocal replication all peer map=hub\n"
    users = 'hub "{}" all\n'.format(account.hub_user.replace('"', '""'))
    write_privately(layout.cluster / "pg_hba.conf", rules, account)
    write_privately(layout.cluster / "pg_ident.conf", users, account)


def write_service_file(layout: Layout, socket_directory: Path) -> None:
    """Writes how to connect, for settlement, psql and pg_dump run by the hub's user."""
    entries = {"host": socket_directory, "port": PORT, "user": SUPERUSER, "dbname": DATABASE}
    section = "".join(f"{key}={value}\n" for key, value in entries.items())
    note = "# Written at every start of the embedded PostgreSQL."
    write_privately(layout.service_file, f"{note}\n[tongdui]\n{section}")


def database_url(socket_directory: Path, database: str = DATABASE) -> str:
    """A libpq URI for `database`; it holds no secret."""
    return f"postgresql://{SUPERUSER}@/{quote(database)}?host={quote(str(socket_directory))}&port={PORT}"


@contextlib.contextmanager
def socket_directory(layout: Layout, account: Account) -> Iterator[SocketDirectory]:
    """An empty, closed directory for the socket.

    Beside the cluster if libpq can connect to such a path, else below the directory for temporary files.
    """
    elsewhere = layout.enclosure / "socket-directory"
    if elsewhere.exists():  # left by a hub that was killed
        shutil.rmtree(elsewhere.read_text(encoding="utf-8"), ignore_errors=True)  # a reboot may have done it
        elsewhere.unlink()
    path = layout.enclosure / "socket"
    if path.exists():
        shutil.rmtree(path)
    if _libpq_can_connect(path):
        account.make_server_directory(path)
        yield SocketDirectory(path, "../socket")
        return
    enclosure = _short_directory()
    try:
        write_privately(elsewhere, str(enclosure))
        account.make_enclosure(enclosure)
        path = enclosure / "s"
        account.make_server_directory(path)
        yield SocketDirectory(path, f'"{path}"')
    finally:
        shutil.rmtree(enclosure, ignore_errors=True)  # a socket is no loss, and the next start tries again
        elsewhere.unlink(missing_ok=True)


def clear_socket_directory(directory: SocketDirectory) -> None:
    """Removes what a server that was killed left in it, which names a process that may be another's by now."""
    for left in directory.path.iterdir():
        left.unlink()


def write_privately(path: Path, text: str, account: Account | None = None) -> None:
    """Replaces the file, never half written, with one that only we, or the server's `account`, can read."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft = Path(name)
    if account is not None:
        account.give(draft)
    draft.replace(path)


def _check_cluster_owner(layout: Layout, account: Account) -> None:
    owner = layout.cluster.stat().st_uid
    wanted = os.geteuid() if account.user_id is None else account.user_id
    if owner != wanted:
        raise EmbeddedPostgresError(
            f"the server would run as user id {wanted}, but {layout.cluster} belongs to user id {owner}; "
            "start the hub as the user who created it"
        )


def _libpq_can_connect(directory: Path) -> bool:
    """Whether the path is short enough for a socket and survives libpq's lists of hosts and service files."""
    text = str(directory)
    length = len(os.fsencode(directory / f".s.PGSQL.{PORT}"))
    return length <= _SOCKET_PATH_BYTES and text == text.strip() and not set(text) & set(',"\n\r')


def _short_directory() -> Path:
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes the name, nobody else can take it
        if _libpq_can_connect(Path(parent) / "tongdui-12345678" / "s"):
            return Path(tempfile.mkdtemp(prefix="tongdui-", dir=parent))
    raise EmbeddedPostgresError("no directory with a path short enough for a Unix socket; set TMPDIR to one")


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
