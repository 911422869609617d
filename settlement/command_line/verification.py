"""The command that checks evidence and single documents, and names the first thing that is wrong."""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from settlement.command_line.bundle import (
    MANIFEST,
    check_files,
    read_manifest,
    read_records,
)
from settlement.command_line.documents import Certified, check_document
from settlement.command_line.evidence import BATCHES, PARTIES, RATES, export_window, progress
from settlement.command_line.partner_evidence import verify_partner_files
from settlement.command_line.session import Misconfigured, Session, open_snapshot
from settlement.core.certificate import (
    DocumentMalformed,
    signed_text,
    split_document,
)
from settlement.core.chain import FIRST_HASH
from settlement.core.evidence import COLUMNS, EvidenceWrong, Fault, Record
from settlement.core.evidence_chain import RowCursor, RowSums, follow_chain
from settlement.core.evidence_checks import (
    CERTIFICATE,
    LINES,
    PREVIOUS,
    PREVIOUS_LINES,
    STATEMENTS,
    Content,
    check_certificate,
    check_lines,
    check_links,
    check_records,
    check_statements,
    computed_again,
    line_of,
    stated_ledger,
    stated_receipt,
    stated_window,
    statement_of,
    stood_before,
)
from settlement.core.window import ClosedWindow, ReceiptInvalid
from settlement.rpc.keys import (
    HubKeys,
    check_key_id,
    load_hub_keys,
    load_public_keys,
    public_key_from_text,
    verifies,
)
from settlement.rpc.receipts import verify_close

_MAX_DOCUMENT_BYTES: Final = 1 << 28


def verify(session: Session, arguments: argparse.Namespace) -> None:
    """Checks a day's evidence, or a single document of it, and names the first thing that is wrong."""
    try:
        held = list(_verified(session, arguments))
    except EvidenceWrong as wrong:
        if session.as_json:
            content = {"holds": False, "fault": _fault_content(wrong.fault)}
            sys.stdout.write(json.dumps(content, indent=2) + "\n")
        raise
    session.show({"holds": True, "checked": held}, lambda: "\n".join(str(it["text"]) for it in held))


