"""Points that partners still owe goods for, added up over all lots: each read passes over them once."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection, Select, case, func, or_, select

from exchange.store.tables import LINKS, LOTS


class Outstanding(NamedTuple):
    """A partner's points under one version of its card that can still be burned, and what each is priced at.

    `open_points` are within their day; `held_points` are set aside, whatever their day.
    """

    rate_version: int
    funding_micros: int
    prefunded_micros: int
    open_points: int
    held_points: int


class Spendable(NamedTuple):
    """Open points within their day that a partner's members have, and how many of them the partner issued."""

    points: int
    own_points: int


def read_outstanding(connection: Connection, issuer_id: int, today: date) -> list[Outstanding]:
    """What a partner has issued and is still outstanding on that ledger day, by version of its card.

    Points past their day do not count, whether or not a sweep has posted their expiry yet.
    """
    columns = LOTS.c
    of_version = (columns.rate_version, columns.funding_micros, columns.prefunded_micros)
    open_points = func.sum(case((columns.expiry_date >= today, columns.open_points), else_=0))
    held_points = func.sum(columns.held_points)
    rows = connection.execute(
        select(*of_version, open_points, held_points)
        .where(columns.issuer_id == issuer_id, or_(columns.open_points > 0, columns.held_points > 0))
        .group_by(*of_version)
        .having(open_points + held_points > 0)
        .order_by(columns.rate_version)
    )
    return [
        Outstanding(version, funding, prefunded, int(opened), int(held))
        for version, funding, prefunded, opened, held in rows
    ]


def read_spendable(connection: Connection, partner_id: int, today: date) -> Spendable:
    """The points that members linked to a partner could spend there on that ledger day, whoever issued them."""
    open_points = _linked_lots(partner_id, today).subquery()
    own = func.coalesce(
        func.sum(case((open_points.c.issuer_id == partner_id, open_points.c.open_points), else_=0)), 0
    )
    row = connection.execute(select(func.coalesce(func.sum(open_points.c.open_points), 0), own)).one()
    return Spendable(int(row[0]), int(row[1]))


def _linked_lots(partner_id: int, today: date) -> Select[tuple[int, int]]:
    return (
        select(LOTS.c.issuer_id, LOTS.c.open_points)
        .join(LINKS, LINKS.c.member_id == LOTS.c.member_id)
        .where(LINKS.c.partner_id == partner_id, ~LOTS.c.spent, LOTS.c.expiry_date >= today)
    )
