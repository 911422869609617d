"""The fingerprint by which the hub tells a repeated command from another one under the same request id."""

import hashlib
from functools import lru_cache

from tongdui.signing.grammar import COMMAND_KIND, matched


def fingerprint(kind: str, canonical_fields: bytes) -> bytes:
    """SHA-256 (32 bytes) over what a command says: its kind and the fields that are set.

    `kind` is the command's field name in the contract's `Command`, such as `earn`. `canonical_fields` is
    the command message by the protobuf wire format with every freedom taken away: fields in ascending
    number, minimal varints, length-prefixed values, defaults and unknown fields left out, nested messages
    by the same rule. Protobuf's deterministic serialisation writes exactly this for messages without map
    fields, once unknown fields are discarded.

    Neither the bytes as sent nor the signing time nor the key go in, so a command repeated by another
    client library, or after a key rotation, keeps its fingerprint; and a field added to the protocol later
    changes no fingerprint of a command that leaves it out.
    """
    digest = _begun(kind).copy()
    digest.update(canonical_fields)
    return digest.digest()


@lru_cache(maxsize=64)
def _begun(kind: str) -> "hashlib._Hash":
    """The hash of what comes before the fields; a copy of it costs half of a new one."""
    matched(COMMAND_KIND, "kind", kind)
    return hashlib.sha256(b"tongdui-command-v1\n" + kind.encode("ascii") + b"\n")
