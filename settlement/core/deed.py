"""Deeds: what somebody did to an item, as the text they sign and the chain that keeps it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from settlement.core.certificate import canonical_json, time_text
from settlement.core.roles import Act, Role

FORMAT: Final = b"tongdui-deed-v1\n"
"""What a signed deed begins with; no other signed text does."""

CHAIN_FORMAT: Final = b"tongdui-audit-v1\n"
FIRST_AUDIT_HASH: Final = bytes(32)
"""`previous_hash` of the first row."""

SETTLEMENT: Final = "settlement"
"""The name under which the program acts where no person does."""

Content = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Person:
    """Who acts: a name, the key that signs, whose it is (`operator` or a partner's id), and what it may do."""

    name: str
    key_id: str
    owner: str
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True)
class Deed:
    """One act of one person on one item.

    Attributes:
        before, after: what the act changed, as plain data without floats; None where there was nothing.
        text: the canonical JSON of all this, as it was signed.
        signature: 64 bytes of Ed25519 over `FORMAT + text`; empty where the program had no key at hand.
    """

    person: Person
    role: Role
    act: Act
    item_kind: str
    item_id: str
    reason: str
    before: Content | None
    after: Content | None
    text: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A row of the audit log as it is stored. Hashes are 32 bytes."""

    audit_id: int
    act_time: datetime
    person: str
    key_id: str
    role: str
    act: str
    item_kind: str
    item_id: str
    reason: str
    before: Any
    after: Any
    text: bytes
    signature: bytes
    previous_hash: bytes
    hash: bytes


def deed_text(  # noqa: PLR0913 - what a deed says, each by its name
    *,
    audience: str,
    person: Person,
    role: Role,
    act: Act,
    item_kind: str,
    item_id: str,
    reason: str,
    before: Content | None,
    after: Content | None,
    public_key: str,
    signed_time: datetime,
) -> bytes:
    """What is signed, without `FORMAT`. `audience` is the ledger's name: a deed counts in one ledger only.

    `public_key` is base64url; the key id is made from it.
    """
    return canonical_json(
        {
            "audience": audience,
            "person": person.name,
            "key_id": person.key_id,
            "public_key": public_key,
            "role": role.value,
            "act": act.label,
            "item_kind": item_kind,
            "item_id": item_id,
            "reason": reason,
            "before": before,
            "after": after,
            "signed_time": time_text(signed_time),
        }
    )


def audit_hash(previous_hash: bytes, act_time: datetime, text: bytes, signature: bytes) -> bytes:
    """The hash of a row: over the one before, when it was written, what was signed, and the signature."""
    parts = (time_text(act_time).encode("ascii"), hashlib.sha256(text).digest(), signature)
    return hashlib.sha256(CHAIN_FORMAT + previous_hash + b"".join(parts)).digest()


def row_fault(row: AuditRow, previous_hash: bytes) -> str:
    """What is wrong with a row of the log, leaving its signature aside; empty where nothing is."""
    if row.previous_hash != previous_hash:
        return "does not follow the row before it; one was removed, added or changed"
    if row.hash != audit_hash(row.previous_hash, row.act_time, row.text, row.signature):
        return "its hash is not that of its act, time and signature"
    said = text_content(row.text)
    for name in ("person", "key_id", "role", "act", "item_kind", "item_id", "reason", "before", "after"):
        if said is None or name not in said or said[name] != getattr(row, name):
            return f"{name} is not what was signed"
    return ""


def text_content(text: bytes) -> dict[str, Any] | None:
    """The fields of a deed's text; None where it is not the text of a deed."""
    try:
        said = json.loads(text)
        same = canonical_json(said) == text
    except (ValueError, TypeError, RecursionError):
        return None
    return said if same and isinstance(said, dict) else None
