"""A partner's daily file, format version 1 (docs/settlement.md, The partner file): its records and their grammar.

Points are whole; money is stated in the header's unit and becomes micros here, exactly. A file that breaks a
rule is refused as a whole, naming the line and the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Final

from settlement.core.break_types import Controls
from settlement.core.kinds import KINDS, LINE_STATES

FORMAT_NAME: Final = "tongdui-partner-file"
FORMAT_VERSION: Final = "1"

HEADER_FIELDS: Final = (
    "partner_id",
    "business_date",
    "currency",
    "unit",
    "count",
    "earned_points",
    "burned_points",
    "claimed",
    "owed",
)
DEAL_FIELDS: Final = (
    "request_id",
    "kind",
    "reference",
    "part",
    "event_time",
    "member_id",
    "store_id",
    "terminal_id",
    "points",
    "claimed",
    "owed",
    "rate_version",
    "state",
)
REQUIRED_FIELDS: Final = ("kind", "event_time", "points", "claimed", "owed")
"""Fields of a deal that may not be empty; and of request_id and reference at least one has to be there."""

FIRST_LINE_BYTES: Final = 65_536
LINE_BYTES: Final = 65_536
"""A line that is longer, the header included, is no line of such a file."""

MAX_TEXT: Final = 64
MICRO_DIGITS: Final = 6


class FileFormat(Enum):
    """How the records are written down."""

    CSV = "CSV"
    JSONL = "JSONL"
    MAPPED = "MAPPED"
    """A CSV of the partner's own columns, read by its profile."""


class Unit(Enum):
    """What money is stated in."""

    MAJOR = "major"
    MINOR = "minor"

    def exponent(self, minor_unit_digits: int) -> int:
        """The power of ten that makes micros of an amount, and the decimals an amount may have."""
        return MICRO_DIGITS if self is Unit.MAJOR else MICRO_DIGITS - minor_unit_digits


class FileRefused(Exception):
    """The file is refused as a whole.

    Attributes:
        reason: `CONTROL_TOTAL` where the file contradicts a total it states itself, `WINDOW_CERTIFIED` where it
            comes too late, otherwise `FILE_MALFORMED`.
        line: the line it is seen on, from 1; 0 where it is the file as a whole.
        field: the field, or the control; empty where it is the whole line.
        stated, found: of a control total, as the header has them.
    """

    def __init__(
        self, message: str, *, line: int = 0, field: str = "", reason: str = "FILE_MALFORMED"
    ) -> None:
        place = ", ".join(part for part in (f"line {line}" if line else "", field) if part)
        super().__init__(f"{reason}: {place}: {message}" if place else f"{reason}: {message}")
        self.reason, self.line, self.field = reason, line, field
        self.stated, self.found = "", ""


