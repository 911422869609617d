"""Readers of partner files: bytes come in pieces of any size, rows for COPY go out. Flat in memory.

A CSV is checked by one pattern over whole stretches of lines, which costs less than the database takes to store
them; only a line the pattern does not know (quoted, or wrong) is taken apart field by field.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, Protocol

from settlement.core.kinds import KINDS, LINE_STATES
from settlement.core.partner_file import (
    DEAL_FIELDS,
    FIRST_LINE_BYTES,
    FORMAT_NAME,
    FORMAT_VERSION,
    HEADER_FIELDS,
    LINE_BYTES,
    MAX_TEXT,
    Expected,
    FileRefused,
    Header,
    check_deal,
    control_total,
    read_header,
)

ROW_COLUMNS: Final = (
    "file_id",
    "line_number",
    *DEAL_FIELDS[:9],
    "claimed_micros",
    "owed_micros",
    "rate_version",
    "state",
    "member_number",
)
"""Columns of the rows, in order."""

_HEADER_RECORD: Final = ("record", "format", "version", *HEADER_FIELDS)


class Reader(Protocol):
    """Reads one file."""

    header: Header | None
    deal_count: int
    sha256: Any

    def feed(self, piece: bytes) -> bytes:
        """The rows of the lines that this piece completes, as CSV for COPY. Raises FileRefused."""

    def finish(self) -> bytes:
        """The rows of what is left. Raises FileRefused where the file is not whole."""


def row_text(file_id: int, line: int, texts: Mapping[str, str], exponent: int) -> bytes:
    """One checked deal as a row for COPY: money with its power of ten, which the database takes as exact."""
    member = texts.get("member_id", "")
    fields = [texts.get(name, "") for name in DEAL_FIELDS]
    fields[9:11] = [f"{amount}e{exponent}" for amount in fields[9:11]]
    quoted = [f'"{text}"' if "," in text or '"' in text else text for text in _doubled(fields)]
    number = str(int(member[2:], 32)) if member else ""
    return ",".join((str(file_id), str(line), *quoted, number)).encode() + b"\n"


def _doubled(fields: list[str]) -> list[str]:
    return [text.replace('"', '""') for text in fields]


class LineReader:
    """What all formats share: lines of bounded length, UTF-8 without NUL, SHA-256 over everything."""

    def __init__(self, file_id: int, expected: Expected) -> None:
        self.file_id, self.expected = file_id, expected
        self.header: Header | None = None
        self.deal_count = 0
        self.sha256 = hashlib.sha256()
        self.line = 0
        """Lines completed so far."""
        self.ended = False
        """The trailer was read."""
        self._rest = b""

    def feed(self, piece: bytes) -> bytes:
        """See Reader."""
        data = self._rest + piece
        self._refuse_bytes(data)
        whole = data.rfind(b"\n") + 1
        if not whole:
            self._rest = data
            return b""
        rows = self._lines(data[:whole])
        self._rest = data[whole:]
        self._refuse_bytes(self._rest)
        return rows

    def _refuse_bytes(self, data: bytes) -> None:
        """Refuses early what can't be such a file, before more of it is read."""
        if b"\0" in data:
            place = self.line + data.count(b"\n", 0, data.index(b"\0")) + 1
            raise FileRefused("holds a byte 0, so it is no text", line=place)
        if b"\n" not in data[:LINE_BYTES] and len(data) > LINE_BYTES:
            if self.line == 0:
                raise FileRefused(f"no header within {FIRST_LINE_BYTES} bytes", line=1)
            raise FileRefused(f"longer than {LINE_BYTES} bytes", line=self.line + 1)

    def finish(self) -> bytes:
        """See Reader."""
        rest, self._rest = self._rest, b""
        rows = self._lines(rest) if rest else b""
        if self.header is None:
            raise FileRefused("the file is empty")
        if not self.ended:
            raise control_total("trailer", "a trailer with the SHA-256", "none, the file is cut", self.line)
        if self.deal_count != self.header.count:
            raise control_total("count", self.header.count, self.deal_count, 1)
        return rows

    def _lines(self, block: bytes) -> bytes:
        raise NotImplementedError

    def text_of(self, line: bytes) -> str:
        """A line as text, without its end. Raises FileRefused for what is too long or not UTF-8."""
        if len(line) > LINE_BYTES:
            raise FileRefused(f"longer than {LINE_BYTES} bytes", line=self.line)
        try:
            return line.rstrip(b"\n").removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            raise FileRefused(f"byte {error.start + 1} is not UTF-8", line=self.line) from None

    def refuse_after_trailer(self) -> None:
        """Nothing may follow the trailer."""
        if self.ended:
            raise FileRefused("data after the trailer", line=self.line)

    def check_trailer(self, stated: str, before: Any) -> None:
        """Holds the trailer's digest against that of the bytes before it."""
        found = before.hexdigest()
        if stated != found:
            raise control_total("sha256", stated[:MAX_TEXT], found, self.line)
        self.ended = True


