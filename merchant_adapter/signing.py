"""Signs requests and checks receipts: keys and clock added to the pure text of `tongdui.signing`."""

import time
from collections.abc import Callable, Mapping

from merchant_adapter.errors import ReceiptInvalid
from merchant_adapter.keys import Key, PinnedKeys, verifies
from merchant_adapter.receipts import Entries, Receipt
from tongdui.signing import (
    DEFAULT_LIFE_SECONDS,
    SignatureMalformed,
    checked_audience,
    content_digest,
    parse_receipt,
    parse_request,
    request_base,
    request_entries,
    request_params,
)
from tongdui.signing import Receipt as SignedReceipt


class RequestSigner:
    """Signs for one key and one hub."""

    def __init__(self, key: Key, audience: str, now: Callable[[], float] = time.time) -> None:
        """`now` gives Unix seconds. Raises SignatureMalformed where `audience` cannot name a hub."""
        self.key = key
        self.audience = checked_audience(audience)
        self._now = now
        self._params = (-1, "")

    def sign(self, path: str, body: bytes) -> Entries:
        """The four metadata entries to send these bytes with, now; sign again for every further try."""
        digest = content_digest(body)
        created = int(self._now())
        if self._params[0] != created:
            # All calls of one second share these parameters.
            self._params = created, request_params(created, created + DEFAULT_LIFE_SECONDS, self.key.key_id)
        params = self._params[1]
        signature = self.key.sign(request_base(path, digest, self.audience, params))
        return request_entries(digest, self.audience, params, signature)


def check_receipt(receipt: Receipt, keys: PinnedKeys) -> SignedReceipt:
    """Checks the hub's, or settlement's, signature over an answer to a request that the caller has just signed.

    The request's own entries are taken as they stand; `verify_receipt` doubts them too.
    Raises ReceiptInvalid saying which check failed.
    """
    sent = dict(receipt.request_entries)
    params = sent["signature-input"].removeprefix("td=")
    return _checked(receipt, sent["content-digest"], params, keys)


def verify_receipt(receipt: Receipt, keys: PinnedKeys) -> SignedReceipt:
    """Checks stored evidence offline: that the hub, or with its keys settlement, gave this answer to this request.

    Returns what was signed (time and key). Raises ReceiptInvalid saying which check failed. It does
    not judge the partner's signature over the request: for that the partner's key is needed, not the hub's.
    """
    try:
        request = parse_request(receipt.request_entries)
    except SignatureMalformed as error:
        raise ReceiptInvalid.because(f"request entries: {error}") from error
    if content_digest(receipt.request) != request.digest_text:
        raise ReceiptInvalid.because("request: the bytes are not those that were signed")
    return _checked(receipt, request.digest_text, request.params_text, keys)


def verify_request(receipt: Receipt, public_keys: Mapping[str, bytes]) -> bool:
    """Checks the partner's own signature over a stored request; False where its key is none of `public_keys`.

    The hub's receipt covers what was asked and by which key, though not the signature itself. Raises ReceiptInvalid.
    """
    try:
        request = parse_request(receipt.request_entries)
        base = request.base(receipt.path)
    except SignatureMalformed as error:
        raise ReceiptInvalid.because(f"request entries: {error}") from error
    public_key = public_keys.get(request.key_id)
    if public_key is None:
        return False
    if not verifies(public_key, request.signature, base):
        raise ReceiptInvalid.because("request entries: the signature does not verify")
    return True


def _checked(receipt: Receipt, digest: str, params: str, keys: PinnedKeys) -> SignedReceipt:
    try:
        signed = parse_receipt(receipt.answer_entries, keys.receipt_form)
        base = signed.base(receipt.path, digest, params)
    except SignatureMalformed as error:
        raise ReceiptInvalid.because(f"receipt: {error}") from error
    if content_digest(receipt.answer) != signed.digest_text:
        raise ReceiptInvalid.because("receipt: the answer's bytes are not those that were signed")
    if signed.key_id not in keys:
        raise ReceiptInvalid.because(f"receipt: {signed.key_id} is not a known key of {keys.whose}")
    if not keys.verifies(signed.key_id, signed.signature, base):
        raise ReceiptInvalid.because("receipt: the signature does not verify")
    return signed
