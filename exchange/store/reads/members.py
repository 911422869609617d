"""What is known of members beside their points: customer ids, links, consents and their history."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, select

from exchange.store.tables import ALIASES, CONSENT_HISTORY, KEYS, LINKS, PARTNERS


class ConsentChange(NamedTuple):
    """Limits that somebody set. `holder` is the person of the operator, empty for a partner."""

    change_id: int
    partner_code: str
    per_burn_limit_points: int
    per_day_limit_points: int
    changed_by: str
    holder: str
    change_time: datetime


class MemberLink(NamedTuple):
    """A member's connection to a partner. An undone one has no customer id."""

    partner_code: str
    customer_id: str
    per_burn_limit_points: int
    per_day_limit_points: int
    unlinked: bool


def list_consent_changes(
    connection: Connection, member_id: int, partner_code: str, before: int | None, limit: int
) -> list[ConsentChange]:
    """A member's consent changes, newest first; at one partner where its code is given."""
    history, writers = CONSENT_HISTORY.c, PARTNERS.alias("writers")
    wanted = (
        select(
            history.change_id,
            PARTNERS.c.code,
            history.per_burn_limit_points,
            history.per_day_limit_points,
            writers.c.code,
            KEYS.c.holder,
            history.change_time,
        )
        .select_from(CONSENT_HISTORY)
        .join(PARTNERS, PARTNERS.c.partner_id == history.partner_id)
        .join(writers, writers.c.partner_id == history.changed_by)
        .outerjoin(KEYS, KEYS.c.key_id == history.key_id)
        .where(history.member_id == member_id)
    )
    if partner_code:
        wanted = wanted.where(PARTNERS.c.code == partner_code)
    if before is not None:
        wanted = wanted.where(history.change_id < before)
    rows = connection.execute(wanted.order_by(history.change_id.desc()).limit(limit))
    return [
        ConsentChange(change_id, code, per_burn, per_day, writer, holder or "", moment)
        for change_id, code, per_burn, per_day, writer, holder, moment in rows
    ]


def list_member_links(connection: Connection, member_id: int, partner_id: int | None) -> list[MemberLink]:
    """A member's links by partner; one partner's alone where it is named."""
    links, aliases = LINKS.c, ALIASES.c
    same = (aliases.partner_id == links.partner_id) & (aliases.member_id == links.member_id)
    wanted = (
        select(
            PARTNERS.c.code,
            aliases.customer_id,
            links.per_burn_limit_points,
            links.per_day_limit_points,
            links.unlinked,
        )
        .select_from(LINKS)
        .join(PARTNERS, PARTNERS.c.partner_id == links.partner_id)
        .outerjoin(ALIASES, same)
        .where(links.member_id == member_id)
    )
    if partner_id is not None:
        wanted = wanted.where(links.partner_id == partner_id)
    rows = connection.execute(wanted.order_by(PARTNERS.c.code))
    return [
        MemberLink(code, customer_id or "", per_burn, per_day, unlinked)
        for code, customer_id, per_burn, per_day, unlinked in rows
    ]


def may_attest(connection: Connection, partner_id: int) -> bool:
    """Whether the partner's contract lets it attest for members."""
    allowed = select(PARTNERS.c.attestation_allowed).where(PARTNERS.c.partner_id == partner_id)
    return bool(connection.execute(allowed).scalar_one())
