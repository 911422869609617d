"""The hub's versioned views, declared once more. A test holds both declarations against the catalogue."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ARRAY, BigInteger, Column, Date, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP

metadata: Final = MetaData(schema="exchange")


def _moment(name: str) -> Column[object]:
    return Column(name, TIMESTAMP(timezone=True))


ledger_v1: Final = Table(
    "ledger_v1",
    metadata,
    Column("audience", Text),
    Column("currency_code", Text),
    Column("minor_unit_digits", Integer),
    Column("time_zone", Text),
    Column("cut_off_seconds", Integer),
    Column("clock", Text),
)

partners_v1: Final = Table("partners_v1", metadata, Column("partner_id", Text), Column("display_name", Text))

keys_v1: Final = Table(
    "keys_v1",
    metadata,
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
    metadata,
    Column("window_date", Date),
    Column("first_sequence", BigInteger),
    Column("last_sequence", BigInteger),
    Column("last_hash", LargeBinary),
    Column("entry_count", BigInteger),
    _moment("close_time"),
    _moment("settled_time"),
)

posted_entries_v1: Final = Table(
    "posted_entries_v1",
    metadata,
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
    metadata,
    Column("window_date", Date),
    Column("batch_sequence", BigInteger),
    Column("entry_index", Integer),
    Column("leg_number", Integer),
    Column("issuer_id", Text),
    Column("from_account", Text),
    Column("to_account", Text),
    Column("points", BigInteger),
    Column("funding_micros", BigInteger),
    Column("prefunded_micros", BigInteger),
)

posted_lines_v1: Final = Table(
    "posted_lines_v1",
    metadata,
    Column("window_date", Date),
    Column("batch_sequence", BigInteger),
    Column("entry_index", Integer),
    Column("line_number", Integer),
    Column("payer_id", Text),
    Column("payer_component", Text),
    Column("payee_id", Text),
    Column("payee_component", Text),
    Column("micros", BigInteger),
)

posted_requests_v1: Final = Table(
    "posted_requests_v1",
    metadata,
    Column("partner_id", Text),
    Column("request_id", Text),
    Column("kind", Text),
    Column("reference", Text),
    Column("part", Integer),
    Column("window_date", Date),
    Column("batch_sequence", BigInteger),
    Column("entry_index", Integer),
)

adjustments_v1: Final = Table(
    "adjustments_v1",
    metadata,
    Column("adjustment_id", BigInteger),
    Column("request_id", Text),
    Column("state", Text),
)

deficits_v1: Final = Table(
    "deficits_v1",
    metadata,
    Column("issuer_id", Text),
    Column("member_id", Text),
    _moment("raised_time"),
    Column("funding_micros", BigInteger),
    Column("outstanding_points", BigInteger),
)

chained_batches_v1: Final = Table(
    "chained_batches_v1",
    metadata,
    Column("sequence", BigInteger),
    Column("batch_id", BigInteger),
    Column("window_date", Date),
    Column("entry_count", Integer),
    Column("digest", LargeBinary),
    Column("hash", LargeBinary),
    _moment("decided_time"),
)

chained_entries_v1: Final = Table(
    "chained_entries_v1",
    metadata,
    Column("batch_sequence", BigInteger),
    Column("window_date", Date),
    Column("batch_id", BigInteger),
    Column("entry_index", Integer),
    Column("member_id", BigInteger),
    Column("partner_id", Integer),
    Column("points", BigInteger),
    Column("rate_version", Integer),
    _moment("event_time"),
    Column("spend_minor", BigInteger),
    Column("native_points", BigInteger),
    Column("original_batch_id", BigInteger),
    Column("original_entry_index", Integer),
    Column("kind", Text),
    Column("request_id", Text),
    Column("store_id", Text),
    Column("terminal_id", Text),
    Column("reference", Text),
    Column("reason", Text),
    Column("campaign_id", Text),
    Column("channel", Text),
)

chained_legs_v1: Final = Table(
    "chained_legs_v1",
    metadata,
    Column("batch_sequence", BigInteger),
    Column("window_date", Date),
    Column("batch_id", BigInteger),
    Column("entry_index", Integer),
    Column("leg_number", Integer),
    Column("member_id", BigInteger),
    Column("lot_sequence", Integer),
    Column("issuer_id", Integer),
    Column("rate_version", Integer),
    Column("points", BigInteger),
    Column("from_account", Text),
    Column("to_account", Text),
)

chained_lines_v1: Final = Table(
    "chained_lines_v1",
    metadata,
    Column("batch_sequence", BigInteger),
    Column("window_date", Date),
    Column("batch_id", BigInteger),
    Column("entry_index", Integer),
    Column("line_number", Integer),
    Column("member_id", BigInteger),
    Column("payer_id", Integer),
    Column("payee_id", Integer),
    Column("micros", BigInteger),
    Column("payer_component", Text),
    Column("payee_component", Text),
)

chained_parties_v1: Final = Table(
    "chained_parties_v1", metadata, Column("party_number", Integer), Column("party_id", Text)
)

card_prices_v1: Final = Table(
    "card_prices_v1",
    metadata,
    Column("party_number", Integer),
    Column("rate_version", Integer),
    Column("funding_micros", BigInteger),
    Column("prefunded_micros", BigInteger),
)
