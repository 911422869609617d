"""Settlement's own tables. `migrations/` makes them; a test compares the two."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    TypeDecorator,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

metadata: Final = MetaData(
    schema="settlement",
    naming_convention={"pk": "%(table_name)s_pkey", "fk": "%(table_name)s_%(column_0_name)s_fkey"},
)


class Whole(TypeDecorator[int]):
    """A whole number wider than 63 bits: a sum of amounts that each may fill them. An int in Python."""

    impl = Numeric(38, 0)
    cache_ok = True

    def process_result_value(self, value: object, dialect: Dialect) -> int | None:  # noqa: ARG002 - SQLAlchemy's signature
        """An int, whatever the driver made of NUMERIC."""
        return None if value is None else int(str(value))


def _window_date() -> Column[object]:
    return Column("window_date", Date, ForeignKey("settlement.windows.window_date"), primary_key=True)


def run_columns() -> tuple[Column[object], Column[int], ForeignKeyConstraint]:
    """The run that made a row: the first part of the table's key. Its window tells which run counts."""
    return (
        Column("window_date", Date, primary_key=True),
        Column("run_number", Integer, primary_key=True, autoincrement=False),
        run_reference(),
    )


def run_reference() -> ForeignKeyConstraint:
    """A reference to the run of a window."""
    return ForeignKeyConstraint(
        ["window_date", "run_number"], ["settlement.runs.window_date", "settlement.runs.run_number"]
    )


def _key(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _sum(name: str) -> Column[int]:
    return Column(name, Whole, nullable=False)


windows: Final = Table(
    "windows",
    metadata,
    Column("window_date", Date, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    _count("first_sequence"),
    _count("last_sequence"),
    Column("last_hash", LargeBinary, nullable=False),
    _count("entry_count"),
    Column("close_time", TIMESTAMP(timezone=True), nullable=False),
    Column("run_number", Integer, nullable=False, server_default="1"),
)

runs: Final = Table(
    "runs",
    metadata,
    _window_date(),
    Column("run_number", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("certified_by", Text),
    Column("aborted_by", Text),
    Column("reason", Text, nullable=False, server_default=""),
    Column("begin_time", TIMESTAMP(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("end_time", TIMESTAMP(timezone=True)),
)

hub_receipts: Final = Table(
    "hub_receipts",
    metadata,
    _window_date(),
    Column("path", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("request_metadata", JSONB, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("receipt_metadata", JSONB, nullable=False),
)

flows: Final = Table(
    "flows",
    metadata,
    *run_columns(),
    _key("payer_id"),
    _key("payer_component"),
    _key("payee_id"),
    _key("payee_component"),
    _sum("exact_micros"),
    _count("line_count"),
)

leg_sums: Final = Table(
    "leg_sums",
    metadata,
    *run_columns(),
    _key("issuer_id"),
    _key("from_account"),
    _key("to_account"),
    Column("funding_micros", BigInteger, primary_key=True, autoincrement=False),
    Column("prefunded_micros", BigInteger, primary_key=True, autoincrement=False),
    _sum("points"),
    _count("leg_count"),
)

entry_sums: Final = Table(
    "entry_sums",
    metadata,
    *run_columns(),
    _count("entry_count"),
    _count("first_sequence"),
    _count("last_sequence"),
)

statement_lines: Final = Table(
    "statement_lines",
    metadata,
    *run_columns(),
    _key("party_id"),
    _key("component"),
    _count("line_count"),
    _sum("exact_micros"),
    _sum("amount_minor"),
    _sum("exact_to_date_micros"),
    _sum("amount_to_date_minor"),
)

issuer_points: Final = Table(
    "issuer_points",
    metadata,
    *run_columns(),
    _key("issuer_id"),
    _sum("issued"),
    _sum("moved_in"),
    _sum("open"),
    _sum("held"),
    _sum("burned"),
    _sum("expired"),
    _sum("clawed_back"),
    _sum("absorbed"),
    _sum("moved_out"),
    _sum("liability_micros"),
    _sum("escrow_micros"),
)

certificates: Final = Table(
    "certificates",
    metadata,
    *run_columns(),
    Column("document", LargeBinary, nullable=False),
    Column("document_sha256", Text, nullable=False),
    Column("key_id", Text, nullable=False),
)

approvals: Final = Table(
    "approvals",
    metadata,
    *run_columns(),
    Column("certified_by", Text, nullable=False),
    Column("approved_by", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("certificate_sha256", Text, nullable=False),
    Column("approve_time", TIMESTAMP(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)

contracts: Final = Table(
    "contracts",
    metadata,
    Column("contract_id", BigInteger, Identity(always=True), primary_key=True),
    Column("partner_id", Text, nullable=False),
    Column("counterparty_id", Text),
    Column("kind", Text, nullable=False),
    Column("valid_from", Date, nullable=False),
    Column("valid_until", Date),
    Column("set_by", Text, nullable=False),
    Column("set_time", TIMESTAMP(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
