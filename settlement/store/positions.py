"""What finance looks at across windows: roll-forwards, positions that are not settled, deficits by age."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import ColumnElement, Connection, Table, and_, cast, func, literal, select, union_all

from settlement.core.exposure import PostedPosition, WindowPosition
from settlement.core.parties import OPERATOR
from settlement.core.payments import FINAL, Direction
from settlement.core.points import LegSum
from settlement.core.roll_forward import RollForward, roll_forwards
from settlement.core.run_state import WindowState
from settlement.core.window import NOTHING_YET
from settlement.store import load, tables, views
from settlement.store.payment_tables import payments
from settlement.store.tables import Whole


class WindowsMissing(Exception):
    """Not every window that was asked for is computed; `str()` says which is not."""


def load_roll_forwards(connection: Connection, first: date, last: date) -> tuple[RollForward, ...]:
    """Every issuer's roll-forward over the windows of two days and all between. Raises WindowsMissing."""
    for window_date in (first, last):
        stored = load.load_window(connection, window_date)
        if stored is None or not stored.state.reached(WindowState.COMPUTED):
            raise WindowsMissing(f"{window_date}: not computed; run `run --date {window_date}` first")
    before = load.load_window_before(connection, first)
    opening = load.load_computed(connection, before.window.window_date) if before else NOTHING_YET
    closing = load.load_computed(connection, last)
    return roll_forwards(opening.issuers, _leg_sums(connection, first, last), closing.issuers)


def _leg_sums(connection: Connection, first: date, last: date) -> list[LegSum]:
    columns = tables.leg_sums.c
    keys = (
        columns.issuer_id,
        columns.from_account,
        columns.to_account,
        columns.funding_micros,
        columns.prefunded_micros,
    )
    rows = connection.execute(
        select(*keys, cast(func.sum(columns.points), Whole), cast(func.sum(columns.leg_count), Whole))
        .join(tables.windows, _present_run(tables.leg_sums))
        .where(columns.window_date.between(first, last))
        .group_by(*keys)
    )
    return [LegSum(*row) for row in rows]


def _present_run(table: Table) -> ColumnElement[bool]:
    windows = tables.windows.c
    return and_(table.c.window_date == windows.window_date, table.c.run_number == windows.run_number)


def load_unsettled(connection: Connection) -> list[WindowPosition]:
    """Every party's position in every computed window that is not settled.

    Gross by statement lines until a window's payments are listed; from then on by the payments that are not final,
    less what has arrived of them.
    """
    lines, windows = tables.statement_lines.c, tables.windows.c
    waiting = set(WindowState.COMPUTED.and_later) - set(WindowState.EXPORTED.and_later)
    receives = func.coalesce(func.sum(lines.amount_minor).filter(lines.amount_minor > 0), 0)
    pays = func.coalesce(-func.sum(lines.amount_minor).filter(lines.amount_minor < 0), 0)
    rows = connection.execute(
        select(lines.window_date, lines.party_id, cast(receives, Whole), cast(pays, Whole))
        .join(tables.windows, _present_run(tables.statement_lines))
        .where(windows.state.in_(waiting), lines.amount_minor != 0)
        .group_by(lines.window_date, lines.party_id)
    )
    return [*(WindowPosition(*row) for row in rows), *_unpaid(connection)]


def _unpaid(connection: Connection) -> list[WindowPosition]:
    """What exported windows still wait for. All money goes through the operator, who has the other side of each."""
    columns, windows = payments.c, tables.windows.c
    missing = columns.amount_minor - columns.moved_minor
    found: dict[tuple[date, str], tuple[int, int]] = {}
    rows = connection.execute(
        select(columns.window_date, columns.party_id, columns.direction, cast(func.sum(missing), Whole))
        .join(tables.windows, _present_run(payments))
        .where(
            windows.state == WindowState.EXPORTED.value,
            columns.state.not_in([state.value for state in FINAL]),
        )
        .group_by(columns.window_date, columns.party_id, columns.direction)
    )
    for window_date, party_id, direction, amount in rows:
        paid = direction == Direction.COLLECT.value
        for party, pays in ((party_id, paid), (OPERATOR, not paid)):
            receives_so_far, pays_so_far = found.get((window_date, party), (0, 0))
            found[window_date, party] = (
                receives_so_far + (0 if pays else amount),
                pays_so_far + (amount if pays else 0),
            )
    return [WindowPosition(*key, *amounts) for key, amounts in found.items()]


def load_posted(connection: Connection) -> list[PostedPosition]:
    """Every party's exact position by what is posted since the last computed window."""
    last = load.load_last_computed_date(connection)
    lines = views.posted_lines_v1.c
    since = select(lines.payer_id, lines.payee_id, func.sum(lines.micros).label("micros")).group_by(
        lines.payer_id, lines.payee_id
    )
    flows = (since.where(lines.window_date > last) if last else since).cte("flows")
    sides = union_all(
        select(
            flows.c.payee_id.label("party_id"), flows.c.micros.label("receives"), literal(0).label("pays")
        ),
        select(flows.c.payer_id, literal(0), flows.c.micros),
    ).subquery()
    rows = connection.execute(
        select(
            sides.c.party_id,
            cast(func.sum(sides.c.receives), Whole),
            cast(func.sum(sides.c.pays), Whole),
        ).group_by(sides.c.party_id)
    )
    return [PostedPosition(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class StandingDeficit:
    """What members owe one issuer since one day: points, and their money at the price of each deficit."""

    issuer_id: str
    raised_date: date
    points: int
    micros: int


def load_deficits(connection: Connection, time_zone: str) -> list[StandingDeficit]:
    """Outstanding deficits by issuer and the day they were raised on, in the coalition's zone."""
    columns = views.deficits_v1.c
    day = func.date(func.timezone(time_zone, columns.raised_time))
    rows = connection.execute(
        select(
            columns.issuer_id,
            day,
            cast(func.sum(columns.outstanding_points), Whole),
            cast(func.sum(columns.outstanding_points * columns.funding_micros), Whole),
        ).group_by(columns.issuer_id, day)
    )
    return [StandingDeficit(*row) for row in rows]


def load_ledger_day(connection: Connection) -> date | None:
    """The business day that is open: the one after the last closed window, or the newest one posted to."""
    closed = connection.execute(select(func.max(views.windows_v1.c.window_date))).scalar_one()
    batches = views.chained_batches_v1.c
    newest = connection.execute(
        select(batches.window_date).order_by(batches.sequence.desc()).limit(1)
    ).scalar_one_or_none()
    following = closed + timedelta(days=1) if closed else None
    return max((day for day in (following, newest) if day), default=None)
