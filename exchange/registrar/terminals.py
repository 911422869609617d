"""Tills that wrong pay codes locked."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from exchange.registrar.writes import RegistrarRefusal
from exchange.store.tables import TERMINALS


def unlock_terminal(connection: Connection, partner_id: int, store_id: str, terminal_id: str) -> int:
    """Lets a till take pay codes again; gives the wrong tries it had. Raises TERMINAL_UNKNOWN."""
    columns = TERMINALS.c
    till = (
        columns.partner_id == partner_id,
        columns.store_id == store_id,
        columns.terminal_id == terminal_id,
    )
    tries = connection.execute(select(columns.wrong_tries).where(*till).with_for_update()).scalar()
    if tries is None:
        raise RegistrarRefusal("TERMINAL_UNKNOWN")
    connection.execute(update(TERMINALS).where(*till).values(wrong_tries=0, locked=False))
    return int(tries)
