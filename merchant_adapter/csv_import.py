"""Commands on points from a CSV file: all of them can be stored, or every fault is named by row and field.

The columns are `command` and the field names of the SDK's commands; an empty cell is a field that is not given. Without
a `request_id` a row gets one of its own names, so that the same file again asks for the same decisions.
"""

import binascii
import csv
import io
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from datetime import date, datetime
from functools import partial
from types import NoneType
from typing import Any

from merchant_adapter.errors import FieldViolation, InvalidRequest, Refusal
from merchant_adapter.json_object import from_base64url
from merchant_adapter.limits import EARLIEST_YEAR, LATEST_YEAR, NUMBERS, TEXTS
from merchant_adapter.outbox.errors import RequestIdTaken
from merchant_adapter.outbox.outbox import new_command
from merchant_adapter.outbox.records import NewCommand
from merchant_adapter.partner_file import FORMULA
from merchant_adapter.points import POINTS_METHODS
from merchant_adapter.points_commands import PointsCommand
from merchant_adapter.reasons import Reason
from merchant_adapter.request_ids import derived_request_id

MOST_BYTES = 16 << 20
MOST_ROWS = 100_000
MOST_FAULTS = 100
"""Faults that are listed; the others are counted."""

ROWS_BETWEEN_SIGNS = 1_000

_WHOLE = re.compile("[0-9]{1,15}")
_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


class _Fault(Exception):
    """One cell that cannot be used."""


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """A row of a file as a command; `number` is the row's, as a spreadsheet counts: the columns' names are row 1."""

    number: int
    command: NewCommand


def read_commands(
    raw: bytes, accepted_ms: int, on_rows: Callable[[int], None] = lambda _: None
) -> list[ImportedRow]:
    """The commands of a whole file, in its order. `on_rows` is told now and then how many rows were read.

    Raises InvalidRequest, whose fields are `rows[7].points` for row 7, `MOST_FAULTS` of them at most.
    """
    if len(raw) > MOST_BYTES:
        raise _refusal([FieldViolation("file", f"longer than {MOST_BYTES} bytes")], 1)
    reading = _Reading(accepted_ms)
    for number, cells in _records(raw):
        if number == 1:
            reading.begin(cells)
        elif any(cells):
            reading.read(number, cells)
        if number % ROWS_BETWEEN_SIGNS == 0:
            on_rows(number)
    return reading.end()


def imported_request_id(command: str, reference: str, part: int = 0) -> str:
    """The request id of a row without one: for rows that follow it by `original_request_id`."""
    return derived_request_id("import", command, reference, str(part))


def named_by_row(error: RequestIdTaken, rows: Sequence[ImportedRow]) -> InvalidRequest:
    """What the outbox said of one command, as a fault of its row."""
    said = str(error)
    taken = [row for row in rows if said.startswith(f"{row.command.request_id}: ")]
    number = taken[0].number if taken else 1
    violation = FieldViolation(f"rows[{number}].request_id", "is of another command that was stored before")
    return _refusal([violation], 1)


def _records(raw: bytes) -> Iterator[tuple[int, list[str]]]:
    try:
        text = raw.decode("utf-8-sig")  # spreadsheets put a byte order mark in front
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _refusal([FieldViolation("file", f"not UTF-8, in line {line}")], 1) from error
    records = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        yield from enumerate(records, 1)
    except csv.Error as error:
        fault = FieldViolation("file", f"not CSV, in line {records.line_num}: {error}")
        raise _refusal([fault], 1) from error


def _refusal(faults: Sequence[FieldViolation], count: int) -> InvalidRequest:
    listed = f"; the first {len(faults)} are listed" if count > len(faults) else ""
    said = f"nothing was stored: {count} {'fault' if count == 1 else 'faults'}{listed}"
    return InvalidRequest(Refusal("INVALID_ARGUMENT", Reason.INVALID_FIELD, said, fields=tuple(faults)))


