"""The ledger clock: moved by hand only where it is manual, and only forward."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select, update

from exchange.registrar.writes import RegistrarRefusal
from exchange.store.tables import LEDGER


def move_clock(connection: Connection, ledger_time: datetime) -> None:
    """Moves a manual clock forward, or leaves it where it is to stand. Raises CLOCK_NOT_MANUAL, CLOCK_BACKWARDS."""
    columns = LEDGER.c
    moved = connection.execute(
        update(LEDGER)
        .where(columns.clock == "manual", columns.manual_time <= ledger_time)
        .values(manual_time=ledger_time)
    )
    if moved.rowcount:
        return
    clock, now = connection.execute(select(columns.clock, columns.manual_time)).one()
    if clock != "manual":
        raise RegistrarRefusal("CLOCK_NOT_MANUAL")
    raise RegistrarRefusal("CLOCK_BACKWARDS", ledger_time=now.isoformat())
