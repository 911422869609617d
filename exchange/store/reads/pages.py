"""What is read by page: partners, keys, rate cards, windows, batches. Each statement walks one index."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from fractions import Fraction
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, select

from exchange.core.rates import NEVER, ExpiryKind, ExpiryPolicy
from exchange.store.tables import BATCHES, KEYS, PARTNERS, RATE_CARDS, WINDOWS


class Partner(NamedTuple):
    """A partner."""

    partner_id: int
    code: str
    display_name: str
    attestation_allowed: bool
    create_time: datetime


class Key(NamedTuple):
    """A public key and its standing: `registered`, `active` or `revoked`."""

    key_id: str
    owner: str
    holder: str
    public_key: bytes
    roles: tuple[str, ...]
    state: str
    valid_from: datetime
    valid_until: datetime


class Card(NamedTuple):
    """A rate card in full: `proposed`, `approved` or `withdrawn`. Prices are micros a point, rates are exact.

    The times are of the ledger clock; None for what has not happened, or happened before they were kept.
    """

    partner_code: str
    version: int
    valid_from: datetime
    earn_rate: Fraction
    native_rate_in: Fraction | None
    native_rate_out: Fraction | None
    exchange_spread: Fraction
    face_value_micros: int
    funding_micros: int
    reimbursement_micros: int
    issue_fee_micros: int
    prefunded_micros: int
    expiry_policy: ExpiryPolicy
    breakage_issuer_share: Fraction
    state: str
    proposed_by: str
    approved_by: str
    withdrawn_by: str
    propose_time: datetime | None
    approve_time: datetime | None
    withdraw_time: datetime | None


class Window(NamedTuple):
    """A closed window: a range of batch sequences and the chain's hash at its end.

    `settled_time` and `certificate_sha256` are None until its payments are final.
    """

    window_date: date
    first_sequence: int
    last_sequence: int
    last_hash: bytes
    entry_count: int
    close_time: datetime
    settled_time: datetime | None = None
    certificate_sha256: bytes | None = None


class Batch(NamedTuple):
    """One link of the chain."""

    sequence: int
    batch_id: int
    digest: bytes
    hash: bytes
    entry_count: int
    decided_time: datetime
    window_date: date


KEY_COLUMNS: Final = tuple(KEYS.c[name] for name in Key._fields)
_BATCH_COLUMNS: Final = tuple(BATCHES.c[name] for name in Batch._fields)


def list_partners(connection: Connection, after_code: str, limit: int) -> list[Partner]:
    """Partners by code."""
    rows = connection.execute(
        select(PARTNERS)
        .where(PARTNERS.c.code > after_code, PARTNERS.c.partner_id > 0)
        .order_by(PARTNERS.c.code)
        .limit(limit)
    )
    return [Partner._make(row) for row in rows]


def partner_id_of(connection: Connection, code: str) -> int | None:
    """The integer of a partner's code; the reserved parties have none."""
    found = select(PARTNERS.c.partner_id).where(PARTNERS.c.code == code, PARTNERS.c.partner_id > 0)
    return connection.execute(found).scalar_one_or_none()


def list_keys(connection: Connection, owners: Sequence[str], after_key_id: str, limit: int) -> list[Key]:
    """Keys by id, of these owners only where any are named."""
    wanted = select(*KEY_COLUMNS).where(KEYS.c.key_id > after_key_id)
    if owners:
        wanted = wanted.where(KEYS.c.owner.in_(owners))
    rows = connection.execute(wanted.order_by(KEYS.c.key_id).limit(limit))
    return [to_key(row) for row in rows]


def to_key(row: Row[Any]) -> Key:
    """A key from `KEY_COLUMNS`."""
    key = Key._make(row)
    return key._replace(public_key=bytes(key.public_key), roles=tuple(key.roles))


