"""Proof of possession: what the owner of a new key signs before the hub takes the key's public half."""

import base64

from tongdui.signing.grammar import (
    HOLDER,
    SignatureMalformed,
    checked_audience,
    checked_owner,
    matched,
)
from tongdui.signing.keys import public_key_text

CHALLENGE_BYTES = 32


def registration_text(audience: str, owner: str, holder: str, public_key: bytes, challenge: bytes) -> bytes:
    """The six lines to sign with the new key: a tag, then each argument in this order.

    `audience` is the hub's name, `owner` the party the key is for, `holder` the person who keeps it (at
    most 64 printable ASCII characters; empty, and then an empty line, for a partner's machine),
    `public_key` the raw 32 bytes and `challenge` the 32 bytes the hub gave; both are base64url without
    padding in the text. Raises SignatureMalformed naming the argument that is out of form.

    No request and no receipt begins with this tag, so a proof can never be taken for one of them.
    """
    if len(challenge) != CHALLENGE_BYTES:
        raise SignatureMalformed(f"challenge: {len(challenge)} bytes, expected {CHALLENGE_BYTES}")
    lines = (
        "tongdui-key-registration-v1",
        checked_audience(audience),
        checked_owner(owner),
        matched(HOLDER, "holder", holder)[0],
        public_key_text(public_key),
        base64.urlsafe_b64encode(challenge).rstrip(b"=").decode("ascii"),
    )
    return "\n".join(lines).encode("ascii")
