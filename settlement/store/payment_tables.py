"""The tables of payments. `migrations/` makes them; a test compares the two."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from settlement.store.tables import Whole, metadata, run_reference

payments: Final = Table(
    "payments",
    metadata,
    Column("payment_id", Text, primary_key=True),
    Column("window_date", Date, nullable=False),
    Column("run_number", Integer, nullable=False),
    Column("party_id", Text, nullable=False),
    Column("counterparty_id", Text),
    Column("direction", Text, nullable=False),
    Column("amount_minor", Whole, nullable=False),
    Column("exported_by", Text, nullable=False),
    Column("approved_by", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="DUE"),
    Column("attempt", Integer, nullable=False, server_default="1"),
    Column("moved_minor", Whole, nullable=False, server_default="0"),
    Column("borne_by", Text),
    Column("default_proposed_by", Text),
    Column("default_approved_by", Text),
    run_reference(),
    Index("payments_window", "window_date"),
)

payment_events: Final = Table(
    "payment_events",
    metadata,
    Column("event_id", BigInteger, Identity(always=True), primary_key=True),
    Column("payment_id", Text, ForeignKey("settlement.payments.payment_id"), nullable=False),
    Column("event_time", TIMESTAMP(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("attempt", Integer, nullable=False),
    Column("state_before", Text, nullable=False),
    Column("state_after", Text, nullable=False),
    Column("reported", Text, nullable=False),
    Column("amount_minor", Whole, nullable=False),
    Column("reference", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Index("payment_events_reference", "payment_id", "reported", "reference", unique=True),
)

settle_receipts: Final = Table(
    "settle_receipts",
    metadata,
    Column("window_date", Date, ForeignKey("settlement.windows.window_date"), primary_key=True),
    Column("path", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("request_metadata", JSONB, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("receipt_metadata", JSONB, nullable=False),
)
