"""Checks single documents, such as a statement a partner was sent, against what settlement certified.

What a document is held against comes from a bundle of evidence, from settlement's own database, or, where there is
nothing else, from the certificate alone. The first thing that differs is named with its line and field.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from settlement.command_line.csv_rows import COLUMNS, statements_csv
from settlement.core.certificate import DocumentMalformed, content_sha256, split_document
from settlement.core.evidence import EvidenceWrong, Fault
from settlement.core.evidence_checks import Content, first_difference
from settlement.core.run_state import WindowState
from settlement.core.statement import Statement, statement_content
from settlement.core.window import Ledger

_BLOCK: Final = 64


@dataclass(frozen=True, slots=True)
class Certified:
    """What documents of one day have to say.

    Attributes:
        certificate: the signed document, byte for byte.
        content: what it says.
        ledger: as it says.
        statements: every party's, where they are at hand; a certificate alone has hashes and totals of them.
    """

    certificate: bytes
    content: Content
    ledger: Ledger
    statements: tuple[Statement, ...] | None


def check_document(name: str, raw: bytes, certified: Certified) -> str:
    """Says what a document is that agrees with what was certified. Raises EvidenceWrong naming what differs."""
    if raw.startswith(b'{"certificate":') or b'"signature":{' in raw[-1_000:]:
        _check_certificate(name, raw, certified)
        return "certificate"
    if raw.lstrip().startswith(b"{"):
        _check_json(name, raw, certified)
        return "statements in JSON"
    _check_csv(name, raw, certified)
    return "statements in CSV"


def _check_certificate(name: str, raw: bytes, certified: Certified) -> None:
    document = raw.removesuffix(b"\n") if not certified.certificate.endswith(b"\n") else raw
    if document == certified.certificate:
        return
    at = next(
        (
            i
            for i, pair in enumerate(zip(document, certified.certificate, strict=False))
            if pair[0] != pair[1]
        ),
        min(len(document), len(certified.certificate)),
    )
    around = document[max(at - _BLOCK // 2, 0) : at + _BLOCK // 2].decode("ascii", "replace")
    raise EvidenceWrong(
        Fault(name, f"byte {at} is not that of the certificate: {around}", field=_path(document, certified))
    )


def _path(document: bytes, certified: Certified) -> str:
    """The field a changed certificate differs in; empty where it is not legible any more."""
    try:
        content, signature = split_document(document)
    except DocumentMalformed:
        return ""
    found = first_difference(json.loads(content), certified.content)
    if found:
        return found[0]
    return next(
        iter(first_difference(signature, split_document(certified.certificate)[1], "signature") or ("",))
    )


def _check_json(name: str, raw: bytes, certified: Certified) -> None:
    try:
        parsed = json.loads(raw)
        stated = parsed["statements"]
        parties = [str(one["party_id"]) for one in stated]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise EvidenceWrong(Fault(name, "neither a certificate nor statements in JSON")) from None
    facts = {
        "window_date": certified.content["window"]["window_date"],
        "currency_code": certified.ledger.currency_code,
        "minor_unit_digits": certified.ledger.minor_unit_digits,
    }
    for field in sorted({"statements", "state", *facts} ^ parsed.keys()):
        raise EvidenceWrong(Fault(name, "missing or not of statements", field=field))
    if parsed["state"] not in WindowState.COMPUTED.and_later:
        raise EvidenceWrong(Fault(name, f"says {parsed['state']!r}, no state of a window", field="state"))
    for field, value in facts.items():
        if parsed.get(field) != value:
            raise EvidenceWrong(
                Fault(name, f"says {parsed.get(field)!r}, certified is {value!r}", field=field)
            )
    for party, one in zip(parties, stated, strict=True):
        _check_statement(name, party, one, certified)


def _check_statement(name: str, party: str, stated: Mapping[str, Any], certified: Certified) -> None:
    if certified.statements is not None:
        own = [statement_content(one) for one in certified.statements if one.party_id == party]
        if not own:
            raise EvidenceWrong(Fault(name, "no statement of this party was certified", field=party))
        found = first_difference(stated, own[0], party)
        if found:
            raise EvidenceWrong(Fault(name, found[1], field=found[0]))
        return
    totals = _totals(name, party, certified.content)
    for field in ("exact_micros", "net_minor", "closing_minor"):
        if stated.get(field) != totals[field]:
            what = f"says {stated.get(field)!r}, certified is {totals[field]!r}"
            raise EvidenceWrong(Fault(name, what, field=f"{party}.{field}"))
    if content_sha256(stated) != totals["statement_sha256"]:
        raise EvidenceWrong(Fault(name, "not the statement whose SHA-256 was certified", field=party))


def _totals(name: str, party: str, content: Content) -> Mapping[str, Any]:
    for one in content["statements"]:
        if one["party_id"] == party:
            return one  # type: ignore[no-any-return] # an object of JSON
    raise EvidenceWrong(Fault(name, "no statement of this party was certified", field=party))


def _check_csv(name: str, raw: bytes, certified: Certified) -> None:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise EvidenceWrong(Fault(name, f"byte {error.start} is not UTF-8", line)) from None
    if certified.statements is None:
        _check_csv_totals(name, text, certified)
        return
    digits, currency = certified.ledger.minor_unit_digits, certified.ledger.currency_code
    choices = [certified.statements, *((one,) for one in certified.statements)]
    expected = min(
        (statements_csv(choice, digits, currency) for choice in choices),
        key=lambda choice: _distance(text.splitlines(), choice.splitlines()),
    )
    _compare_lines(name, text, expected)


def _distance(stated: Sequence[str], expected: Sequence[str]) -> int:
    """How many lines differ: what was sent may be of all parties or of one."""
    pairs = zip(stated, expected, strict=False)
    return abs(len(stated) - len(expected)) + sum(one != other for one, other in pairs)


def _compare_lines(name: str, text: str, expected: str) -> None:
    stated, wanted = text.split("\n"), expected.split("\n")
    for number, (line, other) in enumerate(zip(stated, wanted, strict=False), 1):
        if line != other:
            raise EvidenceWrong(_line_fault(name, number, line, other))
    if len(stated) != len(wanted):
        what = f"has {len(stated) - 1} lines, certified are {len(wanted) - 1}"
        raise EvidenceWrong(Fault(name, what, min(len(stated), len(wanted))))


def _line_fault(name: str, number: int, line: str, expected: str) -> Fault:
    fields, wanted = _fields(line), _fields(expected)
    if len(fields) == len(wanted):
        for column, one, other in zip(COLUMNS, fields, wanted, strict=False):
            if one != other:
                return Fault(name, f"says {one!r}, certified is {other!r}", number, column)
    return Fault(name, f"says {line[:200]!r}, certified is {expected!r}", number)


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _check_csv_totals(name: str, text: str, certified: Certified) -> None:
    """By the certificate alone: each party's lines add up to its net, and net and closing are those certified."""
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise EvidenceWrong(Fault(name, f"not CSV: {error}")) from None
    if not rows or list(rows[0]) != list(COLUMNS):
        raise EvidenceWrong(Fault(name, "does not have the columns of statements", 1))
    sums: dict[str, list[int]] = {}
    for number, row in enumerate(rows, 2):
        _check_row(name, number, row, certified, sums)


