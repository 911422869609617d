"""`verify`: checks stored receipts, statements and certificates offline, from files and public keys alone."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message

from merchant_adapter.cli.arguments import Subparsers
from merchant_adapter.cli.report import ExitCode, Report, plain
from merchant_adapter.evidence import Checked, CheckedReceipt, Trusted, check_files
from merchant_adapter.evidence_certificate import CheckedCertificate
from merchant_adapter.evidence_statement import certificate_of
from merchant_adapter.evidence_wrong import EvidenceWrong
from merchant_adapter.json_object import Unreadable
from merchant_adapter.keys import HubKeys, SettlementKeys, load_public_keys
from merchant_adapter.settlement_values import Statement
from merchant_adapter.statuses import read_status_bytes
from tongdui.exchange.v1 import (  # noqa: F401 - imported so that the pool knows every service
    accounts_service_pb2,
    journal_service_pb2,
    members_service_pb2,
    partners_service_pb2,
    points_service_pb2,
    rate_cards_service_pb2,
)
from tongdui.settlement.v1 import (  # noqa: F401 - imported so that the pool knows settlement's services too
    reconciliation_service_pb2,
    settlement_service_pb2,
)


def add(subparsers: "Subparsers[argparse.ArgumentParser]", shown: argparse.ArgumentParser) -> None:
    """Adds the command."""
    verify = subparsers.add_parser(
        "verify", parents=[shown], help="check stored receipts, statements and certificates, offline"
    )
    verify.add_argument(
        "files", nargs="+", metavar="FILE", help="receipts, statements, certificates; checked together"
    )
    verify.add_argument("--hub-keys", metavar="FILE", help="the hub's public keys, a JSON Web Key Set")
    verify.add_argument(
        "--settlement-keys", metavar="FILE", help="settlement's public keys, for what settlement signed"
    )
    verify.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="FILE",
        help="the caller's key, or its public half: then the signature over the request is checked too",
    )
    verify.set_defaults(run=run_verify)


def run_verify(arguments: argparse.Namespace) -> Report:
    """Says what was answered to what, or the first thing that is wrong, with its file and field."""
    files = [(name, _read(name)) for name in arguments.files]
    callers: dict[str, bytes] = {}
    for name in arguments.key:
        callers |= load_public_keys(name)
    trusted = Trusted(
        hub=HubKeys.load(arguments.hub_keys) if arguments.hub_keys else None,
        settlement=SettlementKeys.load(arguments.settlement_keys) if arguments.settlement_keys else None,
        callers=callers,
    )
    try:
        checked = check_files(files, trusted)
    except EvidenceWrong as wrong:
        fault = {"file": wrong.file, "field": wrong.field, "message": wrong.what}
        return Report({"verified": False, **fault}, ExitCode.NOT_TRUSTED)
    if arguments.json:
        return Report({"verified": True, "files": [_shown(one, checked) for one in checked]})
    if len(checked) == 1:
        return Report({"verified": True, **_shown(checked[0], checked)})
    return Report({"verified": True, "files": [_row(one, checked) for one in checked]})


def _read(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise Unreadable(f"{name}: {error.strerror}") from error


def _shown(one: Checked, checked: list[Checked]) -> dict[str, Any]:
    if isinstance(one, CheckedCertificate):
        return _certificate(one, checked)
    path, kinds = one.receipt.path, _message_kinds(one.receipt.path)
    shown: dict[str, Any] = {
        "file": one.file,
        "kind": _kind(one),
        "path": path,
        "signed_time": datetime.fromtimestamp(one.signed.created, UTC).isoformat(),
        "hub_key_id" if one.signed.key_id.startswith("hub.") else "settlement_key_id": one.signed.key_id,
        "request_signature": "verified" if one.is_request_verified else "not checked: --key is needed",
        "request": _readable(one.receipt.request, kinds[0]),
    }
    refusal = read_status_bytes(one.receipt.answer)
    if refusal is not None:
        return {**shown, "outcome": "refused", "refusal": plain(refusal)}
    shown |= {"outcome": "accepted", "answer": _readable(one.receipt.answer, kinds[1])}
    if one.statement is not None:
        shown["certificate"] = _certified_by(one.statement.statement, checked)
    return shown


def _certificate(one: CheckedCertificate, checked: list[Checked]) -> dict[str, Any]:
    return {
        "file": one.file,
        "kind": _kind(one),
        "window_date": one.window_date.isoformat(),
        "sha256": one.sha256,
        "settlement_key_id": one.key_id,
        "entry_count": one.entry_count,
        "party_count": len(one.statements),
        "payable_minor": one.payable_minor,
        "currency_code": one.currency_code,
        "checks": list(one.check_names),
        "hub_receipt": "verified" if one.is_hub_verified else "not checked: --hub-keys is needed",
        "previous": _previous(one, checked),
    }


def _row(one: Checked, checked: list[Checked]) -> dict[str, Any]:
    """What fits on a screen; `--json` has all of it."""
    if isinstance(one, CheckedCertificate):
        hub = "" if one.is_hub_verified else "; the hub's receipt not checked"
        says = f"{one.entry_count} entries, nets add up to 0; before it: {_previous(one, checked)}{hub}"
        return {"file": one.file, "what": f"certificate of {one.window_date}", "says": says}
    if one.statement is not None:
        statement = one.statement.statement
        what = f"statement of {statement.partner_id}, {statement.window_date}"
        says = f"net {statement.net_minor} minor units; certificate: {_certified_by(statement, checked)}"
        return {"file": one.file, "what": what, "says": says}
    refusal = read_status_bytes(one.receipt.answer)
    outcome = "accepted" if refusal is None else f"refused: {refusal.reason}"
    return {"file": one.file, "what": f"receipt of {one.receipt.path.rpartition('/')[2]}", "says": outcome}


def _kind(one: Checked) -> str:
    if isinstance(one, CheckedCertificate):
        return "certificate"
    return "receipt" if one.statement is None else "statement"


def _certified_by(statement: Statement, checked: list[Checked]) -> str:
    """The file a statement was held against."""
    certificate = certificate_of(statement, [it for it in checked if isinstance(it, CheckedCertificate)])
    if certificate is not None:
        return f"agrees with {certificate.file}"
    return "not held against it, none of its day given" if statement.certificate_sha256 else "not certified"


def _previous(one: CheckedCertificate, checked: list[Checked]) -> str:
    """The file a certificate goes on from."""
    if not one.previous_sha256:
        return "none, the first day"
    files = [
        it.file for it in checked if not isinstance(it, CheckedReceipt) and it.sha256 == one.previous_sha256
    ]
    return files[0] if files else "not given"


def _message_kinds(path: str) -> tuple[type[Message], type[Message]] | tuple[None, None]:
    """The request's and the answer's message, (None, None) for a method this version does not know."""
    service, _, name = path.removeprefix("/").partition("/")
    try:
        method = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    except KeyError:
        return None, None
    return (
        message_factory.GetMessageClass(method.input_type),
        message_factory.GetMessageClass(method.output_type),
    )


def _readable(octets: bytes, kind: type[Message] | None) -> Any:
    if kind is None:
        return f"{octets.hex()} (hex; this version does not know the method)"
    try:
        return MessageToDict(kind.FromString(octets), preserving_proto_field_name=True)
    except DecodeError:
        return f"{octets.hex()} (hex; not a {kind.DESCRIPTOR.name})"
