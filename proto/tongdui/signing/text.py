"""The texts that are signed and the entries that carry them, built from checked parts.

Every function here checks each part against its grammar and raises SignatureMalformed naming the part that
fails. So no value can carry a line break, or anything else, into a signature base (RFC 9421, 2.5), whoever
calls and wherever the value came from.
"""

import base64
import hashlib

from tongdui.signing.grammar import (
    DIGEST,
    HUB_RECEIPT,
    KEY_ID,
    PATH,
    REQUEST_PARAMS,
    SECONDS,
    ReceiptForm,
    SignatureMalformed,
    checked_audience,
    matched,
    matched_often,
)

SIGNATURE_BYTES = 64


def content_digest(body: bytes) -> str:
    """The `content-digest` (RFC 9530) of a message: the bytes handed to gRPC, unframed and uncompressed."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode('ascii')}:"


def request_params(created: int, expires: int, key_id: str) -> str:
    """The `signature-input` of a request after its label `td=`; times are Unix seconds.

    Does not judge the times: the verifier does, with `SignedRequest.check_times`.
    """
    return (
        '("@method" "@path" "content-digest" "tongdui-audience")'
        f";created={_seconds('created', created)};expires={_seconds('expires', expires)}"
        f';keyid="{matched_often(KEY_ID, "keyid", key_id)[0]}";tag="tongdui-v1"'
    )


def request_base(path: str, digest: str, audience: str, params: str) -> bytes:
    """The bytes a caller signs: `path` is the full gRPC method, `/package.Service/Method`."""
    matched_often(PATH, "path", path)
    matched(DIGEST, "content-digest", digest)
    checked_audience(audience)
    matched_often(REQUEST_PARAMS, "signature-input", params)
    return (
        f'"@method": POST\n"@path": {path}\n"content-digest": {digest}\n"tongdui-audience": {audience}\n'
        f'"@signature-params": {params}'
    ).encode("ascii")


def request_entries(digest: str, audience: str, params: str, signature: bytes) -> tuple[tuple[str, str], ...]:
    """The four metadata entries of a signed request, for the call that sends exactly the digested bytes."""
    matched(DIGEST, "content-digest", digest)
    checked_audience(audience)
    matched_often(REQUEST_PARAMS, "signature-input", params)
    return (
        ("content-digest", digest),
        ("tongdui-audience", audience),
        ("signature-input", f"td={params}"),
        ("signature", f"td=:{_signature_text(signature)}:"),
    )


def receipt_params(created: int, key_id: str, form: ReceiptForm = HUB_RECEIPT) -> str:
    """The `signature-input` of a receipt after its label (`hub=`); `created` is Unix seconds.

    `key_id` is one of the hub's own keys, or settlement's where `form` is its.
    """
    params = (
        '("content-digest" "@path";req "content-digest";req "signature-input";req;key="td")'
        f';created={_seconds("created", created)};keyid="{key_id}";tag="{form.tag}"'
    )
    return matched_often(form.params, "keyid", params)[0]


def receipt_base(
    response_digest: str,
    path: str,
    request_digest: str,
    request_params: str,
    params: str,
    form: ReceiptForm = HUB_RECEIPT,
) -> bytes:
    """The bytes the hub signs: an answer, bound to the one signed request it answers.

    `response_digest` is over the answer's bytes, or over the `google.rpc.Status` bytes of a refusal;
    `request_params` is that request's `signature-input` after its label.
    """
    matched(DIGEST, "content-digest", response_digest)
    matched_often(PATH, "path", path)
    matched(DIGEST, "request content-digest", request_digest)
    matched_often(REQUEST_PARAMS, "request signature-input", request_params)
    matched_often(form.params, "signature-input", params)
    return (
        f'"content-digest": {response_digest}\n"@path";req: {path}\n"content-digest";req: {request_digest}\n'
        f'"signature-input";req;key="td": {request_params}\n"@signature-params": {params}'
    ).encode("ascii")


def receipt_entries(
    response_digest: str, params: str, signature: bytes, form: ReceiptForm = HUB_RECEIPT
) -> tuple[tuple[str, str], ...]:
    """The three trailing metadata entries of a receipt."""
    matched(DIGEST, "content-digest", response_digest)
    matched_often(form.params, "signature-input", params)
    return (
        ("content-digest", response_digest),
        ("signature-input", f"{form.label}={params}"),
        ("signature", f"{form.label}=:{_signature_text(signature)}:"),
    )


def _seconds(name: str, value: int) -> str:
    return matched(SECONDS, name, str(value))[0]


def _signature_text(signature: bytes) -> str:
    if len(signature) != SIGNATURE_BYTES:
        raise SignatureMalformed(f"signature: {len(signature)} bytes, expected {SIGNATURE_BYTES}")
    return base64.b64encode(signature).decode("ascii")
