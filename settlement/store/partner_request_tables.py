"""The table of what partners decided over the wire. `migrations/` makes it; a test compares the two."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, LargeBinary, Table, Text, func
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from settlement.store.tables import metadata

partner_requests: Final = Table(
    "partner_requests",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("path", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("request_metadata", JSONB, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("decided_time", TIMESTAMP(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
