"""What settlement reads from the hub's views (`views.py`).

Sums are the only thing computed in SQL, and only over one window at a time: what stood before it is carried on
from settlement's own tables.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import Connection, cast, func, select

from settlement.core.netting import Flow
from settlement.core.points import EntrySum, LegSum
from settlement.core.window import ClosedWindow, Ledger, WindowSums
from settlement.store import views
from settlement.store.tables import Whole


class LedgerMissing(Exception):
    """The hub has not set up its ledger in this database."""


def read_ledger(connection: Connection) -> Ledger:
    """What every window of this ledger shares. Raises LedgerMissing."""
    columns = views.ledger_v1.c
    row = connection.execute(
        select(
            columns.audience,
            columns.currency_code,
            columns.minor_unit_digits,
            columns.time_zone,
            columns.cut_off_seconds,
        )
    ).one_or_none()
    if row is None:
        raise LedgerMissing("the hub has no ledger in this database yet; start the hub once")
    return Ledger(*row)


def read_window(connection: Connection, window_date: date) -> ClosedWindow | None:
    """The window as the hub shows it; None while it is open."""
    columns = views.windows_v1.c
    row = connection.execute(
        select(
            columns.window_date,
            columns.first_sequence,
            columns.last_sequence,
            columns.last_hash,
            columns.entry_count,
            columns.close_time,
        ).where(columns.window_date == window_date)
    ).one_or_none()
    return ClosedWindow(*row) if row else None


def read_first_window_date(connection: Connection) -> date | None:
    """The day the hub's first closed window is for; None while none is closed."""
    first: date | None = connection.execute(select(func.min(views.windows_v1.c.window_date))).scalar_one()
    return first


def read_first_posted_date(connection: Connection) -> date | None:
    """The day of the first entry in the journal; None while it is empty."""
    columns = views.posted_entries_v1.c
    statement = select(columns.window_date).order_by(columns.batch_sequence).limit(1)
    first: date | None = connection.execute(statement).scalar_one_or_none()
    return first


def count_windows_before(connection: Connection, window_date: date) -> int:
    """How many closed windows the hub shows before a day."""
    statement = select(func.count()).where(views.windows_v1.c.window_date < window_date)
    return connection.execute(statement).scalar_one()


def read_sums(connection: Connection, window_date: date) -> WindowSums:
    """Everything posted in a closed window as sums, each in the order of its keys."""
    return WindowSums(
        flows=_read_flows(connection, window_date),
        legs=_read_leg_sums(connection, window_date),
        entries=_read_entry_sums(connection, window_date),
    )


def _read_flows(connection: Connection, window_date: date) -> tuple[Flow, ...]:
    columns = views.posted_lines_v1.c
    keys = (columns.payer_id, columns.payer_component, columns.payee_id, columns.payee_component)
    rows = connection.execute(
        select(*keys, cast(func.sum(columns.micros), Whole), func.count())
        .where(columns.window_date == window_date)
        .group_by(*keys)
    )
    # Sorted here, not there: the order must not depend on the server's collation.
    return tuple(Flow(*row) for row in sorted(map(tuple, rows)))


def _read_leg_sums(connection: Connection, window_date: date) -> tuple[LegSum, ...]:
    columns = views.posted_legs_v1.c
    keys = (
        columns.issuer_id,
        columns.from_account,
        columns.to_account,
        columns.funding_micros,
        columns.prefunded_micros,
    )
    rows = connection.execute(
        select(*keys, cast(func.sum(columns.points), Whole), func.count())
        .where(columns.window_date == window_date)
        .group_by(*keys)
    )
    return tuple(LegSum(*row) for row in sorted(map(tuple, rows)))


def _read_entry_sums(connection: Connection, window_date: date) -> tuple[EntrySum, ...]:
    columns = views.posted_entries_v1.c
    rows = connection.execute(
        select(
            columns.kind,
            func.count(),
            cast(func.sum(columns.points), Whole),
            func.min(columns.batch_sequence),
            func.max(columns.batch_sequence),
        )
        .where(columns.window_date == window_date)
        .group_by(columns.kind)
    )
    return tuple(EntrySum(*row) for row in sorted(map(tuple, rows)))
