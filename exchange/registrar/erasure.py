"""Erasing a member: what tells who it was is destroyed, what the ledger needs stays under the opaque id."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import ARRAY, BigInteger, Connection, any_, delete, insert, literal, select, update

from exchange.core.evidence import Call
from exchange.core.ids import member_text
from exchange.registrar.consents import lock_wallets
from exchange.registrar.contacts import destroy_contacts, find_erased
from exchange.registrar.partners import Actor
from exchange.registrar.writes import RegistrarRefusal
from exchange.store.tables import ALIASES, CONSENT_HISTORY, LINKS, PAY_CODES, WALLETS


class Erased(NamedTuple):
    """The members that were erased: the one named, and those merged into it, however many merges ago."""

    member_ids: list[int]


def erase_member(connection: Connection, call: Call, actor: Actor, member_id: int) -> Erased:
    """Destroys contacts, keys, hashes, customer ids, consents and codes of a closed member.

    Raises MEMBER_UNKNOWN, or MEMBER_NOT_CLOSED with what stands against it. A member that was erased before is
    erased; nothing more is done.
    """
    member_ids = _lock_family(connection, member_id)
    fresh = sorted({*member_ids} - find_erased(connection, member_ids))
    if fresh:
        destroy_contacts(connection, fresh, actor.person)
        _cut_links(connection, call, fresh)
    return Erased(member_ids)


def _lock_family(connection: Connection, member_id: int) -> list[int]:
    """The closed member and those merged into it, locked. Raises MEMBER_UNKNOWN, MEMBER_NOT_CLOSED."""
    columns = WALLETS.c
    chosen = (
        columns.member_id,
        columns.state,
        columns.pending_points,
        columns.held_points,
        columns.survivor_id,
    )
    found = select(columns.member_id).where(columns.member_id == member_id).cte("family", recursive=True)
    found = found.union(select(columns.member_id).where(columns.survivor_id == found.c.member_id))
    of_family = select(found.c.member_id)
    lock_wallets(connection, [member_id, *connection.execute(of_family).scalars()])
    family = connection.execute(
        select(*chosen).where(columns.member_id.in_(of_family)).order_by(columns.member_id)
    ).all()
    named = next((row for row in family if row.member_id == member_id), None)
    if named is None:
        raise RegistrarRefusal("MEMBER_UNKNOWN")
    if named.state != "closed" or named.pending_points or named.held_points:
        against = {
            "state": named.state,
            "pending_points": str(named.pending_points),
            "held_points": str(named.held_points),
        }
        if named.survivor_id:
            against["survivor_member_id"] = member_text(named.survivor_id)
        raise RegistrarRefusal("MEMBER_NOT_CLOSED", **against)
    return [row.member_id for row in family]


def _cut_links(connection: Connection, call: Call, member_ids: list[int]) -> None:
    ids = any_(literal(member_ids, ARRAY(BigInteger)))
    consented = connection.execute(
        select(LINKS.c.member_id, LINKS.c.partner_id).where(
            LINKS.c.member_id == ids, LINKS.c.per_burn_limit_points > 0
        )
    ).all()
    withdrawn = {
        "per_burn_limit_points": 0,
        "per_day_limit_points": 0,
        "changed_by": call.partner_id,
        "key_id": call.key_id,
    }
    if consented:
        changes = [{"member_id": it.member_id, "partner_id": it.partner_id, **withdrawn} for it in consented]
        connection.execute(insert(CONSENT_HISTORY), changes)
    connection.execute(
        update(LINKS)
        .where(LINKS.c.member_id == ids)
        .values(unlinked=True, per_burn_limit_points=0, per_day_limit_points=0)
    )
    connection.execute(delete(ALIASES).where(ALIASES.c.member_id == ids))
    connection.execute(delete(PAY_CODES).where(PAY_CODES.c.member_id == ids))
