"""What settlement reads from the hub: its versioned views, whose columns are declared here once more.

A test holds both declarations against the catalogue. Sums are the only thing computed in SQL, and only over
one window at a time: what stood before it is carried on from settlement's own tables.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Connection,
    Date,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    cast,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

from settlement.core.netting import Flow
from settlement.core.points import EntrySum, LegSum
from settlement.core.window import ClosedWindow, Ledger, WindowSums
from settlement.store.tables import Whole

views: Final = MetaData(schema="exchange")


def _moment(name: str) -> Column[object]:
    return Column(name, TIMESTAMP(timezone=True))


ledger_v1: Final = Table(
    "ledger_v1",
    views,
    Column("audience", Text),
    Column("currency_code", Text),
    Column("minor_unit_digits", Integer),
    Column("time_zone", Text),
    Column("cut_off_seconds", Integer),
    Column("clock", Text),
)

partners_v1: Final = Table("partners_v1", views, Column("partner_id", Text), Column("display_name", Text))

keys_v1: Final = Table(
    "keys_v1",
    views,
    Column("key_id", Text),
    Column("owner", Text),
    Column("holder", Text),
    Column("public_key", LargeBinary),
    Column("roles", ARRAY(Text)),
    Column("state", Text),
    _moment("valid_from"),
    _moment("valid_until"),
)

windows_v1: Final = Table(
    "windows_v1",
    views,
    Column("window_date", Date),
    Column("first_sequence", BigInteger),
    Column("last_sequence", BigInteger),
    Column("last_hash", LargeBinary),
    Column("entry_count", BigInteger),
    _moment("close_time"),
)

posted_entries_v1: Final = Table(
    "posted_entries_v1",
    views,
    Column("window_date", Date),
    Column("batch_sequence", BigInteger),
    Column("entry_index", Integer),
    Column("entry_id", Text),
    Column("kind", Text),
    Column("partner_id", Text),
    Column("request_id", Text),
    Column("member_id", Text),
    Column("reference", Text),
    Column("store_id", Text),
    Column("terminal_id", Text),
    _moment("event_time"),
    _moment("decided_time"),
    Column("points", BigInteger),
    Column("rate_version", Integer),
)

posted_legs_v1: Final = Table(
    "posted_legs_v1",
    views,
    Column("window_date", Date),
    Column("batch_sequence", BigInteger),
    Column("entry_index", Integer),
    Column("leg_number", Integer),
    Column("kind", Text),
    Column("issuer_id", Text),
    Column("from_account", Text),
    Column("to_account", Text),
    Column("points", BigInteger),
    Column("funding_micros", BigInteger),
    Column("prefunded_micros", BigInteger),
)

posted_lines_v1: Final = Table(
    "posted_lines_v1",
    views,
    Column("window_date", Date),
    Column("batch_sequence", BigInteger),
    Column("entry_index", Integer),
    Column("line_number", Integer),
    Column("kind", Text),
    Column("payer_id", Text),
    Column("payer_component", Text),
    Column("payee_id", Text),
    Column("payee_component", Text),
    Column("micros", BigInteger),
)


class LedgerMissing(Exception):
    """The hub has not set up its ledger in this database."""


def read_ledger(connection: Connection) -> Ledger:
    """What every window of this ledger shares. Raises LedgerMissing."""
    columns = ledger_v1.c
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
    columns = windows_v1.c
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
    first: date | None = connection.execute(select(func.min(windows_v1.c.window_date))).scalar_one()
    return first


def read_first_posted_date(connection: Connection) -> date | None:
    """The day of the first entry in the journal; None while it is empty."""
    columns = posted_entries_v1.c
    statement = select(columns.window_date).order_by(columns.batch_sequence).limit(1)
    first: date | None = connection.execute(statement).scalar_one_or_none()
    return first


def count_windows_before(connection: Connection, window_date: date) -> int:
    """How many closed windows the hub shows before a day."""
    statement = select(func.count()).where(windows_v1.c.window_date < window_date)
    return connection.execute(statement).scalar_one()


def read_sums(connection: Connection, window_date: date) -> WindowSums:
    """Everything posted in a closed window as sums, each in the order of its keys."""
    return WindowSums(
        flows=_read_flows(connection, window_date),
        legs=_read_leg_sums(connection, window_date),
        entries=_read_entry_sums(connection, window_date),
    )


def _read_flows(connection: Connection, window_date: date) -> tuple[Flow, ...]:
    columns = posted_lines_v1.c
    keys = (columns.payer_id, columns.payer_component, columns.payee_id, columns.payee_component)
    rows = connection.execute(
        select(*keys, cast(func.sum(columns.micros), Whole), func.count())
        .where(columns.window_date == window_date)
        .group_by(*keys)
    )
    # Sorted here, not there: the order must not depend on the server's collation.
    return tuple(Flow(*row) for row in sorted(map(tuple, rows)))


def _read_leg_sums(connection: Connection, window_date: date) -> tuple[LegSum, ...]:
    columns = posted_legs_v1.c
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
    columns = posted_entries_v1.c
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
