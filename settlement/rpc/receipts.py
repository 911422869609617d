"""Checks the hub's signed receipts of a window's closing and settling, from bytes and pinned public keys alone."""

from __future__ import annotations

from datetime import UTC, date

from google.protobuf.message import DecodeError

from settlement.core.window import ClosedWindow, HubReceipt, ReceiptInvalid, SettledWindow
from settlement.rpc.keys import HubKeys
from tongdui.exchange.v1.journal_service_pb2 import (
    CloseWindowRequest,
    CloseWindowResponse,
    SettleWindowRequest,
    SettleWindowResponse,
)
from tongdui.signing import SignatureMalformed, content_digest, parse_receipt, parse_request

CLOSE_WINDOW_PATH = "/tongdui.exchange.v1.JournalService/CloseWindow"
SETTLE_WINDOW_PATH = "/tongdui.exchange.v1.JournalService/SettleWindow"
HASH_BYTES = 32


def verify_close(receipt: HubReceipt, hub_keys: HubKeys, audience: str) -> ClosedWindow:
    """The watermark that the hub called `audience` signed. Raises ReceiptInvalid naming the failed check.

    The request's own signature is not judged here: the hub judged it, and the receipt covers its parameters.
    """
    if receipt.path != CLOSE_WINDOW_PATH:
        raise ReceiptInvalid("receipt: not of CloseWindow")
    _check_signature(receipt, hub_keys, audience)
    return _window(receipt, audience)


def verify_settle(receipt: HubReceipt, hub_keys: HubKeys, audience: str) -> SettledWindow:
    """What the hub called `audience` signed of a settled window. Raises ReceiptInvalid naming the failed check."""
    if receipt.path != SETTLE_WINDOW_PATH:
        raise ReceiptInvalid("receipt: not of SettleWindow")
    _check_signature(receipt, hub_keys, audience)
    try:
        asked = SettleWindowRequest.FromString(receipt.request)
        window = SettleWindowResponse.FromString(receipt.response).window
        day = date(window.window_date.year, window.window_date.month, window.window_date.day)
        settled_time = window.settled_time.ToDatetime(tzinfo=UTC)
    except (DecodeError, ValueError) as error:
        raise ReceiptInvalid("receipt: the answer is not a settled window") from error
    if asked.window_date != window.window_date or window.audience != audience:
        raise ReceiptInvalid("receipt: the answer is for another window than was asked for")
    if asked.certificate_sha256 != window.certificate_sha256 or not window.HasField("settled_time"):
        raise ReceiptInvalid("receipt: the hub has this window settled by another certificate")
    return SettledWindow(day, window.certificate_sha256.hex(), settled_time)


def verify_answer(receipt: HubReceipt, path: str, hub_keys: HubKeys, audience: str) -> None:
    """Whether the hub called `audience` signed this answer of method `path`. Raises ReceiptInvalid."""
    if receipt.path != path:
        raise ReceiptInvalid(f"receipt: not of {path.rpartition('/')[2]}")
    _check_signature(receipt, hub_keys, audience)


def _check_signature(receipt: HubReceipt, hub_keys: HubKeys, audience: str) -> None:
    try:
        request = parse_request(receipt.request_metadata)
        signed = parse_receipt(receipt.receipt_metadata)
        base = signed.base(receipt.path, request.digest_text, request.params_text)
    except SignatureMalformed as error:
        raise ReceiptInvalid(f"receipt: {error}") from error
    if request.audience != audience:
        raise ReceiptInvalid("receipt: the request was for another hub")
    if request.digest_text != content_digest(receipt.request):
        raise ReceiptInvalid("receipt: the request's bytes are not those that were signed")
    if signed.digest_text != content_digest(receipt.response):
        raise ReceiptInvalid("receipt: the answer's bytes are not those that were signed")
    if signed.key_id not in hub_keys:
        raise ReceiptInvalid(f"receipt: {signed.key_id} is not one of the hub's pinned keys")
    if not hub_keys.verifies(signed.key_id, signed.signature, base):
        raise ReceiptInvalid("receipt: the signature does not verify")


def _window(receipt: HubReceipt, audience: str) -> ClosedWindow:
    try:
        asked = CloseWindowRequest.FromString(receipt.request).window_date
        window = CloseWindowResponse.FromString(receipt.response).window
        window_date = date(window.window_date.year, window.window_date.month, window.window_date.day)
        close_time = window.close_time.ToDatetime(tzinfo=UTC)
    except (DecodeError, ValueError) as error:
        raise ReceiptInvalid("receipt: the answer is not a closed window") from error
    if asked != window.window_date:
        raise ReceiptInvalid("receipt: the answer is for another day than was asked for")
    if window.audience != audience or len(window.last_hash) != HASH_BYTES:
        raise ReceiptInvalid("receipt: the answer is not a window of this hub")
    return ClosedWindow(
        window_date=window_date,
        first_sequence=window.first_sequence,
        last_sequence=window.last_sequence,
        last_hash=window.last_hash,
        entry_count=window.entry_count,
        close_time=close_time,
    )
