"""Windows: closed in order, each a range of the chain that no later batch can enter; settled in any order."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from sqlalchemy import Connection, func, insert, select, update

from exchange.core.business_day import window_end
from exchange.registrar.writes import RegistrarRefusal
from exchange.store.reads.ledger import read_clock
from exchange.store.reads.pages import Window, list_windows, to_window
from exchange.store.tables import BATCHES, CHAIN, WINDOWS

NO_HASH: Final = bytes(32)
"""What stands before the first batch."""

_DAY: Final = timedelta(days=1)


def close_window(connection: Connection, window_date: date) -> Window:
    """Fixes the watermark of a window; one that is closed already is given as it was closed.

    Holds the chain's lock, so that no batch commits between reading the watermark and moving new batches to the
    next day. Raises WINDOW_STILL_OPEN, WINDOW_OUT_OF_ORDER.
    """
    connection.execute(select(CHAIN.c.singleton).with_for_update()).one()
    closed = connection.execute(select(WINDOWS).where(WINDOWS.c.window_date == window_date)).first()
    if closed is not None:
        return to_window(closed)
    ledger = read_clock(connection)
    if ledger.ledger_time < window_end(window_date, ledger.terms()):
        raise RegistrarRefusal("WINDOW_STILL_OPEN", ledger_time=ledger.ledger_time.isoformat())
    latest = list_windows(connection, None, 1)
    expected = latest[0].window_date + _DAY if latest else ledger.first_window_date
    if window_date != expected:
        raise RegistrarRefusal("WINDOW_OUT_OF_ORDER", next_window_date=expected.isoformat())
    last_sequence, last_hash = (latest[0].last_sequence, latest[0].last_hash) if latest else (0, NO_HASH)
    columns = BATCHES.c
    newest = connection.execute(
        select(columns.sequence, columns.hash)
        .where(columns.window_date == window_date)
        .order_by(columns.sequence.desc())
        .limit(1)
    ).first()
    entry_count = connection.execute(
        select(func.coalesce(func.sum(columns.entry_count), 0)).where(columns.window_date == window_date)
    ).scalar_one()
    closing = insert(WINDOWS).values(
        window_date=window_date,
        first_sequence=last_sequence + 1,
        last_sequence=newest.sequence if newest else last_sequence,
        last_hash=bytes(newest.hash) if newest else last_hash,
        entry_count=entry_count,
        close_time=ledger.ledger_time,
    )
    connection.execute(
        update(CHAIN).values(window_date=func.greatest(CHAIN.c.window_date, window_date + _DAY))
    )
    return to_window(connection.execute(closing.returning(*WINDOWS.c)).one())


def settle_window(connection: Connection, window_date: date, certificate_sha256: bytes) -> Window:
    """Records that all payments of a window are final, by which certificate, and when on the ledger clock.

    A settled one is given as it was settled first. Raises WINDOW_NOT_CLOSED.
    """
    one = WINDOWS.c.window_date == window_date
    closed = connection.execute(select(WINDOWS).where(one).with_for_update()).first()
    if closed is None:
        raise RegistrarRefusal("WINDOW_NOT_CLOSED")
    if closed.settled_time is not None:
        return to_window(closed)
    settled = (
        update(WINDOWS)
        .where(one)
        .values(settled_time=read_clock(connection).ledger_time, certificate_sha256=certificate_sha256)
    )
    return to_window(connection.execute(settled.returning(*WINDOWS.c)).one())
