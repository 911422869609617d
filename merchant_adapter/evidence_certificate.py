"""Checks a certificate of settlement's offline, as `docs/settlement.md` says it can be checked without settlement.

Written from that text, so that whoever runs it need not believe the program that made the certificate.
"""

import binascii
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Never

from merchant_adapter.evidence_closing import check_closing
from merchant_adapter.evidence_wrong import EvidenceWrong
from merchant_adapter.json_object import JsonObject, Unreadable, from_base64, from_base64url
from merchant_adapter.keys import HubKeys, SettlementKeys
from tongdui.signing import SignatureMalformed, key_id, split_key_id

FORMAT = "tongdui-certificate-v1"

CHECKS = (
    "hub_receipt",
    "windows_in_order",
    "entry_count",
    "chain_range",
    "recomputed",
    "points_conserved",
    "nets_zero",
    "bilateral_opposite",
    "escrow_proof",
    "rounding_to_date",
    "rounding_in_window",
    "reconciled",
)
"""What settlement checks before it signs a certificate of this format: all of these, none left out."""

_SIGNATURE_FIELDS = ["algorithm", "key_id", "public_key", "signature"]
_FROM = ("issued", "moved_in")
_TO = ("open", "held", "burned", "expired", "clawed_back", "absorbed", "moved_out")


@dataclass(frozen=True, slots=True)
class CertifiedStatement:
    """What a certificate says of one party's statement; `sha256` is hex, over the statement's canonical text."""

    exact_micros: int
    net_minor: int
    closing_minor: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CheckedCertificate:
    """A certificate that verified.

    Attributes:
        sha256: of the whole document, hex.
        previous_sha256: of the document of the day before; empty for the first day.
        first_sequence, last_sequence: the window's batches in the hub's chain.
        statements: by party.
        key_id: settlement's key that signed it.
        is_hub_verified: whether the hub's receipt in it was checked too, which needs the hub's keys.
    """

    file: str
    sha256: str
    previous_sha256: str
    window_date: date
    first_sequence: int
    last_sequence: int
    entry_count: int
    currency_code: str
    payable_minor: int
    statements: dict[str, CertifiedStatement]
    check_names: tuple[str, ...]
    key_id: str
    is_hub_verified: bool


def canonical_json(content: object) -> bytes:
    """Plain data in the one spelling that is signed and hashed: keys sorted, no spaces, ASCII."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def check_certificate(
    file: str, document: bytes, keys: SettlementKeys, hub_keys: HubKeys | None
) -> CheckedCertificate:
    """Signature, sums, checks, and with `hub_keys` that the hub signed for this window.

    Raises EvidenceWrong, Unreadable where the document lacks a field.
    """
    document = document.removesuffix(b"\n")
    parsed = _parsed(file, document)
    signer = _check_signature(file, parsed, keys)
    content = JsonObject(parsed["certificate"], f"{file}: certificate")
    content.expect("format", FORMAT)
    window = content.child("window")
    statements = _statements(file, content)
    _check_issuers(file, content)
    if hub_keys is not None:
        check_closing(file, content, hub_keys)
    return CheckedCertificate(
        file=file,
        sha256=hashlib.sha256(document).hexdigest(),
        previous_sha256=content.text("previous_certificate_sha256"),
        window_date=_day(file, window),
        first_sequence=window.whole("first_sequence"),
        last_sequence=window.whole("last_sequence"),
        entry_count=window.whole("entry_count"),
        currency_code=content.child("ledger").text("currency_code"),
        payable_minor=content.whole("payable_minor"),
        statements=statements,
        check_names=_held_checks(file, content),
        key_id=signer,
        is_hub_verified=hub_keys is not None,
    )


def check_chain(certificates: Sequence[CheckedCertificate]) -> None:
    """Each certificate goes on where the day before it ended, as far as that day's is there. Raises EvidenceWrong."""
    for one in certificates:
        before = [it for it in certificates if it.window_date == one.window_date - timedelta(days=1)]
        linked = [it for it in certificates if it.sha256 == one.previous_sha256]
        if before and not linked:
            what = f"is not the SHA-256 of {before[0].file}, the certificate of the day before"
            raise EvidenceWrong(one.file, "certificate.previous_certificate_sha256", what)
        for previous in linked:
            if previous not in before or one.first_sequence != previous.last_sequence + 1:
                what = f"does not begin where {previous.file} ends, which it names as the one before"
                raise EvidenceWrong(one.file, "certificate.window", what)


