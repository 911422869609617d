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
)
