"""What the unattended day has to know of each window, of breaks and of disputes."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from settlement.core.break_state import BreakState, Severity
from settlement.core.day_plan import MAX_BREAKS, BreakFacts, DayFacts, DisputeFacts
from settlement.core.payments import FINAL
from settlement.core.run_state import WindowState
from settlement.store import tables
from settlement.store.desk_tables import disputes
from settlement.store.journal_audit_tables import load_journal_audit
from settlement.store.load import load_window
from settlement.store.payment_tables import payments
from settlement.store.payments import load_proposed_defaults
from settlement.store.reconciliation_reads import read_records
from settlement.store.reconciliation_tables import breaks, waivers


def read_unsettled_days(connection: Connection) -> list[date]:
    """The days settlement holds that are not settled, in order."""
    columns = tables.windows.c
    open_days = select(columns.window_date).where(columns.state != WindowState.SETTLED.value)
    return list(connection.execute(open_days.order_by(columns.window_date)).scalars())


def read_day_facts(connection: Connection, window_date: date) -> DayFacts:
    """What is known of a day."""
    stored = load_window(connection, window_date)
    if stored is None:
        return DayFacts(window_date, None)
    match stored.state:
        case WindowState.COMPUTED:
            return _computed(connection, window_date)
        case WindowState.CERTIFIED:
            audit = load_journal_audit(connection, window_date, stored.run_number)
            return DayFacts(window_date, stored.state, journal_holds=audit.holds if audit else None)
        case WindowState.EXPORTED:
            return DayFacts(
                window_date,
                stored.state,
                payments_to_confirm=_unfinished(connection, window_date),
                proposed_defaults=load_proposed_defaults(connection, window_date),
            )
        case _:
            return DayFacts(window_date, stored.state)


def _computed(connection: Connection, window_date: date) -> DayFacts:
    records = read_records(connection, window_date)
    waived = {waiver.partner_id for waiver in records.waivers}
    current = {one.partner_id: one for one in records.reconciled if not (one.superseded or one.stale)}
    loaded = set(records.loaded)
    return DayFacts(
        window_date,
        WindowState.COMPUTED,
        missing_files=tuple(sorted(set(records.expected) - loaded - waived)),
        unread_files=not loaded <= current.keys(),
        unexplained=tuple(
            sorted(name for name in loaded & current.keys() if not current[name].controls.explained)
        ),
        open_waivers=_open_waivers(connection, window_date, loaded),
        earlier_certified=not _uncertified_before(connection, window_date),
    )


def read_unread_partners(connection: Connection, window_date: date) -> list[str]:
    """The partners whose file of a day no reconciliation has read, or that has to be read again."""
    records = read_records(connection, window_date)
    current = {one.partner_id for one in records.reconciled if not (one.superseded or one.stale)}
    return sorted(set(records.loaded) - current)


def _open_waivers(connection: Connection, window_date: date, loaded: Collection[str]) -> tuple[str, ...]:
    """Nobody has to agree any more to do without a file that came."""
    columns = waivers.c
    proposed = select(columns.partner_id).where(
        columns.window_date == window_date,
        columns.approved_by.is_(None),
        columns.rejected_by.is_(None),
        columns.partner_id.not_in(loaded),
    )
    return tuple(connection.execute(proposed.order_by(columns.partner_id)).scalars())


def _uncertified_before(connection: Connection, window_date: date) -> bool:
    columns = tables.windows.c
    certified = WindowState.CERTIFIED.and_later
    earlier = select(columns.window_date).where(
        columns.window_date < window_date, columns.state.not_in(certified)
    )
    return connection.execute(earlier.limit(1)).first() is not None


def _unfinished(connection: Connection, window_date: date) -> int:
    columns = payments.c
    counted = select(func.count()).where(
        columns.window_date == window_date, columns.state.not_in([state.value for state in FINAL])
    )
    return int(connection.execute(counted).scalar_one())


def read_waiting_breaks(connection: Connection, moment: datetime) -> tuple[list[BreakFacts], int]:
    """The first breaks somebody has to look at now, the most urgent first, and how many there are."""
    columns = breaks.c
    waiting = _waiting(moment)
    pending = columns.state == BreakState.PENDING_RESOLUTION.value
    first = (
        select(
            columns.break_id,
            columns.partner_id,
            columns.type,
            columns.severity,
            (columns.due_time < moment).label("is_overdue"),
            pending.label("is_pending"),
        )
        .where(waiting)
        .order_by(pending.desc(), columns.due_time, columns.break_id)
        .limit(MAX_BREAKS)
    )
    count = connection.execute(select(func.count()).select_from(breaks).where(waiting)).scalar_one()
    return [BreakFacts(*row) for row in connection.execute(first)], int(count)


def _waiting(moment: datetime) -> ColumnElement[bool]:
    columns = breaks.c
    urgent = or_(columns.due_time < moment, columns.severity == Severity.CRITICAL.label)
    unresolved = columns.state != BreakState.RESOLVED.value
    return and_(unresolved, or_(columns.state == BreakState.PENDING_RESOLUTION.value, urgent))


def read_waiting_disputes(connection: Connection) -> list[DisputeFacts]:
    """Disputes that can be decided now, oldest first."""
    columns = disputes.c
    heard = select(columns.dispute_id, columns.opened_by, columns.against).where(
        columns.state.in_(["ANSWERED", "EXPIRED"])
    )
    return [DisputeFacts(*row) for row in connection.execute(heard.order_by(columns.dispute_id))]
