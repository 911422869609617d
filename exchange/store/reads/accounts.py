"""Members' accounts and the journal's entries, read by whoever may see them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    and_,
    column,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from exchange.store.reads.ledger import read_clock
from exchange.store.tables import BATCHES, ENTRIES, LEGS, LINES, LINKS, LOTS, PARTNERS, WALLETS


class WalletLot(NamedTuple):
    """Points of one issuer at one price with one last usable day."""

    lot_sequence: int
    issuer_code: str
    rate_version: int
    expiry_date: date
    open_points: int
    held_points: int


class WalletState(NamedTuple):
    """A member's account at one moment of the ledger clock; its lots in the order they are spent."""

    member_id: int
    available_points: int
    pending_points: int
    held_points: int
    deficit_points: int
    lots: list[WalletLot]
    read_time: datetime


class LegRow(NamedTuple):
    """Points that moved."""

    lot_sequence: int
    issuer_code: str
    rate_version: int
    from_account: str
    to_account: str
    points: int


class LineRow(NamedTuple):
    """Money owed."""

    payer_code: str
    payer_component: str
    payee_code: str
    payee_component: str
    micros: int


class EntryRow(NamedTuple):
    """An entry with its place in the ledger's order."""

    batch_id: int
    entry_index: int
    batch_sequence: int
    decided_time: datetime
    window_date: date
    kind: str
    partner_code: str
    request_id: str
    member_id: int
    event_time: datetime
    store_id: str
    terminal_id: str
    reference: str
    reason: str
    campaign_id: str
    channel: str
    points: int
    rate_version: int


class FullEntry(NamedTuple):
    """An entry, its legs, and the lines that the reader may see."""

    entry: EntryRow
    legs: list[LegRow]
    lines: list[LineRow]


class Place(NamedTuple):
    """A place in the ledger's order."""

    batch_sequence: int
    entry_index: int


def is_member(connection: Connection, member_id: int, linked_to: int | None) -> bool:
    """Whether the member exists, and is linked to the partner where one is named."""
    found = select(WALLETS.c.member_id).where(WALLETS.c.member_id == member_id)
    if linked_to is not None:
        found = select(LINKS.c.member_id).where(
            LINKS.c.member_id == member_id, LINKS.c.partner_id == linked_to
        )
    return connection.execute(found).first() is not None


def read_wallet(connection: Connection, member_id: int, linked_to: int | None) -> WalletState | None:
    """A member's account, or None where `is_member` would say no.

    Points past their day are not available, whether or not a sweep has posted their expiry yet.
    """
    if not is_member(connection, member_id, linked_to):
        return None
    ledger = read_clock(connection)
    columns = WALLETS.c
    wallet = connection.execute(select(WALLETS).where(columns.member_id == member_id)).one()
    read_time = max(ledger.ledger_time, wallet.last_decided_time)  # as a batch would decide
    today = ledger.terms().day_of(read_time)
    lots = [_usable(lot, today) for lot in _read_lots(connection, member_id)]
    return WalletState(
        member_id,
        sum(lot.open_points for lot in lots),
        wallet.pending_points,
        wallet.held_points,
        wallet.deficit_points,
        [lot for lot in lots if lot.open_points or lot.held_points],
        read_time,
    )


def _read_lots(connection: Connection, member_id: int) -> list[WalletLot]:
    columns = LOTS.c
    rows = connection.execute(
        select(
            columns.lot_sequence,
            PARTNERS.c.code,
            columns.rate_version,
            columns.expiry_date,
            columns.open_points,
            columns.held_points,
        )
        .join(PARTNERS, PARTNERS.c.partner_id == columns.issuer_id)
        .where(columns.member_id == member_id, or_(~columns.spent, columns.held_points > 0))
        .order_by(columns.expiry_date, columns.lot_sequence)
    )
    return [WalletLot._make(row) for row in rows]


def _usable(lot: WalletLot, today: date) -> WalletLot:
    return lot._replace(open_points=0) if lot.expiry_date < today else lot


class EntryFilter(NamedTuple):
    """Which entries to read: those a partner posted, those of a member, both, or all."""

    partner_id: int | None = None
    member_id: int | None = None


_POSTERS: Final = PARTNERS.alias("posters")
_PAYERS: Final = PARTNERS.alias("payers")
_PAYEES: Final = PARTNERS.alias("payees")


def _entries() -> Select[Any]:
    entries, batches = ENTRIES.c, BATCHES.c
    chosen = {
        **{name: entries[name] for name in EntryRow._fields if name in entries},
        "batch_sequence": batches.sequence,
        "decided_time": batches.decided_time,
        "window_date": batches.window_date,
        "partner_code": _POSTERS.c.code,
    }
    return (
        select(*(chosen[name] for name in EntryRow._fields))
        .join(BATCHES, batches.batch_id == entries.batch_id)
        .join(_POSTERS, _POSTERS.c.partner_id == entries.partner_id)
    )


