"""The hub's keys on disk: its signing key, which leaves the process as signatures alone, and the contact key."""

from __future__ import annotations

import base64
import binascii
import json
import os
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from tongdui.signing import HUB_OWNER, key_id, public_key_text

CONTACT_KEY_BYTES: Final = 32


class UnsafeKey(RuntimeError):
    """A key file is missing, holds no key of its kind, or can be read by others."""


def create_key(path: Path) -> Ed25519PrivateKey:
    """A new key in a file that only its owner may read. Raises FileExistsError rather than replace one."""
    private_key = Ed25519PrivateKey.generate()
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write_secret(path, pem)
    return private_key


def load_key(path: Path) -> Ed25519PrivateKey:
    """The key of a file. Raises `UnsafeKey`."""
    try:
        private_key = load_pem_private_key(_read_secret(path), None)
    except ValueError as malformed:
        raise UnsafeKey(f"{path} is no private key") from malformed
    if not isinstance(private_key, Ed25519PrivateKey):
        raise UnsafeKey(f"{path} is no Ed25519 key")
    return private_key


def create_contact_key(path: Path) -> bytes:
    """A new master key of members' contacts, in a file that only its owner may read. Raises FileExistsError."""
    contact_key = os.urandom(CONTACT_KEY_BYTES)
    _write_secret(path, base64.b64encode(contact_key) + b"\n")
    return contact_key


def load_contact_key(path: Path) -> bytes:
    """The 32 bytes of the master key of members' contacts. Raises `UnsafeKey`."""
    try:
        contact_key = base64.b64decode(_read_secret(path).strip(), validate=True)
    except binascii.Error as malformed:
        raise UnsafeKey(f"{path} is no contact key") from malformed
    if len(contact_key) != CONTACT_KEY_BYTES:
        raise UnsafeKey(f"{path} is no contact key")
    return contact_key


def _write_secret(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _read_secret(path: Path) -> bytes:
    try:
        if path.stat().st_mode & 0o077:
            raise UnsafeKey(f"{path} can be read by others; chmod 600 {path}")
        return path.read_bytes()
    except FileNotFoundError as missing:
        raise UnsafeKey(f"{path} does not exist; `tongdui-hub init` makes it") from missing


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
