"""Reads behind the services: entries of a statement line, reconciliations, breaks and disputes, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, or_, select

from settlement.core.break_types import Controls
from settlement.core.drill_down import LineEntry, Place
from settlement.core.run_state import WindowState
from settlement.store import desk
from settlement.store.desk import Break, BreakEvent, BreakFilter, Dispute
from settlement.store.desk_tables import disputes
from settlement.store.drill import load_line_entries
from settlement.store.load import load_window
from settlement.store.reads import snapshot
from settlement.store.reconciliation_tables import partner_files, reconciliations

__all__ = [
    "Break",
    "BreakEvent",
    "BreakFilter",
    "BreakHistory",
    "Dispute",
    "PartnerFile",
    "PartnerReads",
    "Reconciled",
    "read_file",
]


@dataclass(frozen=True, slots=True)
class PartnerFile:
    """A partner's file as it is kept. `sha256` is hex."""

    file_id: int
    partner_id: str
    business_date: date
    format: str
    sha256: str
    line_count: int
    totals: Controls
    received_time: datetime
    state: str


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The newest comparison of a partner's file with the journal."""

    file: PartnerFile
    run_time: datetime
    partner: Controls
    hub: Controls
    difference: Controls
    classified: Controls
    unexplained: Controls
    unresolved_count: int


@dataclass(frozen=True, slots=True)
class BreakHistory:
    """A break with all that was done about it, oldest first."""

    found: Break
    events: list[BreakEvent]
    disputes: list[Dispute]


class PartnerReads:
    """What the services show. Safe to share between threads. Every method may raise DatabaseUnavailable."""

    def __init__(self, engine: Engine) -> None:
        """`engine` as `open_engine` makes it."""
        self._engine = engine

    def statement_entries(
        self, window_date: date, party_id: str, component: str, after: Place, limit: int
    ) -> list[LineEntry] | None:
        """At most `limit` entries behind a line, after a place, in the ledger's order; None for no such statement."""
        with snapshot(self._engine) as connection:
            stored = load_window(connection, window_date)
            if stored is None or not stored.state.reached(WindowState.COMPUTED):
                return None
            if not desk.has_partner(connection, party_id):
                return None
            return load_line_entries(connection, window_date, party_id, component, after, limit)

    def reconciliation(self, window_date: date, partner_id: str) -> Reconciled | None:
        """The newest comparison of a partner's day; None where there was none."""
        columns = reconciliations.c
        newest = (
            select(reconciliations)
            .where(columns.window_date == window_date, columns.partner_id == partner_id)
            .order_by(columns.reconciliation_id.desc())
            .limit(1)
        )
        unresolved = BreakFilter(partner_id=partner_id, window_date=window_date, unresolved=True)
        with snapshot(self._engine) as connection:
            row = connection.execute(newest).one_or_none()
            if row is None:
                return None
            return _reconciled(
                row, read_file(connection, row.file_id), desk.count_breaks(connection, unresolved)
            )

    def breaks(self, wanted: BreakFilter, after: int, limit: int) -> list[Break]:
        """At most `limit` breaks by number, from the one after `after`."""
        with snapshot(self._engine) as connection:
            return desk.list_breaks(connection, wanted, limit, after)

    def break_history(self, break_id: int, partner_id: str | None) -> BreakHistory | None:
        """A break with its history; None where there is none, or it is not the partner's to see."""
        with snapshot(self._engine) as connection:
            found = desk.load_break(connection, break_id)
            if found is None or partner_id not in (None, found.partner_id):
                return None
            events = desk.load_events(connection, break_id)
            return BreakHistory(found, events, desk.load_disputes(connection, break_id))

    def disputes(self, partner_id: str | None, state: str | None, after: int, limit: int) -> list[Dispute]:
        """At most `limit` disputes by number, after `after`; of a partner those that it opened or are against it."""
        columns = disputes.c
        statement = select(disputes).where(columns.dispute_id > after).order_by(columns.dispute_id)
        if partner_id is not None:
            statement = statement.where(or_(columns.opened_by == partner_id, columns.against == partner_id))
        if state is not None:
            statement = statement.where(columns.state == state)
        with snapshot(self._engine) as connection:
            return [Dispute(*row) for row in connection.execute(statement.limit(limit))]


def read_file(connection: Connection, file_id: int) -> PartnerFile:
    """A file that is there."""
    row = connection.execute(select(partner_files).where(partner_files.c.file_id == file_id)).one()
    return PartnerFile(
        file_id=row.file_id,
        partner_id=row.partner_id,
        business_date=row.business_date,
        format=row.format,
        sha256=row.sha256,
        line_count=row.line_count,
        totals=Controls(row.earned_points, row.burned_points, row.claimed_micros, row.owed_micros),
        received_time=row.received_time,
        state=row.state,
    )


def _reconciled(row: Row[Any], file: PartnerFile, unresolved_count: int) -> Reconciled:
    return Reconciled(
        file=file,
        run_time=row.run_time,
        partner=Controls(
            row.partner_earned_points,
            row.partner_burned_points,
            row.partner_claimed_micros,
            row.partner_owed_micros,
        ),
        hub=Controls(
            row.hub_earned_points, row.hub_burned_points, row.hub_claimed_micros, row.hub_owed_micros
        ),
        difference=Controls(
            row.earned_points_difference,
            row.burned_points_difference,
            row.claimed_difference_micros,
            row.owed_difference_micros,
        ),
        classified=Controls(
            row.earned_points_classified,
            row.burned_points_classified,
            row.claimed_classified_micros,
            row.owed_classified_micros,
        ),
        unexplained=Controls(
            row.earned_points_unexplained,
            row.burned_points_unexplained,
            row.claimed_unexplained_micros,
            row.owed_unexplained_micros,
        ),
        unresolved_count=unresolved_count,
    )
