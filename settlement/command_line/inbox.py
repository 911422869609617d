"""A directory in which partners' files wait: what each is, by its name.

`PARTNER.YYYY-MM-DD.csv`, `.jsonl` or `.mapped`; a mapped file has its control record beside it,
`PARTNER.YYYY-MM-DD.mapped.control`. Names that begin with a dot or end in `.part` are files still on their way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from settlement.core.partner_file import FileFormat
from settlement.partner_files import BYTE_LIMIT, Declared

PIECE_BYTES: Final = 1024 * 1024
_FORMATS: Final = {"csv": FileFormat.CSV, "jsonl": FileFormat.JSONL, "mapped": FileFormat.MAPPED}
_CONTROL: Final = ".control"
_MAX_CONTROL_BYTES: Final = 64 * 1024


class NameUnknown(Exception):
    """A file's name does not say whose it is and of which day."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file in the inbox."""

    path: Path

    def declared(self) -> Declared:
        """What its name and its bytes say of it. Raises NameUnknown, OSError."""
        parts = self.path.name.rsplit(".", 2)
        if len(parts) != 3 or parts[2] not in _FORMATS or not parts[0]:
            raise NameUnknown("its name is not PARTNER.YYYY-MM-DD.csv, .jsonl or .mapped")
        try:
            day = date.fromisoformat(parts[1])
        except ValueError:
            raise NameUnknown(f"its name has {parts[1]!r} where a day belongs, YYYY-MM-DD") from None
        file_format = _FORMATS[parts[2]]
        control = self._control() if file_format is FileFormat.MAPPED else b""
        # Files stay in the inbox: one whose place another took must not come back every night.
        return Declared(parts[0], day, file_format, self._sha256(), control, once=True)

    def pieces(self) -> Iterator[bytes]:
        """Its bytes."""
        with self.path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece

    def _control(self) -> bytes:
        beside = self.path.with_name(self.path.name + _CONTROL)
        if not beside.is_file():
            raise NameUnknown(f"its control record {beside.name} is not there")
        with beside.open("rb") as file:
            return file.read(_MAX_CONTROL_BYTES)

    def _sha256(self) -> str:
        """Its hash, by which a file that was taken in before is known again; empty where it is too large anyway."""
        if self.path.stat().st_size > BYTE_LIMIT:
            return ""
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()


def waiting_files(directory: Path) -> list[Waiting]:
    """The files of an inbox in the order of their names. Raises OSError."""
    return [
        Waiting(path)
        for path in sorted(directory.iterdir())
        if path.is_file() and not path.name.startswith(".") and path.suffix not in (".part", _CONTROL)
    ]
