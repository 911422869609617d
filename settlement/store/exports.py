"""Streams a window's journal as plain data, for evidence that needs no database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Table, select

from settlement.core.certificate import time_text
from settlement.core.evidence import COLUMNS, ORDER, SEQUENCE
from settlement.core.window import ClosedWindow
from settlement.store import views

Record = dict[str, Any]

ENTRIES_IN_HAND: Final = 20_000
BATCHES_IN_HAND: Final = 5_000
"""Bounds of a stretch that the database sorts at once."""

_TABLES: Final[Mapping[str, Table]] = {
    "entries": views.chained_entries_v1,
    "legs": views.chained_legs_v1,
    "lines": views.chained_lines_v1,
}


def stream_batches(connection: Connection, window: ClosedWindow) -> Iterator[list[Record]]:
    """The links of the chain that a window spans, in stretches of as many as are best read together."""
    columns = views.chained_batches_v1.c
    first = window.first_sequence
    while True:
        rows = connection.execute(
            select(columns.sequence, columns.window_date, columns.entry_count, columns.digest, columns.hash)
            .where(columns.sequence.between(first, window.last_sequence))
            .order_by(columns.sequence)
            .limit(BATCHES_IN_HAND)
        ).all()
        if not rows:
            return
        stretch: list[Record] = []
        entry_count = 0
        for row in rows:
            stretch.append(
                {
                    "sequence": row.sequence,
                    "window_date": row.window_date.isoformat(),
                    "entry_count": row.entry_count,
                    "digest": row.digest.hex(),
                    "hash": row.hash.hex(),
                }
            )
            entry_count += row.entry_count
            if entry_count >= ENTRIES_IN_HAND:
                break
        yield stretch
        first = stretch[-1]["sequence"] + 1


def stream_rows(connection: Connection, table: str, first: int, last: int) -> Iterator[Record]:
    """The hashed columns of a table's rows of the batches from `first` to `last`, in the order they are hashed in."""
    view = _TABLES[table]
    names = (SEQUENCE, *(name for name, _ in COLUMNS[table]))
    order = [view.c[name] for name in (SEQUENCE, *ORDER[table])]
    rows = connection.execute(
        select(*(view.c[name] for name in names))
        .where(view.c[SEQUENCE].between(first, last))
        .order_by(*order)
        .execution_options(yield_per=5_000)
    )
    for row in rows:
        record = dict(zip(names, row, strict=True))
        moment = record.get("event_time")
        if isinstance(moment, datetime):
            record["event_time"] = time_text(moment)
        yield record


def read_parties(connection: Connection) -> list[Record]:
    """The numbers that hashed rows have for parties."""
    columns = views.chained_parties_v1.c
    rows = connection.execute(select(columns.party_number, columns.party_id).order_by(columns.party_number))
    return [{"party_number": row.party_number, "party_id": row.party_id} for row in rows]


def read_prices(connection: Connection, window: ClosedWindow) -> list[Record]:
    """F and P, micros a point, of every version of a card that the window's points legs name."""
    legs, parties, prices = views.chained_legs_v1.c, views.chained_parties_v1.c, views.card_prices_v1.c
    named = (
        select(legs.issuer_id, legs.rate_version)
        .where(legs.batch_sequence.between(window.first_sequence, window.last_sequence))
        .distinct()
        .subquery()
    )
    rows = connection.execute(
        select(
            parties.party_id.label("issuer_id"),
            named.c.rate_version,
            prices.funding_micros,
            prices.prefunded_micros,
        )
        .select_from(named)
        .join(views.chained_parties_v1, parties.party_number == named.c.issuer_id)
        .join(
            views.card_prices_v1,
            (prices.party_number == named.c.issuer_id) & (prices.rate_version == named.c.rate_version),
        )
        .order_by(parties.party_id, named.c.rate_version)
    )
    return [dict(row._mapping) for row in rows]
