"""The conservation certificate: a window's figures and checks as JSON, the same bytes whenever it is made.

A document is `{"certificate":<content>,"signature":<signature>}`. The content stands in it byte for byte as
it was signed, so a reader in any language can cut it out; and because keys are sorted, nothing is spaced
and there are no fractions, taking it apart and putting it together again gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime

from settlement.core.checks import Case, Check
from settlement.core.contracts import Contract
from settlement.core.netting import Flow
from settlement.core.points import IssuerPoints
from settlement.core.reconciled import records_content
from settlement.core.rounding import StatementLine, rounding_bounds
from settlement.core.statement import line_content, payable_minor, statement_content, statements
from settlement.core.window import HubReceipt

FORMAT = "tongdui-certificate-v1"
NO_CERTIFICATE_BEFORE = ""
"""`previous_certificate_sha256` of the first window."""


class DocumentMalformed(ValueError):
    """The bytes are not a certificate document as this module writes it; `str()` says where it differs."""


def canonical_json(content: object) -> bytes:
    """Plain data as JSON in the one spelling used here: keys sorted, no spaces, ASCII, no floats."""
    _refuse_floats(content)
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def content_sha256(content: object) -> str:
    """SHA-256 (hex) of plain data in its one spelling."""
    return hashlib.sha256(canonical_json(content)).hexdigest()


def certificate_content(case: Case, checks: Iterable[Check], receipt: HubReceipt) -> dict[str, object]:
    """What a certificate says of a window. Carries no clock: a window certified again says the same."""
    ledger, bounds = case.ledger, rounding_bounds(case.stored.lines)
    settled = statements(case.window.window_date, case.stored.lines)
    return {
        "format": FORMAT,
        "ledger": asdict(ledger),
        "window": {
            "window_date": case.window.window_date.isoformat(),
            "first_sequence": case.window.first_sequence,
            "last_sequence": case.window.last_sequence,
            "last_hash": case.window.last_hash.hex(),
            "entry_count": case.window.entry_count,
            "close_time": time_text(case.window.close_time),
        },
        "previous_certificate_sha256": (
            case.previous.certificate_sha256 if case.previous else NO_CERTIFICATE_BEFORE
        ),
        "contracts": [contract_content(contract) for contract in case.contracts],
        "reconciliations": records_content(case.records),
        "flows_sha256": content_sha256([flow_content(flow) for flow in case.sums.flows]),
        "lines_sha256": content_sha256([party_line_content(line) for line in case.stored.lines]),
        "statements": [
            {
                "party_id": statement.party_id,
                "exact_micros": statement.exact_micros,
                "net_minor": statement.net_minor,
                "closing_minor": statement.closing_minor,
                "statement_sha256": content_sha256(statement_content(statement)),
            }
            for statement in settled
        ],
        "payable_minor": payable_minor(settled),
        "rounding": {"window_minor": bounds.window_minor, "to_date_minor": bounds.to_date_minor},
        "issuers": [issuer_content(issuer) for issuer in case.stored.issuers],
        "checks": [check_content(check) for check in checks],
        "hub_receipt": receipt_content(receipt),
    }


def party_line_content(line: StatementLine) -> dict[str, object]:
    """One statement line with its party as plain data; those carried on are what the next window builds on."""
    return {"party_id": line.party_id} | line_content(line)


def flow_content(flow: Flow) -> dict[str, object]:
    """One cell of the bilateral matrix, by component, as plain data."""
    return asdict(flow)


def contract_content(contract: Contract) -> dict[str, object]:
    """One contract in force as plain data. A day it may end on later is left out: it changes nothing today."""
    return {
        "partner_id": contract.partner_id,
        "counterparty_id": contract.counterparty_id,
        "kind": contract.kind,
        "valid_from": contract.valid_from.isoformat(),
    }


def issuer_content(issuer: IssuerPoints) -> dict[str, object]:
    """One issuer's points to date as plain data."""
    return asdict(issuer)


def check_content(check: Check) -> dict[str, object]:
    """One check as plain data."""
    return {"name": check.name, "holds": check.holds, "claim": check.claim, "figures": dict(check.figures)}


def receipt_content(receipt: HubReceipt) -> dict[str, object]:
    """The hub's signed receipt as plain data: message bytes in base64, metadata as pairs."""
    return {
        "path": receipt.path,
        "request": base64.b64encode(receipt.request).decode("ascii"),
        "request_metadata": [list(entry) for entry in receipt.request_metadata],
        "response": base64.b64encode(receipt.response).decode("ascii"),
        "receipt_metadata": [list(entry) for entry in receipt.receipt_metadata],
    }


def time_text(moment: datetime) -> str:
    """A moment in UTC with microseconds: `2017-11-25T00:00:00.000000Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def signed_text(content: bytes) -> bytes:
    """What a certificate's signature is over: a tag no other signed text begins with, then the content."""
    return FORMAT.encode("ascii") + b"\n" + content


def document_bytes(content: bytes, key_id: str, public_key: str, signature: bytes) -> bytes:
    """The whole document. `public_key` is base64url without padding, `signature` the 64 bytes of Ed25519."""
    signature_part = canonical_json(
        {
            "algorithm": "Ed25519",
            "key_id": key_id,
            "public_key": public_key,
            "signature": base64.b64encode(signature).decode("ascii"),
        }
    )
    return b'{"certificate":' + content + b',"signature":' + signature_part + b"}"


def split_document(document: bytes) -> tuple[bytes, dict[str, str]]:
    """(content bytes, signature fields) of a document. Says nothing about who signed it.

    Raises DocumentMalformed unless the bytes are exactly as `document_bytes` writes them.
    """
    try:
        parsed = json.loads(document)
        content, fields = canonical_json(parsed["certificate"]), dict(parsed["signature"])
        again = document_bytes(
            content,
            fields["key_id"],
            fields["public_key"],
            base64.b64decode(fields["signature"], validate=True),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DocumentMalformed("not a certificate document") from error
    if again != document:
        raise DocumentMalformed("not in the canonical spelling of a certificate document")
    return content, fields


def _refuse_floats(content: object) -> None:
    if isinstance(content, float):
        raise TypeError("amounts are whole numbers; a float has no place in a certificate")
    if isinstance(content, dict):
        for value in content.values():
            _refuse_floats(value)
    elif isinstance(content, list | tuple):
        for value in content:
            _refuse_floats(value)
