"""Checks offline that the hub closed a window as a certificate of settlement's states it."""

import binascii
from datetime import UTC, datetime

from google.protobuf.message import DecodeError

from merchant_adapter.evidence_wrong import EvidenceWrong, checked_receipt
from merchant_adapter.from_messages import to_date
from merchant_adapter.json_object import JsonObject, Unreadable, from_base64
from merchant_adapter.keys import HubKeys
from merchant_adapter.receipts import Receipt
from tongdui.exchange.v1.journal_service_pb2 import CloseWindowResponse
from tongdui.signing import parse_request

CLOSE_WINDOW = "/tongdui.exchange.v1.JournalService/CloseWindow"

_PLACE = "certificate.hub_receipt"


def check_closing(file: str, content: JsonObject, hub_keys: HubKeys) -> None:
    """The hub signed that this window closed as the certificate says. Raises EvidenceWrong, Unreadable."""
    receipt = _receipt(file, content.child("hub_receipt"))
    checked_receipt(file, _PLACE, receipt, hub_keys)
    audience = content.child("ledger").text("audience")
    if receipt.path != CLOSE_WINDOW or parse_request(receipt.request_entries).audience != audience:
        raise EvidenceWrong(file, _PLACE, f"not of CloseWindow at {audience}")
    window = content.child("window")
    stated = {
        **{name: window.text(name) for name in ("window_date", "last_hash")},
        **{name: window.whole(name) for name in ("first_sequence", "last_sequence", "entry_count")},
        "close_time": _time(file, window),
    }
    for name, value in _proven(file, receipt.answer).items():
        if stated[name] != value:
            what = f"says {stated[name]}, the hub signed {value}"
            raise EvidenceWrong(file, f"certificate.window.{name}", what)


def _proven(file: str, answer: bytes) -> dict[str, object]:
    """The window as the hub signed it, under the certificate's names."""
    try:
        closed = CloseWindowResponse.FromString(answer).window
        return {
            "window_date": to_date(closed.window_date).isoformat(),
            "first_sequence": closed.first_sequence,
            "last_sequence": closed.last_sequence,
            "last_hash": closed.last_hash.hex(),
            "entry_count": closed.entry_count,
            "close_time": closed.close_time.ToDatetime(UTC),
        }
    except (DecodeError, ValueError) as error:
        raise EvidenceWrong(file, _PLACE, "the answer is not a closed window") from error


def _receipt(file: str, fields: JsonObject) -> Receipt:
    try:
        return Receipt(
            path=fields.text("path"),
            request=from_base64(fields.text("request")),
            request_entries=fields.pairs("request_metadata"),
            answer=from_base64(fields.text("response")),
            answer_entries=fields.pairs("receipt_metadata"),
        )
    except binascii.Error as error:
        raise EvidenceWrong(file, _PLACE, str(error)) from error


def _time(file: str, window: JsonObject) -> datetime:
    try:
        return datetime.fromisoformat(window.text("close_time"))
    except ValueError as error:
        raise Unreadable(f"{file}: certificate: window: close_time: expected a time") from error