@cache
def _run_of_deals(exponent: int) -> re.Pattern[bytes]:
    """As many well-formed deals without quotes as there are, from where it is asked on.

    Of texts beyond ASCII it knows Chinese characters only, which are all printable. Characters are taken possessively,
    since no field holds what ends it; groups are not, because Python before 3.11.5 gets that wrong.
    """
    first, more = rb"[ !#-*./0-9:-<>?A-~\xe4-\xe9]", rb"[ !#-+\--~\x80-\xbf\xe4-\xe9]{0,63}+"
    text = rb"(?:" + first + more + rb")?"
    request_id = rb"[!#-*./0-9:-<>?A-~][!#-+\--~]{0,63}+"
    kind, state = ("|".join(sorted(names, reverse=True)).encode() for names in (KINDS, LINE_STATES))
    names = request_id + rb",(?:" + kind + rb")," + text + rb"|,(?:" + kind + rb")," + first + more
    whole = rb"[0-9]{1,18}+"
    money = whole + (rb"(?:\.[0-9]{1,%d}+)?" % exponent if exponent else rb"")
    day = (
        rb"20[0-9]{2}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
        rb"|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    )
    time = rb"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6}+)?(?:Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])"
    fields = (
        rb"(?:" + names + rb")",
        rb"[0-9]{0,6}+",
        day + time,
        rb"(?:m-[0-9a-v]{12})?",
        text,
        text,
        whole,
        money,
        money,
        rb"[0-9]{0,9}+",
        rb"(?:" + state + rb")?",
    )
    return re.compile(rb"(?:D," + b",".join(fields) + rb"\r?\n)*")


class CsvReader(LineReader):
    """Reads the CSV form: records H, D, T."""

    def _lines(self, block: bytes) -> bytes:
        rows: list[bytes] = []
        start = 0
        while start < len(block):
            if self.header is not None and not self.ended:
                end = _matched(self.header.exponent, block, start)
                if end > start:
                    rows.append(self._fast_rows(block[start:end], self.header.exponent))
                    start = end
                    continue
            end = block.find(b"\n", start) + 1 or len(block)
            rows.append(self._record(block[start:end]))
            start = end
        return b"".join(rows)

    def _fast_rows(self, block: bytes, exponent: int) -> bytes:
        self.sha256.update(block)
        try:
            block.decode()
        except UnicodeDecodeError as error:
            place = self.line + block.count(b"\n", 0, error.start) + 1
            raise FileRefused(f"byte {error.object[error.start]:#04x} is not UTF-8", line=place) from None
        lines = block.replace(b"\r\n", b"\n").split(b"\n")
        lines.pop()
        row = b"%d,%%d,%%b,%%be%d,%%be%d,%%b,%%b,%%b\n" % (self.file_id, exponent, exponent)
        rows = []
        for number, line in enumerate(lines, self.line + 1):
            head, claimed, owed, version, state = line[2:].rsplit(b",", 4)
            member = head.split(b",", 6)[5]
            member_number = b"%d" % int(member[2:], 32) if member else b""
            rows.append(row % (number, head, claimed, owed, version, state, member_number))
        self.line += len(lines)
        self.deal_count += len(lines)
        return b"".join(rows)

    def _record(self, line: bytes) -> bytes:
        self.line += 1
        self.refuse_after_trailer()
        before = self.sha256.copy()
        self.sha256.update(line)
        fields = self._fields(self.text_of(line))
        record = fields[0] if fields else ""
        if self.header is None or record == "H":
            self._header(fields)
            return b""
        if record == "T":
            _expect_count(fields, 2, self.line)
            self.check_trailer(fields[1], before)
            return b""
        if record != "D":
            raise FileRefused("must be H, D or T", line=self.line, field="record")
        _expect_count(fields, 1 + len(DEAL_FIELDS), self.line)
        texts = dict(zip(DEAL_FIELDS, fields[1:], strict=True))
        check_deal(texts, self.header.exponent, self.line)
        self.deal_count += 1
        return row_text(self.file_id, self.line, texts, self.header.exponent)

    def _fields(self, text: str) -> list[str]:
        if '"' not in text:
            return text.split(",")
        try:
            return next(csv.reader([text], strict=True))
        except (csv.Error, StopIteration):
            raise FileRefused("its quotes do not end", line=self.line) from None

    def _header(self, fields: list[str]) -> None:
        if self.header is not None:
            raise FileRefused("a second header", line=self.line, field="record")
        if fields[0] != "H":
            raise FileRefused("the first record must be the header, H", line=self.line, field="record")
        texts = dict(zip(("record", *_HEADER_RECORD[1:]), fields, strict=False))
        _check_format(texts, self.line)
        _expect_count(fields, len(_HEADER_RECORD), self.line)
        self.header = read_header(texts, self.expected, self.line)


def _matched(exponent: int, block: bytes, start: int) -> int:
    found = _run_of_deals(exponent).match(block, start)
    return found.end() if found else start


def _expect_count(fields: list[str], count: int, line: int) -> None:
    if len(fields) != count:
        raise FileRefused(f"has {len(fields)} fields, expected {count}", line=line)


def _check_format(texts: Mapping[str, str], line: int) -> None:
    if texts.get("format") != FORMAT_NAME:
        raise FileRefused(f"must be {FORMAT_NAME}", line=line, field="format")
    if texts.get("version") != FORMAT_VERSION:
        raise FileRefused(
            f"is {texts.get('version', '')[:MAX_TEXT]!r}, this program reads {FORMAT_VERSION}",
            line=line,
            field="version",
        )


class JsonlReader(LineReader):
    """Reads the JSON Lines form: an object a line, `record` being header, deal or trailer."""

    def _lines(self, block: bytes) -> bytes:
        lines = block.split(b"\n")
        if not lines[-1]:
            lines.pop()
        ends = b"\n" if block.endswith(b"\n") else b""
        rows = [self._record(line + b"\n") for line in lines[:-1]]
        rows.append(self._record(lines[-1] + ends))
        return b"".join(rows)

    def _record(self, line: bytes) -> bytes:
        self.line += 1
        self.refuse_after_trailer()
        before = self.sha256.copy()
        self.sha256.update(line)
        texts = json_texts(self.text_of(line), self.line)
        record = texts.pop("record", "")
        if self.header is None or record == "header":
            self._header(record, texts)
            return b""
        if record == "trailer":
            _refuse_unknown(texts, ("sha256",), self.line)
            self.check_trailer(texts.get("sha256", ""), before)
            return b""
        if record != "deal":
            raise FileRefused("must be header, deal or trailer", line=self.line, field="record")
        _refuse_unknown(texts, DEAL_FIELDS, self.line)
        check_deal(texts, self.header.exponent, self.line)
        self.deal_count += 1
        return row_text(self.file_id, self.line, texts, self.header.exponent)

    def _header(self, record: str, texts: dict[str, str]) -> None:
        if self.header is not None:
            raise FileRefused("a second header", line=self.line, field="record")
        if record != "header":
            raise FileRefused("the first record must be the header", line=self.line, field="record")
        self.header = json_header(texts, self.expected, self.line)


def json_header(texts: Mapping[str, str], expected: Expected, line: int = 1) -> Header:
    """The header of an object's fields, `record` taken out. Raises FileRefused."""
    _refuse_unknown(texts, _HEADER_RECORD[1:], line)
    _check_format(texts, line)
    return read_header(texts, expected, line)


def json_texts(text: str, line: int) -> dict[str, str]:
    """The fields of a JSON object as texts: whole numbers as their digits, null as empty. Raises FileRefused.

    Amounts are strings: a JSON number with a fraction is a float in many a reader, and floats are not exact.
    """
    try:
        parsed = json.loads(text, object_pairs_hook=_unique_pairs)
    except (ValueError, RecursionError) as error:
        raise FileRefused(f"is no JSON object ({str(error)[:80]})", line=line) from None
    if not isinstance(parsed, dict):
        raise FileRefused("is no JSON object", line=line)
    return {name: _json_text(name, value, line) for name, value in parsed.items()}


def _unique_pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a field stands in it twice")
    return dict(pairs)


def _json_text(name: str, value: object, line: int) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise FileRefused("must be a string or a whole number", line=line, field=name[:MAX_TEXT])


def _refuse_unknown(texts: Mapping[str, str], known: tuple[str, ...], line: int) -> None:
    for name in texts:
        if name not in known:
            raise FileRefused("is no field of this record", line=line, field=name[:MAX_TEXT])
