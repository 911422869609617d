"""Members: enrolled, and linked to partners' customer ids. A batch is one statement a table."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from sqlalchemy import ARRAY, BigInteger, Connection, any_, delete, literal, select, update

from exchange.core.evidence import Call
from exchange.core.ids import MEMBER_BITS
from exchange.registrar.codes import Proof
from exchange.registrar.consents import Consent, lock_wallets, remember_consents
from exchange.registrar.contacts import ProvenContact, find_erased
from exchange.registrar.links import Links, Vault, read_aliases, read_contacts_of, read_partner, save_links
from exchange.registrar.partners import find_partner
from exchange.registrar.writes import (
    Answered,
    Asked,
    Decided,
    RegistrarRefusal,
    find_answer,
    read_known,
    record,
)
from exchange.store.tables import ALIASES, LINKS, WALLETS

ANY_MEMBER: Final = -2
"""Of a link that names no member: the one that the proven contact belongs to."""


class Enrolment(NamedTuple):
    """A customer of the caller's to enrol. `consent` is None where none was stated, `proof` where no contact was."""

    asked: Asked
    customer_id: str
    consent: Consent | None
    proof: Proof | None = None


class LinkRequest(NamedTuple):
    """A customer of the caller's who is a member already. Without a proof the caller attests the link."""

    asked: Asked
    member_id: int
    customer_id: str
    consent: Consent | None
    proof: Proof | None = None


_Item = TypeVar("_Item", Enrolment, LinkRequest)
Outcome = Answered | RegistrarRefusal
"""The answer to one item, or why it was refused."""


def enroll_members(
    connection: Connection,
    call: Call,
    items: Sequence[Enrolment],
    encode: Callable[[int], bytes],
    vault: Vault | None = None,
) -> list[Outcome]:
    """One outcome an item, in order: the member, or ATTESTATION_NOT_ALLOWED, CONTACT_PROOF_INVALID, ALIAS_TAKEN...

    `vault` is needed where an item brings a proof.
    """
    links = read_partner(connection, call.partner_id)
    if vault is not None:
        read_contacts_of(connection, links, vault)
    read_aliases(connection, links, [item.customer_id for item in items], sorted({*links.owner_of.values()}))
    return _decide_items(connection, "enroll_member", call, items, links, _enroll, encode, vault)


def link_aliases(
    connection: Connection,
    call: Call,
    items: Sequence[LinkRequest],
    encode: Callable[[int], bytes],
    vault: Vault | None = None,
) -> list[Outcome]:
    """One outcome an item, in order: the member, or ATTESTATION_NOT_ALLOWED, MEMBER_UNKNOWN, ALIAS_TAKEN..."""
    links = read_partner(connection, call.partner_id)
    if vault is not None:
        read_contacts_of(connection, links, vault)
    members = sorted({*(item.member_id for item in items), *links.owner_of.values()})
    read_aliases(connection, links, [item.customer_id for item in items], members)
    found = select(WALLETS.c.member_id).where(
        WALLETS.c.member_id == any_(literal(members, ARRAY(BigInteger)))
    )
    links.wallets.update(connection.execute(found).scalars())
    links.wallets -= find_erased(connection, links.wallets)
    return _decide_items(connection, "link_alias", call, items, links, _link, encode, vault)


def unlink_alias(connection: Connection, call: Call, partner_code: str, member_id: int) -> int:
    """Undoes a link: the customer id is free again and the consent withdrawn. Raises PARTNER_UNKNOWN, MEMBER_UNKNOWN.

    The link's row stays, so that what was begun can end: refunds, claw backs, captures. Nothing new can begin.
    """
    partner_id = find_partner(connection, partner_code).partner_id
    lock_wallets(connection, [member_id])
    undone = connection.execute(
        update(LINKS)
        .where(LINKS.c.member_id == member_id, LINKS.c.partner_id == partner_id, ~LINKS.c.unlinked)
        .values(unlinked=True, per_burn_limit_points=0, per_day_limit_points=0)
    )
    if not undone.rowcount:
        raise RegistrarRefusal("MEMBER_UNKNOWN")
    columns = ALIASES.c
    connection.execute(
        delete(ALIASES).where(columns.partner_id == partner_id, columns.member_id == member_id)
    )
    remember_consents(connection, call, partner_id, {member_id: Consent()})
    return member_id


