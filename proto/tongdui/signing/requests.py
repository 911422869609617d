"""Reading a signed request out of call metadata, before its message is parsed and its caller is known.

The order a verifier keeps, cheap and unauthenticated first: `parse_request`; audience; `check_times`; the
key is known, active and inside its validity; the digest of the bytes received; Ed25519 over `base`. Only
then is the message parsed. The caller is the key's owner, never a field of the message.
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass

from tongdui.signing.grammar import (
    DIGEST,
    REQUEST_INPUT,
    REQUEST_SIGNATURE,
    checked_audience,
    matched,
    matched_often,
    sole_entries,
)
from tongdui.signing.text import request_base

REQUEST_ENTRY_NAMES = ("content-digest", "tongdui-audience", "signature-input", "signature")

DEFAULT_LIFE_SECONDS = 120
"""How long a request stays acceptable where its sender has no reason to choose otherwise."""

MAX_LIFE_SECONDS = 300
CLOCK_SKEW_SECONDS = 60
"""How far ahead of the verifier's clock a request may say it was created."""


class SignatureStale(ValueError):
    """A well-formed request is outside its time by the verifier's clock; signing it again may help.

    `detail` holds only whole seconds, so it may be logged and sent. On the wire it is `SIGNATURE_STALE`
    together with the hub's time, from which a client sees that its clock is off.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What four well-formed entries claim; nothing in it is proven before the signature is verified.

    Attributes:
        digest_text: the whole `content-digest` value, to compare with `content_digest(bytes received)`.
        audience: the hub the caller means.
        params_text: the `signature-input` after its label: a line of `base`, and of every receipt.
        created, expires: Unix seconds.
        key_id: `<owner>.<thumbprint>`.
        signature: 64 bytes.
    """

    digest_text: str
    audience: str
    params_text: str
    created: int
    expires: int
    key_id: str
    signature: bytes

    def base(self, path: str) -> bytes:
        """The bytes the signature must be over, for the method actually called."""
        return request_base(path, self.digest_text, self.audience, self.params_text)

    def check_times(self, now: int) -> None:
        """Raises SignatureStale unless the request is in force at `now` (Unix seconds by the verifier).

        Both ends belong to the time in force. A life that is negative or over MAX_LIFE_SECONDS is refused
        here too: it is a time rule, and the sender learns more from this refusal than from the other.
        """
        life = self.expires - self.created
        if not 0 <= life <= MAX_LIFE_SECONDS:
            raise SignatureStale(f"expires is {life} s after created, at most {MAX_LIFE_SECONDS} s allowed")
        if self.created > now + CLOCK_SKEW_SECONDS:
            ahead = self.created - now
            raise SignatureStale(f"created {ahead} s ahead, at most {CLOCK_SKEW_SECONDS} s allowed")
        if now > self.expires:
            raise SignatureStale(f"expired {now - self.expires} s ago")


def parse_request(metadata: Iterable[tuple[str, str | bytes]]) -> SignedRequest:
    """Reads the four entries of a request; other entries are passed over.

    Raises SignatureMalformed unless each of the four is there once and wholly of its form.
    """
    digest, audience, signature_input, signature = sole_entries(metadata, REQUEST_ENTRY_NAMES)
    matched(DIGEST, "content-digest", digest)
    checked_audience(audience)
    params, created, expires, key_id = matched_often(
        REQUEST_INPUT, "signature-input", signature_input
    ).groups()
    signature_base64 = matched(REQUEST_SIGNATURE, "signature", signature)[1]
    return SignedRequest(
        digest_text=digest,
        audience=audience,
        params_text=params,
        created=int(created),
        expires=int(expires),
        key_id=key_id,
        signature=base64.b64decode(signature_base64),
    )
