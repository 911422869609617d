"""The hub's registered keys with their holders: who a person is, and what they may do, now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from settlement.store import views


@dataclass(frozen=True, slots=True)
class RegisteredKey:
    """A key as the hub has it. `holder` is a person's name; empty for a partner's programs."""

    key_id: str
    owner: str
    holder: str
    public_key: bytes
    roles: frozenset[str]
    state: str
    valid_from: datetime
    valid_until: datetime


def read_audience(connection: Connection) -> str:
    """The name of the ledger that the keys are registered at."""
    return str(connection.execute(select(views.ledger_v1.c.audience)).scalar_one())


def read_staff(connection: Connection) -> list[RegisteredKey]:
    """The keys of the operator's people, in whatever state, by holder."""
    columns = views.keys_v1.c
    staff = select(views.keys_v1).where(columns.holder.is_not(None), columns.holder != "")
    rows = connection.execute(staff.order_by(columns.holder, columns.valid_from, columns.key_id))
    return [_key(row) for row in rows]


def read_key(connection: Connection, key_id: str) -> RegisteredKey | None:
    """A registered key in whatever state; None where the hub knows none of this id."""
    known = select(views.keys_v1).where(views.keys_v1.c.key_id == key_id)
    row = connection.execute(known).one_or_none()
    return _key(row) if row else None


def _key(row: Row[Any]) -> RegisteredKey:
    return RegisteredKey(
        key_id=row.key_id,
        owner=row.owner,
        holder=row.holder or "",
        public_key=bytes(row.public_key),
        roles=frozenset(row.roles),
        state=row.state,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
    )
