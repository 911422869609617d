"""The text of signed requests and receipts, shared by hub, adapter and settlement.

A strict profile of RFC 9421; `docs/protocol.md` is its specification. Pure: it builds and reads the texts
and leaves keys, clocks and Ed25519 to its callers.
"""

from tongdui.signing.commands import fingerprint
from tongdui.signing.grammar import (
    HUB_RECEIPT,
    MAX_ENTRY_BYTES,
    SETTLEMENT_RECEIPT,
    ReceiptForm,
    SignatureMalformed,
    checked_audience,
    checked_owner,
)
from tongdui.signing.keys import HUB_OWNER, key_id, public_key_text, split_key_id, thumbprint
from tongdui.signing.receipts import RECEIPT_ENTRY_NAMES, Receipt, parse_receipt
from tongdui.signing.registration import CHALLENGE_BYTES, registration_text
from tongdui.signing.requests import (
    CLOCK_SKEW_SECONDS,
    DEFAULT_LIFE_SECONDS,
    MAX_LIFE_SECONDS,
    REQUEST_ENTRY_NAMES,
    SignatureStale,
    SignedRequest,
    parse_request,
)
from tongdui.signing.text import (
    content_digest,
    receipt_base,
    receipt_entries,
    receipt_params,
    request_base,
    request_entries,
    request_params,
)

__all__ = [
    "CHALLENGE_BYTES",
    "CLOCK_SKEW_SECONDS",
    "DEFAULT_LIFE_SECONDS",
    "HUB_OWNER",
    "HUB_RECEIPT",
    "MAX_ENTRY_BYTES",
    "MAX_LIFE_SECONDS",
    "RECEIPT_ENTRY_NAMES",
    "REQUEST_ENTRY_NAMES",
    "SETTLEMENT_RECEIPT",
    "Receipt",
    "ReceiptForm",
    "SignatureMalformed",
    "SignatureStale",
    "SignedRequest",
    "checked_audience",
    "checked_owner",
    "content_digest",
    "fingerprint",
    "key_id",
    "parse_receipt",
    "parse_request",
    "public_key_text",
    "receipt_base",
    "receipt_entries",
    "receipt_params",
    "registration_text",
    "request_base",
    "request_entries",
    "request_params",
    "split_key_id",
    "thumbprint",
]