def _verified(session: Session, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What was asked for, one thing after the other, as far as it holds. Raises EvidenceWrong."""
    if arguments.partner_files:
        if arguments.date is None:
            raise Misconfigured("--partner-files: give the day with --date")
        yield from verify_partner_files(session, arguments.date)
        return
    settlement_keys = read_settlement_keys(arguments.settlement_key)
    if arguments.certificate:
        certified = _certified_by(Path(arguments.certificate), settlement_keys)
    elif arguments.directory:
        directory = Path(arguments.directory)
        yield verify_bundle(session, directory, settlement_keys)
        certified = _certified_in(directory)
    elif arguments.date:
        with tempfile.TemporaryDirectory(prefix="evidence-") as scratch:
            with open_snapshot(session.settings) as connection:
                export_window(session, connection, arguments.date, Path(scratch))
            yield verify_bundle(session, Path(scratch), settlement_keys, str(arguments.date))
            certified = _certified_in(Path(scratch))
    else:
        raise Misconfigured("verify: give a directory of evidence, --certificate, or --date")
    for name in arguments.file:
        kind = check_document(name, Path(name).read_bytes(), certified)
        yield {"file": name, "kind": kind, "text": f"{name}: holds, {kind} as certified"}


def _certified_in(directory: Path) -> Certified:
    """What a bundle that holds says documents must be."""
    records = read_records(directory, STATEMENTS)
    content, _ = read_certificate(directory, CERTIFICATE)
    return Certified(
        certificate=_document(directory, CERTIFICATE),
        content=content,
        ledger=stated_ledger(CERTIFICATE, content),
        statements=tuple(statement_of(STATEMENTS, number, record) for number, record in records),
    )


def _certified_by(path: Path, settlement_keys: Mapping[str, bytes]) -> Certified:
    """What a certificate alone says documents must be, once its signature verifies."""
    document = path.read_bytes()
    try:
        content, signature = split_document(document)
    except DocumentMalformed as error:
        raise EvidenceWrong(Fault(str(path), str(error))) from error
    check_signature(str(path), document, signature, settlement_keys)
    parsed: Content = json.loads(content)
    return Certified(document, parsed, stated_ledger(str(path), parsed), None)


def _fault_content(fault: Fault) -> dict[str, object]:
    return {
        "file": fault.file,
        "line": fault.line,
        "field": fault.field,
        "batch_sequence": fault.batch_sequence,
        "what": fault.what,
    }


def read_settlement_keys(given: list[str]) -> dict[str, bytes]:
    """Public keys of settlement by key id from `KEYID=PUBLIC_KEY` or files. Raises KeyFileError."""
    keys: dict[str, bytes] = {}
    for one in given:
        name, separator, text = one.partition("=")
        if separator and not Path(one).exists():
            public_key = public_key_from_text(text, f"--settlement-key {name}")
            check_key_id(name, public_key, "--settlement-key")
            keys[name] = public_key
        else:
            keys |= load_public_keys(Path(one))
    return keys


def verify_bundle(
    session: Session, directory: Path, settlement_keys: Mapping[str, bytes], called: str = ""
) -> dict[str, Any]:
    """Checks everything in a bundle and says what held. Raises EvidenceWrong, OSError."""
    hub_keys = load_hub_keys(Path(session.settings.require("hub_keys_file")))
    if not (directory / MANIFEST).is_file():
        raise Misconfigured(f"{directory}: no bundle of evidence, {MANIFEST} is missing")
    manifest = read_manifest(directory)
    with progress(session, "reading files", manifest.byte_count) as seen:
        check_files(directory, manifest, seen)
    content, signature = read_certificate(directory, CERTIFICATE)
    window = _proven_window(session, content, hub_keys)
    previous_document = _document(directory, PREVIOUS) if (directory / PREVIOUS).exists() else None
    previous = read_certificate(directory, PREVIOUS)[0] if previous_document else None
    sha256 = hashlib.sha256(previous_document).hexdigest() if previous_document else ""
    check_links(content, previous_document, previous, sha256)
    before = stood_before(previous, [*_previous_lines(directory)] if previous else [])
    hash_before = stated_window(PREVIOUS, previous).last_hash if previous else FIRST_HASH
    sums = RowSums(_parties(directory), _prices(directory))
    cursors = [
        RowCursor(table, f"{table}.jsonl", read_records(directory, f"{table}.jsonl")) for table in COLUMNS
    ]
    with progress(session, "hashing the journal", window.entry_count) as seen:
        for entry_count in follow_chain(window, hash_before, read_records(directory, BATCHES), cursors, sums):
            seen(entry_count)
    totals = sums.sums()
    computed = computed_again(content, before, totals)
    check_lines(computed, read_records(directory, LINES))
    check_statements(content, computed, read_records(directory, STATEMENTS))
    check_certificate(content, previous, before, totals, computed)
    check_records(content, sums.controls)
    check_signature(CERTIFICATE, _document(directory, CERTIFICATE), signature, settlement_keys)
    day, count, checks = window.window_date.isoformat(), window.entry_count, len(content["checks"])
    text = f"{called or directory}: holds, {count:,} entries hashed and added up again, {checks} checks"
    return {
        "window_date": day,
        "entry_count": count,
        "certificate_sha256": manifest.content.get("certificate_sha256"),
        "check_count": checks,
        "key_id": signature["key_id"],
        "text": f"{text}, signed by {signature['key_id']}",
    }


def read_certificate(directory: Path, name: str) -> tuple[Content, dict[str, str]]:
    """(content, signature fields) of a certificate. Raises EvidenceWrong where it is none."""
    try:
        content, signature = split_document(_document(directory, name))
    except DocumentMalformed as error:
        raise EvidenceWrong(Fault(name, str(error))) from error
    return json.loads(content), signature


def _document(directory: Path, name: str) -> bytes:
    with (directory / name).open("rb") as file:
        return file.read(_MAX_DOCUMENT_BYTES)


def check_signature(
    file: str, document: bytes, signature: Mapping[str, str], keys: Mapping[str, bytes]
) -> None:
    """A certificate is signed by one of settlement's keys. Raises EvidenceWrong."""
    public_key = keys.get(signature["key_id"])
    if public_key is None:
        what = f"{signature['key_id']} is none of the keys given with --settlement-key"
        raise EvidenceWrong(Fault(file, what, field="signature.key_id"))
    content, _ = split_document(document)
    if not verifies(public_key, base64.b64decode(signature["signature"]), signed_text(content)):
        raise EvidenceWrong(Fault(file, "does not verify", field="signature.signature"))


def _proven_window(session: Session, content: Content, hub_keys: HubKeys) -> ClosedWindow:
    """The window the hub's receipt proves, which must be the certificate's. Raises EvidenceWrong."""
    window, ledger = stated_window(CERTIFICATE, content), stated_ledger(CERTIFICATE, content)
    audience = session.settings.get("audience") or ledger.audience
    try:
        proven = verify_close(stated_receipt(CERTIFICATE, content), hub_keys, audience)
    except ReceiptInvalid as error:
        raise EvidenceWrong(Fault(CERTIFICATE, str(error), field="hub_receipt")) from error
    if proven != window:
        raise EvidenceWrong(
            Fault(CERTIFICATE, "not the window that the hub's receipt proves", field="window")
        )
    return window


def _previous_lines(directory: Path) -> Iterator[Any]:
    for number, record in read_records(directory, PREVIOUS_LINES):
        yield line_of(PREVIOUS_LINES, number, record)


def _parties(directory: Path) -> dict[int, str]:
    parties: dict[int, str] = {}
    for number, record in read_records(directory, PARTIES):
        party_id = _taken(PARTIES, number, record, "party_id", str)
        party_number = _taken(PARTIES, number, record, "party_number", int)
        for name, again in (
            ("party_number", party_number in parties),
            ("party_id", party_id in parties.values()),
        ):
            if again:
                raise EvidenceWrong(Fault(PARTIES, "stands in a line before", number, name))
        parties[party_number] = party_id
    return parties


def _prices(directory: Path) -> dict[tuple[str, int], tuple[int, int]]:
    prices: dict[tuple[str, int], tuple[int, int]] = {}
    for number, record in read_records(directory, RATES):
        card = (
            _taken(RATES, number, record, "issuer_id", str),
            _taken(RATES, number, record, "rate_version", int),
        )
        if card in prices:
            raise EvidenceWrong(
                Fault(RATES, "this version of a card has other prices in a line before", number)
            )
        prices[card] = (
            _taken(RATES, number, record, "funding_micros", int),
            _taken(RATES, number, record, "prefunded_micros", int),
        )
    return prices


def _taken(file: str, number: int, record: Record, name: str, kind: type) -> Any:
    value = record.get(name)
    if type(value) is not kind:
        raise EvidenceWrong(Fault(file, "missing or out of shape", number, name))
    return value
