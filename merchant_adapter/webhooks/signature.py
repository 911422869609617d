"""The signature of a webhook: HMAC-SHA256 with a shared secret over the time and the raw body. Pure."""

import hmac
import re
from collections.abc import Sequence

TIMESTAMP_HEADER = "Tongdui-Webhook-Timestamp"
SIGNATURE_HEADER = "Tongdui-Webhook-Signature"

TOLERANCE_SECONDS = 300
"""How far the sender's clock, and the time a delivery takes, may be off: what was overheard is worthless after it."""

MOST_SIGNATURES = 10

_SCHEME = "v1="
_TIMESTAMP = re.compile("[0-9]{1,12}")


def sign_webhook(secret: bytes, timestamp: int, body: bytes) -> str:
    """The value of `Tongdui-Webhook-Signature` for a body sent at `timestamp`, in Unix seconds.

    A sender that changes its secret sends both signatures, separated by a comma, until the receiver has the new one.
    """
    return _SCHEME + _digest(secret, str(timestamp), body)


def is_signed(secrets: Sequence[bytes], timestamp: str, signatures: str, body: bytes, now: float) -> bool:
    """Whether one of these signatures is of one of the secrets, over these bytes, at most 300 s from `now`.

    Every signature is compared with every secret, in constant time: how long it takes tells nothing. A signature of
    another scheme than `v1` is passed over.
    """
    given = [one.strip().removeprefix(_SCHEME) for one in signatures.split(",")[:MOST_SIGNATURES]]
    expected = [_digest(secret, timestamp, body) for secret in secrets]
    found = [hmac.compare_digest(one.encode(), it.encode()) for one in given for it in expected]
    is_fresh = _TIMESTAMP.fullmatch(timestamp) is not None and abs(now - int(timestamp)) <= TOLERANCE_SECONDS
    return any(found) and is_fresh


def _digest(secret: bytes, timestamp: str, body: bytes) -> str:
    return hmac.digest(secret, timestamp.encode() + b"." + body, "sha256").hex()
