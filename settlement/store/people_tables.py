"""The audit log's table. `migrations/` makes it; a test compares the two."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    FetchedValue,
    Identity,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from settlement.store.tables import metadata

audit_log: Final = Table(
    "audit_log",
    metadata,
    Column("audit_id", BigInteger, Identity(always=True), primary_key=True),
    Column("act_time", TIMESTAMP(timezone=True), FetchedValue(), nullable=False),
    Column("person", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("item_kind", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("before", JSONB(none_as_null=True)),
    Column("after", JSONB(none_as_null=True)),
    Column("act_text", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("previous_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    UniqueConstraint("previous_hash", name="audit_log_chain"),
    Index("audit_log_item", "item_kind", "item_id"),
    Index("audit_log_act_person", "person", "audit_id"),
    Index("audit_log_act_time", "act_time"),
)