def list_entries(
    connection: Connection, wanted: EntryFilter, before: Place | None, limit: int
) -> list[FullEntry]:
    """Entries in ledger order, newest first, from before a place on. A partner's see only its own lines."""
    entries, batches = ENTRIES.c, BATCHES.c
    query = _entries()
    if wanted.partner_id is not None:
        query = query.where(entries.partner_id == wanted.partner_id)
    if wanted.member_id is not None:
        query = query.where(entries.member_id == wanted.member_id)
    if before is not None:
        # The first condition says nothing new, but it lets the chain's index begin at the right place.
        query = query.where(
            batches.sequence <= before.batch_sequence,
            tuple_(batches.sequence, entries.entry_index) < tuple_(*before),
        )
    rows = connection.execute(
        query.order_by(batches.sequence.desc(), entries.entry_index.desc()).limit(limit)
    )
    return _complete(connection, [EntryRow._make(row) for row in rows], wanted.partner_id)


def read_entry(
    connection: Connection, batch_id: int, entry_index: int, posted_by: int | None
) -> FullEntry | None:
    """One entry, or None where there is none that the partner (where one is named) posted."""
    entries = ENTRIES.c
    query = _entries().where(entries.batch_id == batch_id, entries.entry_index == entry_index)
    if posted_by is not None:
        query = query.where(entries.partner_id == posted_by)
    rows = [EntryRow._make(row) for row in connection.execute(query)]
    found = _complete(connection, rows, posted_by)
    return found[0] if found else None


_Key = tuple[int, int]


def _complete(connection: Connection, rows: Sequence[EntryRow], reader_id: int | None) -> list[FullEntry]:
    """Adds legs and lines, one statement a table."""
    keys = [(row.batch_id, row.entry_index) for row in rows]
    full = {key: FullEntry(row, [], []) for key, row in zip(keys, rows, strict=True)}
    for key, leg in _read_legs(connection, keys):
        full[key].legs.append(leg)
    for key, line in _read_lines(connection, keys, reader_id):
        full[key].lines.append(line)
    return list(full.values())


def _of_entries(table: Any, keys: Sequence[_Key]) -> tuple[Any, ColumnElement[bool]]:
    """The wanted entries as rows, and what joins a table to them."""
    arrays = (
        literal([batch_id for batch_id, _ in keys], ARRAY(BigInteger)),
        literal([entry_index for _, entry_index in keys], ARRAY(Integer)),
    )
    columns = (column("batch_id", BigInteger), column("entry_index", Integer))
    wanted = func.unnest(*arrays).table_valued(*columns).render_derived(name="wanted")
    joined = and_(table.c.batch_id == wanted.c.batch_id, table.c.entry_index == wanted.c.entry_index)
    return wanted, joined


def _read_legs(connection: Connection, keys: Sequence[_Key]) -> Iterable[tuple[_Key, LegRow]]:
    legs = LEGS.c
    wanted, joined = _of_entries(LEGS, keys)
    query = (
        select(
            legs.batch_id,
            legs.entry_index,
            legs.lot_sequence,
            PARTNERS.c.code,
            legs.rate_version,
            legs.from_account,
            legs.to_account,
            legs.points,
        )
        .select_from(wanted.join(LEGS, joined).join(PARTNERS, PARTNERS.c.partner_id == legs.issuer_id))
        .order_by(legs.batch_id, legs.entry_index, legs.leg_number)
    )
    for batch_id, entry_index, *leg in connection.execute(query):
        yield (batch_id, entry_index), LegRow._make(leg)


def _read_lines(
    connection: Connection, keys: Sequence[_Key], reader_id: int | None
) -> Iterable[tuple[_Key, LineRow]]:
    lines = LINES.c
    wanted, joined = _of_entries(LINES, keys)
    query = (
        select(
            lines.batch_id,
            lines.entry_index,
            _PAYERS.c.code,
            lines.payer_component,
            _PAYEES.c.code,
            lines.payee_component,
            lines.micros,
        )
        .select_from(
            wanted.join(LINES, joined)
            .join(_PAYERS, _PAYERS.c.partner_id == lines.payer_id)
            .join(_PAYEES, _PAYEES.c.partner_id == lines.payee_id)
        )
        .order_by(lines.batch_id, lines.entry_index, lines.line_number)
    )
    if reader_id is not None:
        query = query.where(or_(lines.payer_id == reader_id, lines.payee_id == reader_id))
    for batch_id, entry_index, *line in connection.execute(query):
        yield (batch_id, entry_index), LineRow._make(line)