def _decide_items(  # the rule and what it works on
    connection: Connection,
    kind: str,
    call: Call,
    items: Sequence[_Item],
    links: Links,
    rule: Callable[[_Item, Links], int],
    encode: Callable[[int], bytes],
    vault: Vault | None,
) -> list[Outcome]:
    known = read_known(connection, call.partner_id, [item.asked.request_id for item in items])
    fresh: list[Decided] = []
    outcomes: list[Outcome] = []
    for item in items:
        try:
            answered = find_answer(known, item.asked)
            if answered is None:
                answered = Answered(encode(rule(item, links)), replayed=False)
                decided = Decided(item.asked, answered.answer)
                known[item.asked.request_id] = decided
                fresh.append(decided)
            outcomes.append(answered)
        except RegistrarRefusal as refusal:
            outcomes.append(refusal)
    if fresh:
        save_links(connection, call, links, vault)
        record(connection, kind, call, fresh)
    return outcomes


def _enroll(item: Enrolment, links: Links) -> int:
    consent = _checked(item.consent, links)
    proven = _proven(item.proof, links)
    member_id = links.member_of.get(item.customer_id)
    owner_id = None if proven is None else links.owner_of.get(proven.lookup)
    if member_id is None and owner_id is not None and owner_id not in links.customer_of:
        member_id = owner_id
        links.add(member_id, item.customer_id)
    elif owner_id not in (None, member_id):
        raise RegistrarRefusal("ALIAS_TAKEN")
    elif member_id is None:
        member_id = secrets.randbits(
            MEMBER_BITS
        )  # one that is taken meets wallets_pkey, and another is drawn
        links.new_wallets.append(member_id)
        links.add(member_id, item.customer_id)
    if proven is not None:
        links.give(member_id, proven)
    if consent is not None:
        links.consents[member_id] = consent
    return member_id


def _link(item: LinkRequest, links: Links) -> int:
    if item.proof is None and not links.attestation_allowed:
        raise RegistrarRefusal("ATTESTATION_NOT_ALLOWED")
    consent = item.consent if item.proof is None else _checked(item.consent, links)
    proven = _proven(item.proof, links)
    member_id = item.member_id
    if proven is not None:
        owner_id = links.owner_of.get(proven.lookup, ANY_MEMBER)
        if member_id not in (ANY_MEMBER, owner_id):
            raise RegistrarRefusal("MEMBER_UNKNOWN")
        member_id = owner_id
    if member_id not in links.wallets:
        raise RegistrarRefusal("MEMBER_UNKNOWN")
    linked = (links.member_of.get(item.customer_id), links.customer_of.get(member_id))
    if linked == (None, None):
        links.add(member_id, item.customer_id)
    elif linked != (member_id, item.customer_id):
        raise RegistrarRefusal("ALIAS_TAKEN")
    if proven is not None:
        links.give(member_id, proven)
    if consent is not None:
        links.consents[member_id] = consent
    return member_id


def _proven(proof: Proof | None, links: Links) -> ProvenContact | None:
    """The contact that came with an item. Raises CONTACT_PROOF_INVALID, also for a proof that was used already."""
    if proof is None:
        return None
    outcome = links.proven[proof]
    if isinstance(outcome, RegistrarRefusal):
        raise outcome
    if outcome.proof_id not in links.unused:
        raise RegistrarRefusal("CONTACT_PROOF_INVALID", remaining_tries="0")
    return outcome


def _checked(consent: Consent | None, links: Links) -> Consent | None:
    """The consent that came with an enrolment; stating none needs no attestation."""
    if consent is None or not consent.given:
        return None
    if not links.attestation_allowed:
        raise RegistrarRefusal("ATTESTATION_NOT_ALLOWED")
    return consent
