"""The audit log: append-only by grant, each row hashed together with the one before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row, Select, func, insert, select, text

from settlement.core.deed import FIRST_AUDIT_HASH, AuditRow, Deed, audit_hash, row_fault
from settlement.store.people_tables import audit_log

_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtext('tongdui settlement audit'))")
_BLOCK: Final = 1_000
"""Rows in memory at a time while the chain is hashed again."""


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """The first row of the log that does not hold, and why."""

    audit_id: int
    fault: str


@dataclass(frozen=True, slots=True)
class Chain:
    """What a check of the log found: how many rows hold, the hash of the last of them, and the first that does not."""

    row_count: int
    head: bytes
    broken: BrokenRow | None


def record(connection: Connection, done: Deed) -> None:
    """Adds a deed to the log, in the caller's transaction.

    Others who record wait until that transaction ends, so do it last. Nothing else may be read as `READ COMMITTED`
    forbids it: under a snapshot the chain's end may be stale, and the database then refuses the row.
    """
    connection.execute(_LOCK)
    columns = audit_log.c
    newest = select(columns.hash).order_by(columns.audit_id.desc()).limit(1)
    previous_hash = bytes(connection.execute(newest).scalar_one_or_none() or FIRST_AUDIT_HASH)
    act_time: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    connection.execute(
        insert(audit_log).values(
            act_time=act_time,
            person=done.person.name,
            key_id=done.person.key_id,
            role=done.role.value,
            act=done.act.label,
            item_kind=done.item_kind,
            item_id=done.item_id,
            reason=done.reason,
            before=done.before,
            after=done.after,
            act_text=done.text,
            signature=done.signature,
            previous_hash=previous_hash,
            hash=audit_hash(previous_hash, act_time, done.text, done.signature),
        )
    )


def read_audit(
    connection: Connection,
    *,
    item_kind: str | None = None,
    item_id: str | None = None,
    person: str | None = None,
    day: date | None = None,
    time_zone: str = "UTC",
    limit: int = 1_000,
) -> list[AuditRow]:
    """The newest `limit` rows that fit, oldest first. `day` is a calendar day in `time_zone`."""
    columns = audit_log.c
    statement = select(audit_log).order_by(columns.audit_id.desc()).limit(limit)
    for column, wanted in (
        (columns.item_kind, item_kind),
        (columns.item_id, item_id),
        (columns.person, person),
    ):
        if wanted is not None:
            statement = statement.where(column == wanted)
    if day is not None:
        zone = ZoneInfo(time_zone)
        begin = datetime.combine(day, time(), zone)
        end = datetime.combine(day + timedelta(days=1), time(), zone)
        statement = statement.where(columns.act_time >= begin, columns.act_time < end)
    return [_row(row) for row in reversed(connection.execute(statement).all())]


def check_chain(connection: Connection, signature_fault: Callable[[AuditRow], str] = lambda _: "") -> Chain:
    """Hashes the whole log again and stops at the first row that does not hold.

    `signature_fault` says what is wrong with a row's signature, or nothing.
    """
    head, count = FIRST_AUDIT_HASH, 0
    for row in _all_rows(connection):
        fault = row_fault(row, head) or signature_fault(row)
        if fault:
            return Chain(count, head, BrokenRow(row.audit_id, fault))
        head, count = row.hash, count + 1
    return Chain(count, head, None)


def first_broken(
    connection: Connection, signature_fault: Callable[[AuditRow], str] = lambda _: ""
) -> BrokenRow | None:
    """The first row of the log that does not hold; None where all do."""
    return check_chain(connection, signature_fault).broken


def _all_rows(connection: Connection) -> Iterator[AuditRow]:
    last = 0
    while rows := connection.execute(_after(last)).all():
        yield from map(_row, rows)
        last = rows[-1].audit_id


def _after(audit_id: int) -> Select[Any]:
    columns = audit_log.c
    return select(audit_log).where(columns.audit_id > audit_id).order_by(columns.audit_id).limit(_BLOCK)


def _row(row: Row[Any]) -> AuditRow:
    return AuditRow(
        audit_id=row.audit_id,
        act_time=row.act_time,
        person=row.person,
        key_id=row.key_id,
        role=row.role,
        act=row.act,
        item_kind=row.item_kind,
        item_id=row.item_id,
        reason=row.reason,
        before=row.before,
        after=row.after,
        text=bytes(row.act_text),
        signature=bytes(row.signature),
        previous_hash=bytes(row.previous_hash),
        hash=bytes(row.hash),
    )
