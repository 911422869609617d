"""Who adds to what a certificate says of a window, and the one who certifies it, come one after the other.

A row of `windows` is locked so that no step moves a window on meanwhile. A day that settlement holds no row of has
nothing to lock and could be closed, netted and certified before the other commits; so every day has an advisory
lock too, by its number, and 0 is any day.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from sqlalchemy import Connection, select, text

from settlement.store.tables import windows

_ANY_DAY: Final = 0
_CLASS: Final = "hashtext('tongdui settlement window')"
_HOLD: Final = text(f"SELECT pg_advisory_xact_lock_shared({_CLASS}, :day)")
_LOCK: Final = text(f"SELECT pg_advisory_xact_lock({_CLASS}, :day)")


def hold_window(connection: Connection, window_date: date) -> None:
    """Makes a step on this window wait until the transaction ends, and waits for one that is under way.

    Whoever adds to what a certificate says of a window holds it first and looks at its state afterwards.
    """
    connection.execute(_HOLD, {"day": window_date.toordinal()})
    column = windows.c.window_date
    connection.execute(select(column).where(column == window_date).with_for_update(read=True))


def hold_windows_from(connection: Connection, first: date) -> None:
    """The same for every window from a day on."""
    connection.execute(_HOLD, {"day": _ANY_DAY})
    column = windows.c.window_date
    connection.execute(select(column).where(column >= first).order_by(column).with_for_update(read=True))


def lock_window(connection: Connection, window_date: date) -> None:
    """Waits for everybody who holds this window, and makes them wait until the transaction ends."""
    for day in (_ANY_DAY, window_date.toordinal()):
        connection.execute(_LOCK, {"day": day})
    column = windows.c.window_date
    connection.execute(select(column).where(column == window_date).with_for_update())
