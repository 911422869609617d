"""A webhook's signature: over the raw bytes, for five minutes, by any secret that counts."""

import hmac

import pytest

from merchant_adapter.webhooks import Delivery, GenericPlatform, sign_webhook
from merchant_adapter.webhooks.signature import TOLERANCE_SECONDS

OLD = b"0123456789abcdef0123456789abcdef"
NEW = b"fedcba9876543210fedcba9876543210"
NOW = 1_767_225_600
BODY = b'{"id":1001,"status":"completed","total":"50.00"}'
PLATFORM = GenericPlatform([OLD, NEW])


def delivery(signature: str, timestamp: str = str(NOW), body: bytes = BODY) -> Delivery:
    headers = {"tongdui-webhook-timestamp": timestamp, "tongdui-webhook-signature": signature}
    return Delivery(headers, body)


def test_the_vector_that_the_handbook_publishes() -> None:
    # By another implementation: printf '%s.%s' 1767225600 "$BODY" | openssl dgst -sha256 -hmac "$SECRET"
    digest = "76728e9f0dad0a4cad3a9f764e220fc4bd9e511b280168b75193644ae017e4d2"

    assert sign_webhook(OLD, NOW, BODY) == f"v1={digest}"


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_both_secrets_count_while_one_is_changed(secret: bytes) -> None:
    assert PLATFORM.verify(delivery(sign_webhook(secret, NOW, BODY)), NOW)


def test_one_good_signature_among_several_is_enough() -> None:
    signatures = f"v0=abc, {sign_webhook(b'x' * 32, NOW, BODY)} ,{sign_webhook(NEW, NOW, BODY)}"

    assert PLATFORM.verify(delivery(signatures), NOW)


@pytest.mark.parametrize("off", [-TOLERANCE_SECONDS, TOLERANCE_SECONDS])
def test_clocks_may_differ_by_five_minutes(off: int) -> None:
    assert PLATFORM.verify(delivery(sign_webhook(OLD, NOW, BODY)), NOW + off)


@pytest.mark.parametrize("off", [-TOLERANCE_SECONDS - 1, TOLERANCE_SECONDS + 1])
def test_what_is_older_or_from_the_future_is_refused(off: int) -> None:
    assert not PLATFORM.verify(delivery(sign_webhook(OLD, NOW, BODY)), NOW + off)


@pytest.mark.parametrize(
    "wrong",
    [
        delivery(sign_webhook(b"x" * 32, NOW, BODY)),
        delivery(sign_webhook(OLD, NOW, BODY), body=BODY + b" "),
        delivery(sign_webhook(OLD, NOW, BODY), timestamp=str(NOW + 1)),
        delivery(sign_webhook(OLD, NOW, BODY).upper()),
        delivery(sign_webhook(OLD, NOW, BODY)[:-1] + "é"),
        delivery(",".join(["v1=00"] * 10 + [sign_webhook(OLD, NOW, BODY)])),
        delivery(""),
        delivery(sign_webhook(OLD, NOW, BODY), timestamp=""),
        delivery(sign_webhook(OLD, NOW, BODY), timestamp="1e9"),
        Delivery({}, BODY),
    ],
)
def test_anything_else_is_refused(wrong: Delivery) -> None:
    assert not PLATFORM.verify(wrong, NOW)


def test_a_time_that_is_no_number_is_refused_however_well_it_is_signed() -> None:
    for timestamp in ("", "-1767225600", "١٧٦٧٢٢٥٦٠٠", "1767225600.0"):
        signed = "v1=" + hmac.digest(OLD, timestamp.encode() + b"." + BODY, "sha256").hex()

        assert not PLATFORM.verify(delivery(signed, timestamp), NOW)
