"""Keys: challenged, registered with proof of possession, approved by another person, revoked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from sqlalchemy import Connection, any_, func, insert, literal, select, update

from exchange.registrar.partners import (
    Actor,
    change_registry,
    find_partner,
    folded,
    is_same_person,
    lock_registry,
)
from exchange.registrar.writes import RegistrarRefusal
from exchange.store.reads.pages import KEY_COLUMNS, Key, to_key
from exchange.store.tables import KEY_CHALLENGES, KEYS, LEDGER
from tongdui.signing import CHALLENGE_BYTES, HUB_OWNER, key_id, registration_text

OPERATOR_OWNER: Final = "operator"
"""The owner of the keys of the operator's people."""

OPERATOR_ROLE: Final = "operator"
MIN_OPERATORS: Final = 2
"""People who can approve: with fewer, nobody could approve anything again, not even a key."""

CHALLENGE_LIFE: Final = timedelta(days=7)
OVERLAP: Final = timedelta(days=7)
"""How long an older key may still be used beside a newer one."""

MAX_ACTIVE: Final = 2
MAX_VALIDITY_DAYS: Final = 366


class Challenge(NamedTuple):
    """32 random bytes to sign, once, until `expire_time`."""

    challenge: bytes
    expire_time: datetime


class NewKey(NamedTuple):
    """A key to register, in the roles it is to have, and the proof of possession."""

    owner: str
    holder: str
    public_key: bytes
    challenge: bytes
    proof: bytes
    roles: tuple[str, ...]
    validity_days: int


def create_key_challenge(connection: Connection, owner: str, holder: str) -> Challenge:
    """Makes a challenge for a key of this owner and holder. Raises PARTNER_UNKNOWN."""
    _check_owner(connection, owner)
    challenge = os.urandom(CHALLENGE_BYTES)
    expire_time = connection.execute(
        insert(KEY_CHALLENGES)
        .values(
            challenge=challenge,
            owner=owner,
            holder=holder,
            expire_time=func.now() + CHALLENGE_LIFE,
            used=False,
        )
        .returning(KEY_CHALLENGES.c.expire_time)
    ).scalar_one()
    return Challenge(challenge, expire_time)


def register_key(connection: Connection, actor: Actor, new: NewKey) -> Key:
    """Registers a key.

    Raises PARTNER_UNKNOWN, KEY_UNSUITABLE, KEY_PROOF_INVALID, KEY_STATE where it is known, or INVALID_FIELD where
    its holder is another one's name spelled otherwise: one person would count as two.
    """
    lock_registry(connection)
    _check_owner(connection, new.owner)
    check_suitable(new.public_key)
    _check_spelling(connection, new)
    _check_proof(connection, new)
    made = key_id(new.owner, new.public_key)
    if connection.execute(select(KEYS.c.key_id).where(KEYS.c.key_id == made)).first():
        raise RegistrarRefusal("KEY_STATE")
    values = {"registered_by": actor.person, "state": "registered"}
    return insert_key(
        connection, new.owner, new.holder, new.public_key, new.roles, new.validity_days, **values
    )


def approve_key(connection: Connection, actor: Actor, wanted: str) -> Key:
    """Activates a registered key from now on; an older active one ends within 7 days.

    Raises KEY_UNKNOWN, KEY_STATE (not waiting, past its time, or the third active one), SAME_PERSON.
    """
    change_registry(connection)
    key = _find_key(connection, wanted)
    registered_by, now = connection.execute(
        select(KEYS.c.registered_by, func.now()).where(KEYS.c.key_id == wanted)
    ).one()
    if key.state != "registered":
        raise RegistrarRefusal("KEY_STATE")
    if is_same_person(registered_by, actor.person):
        raise RegistrarRefusal("SAME_PERSON")
    if key.valid_until <= now:
        raise RegistrarRefusal("KEY_STATE")
    same_holder = (KEYS.c.owner == key.owner, KEYS.c.holder == key.holder)
    active = (*same_holder, KEYS.c.state == "active", KEYS.c.valid_until > now)
    if len(connection.execute(select(KEYS.c.key_id).where(*active)).all()) >= MAX_ACTIVE:
        raise RegistrarRefusal("KEY_STATE")
    connection.execute(
        update(KEYS).where(*active).values(valid_until=func.least(KEYS.c.valid_until, now + OVERLAP))
    )
    return _change_key(connection, wanted, state="active", approved_by=actor.person, valid_from=now)


