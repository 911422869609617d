"""Signing and evidence, against the published vector and against every small change."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from merchant_adapter import HubKeys, Key, Receipt, ReceiptInvalid, Unreadable, verify_receipt
from merchant_adapter.signing import RequestSigner
from tongdui.signing import SignatureMalformed

EXAMPLE = json.loads((Path(__file__).parents[1] / "wire" / "signing_example.json").read_text())
PATH = EXAMPLE["request"]["path"]
MESSAGE = bytes.fromhex(EXAMPLE["request"]["message_hex"])
HUB_KEYS = HubKeys({EXAMPLE["hub_key"]["keyid"]: bytes.fromhex(EXAMPLE["hub_key"]["public_hex"])})
PARTNER = Key("cafe", bytes.fromhex(EXAMPLE["partner_key"]["seed_hex"]))
RECEIPT = Receipt(
    path=PATH,
    request=MESSAGE,
    request_entries=tuple((name, value) for name, value in EXAMPLE["request"]["metadata"]),
    answer=bytes.fromhex(EXAMPLE["receipt"]["response_hex"]),
    answer_entries=tuple((name, value) for name, value in EXAMPLE["receipt"]["trailing_metadata"]),
)


def changed(
    entries: tuple[tuple[str, str], ...], name: str, old: str, new: str
) -> tuple[tuple[str, str], ...]:
    assert old in dict(entries)[name]
    return tuple((n, v.replace(old, new, 1) if n == name else v) for n, v in entries)


def test_the_published_request_is_signed_byte_for_byte() -> None:
    signer = RequestSigner(PARTNER, "hub.example/prod", now=lambda: 1767225600.9)

    entries = signer.sign(PATH, MESSAGE)

    assert entries == RECEIPT.request_entries


def test_each_try_is_signed_with_its_own_time() -> None:
    clock = iter([1767225600.0, 1767225600.5, 1767225601.0])
    signer = RequestSigner(PARTNER, "hub.example/prod", now=lambda: next(clock))

    inputs = [dict(signer.sign(PATH, MESSAGE))["signature-input"] for _ in range(3)]

    assert inputs[0] == inputs[1]
    assert "created=1767225601;expires=1767225721;" in inputs[2]


def test_a_hub_without_a_proper_name_is_not_signed_for() -> None:
    with pytest.raises(SignatureMalformed, match="audience"):
        RequestSigner(PARTNER, "Hub Example")


def test_the_published_receipt_verifies() -> None:
    signed = verify_receipt(RECEIPT, HUB_KEYS)

    assert (signed.created, signed.key_id) == (1767225601, EXAMPLE["hub_key"]["keyid"])


def test_a_receipt_survives_its_json() -> None:
    text = RECEIPT.to_json()

    read = Receipt.from_json(text)

    assert read == RECEIPT
    assert "\n" not in text


CHANGES: list[tuple[str, Callable[[Receipt], Receipt], str]] = [
    ("path", lambda r: dataclasses.replace(r, path=PATH.replace("Earn", "Burn")), "does not verify"),
    ("path form", lambda r: dataclasses.replace(r, path="Earn\n"), "path"),
    ("request", lambda r: dataclasses.replace(r, request=r.request + b"\0"), "request: the bytes"),
    ("answer", lambda r: dataclasses.replace(r, answer=r.answer + b"\0"), "answer's bytes"),
    (
        "request time",
        lambda r: dataclasses.replace(
            r, request_entries=changed(r.request_entries, "signature-input", "=1767225600", "=1767225601")
        ),
        "does not verify",
    ),
    (
        "receipt time",
        lambda r: dataclasses.replace(
            r, answer_entries=changed(r.answer_entries, "signature-input", "=1767225601", "=1767225602")
        ),
        "does not verify",
    ),
    (
        "signature",
        lambda r: dataclasses.replace(
            r, answer_entries=changed(r.answer_entries, "signature", "sCrJ", "sCrK")
        ),
        "does not verify",
    ),
    (
        "hub key",
        lambda r: dataclasses.replace(
            r, answer_entries=changed(r.answer_entries, "signature-input", "hub.UGwn", "hub.UGwm")
        ),
        "not a known key",
    ),
    ("no request entries", lambda r: dataclasses.replace(r, request_entries=()), "request entries"),
    ("no answer entries", lambda r: dataclasses.replace(r, answer_entries=()), "content-digest: missing"),
    (
        "an entry twice",
        lambda r: dataclasses.replace(r, answer_entries=r.answer_entries + r.answer_entries[:1]),
        "more than once",
    ),
]


@pytest.mark.parametrize(
    ("change", "detail"), [(c, d) for _, c, d in CHANGES], ids=[name for name, _, _ in CHANGES]
)
def test_a_receipt_changed_anywhere_does_not_verify(
    change: Callable[[Receipt], Receipt], detail: str
) -> None:
    spoilt = change(RECEIPT)

    with pytest.raises(ReceiptInvalid, match=detail):
        verify_receipt(spoilt, HUB_KEYS)


def test_a_receipt_of_another_hub_does_not_verify() -> None:
    other = Key.generate("hub")

    with pytest.raises(ReceiptInvalid, match="not a known key"):
        verify_receipt(RECEIPT, HubKeys({other.key_id: other.public_key}))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": "other"}, "format"),
        ({"path": 5}, "path"),
        ({"request": "not base64url!"}, "request"),
        ({"answer": None}, "answer"),
        ({"request_entries": []}, "request_entries"),
        ({"answer_entries": {"signature": 5}}, "answer_entries"),
    ],
)
def test_a_stored_receipt_out_of_form_is_refused_by_field(change: dict[str, object], named: str) -> None:
    text = json.dumps(json.loads(RECEIPT.to_json()) | change)

    with pytest.raises(Unreadable, match=rf"\b{named}\b"):
        Receipt.from_json(text)
