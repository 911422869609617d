"""Every run of a window, aborted ones too, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, and_, func, select

from settlement.core.run_state import RunState
from settlement.store import tables


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One attempt at a window. Texts are empty, and `end_time` None, where there is nothing to say yet."""

    run_number: int
    state: RunState
    begin_time: datetime
    end_time: datetime | None
    certified_by: str
    approved_by: str
    aborted_by: str
    reason: str
    certificate_sha256: str


def load_runs(connection: Connection, window_date: date) -> tuple[StoredRun, ...]:
    """The runs of a window in the order of their numbers."""
    runs, approvals, certificates = tables.runs.c, tables.approvals.c, tables.certificates.c
    approved, certified = (
        and_(of.window_date == runs.window_date, of.run_number == runs.run_number)
        for of in (approvals, certificates)
    )
    rows = connection.execute(
        select(
            runs.run_number,
            runs.state,
            runs.begin_time,
            runs.end_time,
            runs.certified_by,
            approvals.approved_by,
            runs.aborted_by,
            runs.reason,
            func.coalesce(certificates.document_sha256, "").label("certificate_sha256"),
        )
        .select_from(
            tables.runs.outerjoin(tables.approvals, approved).outerjoin(tables.certificates, certified)
        )
        .where(runs.window_date == window_date)
        .order_by(runs.run_number)
    )
    return tuple(
        StoredRun(
            run_number=row.run_number,
            state=RunState(row.state),
            begin_time=row.begin_time,
            end_time=row.end_time,
            certified_by=row.certified_by or "",
            approved_by=row.approved_by or "",
            aborted_by=row.aborted_by or "",
            reason=row.reason,
            certificate_sha256=row.certificate_sha256,
        )
        for row in rows
    )
