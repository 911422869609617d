"""A partner's own export, read by its profile: which column is which field, and how its words are meant."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from settlement.core.file_readers import LineReader, json_header, json_texts, row_text
from settlement.core.partner_file import (
    DEAL_FIELDS,
    LINE_BYTES,
    REQUIRED_FIELDS,
    Expected,
    FileRefused,
    check_deal,
    control_total,
)


class ProfileInvalid(ValueError):
    """A profile says something that cannot be; `str()` names the entry."""


ENCODINGS: Final = ("utf-8", "gb18030")
DELIMITERS: Final = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """How to read an export.

    Attributes:
        columns: a column's name by the field it fills.
        constants: the text of fields that no column has.
        kinds, states: the partner's words for them.
        decimal: the decimal sign of amounts.
        time_format: as `strptime` has it; empty where times are as in the standard file.
        utc_offset: added to times that say none, such as `+08:00`.
    """

    columns: Mapping[str, str]
    constants: Mapping[str, str]
    kinds: Mapping[str, str]
    states: Mapping[str, str]
    delimiter: str
    encoding: str
    decimal: str
    time_format: str
    utc_offset: str


_KEYS: Final = frozenset(ColumnMapping.__slots__)


def read_mapping(content: object) -> ColumnMapping:
    """The mapping a profile's JSON says. Raises ProfileInvalid."""
    if not isinstance(content, dict):
        raise ProfileInvalid("mapping: must be an object")
    unknown = sorted(set(content) - _KEYS)
    if unknown:
        raise ProfileInvalid(f"mapping.{unknown[0]}: is no entry of a mapping")
    made = ColumnMapping(
        **{name: _texts(content, name) for name in ("columns", "constants", "kinds", "states")},
        delimiter=_choice(content, "delimiter", DELIMITERS),
        encoding=_choice(content, "encoding", ENCODINGS),
        decimal=_choice(content, "decimal", (".", ",")),
        time_format=_text(content, "time_format"),
        utc_offset=_text(content, "utc_offset"),
    )
    _check_fields(made)
    return made


def _check_fields(made: ColumnMapping) -> None:
    for name in (*made.columns, *made.constants):
        if name not in DEAL_FIELDS:
            raise ProfileInvalid(f"mapping.columns.{name}: is no field of a deal")
    for name in made.columns:
        if name in made.constants:
            raise ProfileInvalid(f"mapping.constants.{name}: has a column already")
    missing = [name for name in REQUIRED_FIELDS if name not in made.columns and name not in made.constants]
    if missing:
        raise ProfileInvalid(f"mapping.columns.{missing[0]}: missing")


def _texts(content: Mapping[str, Any], name: str) -> Mapping[str, str]:
    found = content.get(name, {})
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ProfileInvalid(f"mapping.{name}: must be an object of texts")
    return dict(found)


def _text(content: Mapping[str, Any], name: str) -> str:
    found = content.get(name, "")
    if not isinstance(found, str):
        raise ProfileInvalid(f"mapping.{name}: must be a text")
    return found


