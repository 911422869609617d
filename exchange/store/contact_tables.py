"""The tables of schema `contacts`, where alone members' phones and e-mails are, sealed."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Boolean, Column, DateTime, Integer, LargeBinary, MetaData, Table, Text, func
from sqlalchemy.types import BigInteger

CONTACTS_SCHEMA: Final = "contacts"
CONTACTS_METADATA: Final = MetaData(schema=CONTACTS_SCHEMA)

_ID: Final = Text(collation="C")
_MOMENT: Final = DateTime(timezone=True)

MASTER_KEY: Final = Table(
    "master_key",
    CONTACTS_METADATA,
    Column("singleton", Boolean, nullable=False, default=True),
    Column("key_check", LargeBinary, nullable=False),
)

DATA_KEYS: Final = Table(
    "data_keys",
    CONTACTS_METADATA,
    Column("member_id", BigInteger, nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),
)

CONTACTS: Final = Table(
    "contacts",
    CONTACTS_METADATA,
    Column("lookup", LargeBinary, nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("sealed_value", LargeBinary, nullable=False),
    Column("attested", Boolean, nullable=False),
    Column("verified_by", Integer, nullable=False),
    Column("verify_time", _MOMENT, nullable=False, server_default=func.clock_timestamp()),
)

PROOFS: Final = Table(
    "proofs",
    CONTACTS_METADATA,
    Column("proof_id", _ID, nullable=False),
    Column("partner_id", Integer, nullable=False),
    Column("request_id", _ID, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("lookup", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),
    Column("sealed_value", LargeBinary, nullable=False),
    Column("code_hash", LargeBinary, nullable=True),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("used", Boolean, nullable=False, server_default="false"),
    Column("create_time", _MOMENT, nullable=False, server_default=func.clock_timestamp()),
    Column("expire_time", _MOMENT, nullable=False),
)

ERASURES: Final = Table(
    "erasures",
    CONTACTS_METADATA,
    Column("member_id", BigInteger, nullable=False),
    Column("erased_by", Text, nullable=False),
    Column("erase_time", _MOMENT, nullable=False, server_default=func.clock_timestamp()),
)
