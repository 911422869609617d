"""The tables of schema `exchange` for the registrar and the readers.

The migrations make them; a test holds this module against the catalogue. The hot path (load, save) has its
own statements.
"""

from __future__ import annotations

from typing import Final, TypeVar

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    Table,
    Text,
)
from sqlalchemy.types import TypeEngine

SCHEMA: Final = "exchange"
METADATA: Final = MetaData(schema=SCHEMA)

_T = TypeVar("_T")


def _required(name: str, kind: type[TypeEngine[_T]] | TypeEngine[_T]) -> Column[_T]:
    return Column(name, kind, nullable=False)


def _optional(name: str, kind: type[TypeEngine[_T]] | TypeEngine[_T]) -> Column[_T | None]:
    return Column(name, kind, nullable=True)


def _moment() -> DateTime:
    return DateTime(timezone=True)


_ID: Final = Text(collation="C")
"""Text that is compared and ordered byte by byte, whatever the database's locale."""

BATCH_IDS: Final = Sequence("batch_ids", schema=SCHEMA)
PARTNER_IDS: Final = Sequence("partner_ids", schema=SCHEMA)

LEDGER: Final = Table(
    "ledger",
    METADATA,
    _required("singleton", Boolean),
    _required("audience", Text),
    _required("currency_code", Text),
    _required("minor_unit_digits", Integer),
    _required("time_zone", Text),
    _required("cut_off_seconds", Integer),
    _required("late_limit_seconds", BigInteger),
    _required("card_notice_seconds", BigInteger),
    _required("clock", Text),
    _optional("manual_time", _moment()),
    _required("first_window_date", Date),
    _required("claw_back", Text),
    _required("refund", Text),
    _required("grace_days", Integer),
    _required("pending_days", Integer),
    _required("member_daily_burns", BigInteger),
    _required("member_daily_points", BigInteger),
    _required("terminal_daily_burns", BigInteger),
    _required("terminal_daily_points", BigInteger),
    _required("transfer_limit_points", BigInteger),
    _required("transfer_daily_points", BigInteger),
)

REGISTRY: Final = Table(
    "registry", METADATA, _required("singleton", Boolean), _required("version", BigInteger)
)

PARTNERS: Final = Table(
    "partners",
    METADATA,
    _required("partner_id", Integer),
    _required("code", _ID),
    _required("display_name", Text),
    _required("attestation_allowed", Boolean),
    _required("create_time", _moment()),
)

KEYS: Final = Table(
    "keys",
    METADATA,
    _required("key_id", _ID),
    _required("owner", _ID),
    _required("holder", Text),
    _required("public_key", LargeBinary),
    _required("roles", ARRAY(Text)),
    _required("state", Text),
    _required("valid_from", _moment()),
    _required("valid_until", _moment()),
    _required("registered_by", Text),
    _optional("approved_by", Text),
    _optional("revoked_by", Text),
    _optional("revoke_reason", Text),
    _required("create_time", _moment()),
)

KEY_CHALLENGES: Final = Table(
    "key_challenges",
    METADATA,
    _required("challenge", LargeBinary),
    _required("owner", Text),
    _required("holder", Text),
    _required("expire_time", _moment()),
    _required("used", Boolean),
)

RATE_CARDS: Final = Table(
    "rate_cards",
    METADATA,
    _required("partner_id", Integer),
    _required("version", Integer),
    _required("valid_from", _moment()),
    _required("earn_rate_numerator", BigInteger),
    _required("earn_rate_denominator", BigInteger),
    _optional("native_rate_in_numerator", BigInteger),
    _optional("native_rate_in_denominator", BigInteger),
    _optional("native_rate_out_numerator", BigInteger),
    _optional("native_rate_out_denominator", BigInteger),
    _required("exchange_spread_numerator", BigInteger),
    _required("exchange_spread_denominator", BigInteger),
    _required("face_value_micros", BigInteger),
    _required("funding_micros", BigInteger),
    _required("reimbursement_micros", BigInteger),
    _required("issue_fee_micros", BigInteger),
    _required("prefunded_micros", BigInteger),
    _required("expiry_kind", Text),
    _required("expiry_amount", Integer),
    _optional("expiry_fixed_date", Date),
    _required("breakage_issuer_share_numerator", BigInteger),
    _required("breakage_issuer_share_denominator", BigInteger),
    _required("state", Text),
    _required("proposed_by", Text),
    _optional("approved_by", Text),
    _optional("propose_time", _moment()),
    _optional("approve_time", _moment()),
    _optional("withdraw_time", _moment()),
    _optional("withdrawn_by", Text),
)

