"""Writes the partner file, format version 1: a partner's own record of one business day, for reconciliation.

    deals = [Deal(kind="earn", reference="order-1", event_time=..., points=100, owed_micros=1_020_000)]
    body = write_partner_file(deals, PartnerFileHeader("cafe", date(2026, 1, 1), "CNY"))

Points are whole and amounts exact: they are added up as whole numbers and written in decimals. `docs/settlement.md`
explains every field.
"""

import csv
import hashlib
import io
import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import IO, Any

from merchant_adapter.errors import InvalidRequest

FORMAT_NAME = "tongdui-partner-file"
FORMAT_VERSION = 1

MAX_TEXT = 64
MICRO_DIGITS = 6
LIMIT = 10**18
"""Points, and amounts in the major unit, stay below."""
MAX_PART = 1_000_000
MAX_VERSION = 10**9
PART_BYTES = 1024 * 1024
FORMULA = "=+-@\t\r"
"""A spreadsheet takes a cell that begins so for a formula; no identifier begins so."""

EARNED = {"earn": 1, "confirm_earn": 1, "exchange_in": 1, "claw_back_earn": -1}
"""Kinds that count in the total of points earned, with their sign."""

BURNED = {"burn": 1, "capture_burn": 1, "confirm_exchange_out": 1, "refund_burn": -1}
"""Kinds that count in the total of points burned, with their sign."""

OTHER_KINDS = frozenset(
    {
        "pending_earn",
        "cancel_earn",
        "authorize_burn",
        "extend_hold",
        "void_burn",
        "exchange_out",
        "refuse_exchange_out",
        "transfer",
    }
)
STATES = frozenset({"", "posted", "pending", "held", "captured", "voided", "cancelled"})


class FileFormat(StrEnum):
    """How a partner's file is written down."""

    CSV = "CSV"
    JSONL = "JSONL"
    MAPPED = "MAPPED"
    """What the partner's own system exports, read by the column mapping agreed with the operator."""


class MoneyUnit(StrEnum):
    """What amounts are written in."""

    MAJOR = "major"
    MINOR = "minor"


@dataclass(frozen=True, slots=True)
class Deal:
    """One deal by the partner's record.

    Attributes:
        kind: the kind of entry, such as `earn`, `burn`, `refund_burn`, `claw_back_earn` or `capture_burn`.
        event_time: when it happened; aware.
        points: 0 or more, also of what gives back.
        claimed_micros: what the partner is to receive for it, 0 or more.
        owed_micros: what the partner is to pay for it, 0 or more.
        request_id, reference: at least one of them; the request id is the surer match.
        part: which refund or claw back of its reference.
        state: `posted`, `pending`, `held`, `captured`, `voided`, `cancelled`, or not said.
    """

    kind: str
    event_time: datetime
    points: int
    claimed_micros: int = 0
    owed_micros: int = 0
    request_id: str = ""
    reference: str = ""
    part: int | None = None
    member_id: str = ""
    store_id: str = ""
    terminal_id: str = ""
    rate_version: int | None = None
    state: str = ""


@dataclass(frozen=True, slots=True)
class PartnerFileHeader:
    """Whose record of which day it is, and how amounts are written.

    Attributes:
        minor_unit_digits: 2 where 100 fen are 1 yuan.
    """

    partner_id: str
    business_date: date
    currency_code: str
    unit: MoneyUnit = MoneyUnit.MAJOR
    minor_unit_digits: int = 2

    @property
    def decimals(self) -> int:
        """Decimals that an amount may have."""
        return MICRO_DIGITS - (self.minor_unit_digits if self.unit is MoneyUnit.MINOR else 0)


def write_partner_file(
    deals: Iterable[Deal], header: PartnerFileHeader, file_format: FileFormat = FileFormat.CSV
) -> bytes:
    """A whole file. Raises InvalidRequest naming the deal and the field that cannot be written."""
    return b"".join(partner_file_parts(deals, header, file_format))


def partner_file_parts(
    deals: Iterable[Deal], header: PartnerFileHeader, file_format: FileFormat = FileFormat.CSV
) -> Iterator[bytes]:
    """The same in parts of at most 1 MiB, for files that are too large for memory; `deals` is read once.

    The totals stand in the first line, so the deals wait in a temporary file until the last one has been seen.
    """
    writer = _writer(file_format)
    totals = _Totals()
    with tempfile.TemporaryFile(prefix="tongdui-partner-file-") as body:
        for number, deal in enumerate(deals):
            _check(number, deal)
            totals.add(deal)
            body.write(writer.record(_deal_fields(deal, header.decimals)))
        first = writer.record(_header_fields(header, totals))
        yield from _digested(first, body, writer)


def _digested(first: bytes, body: IO[bytes], writer: "_CsvWriter | _JsonlWriter") -> Iterator[bytes]:
    digest = hashlib.sha256(first)
    yield first
    body.seek(0)
    while part := body.read(PART_BYTES):
        digest.update(part)
        yield part
    yield writer.record({"record": "trailer", "sha256": digest.hexdigest()})


