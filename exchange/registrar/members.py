"""Members: enrolled, linked to partners' customer ids, and their consent to burns. A batch is one statement a table."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from sqlalchemy import ARRAY, BigInteger, Connection, Executable, Text, any_, literal, select, text, update

from exchange.core.evidence import Call
from exchange.core.ids import MEMBER_BITS
from exchange.registrar.partners import Actor, find_partner
from exchange.registrar.writes import (
    Answered,
    Asked,
    Decided,
    RegistrarRefusal,
    find_answer,
    read_known,
    record,
)
from exchange.store.tables import ALIASES, LINKS, PARTNERS, WALLETS


class Consent(NamedTuple):
    """Points a burn, and all burns of a ledger day, may take at one partner; both 0 is no consent."""

    per_burn_limit_points: int = 0
    per_day_limit_points: int = 0

    @property
    def given(self) -> bool:
        """Whether it permits anything."""
        return self.per_burn_limit_points > 0


class Enrolment(NamedTuple):
    """A customer of the caller's to enrol. `consent` is None where none was stated."""

    asked: Asked
    customer_id: str
    consent: Consent | None


class LinkRequest(NamedTuple):
    """A customer of the caller's who is a member already. `consent` is None where none was stated."""

    asked: Asked
    member_id: int
    customer_id: str
    consent: Consent | None


_Item = TypeVar("_Item", Enrolment, LinkRequest)
Outcome = Answered | RegistrarRefusal
"""The answer to one item, or why it was refused."""


class _Links:
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

    def add(self, member_id: int, customer_id: str) -> None:
        self.member_of[customer_id] = member_id
        self.customer_of[member_id] = customer_id
        self.new_links[member_id] = customer_id


def enroll_members(
    connection: Connection, call: Call, items: Sequence[Enrolment], encode: Callable[[int], bytes]
) -> list[Outcome]:
    """One outcome an item, in order: the member, or ATTESTATION_NOT_ALLOWED, REQUEST_ID_REUSED."""
    links = _read_partner(connection, call.partner_id)
    _read_aliases(connection, links, [item.customer_id for item in items], [])
    return _decide_items(connection, "enroll_member", call, items, links, _enroll, encode)


def link_aliases(
    connection: Connection, call: Call, items: Sequence[LinkRequest], encode: Callable[[int], bytes]
) -> list[Outcome]:
    """One outcome an item, in order: the member, or ATTESTATION_NOT_ALLOWED, MEMBER_UNKNOWN, ALIAS_TAKEN..."""
    links = _read_partner(connection, call.partner_id)
    members = [item.member_id for item in items]
    _read_aliases(connection, links, [item.customer_id for item in items], members)
    found = select(WALLETS.c.member_id).where(
        WALLETS.c.member_id == any_(literal(members, ARRAY(BigInteger)))
    )
    links.wallets.update(connection.execute(found).scalars())
    return _decide_items(connection, "link_alias", call, items, links, _link, encode)


def set_consent(
    connection: Connection, actor: Actor, partner_code: str, member_id: int, consent: Consent
) -> Consent:
    """Sets the limits of a link, behind the lock of the member's wallet that batches take too.

    Raises PARTNER_UNKNOWN, ATTESTATION_NOT_ALLOWED (a partner for itself), MEMBER_UNKNOWN.
    """
    partner = find_partner(connection, partner_code)
    if not actor.is_operator and not partner.attestation_allowed:
        raise RegistrarRefusal("ATTESTATION_NOT_ALLOWED")
    _lock_wallets(connection, [member_id])
    changed = connection.execute(
        update(LINKS)
        .where(LINKS.c.member_id == member_id, LINKS.c.partner_id == partner.partner_id)
        .values(**consent._asdict())
    )
    if not changed.rowcount:
        raise RegistrarRefusal("MEMBER_UNKNOWN")
    return consent