def control_total(control: str, stated: object, found: object, line: int) -> FileRefused:
    """The refusal of a file that contradicts itself."""
    refused = FileRefused(f"states {stated}, found {found}", line=line, field=control, reason="CONTROL_TOTAL")
    refused.stated, refused.found = str(stated), str(found)
    return refused


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself. `exponent`: see `Unit.exponent`."""

    partner_id: str
    business_date: date
    currency: str
    unit: Unit
    exponent: int
    count: int
    controls: Controls


@dataclass(frozen=True, slots=True)
class Expected:
    """What a file has to be about, as it was declared by who brings it."""

    partner_id: str
    business_date: date
    currency_code: str
    minor_unit_digits: int


_WHOLE: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_SIGNED: Final = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_MONEY: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,6}))?", re.ASCII)
_MEMBER: Final = re.compile(r"m-[0-9a-v]{12}", re.ASCII)
_TIME: Final = re.compile(
    r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])",
    re.ASCII,
)
FORMULA: Final = "=+-@\t\r"
"""A spreadsheet takes a cell that begins so for a formula; no identifier begins so."""


def read_header(texts: Mapping[str, str], expected: Expected, line: int = 1) -> Header:
    """The header of what its fields say. Raises FileRefused, also where it is about something else."""
    for name in HEADER_FIELDS:
        if not texts.get(name):
            raise FileRefused("missing", line=line, field=name)
    for name, wanted in (
        ("partner_id", expected.partner_id),
        ("business_date", expected.business_date.isoformat()),
        ("currency", expected.currency_code),
    ):
        if texts[name] != wanted:
            raise FileRefused(f"is {texts[name][:MAX_TEXT]!r}, expected {wanted}", line=line, field=name)
    try:
        unit = Unit(texts["unit"])
    except ValueError:
        raise FileRefused("must be major or minor", line=line, field="unit") from None
    exponent = unit.exponent(expected.minor_unit_digits)
    return Header(
        partner_id=expected.partner_id,
        business_date=expected.business_date,
        currency=expected.currency_code,
        unit=unit,
        exponent=exponent,
        count=_number(_WHOLE, texts, "count", line),
        controls=Controls(
            _number(_SIGNED, texts, "earned_points", line),
            _number(_SIGNED, texts, "burned_points", line),
            money_micros(texts["claimed"], exponent, "claimed", line),
            money_micros(texts["owed"], exponent, "owed", line),
        ),
    )


def _number(pattern: re.Pattern[str], texts: Mapping[str, str], name: str, line: int) -> int:
    if not pattern.fullmatch(texts[name]):
        raise FileRefused("must be a whole number of at most 18 digits", line=line, field=name)
    return int(texts[name])


def money_micros(text: str, exponent: int, field: str, line: int) -> int:
    """Micros of an amount in the file's unit. Raises FileRefused."""
    found = _MONEY.fullmatch(text)
    decimals = (found[2] or "") if found else ""
    if found is None or len(decimals) > exponent:
        raise FileRefused(
            f"must be an amount of 0 or more with at most {exponent} decimals", line=line, field=field
        )
    whole: int = 10**exponent
    return int(found[1]) * whole + int(decimals.ljust(exponent, "0") or "0")


def check_deal(texts: Mapping[str, str], exponent: int, line: int) -> None:
    """Refuses a deal of which a field is wrong. Raises FileRefused naming the first in the order of the fields."""
    for name in DEAL_FIELDS:
        text = texts.get(name, "")
        if text:
            _check_field(name, text, exponent, line)
        elif name in REQUIRED_FIELDS:
            raise FileRefused("missing", line=line, field=name)
    if not texts.get("request_id") and not texts.get("reference"):
        raise FileRefused("either this or reference has to be there", line=line, field="request_id")


def _check_field(name: str, text: str, exponent: int, line: int) -> None:
    if name in ("request_id", "reference", "store_id", "terminal_id"):
        _check_text(name, text, line)
    elif name == "kind" and text not in KINDS:
        raise FileRefused(f"{text[:MAX_TEXT]!r} is no kind of entry", line=line, field=name)
    elif name == "state" and text not in LINE_STATES:
        raise FileRefused(f"must be one of {', '.join(LINE_STATES)}, or empty", line=line, field=name)
    elif name == "member_id" and not _MEMBER.fullmatch(text):
        raise FileRefused("must be a member's id at the hub, or empty", line=line, field=name)
    elif name in ("claimed", "owed"):
        money_micros(text, exponent, name, line)
    elif name == "points" and not _WHOLE.fullmatch(text):
        raise FileRefused("must be a whole number of 0 or more, at most 18 digits", line=line, field=name)
    elif name in ("part", "rate_version") and not (_WHOLE.fullmatch(text) and int(text) <= MAX_NUMBER[name]):
        raise FileRefused(f"must be a whole number up to {MAX_NUMBER[name]:,}", line=line, field=name)
    elif name == "event_time" and not _is_time(text):
        raise FileRefused("must be a time like 2026-01-01T23:59:59+08:00", line=line, field=name)


MAX_NUMBER: Final = {"part": 1_000_000, "rate_version": 999_999_999}


def _check_text(name: str, text: str, line: int) -> None:
    if text[0] in FORMULA:
        raise FileRefused("begins like a formula (= + - @ or a tab)", line=line, field=name)
    if len(text) > MAX_TEXT or not text.isprintable():
        raise FileRefused(f"must be at most {MAX_TEXT} printable characters", line=line, field=name)
    if name == "request_id" and not text.isascii():
        raise FileRefused("must be ASCII", line=line, field=name)


def _is_time(text: str) -> bool:
    if not _TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
