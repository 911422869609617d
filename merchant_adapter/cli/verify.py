"""`verify`: checks a stored receipt offline, from the file and the hub's public keys alone."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message

from merchant_adapter.cli.arguments import Subparsers
from merchant_adapter.cli.report import ExitCode, Report, plain
from merchant_adapter.errors import ReceiptInvalid
from merchant_adapter.json_object import Unreadable
from merchant_adapter.keys import HubKeys, PinnedKeys, SettlementKeys
from merchant_adapter.receipts import Receipt
from merchant_adapter.signing import verify_receipt
from merchant_adapter.statuses import read_status_bytes
from tongdui.exchange.v1 import (  # noqa: F401 - imported so that the pool knows every service
    accounts_service_pb2,
    journal_service_pb2,
    members_service_pb2,
    partners_service_pb2,
    points_service_pb2,
    rate_cards_service_pb2,
)
from tongdui.settlement.v1 import (  # noqa: F401 - the same
    reconciliation_service_pb2,
    settlement_service_pb2,
)


def add(subparsers: "Subparsers[argparse.ArgumentParser]", shown: argparse.ArgumentParser) -> None:
    """Adds the command."""
    verify = subparsers.add_parser("verify", parents=[shown], help="check a stored receipt, offline")
    verify.add_argument("file", metavar="RECEIPT.json")
    keys = verify.add_mutually_exclusive_group(required=True)
    keys.add_argument("--hub-keys", metavar="FILE", help="the hub's public keys, a JSON Web Key Set")
    keys.add_argument(
        "--settlement-keys", metavar="FILE", help="settlement's public keys, for a receipt of settlement's"
    )
    verify.set_defaults(run=run_verify)


def run_verify(arguments: argparse.Namespace) -> Report:
    """Says what was answered to what, or which check failed."""
    try:
        receipt = Receipt.from_json(Path(arguments.file).read_bytes())
    except OSError as error:
        raise Unreadable(f"{arguments.file}: {error.strerror}") from error
    keys: PinnedKeys
    if arguments.settlement_keys:
        keys = SettlementKeys.load(arguments.settlement_keys)
    else:
        keys = HubKeys.load(arguments.hub_keys)
    try:
        signed = verify_receipt(receipt, keys)
    except ReceiptInvalid as error:
        return Report({"verified": False, "message": error.refusal.message}, ExitCode.NOT_TRUSTED)
    refusal = read_status_bytes(receipt.answer)
    kinds = _message_kinds(receipt.path)
    shown: dict[str, Any] = {
        "verified": True,
        "path": receipt.path,
        "signed_time": datetime.fromtimestamp(signed.created, UTC).isoformat(),
        "hub_key_id" if isinstance(keys, HubKeys) else "settlement_key_id": signed.key_id,
        "request": _readable(receipt.request, kinds[0]),
    }
    if refusal is not None:
        return Report(shown | {"outcome": "refused", "refusal": plain(refusal)})
    return Report(shown | {"outcome": "accepted", "answer": _readable(receipt.answer, kinds[1])})


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
