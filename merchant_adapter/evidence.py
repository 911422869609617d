"""Checks stored files offline, from their bytes and public keys alone: receipts, statements, certificates.

What a file is, it says itself. A file is checked by itself first; then statements are held against the certificates
that are there too, and each day against the day before it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from merchant_adapter import methods
from merchant_adapter.errors import ReceiptInvalid
from merchant_adapter.evidence_certificate import CheckedCertificate, check_certificate, check_chain
from merchant_adapter.evidence_statement import CheckedStatement, check_days, check_statement
from merchant_adapter.evidence_wrong import EvidenceWrong, checked_receipt
from merchant_adapter.json_object import Unreadable
from merchant_adapter.keys import HubKeys, PinnedKeys, SettlementKeys
from merchant_adapter.receipts import Receipt
from merchant_adapter.signing import verify_request
from merchant_adapter.statuses import read_status_bytes
from tongdui.signing import Receipt as SignedReceipt


@dataclass(frozen=True, slots=True)
class Trusted:
    """The public keys to check against; what would need others cannot be checked.

    Attributes:
        hub: the hub's, for its receipts.
        settlement: settlement's, for its receipts and certificates.
        callers: by key id, of those who signed requests.
    """

    hub: HubKeys | None = None
    settlement: SettlementKeys | None = None
    callers: Mapping[str, bytes] | None = None


@dataclass(frozen=True, slots=True)
class CheckedReceipt:
    """A receipt that verified.

    Attributes:
        is_request_verified: whether the caller's own signature was checked too, which needs the caller's key.
        statement: what was answered, where a statement was asked for.
    """

    file: str
    receipt: Receipt
    signed: SignedReceipt
    is_request_verified: bool
    statement: CheckedStatement | None


Checked = CheckedReceipt | CheckedCertificate


def check_files(files: Iterable[tuple[str, bytes]], trusted: Trusted) -> list[Checked]:
    """Checks files, given as (name, bytes), by themselves and with each other.

    Raises EvidenceWrong for the first thing that is wrong, Unreadable for a file that is none of the kinds, or that
    needs keys which are not given.
    """
    checked = [_checked(name, content, trusted) for name, content in files]
    certificates = [one for one in checked if isinstance(one, CheckedCertificate)]
    check_chain(certificates)
    statements = [
        one.statement for one in checked if isinstance(one, CheckedReceipt) and one.statement is not None
    ]
    check_days(statements, certificates)
    return checked


def _checked(file: str, content: bytes, trusted: Trusted) -> Checked:
    if _is_certificate(file, content):
        return _certificate(file, content, trusted)
    try:
        receipt = Receipt.from_json(content)
    except Unreadable as error:
        raise Unreadable(f"{file}: {error}") from error
    signed = checked_receipt(file, "", receipt, _keys(file, receipt, trusted))
    try:
        is_request_verified = verify_request(receipt, trusted.callers or {})
    except ReceiptInvalid as error:
        raise EvidenceWrong.of_receipt(file, "", error) from error
    is_accepted = read_status_bytes(receipt.answer) is None
    statement = None
    if is_accepted and receipt.path == methods.GET_STATEMENT:
        statement = check_statement(file, receipt)
    return CheckedReceipt(file, receipt, signed, is_request_verified, statement)


def _is_certificate(file: str, content: bytes) -> bool:
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{file}: neither a receipt nor a certificate: not JSON") from error
    return isinstance(fields, dict) and "certificate" in fields


def _certificate(file: str, document: bytes, trusted: Trusted) -> CheckedCertificate:
    if trusted.settlement is None:
        raise Unreadable(f"{file}: a certificate of settlement's: --settlement-keys is needed")
    return check_certificate(file, document, trusted.settlement, trusted.hub)


def _keys(file: str, receipt: Receipt, trusted: Trusted) -> PinnedKeys:
    is_settlements = receipt.path.startswith(methods.OF_SETTLEMENT)
    keys: PinnedKeys | None = trusted.settlement if is_settlements else trusted.hub
    if keys is None:
        whose, option = ("settlement's", "settlement") if is_settlements else ("the hub's", "hub")
        raise Unreadable(f"{file}: a receipt of {whose}: --{option}-keys is needed")
    return keys
