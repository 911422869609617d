"""The desk's tables. `migrations/` makes them; a test compares the two."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from settlement.store.tables import metadata


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _moment(name: str) -> Column[object]:
    return Column(name, TIMESTAMP(timezone=True), nullable=False)


def _break(*, key: bool = False) -> Column[int]:
    reference = ForeignKey("settlement.breaks.break_id")
    return Column("break_id", BigInteger, reference, primary_key=key, nullable=False, autoincrement=False)


break_events: Final = Table(
    "break_events",
    metadata,
    Column("event_id", BigInteger, Identity(always=True), primary_key=True),
    _break(),
    _moment("event_time"),
    _text("person"),
    _text("key_id"),
    _text("act"),
    _text("state_from"),
    _text("state_to"),
    _text("text"),
    Column("evidence", JSONB(none_as_null=True)),
    Index("break_events_break", "break_id", "event_id"),
)

resolutions: Final = Table(
    "resolutions",
    metadata,
    _break(key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    _text("kind"),
    _text("state"),
    _text("reason"),
    Column("posting", JSONB(none_as_null=True)),
    Column("adjustment_id", BigInteger),
    Column("entry_id", Text),
    _text("proposed_by"),
    _moment("propose_time"),
    Column("decided_by", Text),
    Column("decide_time", TIMESTAMP(timezone=True)),
    Index("resolutions_proposed", "break_id", unique=True, postgresql_where=text("state = 'PROPOSED'")),
)

disputes: Final = Table(
    "disputes",
    metadata,
    Column("dispute_id", BigInteger, Identity(always=True), primary_key=True),
    _break(),
    _text("opened_by"),
    _text("against"),
    _text("claim"),
    _text("opened_person"),
    _moment("open_time"),
    _moment("deadline"),
    _text("state"),
    Column("answer", Text),
    Column("answered_person", Text),
    Column("answer_time", TIMESTAMP(timezone=True)),
    Column("in_favour_of", Text),
    Column("decision", Text),
    Column("decided_by", Text),
    Column("decide_time", TIMESTAMP(timezone=True)),
    Index("disputes_undecided", "break_id", unique=True, postgresql_where=text("state <> 'DECIDED'")),
)

break_evidence: Final = Table(
    "break_evidence",
    metadata,
    _break(key=True),
    Column("sha256", Text, primary_key=True),
    _text("file_name"),
    Column("content", LargeBinary, nullable=False),
    _text("added_by"),
    _moment("add_time"),
)
