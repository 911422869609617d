"""Ed25519 keys: the caller's own, on disk where only its user can read it, and the hub's public ones.

Key files are JSON Web Keys (RFC 8037) rather than PKCS#8: a JWK carries its `kid`, so the file says which
owner's key it is, and any language reads it without an ASN.1 library.

PyNaCl signs in 15 us and verifies in 39 us where OpenSSL takes 21 us and 71 us (one core, our texts).
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign, crypto_sign_open
from nacl.bindings import crypto_sign_seed_keypair as seed_keypair
from nacl.exceptions import BadSignatureError

from merchant_adapter.json_object import JsonObject, Unreadable, to_base64url
from merchant_adapter.private_files import make_private_directory, read_private, write_private
from tongdui.signing import (
    HUB_OWNER,
    HUB_RECEIPT,
    SETTLEMENT_RECEIPT,
    ReceiptForm,
    SignatureMalformed,
    checked_owner,
    key_id,
    public_key_text,
    split_key_id,
)

SEED_BYTES = 32
SIGNATURE_BYTES = 64

FilePath = str | os.PathLike[str]


class Key:
    """A private key that signs for `owner`. Its `repr` shows the key id only."""

    __slots__ = ("_secret", "holder", "key_id", "owner", "public_key")

    def __init__(self, owner: str, seed: bytes, holder: str = "") -> None:
        """`seed` is the 32 bytes of RFC 8032; `holder` the person who keeps the key, empty for a machine.

        Raises SignatureMalformed for a bad owner, ValueError for a seed of another length.
        """
        if len(seed) != SEED_BYTES:
            raise ValueError(f"seed: {len(seed)} bytes, expected {SEED_BYTES}")
        self.owner = checked_owner(owner)
        self.holder = holder
        self.public_key, self._secret = seed_keypair(seed)
        self.key_id = key_id(owner, self.public_key)

    @classmethod
    def generate(cls, owner: str, holder: str = "") -> Self:
        """A new key from the system's randomness."""
        return cls(owner, os.urandom(SEED_BYTES), holder)

    @classmethod
    def load(cls, path: FilePath) -> Self:
        """Reads a key file.

        Raises FileRefused where it is missing or others could read it too, Unreadable where it is no key.
        """
        jwk = JsonObject.parse(read_private(Path(path)), str(path))
        _check_kind(jwk)
        try:
            owner, _ = split_key_id(jwk.text("kid"))
            key = cls(owner, jwk.octets("d"), jwk.text("holder", ""))
        except Unreadable:
            raise
        except ValueError as error:
            raise Unreadable(f"{path}: {error}") from error
        jwk.expect("kid", key.key_id)
        jwk.expect("x", public_key_text(key.public_key))
        return key

    def save(self, directory: FilePath) -> Path:
        """Writes the key as `<key id>.jwk` (mode 0600) into `directory` (made with mode 0700 if missing).

        Never overwrites. Raises FileRefused where the directory is open to others or the file exists.
        """
        folder = Path(directory)
        make_private_directory(folder)
        path = folder / f"{self.key_id}.jwk"
        jwk = _public_jwk(self.key_id, self.public_key) | {"d": to_base64url(self._secret[:SEED_BYTES])}
        if self.holder:
            jwk["holder"] = self.holder
        write_private(path, (json.dumps(jwk, indent=2) + "\n").encode())
        return path

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the Ed25519 signature over `message`."""
        return crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"Key({self.key_id})"


class PinnedKeys:
    """Public keys by key id, the retired ones too, and the form of the receipts that they sign."""

    __slots__ = ("_public_keys",)

    receipt_form: ClassVar[ReceiptForm]
    whose: ClassVar[str]

    def __init__(self, public_keys: Mapping[str, bytes]) -> None:
        """`public_keys`: raw 32 bytes by key id.

        Raises SignatureMalformed where an id is not its key's or not of this signer, or the key is not a
        canonical Ed25519 point of large order.
        """
        for name, public_key in public_keys.items():
            owner, _ = split_key_id(name)
            is_right_owner = (owner == HUB_OWNER) is (self.receipt_form is HUB_RECEIPT)
            if not is_right_owner or name != key_id(owner, public_key):
                raise SignatureMalformed(f"{name}: not the key id of this key of {self.whose}")
            if not crypto_core_ed25519_is_valid_point(public_key):
                raise SignatureMalformed(f"{name}: not a usable Ed25519 public key")
        self._public_keys = dict(public_keys)

    @classmethod
    def load(cls, path: FilePath) -> Self:
        """Reads a JSON Web Key Set (RFC 7517) from the operator; raises Unreadable."""
        try:
            return cls.from_json(Path(path).read_bytes(), str(path))
        except OSError as error:
            raise Unreadable(f"{path}: {error.strerror}") from error

    @classmethod
    def from_json(cls, text: bytes | str, source: str = "") -> Self:
        """Reads `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": ..., "x": ...}, ...]}`.

        Raises Unreadable naming `source`, also for a set without any key.
        """
        source = source or f"{cls.whose.removeprefix('the ')} keys"
        jwks = JsonObject.parse(text, source).objects("keys")
        if not jwks:
            raise Unreadable(f"{source}: keys: expected at least one key")
        for jwk in jwks:
            _check_kind(jwk)
        try:
            return cls({jwk.text("kid"): jwk.octets("x") for jwk in jwks})
        except SignatureMalformed as error:
            raise Unreadable(f"{source}: {error}") from error

    def to_json(self) -> str:
        """The same JSON Web Key Set."""
        keys = [_public_jwk(name, public_key) for name, public_key in self._public_keys.items()]
        return json.dumps({"keys": keys}, indent=2) + "\n"

    def __contains__(self, name: str) -> bool:
        return name in self._public_keys

    def verifies(self, name: str, signature: bytes, message: bytes) -> bool:
        """Whether key `name` is known and made this 64-byte signature over `message`."""
        public_key = self._public_keys.get(name)
        return public_key is not None and verifies(public_key, signature, message)


class HubKeys(PinnedKeys):
    """The hub's public keys: what its receipts are checked against."""

    __slots__ = ()

    receipt_form = HUB_RECEIPT
    whose = "the hub"