def _check_row(
    name: str, number: int, row: Mapping[str, str], certified: Certified, sums: dict[str, list[int]]
) -> None:
    content, digits = certified.content, certified.ledger.minor_unit_digits
    for column, value in (
        ("window_date", content["window"]["window_date"]),
        ("currency", certified.ledger.currency_code),
    ):
        if row[column] != value:
            raise EvidenceWrong(Fault(name, f"says {row[column]!r}, certified is {value!r}", number, column))
    totals = _totals(name, row["party_id"], content)
    exact, amount = _scaled(name, number, row, "exact", 6), _scaled(name, number, row, "amount", digits)
    total = sums.setdefault(row["party_id"], [0, 0])
    opening = totals["closing_minor"] - totals["net_minor"]
    wanted = {"opening": opening, "net": totals["net_minor"], "closing": totals["closing_minor"]}
    if row["row"] == "line":
        total[0] += exact
        total[1] += amount
    elif row["row"] not in wanted:
        raise EvidenceWrong(Fault(name, f"says {row['row']!r}", number, "row"))
    elif amount != wanted[row["row"]]:
        raise EvidenceWrong(
            Fault(name, f"says {row['amount']}, certified is another amount", number, "amount")
        )
    elif row["row"] == "net" and (total != [exact, amount] or exact != totals["exact_micros"]):
        raise EvidenceWrong(
            Fault(name, "the lines above do not add up to what was certified", number, "exact")
        )


def _scaled(name: str, number: int, row: Mapping[str, str], column: str, digits: int) -> int:
    text = row[column]
    whole, _, fraction = text.partition(".")
    figures = whole.removeprefix("-") + fraction
    if not text:
        return 0
    if len(fraction) != digits or not (figures.isascii() and figures.isdecimal()):
        raise EvidenceWrong(Fault(name, f"says {text!r}, expected {digits} decimals", number, column))
    return -int(figures) if whole.startswith("-") else int(figures)