def _parsed(file: str, document: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(document, parse_float=_no_float, parse_constant=_no_float)
        is_canonical = canonical_json(parsed) == document
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{file}: not a certificate: {error}") from error
    if not is_canonical:
        raise EvidenceWrong(file, "", "not in the spelling in which certificates are signed")
    if not isinstance(parsed, dict) or sorted(parsed) != ["certificate", "signature"]:
        raise EvidenceWrong(file, "", "not a certificate with its signature and nothing else")
    return parsed


def _no_float(text: str) -> Never:
    raise ValueError(f"{text}: only whole numbers stand in a certificate")


def _check_signature(file: str, parsed: dict[str, Any], keys: SettlementKeys) -> str:
    fields = JsonObject(parsed["signature"], f"{file}: signature")
    texts = {name: fields.text(name) for name in _SIGNATURE_FIELDS}
    if sorted(parsed["signature"]) != _SIGNATURE_FIELDS or texts["algorithm"] != "Ed25519":
        raise EvidenceWrong(file, "signature", "not an Ed25519 signature with its key")
    name = texts["key_id"]
    if name not in keys:
        raise EvidenceWrong(file, "signature.key_id", f"{name} is not a known key of settlement")
    try:
        is_its_key = key_id(split_key_id(name)[0], from_base64url(texts["public_key"])) == name
    except (binascii.Error, SignatureMalformed):
        is_its_key = False
    if not is_its_key:
        raise EvidenceWrong(file, "signature.public_key", f"not the key {name}")
    try:
        signature = from_base64(texts["signature"])
    except binascii.Error as error:
        raise EvidenceWrong(file, "signature.signature", str(error)) from error
    signed = FORMAT.encode("ascii") + b"\n" + canonical_json(parsed["certificate"])
    if not keys.verifies(name, signature, signed):
        raise EvidenceWrong(file, "signature.signature", "does not verify")
    return name


def _statements(file: str, content: JsonObject) -> dict[str, CertifiedStatement]:
    """Every party's figures, whose sums are 0."""
    found: dict[str, CertifiedStatement] = {}
    for one in content.objects("statements"):
        party = one.text("party_id")
        if party in found:
            raise EvidenceWrong(file, f"certificate.statements[{party}]", "stands there twice")
        found[party] = CertifiedStatement(
            one.whole("exact_micros"),
            one.whole("net_minor"),
            one.whole("closing_minor"),
            one.text("statement_sha256"),
        )
    for name in ("net_minor", "closing_minor", "exact_micros"):
        _check_sum(file, f"certificate.statements.{name}", 0, (getattr(it, name) for it in found.values()))
    debts = (-it.net_minor for it in found.values() if it.net_minor < 0)
    _check_sum(file, "certificate.payable_minor", content.whole("payable_minor"), debts)
    return found


def _check_sum(file: str, field: str, stated: int, parts: Iterable[int]) -> None:
    total = sum(parts)
    if total != stated:
        raise EvidenceWrong(file, field, f"the parties' figures add up to {total}, not to {stated}")


def _check_issuers(file: str, content: JsonObject) -> None:
    """Of each issuer's points, as many came as went or are there still."""
    for issuer in content.objects("issuers"):
        came, went = (sum(issuer.whole(name) for name in names) for names in (_FROM, _TO))
        if came != went:
            field = f"certificate.issuers[{issuer.text('issuer_id')}]"
            raise EvidenceWrong(file, field, f"{came} points came and {went} went or are there still")


def _held_checks(file: str, content: JsonObject) -> tuple[str, ...]:
    """The names of all checks, which hold; one that settlement added to them since may be there too."""
    found: dict[str, None] = {}
    for check in content.objects("checks"):
        name = check.text("name")
        if not check.flag("holds"):
            raise EvidenceWrong(file, f"certificate.checks[{name}]", "does not hold")
        if name in found:
            raise EvidenceWrong(file, f"certificate.checks[{name}]", "stands there twice")
        found[name] = None
    if missing := [name for name in CHECKS if name not in found]:
        raise EvidenceWrong(file, "certificate.checks", f"not all are there: without {', '.join(missing)}")
    return tuple(found)


def _day(file: str, window: JsonObject) -> date:
    try:
        return date.fromisoformat(window.text("window_date"))
    except ValueError as error:
        raise Unreadable(f"{file}: certificate: window: window_date: expected YYYY-MM-DD") from error