class SettlementKeys(PinnedKeys):
    """Settlement's public keys: what its receipts are checked against. Never a key of the hub."""

    __slots__ = ()

    receipt_form = SETTLEMENT_RECEIPT
    whose = "settlement"


def load_public_keys(path: FilePath) -> dict[str, bytes]:
    """Public keys by key id, whoever owns them: from a JSON Web Key Set, or of one key's own file.

    Raises Unreadable, FileRefused where a private key is open to others.
    """
    try:
        fields = JsonObject.parse(Path(path).read_bytes(), str(path))
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    if "d" in fields:
        key = Key.load(path)
        return {key.key_id: key.public_key}
    found: dict[str, bytes] = {}
    for jwk in fields.objects("keys") if "keys" in fields else [fields]:
        _check_kind(jwk)
        name, public_key = jwk.text("kid"), jwk.octets("x")
        try:
            is_its_own = name == key_id(split_key_id(name)[0], public_key)
        except SignatureMalformed as error:
            raise Unreadable(f"{path}: {error}") from error
        if not is_its_own or not crypto_core_ed25519_is_valid_point(public_key):
            raise Unreadable(f"{path}: {name}: not the id of this key")
        found[name] = public_key
    return found


def verifies(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `public_key` made this 64-byte Ed25519 signature over `message`."""
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        return False
    return True


def _public_jwk(name: str, public_key: bytes) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "kid": name, "x": public_key_text(public_key)}


def _check_kind(jwk: JsonObject) -> None:
    jwk.expect("kty", "OKP")
    jwk.expect("crv", "Ed25519")
