"""Members' contacts: sealed, found by a keyed hash, and gone when the member's own key is destroyed."""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from sqlalchemy import ARRAY, BigInteger, Connection, LargeBinary, any_, delete, insert, literal, select
from sqlalchemy.dialects.postgresql import insert as insert_or_ignore
from sqlalchemy.sql.elements import CollectionAggregate

from exchange.registrar.envelope import Contact, Envelope, open_contact, seal_contact
from exchange.store.contact_tables import CONTACTS, DATA_KEYS, ERASURES, MASTER_KEY, PROOFS
from exchange.store.tables import WALLETS

MAX_EMAIL: Final = 254
"""Characters of an address (RFC 5321, as corrected by erratum 1690)."""

_PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}")  # E.164: a country code and 15 digits at most
_PHONE_MARKS: Final = str.maketrans("", "", " -().")
_EMAIL: Final = re.compile(r"[^@\s]{1,64}@(?:[^@\s.]+\.)+[^@\s.]+")


class WrongContactKey(RuntimeError):
    """The contacts in the database were sealed with another master key."""


class ProvenContact(NamedTuple):
    """A contact that a one-time code proved, or that a partner attested."""

    proof_id: str
    contact: Contact
    lookup: bytes
    attested: bool


class KnownContact(NamedTuple):
    """A contact of a member in the clear, and the partner that proved or attested it."""

    contact: Contact
    attested: bool
    verified_by: int


def normalised(kind: str, text: str) -> Contact | None:
    """The one form of a contact under which it is found, or None where it is no phone or e-mail.

    Phones keep `+` and digits, without a country code there is no number. E-mails are NFKC and lower case as a
    whole: providers that tell `A@x` from `a@x` are rarer than people who type both.
    """
    if kind == "phone":
        value = text.translate(_PHONE_MARKS)
        return Contact(kind, value) if _PHONE.fullmatch(value) else None
    value = unicodedata.normalize("NFKC", text.strip()).lower()
    if len(value) > MAX_EMAIL or not value.isprintable() or not _EMAIL.fullmatch(value):
        return None
    return Contact(kind, value)


def check_master_key(connection: Connection, envelope: Envelope) -> None:
    """Binds the database to its master key at the first start. Raises `WrongContactKey` for another one."""
    first = insert_or_ignore(MASTER_KEY).values(singleton=True, key_check=envelope.key_check)
    connection.execute(first.on_conflict_do_nothing())
    bound = connection.execute(select(MASTER_KEY.c.key_check)).scalar_one()
    if not hmac.compare_digest(bytes(bound), envelope.key_check):
        raise WrongContactKey("the contact key is not the one that this database's contacts are sealed with")


def has_master_key(connection: Connection) -> bool:
    """Whether the database is bound to a master key."""
    return connection.execute(select(MASTER_KEY.c.singleton)).first() is not None


def find_members(connection: Connection, lookups: Sequence[bytes]) -> dict[bytes, int]:
    """The members that contacts belong to; for a merged one the member it lives on in, through every later merge."""
    wallets = WALLETS.c
    lives = (
        select(CONTACTS.c.lookup, wallets.member_id, wallets.survivor_id)
        .join(WALLETS, wallets.member_id == CONTACTS.c.member_id)
        .where(CONTACTS.c.lookup == any_(literal(list(lookups), ARRAY(LargeBinary))))
        .cte("lives", recursive=True)
    )
    lives = lives.union_all(
        select(lives.c.lookup, wallets.member_id, wallets.survivor_id).where(
            wallets.member_id == lives.c.survivor_id
        )
    )
    found = select(lives.c.lookup, lives.c.member_id).where(lives.c.survivor_id == 0)
    return {bytes(lookup): member_id for lookup, member_id in connection.execute(found)}


def find_erased(connection: Connection, member_ids: Iterable[int]) -> set[int]:
    """Which of these members were erased."""
    found = select(ERASURES.c.member_id).where(ERASURES.c.member_id == _one_of(member_ids))
    return set(connection.execute(found).scalars())


def add_contacts(
    connection: Connection, envelope: Envelope, verified_by: int, proven: Sequence[tuple[int, ProvenContact]]
) -> None:
    """Gives members contacts that nobody has; a member's own key is made with the first."""
    keys = _read_data_keys(connection, envelope, [member_id for member_id, _ in proven])
    made: dict[int, bytes] = {}
    rows = []
    for member_id, it in sorted(proven, key=lambda given: given[1].lookup):
        if member_id not in keys:
            keys[member_id], made[member_id] = envelope.new_data_key(member_id)
        rows.append(
            {
                "lookup": it.lookup,
                "member_id": member_id,
                "kind": it.contact.kind,
                "sealed_value": seal_contact(keys[member_id], member_id, it.contact),
                "attested": it.attested,
                "verified_by": verified_by,
            }
        )
    if made:
        sealed = [{"member_id": it, "sealed_key": made[it]} for it in sorted(made)]
        connection.execute(insert(DATA_KEYS), sealed)
    connection.execute(insert(CONTACTS), rows)


def read_contacts(connection: Connection, envelope: Envelope, member_id: int) -> list[KnownContact]:
    """A member's contacts in the clear, oldest first."""
    keys = _read_data_keys(connection, envelope, [member_id])
    columns = CONTACTS.c
    rows = connection.execute(
        select(columns.kind, columns.sealed_value, columns.attested, columns.verified_by)
        .where(columns.member_id == member_id)
        .order_by(columns.verify_time, columns.lookup)
    )
    return [
        KnownContact(open_contact(keys[member_id], member_id, kind, bytes(sealed)), attested, verified_by)
        for kind, sealed, attested, verified_by in rows
    ]


def destroy_contacts(connection: Connection, member_ids: Sequence[int], erased_by: str) -> None:
    """Destroys members' keys, contacts, hashes, and what still waits for proof of them."""
    theirs = select(CONTACTS.c.lookup).where(CONTACTS.c.member_id == _one_of(member_ids))
    connection.execute(delete(PROOFS).where(PROOFS.c.lookup.in_(theirs)))
    for table in (CONTACTS, DATA_KEYS):
        connection.execute(delete(table).where(table.c.member_id == _one_of(member_ids)))
    connection.execute(insert(ERASURES), [{"member_id": it, "erased_by": erased_by} for it in member_ids])


def _read_data_keys(
    connection: Connection, envelope: Envelope, member_ids: Sequence[int]
) -> dict[int, bytes]:
    rows = connection.execute(
        select(DATA_KEYS.c.member_id, DATA_KEYS.c.sealed_key).where(
            DATA_KEYS.c.member_id == _one_of(member_ids)
        )
    )
    return {member_id: envelope.open_data_key(member_id, bytes(sealed)) for member_id, sealed in rows}


def _one_of(member_ids: Iterable[int]) -> CollectionAggregate[bool]:
    return any_(literal(list(member_ids), ARRAY(BigInteger)))
