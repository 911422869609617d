"""A partner's links as a batch of enrolments finds and leaves them; one statement a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import ARRAY, BigInteger, Connection, Text, any_, literal, select, text

from exchange.core.evidence import Call
from exchange.registrar.codes import Proven, lock_unused, use_proofs
from exchange.registrar.consents import Consent, lock_wallets, remember_consents
from exchange.registrar.contacts import ProvenContact, add_contacts, find_erased, find_members
from exchange.registrar.envelope import Envelope
from exchange.store.failures import Race
from exchange.store.tables import ALIASES, PARTNERS


class Vault(NamedTuple):
    """The master key's uses, and what became of the proofs that came with a call."""

    envelope: Envelope
    proven: Proven


class Links:
    """A partner's links that a batch touches: as they were, and what the batch adds."""

    def __init__(self, partner_id: int, attestation_allowed: bool) -> None:
        self.partner_id = partner_id
        self.attestation_allowed = attestation_allowed
        self.member_of: dict[str, int] = {}
        self.customer_of: dict[int, str] = {}
        self.wallets: set[int] = set()
        self.new_wallets: list[int] = []
        self.new_links: dict[int, str] = {}
        self.consents: dict[int, Consent] = {}
        self.proven: Proven = {}
        self.unused: set[str] = set()
        self.owner_of: dict[bytes, int] = {}
        """Members by the keyed hash of their contacts."""
        self.new_contacts: list[tuple[int, ProvenContact]] = []
        self.used: list[str] = []

    def add(self, member_id: int, customer_id: str) -> None:
        """Links the two."""
        self.member_of[customer_id] = member_id
        self.customer_of[member_id] = customer_id
        self.new_links[member_id] = customer_id

    def give(self, member_id: int, proven: ProvenContact) -> None:
        """Uses the proof; the contact is the member's from now on."""
        self.unused.discard(proven.proof_id)
        self.used.append(proven.proof_id)
        if proven.lookup not in self.owner_of:
            self.owner_of[proven.lookup] = member_id
            self.new_contacts.append((member_id, proven))


def read_partner(connection: Connection, partner_id: int) -> Links:
    """A partner that exists, without any links yet."""
    allowed = select(PARTNERS.c.attestation_allowed).where(PARTNERS.c.partner_id == partner_id)
    return Links(partner_id, connection.execute(allowed).scalar_one())


def read_contacts_of(connection: Connection, links: Links, vault: Vault) -> None:
    """Which proofs can still be used, and whose the proven contacts are already."""
    links.proven = vault.proven
    found = [it for it in vault.proven.values() if isinstance(it, ProvenContact)]
    links.unused = lock_unused(connection, [it.proof_id for it in found])
    links.owner_of = find_members(connection, [it.lookup for it in found])


def read_aliases(
    connection: Connection, links: Links, customer_ids: Sequence[str], member_ids: Sequence[int]
) -> None:
    """The links of these customer ids and members."""
    columns = ALIASES.c
    for wanted in (
        columns.customer_id == any_(literal(list(customer_ids), ARRAY(Text))),
        columns.member_id == any_(literal(list(member_ids), ARRAY(BigInteger))),
    ):
        rows = connection.execute(
            select(columns.customer_id, columns.member_id).where(
                columns.partner_id == links.partner_id, wanted
            )
        )
        for customer_id, member_id in rows:
            links.member_of[customer_id] = member_id
            links.customer_of[member_id] = customer_id


_INSERT_WALLETS: Final = text(
    "INSERT INTO exchange.wallets (member_id) SELECT unnest(CAST(:member_ids AS bigint[]))"
)
_INSERT_ALIASES: Final = text(
    """
INSERT INTO exchange.aliases (partner_id, customer_id, member_id)
SELECT :partner_id, customer_id, member_id
FROM unnest(CAST(:customer_ids AS text[]), CAST(:member_ids AS bigint[])) AS new (customer_id, member_id)"""
)
# A link that was undone before is made anew.
_SAVE_LINKS: Final = text(
    """
INSERT INTO exchange.links (member_id, partner_id, per_burn_limit_points, per_day_limit_points)
SELECT member_id, :partner_id, per_burn, per_day
FROM unnest(CAST(:member_ids AS bigint[]), CAST(:per_burn AS bigint[]), CAST(:per_day AS bigint[]))
    AS new (member_id, per_burn, per_day)
ON CONFLICT (member_id, partner_id) DO UPDATE SET unlinked = false,
    per_burn_limit_points = excluded.per_burn_limit_points, per_day_limit_points = excluded.per_day_limit_points"""
)


def save_links(connection: Connection, call: Call, links: Links, vault: Vault | None) -> None:
    """Writes what the batch added; in key order, so that two batches never wait for each other in a circle."""
    _lock_standing(connection, links)
    if links.new_wallets:
        connection.execute(_INSERT_WALLETS, {"member_ids": links.new_wallets})
    if links.new_links:
        pairs = sorted((customer, member) for member, customer in links.new_links.items())
        customers, members = zip(*pairs, strict=True)
        values = {
            "customer_ids": list(customers),
            "member_ids": list(members),
            "partner_id": links.partner_id,
        }
        connection.execute(_INSERT_ALIASES, values)
    made = {**dict.fromkeys(links.new_links, Consent()), **links.consents}
    if made:
        _write_links(connection, links.partner_id, made)
    if links.consents:
        remember_consents(connection, call, links.partner_id, links.consents)
    if vault is not None and links.used:
        use_proofs(connection, links.used)
        if links.new_contacts:
            add_contacts(connection, vault.envelope, call.partner_id, links.new_contacts)


def _lock_standing(connection: Connection, links: Links) -> None:
    """Locks the members that were there before. Raises `Race` where one was erased since it was read."""
    touched = {*links.new_links, *links.consents, *(member_id for member_id, _ in links.new_contacts)}
    standing = touched - {*links.new_wallets}
    if standing:
        lock_wallets(connection, list(standing))
        if find_erased(connection, standing):
            raise Race


def _write_links(connection: Connection, partner_id: int, consents: Mapping[int, Consent]) -> None:
    ordered = sorted(consents)
    values = {
        "partner_id": partner_id,
        "member_ids": ordered,
        "per_burn": [consents[it].per_burn_limit_points for it in ordered],
        "per_day": [consents[it].per_day_limit_points for it in ordered],
    }
    connection.execute(_SAVE_LINKS, values)
