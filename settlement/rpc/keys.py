"""Ed25519 keys: settlement's own, on disk where only its user can read it, and the hub's pinned public ones.

Key files are JSON Web Keys (RFC 8037) named by their key id, the form the adapter's tools write and read too,
so that one tool can register any key with the hub.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from tongdui.signing import (
    HUB_OWNER,
    SignatureMalformed,
    checked_owner,
    key_id,
    public_key_text,
    split_key_id,
)

MAX_FILE_BYTES = 65_536
PUBLIC_KEY_BYTES = 32


class KeyFileError(Exception):
    """A key file is missing, malformed, or open to others; `str()` says what to do about it."""


class PrivateKey:
    """A private key that signs for `owner`. Its `repr` shows the key id only."""

    def __init__(self, owner: str, seed: bytes) -> None:
        """`seed` is the 32 bytes of RFC 8032. Raises ValueError for another length or a bad owner."""
        self.owner = checked_owner(owner)
        self._key = SigningKey(seed)
        self.public_key = bytes(self._key.verify_key)
        self.key_id = key_id(owner, self.public_key)

    @classmethod
    def generate(cls, owner: str) -> Self:
        """A new key from the system's randomness."""
        return cls(owner, os.urandom(32))

    @property
    def public_key_text(self) -> str:
        """The public half, base64url without padding."""
        return public_key_text(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the Ed25519 signature over `message`."""
        return self._key.sign(message).signature

    def known_as(self, name: str) -> Self:
        """The same key under the id another office registered it with. Raises KeyFileError for another key's."""
        owner, _ = split_key_id(name)
        renamed = type(self)(owner, bytes(self._key))
        if renamed.key_id != name:
            raise KeyFileError(f"{name}: not an id of the key {self.key_id}")
        return renamed

    def __repr__(self) -> str:
        return f"PrivateKey({self.key_id})"


def load_private_key(path: Path) -> PrivateKey:
    """Reads a key file; raises KeyFileError where others could read it too or it is not a key."""
    fields = _checked_jwk(_json_object(_read_private(path), path), path)
    try:
        owner, _ = split_key_id(_text(fields, "kid", path))
        key = PrivateKey(owner, _octets(fields, "d", path))
    except ValueError as error:
        raise KeyFileError(f"{path}: {error}") from error
    if (fields["kid"], fields.get("x")) != (key.key_id, key.public_key_text):
        raise KeyFileError(f"{path}: kid and x do not belong to the private key d")
    return key


def save_private_key(key: PrivateKey, directory: Path) -> Path:
    """Writes `<key id>.jwk` (mode 0600) into `directory` (made with mode 0700 if missing).

    Never overwrites. Raises KeyFileError where the directory is open to others or the file exists.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_open_to_others(directory, directory.stat(), "700")
        path = directory / f"{key.key_id}.jwk"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise KeyFileError(f"{directory}: not a directory, or the key is there already") from error
    except OSError as error:
        raise KeyFileError(f"{directory}: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(_private_jwk(key))
        file.flush()
        os.fsync(file.fileno())
    return path


def public_key_set(key: PrivateKey) -> dict[str, list[dict[str, str]]]:
    """The public half as a JSON Web Key Set (RFC 7517), the form in which partners pin it."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "kid": key.key_id, "x": key.public_key_text}
    return {"keys": [jwk]}


class HubKeys:
    """The hub's pinned public keys by key id, retired ones too: what receipts are checked against."""

    def __init__(self, public_keys: Mapping[str, bytes]) -> None:
        """`public_keys`: raw 32 bytes by key id. Raises SignatureMalformed where an id is not its key's."""
        for name, public_key in public_keys.items():
            if name != key_id(HUB_OWNER, public_key):
                raise SignatureMalformed(f"{name}: not the key id of this hub key")
        self._keys = {name: VerifyKey(public_key) for name, public_key in public_keys.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._keys

    def verifies(self, name: str, signature: bytes, message: bytes) -> bool:
        """Whether key `name` is pinned and made this 64-byte signature over `message`."""
        key = self._keys.get(name)
        return key is not None and _verifies(key, signature, message)


def load_hub_keys(path: Path) -> HubKeys:
    """Reads pinned hub keys: a JSON Web Key Set (RFC 7517), or `{"<key id>": "<base64url public key>"}`.

    Raises KeyFileError where the file is neither or holds no key.
    """
    try:
        return HubKeys(_public_keys(path))
    except SignatureMalformed as error:
        raise KeyFileError(f"{path}: {error}") from error


def load_public_keys(path: Path) -> dict[str, bytes]:
    """Public keys by key id, of whatever owner, from a file in the form of the hub's pinned keys.

    Raises KeyFileError, also where an id is not its key's.
    """
    found = _public_keys(path)
    for name, public_key in found.items():
        check_key_id(name, public_key, str(path))
    return found


def check_key_id(name: str, public_key: bytes, where: str) -> None:
    """Raises KeyFileError, which begins with `where`, unless `name` is an id of the key."""
    try:
        fits = name == key_id(split_key_id(name)[0], public_key)
    except SignatureMalformed as error:
        raise KeyFileError(f"{where}: {error}") from error
    if not fits:
        raise KeyFileError(f"{where}: {name} is not an id of this key")


def public_key_from_text(text: str, where: str) -> bytes:
    """The 32 bytes of a public key in base64url. Raises KeyFileError, which begins with `where`."""
    try:
        public_key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyFileError(f"{where}: the public key is not base64url") from error
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise KeyFileError(f"{where}: a public key has {PUBLIC_KEY_BYTES} bytes")
    return public_key


def _public_keys(path: Path) -> dict[str, bytes]:
    try:
        text = path.read_bytes()[:MAX_FILE_BYTES]
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    fields = _json_object(text, path)
    if isinstance(fields.get("keys"), list):
        sets = [_checked_jwk(jwk, path) for jwk in fields["keys"]]
        found = {_text(jwk, "kid", path): _octets(jwk, "x", path) for jwk in sets}
    else:
        found = {name: _octets(fields, name, path) for name in fields}
    if not found:
        raise KeyFileError(f"{path}: holds no key")
    return found


def verifies(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `public_key` (32 bytes) made this 64-byte Ed25519 signature over `message`."""
    return _verifies(VerifyKey(public_key), signature, message)


def _verifies(key: VerifyKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(message, signature)
    except BadSignatureError:
        return False
    return True


def _private_jwk(key: PrivateKey) -> bytes:
    seed = base64.urlsafe_b64encode(bytes(key._key)).rstrip(b"=").decode("ascii")
    fields = {"kty": "OKP", "crv": "Ed25519", "kid": key.key_id, "x": key.public_key_text, "d": seed}
    return (json.dumps(fields, indent=2) + "\n").encode("ascii")


def _read_private(path: Path) -> bytes:
    try:
        # Not blocking: a pipe in the file's place must not hold us up.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    try:
        # The open file is judged, not the name: the name could be pointed elsewhere in between.
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise KeyFileError(f"{path}: not a regular file")
        _refuse_open_to_others(path, found, "600")
        return os.read(descriptor, MAX_FILE_BYTES)
    finally:
        os.close(descriptor)


def _refuse_open_to_others(path: Path, found: os.stat_result, mode: str) -> None:
    if found.st_mode & 0o077:
        raise KeyFileError(
            f"{path}: open to other users (mode {stat.S_IMODE(found.st_mode):o}); run: chmod {mode} {path}"
        )


def _json_object(text: bytes, path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise KeyFileError(f"{path}: not JSON") from error
    if not isinstance(fields, dict):
        raise KeyFileError(f"{path}: expected a JSON object")
    return fields


def _checked_jwk(fields: Any, path: Path) -> dict[str, Any]:
    if not isinstance(fields, dict) or (fields.get("kty"), fields.get("crv")) != ("OKP", "Ed25519"):
        raise KeyFileError(f"{path}: expected a JSON Web Key with kty OKP and crv Ed25519")
    return fields


def _text(fields: dict[str, Any], name: str, path: Path) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise KeyFileError(f"{path}: {name} is missing or not a text")
    return value


def _octets(fields: dict[str, Any], name: str, path: Path) -> bytes:
    text = _text(fields, name, path)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyFileError(f"{path}: {name} is not base64url") from error