def revoke_key(connection: Connection, actor: Actor, wanted: str, reason: str) -> Key:
    """Revokes a key at once. A partner knows only its own, and nobody the hub's.

    Raises KEY_UNKNOWN, or KEY_STATE where it is revoked already or fewer than two people could approve anything
    without it: the new operator's key comes before the old one goes.
    """
    change_registry(connection)
    key = _find_key(connection, wanted)
    if key.owner == HUB_OWNER or (not actor.is_operator and key.owner != actor.owner):
        raise RegistrarRefusal("KEY_UNKNOWN")
    if key.state == "revoked" or _is_needed(connection, key):
        raise RegistrarRefusal("KEY_STATE")
    return _change_key(connection, wanted, state="revoked", revoked_by=actor.person, revoke_reason=reason)


def _is_needed(connection: Connection, key: Key) -> bool:
    """Whether it is an operator's key and fewer people than two have another one."""
    columns = KEYS.c
    active = (
        columns.owner == OPERATOR_OWNER,
        columns.state == "active",
        columns.valid_until > func.now(),
        literal(OPERATOR_ROLE) == any_(columns.roles),
    )
    rows = connection.execute(select(columns.key_id, columns.holder).where(*active)).all()
    others = {folded(row.holder) for row in rows if row.key_id != key.key_id}
    return any(row.key_id == key.key_id for row in rows) and len(others) < MIN_OPERATORS


def check_suitable(public_key: bytes) -> None:
    """Refuses what is no canonical point of large order. Raises KEY_UNSUITABLE."""
    if not crypto_core_ed25519_is_valid_point(public_key):
        raise RegistrarRefusal("KEY_UNSUITABLE")


def insert_key(  # one argument a column
    connection: Connection,
    owner: str,
    holder: str,
    public_key: bytes,
    roles: Sequence[str],
    validity_days: int,
    **more: str,
) -> Key:
    """Inserts a key that is valid from now on."""
    row = connection.execute(
        insert(KEYS)
        .values(
            key_id=key_id(owner, public_key),
            owner=owner,
            holder=holder,
            public_key=public_key,
            roles=list(roles),
            valid_from=func.now(),
            valid_until=func.now() + timedelta(days=validity_days),
            **more,
        )
        .returning(*KEY_COLUMNS)
    ).one()
    return to_key(row)


def _check_owner(connection: Connection, owner: str) -> None:
    if owner != OPERATOR_OWNER:
        find_partner(connection, owner)


def _check_spelling(connection: Connection, new: NewKey) -> None:
    """Only the operator's keys have holders, and only its people register those: they may know each other's names."""
    if new.owner != OPERATOR_OWNER:
        return
    holders = connection.execute(select(KEYS.c.holder).where(KEYS.c.owner == OPERATOR_OWNER).distinct())
    for known in holders.scalars():
        if known != new.holder and is_same_person(known, new.holder):
            raise RegistrarRefusal("INVALID_FIELD", field="holder", registered_as=known)


def _check_proof(connection: Connection, new: NewKey) -> None:
    """Uses up the challenge; a refusal further on gives it back, because nothing is committed then."""
    audience = connection.execute(select(LEDGER.c.audience)).scalar_one()
    signed = registration_text(audience, new.owner, new.holder, new.public_key, new.challenge)
    try:
        VerifyKey(new.public_key).verify(signed, new.proof)
    except BadSignatureError as wrong:
        raise RegistrarRefusal("KEY_PROOF_INVALID") from wrong
    columns = KEY_CHALLENGES.c
    used = connection.execute(
        update(KEY_CHALLENGES)
        .where(
            columns.challenge == new.challenge,
            columns.owner == new.owner,
            columns.holder == new.holder,
            ~columns.used,
            columns.expire_time >= func.now(),
        )
        .values(used=True)
    )
    if not used.rowcount:
        raise RegistrarRefusal("KEY_PROOF_INVALID")


def _find_key(connection: Connection, wanted: str) -> Key:
    found = connection.execute(select(*KEY_COLUMNS).where(KEYS.c.key_id == wanted)).first()
    if found is None:
        raise RegistrarRefusal("KEY_UNKNOWN")
    return to_key(found)


def _change_key(connection: Connection, wanted: str, **values: Any) -> Key:
    changed = connection.execute(
        update(KEYS).where(KEYS.c.key_id == wanted).values(**values).returning(*KEY_COLUMNS)
    ).one()
    return to_key(changed)