def list_cards(
    connection: Connection,
    code: str,
    partner_id: int,
    before: int | None,
    limit: int,
    state: str | None = None,
) -> list[Card]:
    """A partner's cards, newest version first; of one state only where it is named."""
    wanted = select(RATE_CARDS).where(RATE_CARDS.c.partner_id == partner_id)
    if state is not None:
        wanted = wanted.where(RATE_CARDS.c.state == state)
    if before is not None:
        wanted = wanted.where(RATE_CARDS.c.version < before)
    rows = connection.execute(wanted.order_by(RATE_CARDS.c.version.desc()).limit(limit))
    return [to_card(code, row) for row in rows]


def find_card(connection: Connection, code: str, partner_id: int, version: int) -> Card | None:
    """A partner's card of this version, whatever its state."""
    columns = RATE_CARDS.c
    row = connection.execute(
        select(RATE_CARDS).where(columns.partner_id == partner_id, columns.version == version)
    ).first()
    return None if row is None else to_card(code, row)


def find_card_in_force(connection: Connection, code: str, partner_id: int, moment: datetime) -> Card | None:
    """A partner's approved card that prices events of that moment."""
    columns = RATE_CARDS.c
    approved = select(RATE_CARDS).where(
        columns.partner_id == partner_id, columns.state == "approved", columns.valid_from <= moment
    )
    row = connection.execute(
        approved.order_by(columns.valid_from.desc(), columns.version.desc()).limit(1)
    ).first()
    return None if row is None else to_card(code, row)


def to_card(partner_code: str, row: Row[Any]) -> Card:
    """A card from the columns of `RATE_CARDS`."""
    policy = ExpiryPolicy(ExpiryKind(row.expiry_kind), row.expiry_amount, row.expiry_fixed_date or NEVER)
    return Card(
        partner_code,
        row.version,
        row.valid_from,
        Fraction(row.earn_rate_numerator, row.earn_rate_denominator),
        _optional(row.native_rate_in_numerator, row.native_rate_in_denominator),
        _optional(row.native_rate_out_numerator, row.native_rate_out_denominator),
        Fraction(row.exchange_spread_numerator, row.exchange_spread_denominator),
        row.face_value_micros,
        row.funding_micros,
        row.reimbursement_micros,
        row.issue_fee_micros,
        row.prefunded_micros,
        policy,
        Fraction(row.breakage_issuer_share_numerator, row.breakage_issuer_share_denominator),
        row.state,
        row.proposed_by,
        row.approved_by or "",
        row.withdrawn_by or "",
        row.propose_time,
        row.approve_time,
        row.withdraw_time,
    )


def _optional(numerator: int | None, denominator: int | None) -> Fraction | None:
    return None if numerator is None or denominator is None else Fraction(numerator, denominator)


def list_windows(connection: Connection, before: date | None, limit: int) -> list[Window]:
    """Closed windows, newest first."""
    wanted = select(WINDOWS)
    if before is not None:
        wanted = wanted.where(WINDOWS.c.window_date < before)
    rows = connection.execute(wanted.order_by(WINDOWS.c.window_date.desc()).limit(limit))
    return [to_window(row) for row in rows]


def to_window(row: Row[Any]) -> Window:
    """A window from the columns of `WINDOWS`."""
    window = Window._make(row)
    certificate = window.certificate_sha256
    return window._replace(
        last_hash=bytes(window.last_hash),
        certificate_sha256=None if certificate is None else bytes(certificate),
    )


def list_batches(connection: Connection, first_sequence: int, limit: int) -> list[Batch]:
    """Batches in chain order."""
    rows = connection.execute(
        select(*_BATCH_COLUMNS)
        .where(BATCHES.c.sequence >= first_sequence)
        .order_by(BATCHES.c.sequence)
        .limit(limit)
    )
    batches = [Batch._make(row) for row in rows]
    return [it._replace(digest=bytes(it.digest), hash=bytes(it.hash)) for it in batches]
