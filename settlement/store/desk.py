"""The desk's rows: breaks and what people did about them. Nothing here commits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert

from settlement.core.break_state import BreakState
from settlement.store.desk_tables import break_events, break_evidence, disputes, resolutions
from settlement.store.reconciliation_tables import breaks
from settlement.store.tables import windows
from settlement.store.views import ledger_v1, partners_v1


@dataclass(frozen=True, slots=True)
class Break:
    """A difference between a partner's record and the hub's, and how far its resolution has come."""

    break_id: int
    partner_id: str
    business_key: str
    window_date: date
    type: str
    severity: str
    state: BreakState
    resolution: str | None
    owner: str | None
    detail: str
    opened_date: date
    opened_time: datetime
    due_time: datetime
    file_id: int | None
    line_number: int | None
    entry_id: str | None
    request_id: str
    hub: Mapping[str, Any] | None
    partner: Mapping[str, Any] | None
    points_at_stake: int
    amount_at_stake_micros: int
    earned_points_difference: int
    burned_points_difference: int
    claimed_difference_micros: int
    owed_difference_micros: int
    seen_count: int
    last_seen_date: date
    resolved_time: datetime | None
    resolved_date: date | None
    cleared_by_file: int | None


@dataclass(frozen=True, slots=True)
class BreakEvent:
    """One thing that happened to a break."""

    event_time: datetime
    person: str
    key_id: str
    act: str
    state_from: str
    state_to: str
    text: str
    evidence: Any


@dataclass(frozen=True, slots=True)
class ProposedResolution:
    """One proposal to resolve a break, and what became of it."""

    break_id: int
    number: int
    kind: str
    state: str
    reason: str
    posting: Mapping[str, Any] | None
    adjustment_id: int | None
    entry_id: str | None
    proposed_by: str
    propose_time: datetime
    decided_by: str | None
    decide_time: datetime | None


@dataclass(frozen=True, slots=True)
class Dispute:
    """A claim of one partner against another about a break."""

    dispute_id: int
    break_id: int
    opened_by: str
    against: str
    claim: str
    opened_person: str
    open_time: datetime
    deadline: datetime
    state: str
    answer: str | None
    answered_person: str | None
    answer_time: datetime | None
    in_favour_of: str | None
    decision: str | None
    decided_by: str | None
    decide_time: datetime | None


@dataclass(frozen=True, slots=True)
class BreakFilter:
    """Which breaks to list; None where it does not matter. `overdue_at`: unresolved and due before then."""

    partner_id: str | None = None
    window_date: date | None = None
    state: BreakState | None = None
    type: str | None = None
    overdue_at: datetime | None = None
    unresolved: bool = False
    first_opened: date | None = None
    last_opened: date | None = None


def ledger_moment(connection: Connection, system_time: datetime) -> datetime:
    """Now, for ageing and due times: the system's time, or where the ledger's clock is moved by hand, the time at
    which the newest window that settlement holds was closed.
    """
    if connection.execute(select(ledger_v1.c.clock)).scalar_one_or_none() != "manual":
        return system_time
    newest: datetime | None = connection.execute(select(func.max(windows.c.close_time))).scalar_one()
    return newest or system_time


def list_breaks(connection: Connection, wanted: BreakFilter, limit: int, after: int = 0) -> list[Break]:
    """The first `limit` breaks that fit, by number, from the one after `after`."""
    statement = _chosen(select(breaks), wanted).where(breaks.c.break_id > after)
    rows = connection.execute(statement.order_by(breaks.c.break_id).limit(limit))
    return [_break(row) for row in rows]


def count_breaks(connection: Connection, wanted: BreakFilter) -> int:
    """How many breaks fit."""
    counted = _chosen(select(func.count()).select_from(breaks), wanted)
    return int(connection.execute(counted).scalar_one())


def _chosen(statement: Select[Any], wanted: BreakFilter) -> Select[Any]:
    columns = breaks.c
    for column, value in (
        (columns.partner_id, wanted.partner_id),
        (columns.window_date, wanted.window_date),
        (columns.state, wanted.state.value if wanted.state else None),
        (columns.type, wanted.type),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if wanted.unresolved or wanted.overdue_at is not None:
        statement = statement.where(columns.state != BreakState.RESOLVED.value)
    if wanted.overdue_at is not None:
        statement = statement.where(columns.due_time < wanted.overdue_at)
    if wanted.first_opened is not None:
        statement = statement.where(columns.opened_date >= wanted.first_opened)
    if wanted.last_opened is not None:
        statement = statement.where(columns.opened_date <= wanted.last_opened)
    return statement


def load_break(connection: Connection, break_id: int, *, lock: bool = False) -> Break | None:
    """A break; None where there is none. `lock`: whoever else wants to change it waits."""
    statement = select(breaks).where(breaks.c.break_id == break_id)
    row = connection.execute(statement.with_for_update() if lock else statement).one_or_none()
    return _break(row) if row else None


def save_state(connection: Connection, break_id: int, values: Mapping[str, Any]) -> None:
    """Moves a break on: state, owner, resolution and when."""
    connection.execute(update(breaks).where(breaks.c.break_id == break_id).values(**values))


def save_event(connection: Connection, break_id: int, event: BreakEvent) -> None:
    """Adds to a break's history."""
    values = {name: getattr(event, name) for name in BreakEvent.__slots__}
    connection.execute(insert(break_events).values(break_id=break_id, **values))


