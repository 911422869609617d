"""Partners' profiles: how their files are read and compared, version by version."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, text

from settlement.store.reconciliation_tables import profiles
from settlement.store.views import partners_v1

_EXPECTED: Final = text(
    """
SELECT partner_id FROM (
    SELECT DISTINCT ON (partner_id) partner_id, file_expected FROM settlement.profiles
    WHERE valid_from <= :day ORDER BY partner_id, version DESC
) AS newest
WHERE file_expected ORDER BY partner_id
"""
)


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A version of a partner's profile, as it is stored."""

    partner_id: str
    version: int
    mapping: Any
    rules: Any
    file_expected: bool
    valid_from: date
    set_by: str
    set_time: datetime


def load_profile(connection: Connection, partner_id: str, day: date) -> ProfileRow | None:
    """The newest version in force on a day."""
    columns = profiles.c
    row = connection.execute(
        select(profiles)
        .where(columns.partner_id == partner_id, columns.valid_from <= day)
        .order_by(columns.version.desc())
        .limit(1)
    ).one_or_none()
    return ProfileRow(*row) if row else None


def load_profiles(connection: Connection, partner_id: str) -> list[ProfileRow]:
    """All versions, the newest first."""
    statement = select(profiles).where(profiles.c.partner_id == partner_id)
    return [ProfileRow(*row) for row in connection.execute(statement.order_by(profiles.c.version.desc()))]


def load_expected_partners(connection: Connection, day: date) -> list[str]:
    """Partners whose profile in force on a day asks for a file, by id."""
    return list(connection.execute(_EXPECTED, {"day": day}).scalars())


def save_profile(
    connection: Connection,
    partner_id: str,
    mapping: object | None,
    rules: object,
    file_expected: bool,
    valid_from: date,
    set_by: str,
) -> int:
    """A new version; gives its number."""
    newest = connection.execute(
        select(func.coalesce(func.max(profiles.c.version), 0)).where(profiles.c.partner_id == partner_id)
    ).scalar_one()
    version = int(newest) + 1
    connection.execute(
        insert(profiles).values(
            partner_id=partner_id,
            version=version,
            mapping=mapping,
            rules=rules,
            file_expected=file_expected,
            valid_from=valid_from,
            set_by=set_by,
            set_time=func.now(),
        )
    )
    return version


def partner_known(connection: Connection, partner_id: str) -> bool:
    """Whether the hub has this partner."""
    found = select(partners_v1.c.partner_id).where(partners_v1.c.partner_id == partner_id)
    return connection.execute(found).first() is not None