@dataclass(slots=True)
class _Totals:
    count: int = 0
    earned_points: int = 0
    burned_points: int = 0
    claimed_micros: int = 0
    owed_micros: int = 0

    def add(self, deal: Deal) -> None:
        self.count += 1
        self.earned_points += EARNED.get(deal.kind, 0) * deal.points
        self.burned_points += BURNED.get(deal.kind, 0) * deal.points
        self.claimed_micros += deal.claimed_micros
        self.owed_micros += deal.owed_micros


class _CsvWriter:
    """RFC 4180 with line feeds; the record's kind is one letter."""

    def record(self, fields: dict[str, Any]) -> bytes:
        line = io.StringIO()
        letter = {"header": "H", "deal": "D", "trailer": "T"}[fields["record"]]
        csv.writer(line, lineterminator="\n").writerow([letter, *list(fields.values())[1:]])
        return line.getvalue().encode()


class _JsonlWriter:
    """One object a line."""

    def record(self, fields: dict[str, Any]) -> bytes:
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        return f"{text}\n".encode()


def _writer(file_format: FileFormat) -> _CsvWriter | _JsonlWriter:
    if file_format is FileFormat.MAPPED:
        raise InvalidRequest.of_field("file_format", "CSV or JSONL; mapped files are of your own system")
    return _CsvWriter() if file_format is FileFormat.CSV else _JsonlWriter()


def _header_fields(header: PartnerFileHeader, totals: _Totals) -> dict[str, Any]:
    return {
        "record": "header",
        "format": FORMAT_NAME,
        "version": FORMAT_VERSION,
        "partner_id": header.partner_id,
        "business_date": header.business_date.isoformat(),
        "currency": header.currency_code,
        "unit": header.unit.value,
        "count": totals.count,
        "earned_points": totals.earned_points,
        "burned_points": totals.burned_points,
        "claimed": _amount(totals.claimed_micros, header.decimals),
        "owed": _amount(totals.owed_micros, header.decimals),
    }


def _deal_fields(deal: Deal, decimals: int) -> dict[str, Any]:
    return {
        "record": "deal",
        "request_id": deal.request_id,
        "kind": deal.kind,
        "reference": deal.reference,
        "part": "" if deal.part is None else deal.part,
        "event_time": deal.event_time.isoformat(),
        "member_id": deal.member_id,
        "store_id": deal.store_id,
        "terminal_id": deal.terminal_id,
        "points": deal.points,
        "claimed": _amount(deal.claimed_micros, decimals),
        "owed": _amount(deal.owed_micros, decimals),
        "rate_version": "" if deal.rate_version is None else deal.rate_version,
        "state": deal.state,
    }


def _amount(micros: int, decimals: int) -> str:
    """Micros in a unit of 10 to the power of `decimals` micros, without needless zeros."""
    whole, rest = divmod(micros, 10**decimals)
    return f"{whole}.{rest:0{decimals}d}".rstrip("0").rstrip(".") if rest else str(whole)


def _check(number: int, deal: Deal) -> None:
    """Refuses here what settlement would refuse as a whole file."""
    for field, is_right, wanted in (
        ("kind", deal.kind in EARNED or deal.kind in BURNED or deal.kind in OTHER_KINDS, "a kind of entry"),
        ("event_time", deal.event_time.tzinfo is not None, "a time with its zone"),
        ("points", 0 <= deal.points < LIMIT, _WHOLE),
        ("claimed_micros", 0 <= deal.claimed_micros < LIMIT * 10**MICRO_DIGITS, _WHOLE),
        ("owed_micros", 0 <= deal.owed_micros < LIMIT * 10**MICRO_DIGITS, _WHOLE),
        ("request_id", bool(deal.request_id or deal.reference), "this or a reference"),
        ("request_id", deal.request_id.isascii(), "ASCII"),
        ("member_id", _MEMBER.fullmatch(deal.member_id) is not None, "the hub's id of a member, or none"),
        ("part", deal.part is None or 0 <= deal.part <= MAX_PART, f"0 to {MAX_PART}, or none"),
        (
            "rate_version",
            deal.rate_version is None or 0 <= deal.rate_version < MAX_VERSION,
            "a version, or none",
        ),
        ("state", deal.state in STATES, f"one of {', '.join(sorted(STATES - {''}))}, or none"),
        *((name, _is_name(getattr(deal, name)), _NAME) for name in _NAMES),
    ):
        if not is_right:
            raise InvalidRequest.of_field(f"deals[{number}].{field}", f"expected {wanted}")


_WHOLE = "0 or more, at most 18 digits"
_NAMES = ("request_id", "reference", "store_id", "terminal_id")
_NAME = f"at most {MAX_TEXT} printable characters that do not begin like a formula"
_MEMBER = re.compile("(?:m-[0-9a-v]{12})?")


def _is_name(text: str) -> bool:
    return len(text) <= MAX_TEXT and text.isprintable() and not text.startswith(tuple(FORMULA))
