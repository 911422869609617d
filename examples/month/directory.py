"""The demo's data directory: made anew by each run, and told apart from anybody else's by a marker file."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEFAULT_DIRECTORY: Final = "demo-data"
MARKER: Final = ".tongdui-demo"
_FIGURES: Final = "figures.json"
_HUB_PROCESS: Final = "hub.pid"
_MARKER_TEXT: Final = "A data directory of Tongdui's demo. The next run of the demo removes what is in it.\n"


class DirectoryRefused(RuntimeError):
    """The directory is not one that the demo may use now; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class DemoDirectory:
    """Where everything of one run lies. `path` is absolute."""

    path: Path

    @property
    def hub(self) -> Path:
        """The hub's data: its key, its embedded PostgreSQL, its log."""
        return self.path / "hub"

    @property
    def keys(self) -> Path:
        """One folder of private keys for each owner."""
        return self.path / "keys"

    @property
    def statements(self) -> Path:
        """Statements as CSV, one file a day."""
        return self.path / "statements"

    @property
    def receipts(self) -> Path:
        """The hub's last receipt to each partner."""
        return self.path / "receipts"

    @property
    def partners(self) -> Path:
        """Where each partner finds the hub and its key, as arguments for `tongdui-adapter`."""
        return self.path / "partners"

    @property
    def environment_file(self) -> Path:
        """What a shell has to read before it can look at the demo's hub."""
        return self.path / "env"

    def keep_figures(self, text: str) -> None:
        """Writes the figures of the run that made it, JSON."""
        (self.path / _FIGURES).write_text(text + "\n", encoding="utf-8")

    def read_figures(self) -> str:
        """The figures of the run that made it, JSON. Raises `DirectoryRefused` where it did not finish."""
        try:
            return (self.path / _FIGURES).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise DirectoryRefused(f"{self.path}: the last run did not finish, run the demo again") from None

    @contextmanager
    def made_anew(self) -> Iterator[int]:
        """Empties it, or makes it, and holds it against other runs; gives the lock's file descriptor.

        Raises `DirectoryRefused` for anything that is not a previous run's, and while another one uses it.
        """
        self._refuse_strangers()
        self.path.mkdir(parents=True, exist_ok=True)
        marker = self.path / MARKER
        if not marker.exists():
            marker.write_text(_MARKER_TEXT, encoding="utf-8")
        with self.held() as lock:
            for entry in self.path.iterdir():
                if entry == marker:
                    continue  # stays to the last, so that a run interrupted here does not block the next
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
            for made in (self.hub, self.statements, self.receipts):
                made.mkdir()
            self.keys.mkdir(mode=0o700)
            yield lock

    @contextmanager
    def held(self) -> Iterator[int]:
        """Holds a previous run's directory against other runs. Raises `DirectoryRefused`."""
        marker = self.path / MARKER
        if self.path.is_symlink() or marker.is_symlink() or not marker.is_file():
            raise DirectoryRefused(f"{self.path} is not a directory of the demo: run the demo first")
        with marker.open("rb") as lock:
            try:
                # Of the open file, not of this process: a hub that outlives a killed demo keeps it.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DirectoryRefused(
                    f"{self.path} is in use by another run of the demo or by its hub"
                    f"{self._hub_process()}: stop that first"
                ) from None
            yield lock.fileno()

    def note_hub(self, process_id: int) -> None:
        """Keeps the hub's process id, for the case that the hub outlives the demo."""
        (self.path / _HUB_PROCESS).write_text(str(process_id), encoding="ascii")

    def _hub_process(self) -> str:
        file = self.path / _HUB_PROCESS
        return f" (process {file.read_text(encoding='ascii')})" if file.is_file() else ""

    def _refuse_strangers(self) -> None:
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_dir()):
            raise DirectoryRefused(f"{self.path} is not a directory: name another with --directory")
        if self.path.is_dir() and any(self.path.iterdir()) and not (self.path / MARKER).is_file():
            raise DirectoryRefused(
                f"{self.path} was not made by the demo and would be emptied: name another with --directory"
            )
