"""Saves what a step decided. Each step is one transaction of its caller; nothing here commits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from datetime import date
from typing import Any

from sqlalchemy import Connection, Table, insert, update

from settlement.core.run_state import WindowState
from settlement.core.window import ClosedWindow, Computed, HubReceipt, WindowSums
from settlement.store import tables


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


def save_computed(connection: Connection, window_date: date, sums: WindowSums, computed: Computed) -> None:
    """Keeps a window's sums and what follows from them; the window is COMPUTED."""
    _insert(connection, tables.flows, window_date, sums.flows)
    _insert(connection, tables.leg_sums, window_date, sums.legs)
    _insert(connection, tables.entry_sums, window_date, sums.entries)
    _insert(connection, tables.statement_lines, window_date, computed.lines)
    _insert(connection, tables.issuer_points, window_date, computed.issuers)
    _move_on(connection, window_date, WindowState.COMPUTED)


def save_certificate(connection: Connection, window_date: date, document: bytes, key_id: str) -> None:
    """Keeps a signed certificate; the window is CERTIFIED."""
    connection.execute(
        insert(tables.certificates).values(
            window_date=window_date,
            document=document,
            document_sha256=hashlib.sha256(document).hexdigest(),
            key_id=key_id,
        )
    )
    _move_on(connection, window_date, WindowState.CERTIFIED)


def _insert(connection: Connection, table: Table, window_date: date, records: Iterable[Any]) -> None:
    rows = [asdict(record) | {"window_date": window_date} for record in records]
    if rows:
        connection.execute(insert(table), rows)


def _move_on(connection: Connection, window_date: date, state: WindowState) -> None:
    connection.execute(
        update(tables.windows).where(tables.windows.c.window_date == window_date).values(state=state.value)
    )