def _choice(content: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    found = content.get(name, allowed[0])
    if found not in allowed:
        raise ProfileInvalid(f"mapping.{name}: must be one of {', '.join(map(repr, allowed))}")
    return str(found)


def mapping_content(mapping: ColumnMapping) -> dict[str, Any]:
    """A mapping as plain data."""
    return {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, value in ((name, getattr(mapping, name)) for name in ColumnMapping.__slots__)
    }


class MappedReader(LineReader):
    """Reads a CSV of the partner's own columns, its totals stated in a control record beside it."""

    def __init__(self, file_id: int, expected: Expected, mapping: ColumnMapping, control: bytes) -> None:
        super().__init__(file_id, expected)
        self._mapping = mapping
        self._control = json_texts(_control_text(control), 1)
        if self._control.pop("record", "header") != "header":
            raise FileRefused("must be header", line=1, field="record")
        self._stated_sha256 = self._control.pop("sha256", "")
        self._columns: dict[str, int] = {}

    def feed(self, piece: bytes) -> bytes:
        """See Reader."""
        self.sha256.update(piece)
        return super().feed(piece)

    def finish(self) -> bytes:
        """The control record's digest stands in for a trailer."""
        found = self.sha256.hexdigest()
        if self._stated_sha256 and self._stated_sha256 != found:
            raise control_total("sha256", self._stated_sha256[:64], found, 1)
        self.ended = True
        return super().finish()

    def text_of(self, line: bytes) -> str:
        """A line as text, by the mapping's encoding: in none of them is a line feed part of another character."""
        if len(line) > LINE_BYTES:
            raise FileRefused(f"longer than {LINE_BYTES} bytes", line=self.line)
        try:
            return line.removesuffix(b"\r").decode(self._mapping.encoding)
        except UnicodeDecodeError:
            raise FileRefused(f"is not {self._mapping.encoding}", line=self.line) from None

    def _lines(self, block: bytes) -> bytes:
        lines = block.split(b"\n")
        if not lines[-1]:
            lines.pop()
        return b"".join(map(self._record, lines))

    def _record(self, line: bytes) -> bytes:
        self.line += 1
        text = self.text_of(line).removeprefix("\ufeff")
        try:
            fields = next(csv.reader([text], delimiter=self._mapping.delimiter, strict=True), [])
        except csv.Error:
            raise FileRefused("its quotes do not end", line=self.line) from None
        if self.header is None:
            self._header_row(fields)
            return b""
        if len(fields) != self._width:
            raise FileRefused(f"has {len(fields)} columns, the first line has {self._width}", line=self.line)
        texts = self._texts(fields)
        check_deal(texts, self.header.exponent, self.line)
        self.deal_count += 1
        return row_text(self.file_id, self.line, texts, self.header.exponent)

    def _header_row(self, names: list[str]) -> None:
        for field, column in self._mapping.columns.items():
            if names.count(column) != 1:
                found = "missing" if column not in names else "stands there more than once"
                raise FileRefused(f"column {column!r} {found}", line=self.line, field=field)
            self._columns[field] = names.index(column)
        self._width = len(names)
        self.header = json_header(self._control, self.expected)

    def _texts(self, fields: list[str]) -> dict[str, str]:
        mapping = self._mapping
        texts = dict(mapping.constants)
        texts |= {field: fields[column].strip(" ") for field, column in self._columns.items()}
        texts["kind"] = mapping.kinds.get(texts["kind"], texts["kind"])
        if "state" in texts:
            texts["state"] = mapping.states.get(texts["state"], texts["state"])
        for name in ("claimed", "owed"):
            texts[name] = self._amount(texts[name])
        texts["event_time"] = self._time(texts["event_time"])
        return texts

    def _amount(self, text: str) -> str:
        """Without separators of thousands, with a decimal point; an empty cell is no money."""
        separator = "." if self._mapping.decimal == "," else ","
        return text.replace(separator, "").replace(self._mapping.decimal, ".") or "0"

    def _time(self, text: str) -> str:
        if not self._mapping.time_format:
            return text + ("" if text.endswith("Z") or text[-6:-5] in "+-" else self._mapping.utc_offset)
        try:
            moment = datetime.strptime(text, self._mapping.time_format)  # noqa: DTZ007 - its zone follows
        except ValueError:
            raise FileRefused(
                f"is not written as {self._mapping.time_format}", line=self.line, field="event_time"
            ) from None
        return moment.isoformat() + ("" if moment.tzinfo else self._mapping.utc_offset)


def _control_text(control: bytes) -> str:
    if len(control) > LINE_BYTES:
        raise FileRefused("the control record is too long")
    try:
        return control.decode()
    except UnicodeDecodeError:
        raise FileRefused("the control record is not UTF-8") from None
