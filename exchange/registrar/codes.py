"""Proofs that a contact is a customer's: a one-time code that the contact was sent, or the partner's attestation.

The rpc that names a contact leaves no trace in the journal: not its bytes as evidence, not its fingerprint, from
which a phone number could be guessed. What it leaves is here for a day, sealed.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import ARRAY, Connection, Text, any_, delete, func, insert, literal, select, text, update

from exchange.registrar.contacts import ProvenContact
from exchange.registrar.envelope import Contact, Envelope
from exchange.registrar.writes import Asked, RegistrarRefusal, read_known
from exchange.store.contact_tables import PROOFS
from exchange.store.tables import PARTNERS

CODE_DIGITS: Final = 6
CODE_SECONDS: Final = 600
MAX_TRIES: Final = 5
MAX_CODES_OF_CONTACT: Final = 5
MAX_CODES_OF_PARTNER: Final = 1000
LIMIT_SECONDS: Final = 3600
"""The time in which a contact and a partner may have so many codes."""

KEPT: Final = timedelta(days=1)
"""How long a proof is kept, so that its request can be repeated."""


class Proof(NamedTuple):
    """A proof that comes with an enrolment or a link; the code is empty where the partner attested."""

    proof_id: str
    code: str


class Started(NamedTuple):
    """A proof under way, and the code that is still to be sent; None for a repeat and where it was attested."""

    proof_id: str
    expire_time: datetime
    code: str | None


Proven = Mapping[Proof, ProvenContact | RegistrarRefusal]
"""What became of the proofs of a call."""


def start_proof(
    connection: Connection,
    envelope: Envelope,
    partner_id: int,
    asked: Asked,
    contact: Contact,
    *,
    attested: bool,
) -> Started:
    """Makes a proof with its code. Raises REQUEST_ID_REUSED, ATTESTATION_NOT_ALLOWED, CODE_LIMIT_EXCEEDED."""
    lookup = envelope.lookup(contact)
    # Two calls at once would both be below the limit: they come one after the other.
    for name in (f"proofs of partner {partner_id}", f"proofs of contact {lookup.hex()}"):
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
    known = _find_started(connection, envelope, partner_id, asked)
    if known is not None:
        return known
    if attested:
        _check_attests(connection, partner_id)
    else:
        _check_limits(connection, partner_id, lookup)
    connection.execute(delete(PROOFS).where(PROOFS.c.create_time < func.clock_timestamp() - KEPT))
    proof_id = secrets.token_hex(16)
    code = None if attested else f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
    made = insert(PROOFS).values(
        proof_id=proof_id,
        partner_id=partner_id,
        request_id=asked.request_id,
        fingerprint=envelope.keyed_fingerprint(asked.fingerprint),
        lookup=lookup,
        kind=contact.kind,
        sealed_value=envelope.seal_for_proof(proof_id, contact),
        code_hash=None if code is None else envelope.code_hash(proof_id, code),
        expire_time=func.clock_timestamp() + timedelta(seconds=CODE_SECONDS),
    )
    expire_time = connection.execute(made.returning(PROOFS.c.expire_time)).scalar_one()
    return Started(proof_id, expire_time, code)


def drop_proof(connection: Connection, proof_id: str) -> None:
    """Forgets a proof whose code could not be sent: the same request may try again."""
    connection.execute(delete(PROOFS).where(PROOFS.c.proof_id == proof_id))


def try_proofs(
    connection: Connection, envelope: Envelope, partner_id: int, proofs: Sequence[Proof]
) -> dict[Proof, ProvenContact | RegistrarRefusal]:
    """What each proof proves, or CONTACT_PROOF_INVALID. Counts the tries: the caller commits before it refuses."""
    return {it: _try_proof(connection, envelope, partner_id, it) for it in sorted(set(proofs))}


def lock_unused(connection: Connection, proof_ids: Sequence[str]) -> set[str]:
    """The proofs that nothing was done with yet, held until the transaction ends."""
    columns = PROOFS.c
    found = (
        select(columns.proof_id)
        .where(columns.proof_id == any_(literal(list(proof_ids), ARRAY(Text))), ~columns.used)
        .order_by(columns.proof_id)
        .with_for_update()
    )
    return set(connection.execute(found).scalars())


def use_proofs(connection: Connection, proof_ids: Sequence[str]) -> None:
    """Uses proofs up."""
    wanted = PROOFS.c.proof_id == any_(literal(list(proof_ids), ARRAY(Text)))
    connection.execute(update(PROOFS).where(wanted).values(used=True))


def _find_started(
    connection: Connection, envelope: Envelope, partner_id: int, asked: Asked
) -> Started | None:
    columns = PROOFS.c
    row = connection.execute(
        select(columns.proof_id, columns.expire_time, columns.fingerprint).where(
            columns.partner_id == partner_id, columns.request_id == asked.request_id
        )
    ).first()
    if row is None:
        if read_known(connection, partner_id, [asked.request_id]):
            raise RegistrarRefusal("REQUEST_ID_REUSED")
        return None
    if not hmac.compare_digest(bytes(row.fingerprint), envelope.keyed_fingerprint(asked.fingerprint)):
        raise RegistrarRefusal("REQUEST_ID_REUSED")
    return Started(row.proof_id, row.expire_time, None)


def _check_attests(connection: Connection, partner_id: int) -> None:
    allowed = select(PARTNERS.c.attestation_allowed).where(PARTNERS.c.partner_id == partner_id)
    if not connection.execute(allowed).scalar_one():
        raise RegistrarRefusal("ATTESTATION_NOT_ALLOWED")


def _check_limits(connection: Connection, partner_id: int, lookup: bytes) -> None:
    columns = PROOFS.c
    recent = columns.create_time > func.clock_timestamp() - timedelta(seconds=LIMIT_SECONDS)
    for whose, wanted, limit in (
        ("contact", columns.lookup == lookup, MAX_CODES_OF_CONTACT),
        ("partner", columns.partner_id == partner_id, MAX_CODES_OF_PARTNER),
    ):
        sent = select(func.count()).where(wanted, recent, columns.code_hash.is_not(None))
        if connection.execute(sent).scalar_one() >= limit:
            raise RegistrarRefusal("CODE_LIMIT_EXCEEDED", limit_of=whose, limit_count=str(limit))


def _try_proof(
    connection: Connection, envelope: Envelope, partner_id: int, proof: Proof
) -> ProvenContact | RegistrarRefusal:
    columns = PROOFS.c
    row = connection.execute(
        update(PROOFS)
        .where(
            columns.proof_id == proof.proof_id,
            columns.partner_id == partner_id,
            ~columns.used,
            columns.tries < MAX_TRIES,
            columns.expire_time > func.clock_timestamp(),
        )
        .values(tries=columns.tries + 1)
        .returning(
            columns.kind,
            columns.lookup,
            columns.sealed_value,
            columns.code_hash,
            columns.tries.label("tried"),
        )
    ).first()
    if row is None:
        return RegistrarRefusal("CONTACT_PROOF_INVALID", remaining_tries="0")
    is_right = proof.code == ""
    if row.code_hash is not None:
        is_right = hmac.compare_digest(bytes(row.code_hash), envelope.code_hash(proof.proof_id, proof.code))
    if not is_right:
        return RegistrarRefusal("CONTACT_PROOF_INVALID", remaining_tries=str(MAX_TRIES - row.tried))
    contact = envelope.open_from_proof(proof.proof_id, row.kind, bytes(row.sealed_value))
    return ProvenContact(proof.proof_id, contact, bytes(row.lookup), attested=row.code_hash is None)
