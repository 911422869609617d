"""The files of an evidence bundle: written once, listed in a manifest, and told apart to the line when one is damaged.

Beside each file `NAME` stands `NAME.rows`, four bytes of SHA-256 for each line of it (for each 64 bytes where the file
is one document). They prove nothing; they tell which line is not the one that was written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from settlement.core.certificate import canonical_json, content_sha256
from settlement.core.evidence import EvidenceWrong, Fault, Record, parse_line, record_line

FORMAT: Final = "tongdui-evidence-v1"
MANIFEST: Final = "manifest.json"
ROWS_SUFFIX: Final = ".rows"
MAX_LINE_BYTES: Final = 1 << 20
MAX_MANIFEST_BYTES: Final = 1 << 20

_CHUNK: Final = 1 << 20
_BLOCK: Final = 64
_MARK: Final = 4


@dataclass(slots=True)
class RecordWriter:
    """Writes one file of records, its row marks, and what the manifest says of both."""

    directory: Path
    name: str
    line_count: int = 0
    _file: BinaryIO = field(init=False)
    _rows: BinaryIO = field(init=False)

    def __enter__(self) -> Self:
        self._file = (self.directory / self.name).open("xb")
        self._rows = (self.directory / (self.name + ROWS_SUFFIX)).open("xb")
        return self

    def write(self, records: Iterable[Record]) -> None:
        """Adds records, a line each."""
        for record in records:
            line = record_line(record)
            self._file.write(line)
            self._rows.write(_mark(line))
            self.line_count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._rows.close()


def write_document(directory: Path, name: str, document: bytes) -> None:
    """Writes one document byte for byte, and its marks."""
    (directory / name).write_bytes(document)
    blocks = (document[at : at + _BLOCK] for at in range(0, len(document), _BLOCK))
    (directory / (name + ROWS_SUFFIX)).write_bytes(b"".join(map(_mark, blocks)))


def write_manifest(directory: Path, names: Iterable[str], facts: Record) -> None:
    """Lists the files, each with its size and SHA-256, with `facts` about the window. Comes last."""
    paths = [directory / it for name in names for it in (name, name + ROWS_SUFFIX)]
    listed = [
        {"name": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in paths
    ]
    content = {"format": FORMAT, **facts, "files": listed}
    document = {"manifest": content, "sha256": content_sha256(content)}
    (directory / MANIFEST).write_bytes(canonical_json(document) + b"\n")


def file_sha256(path: Path, seen: Callable[[int], None] = lambda _: None) -> str:
    """SHA-256 (hex) of a file; `seen` is told of bytes as they are read."""
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
            seen(len(chunk))
    return hashed.hexdigest()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle's manifest says.

    Attributes:
        content: all of it.
        files: (bytes, SHA-256) of each file by its name, in the order listed.
    """

    content: Record
    files: dict[str, tuple[int, str]]

    @property
    def byte_count(self) -> int:
        """The size of all files."""
        return sum(size for size, _ in self.files.values())


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a bundle. Raises EvidenceWrong where it is damaged, OSError where it is missing."""
    with (directory / MANIFEST).open("rb") as file:
        raw = file.read(MAX_MANIFEST_BYTES)
    try:
        document = json.loads(raw)
        content = document["manifest"]
        files = {str(it["name"]): (int(it["bytes"]), str(it["sha256"])) for it in content["files"]}
        sound = content["format"] == FORMAT and canonical_json(document) + b"\n" == raw
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise EvidenceWrong(Fault(MANIFEST, f"not a manifest of {FORMAT} in canonical JSON"))
    if content_sha256(content) != document["sha256"]:
        raise EvidenceWrong(Fault(MANIFEST, "not what it was when it was written", field="sha256"))
    if any(Path(name).name != name for name in files):
        raise EvidenceWrong(Fault(MANIFEST, "names a file outside the bundle", field="files"))
    return Manifest(content, files)


def check_files(directory: Path, manifest: Manifest, seen: Callable[[int], None]) -> None:
    """Every file has the bytes the manifest states. Raises EvidenceWrong for the first that has not, with the line."""
    damaged = [name for name in manifest.files if not _as_listed(directory, manifest, name, seen)]
    for name in damaged:
        if name.endswith(ROWS_SUFFIX) and name.removesuffix(ROWS_SUFFIX) in damaged:
            continue  # told with its file
        raise EvidenceWrong(_located(directory, name, marked=name + ROWS_SUFFIX not in damaged))


def _as_listed(directory: Path, manifest: Manifest, name: str, seen: Callable[[int], None]) -> bool:
    path = directory / name
    if not path.is_file():
        raise EvidenceWrong(Fault(name, "is missing from the bundle"))
    size, sha256 = manifest.files[name]
    return path.stat().st_size == size and file_sha256(path, seen) == sha256


def _located(directory: Path, name: str, *, marked: bool) -> Fault:
    if name.endswith(ROWS_SUFFIX) or not marked:
        return Fault(name, "not the bytes that were exported")
    marks = (directory / (name + ROWS_SUFFIX)).read_bytes()
    pieces = _lines(directory / name) if name.endswith(".jsonl") else _blocks(directory / name)
    number = 0
    for number, piece in enumerate(pieces, 1):
        if _mark(piece) != marks[(number - 1) * _MARK : number * _MARK]:
            return _piece_fault(name, number, piece)
    return Fault(name, f"ends after {number} of {len(marks) // _MARK} pieces, or goes on after the last")


def _piece_fault(name: str, number: int, piece: bytes) -> Fault:
    shown = piece.decode("utf-8", "replace").rstrip("\n")[:200]
    if not name.endswith(".jsonl"):
        first = (number - 1) * _BLOCK
        return Fault(name, f"bytes {first} to {first + len(piece) - 1} are not those exported: {shown}")
    return Fault(name, f"not the line that was exported: {shown}", number, batch_sequence=_sequence(piece))


def _sequence(line: bytes) -> int:
    """The batch a damaged line says it is of; 0 where it says nothing legible."""
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError):
        return 0
    found = record.get("batch_sequence", record.get("sequence")) if isinstance(record, dict) else None
    return found if type(found) is int else 0


def _mark(piece: bytes) -> bytes:
    return hashlib.sha256(piece).digest()[:_MARK]


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES):
            yield line


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def read_records(directory: Path, name: str) -> Iterator[tuple[int, Record]]:
    """(line number from 1, record) of a file of records. Raises EvidenceWrong, OSError."""
    for number, line in enumerate(_lines(directory / name), 1):
        yield number, parse_line(name, number, line)
