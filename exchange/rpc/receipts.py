"""The hub's signed receipts: over an answer's exact bytes and the request it answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from tongdui.signing import (
    HUB_OWNER,
    SignedRequest,
    content_digest,
    key_id,
    receipt_base,
    receipt_entries,
    receipt_params,
)

SIGNATURE_BYTES: Final = 64


class ReceiptSigner:
    """Signs receipts with the hub's key."""

    def __init__(self, private_key: Ed25519PrivateKey, wall_clock: Callable[[], float] = time.time) -> None:
        """Takes the hub's private key, which never leaves the process."""
        # PyNaCl's bindings sign in two thirds of OpenSSL's time.
        _, self._secret = crypto_sign_seed_keypair(private_key.private_bytes_raw())
        self._wall_clock = wall_clock
        self.key_id = key_id(HUB_OWNER, private_key.public_key().public_bytes_raw())

    def receipt(self, path: str, request: SignedRequest, answer: bytes) -> tuple[tuple[str, str], ...]:
        """The trailing metadata that proves `answer` to be the hub's answer to `request` on `path`."""
        digest = content_digest(answer)
        params = receipt_params(int(self._wall_clock()), self.key_id)
        base = receipt_base(digest, path, request.digest_text, request.params_text, params)
        return receipt_entries(digest, params, crypto_sign(base, self._secret)[:SIGNATURE_BYTES])
