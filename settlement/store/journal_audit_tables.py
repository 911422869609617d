"""The table of journal audits, and its rows."""

from __future__ import annotations

from datetime import date
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    func,
    insert,
    select,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

from settlement.core.journal_audit import JournalAudit
from settlement.core.run_state import WindowState
from settlement.store import tables
from settlement.store.tables import metadata

journal_audits: Final = Table(
    "journal_audits",
    metadata,
    Column("audit_id", BigInteger, Identity(always=True), primary_key=True),
    Column("window_date", Date, ForeignKey("settlement.windows.window_date"), nullable=False),
    Column("run_number", Integer, nullable=False),
    Column("audit_time", TIMESTAMP(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("last_hash", LargeBinary, nullable=False),
    Column("holds", Boolean, nullable=False),
    Column("fault", Text, nullable=False),
    Column("bad_batch", BigInteger, nullable=False),
    Column("batch_count", BigInteger, nullable=False),
    Column("entry_count", BigInteger, nullable=False),
    Column("leg_count", BigInteger, nullable=False),
    Column("line_count", BigInteger, nullable=False),
    Index("journal_audits_window", "window_date", "audit_id"),
)


def save_journal_audit(connection: Connection, audit: JournalAudit) -> None:
    """Adds an audit, whatever it found."""
    connection.execute(
        insert(journal_audits).values(
            window_date=audit.window_date,
            run_number=audit.run_number,
            last_hash=audit.last_hash,
            holds=audit.holds,
            fault=audit.fault,
            bad_batch=audit.bad_batch,
            batch_count=audit.batch_count,
            entry_count=audit.entry_count,
            leg_count=audit.leg_count,
            line_count=audit.line_count,
        )
    )


def load_unaudited_days(connection: Connection, last: date) -> list[date]:
    """The computed days up to `last` whose present run has no audit that holds, in order."""
    windows, audits = tables.windows.c, journal_audits.c
    held = select(audits.audit_id).where(
        audits.window_date == windows.window_date, audits.run_number == windows.run_number, audits.holds
    )
    rows = connection.execute(
        select(windows.window_date)
        .where(
            windows.window_date <= last,
            windows.state.in_(WindowState.COMPUTED.and_later),
            ~held.exists(),
        )
        .order_by(windows.window_date)
    )
    return list(rows.scalars())


def load_journal_audit(connection: Connection, window_date: date, run_number: int) -> JournalAudit | None:
    """The newest audit of a run of a window; None where there is none. Before approval it has to hold."""
    columns = journal_audits.c
    row = connection.execute(
        select(
            columns.window_date,
            columns.run_number,
            columns.last_hash,
            columns.fault,
            columns.bad_batch,
            columns.batch_count,
            columns.entry_count,
            columns.leg_count,
            columns.line_count,
        )
        .where(columns.window_date == window_date, columns.run_number == run_number)
        .order_by(columns.audit_id.desc())
        .limit(1)
    ).one_or_none()
    return JournalAudit(*row) if row else None
