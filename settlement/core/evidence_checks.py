"""Computes a window again from its evidence alone, and finds the first figure that comes out otherwise."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from settlement.core.amounts import micros_per_minor
from settlement.core.break_types import Controls
from settlement.core.certificate import (
    canonical_json,
    certificate_content,
    content_sha256,
    party_line_content,
)
from settlement.core.checks import Case, Previous, failed, fault_text, run_checks
from settlement.core.contracts import Contract
from settlement.core.evidence import EvidenceWrong, Fault
from settlement.core.points import IssuerPoints
from settlement.core.reconciled import Records, records_from
from settlement.core.rounding import StatementLine
from settlement.core.statement import Statement, statement_content, statements
from settlement.core.window import (
    ClosedWindow,
    Computed,
    HubReceipt,
    Ledger,
    WindowSums,
    compute,
)

Content = Mapping[str, Any]
"""The content of a certificate, taken apart."""

CERTIFICATE = "certificate.json"
PREVIOUS = "previous_certificate.json"
PREVIOUS_LINES = "previous_statement_lines.jsonl"
LINES = "statement_lines.jsonl"
STATEMENTS = "statements.jsonl"


def stated_window(file: str, content: Content) -> ClosedWindow:
    """The window a certificate states. Raises EvidenceWrong."""
    try:
        window = content["window"]
        return ClosedWindow(
            window_date=date.fromisoformat(window["window_date"]),
            first_sequence=int(window["first_sequence"]),
            last_sequence=int(window["last_sequence"]),
            last_hash=bytes.fromhex(window["last_hash"]),
            entry_count=int(window["entry_count"]),
            close_time=datetime.fromisoformat(window["close_time"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise EvidenceWrong(
            Fault(file, f"not the window of a certificate ({error})", field="window")
        ) from error


def stated_ledger(file: str, content: Content) -> Ledger:
    """The ledger a certificate states. Raises EvidenceWrong."""
    try:
        return Ledger(**content["ledger"])
    except (KeyError, TypeError) as error:
        raise EvidenceWrong(Fault(file, "not the ledger of a certificate", field="ledger")) from error


def stated_receipt(file: str, content: Content) -> HubReceipt:
    """The hub's receipt in a certificate. Raises EvidenceWrong."""
    try:
        receipt = content["hub_receipt"]
        return HubReceipt(
            path=receipt["path"],
            request=base64.b64decode(receipt["request"], validate=True),
            request_metadata=_pairs(receipt["request_metadata"]),
            response=base64.b64decode(receipt["response"], validate=True),
            receipt_metadata=_pairs(receipt["receipt_metadata"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise EvidenceWrong(Fault(file, "not a receipt in a certificate", field="hub_receipt")) from error


def stated_contracts(content: Content) -> tuple[Contract, ...]:
    """The contracts in force by a certificate. Raises EvidenceWrong."""
    try:
        return tuple(
            Contract(
                partner_id=contract["partner_id"],
                counterparty_id=contract["counterparty_id"],
                kind=contract["kind"],
                valid_from=date.fromisoformat(contract["valid_from"]),
                valid_until=None,
            )
            for contract in content["contracts"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise EvidenceWrong(
            Fault(CERTIFICATE, "not the contracts of a certificate", field="contracts")
        ) from error


def stated_records(content: Content) -> Records:
    """What a certificate says of partners' own records. Raises EvidenceWrong."""
    try:
        return records_from(content["reconciliations"])
    except (KeyError, TypeError, ValueError) as error:
        raise EvidenceWrong(
            Fault(CERTIFICATE, "not the reconciliations of a certificate", field="reconciliations")
        ) from error


def _pairs(entries: Iterable[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in entries)


def stated_issuers(file: str, content: Content) -> tuple[IssuerPoints, ...]:
    """The issuers' points to date in a certificate. Raises EvidenceWrong."""
    try:
        return tuple(IssuerPoints(**issuer) for issuer in content["issuers"])
    except (KeyError, TypeError) as error:
        raise EvidenceWrong(Fault(file, "not the issuers of a certificate", field="issuers")) from error


def line_of(file: str, number: int, record: Content) -> StatementLine:
    """A statement line from a record of a bundle. Raises EvidenceWrong."""
    try:
        return StatementLine(**record)
    except TypeError as error:
        raise EvidenceWrong(Fault(file, "not a statement line", number)) from error


def statement_of(file: str, number: int, record: Content) -> Statement:
    """A statement from a record of a bundle. Raises EvidenceWrong."""
    try:
        party = record["party_id"]
        return Statement(
            window_date=date.fromisoformat(record["window_date"]),
            party_id=party,
            opening_minor=record["opening_minor"],
            lines=tuple(StatementLine(party_id=party, **line) for line in record["lines"]),
            net_minor=record["net_minor"],
            closing_minor=record["closing_minor"],
            exact_micros=record["exact_micros"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise EvidenceWrong(Fault(file, "not a statement", number)) from error


def stood_before(previous: Content | None, lines: Sequence[StatementLine]) -> Computed:
    """What stood before the window. The certificate before binds it. Raises EvidenceWrong."""
    if previous is None:
        if lines:
            raise EvidenceWrong(Fault(PREVIOUS_LINES, "nothing stood before the first window", 1))
        return Computed((), ())
    stated = content_sha256([party_line_content(line) for line in lines])
    if stated != previous.get("lines_sha256"):
        raise EvidenceWrong(Fault(PREVIOUS_LINES, f"not the lines whose lines_sha256 is in {PREVIOUS}"))
    return Computed(tuple(lines), stated_issuers(PREVIOUS, previous))


def check_links(
    content: Content, certificate_before: bytes | None, previous: Content | None, sha256: str
) -> None:
    """The window goes on where the one before ended, whose certificate it names. Raises EvidenceWrong.

    `sha256` is that of the certificate before, empty where there is none.
    """
    if content.get("previous_certificate_sha256") != sha256:
        what = (
            f"is not the SHA-256 of {PREVIOUS}"
            if certificate_before
            else "names one that is not in the bundle"
        )
        raise EvidenceWrong(Fault(CERTIFICATE, what, field="previous_certificate_sha256"))
    window = stated_window(CERTIFICATE, content)
    expected = stated_window(PREVIOUS, previous).last_sequence + 1 if previous else 1
    if window.first_sequence != expected:
        what = f"says {window.first_sequence}, the window before ends before {expected}"
        raise EvidenceWrong(Fault(CERTIFICATE, what, field="window.first_sequence"))


def computed_again(content: Content, before: Computed, sums: WindowSums) -> Computed:
    """What the window's sums come to, after what stood before it."""
    ledger = stated_ledger(CERTIFICATE, content)
    unit_micros = micros_per_minor(ledger.minor_unit_digits)
    return compute(before, sums, unit_micros, stated_contracts(content))


def check_lines(computed: Computed, stated: Iterable[tuple[int, Content]]) -> None:
    """Every statement line to date is as it is computed. Raises EvidenceWrong."""
    _check_records(LINES, [party_line_content(line) for line in computed.lines], stated)


def check_statements(content: Content, computed: Computed, stated: Iterable[tuple[int, Content]]) -> None:
    """Every statement is as it is computed. Raises EvidenceWrong."""
    window_date = stated_window(CERTIFICATE, content).window_date
    expected = [statement_content(it) for it in statements(window_date, computed.lines)]
    _check_records(STATEMENTS, expected, stated)


def _check_records(
    file: str, expected: Sequence[Mapping[str, object]], stated: Iterable[tuple[int, Content]]
) -> None:
    number = 0
    for number, record in stated:
        if number > len(expected):
            raise EvidenceWrong(Fault(file, f"there are {len(expected)} by the journal", number))
        difference = first_difference(record, expected[number - 1])
        if difference:
            raise EvidenceWrong(Fault(file, difference[1], number, difference[0]))
    if number != len(expected):
        raise EvidenceWrong(
            Fault(file, f"is missing: {canonical_json(expected[number]).decode()}", number + 1)
        )


def check_certificate(
    content: Content, previous: Content | None, before: Computed, sums: WindowSums, computed: Computed
) -> None:
    """The certificate says, byte for byte, what the evidence comes to, and every check holds.

    What a certificate says of other windows than its own and the one before, and of partners' own files, is taken
    from it. Raises EvidenceWrong.
    """
    window = stated_window(CERTIFICATE, content)
    count = _windows_before(content)
    sha256 = str(content.get("previous_certificate_sha256"))
    case = Case(
        ledger=stated_ledger(CERTIFICATE, content),
        window=window,
        seen_window=window,
        receipt_fault="",
        previous=Previous(stated_window(PREVIOUS, previous), sha256) if previous else None,
        hub_windows_before=count,
        certified_before=count,
        sums=sums,
        before=before,
        stored=computed,
        contracts=stated_contracts(content),
        records=stated_records(content),
    )
    checks = run_checks(case)
    for check in failed(checks):
        raise EvidenceWrong(
            Fault(CERTIFICATE, f"does not hold: {fault_text(check)}", field=f"checks.{check.name}")
        )
    expected = certificate_content(case, checks, stated_receipt(CERTIFICATE, content))
    difference = first_difference(content, expected)
    if difference:
        raise EvidenceWrong(Fault(CERTIFICATE, difference[1], field=difference[0]))


def check_records(content: Content, controls_of: Callable[[str], Controls]) -> None:
    """What a certificate says the hub has, beside partners' own files, is what was posted. Raises EvidenceWrong.

    `controls_of` gives the four totals of a partner's own entries.
    """
    for record in stated_records(content).reconciled:
        difference = first_difference(asdict(record.controls.hub), asdict(controls_of(record.partner_id)))
        if difference:
            name = f"reconciliations.partners[{record.partner_id}].hub.{difference[0]}"
            raise EvidenceWrong(Fault(CERTIFICATE, difference[1], field=name))


def _windows_before(content: Content) -> int:
    for check in content.get("checks", ()):
        if isinstance(check, Mapping) and check.get("name") == "windows_in_order":
            count = check.get("figures", {}).get("windows_before")
            if type(count) is int:
                return count
    raise EvidenceWrong(Fault(CERTIFICATE, "missing", field="checks.windows_in_order"))


def first_difference(stated: Any, expected: Any, path: str = "") -> tuple[str, str] | None:
    """(field, what differs) of the first figure of plain data that is not as expected; None where all is."""
    if isinstance(stated, Mapping) and isinstance(expected, Mapping):
        for name in sorted(stated.keys() | expected.keys()):
            place = f"{path}.{name}" if path else name
            if name not in stated or name not in expected:
                return place, "is missing" if name in expected else "does not belong there"
            found = first_difference(stated[name], expected[name], place)
            if found:
                return found
        return None
    if isinstance(stated, list | tuple) and isinstance(expected, list | tuple):
        for index, (one, other) in enumerate(zip(stated, expected, strict=False)):
            found = first_difference(one, other, f"{path}[{_label(other, index)}]")
            if found:
                return found
        if len(stated) != len(expected):
            return path, f"has {len(stated)} items, {len(expected)} by the evidence"
        return None
    if type(stated) is type(expected) and stated == expected:
        return None
    return path, f"says {stated!r}, by the evidence {expected!r}"


def _label(item: Any, index: int) -> str:
    """What an item of a list is called: its party, component or name; else its number, from 0."""
    if isinstance(item, Mapping):
        for name in ("party_id", "issuer_id", "component", "name"):
            if name in item:
                return str(item[name])
    return str(index)
