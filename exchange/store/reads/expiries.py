"""Open points by the day they end, and the members to warn of it: each read passes over all lots once."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, distinct, func, select, tuple_

from exchange.store.reads.ledger import read_clock
from exchange.store.tables import LOTS, PARTNERS


class Expiry(NamedTuple):
    """Open points of one issuer with the same last usable day, and how many members have them."""

    expiry_date: date
    issuer_code: str
    points: int
    member_count: int


class Warned(NamedTuple):
    """A member and a last usable day, by which warnings are in order."""

    member_id: int
    expiry_date: date


class ExpiryWarning(NamedTuple):
    """A member's open points with one last usable day, whoever issued them."""

    member_id: int
    expiry_date: date
    points: int


class ExpiryPage(NamedTuple):
    """What is about to expire at a moment of the ledger clock, and a page of warnings."""

    ledger_time: datetime
    today: date
    expiries: list[Expiry]
    warnings: list[ExpiryWarning]


def read_expiry_page(
    connection: Connection, days: int, days_ahead: Collection[int], after: Warned | None, limit: int
) -> ExpiryPage:
    """What expires within `days`, on the first page only, and members to warn so many days ahead."""
    ledger = read_clock(connection)
    today = ledger.terms().day_of(ledger.ledger_time)
    expiries = _read_expiries(connection, today, days) if after is None else []
    warn_on = [today + timedelta(days=ahead) for ahead in days_ahead]
    warnings = _list_warnings(connection, warn_on, after, limit)
    return ExpiryPage(ledger.ledger_time, today, expiries, warnings)


def _read_expiries(connection: Connection, today: date, days: int) -> list[Expiry]:
    """Points whose last usable day is before `today + days`, by day and issuer.

    Those from before today are past it already and only wait for a sweep to post their expiry.
    """
    columns = LOTS.c
    rows = connection.execute(
        select(
            columns.expiry_date,
            PARTNERS.c.code,
            func.sum(columns.open_points),
            func.count(distinct(columns.member_id)),
        )
        .join(PARTNERS, PARTNERS.c.partner_id == columns.issuer_id)
        .where(~columns.spent, columns.expiry_date < today + timedelta(days=days))
        .group_by(columns.expiry_date, PARTNERS.c.code)
        .order_by(columns.expiry_date, PARTNERS.c.code)
    )
    return [Expiry(day, code, int(points), members) for day, code, points, members in rows]


def _list_warnings(
    connection: Connection, days: Collection[date], after: Warned | None, limit: int
) -> list[ExpiryWarning]:
    """Members with points whose last usable day is one of `days`, from after a place on.

    It walks the index of open lots by member and day, so that all pages together pass over it once.
    """
    columns = LOTS.c
    place = (columns.member_id, columns.expiry_date)
    wanted = select(*place, func.sum(columns.open_points)).where(
        ~columns.spent, columns.expiry_date.in_(days)
    )
    if after is not None:
        wanted = wanted.where(tuple_(*place) > tuple_(*after))
    rows = connection.execute(wanted.group_by(*place).order_by(*place).limit(limit))
    return [ExpiryWarning(member_id, day, int(points)) for member_id, day, points in rows]
