"""Settlement's own tables. `migrations/` makes them; a test compares the two."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    Dialect,
    ForeignKey,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    TypeDecorator,
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
    _window_date(),
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
    _window_date(),
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
    _window_date(),
    _key("kind"),
    _count("entry_count"),
    _sum("points"),
    _count("first_sequence"),
    _count("last_sequence"),
)

statement_lines: Final = Table(
    "statement_lines",
    metadata,
    _window_date(),
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
    _window_date(),
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
    _window_date(),
    Column("document", LargeBinary, nullable=False),
    Column("document_sha256", Text, nullable=False),
    Column("key_id", Text, nullable=False),
)