def _decide_items(  # the rule and what it works on
    connection: Connection,
    kind: str,
    call: Call,
    items: Sequence[_Item],
    links: _Links,
    rule: Callable[[_Item, _Links], int],
    encode: Callable[[int], bytes],
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
        _save(connection, links)
        record(connection, kind, call, fresh)
    return outcomes


def _enroll(item: Enrolment, links: _Links) -> int:
    consent = _checked(item.consent, links)
    member_id = links.member_of.get(item.customer_id)
    if member_id is None:
        member_id = secrets.randbits(
            MEMBER_BITS
        )  # one that is taken meets wallets_pkey, and another is drawn
        links.new_wallets.append(member_id)
        links.add(member_id, item.customer_id)
    if consent is not None:
        links.consents[member_id] = consent
    return member_id


def _link(item: LinkRequest, links: _Links) -> int:
    if not links.attestation_allowed:
        raise RegistrarRefusal("ATTESTATION_NOT_ALLOWED")
    if item.member_id not in links.wallets:
        raise RegistrarRefusal("MEMBER_UNKNOWN")
    linked = (links.member_of.get(item.customer_id), links.customer_of.get(item.member_id))
    if linked == (None, None):
        links.add(item.member_id, item.customer_id)
    elif linked != (item.member_id, item.customer_id):
        raise RegistrarRefusal("ALIAS_TAKEN")
    if item.consent is not None:
        links.consents[item.member_id] = item.consent
    return item.member_id


def _checked(consent: Consent | None, links: _Links) -> Consent | None:
    """The consent that came with an enrolment; stating none needs no attestation."""
    if consent is None or not consent.given:
        return None
    if not links.attestation_allowed:
        raise RegistrarRefusal("ATTESTATION_NOT_ALLOWED")
    return consent


def _read_partner(connection: Connection, partner_id: int) -> _Links:
    allowed = select(PARTNERS.c.attestation_allowed).where(PARTNERS.c.partner_id == partner_id)
    return _Links(partner_id, connection.execute(allowed).scalar_one())


def _read_aliases(
    connection: Connection, links: _Links, customer_ids: Sequence[str], member_ids: Sequence[int]
) -> None:
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
_INSERT_LINKS: Final = text(
    """
INSERT INTO exchange.links (member_id, partner_id, per_burn_limit_points, per_day_limit_points)
SELECT member_id, :partner_id, per_burn, per_day
FROM unnest(CAST(:member_ids AS bigint[]), CAST(:per_burn AS bigint[]), CAST(:per_day AS bigint[]))
    AS new (member_id, per_burn, per_day)"""
)
_UPDATE_LINKS: Final = text(
    """
UPDATE exchange.links SET per_burn_limit_points = new.per_burn, per_day_limit_points = new.per_day
FROM unnest(CAST(:member_ids AS bigint[]), CAST(:per_burn AS bigint[]), CAST(:per_day AS bigint[]))
    AS new (member_id, per_burn, per_day)
WHERE links.member_id = new.member_id AND links.partner_id = :partner_id"""
)


def _save(connection: Connection, links: _Links) -> None:
    """Writes what the batch added; in key order, so that two batches never wait for each other in a circle."""
    changed = {it: consent for it, consent in links.consents.items() if it not in links.new_links}
    if changed:
        _lock_wallets(connection, list(changed))
        _write_links(connection, _UPDATE_LINKS, links, changed)
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
        made = {member: links.consents.get(member, Consent()) for member in members}
        _write_links(connection, _INSERT_LINKS, links, made)


def _write_links(
    connection: Connection, statement: Executable, links: _Links, consents: Mapping[int, Consent]
) -> None:
    values = {
        "partner_id": links.partner_id,
        "member_ids": list(consents),
        "per_burn": [it.per_burn_limit_points for it in consents.values()],
        "per_day": [it.per_day_limit_points for it in consents.values()],
    }
    connection.execute(statement, values)


def _lock_wallets(connection: Connection, member_ids: Sequence[int]) -> None:
    column = WALLETS.c.member_id
    connection.execute(
        select(column)
        .where(column == any_(literal(list(member_ids), ARRAY(BigInteger))))
        .order_by(column)
        .with_for_update(key_share=True)
    )
