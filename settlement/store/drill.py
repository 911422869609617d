"""From a line of a statement down to the journal's entries, a page at a time, in the ledger's order."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Subquery,
    Table,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from settlement.core.contracts import bilateral_pairs
from settlement.core.drill_down import EntryLeg, EntryLine, LineEntry, Place, PostedEntry
from settlement.core.netting import Partners, bilateral_line
from settlement.core.parties import POOL
from settlement.core.rounding import ESCROW
from settlement.store import load, views
from settlement.store.tables import Whole

BEGINNING = Place(0, 0)
"""Before every entry: batches count from 1."""


def load_line_entries(
    connection: Connection, window_date: date, party_id: str, component: str, after: Place, limit: int
) -> list[LineEntry]:
    """At most `limit` entries behind one line of a party's statement, from the first one after a place.

    All pages together sum to the line's exact amount. Nothing is behind `ROUNDING`.
    """
    return _entries(connection, window_date, party_id, component, after, limit)


def load_party_entries(
    connection: Connection, window_date: date, party_id: str, after: Place, limit: int
) -> list[LineEntry]:
    """About `limit` (entry, line) pairs behind all lines of a party's statement, from the first after a place.

    A page ends with the last line of an entry, so it may be longer than `limit` by the lines of one entry.
    """
    return _entries(connection, window_date, party_id, None, after, limit)


def _line(party_id: str, pairs: Partners) -> ColumnElement[str]:
    """The component under which a money line stands on a party's statement."""
    columns = views.posted_lines_v1.c
    if party_id == POOL:
        return literal(ESCROW, Text)
    own = case((columns.payee_id == party_id, columns.payee_component), else_=columns.payer_component)
    other = case((columns.payee_id == party_id, columns.payer_id), else_=columns.payee_id)
    partners = sorted({one if two == party_id else two for one, two in pairs if party_id in (one, two)})
    apart = [(other == partner, bilateral_line(party_id, partner)[1]) for partner in partners]
    return case(*apart, else_=own) if apart else own


def _entries(
    connection: Connection,
    window_date: date,
    party_id: str,
    component: str | None,
    after: Place,
    limit: int,
) -> list[LineEntry]:
    entries = views.posted_entries_v1.c
    own = _own_lines(connection, window_date, party_id, after)
    parts = select(
        own.c.batch_sequence,
        own.c.entry_index,
        own.c.component,
        func.count().label("line_count"),
        func.sum(own.c.micros).label("micros"),
    )
    if component is not None:
        parts = parts.where(own.c.component == component)
    picked = (
        parts.group_by(own.c.batch_sequence, own.c.entry_index, own.c.component)
        .order_by(own.c.batch_sequence, own.c.entry_index)
        .fetch(limit, with_ties=True)
        .subquery()
    )
    rows = connection.execute(
        select(
            entries.batch_sequence,
            entries.entry_index,
            entries.entry_id,
            entries.partner_id,
            entries.request_id,
            entries.kind,
            entries.reference,
            entries.store_id,
            entries.terminal_id,
            entries.member_id,
            entries.event_time,
            entries.points,
            entries.rate_version,
            picked.c.component,
            picked.c.line_count,
            cast(picked.c.micros, Whole),
        )
        .join(picked, _same_entry(views.posted_entries_v1, picked))
        .where(entries.window_date == window_date)
        .order_by(entries.batch_sequence, entries.entry_index, picked.c.component)
    )
    return [LineEntry(Place(sequence, index), *rest) for sequence, index, *rest in map(tuple, rows)]


def _own_lines(connection: Connection, window_date: date, party_id: str, after: Place) -> Subquery:
    """A party's money lines after a place, each under the line of its statement, received positive."""
    lines = views.posted_lines_v1.c
    pairs = bilateral_pairs(load.load_contracts(connection, window_date))
    return (
        select(
            lines.batch_sequence,
            lines.entry_index,
            _line(party_id, pairs).label("component"),
            case((lines.payee_id == party_id, lines.micros), else_=-lines.micros).label("micros"),
        )
        .where(
            lines.window_date == window_date,
            or_(lines.payer_id == party_id, lines.payee_id == party_id),
            lines.batch_sequence >= after.batch_sequence,
            tuple_(lines.batch_sequence, lines.entry_index) > tuple_(after.batch_sequence, after.entry_index),
        )
        .subquery()
    )


def _same_entry(one: FromClause, other: FromClause) -> ColumnElement[bool]:
    return and_(one.c.batch_sequence == other.c.batch_sequence, one.c.entry_index == other.c.entry_index)


def load_entry(connection: Connection, entry_id: str) -> PostedEntry | None:
    """An entry by the id the hub gave it, `<batch>-<index>`; None where there is none."""
    batch_id, _, index = entry_id.partition("-")
    if not (batch_id.isdecimal() and index.isdecimal()):
        return None
    hashed, batches = views.chained_entries_v1.c, views.chained_batches_v1.c
    found = connection.execute(
        select(hashed.batch_sequence, hashed.window_date, batches.digest, batches.hash)
        .join(views.chained_batches_v1, batches.sequence == hashed.batch_sequence)
        .where(hashed.batch_id == int(batch_id), hashed.entry_index == int(index))
    ).one_or_none()
    if found is None:
        return None
    place = Place(found.batch_sequence, int(index))
    columns = [column for column in views.posted_entries_v1.c if column.name not in _PLACE]
    entry = connection.execute(
        select(*columns).where(*_at(views.posted_entries_v1, found.window_date, place))
    ).one()
    return PostedEntry(
        place=place,
        window_date=found.window_date,
        legs=tuple(
            EntryLeg(*row) for row in _parts(connection, views.posted_legs_v1, found.window_date, place)
        ),
        lines=tuple(
            EntryLine(*row) for row in _parts(connection, views.posted_lines_v1, found.window_date, place)
        ),
        digest=bytes(found.digest),
        chain_hash=bytes(found.hash),
        **entry._mapping,
    )


_PLACE = ("window_date", "batch_sequence", "entry_index", "leg_number", "line_number")


def _parts(connection: Connection, view: Table, window_date: date, place: Place) -> list[tuple[Any, ...]]:
    """An entry's legs or lines in their order, without their place."""
    columns = [column for column in view.c if column.name not in _PLACE]
    order = next(column for column in view.c if column.name in ("leg_number", "line_number"))
    rows = connection.execute(select(*columns).where(*_at(view, window_date, place)).order_by(order))
    return [tuple(row) for row in rows]


def _at(view: Table, window_date: date, place: Place) -> tuple[ColumnElement[bool], ...]:
    return (
        view.c.window_date == window_date,
        view.c.batch_sequence == place.batch_sequence,
        view.c.entry_index == place.entry_index,
    )
