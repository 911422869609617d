"""The hub's receipts of closed and settled windows: proven from bytes and pinned keys, refused for any change."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from google.rpc.status_pb2 import Status
from google.type.date_pb2 import Date

from settlement.core.window import ClosedWindow, HubReceipt, ReceiptInvalid, SettledWindow
from settlement.rpc.keys import HubKeys
from settlement.rpc.receipts import SETTLE_WINDOW_PATH, verify_close, verify_settle
from tests.settlement_hub import AUDIENCE, HUB_KEYS, signed_close, window_message
from tongdui.exchange.v1.journal_service_pb2 import (
    CloseWindowRequest,
    SettleWindowRequest,
    SettleWindowResponse,
)

DAY = date(2026, 1, 1)
WINDOW = ClosedWindow(DAY, 1, 9, bytes(range(32)), 12, datetime(2026, 1, 2, 0, 0, 1, 500, UTC))
REQUEST = CloseWindowRequest(
    request_id="close-2026-01-01", window_date=Date(year=2026, month=1, day=1)
).SerializeToString()
SOUND = signed_close(REQUEST, window_message(WINDOW).SerializeToString())


def flipped(octets: bytes, index: int) -> bytes:
    return octets[:index] + bytes([octets[index] ^ 1]) + octets[index + 1 :]


def test_a_sound_receipt_proves_the_watermark() -> None:
    assert verify_close(SOUND, HUB_KEYS, AUDIENCE) == WINDOW


@pytest.mark.parametrize("index", range(len(SOUND.response)))
def test_any_changed_byte_of_the_answer_is_found(index: int) -> None:
    with pytest.raises(ReceiptInvalid):
        verify_close(replace(SOUND, response=flipped(SOUND.response, index)), HUB_KEYS, AUDIENCE)


@pytest.mark.parametrize("index", range(len(SOUND.request)))
def test_any_changed_byte_of_the_request_is_found(index: int) -> None:
    with pytest.raises(ReceiptInvalid):
        verify_close(replace(SOUND, request=flipped(SOUND.request, index)), HUB_KEYS, AUDIENCE)


def changed_entry(entries: tuple[tuple[str, str], ...], name: str) -> tuple[tuple[str, str], ...]:
    def change(value: str) -> str:
        return value[:12] + ("B" if value[12] != "B" else "C") + value[13:]

    return tuple((key, change(value) if key == name else value) for key, value in entries)


@pytest.mark.parametrize("name", ["content-digest", "signature-input", "signature"])
def test_a_changed_entry_of_the_receipt_is_found(name: str) -> None:
    with pytest.raises(ReceiptInvalid):
        verify_close(
            replace(SOUND, receipt_metadata=changed_entry(SOUND.receipt_metadata, name)), HUB_KEYS, AUDIENCE
        )


@pytest.mark.parametrize("name", ["content-digest", "tongdui-audience", "signature-input"])
def test_a_changed_entry_of_the_request_is_found(name: str) -> None:
    with pytest.raises(ReceiptInvalid):
        verify_close(
            replace(SOUND, request_metadata=changed_entry(SOUND.request_metadata, name)), HUB_KEYS, AUDIENCE
        )


@pytest.mark.parametrize(
    ("damaged", "complaint"),
    [
        (replace(SOUND, path="/tongdui.exchange.v1.JournalService/SetLedgerTime"), "not of CloseWindow"),
        (replace(SOUND, receipt_metadata=()), "missing"),
        (replace(SOUND, receipt_metadata=SOUND.receipt_metadata * 2), "more than once"),
        (signed_close(REQUEST, b""), "not a closed window"),
        (signed_close(REQUEST, b"\xff\xff"), "not a closed window"),
        (signed_close(REQUEST, Status(code=9, message="no").SerializeToString()), "not a closed window"),
        (signed_close(REQUEST, window_message(WINDOW, "hub.example/other").SerializeToString()), "this hub"),
        (
            signed_close(REQUEST, window_message(replace(WINDOW, last_hash=b"short")).SerializeToString()),
            "this hub",
        ),
        (
            signed_close(
                REQUEST, window_message(replace(WINDOW, window_date=date(2026, 1, 2))).SerializeToString()
            ),
            "another day",
        ),
        (
            signed_close(REQUEST, window_message(WINDOW).SerializeToString(), audience="hub.example/other"),
            "for another hub",
        ),
    ],
    ids=range(10),
)
def test_a_receipt_that_proves_something_else_is_refused(damaged: HubReceipt, complaint: str) -> None:
    with pytest.raises(ReceiptInvalid, match=complaint):
        verify_close(damaged, HUB_KEYS, AUDIENCE)


def test_a_receipt_of_a_key_that_is_not_pinned_is_refused() -> None:
    with pytest.raises(ReceiptInvalid, match="not one of the hub's pinned keys"):
        verify_close(SOUND, HubKeys({}), AUDIENCE)


CERTIFICATE = bytes(range(32, 64))
SETTLE_REQUEST = SettleWindowRequest(
    request_id="settle-2026-01-01",
    window_date=Date(year=2026, month=1, day=1),
    certificate_sha256=CERTIFICATE,
).SerializeToString()


def settled(certificate: bytes = CERTIFICATE, day: date = DAY, audience: str = AUDIENCE) -> HubReceipt:
    window = window_message(replace(WINDOW, window_date=day), audience).window
    window.settled_time.FromDatetime(datetime(2026, 1, 5, 9, tzinfo=UTC))
    window.certificate_sha256 = certificate
    answer = SettleWindowResponse(window=window).SerializeToString()
    return signed_close(SETTLE_REQUEST, answer, path=SETTLE_WINDOW_PATH)


def test_a_sound_receipt_proves_that_a_window_is_settled_and_by_which_certificate() -> None:
    proven = verify_settle(settled(), HUB_KEYS, AUDIENCE)

    assert proven == SettledWindow(DAY, CERTIFICATE.hex(), datetime(2026, 1, 5, 9, tzinfo=UTC))


@pytest.mark.parametrize(
    ("damaged", "complaint"),
    [
        (settled(bytes(32)), "another certificate"),
        (settled(day=date(2026, 1, 2)), "another window"),
        (settled(audience="hub.example/other"), "another window"),
        (replace(settled(), path="/tongdui.exchange.v1.JournalService/CloseWindow"), "not of SettleWindow"),
        (SOUND, "not of SettleWindow"),
        (replace(settled(), response=flipped(settled().response, 20)), "bytes"),
        (
            signed_close(SETTLE_REQUEST, window_message(WINDOW).SerializeToString(), path=SETTLE_WINDOW_PATH),
            "another certificate",
        ),
        (signed_close(SETTLE_REQUEST, b"\xff", path=SETTLE_WINDOW_PATH), "not a settled window"),
    ],
    ids=range(8),
)
def test_a_receipt_that_does_not_prove_a_settled_window_is_refused(
    damaged: HubReceipt, complaint: str
) -> None:
    with pytest.raises(ReceiptInvalid, match=complaint):
        verify_settle(damaged, HUB_KEYS, AUDIENCE)