WALLETS: Final = Table(
    "wallets",
    METADATA,
    _required("member_id", BigInteger),
    _required("state", Text),
    _required("open_points", BigInteger),
    _required("pending_points", BigInteger),
    _required("held_points", BigInteger),
    _required("deficit_points", BigInteger),
    _required("lot_sequence", Integer),
    _required("next_expiry_date", Date),
    _required("last_decided_time", _moment()),
    _required("survivor_id", BigInteger),
    _required("merged_batch_id", BigInteger),
    _required("merged_entry_index", Integer),
    _required("deficit_sequence", Integer),
    _required("next_cancel_date", Date),
    _required("next_deadline", _moment()),
    _required("spent_date", Date),
    _required("spent_count", BigInteger),
    _required("spent_points", BigInteger),
    _required("transferred_points", BigInteger),
)

LOTS: Final = Table(
    "lots",
    METADATA,
    _required("member_id", BigInteger),
    _required("lot_sequence", Integer),
    _required("issuer_id", Integer),
    _required("rate_version", Integer),
    _required("expiry_date", Date),
    _required("spent", Boolean),
    _required("funding_micros", BigInteger),
    _required("prefunded_micros", BigInteger),
    _required("issued_points", BigInteger),
    _required("moved_in_points", BigInteger),
    _required("open_points", BigInteger),
    _required("held_points", BigInteger),
    _required("burned_points", BigInteger),
    _required("expired_points", BigInteger),
    _required("clawed_back_points", BigInteger),
    _required("absorbed_points", BigInteger),
    _required("moved_out_points", BigInteger),
    _required("transferred_points", BigInteger),
    _required("deficit_raised_points", BigInteger),
)

HOLDS: Final = Table(
    "holds",
    METADATA,
    _required("partner_id", Integer),
    _required("request_id", _ID),
    _required("member_id", BigInteger),
    _required("batch_id", BigInteger),
    _required("entry_index", Integer),
    _required("kind", Text),
    _required("points", BigInteger),
    _required("rate_version", Integer),
    _required("authorised_time", _moment()),
    _required("deadline", _moment()),
)

PENDING_EARNS: Final = Table(
    "pending_earns",
    METADATA,
    _required("partner_id", Integer),
    _required("request_id", _ID),
    _required("member_id", BigInteger),
    _required("batch_id", BigInteger),
    _required("entry_index", Integer),
    _required("points", BigInteger),
    _required("due_date", Date),
    _optional("expiry_date", Date),
)

DEFICITS: Final = Table(
    "deficits",
    METADATA,
    _required("member_id", BigInteger),
    _required("deficit_sequence", Integer),
    _required("issuer_id", Integer),
    _required("funding_micros", BigInteger),
    _required("raised_time", _moment()),
    _required("raised_points", BigInteger),
    _required("moved_in_points", BigInteger),
    _required("absorbed_points", BigInteger),
    _required("forgiven_points", BigInteger),
    _required("moved_out_points", BigInteger),
    _required("moved_from_member_id", BigInteger),
    _required("moved_from_sequence", Integer),
)

LOT_MOVES: Final = Table(
    "lot_moves",
    METADATA,
    _required("move_id", BigInteger),
    _required("from_member_id", BigInteger),
    _required("from_lot_sequence", Integer),
    _required("to_member_id", BigInteger),
    _required("to_lot_sequence", Integer),
    _required("batch_id", BigInteger),
    _required("entry_index", Integer),
    _required("why", Text),
    _required("points", BigInteger),
)

MARKS: Final = Table(
    "marks",
    METADATA,
    _required("member_id", BigInteger),
    _required("partner_id", Integer),
    _required("once_rule", _ID),
)

QUOTES: Final = Table(
    "quotes",
    METADATA,
    _required("quote_id", _ID),
    _required("batch_id", BigInteger),
    _required("entry_index", Integer),
)

PAY_CODES: Final = Table(
    "pay_codes",
    METADATA,
    _required("digest", LargeBinary),
    _required("member_id", BigInteger),
    _required("partner_id", Integer),
    _required("max_points", BigInteger),
    _required("issue_time", _moment()),
    _required("expire_time", _moment()),
    _required("used", Boolean),
)

ADJUSTMENTS: Final = Table(
    "adjustments",
    METADATA,
    _required("adjustment_id", BigInteger),
    _required("proposal", LargeBinary),
    _required("proposed_by", Text),
    _required("propose_time", _moment()),
    _required("request_id", _ID),
    _optional("withdrawn_by", Text),
    _optional("withdraw_reason", Text),
    _optional("withdraw_time", _moment()),
)

