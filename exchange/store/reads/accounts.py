"""The journal's entries, and whose members are whose, read by whoever may see them."""

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
    union_all,
)

from exchange.store.tables import BATCHES, ENTRIES, LEGS, LINES, LINKS, OTHER_MEMBERS, PARTNERS, WALLETS


class LegRow(NamedTuple):
    """Points that moved."""

    member_id: int
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
    spend_minor: int = 0
    native_points: int = 0
    original_batch_id: int = 0
    original_entry_index: int = 0


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
            LINKS.c.member_id == member_id, LINKS.c.partner_id == linked_to, ~LINKS.c.unlinked
        )
    return connection.execute(found).first() is not None


class EntryFilter(NamedTuple):
    """Which entries to read: those a partner posted, those of a member, both, or all."""

    partner_id: int | None = None
    member_id: int | None = None


_POSTERS: Final = PARTNERS.alias("posters")
_PAYERS: Final = PARTNERS.alias("payers")
_PAYEES: Final = PARTNERS.alias("payees")


def select_entries() -> Select[Any]:
    """The columns of `EntryRow`, for a statement that says which entries it wants."""
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
    query = select_entries()
    if wanted.partner_id is not None:
        query = query.where(entries.partner_id == wanted.partner_id)
    if wanted.member_id is not None:
        own, others = ENTRIES.alias("own").c, OTHER_MEMBERS.c
        theirs = union_all(
            select(own.batch_id, own.entry_index).where(own.member_id == wanted.member_id),
            select(others.batch_id, others.entry_index).where(others.member_id == wanted.member_id),
        )
        query = query.where(tuple_(entries.batch_id, entries.entry_index).in_(theirs))
    if before is not None:
        # The first condition says nothing new, but it lets the chain's index begin at the right place.
        query = query.where(
            batches.sequence <= before.batch_sequence,
            tuple_(batches.sequence, entries.entry_index) < tuple_(*before),
        )
    rows = connection.execute(
        query.order_by(batches.sequence.desc(), entries.entry_index.desc()).limit(limit)
    )
    return complete_entries(connection, [EntryRow._make(row) for row in rows], wanted.partner_id)


def read_entry(
    connection: Connection, batch_id: int, entry_index: int, posted_by: int | None
) -> FullEntry | None:
    """One entry, or None where there is none that the partner (where one is named) posted."""
    entries = ENTRIES.c
    query = select_entries().where(entries.batch_id == batch_id, entries.entry_index == entry_index)
    if posted_by is not None:
        query = query.where(entries.partner_id == posted_by)
    rows = [EntryRow._make(row) for row in connection.execute(query)]
    found = complete_entries(connection, rows, posted_by)
    return found[0] if found else None


_Key = tuple[int, int]


def complete_entries(
    connection: Connection, rows: Sequence[EntryRow], reader_id: int | None
) -> list[FullEntry]:
    """Adds legs and lines, one statement a table."""
    keys = [(row.batch_id, row.entry_index) for row in rows]
    full = {key: FullEntry(row, [], []) for key, row in zip(keys, rows, strict=True)}
    for key, leg in _read_legs(connection, keys):
        full[key].legs.append(leg)
    for key, line in _read_lines(connection, keys, reader_id):
        full[key].lines.append(line)
    return list(full.values())


def of_entries(table: Any, keys: Sequence[_Key]) -> tuple[Any, ColumnElement[bool]]:
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
    wanted, joined = of_entries(LEGS, keys)
    query = (
        select(
            legs.batch_id,
            legs.entry_index,
            legs.member_id,
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
    wanted, joined = of_entries(LINES, keys)
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
