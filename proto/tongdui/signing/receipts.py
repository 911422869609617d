"""Reading a receipt: the hub's, or settlement's, signature over an answer together with the request it answers."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass

from tongdui.signing.grammar import (
    DIGEST,
    HUB_RECEIPT,
    ReceiptForm,
    matched,
    matched_often,
    sole_entries,
)
from tongdui.signing.text import receipt_base

RECEIPT_ENTRY_NAMES = ("content-digest", "signature-input", "signature")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What three well-formed entries claim; nothing in it is proven before the signature is verified.

    Attributes:
        digest_text: the whole `content-digest` value, to compare with `content_digest` of the answer.
        params_text: the `signature-input` after its label.
        created: Unix seconds by the hub's clock.
        key_id: one of the hub's keys, `hub.<thumbprint>`; in settlement's form, settlement's key.
        signature: 64 bytes.
        form: whose receipt it says it is.
    """

    digest_text: str
    params_text: str
    created: int
    key_id: str
    signature: bytes
    form: ReceiptForm = HUB_RECEIPT

    def base(self, path: str, request_digest: str, request_params: str) -> bytes:
        """The bytes the signature must be over, for the request as the verifier itself sent or stored it.

        `request_digest` and `request_params` are that request's `SignedRequest.digest_text` and
        `params_text`. Taking them from anywhere but one's own record would prove nothing.
        """
        return receipt_base(
            self.digest_text, path, request_digest, request_params, self.params_text, self.form
        )


def parse_receipt(
    trailing_metadata: Iterable[tuple[str, str | bytes]], form: ReceiptForm = HUB_RECEIPT
) -> Receipt:
    """Reads the three entries of a receipt; other entries are passed over.

    Raises SignatureMalformed unless each of the three is there once and wholly of its form.
    """
    digest, signature_input, signature = sole_entries(trailing_metadata, RECEIPT_ENTRY_NAMES)
    matched(DIGEST, "content-digest", digest)
    params, created, key_id = matched_often(form.input, "signature-input", signature_input).groups()
    signature_base64 = matched(form.signature, "signature", signature)[1]
    return Receipt(
        digest_text=digest,
        params_text=params,
        created=int(created),
        key_id=key_id,
        signature=base64.b64decode(signature_base64),
        form=form,
    )