TERMINALS: Final = Table(
    "terminals",
    METADATA,
    _required("partner_id", Integer),
    _required("store_id", _ID),
    _required("terminal_id", _ID),
    _required("wrong_tries", Integer),
    _required("locked", Boolean),
    _required("spent_date", Date),
    _required("spent_count", BigInteger),
    _required("spent_points", BigInteger),
)

LINKS: Final = Table(
    "links",
    METADATA,
    _required("member_id", BigInteger),
    _required("partner_id", Integer),
    _required("per_burn_limit_points", BigInteger),
    _required("per_day_limit_points", BigInteger),
    _required("burned_date", Date),
    _required("burned_points", BigInteger),
    _required("unlinked", Boolean),
)

CONSENT_HISTORY: Final = Table(
    "consent_history",
    METADATA,
    _required("change_id", BigInteger),
    _required("member_id", BigInteger),
    _required("partner_id", Integer),
    _required("per_burn_limit_points", BigInteger),
    _required("per_day_limit_points", BigInteger),
    _required("changed_by", Integer),
    _required("key_id", Text),
    _required("change_time", _moment()),
)

ALIASES: Final = Table(
    "aliases",
    METADATA,
    _required("partner_id", Integer),
    _required("customer_id", _ID),
    _required("member_id", BigInteger),
)

REQUESTS: Final = Table(
    "requests",
    METADATA,
    _required("partner_id", Integer),
    _required("request_id", _ID),
    _required("fingerprint", LargeBinary),
    _required("accepted", Boolean),
    _required("batch_id", BigInteger),
    _required("entry_index", Integer),
    _required("call_id", BigInteger),
    _required("kind", _ID),
    _required("reference", _ID),
    _required("part", Integer),
    _required("answer", LargeBinary),
)

CALLS: Final = Table(
    "calls",
    METADATA,
    _required("call_id", BigInteger),
    _required("partner_id", Integer),
    _required("key_id", Text),
    _required("path", Text),
    _required("signature_input", Text),
    _required("signature", LargeBinary),
    _required("body", LargeBinary),
)

ENTRIES: Final = Table(
    "entries",
    METADATA,
    _required("batch_id", BigInteger),
    _required("entry_index", Integer),
    _required("member_id", BigInteger),
    _required("partner_id", Integer),
    _required("points", BigInteger),
    _required("rate_version", Integer),
    _required("event_time", _moment()),
    _required("kind", Text),
    _required("request_id", _ID),
    _required("store_id", Text),
    _required("terminal_id", Text),
    _required("reference", Text),
    _required("reason", Text),
    _required("campaign_id", Text),
    _required("channel", Text),
    _required("spend_minor", BigInteger),
    _required("native_points", BigInteger),
    _required("original_batch_id", BigInteger),
    _required("original_entry_index", Integer),
)

LEGS: Final = Table(
    "legs",
    METADATA,
    _required("batch_id", BigInteger),
    _required("entry_index", Integer),
    _required("leg_number", Integer),
    _required("member_id", BigInteger),
    _required("lot_sequence", Integer),
    _required("issuer_id", Integer),
    _required("rate_version", Integer),
    _required("points", BigInteger),
    _required("from_account", Text),
    _required("to_account", Text),
)

LINES: Final = Table(
    "lines",
    METADATA,
    _required("batch_id", BigInteger),
    _required("entry_index", Integer),
    _required("line_number", Integer),
    _required("member_id", BigInteger),
    _required("payer_id", Integer),
    _required("payee_id", Integer),
    _required("micros", BigInteger),
    _required("payer_component", Text),
    _required("payee_component", Text),
)

OTHER_MEMBERS: Final = Table(
    "other_members",
    METADATA,
    _required("member_id", BigInteger),
    _required("batch_id", BigInteger),
    _required("entry_index", Integer),
)

BATCHES: Final = Table(
    "batches",
    METADATA,
    _required("batch_id", BigInteger),
    _required("sequence", BigInteger),
    _required("decided_time", _moment()),
    _required("window_date", Date),
    _required("entry_count", Integer),
    _required("digest", LargeBinary),
    _required("hash", LargeBinary),
)

CHAIN: Final = Table(
    "chain",
    METADATA,
    _required("singleton", Boolean),
    _required("sequence", BigInteger),
    _required("hash", LargeBinary),
    _required("window_date", Date),
)

WINDOWS: Final = Table(
    "windows",
    METADATA,
    _required("window_date", Date),
    _required("first_sequence", BigInteger),
    _required("last_sequence", BigInteger),
    _required("last_hash", LargeBinary),
    _required("entry_count", BigInteger),
    _required("close_time", _moment()),
    Column("settled_time", _moment()),
    Column("certificate_sha256", LargeBinary),
)
