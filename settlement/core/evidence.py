"""Evidence of a window: its journal rows as plain data, and as the bytes that the chain hashes.

A row of a bundle is one line of JSON with the columns that `docs/protocol.md` (The journal chain) lists, under their
names, and before them the sequence of the batch it belongs to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

Record = Mapping[str, Any]

TEXT: Final = 0
TIME: Final = -1

COLUMNS: Final[Mapping[str, tuple[tuple[str, int], ...]]] = {
    "entries": (
        ("batch_id", 8),
        ("entry_index", 4),
        ("member_id", 8),
        ("partner_id", 4),
        ("points", 8),
        ("rate_version", 4),
        ("event_time", TIME),
        ("spend_minor", 8),
        ("native_points", 8),
        ("original_batch_id", 8),
        ("original_entry_index", 4),
        *((name, TEXT) for name in ("kind", "request_id", "store_id", "terminal_id", "reference", "reason")),
        ("campaign_id", TEXT),
        ("channel", TEXT),
    ),
    "legs": (
        ("batch_id", 8),
        ("entry_index", 4),
        ("leg_number", 4),
        ("member_id", 8),
        ("lot_sequence", 4),
        ("issuer_id", 4),
        ("rate_version", 4),
        ("points", 8),
        ("from_account", TEXT),
        ("to_account", TEXT),
    ),
    "lines": (
        ("batch_id", 8),
        ("entry_index", 4),
        ("line_number", 4),
        ("member_id", 8),
        ("payer_id", 4),
        ("payee_id", 4),
        ("micros", 8),
        ("payer_component", TEXT),
        ("payee_component", TEXT),
    ),
}
"""The hashed columns of each table in their order: bytes of a whole number, TEXT, or TIME."""

ORDER: Final[Mapping[str, tuple[str, ...]]] = {
    "entries": ("entry_index",),
    "legs": ("entry_index", "leg_number"),
    "lines": ("entry_index", "line_number"),
}
"""What a batch's rows are ordered by."""

SEQUENCE: Final = "batch_sequence"

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LENGTHS: Final = {width: width.to_bytes(4, "big") for width in (4, 8)}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and where.

    Attributes:
        file: the file of the bundle.
        what: what is wrong, for a person.
        line: its line in the file, from 1; 0 where it is no matter of one line.
        field: the field in question; empty where it is none alone.
        batch_sequence: the batch of the hub's chain; 0 where it is none.
    """

    file: str
    what: str
    line: int = 0
    field: str = ""
    batch_sequence: int = 0

    def __str__(self) -> str:
        places = [self.file]
        places += [f"line {self.line}"] if self.line else []
        places += [f"batch {self.batch_sequence}"] if self.batch_sequence else []
        places += [self.field] if self.field else []
        return f"{', '.join(places)}: {self.what}"


class EvidenceWrong(Exception):
    """Something of a bundle is not as it must be; `fault` says what and where."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def _no_float(text: str) -> object:
    raise ValueError(f"{text}: amounts are whole numbers")


# As `canonical_json`, without its look at every value: rows come by the million, and none holds a float.
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)
_DECODER: Final = json.JSONDecoder(parse_float=_no_float, parse_constant=_no_float)


def record_line(record: Record) -> bytes:
    """A record of whole numbers and texts as a line of a bundle: canonical JSON and a line feed."""
    return _ENCODER.encode(record).encode("ascii") + b"\n"


def parse_line(file: str, number: int, line: bytes) -> Record:
    """The record of a line. Raises EvidenceWrong unless the line is exactly as `record_line` writes it."""
    try:
        record = _DECODER.decode(line.decode("ascii"))
        sound = isinstance(record, dict) and record_line(record) == line
    except (ValueError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise EvidenceWrong(Fault(file, "not a record in canonical JSON", number))
    return record  # type: ignore[no-any-return] # a dict, as was just seen


def row_bytes(table: str, record: Record) -> bytes:
    """A row in PostgreSQL's binary format, as the chain hashes it.

    Raises ValueError naming the field that is missing, superfluous or out of shape.
    """
    columns = COLUMNS[table]
    if len(record) != len(columns) + 1:
        raise ValueError(f"{_odd_field(table, record)}: missing or not of {table}")
    parts = [len(columns).to_bytes(2, "big")]
    name = SEQUENCE
    try:
        for name, width in columns:
            value = record[name]
            if width > 0:
                parts += (_LENGTHS[width], _whole(value, width))
            else:
                raw = value.encode("utf-8") if width == TEXT else time_bytes(value)
                parts += (len(raw).to_bytes(4, "big"), raw)
    except KeyError:
        raise ValueError(f"{name}: missing") from None
    except (TypeError, AttributeError, OverflowError, ValueError):
        raise ValueError(f"{name}: out of shape") from None
    return b"".join(parts)


def _odd_field(table: str, record: Record) -> str:
    return min({SEQUENCE, *(name for name, _ in COLUMNS[table])} ^ record.keys())


def _whole(value: object, width: int) -> bytes:
    if type(value) is not int:
        raise TypeError
    return value.to_bytes(width, "big", signed=True)


def time_bytes(text: str) -> bytes:
    """A moment, as `time_text` writes it, in the 8 bytes the chain hashes. Raises ValueError."""
    micros = (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    return micros.to_bytes(8, "big", signed=True)
