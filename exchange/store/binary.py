"""PostgreSQL's binary formats for the hot path: array parameters and rows.

Packing columns with `struct` costs a fifth of what adapting each value does, and the same bytes, hashed, are
the digest of a batch's entries (docs/protocol.md, The journal chain).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import repeat
from struct import Struct, pack
from typing import Any, Final, NamedTuple

Columns = Sequence[Sequence[Any]]
"""Rows by column, of the same length each."""

_COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TRAILER: Final = b"\xff\xff"
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = date(2000, 1, 1).toordinal()
_DAY_MICROSECONDS: Final = 86_400_000_000
_FEW: Final = 256
_ARRAY_HEAD: Final = Struct(">iiIii")
_EMPTY_ARRAY: Final = Struct(">iiI")
_LENGTHS: Final = [pack(">i", length) for length in range(1024)]


class _Kind(NamedTuple):
    """A column's type: its SQL name and oid, and how `struct` packs it if it is of fixed size."""

    sql: str
    oid: int
    code: str = ""
    size: int = 0


_KINDS: Final = {
    "int4": _Kind("integer", 23, "i", 4),
    "int8": _Kind("bigint", 20, "q", 8),
    "bool": _Kind("boolean", 16, "?", 1),
    "date": _Kind("date", 1082, "i", 4),
    "time": _Kind("timestamptz", 1184, "q", 8),
    "text": _Kind("text", 25),
    "word": _Kind("text", 25),
    "bytes": _Kind("bytea", 17),
}
"""Dates are days and times microseconds since 2000-01-01. A `word` is text that comes again and again."""


def array(name: str, values: Sequence[Any]) -> bytes:
    """An array parameter of a kind. Text as `str`, dates and times as numbers."""
    kind = _KINDS[name]
    if not values:
        return _EMPTY_ARRAY.pack(0, 0, kind.oid)
    count = len(values)
    if kind.code:
        flat = [kind.size] * (2 * count)
        flat[1::2] = values
        form = _few_values if count <= _FEW else _values
        return form(kind.code, count).pack(1, 0, kind.oid, count, 1, *flat)
    head = _ARRAY_HEAD.pack(1, 0, kind.oid, count, 1)
    if name == "word":
        return head + b"".join(map(_word_field, values))
    fields = [b""] * (2 * count)
    fields[1::2] = data = values if name == "bytes" else [value.encode() for value in values]
    fields[::2] = _lengths(data)
    return head + b"".join(fields)


def _values(code: str, count: int) -> Struct:
    return Struct(f">iiIii{('i' + code) * count}")


_few_values = lru_cache(4 * _FEW)(_values)
"""`struct` itself keeps a hundred formats and then forgets them all, which small batches of many sizes run into."""


def int4s(values: Sequence[int]) -> bytes:
    """An `integer[]`."""
    return array("int4", values)


def int8s(values: Sequence[int]) -> bytes:
    """A `bigint[]`."""
    return array("int8", values)


def texts(values: Sequence[str]) -> bytes:
    """A `text[]`."""
    return array("text", values)


def dates(values: Sequence[date]) -> bytes:
    """A `date[]`."""
    return array("date", [day_number(day) for day in values])


def microseconds(moment: datetime) -> int:
    """A `timestamptz`: microseconds since 2000-01-01 UTC."""
    since = moment - _EPOCH
    return since.days * _DAY_MICROSECONDS + since.seconds * 1_000_000 + since.microseconds


def int4(number: int) -> bytes:
    """An `integer`."""
    return pack(">i", number)


def int8(number: int) -> bytes:
    """A `bigint`."""
    return pack(">q", number)


def day_number(day: date) -> int:
    """A `date`: days since 2000-01-01."""
    return day.toordinal() - _EPOCH_DAY


class RowFormat:
    """The columns of a table in the order they are written: those of fixed size first."""

    __slots__ = ("_fixed", "_kinds", "_struct", "copy", "insert")

    def __init__(self, table: str, columns: str) -> None:
        """`columns` is `name kind, name kind...`; see `_KINDS`."""
        named = [tuple(column.split()) for column in columns.split(",")]
        self._kinds = [kind for _, kind in named]
        self._fixed = [_KINDS[kind] for kind in self._kinds if _KINDS[kind].code]
        if any(_KINDS[kind].code for kind in self._kinds[len(self._fixed) :]):
            raise ValueError(f"{table}: columns of fixed size come first")
        self._struct = Struct(">h" + "".join("i" + kind.code for kind in self._fixed))
        names = ", ".join(column for column, _ in named)
        arrays = ", ".join(f"%s::{_KINDS[kind].sql}[]" for kind in self._kinds)
        self.copy = f"COPY exchange.{table} ({names}) FROM STDIN (FORMAT BINARY)".encode()
        self.insert = (
            f"INSERT INTO exchange.{table} ({names}) SELECT * FROM unnest({arrays})"  # noqa: S608  # names of our own
        ).encode()

    def pack(self, columns: Columns) -> list[bytes]:
        """Rows as binary COPY takes them, made of columns, because `map` loops without the interpreter."""
        fixed: list[Iterable[int]] = [repeat(len(self._kinds))]
        for kind, column in zip(self._fixed, columns, strict=False):
            fixed += (repeat(kind.size), column)
        parts: list[Iterable[bytes]] = [map(self._struct.pack, *fixed)]
        for name, column in zip(self._kinds[len(self._fixed) :], columns[len(self._fixed) :], strict=True):
            parts += _text_parts(name, column)
        return list(map(b"".join, zip(*parts, strict=True)))

    def arrays(self, columns: Columns) -> tuple[bytes, ...]:
        """Columns as the parameters of `insert`: an array each."""
        return tuple(map(array, self._kinds, columns))


def _text_parts(name: str, column: Sequence[Any]) -> tuple[Iterable[bytes], ...]:
    if name == "word":
        return (map(_word_field, column),)
    values = column if name == "bytes" else [value.encode() for value in column]
    return _lengths(values), values


def _lengths(values: Sequence[bytes]) -> list[bytes]:
    try:
        return list(map(_LENGTHS.__getitem__, map(len, values)))  # loops without the interpreter
    except IndexError:  # one of them is longer
        return list(map(_length, values))


def _length(data: bytes) -> bytes:
    length = len(data)
    return _LENGTHS[length] if length < len(_LENGTHS) else pack(">i", length)


def _field(data: bytes) -> bytes:
    """A value of variable size behind its length."""
    return _length(data) + data


@lru_cache(4096)
def _word_field(word: str) -> bytes:
    return _field(word.encode())


def copy_stream(rows: Iterable[bytes]) -> bytes:
    """Packed rows as one binary COPY stream."""
    return b"".join((_COPY_HEADER, *rows, _COPY_TRAILER))


def update_statement(table: str, keys: str, columns: Sequence[str], types: str, more: str = "") -> bytes:
    """An UPDATE from arrays: `keys` and `columns` in the order of `types`, all of them names of ours."""
    names = [*keys.split(), *columns]
    arrays = ", ".join(f"%s::{kind}[]" for kind in types.split())
    changes = ", ".join([more, *(f"{name} = new.{name}" for name in columns)]).removeprefix(", ")
    where = " AND ".join(f"{table}.{key} = new.{key}" for key in keys.split())
    return (
        f"UPDATE exchange.{table} SET {changes} FROM unnest({arrays}) AS new ({', '.join(names)}) WHERE {where}"  # noqa: S608  # names of our own
    ).encode()
