"""Files that only their user may read. POSIX modes: an adapter runs on Linux, macOS or in a container."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

MAX_FILE_BYTES = 65_536


class FileRefused(Exception):
    """A private file is missing, in the way, or open to others; the text says what to do about it."""


def read_private(path: Path) -> bytes:
    """At most MAX_FILE_BYTES of a regular file that nobody but its user (and root) can open."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise FileRefused(f"{path}: {error.strerror}") from error
    try:
        # The open file is judged, not the name: the name could be pointed elsewhere in between.
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise FileRefused(f"{path}: not a regular file")
        _refuse_open_to_others(path, found, "600")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_FILE_BYTES)
    finally:
        os.close(descriptor)


def check_private(path: Path) -> None:
    """Raises FileRefused unless `path` is a regular file that nobody but its user (and root) can open."""
    try:
        found = path.stat()
    except OSError as error:
        raise FileRefused(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise FileRefused(f"{path}: not a regular file")
    _refuse_open_to_others(path, found, "600")


def make_private_directory(folder: Path) -> None:
    """Makes `folder` with mode 0700, or checks the one that is there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise FileRefused(f"{folder}: {error.strerror}") from error
    _refuse_open_to_others(folder, found, "700")


def write_private(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Writes a new file of mode 0600, whole or not at all, and waits until it is on the disk. Never overwrites."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise FileRefused(f"{path}: exists already and is never overwritten") from error
    except OSError as error:
        raise FileRefused(f"{path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines((content,) if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(descriptor)
        _sync_directory(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise FileRefused(f"{path}: {error.strerror}; nothing was written") from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _refuse_open_to_others(path: Path, found: os.stat_result, mode: str) -> None:
    if found.st_mode & 0o077:
        given = f"{stat.S_IMODE(found.st_mode):o}"
        raise FileRefused(f"{path}: open to other users (mode {given}); run: chmod {mode} {path}")


def _sync_directory(folder: Path) -> None:
    # Without this the name, unlike the content, could be gone after a power cut.
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
