"""The hub's own signing key on disk. It never leaves the process but as signatures."""

from __future__ import annotations

import json
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from tongdui.signing import HUB_OWNER, key_id, public_key_text


class UnsafeKey(RuntimeError):
    """The key file is missing, is no Ed25519 key, or can be read by others."""


def create_key(path: Path) -> Ed25519PrivateKey:
    """A new key in a file that only its owner may read. Raises FileExistsError rather than replace one."""
    private_key = Ed25519PrivateKey.generate()
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return private_key


def load_key(path: Path) -> Ed25519PrivateKey:
    """The key of a file. Raises `UnsafeKey`."""
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            raise UnsafeKey(f"{path} can be read by others; chmod 600 {path}")
        private_key = load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError as missing:
        raise UnsafeKey(f"{path} does not exist; `tongdui-hub init` makes it") from missing
    except ValueError as malformed:
        raise UnsafeKey(f"{path} is no private key") from malformed
    if not isinstance(private_key, Ed25519PrivateKey):
        raise UnsafeKey(f"{path} is no Ed25519 key")
    return private_key


def public_bytes(private_key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes of the public key."""
    return private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def write_public_keys(path: Path, public_keys: list[bytes]) -> None:
    """Writes the hub's public keys for clients to pin: a JSON Web Key Set (RFC 7517)."""
    keys = [
        {"kty": "OKP", "crv": "Ed25519", "kid": key_id(HUB_OWNER, key), "x": public_key_text(key)}
        for key in public_keys
    ]
    path.write_text(json.dumps({"keys": keys}, indent=2) + "\n")
