"""Saves what a step decided. Each step is one transaction of its caller; nothing here commits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

from sqlalchemy import Connection, Table, func, insert, update

from settlement.core.contracts import Contract
from settlement.core.run_state import RunState, WindowState
from settlement.core.window import ClosedWindow, Computed, HubReceipt, WindowSums
from settlement.store import tables
from settlement.store.load import Approval


def save_closed(connection: Connection, window: ClosedWindow, receipt: HubReceipt) -> None:
    """Keeps a window's watermark and the hub's signed receipt for it; the window is CLOSED."""
    connection.execute(insert(tables.windows).values(asdict(window) | {"state": WindowState.CLOSED.value}))
    connection.execute(
        insert(tables.hub_receipts).values(
            window_date=window.window_date,
            path=receipt.path,
            request=receipt.request,
            request_metadata=[list(entry) for entry in receipt.request_metadata],
            response=receipt.response,
            receipt_metadata=[list(entry) for entry in receipt.receipt_metadata],
        )
    )


def save_computed(
    connection: Connection, window_date: date, run_number: int, sums: WindowSums, computed: Computed
) -> None:
    """Begins a run with a window's sums and what follows from them; the window is COMPUTED."""
    run = {"window_date": window_date, "run_number": run_number}
    connection.execute(insert(tables.runs).values(run | {"state": RunState.RUNNING.value}))
    _insert(connection, tables.flows, run, sums.flows)
    _insert(connection, tables.leg_sums, run, sums.legs)
    _insert(connection, tables.entry_sums, run, sums.entries)
    _insert(connection, tables.statement_lines, run, computed.lines)
    _insert(connection, tables.issuer_points, run, computed.issuers)
    move_on(connection, window_date, WindowState.COMPUTED)


def save_certificate(
    connection: Connection, window_date: date, run_number: int, document: bytes, key_id: str, person: str
) -> None:
    """Keeps a signed certificate and who had it signed; the run and the window are CERTIFIED."""
    connection.execute(
        insert(tables.certificates).values(
            window_date=window_date,
            run_number=run_number,
            document=document,
            document_sha256=hashlib.sha256(document).hexdigest(),
            key_id=key_id,
        )
    )
    _end_run(connection, window_date, run_number, state=RunState.CERTIFIED.value, certified_by=person)
    move_on(connection, window_date, WindowState.CERTIFIED)


def save_aborted(
    connection: Connection, window_date: date, run_number: int, person: str, reason: str
) -> None:
    """Ends a run for good; the window is CLOSED and its next run has the next number."""
    _end_run(
        connection,
        window_date,
        run_number,
        state=RunState.ABORTED.value,
        aborted_by=person,
        reason=reason,
    )
    connection.execute(
        update(tables.windows)
        .where(tables.windows.c.window_date == window_date)
        .values(state=WindowState.CLOSED.value, run_number=run_number + 1)
    )


def save_approval(connection: Connection, approval: Approval) -> None:
    """Keeps an approval; the window is APPROVED. The database refuses one person for both halves."""
    connection.execute(insert(tables.approvals).values(asdict(approval)))
    move_on(connection, approval.window_date, WindowState.APPROVED)


def save_contract(connection: Connection, contract: Contract, person: str) -> None:
    """Keeps a new contract."""
    row = asdict(contract) | {"counterparty_id": contract.counterparty_id or None, "set_by": person}
    connection.execute(insert(tables.contracts).values(row))


def end_contract(connection: Connection, contract: Contract, last_day: date) -> None:
    """Gives an open-ended contract its last day; the day before its first where it is never to hold."""
    columns = tables.contracts.c
    connection.execute(
        update(tables.contracts)
        .where(
            columns.partner_id == contract.partner_id,
            columns.counterparty_id.is_not_distinct_from(contract.counterparty_id or None),
            columns.valid_from == contract.valid_from,
            columns.valid_until.is_(None),
        )
        .values(valid_until=last_day)
    )


def move_on(connection: Connection, window_date: date, state: WindowState) -> None:
    """Gives a window its next state."""
    connection.execute(
        update(tables.windows).where(tables.windows.c.window_date == window_date).values(state=state.value)
    )


def _end_run(connection: Connection, window_date: date, run_number: int, **values: str) -> None:
    columns = tables.runs.c
    connection.execute(
        update(tables.runs)
        .where(columns.window_date == window_date, columns.run_number == run_number)
        .values(**values, end_time=func.clock_timestamp())
    )


def _insert(connection: Connection, table: Table, run: Mapping[str, Any], records: Iterable[Any]) -> None:
    rows = [asdict(record) | dict(run) for record in records]
    if rows:
        connection.execute(insert(table), rows)
