"""Partner files, profiles, reconciliations and breaks: the tables of migration 0004."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from settlement.core.break_types import Controls
from settlement.store.tables import Whole, metadata


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _sum(name: str) -> Column[int]:
    return Column(name, Whole, nullable=False)


def _moment(name: str, *, null: bool = False) -> Column[object]:
    return Column(name, TIMESTAMP(timezone=True), nullable=null)


def _file(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, ForeignKey("settlement.partner_files.file_id"), nullable=null)


profiles: Final = Table(
    "profiles",
    metadata,
    Column("partner_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("mapping", JSONB(none_as_null=True)),
    Column("rules", JSONB, nullable=False),
    Column("file_expected", Boolean, nullable=False),
    Column("valid_from", Date, nullable=False),
    _text("set_by"),
    _moment("set_time"),
)

partner_files: Final = Table(
    "partner_files",
    metadata,
    Column("file_id", BigInteger, Identity(always=False), primary_key=True),
    _text("partner_id"),
    Column("business_date", Date, nullable=False),
    _text("sha256"),
    _text("format"),
    _text("unit"),
    Column("profile_version", Integer),
    _count("byte_count"),
    _count("line_count"),
    _sum("earned_points"),
    _sum("burned_points"),
    _sum("claimed_micros"),
    _sum("owed_micros"),
    _moment("received_time"),
    _text("received_from"),
    _text("key_id"),
    Column("evidence", JSONB(none_as_null=True)),
    _text("state"),
    Index("partner_files_content", "partner_id", "business_date", "sha256"),
    Index(
        "partner_files_accepted",
        "partner_id",
        "business_date",
        unique=True,
        postgresql_where=text("state = 'ACCEPTED'"),
    ),
)

partner_file_parts: Final = Table(
    "partner_file_parts",
    metadata,
    Column(
        "file_id",
        BigInteger,
        ForeignKey("settlement.partner_files.file_id", deferrable=True, initially="DEFERRED"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("part_number", Integer, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
)

partner_file_lines: Final = Table(
    "partner_file_lines",
    metadata,
    Column("file_id", BigInteger, primary_key=True, autoincrement=False),
    Column("line_number", BigInteger, primary_key=True, autoincrement=False),
    _text("request_id"),
    _text("kind"),
    _text("reference"),
    Column("part", Integer),
    _moment("event_time"),
    _text("member_id"),
    _text("store_id"),
    _text("terminal_id"),
    _count("points"),
    _sum("claimed_micros"),
    _sum("owed_micros"),
    Column("rate_version", Integer),
    _text("state"),
    Column("member_number", BigInteger),
)

CONTROLS: Final = ("earned_points", "burned_points", "claimed_micros", "owed_micros")
"""The four controls as columns spell them."""


def control_column(control: str, what: str) -> str:
    """The column of one control's `difference`, `classified` or `unexplained`."""
    name, unit = control.rsplit("_", 1)
    return f"{control}_{what}" if unit == "points" else f"{name}_{what}_{unit}"


def difference_values(controls: Controls) -> dict[str, int]:
    """What a break counts, as the columns of `breaks` and `reconciliation_breaks`."""
    return {control_column(control, "difference"): getattr(controls, control) for control in CONTROLS}


def _controls() -> list[Column[int]]:
    return [
        _sum(name)
        for control in CONTROLS
        for name in (
            f"partner_{control}",
            f"hub_{control}",
            *(control_column(control, what) for what in ("difference", "classified", "unexplained")),
        )
    ]


def _differences() -> list[Column[int]]:
    return [_sum(control_column(control, "difference")) for control in CONTROLS]


reconciliations: Final = Table(
    "reconciliations",
    metadata,
    Column("reconciliation_id", BigInteger, Identity(always=True), primary_key=True),
    Column("window_date", Date, nullable=False),
    _text("partner_id"),
    _file("file_id"),
    Column("profile_version", Integer),
    Column("rules", JSONB, nullable=False),
    _moment("run_time"),
    _count("matched_count"),
    _count("break_count"),
    *_controls(),
    _text("state"),
    Index("reconciliations_window", "window_date", "partner_id", "reconciliation_id"),
    Index("reconciliations_partner", "partner_id", "window_date", "reconciliation_id"),
)

breaks: Final = Table(
    "breaks",
    metadata,
    Column("break_id", BigInteger, Identity(always=True), primary_key=True),
    _text("partner_id"),
    _text("business_key"),
    Column("window_date", Date, nullable=False),
    _text("type"),
    _text("severity"),
    _text("state"),
    _text("resolution", null=True),
    _text("owner", null=True),
    _text("detail"),
    Column("opened_date", Date, nullable=False),
    _moment("opened_time"),
    _moment("due_time"),
    _file("file_id", null=True),
    Column("line_number", BigInteger),
    _text("entry_id", null=True),
    _text("request_id"),
    Column("hub", JSONB(none_as_null=True)),
    Column("partner", JSONB(none_as_null=True)),
    _sum("points_at_stake"),
    _sum("amount_at_stake_micros"),
    *_differences(),
    Column("seen_count", Integer, nullable=False),
    Column("last_seen_date", Date, nullable=False),
    _moment("resolved_time", null=True),
    Column("resolved_date", Date),
    Column("cleared_date", Date),
    Column(
        "cleared_by_file",
        BigInteger,
        ForeignKey("settlement.partner_files.file_id", name="breaks_cleared_by_file_fkey"),
    ),
    UniqueConstraint("partner_id", "business_key", name="breaks_once"),
    Index("breaks_window", "window_date", "partner_id"),
    Index("breaks_unresolved", "partner_id", "due_time", postgresql_where=text("state <> 'RESOLVED'")),
)

reconciliation_breaks: Final = Table(
    "reconciliation_breaks",
    metadata,
    Column(
        "reconciliation_id",
        BigInteger,
        ForeignKey("settlement.reconciliations.reconciliation_id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column(
        "break_id",
        BigInteger,
        ForeignKey("settlement.breaks.break_id"),
        primary_key=True,
        autoincrement=False,
    ),
    *_differences(),
)

waivers: Final = Table(
    "waivers",
    metadata,
    Column("waiver_id", BigInteger, Identity(always=True), primary_key=True),
    Column("window_date", Date, nullable=False),
    _text("partner_id"),
    _text("proposed_by"),
    _text("approved_by", null=True),
    _text("rejected_by", null=True),
    _text("reason"),
    _moment("propose_time"),
    _moment("approve_time", null=True),
    _moment("reject_time", null=True),
    Index(
        "waivers_standing",
        "window_date",
        "partner_id",
        unique=True,
        postgresql_where=text("rejected_by IS NULL"),
    ),
)
