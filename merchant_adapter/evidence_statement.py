"""Checks a statement offline: what settlement signed, by itself and against certificates and the day before."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from google.protobuf.message import DecodeError

from merchant_adapter.evidence_certificate import CertifiedStatement, CheckedCertificate, canonical_json
from merchant_adapter.evidence_wrong import EvidenceWrong
from merchant_adapter.from_messages import to_date
from merchant_adapter.from_settlement import from_statement
from merchant_adapter.receipts import Receipt
from merchant_adapter.settlement_values import Statement
from tongdui.settlement.v1 import settlement_service_pb2 as settling
from tongdui.signing import parse_request, split_key_id

OPERATOR = "operator"
"""Owner of keys that may read every partner's statements."""

_NOTHING = CertifiedStatement(0, 0, 0, "")


@dataclass(frozen=True, slots=True)
class CheckedStatement:
    """A statement as settlement signed it, whose figures add up."""

    file: str
    statement: Statement


def check_statement(file: str, receipt: Receipt) -> CheckedStatement:
    """The statement in a verified receipt of GetStatement: the one that was asked for, and it adds up.

    Raises EvidenceWrong.
    """
    try:
        asked = settling.GetStatementRequest.FromString(receipt.request)
        asked_day = to_date(asked.window_date)
        statement = from_statement(settling.GetStatementResponse.FromString(receipt.answer), receipt)
    except (DecodeError, ValueError) as error:
        raise EvidenceWrong(file, "answer", "not a statement") from error
    if statement.window_date != asked_day:
        what = f"is of {statement.window_date}, asked for was {asked_day}"
        raise EvidenceWrong(file, "answer.window_date", what)
    owner, _ = split_key_id(parse_request(receipt.request_entries).key_id)
    wanted = asked.partner_id or owner
    if statement.partner_id != wanted or owner not in (wanted, OPERATOR):
        what = f"is {statement.partner_id}'s, asked for was {wanted}'s by {owner}"
        raise EvidenceWrong(file, "answer.partner_id", what)
    _check_sums(file, statement)
    return CheckedStatement(file, statement)


def check_days(statements: Sequence[CheckedStatement], certificates: Sequence[CheckedCertificate]) -> None:
    """Statements agree with the certificates of their days and with each other. Raises EvidenceWrong."""
    for one in statements:
        certificate = certificate_of(one.statement, certificates)
        if certificate is not None:
            _check_certified(one, certificate)
        _check_opening(one, statements)


def certificate_of(
    statement: Statement, certificates: Iterable[CheckedCertificate]
) -> CheckedCertificate | None:
    """The certificate to hold a statement against: the one it names, else any of its day; None where none is there."""
    of_day = [one for one in certificates if one.window_date == statement.window_date]
    named = [one for one in of_day if one.sha256 == statement.certificate_sha256]
    return next(iter(named or of_day), None)


def statement_sha256(statement: Statement) -> str:
    """SHA-256 (hex) of a statement's canonical text, as `docs/settlement.md` has it."""
    content = {
        "window_date": statement.window_date.isoformat(),
        "party_id": statement.partner_id,
        "opening_minor": statement.opening_minor,
        "lines": [
            {
                "component": line.component,
                "line_count": line.line_count,
                "exact_micros": line.exact_micros,
                "amount_minor": line.amount_minor,
                "exact_to_date_micros": line.exact_to_date_micros,
                "amount_to_date_minor": line.amount_to_date_minor,
            }
            for line in statement.lines
        ],
        "exact_micros": statement.exact_micros,
        "net_minor": statement.net_minor,
        "closing_minor": statement.closing_minor,
    }
    return hashlib.sha256(canonical_json(content)).hexdigest()


def _check_sums(file: str, statement: Statement) -> None:
    sums = {
        "net_minor": sum(line.amount_minor for line in statement.lines),
        "exact_micros": sum(line.exact_micros for line in statement.lines),
        "closing_minor": statement.opening_minor + statement.net_minor,
    }
    for name, total in sums.items():
        stated = getattr(statement, name)
        if stated != total:
            raise EvidenceWrong(file, f"answer.{name}", f"says {stated}, its parts add up to {total}")


def _check_certified(one: CheckedStatement, certificate: CheckedCertificate) -> None:
    statement = one.statement
    if statement.certificate_sha256 not in ("", certificate.sha256):
        what = f"names another certificate than {certificate.file}"
        raise EvidenceWrong(one.file, "answer.certificate_sha256", what)
    # A partner that never moved a point is in no certificate; its statement is all zeros.
    certified = certificate.statements.get(statement.partner_id, _NOTHING)
    for name in ("net_minor", "closing_minor", "exact_micros"):
        stated, expected = getattr(statement, name), getattr(certified, name)
        if stated != expected:
            what = f"says {stated}, {certificate.file} certifies {expected}"
            raise EvidenceWrong(one.file, f"answer.{name}", what)
    if certified is not _NOTHING and statement_sha256(statement) != certified.sha256:
        what = f"not the statement whose SHA-256 {certificate.file} certifies"
        raise EvidenceWrong(one.file, "answer.lines", what)


def _check_opening(one: CheckedStatement, statements: Iterable[CheckedStatement]) -> None:
    """The day opens where the day before closed, as far as that statement is there and certified."""
    statement = one.statement
    for other in statements:
        before = other.statement
        if before.partner_id != statement.partner_id or not before.certificate_sha256:
            continue
        is_before = before.window_date == statement.window_date - timedelta(days=1)
        if is_before and before.closing_minor != statement.opening_minor:
            what = f"says {statement.opening_minor}, {other.file} closes with {before.closing_minor}"
            raise EvidenceWrong(one.file, "answer.opening_minor", what)
