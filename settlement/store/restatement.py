"""Reads what a restatement needs: a day's money lines by when things happened, not by when they were posted."""

from __future__ import annotations

from datetime import date, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, and_, cast, func, not_, select

from settlement.core.amounts import micros_per_minor
from settlement.core.business_day import window_end
from settlement.core.netting import Flow
from settlement.core.restatement import Restatement, restate
from settlement.core.run_state import WindowState
from settlement.core.window import NOTHING_YET, Ledger
from settlement.store import feed, load, views
from settlement.store.tables import Whole

_DAY = timedelta(days=1)


def read_restatement(connection: Connection, window_date: date) -> Restatement | None:
    """What a computed window would have been; None where it is not computed. Changes nothing."""
    stored = load.load_window(connection, window_date)
    if stored is None or not stored.state.reached(WindowState.COMPUTED):
        return None
    ledger = feed.read_ledger(connection)
    happened = _happened_on(ledger, window_date)
    before = load.load_window_before(connection, window_date)
    computed_before = load.load_computed(connection, before.window.window_date) if before else NOTHING_YET
    lines = restate(
        computed_before.lines,
        load.load_computed(connection, window_date).lines,
        _read_flows(connection, happened, window_date),
        load.load_contracts(connection, window_date),
        micros_per_minor(ledger.minor_unit_digits),
    )
    posted = views.posted_entries_v1.c.window_date == window_date
    return Restatement(
        lines=lines,
        entries_in=_count(connection, and_(happened, _since(window_date), not_(posted))),
        entries_out=_count(connection, and_(posted, not_(happened))),
    )


def _happened_on(ledger: Ledger, window_date: date) -> ColumnElement[bool]:
    """Entries whose event lies in the business day, which ends where its window does."""
    zone, cut_off = ZoneInfo(ledger.time_zone), ledger.cut_off_seconds
    begin, end = (window_end(day, cut_off, zone) for day in (window_date - _DAY, window_date))
    moment = views.posted_entries_v1.c.event_time
    return and_(moment >= begin, moment < end)


def _since(window_date: date) -> ColumnElement[bool]:
    # Nothing is posted before it happened, but for clocks that are a little apart: earlier windows are not read.
    return views.posted_entries_v1.c.window_date >= window_date - _DAY


def _read_flows(connection: Connection, happened: ColumnElement[bool], window_date: date) -> tuple[Flow, ...]:
    entries, lines = views.posted_entries_v1.c, views.posted_lines_v1.c
    keys = (lines.payer_id, lines.payer_component, lines.payee_id, lines.payee_component)
    same = and_(entries.batch_sequence == lines.batch_sequence, entries.entry_index == lines.entry_index)
    rows = connection.execute(
        select(*keys, cast(func.sum(lines.micros), Whole), func.count())
        .select_from(views.posted_lines_v1.join(views.posted_entries_v1, same))
        .where(happened, _since(window_date), lines.window_date >= window_date - _DAY)
        .group_by(*keys)
    )
    return tuple(Flow(*row) for row in sorted(map(tuple, rows)))


def _count(connection: Connection, where: ColumnElement[bool]) -> int:
    return connection.execute(
        select(func.count()).select_from(views.posted_entries_v1).where(where)
    ).scalar_one()
