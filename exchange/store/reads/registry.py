"""Partners, keys, cards and constants for the hub itself, on a bare driver connection."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from typing import Any, Final, NamedTuple

import psycopg

from exchange.core.rates import NEVER, Cards, ExpiryKind, ExpiryPolicy, RateCard


class PartnerRow(NamedTuple):
    """A partner, or one of the reserved parties."""

    partner_id: int
    code: str
    attestation_allowed: bool


class KeyRow(NamedTuple):
    """An active key."""

    key_id: str
    owner: str
    holder: str
    public_key: bytes
    roles: list[str]
    valid_from: datetime
    valid_until: datetime


class RegistryRow(NamedTuple):
    """The partners and active keys of one registry version."""

    version: int
    partners: list[PartnerRow]
    active_keys: list[KeyRow]


READ_CARDS: Final = b"""
SELECT partner_id, version, valid_from, earn_rate_numerator, earn_rate_denominator, face_value_micros,
    funding_micros, reimbursement_micros, issue_fee_micros, prefunded_micros, expiry_kind, expiry_amount,
    expiry_fixed_date, breakage_issuer_share_numerator, breakage_issuer_share_denominator,
    native_rate_in_numerator, native_rate_in_denominator, native_rate_out_numerator, native_rate_out_denominator,
    exchange_spread_numerator, exchange_spread_denominator
FROM exchange.rate_cards WHERE state = 'approved'"""


def read_cards(connection: psycopg.Connection[Any]) -> tuple[int, Cards]:
    """The registry version and every approved card, in one snapshot's order: the version first.

    A card approved between the two statements comes early, never late: the next batch sees the newer version
    and reads again.
    """
    version = read_registry_version(connection)
    rows = connection.execute(READ_CARDS).fetchall()
    return version, Cards(_card(row) for row in rows)


def read_registry_version(connection: psycopg.Connection[Any]) -> int:
    """The version that goes up with every change of partners, keys or cards."""
    (version,) = connection.execute(b"SELECT version FROM exchange.registry").fetchall()[0]
    return int(version)


def read_registry(connection: psycopg.Connection[Any], known_version: int) -> RegistryRow | None:
    """The partners and active keys, or None where `known_version` is still the newest."""
    version = read_registry_version(connection)
    if version == known_version:
        return None
    partners = connection.execute(b"SELECT partner_id, code, attestation_allowed FROM exchange.partners")
    keys = connection.execute(
        b"SELECT key_id, owner, holder, public_key, roles, valid_from, valid_until FROM exchange.keys"
        b" WHERE state = 'active' AND owner <> 'hub'"
    )
    return RegistryRow(
        version, [PartnerRow(*row) for row in partners.fetchall()], [KeyRow(*row) for row in keys.fetchall()]
    )


# The calendar day of the ledger clock in the coalition's zone; holds go by the wall clock. Each part has an index of
# its own, which it walks from the end that is due.
READ_DUE: Final = b"""
WITH clock AS MATERIALIZED (
    SELECT (CASE WHEN clock = 'manual' THEN manual_time ELSE clock_timestamp() END AT TIME ZONE time_zone)::date
        AS today
    FROM exchange.ledger)
(SELECT member_id FROM exchange.wallets WHERE next_deadline < clock_timestamp()
    AND next_deadline < '9999-12-31 23:59:59.999999+00' ORDER BY next_deadline LIMIT %s)
UNION
(SELECT member_id FROM exchange.wallets WHERE next_cancel_date < (SELECT today FROM clock)
    AND next_cancel_date < '9999-12-31' ORDER BY next_cancel_date LIMIT %s)
UNION
(SELECT member_id FROM exchange.wallets WHERE next_expiry_date < (SELECT today FROM clock)
    ORDER BY next_expiry_date LIMIT %s)"""


def read_due_members(connection: psycopg.Connection[Any], limit: int) -> list[int]:
    """Up to three times `limit` members who may have a hold, a pending earn or points past their time."""
    return [row[0] for row in connection.execute(READ_DUE, (limit, limit, limit)).fetchall()]


def _card(row: tuple[Any, ...]) -> RateCard:
    partner_id, version, valid_from, earn, per, *others = row
    face_value, funding, reimbursement, issue_fee, prefunded, *others = others
    kind, amount, fixed_date, share, of, *native = others
    into, into_per, out, out_per, spread, spread_per = native
    return RateCard(
        partner_id=partner_id,
        version=version,
        valid_from=valid_from,
        earn_rate=Fraction(earn, per),
        face_value_micros=face_value,
        funding_micros=funding,
        reimbursement_micros=reimbursement,
        issue_fee_micros=issue_fee,
        prefunded_micros=prefunded,
        expiry_policy=ExpiryPolicy(ExpiryKind(kind), amount, fixed_date or NEVER),
        breakage_issuer_share=Fraction(share, of),
        native_rate_in=None if into is None else Fraction(into, into_per),
        native_rate_out=None if out is None else Fraction(out, out_per),
        exchange_spread=Fraction(spread, spread_per),
    )