def load_events(connection: Connection, break_id: int) -> list[BreakEvent]:
    """A break's history, oldest first."""
    columns = [break_events.c[name] for name in BreakEvent.__slots__]
    statement = select(*columns).where(break_events.c.break_id == break_id)
    return [BreakEvent(*row) for row in connection.execute(statement.order_by(break_events.c.event_id))]


def save_evidence(
    connection: Connection, break_id: int, evidence: Mapping[str, Any], added_by: str, moment: datetime
) -> None:
    """Keeps a file; the same one again is kept once. `evidence` has sha256, file_name and content."""
    values = {**evidence, "break_id": break_id, "added_by": added_by, "add_time": moment}
    connection.execute(pg_insert(break_evidence).values(**values).on_conflict_do_nothing())


def load_evidence(connection: Connection, break_id: int, sha256: str) -> tuple[str, bytes] | None:
    """A kept file's name and bytes."""
    columns = break_evidence.c
    row = connection.execute(
        select(columns.file_name, columns.content).where(
            columns.break_id == break_id, columns.sha256 == sha256
        )
    ).one_or_none()
    return (row.file_name, bytes(row.content)) if row else None


def load_resolutions(connection: Connection, break_id: int) -> list[ProposedResolution]:
    """All proposals for a break, oldest first."""
    columns = [resolutions.c[name] for name in ProposedResolution.__slots__]
    statement = select(*columns).where(resolutions.c.break_id == break_id).order_by(resolutions.c.number)
    return [ProposedResolution(*row) for row in connection.execute(statement)]


def save_resolution(connection: Connection, proposed: ProposedResolution) -> None:
    """Keeps a proposal."""
    values = {name: getattr(proposed, name) for name in ProposedResolution.__slots__}
    connection.execute(insert(resolutions).values(**values))


def decide_resolution(connection: Connection, break_id: int, number: int, values: Mapping[str, Any]) -> None:
    """Says what became of a proposal."""
    columns = resolutions.c
    chosen = update(resolutions).where(columns.break_id == break_id, columns.number == number)
    connection.execute(chosen.values(**values))


def load_disputes(connection: Connection, break_id: int) -> list[Dispute]:
    """All disputes about a break, oldest first."""
    statement = select(disputes).where(disputes.c.break_id == break_id).order_by(disputes.c.dispute_id)
    return [Dispute(*row) for row in connection.execute(statement)]


def load_dispute(connection: Connection, dispute_id: int, *, lock: bool = True) -> Dispute | None:
    """A dispute; locked, whoever else wants to change it waits."""
    statement = select(disputes).where(disputes.c.dispute_id == dispute_id)
    row = connection.execute(statement.with_for_update() if lock else statement).one_or_none()
    return Dispute(*row) if row else None


def list_disputes(connection: Connection, state: str | None = None) -> list[Dispute]:
    """Disputes in a state, or those that are not decided, oldest first."""
    fits = disputes.c.state == state if state else disputes.c.state != "DECIDED"
    statement = select(disputes).where(fits).order_by(disputes.c.dispute_id)
    return [Dispute(*row) for row in connection.execute(statement)]


def save_dispute(connection: Connection, values: Mapping[str, Any]) -> int:
    """Opens a dispute; gives its number."""
    made = insert(disputes).values(**values).returning(disputes.c.dispute_id)
    return int(connection.execute(made).scalar_one())


def move_dispute(connection: Connection, dispute_id: int, values: Mapping[str, Any]) -> None:
    """Answers, decides or expires a dispute."""
    connection.execute(update(disputes).where(disputes.c.dispute_id == dispute_id).values(**values))


def has_partner(connection: Connection, partner_id: str) -> bool:
    """Whether the coalition has this partner."""
    found = select(partners_v1.c.partner_id).where(partners_v1.c.partner_id == partner_id)
    return connection.execute(found).first() is not None


def _break(row: Any) -> Break:
    fields = {name: getattr(row, name) for name in Break.__slots__}
    return Break(**(fields | {"state": BreakState(row.state)}))