class _Reading:
    """One file on its way."""

    def __init__(self, accepted_ms: int) -> None:
        self._accepted_ms = accepted_ms
        self._columns: list[str] = []
        self._rows: list[ImportedRow] = []
        self._seen: dict[str, int] = {}
        self._faults: list[FieldViolation] = []
        self._fault_count = 0

    def begin(self, columns: list[str]) -> None:
        """Takes the first row; raises InvalidRequest at once, since nothing after it can be understood."""
        for name in columns[: len(_COLUMNS) + 1]:  # where there are more, one of these is wrong already
            if name not in _COLUMNS:
                self._note(1, name or "column", "no field of a command has this name")
            elif columns.count(name) > 1:
                self._note(1, name, "stands there twice")
        if "command" not in columns:
            self._note(1, "command", "there is no such column")
        if self._faults:
            raise _refusal(self._faults, self._fault_count)
        self._columns = columns

    def read(self, number: int, cells: list[str]) -> None:
        """Takes one more row."""
        if len(self._rows) >= MOST_ROWS:
            raise _refusal([FieldViolation("file", f"more than {MOST_ROWS} rows")], 1)
        if len(cells) != len(self._columns):
            self._note(number, "row", f"has {len(cells)} cells, and there are {len(self._columns)} columns")
            return
        said = {name: cell for name, cell in zip(self._columns, cells, strict=True) if cell}
        form = _FORMS.get(said.pop("command", ""))
        if form is None:
            self._note(number, "command", f"expected one of {', '.join(_FORMS)}")
            return
        note = partial(self._note, number)
        is_whole = form.is_whole(said, note)
        values = dict(form.values(said, note))
        if is_whole and len(values) == len(said):
            self._keep(number, form.command, values)

    def end(self) -> list[ImportedRow]:
        """All rows, or none."""
        if not self._columns:
            raise _refusal([FieldViolation("file", "is empty: the first row names the columns")], 1)
        if self._fault_count:
            raise _refusal(self._faults, self._fault_count)
        return self._rows

    def _keep(self, number: int, kind: type[PointsCommand[Any]], values: dict[str, Any]) -> None:
        name = _NAMES[kind]
        request_id = values.setdefault(
            "request_id", imported_request_id(name, values["reference"], values.get("part", 0))
        )
        if request_id in self._seen:
            # Of two equal rows, one would be left out without a word.
            same = "request_id" if "request_id" in self._columns else "command, reference and part"
            self._note(number, "row", f"has the same {same} as row {self._seen[request_id]}")
            return
        self._seen[request_id] = number
        try:
            self._rows.append(ImportedRow(number, new_command(kind(**values), self._accepted_ms)))
        except InvalidRequest as error:
            for one in error.fields:
                self._note(number, one.field, one.description)

    def _note(self, number: int, field: str, description: str) -> None:
        self._fault_count += 1
        if len(self._faults) < MOST_FAULTS:
            self._faults.append(FieldViolation(f"rows[{number}].{field}", description))


_Note = Callable[[str, str], None]


class _Form:
    """What the cells of one command may be."""

    def __init__(self, command: type[PointsCommand[Any]]) -> None:
        self.command = command
        hints = typing.get_type_hints(command)
        self._kinds = {one.name: _kind(hints[one.name]) for one in fields(command)}
        self._needed = [one.name for one in fields(command) if not _has_default(one)]

    def values(self, said: Mapping[str, str], note: _Note) -> Iterator[tuple[str, Any]]:
        """The values of the cells that can be used; `note` is told of the others."""
        for name, cell in said.items():
            try:
                yield name, self._value(name, cell)
            except _Fault as fault:
                note(name, str(fault))

    def is_whole(self, said: Mapping[str, str], note: _Note) -> bool:
        """Whether nothing is missing."""
        missing = [name for name in self._needed if name not in said]
        for name in missing:
            note(name, "is missing")
        return not missing

    def _value(self, name: str, cell: str) -> Any:
        if name not in self._kinds:
            raise _Fault("this command has no such field")
        if cell.startswith(tuple(FORMULA)):
            raise _Fault("begins like a formula of a spreadsheet")
        value = _READERS[self._kinds[name]](cell)
        _check(name, value)
        return value


def _check(name: str, value: Any) -> None:
    match value:
        case bool():
            pass
        case int():
            lowest, highest = NUMBERS[name]
            if not lowest <= value <= highest:
                raise _Fault(f"expected {lowest} to {highest}")
        case str():
            _, most = TEXTS[name]
            if len(value) > most or not value.isprintable():
                raise _Fault(f"expected at most {most} printable characters")
            if name == "request_id" and not value.isascii():
                raise _Fault("expected ASCII")
        case date() if not EARLIEST_YEAR <= value.year <= LATEST_YEAR:  # and so is a datetime
            raise _Fault(f"expected one of the years {EARLIEST_YEAR} to {LATEST_YEAR}")


def _kind(hint: Any) -> type[Any]:
    """The one type of `int | None`."""
    (found,) = [one for one in typing.get_args(hint) or (hint,) if one is not NoneType]
    return typing.cast("type[Any]", found)


def _has_default(one: Field[Any]) -> bool:
    return one.default is not MISSING or one.default_factory is not MISSING


def _whole(cell: str) -> int:
    if not _WHOLE.fullmatch(cell):
        raise _Fault("expected a whole number, of digits alone")
    return int(cell)


def _time(cell: str) -> datetime:
    try:
        found = datetime.fromisoformat(cell)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise _Fault("expected a time with its zone, such as 2026-01-31T18:00:00+08:00")
    return found


def _day(cell: str) -> date:
    try:
        found = date.fromisoformat(cell) if _DAY.fullmatch(cell) else None
    except ValueError:
        found = None
    if found is None:
        raise _Fault("expected a day, such as 2026-01-31")
    return found


def _flag(cell: str) -> bool:
    if cell not in ("true", "false"):
        raise _Fault("expected true or false")
    return cell == "true"


def _octets(cell: str) -> bytes:
    try:
        return from_base64url(cell)
    except binascii.Error:
        raise _Fault("expected base64url") from None


_READERS: Mapping[type[Any], Callable[[str], Any]] = {
    str: str,
    int: _whole,
    datetime: _time,
    date: _day,
    bool: _flag,
    bytes: _octets,
}

_NAMES: Mapping[type[PointsCommand[Any]], str] = {one.command: one.name for one in POINTS_METHODS}
_FORMS: Mapping[str, _Form] = {one.name: _Form(one.command) for one in POINTS_METHODS}
_COLUMNS = {"command"} | {it.name for one in POINTS_METHODS for it in fields(one.command)}
