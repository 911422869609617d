"""Names of Ed25519 keys: `<owner>.<thumbprint>`, so a key id says whose key it is and which one."""

import base64
import hashlib

from tongdui.signing.grammar import KEY_ID, SignatureMalformed, checked_owner, matched

HUB_OWNER = "hub"
"""Owner of the hub's own keys, which sign receipts. No partner may be called this."""

PUBLIC_KEY_BYTES = 32


def thumbprint(public_key: bytes) -> str:
    """The JWK thumbprint (RFC 7638) of an Ed25519 public key (RFC 8037): 43 characters of base64url.

    `public_key` is the raw 32 bytes of RFC 8032; any other length raises SignatureMalformed. Whether the
    bytes are a point that may be used at all is for the registrar to check.
    """
    jwk = '{"crv":"Ed25519","kty":"OKP","x":"' + public_key_text(public_key) + '"}'
    return _base64url(hashlib.sha256(jwk.encode("ascii")).digest())


def key_id(owner: str, public_key: bytes) -> str:
    """The `keyid` under which `owner` signs with this key; raises SignatureMalformed for a bad owner."""
    return f"{checked_owner(owner)}.{thumbprint(public_key)}"


def split_key_id(text: str) -> tuple[str, str]:
    """(owner, thumbprint) of a key id; raises SignatureMalformed if it is not one."""
    owner, print_text = matched(KEY_ID, "keyid", text).groups()
    return owner, print_text


def public_key_text(public_key: bytes) -> str:
    """The raw 32 bytes of a public key as base64url without padding: a JWK's `x`."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise SignatureMalformed(f"public_key: {len(public_key)} bytes, expected {PUBLIC_KEY_BYTES}")
    return _base64url(public_key)


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
