"""Envelope encryption of members' contacts: a master key seals members' own keys, those seal the contacts.

AES-256-GCM with a random nonce of 96 bits before each ciphertext. What a value is and whose it is are its
associated data, so that no row can be moved to another member. Each use of the master key has a key of its own,
derived by HKDF-SHA-256 (RFC 5869).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
PAY_CODE_DIGITS: Final = 20

_NONCE_BYTES: Final = 12


class Contact(NamedTuple):
    """A way to reach a member: `phone` in E.164, or `email` in lower case."""

    kind: str
    value: str


class Envelope:
    """What only the holder of the master key can do. Never shows a key."""

    def __init__(self, master_key: bytes) -> None:
        """Takes the 32 bytes of the master key."""
        if len(master_key) != KEY_BYTES:
            raise ValueError(f"a master key has {KEY_BYTES} bytes")
        self._wrapping = _derived(master_key, "member data keys")
        self._passing = _derived(master_key, "contacts under proof")
        self._finding = _derived(master_key, "contact lookup")
        self._codes = _derived(master_key, "one-time codes")
        self._pay_codes = _derived(master_key, "pay codes")
        self.key_check = _derived(master_key, "key check")
        """Tells this master key from another, and nothing else about it."""

    def __repr__(self) -> str:
        """Says nothing."""
        return "Envelope()"

    def lookup(self, contact: Contact) -> bytes:
        """The keyed hash by which a contact is found."""
        return _mac(self._finding, contact.kind, contact.value)

    def keyed_fingerprint(self, fingerprint: bytes) -> bytes:
        """A fingerprint that says nothing to those without the key: an unkeyed one of a phone number can be guessed."""
        return _mac(self._finding, "fingerprint", fingerprint.hex())

    def new_data_key(self, member_id: int) -> tuple[bytes, bytes]:
        """A member's new key, and the same sealed."""
        data_key = os.urandom(KEY_BYTES)
        return data_key, _seal(self._wrapping, data_key, f"data key of {member_id}")

    def open_data_key(self, member_id: int, sealed_key: bytes) -> bytes:
        """A member's key. Raises `cryptography.exceptions.InvalidTag` where the row was tampered with."""
        return _open(self._wrapping, sealed_key, f"data key of {member_id}")

    def seal_for_proof(self, proof_id: str, contact: Contact) -> bytes:
        """A contact that waits for its proof, and belongs to nobody yet."""
        return _seal(self._passing, contact.value.encode(), f"{contact.kind} under proof {proof_id}")

    def open_from_proof(self, proof_id: str, kind: str, sealed_value: bytes) -> Contact:
        """The contact that a proof is about."""
        return Contact(kind, _open(self._passing, sealed_value, f"{kind} under proof {proof_id}").decode())

    def code_hash(self, proof_id: str, code: str) -> bytes:
        """What is kept of a one-time code."""
        return _mac(self._codes, proof_id, code)

    def pay_code(self, partner_id: int, request_id: str, fingerprint: bytes) -> str:
        """The 20 digits that answer a request, the same at each repeat: so the code itself is stored nowhere.

        Without the key they are as random as HMAC-SHA-256 is; 256 bits down to 20 digits are uneven by less than
        2**-180.
        """
        drawn = _mac(self._pay_codes, str(partner_id), request_id, fingerprint.hex())
        return f"{int.from_bytes(drawn) % 10**PAY_CODE_DIGITS:0{PAY_CODE_DIGITS}}"


def seal_contact(data_key: bytes, member_id: int, contact: Contact) -> bytes:
    """A member's contact under the member's own key."""
    return _seal(data_key, contact.value.encode(), f"{contact.kind} of {member_id}")


def open_contact(data_key: bytes, member_id: int, kind: str, sealed_value: bytes) -> Contact:
    """A member's contact. Raises `cryptography.exceptions.InvalidTag` for another member's key or kind."""
    return Contact(kind, _open(data_key, sealed_value, f"{kind} of {member_id}").decode())


def pay_code_digest(code: str) -> bytes:
    """What is stored of a pay code: 20 digits hold 66 bits, too many to try, so the hash needs no key."""
    return hashlib.sha256(code.encode()).digest()


def _derived(master_key: bytes, use: str) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, None, f"tongdui {use}".encode()).derive(master_key)


def _mac(key: bytes, *parts: str) -> bytes:
    """HMAC-SHA-256 over the parts, each after its length."""
    message = b"".join(len(part.encode()).to_bytes(4) + part.encode() for part in parts)
    return hmac.digest(key, message, "sha256")


def _seal(key: bytes, value: bytes, what: str) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, value, what.encode())


def _open(key: bytes, sealed: bytes, what: str) -> bytes:
    return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], what.encode())
