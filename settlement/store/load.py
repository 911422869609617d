"""Loads what settlement has kept, for the next step and for proving it again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, Table, and_, func, select

from settlement.core.contracts import Contract, in_force
from settlement.core.netting import Flow
from settlement.core.parties import party_order
from settlement.core.points import EntrySum, IssuerPoints, LegSum
from settlement.core.rounding import StatementLine
from settlement.core.run_state import StepOutOfOrder, WindowState
from settlement.core.window import ClosedWindow, Computed, HubReceipt, WindowSums
from settlement.store import tables


@dataclass(frozen=True, slots=True)
class StoredWindow:
    """A window settlement holds, how far it has come, and the number of its present run, from 1."""

    window: ClosedWindow
    state: WindowState
    run_number: int = 1


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """A signed certificate, byte for byte, with its SHA-256 (hex) and the id of the key that signed it."""

    document: bytes
    document_sha256: str
    key_id: str


@dataclass(frozen=True, slots=True)
class Approval:
    """A certificate approved by a second person, and with which key."""

    window_date: date
    run_number: int
    certified_by: str
    approved_by: str
    key_id: str
    certificate_sha256: str


def load_window(connection: Connection, window_date: date) -> StoredWindow | None:
    """The window of a day; None where settlement does not hold it."""
    return _one_window(connection, _windows().where(tables.windows.c.window_date == window_date))


def load_window_at_least(
    connection: Connection, window_date: date, least: WindowState, step: str
) -> StoredWindow:
    """The window of a day that has come that far. Raises StepOutOfOrder, which names the `step` that is missing."""
    stored = load_window(connection, window_date)
    if stored is None or not stored.state.reached(least):
        state = stored.state.value if stored else "not closed"
        raise StepOutOfOrder(f"{window_date}: the window is {state}; run `{step} --date {window_date}` first")
    return stored


def load_window_before(connection: Connection, window_date: date) -> StoredWindow | None:
    """The last window before a day; None where the day is the first."""
    column = tables.windows.c.window_date
    return _one_window(connection, _windows().where(column < window_date).order_by(column.desc()).limit(1))


def load_last_window(connection: Connection) -> StoredWindow | None:
    """The newest window settlement holds."""
    return _one_window(connection, _windows().order_by(tables.windows.c.window_date.desc()).limit(1))


def load_last_certified_date(connection: Connection) -> date | None:
    """The newest certified day."""
    return _newest(connection, WindowState.CERTIFIED)


def load_last_computed_date(connection: Connection) -> date | None:
    """The newest computed day: contracts of later days may still change."""
    return _newest(connection, WindowState.COMPUTED)


def _newest(connection: Connection, state: WindowState) -> date | None:
    columns = tables.windows.c
    statement = select(func.max(columns.window_date)).where(columns.state.in_(state.and_later))
    newest: date | None = connection.execute(statement).scalar_one()
    return newest


def count_certified_before(connection: Connection, window_date: date) -> int:
    """How many windows before a day are certified."""
    columns = tables.windows.c
    statement = select(func.count()).where(
        columns.window_date < window_date, columns.state.in_(WindowState.CERTIFIED.and_later)
    )
    return connection.execute(statement).scalar_one()


def load_receipt(connection: Connection, window_date: date) -> HubReceipt:
    """The hub's signed receipt of a window's closing."""
    columns = tables.hub_receipts.c
    row = connection.execute(select(tables.hub_receipts).where(columns.window_date == window_date)).one()
    return HubReceipt(
        path=row.path,
        request=row.request,
        request_metadata=_entries(row.request_metadata),
        response=row.response,
        receipt_metadata=_entries(row.receipt_metadata),
    )


def load_sums(connection: Connection, window_date: date) -> WindowSums:
    """The sums of a window as they were read from the hub, in the same order."""
    return WindowSums(
        flows=tuple(Flow(*row) for row in _rows(connection, tables.flows, window_date)),
        legs=tuple(LegSum(*row) for row in _rows(connection, tables.leg_sums, window_date)),
        entries=tuple(EntrySum(*row) for row in _rows(connection, tables.entry_sums, window_date)),
    )


def load_computed(connection: Connection, window_date: date) -> Computed:
    """What stands after a window, in the order it was computed."""
    lines = [StatementLine(*row) for row in _rows(connection, tables.statement_lines, window_date)]
    return Computed(
        lines=tuple(sorted(lines, key=lambda line: (party_order(line.party_id), line.component))),
        issuers=tuple(IssuerPoints(*row) for row in _rows(connection, tables.issuer_points, window_date)),
    )


def load_certificate(connection: Connection, window_date: date) -> StoredCertificate | None:
    """The certificate of a day; None where there is none."""
    columns = tables.certificates.c
    row = connection.execute(
        select(columns.document, columns.document_sha256, columns.key_id).where(
            of_present_run(tables.certificates, window_date)
        )
    ).one_or_none()
    return StoredCertificate(*row) if row else None


def load_contracts(connection: Connection, window_date: date) -> tuple[Contract, ...]:
    """The contracts in force on a day."""
    return in_force(load_all_contracts(connection), window_date)


def load_all_contracts(connection: Connection) -> tuple[Contract, ...]:
    """Every contract there ever was, also those that ended, in the order in which they were set."""
    columns = tables.contracts.c
    rows = connection.execute(
        select(
            columns.partner_id,
            func.coalesce(columns.counterparty_id, ""),
            columns.kind,
            columns.valid_from,
            columns.valid_until,
        ).order_by(columns.contract_id)
    )
    return tuple(Contract(*row) for row in rows)


def load_approval(connection: Connection, window_date: date) -> Approval | None:
    """Who approved the present run of a window; None where nobody did."""
    columns = tables.approvals.c
    row = connection.execute(
        select(
            columns.window_date,
            columns.run_number,
            columns.certified_by,
            columns.approved_by,
            columns.key_id,
            columns.certificate_sha256,
        ).where(of_present_run(tables.approvals, window_date))
    ).one_or_none()
    return Approval(*row) if row else None


def load_certified_by(connection: Connection, window_date: date) -> str:
    """Who certified the present run of a window; empty where it is not certified."""
    columns = tables.runs.c
    statement = select(columns.certified_by).where(of_present_run(tables.runs, window_date))
    return connection.execute(statement).scalar_one_or_none() or ""


def stored_window(row: Row[Any]) -> StoredWindow:
    """A row of `windows` as a value."""
    return StoredWindow(
        window=ClosedWindow(
            window_date=row.window_date,
            first_sequence=row.first_sequence,
            last_sequence=row.last_sequence,
            last_hash=row.last_hash,
            entry_count=row.entry_count,
            close_time=row.close_time,
        ),
        state=WindowState(row.state),
        run_number=row.run_number,
    )


def of_present_run(table: Table, window_date: date) -> ColumnElement[bool]:
    """The rows of a table kept by run (`tables.run_columns`) that count for a day: those of its present run."""
    windows = tables.windows.c
    present = select(windows.run_number).where(windows.window_date == window_date).scalar_subquery()
    return and_(table.c.window_date == window_date, table.c.run_number == present)


def columns_of_a_run(table: Table) -> list[Column[Any]]:
    """The columns of a table kept by run, without day and run number."""
    return [column for column in table.c if column.name not in ("window_date", "run_number")]


def _windows() -> Select[Any]:
    return select(tables.windows)


def _one_window(connection: Connection, statement: Select[Any]) -> StoredWindow | None:
    row = connection.execute(statement).one_or_none()
    return stored_window(row) if row else None


def _rows(connection: Connection, table: Table, window_date: date) -> list[tuple[Any, ...]]:
    """The rows of a day's present run without day and run, in the order of their keys."""
    rows = connection.execute(select(*columns_of_a_run(table)).where(of_present_run(table, window_date)))
    return sorted(tuple(row) for row in rows)


def _entries(stored: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in stored)
