"""Settlement's own receipts: over an answer's exact bytes and the request it answers, in a form of their own."""

from __future__ import annotations

import time
from collections.abc import Callable

from settlement.rpc.keys import PrivateKey
from tongdui.signing import (
    SETTLEMENT_RECEIPT,
    SignedRequest,
    content_digest,
    receipt_base,
    receipt_entries,
    receipt_params,
)


class ReceiptSigner:
    """Signs answers with settlement's own key."""

    def __init__(self, key: PrivateKey, now: Callable[[], float] = time.time) -> None:
        """`now` gives Unix seconds."""
        self._key = key
        self._now = now

    def receipt(self, path: str, request: SignedRequest, answer: bytes) -> tuple[tuple[str, str], ...]:
        """The trailing metadata that proves `answer` to be settlement's answer to `request` on `path`."""
        form, digest = SETTLEMENT_RECEIPT, content_digest(answer)
        params = receipt_params(int(self._now()), self._key.key_id, form)
        base = receipt_base(digest, path, request.digest_text, request.params_text, params, form)
        return receipt_entries(digest, params, self._key.sign(base), form)
