"""Counts the whole history twice: the hub's money lines in one statement, settlement's own lines in another."""

from __future__ import annotations

from datetime import date

from sqlalchemy import BigInteger, Connection, and_, cast, func, select, union_all

from settlement.core.netting import Movement, Pair
from settlement.core.recount import SettledLine
from settlement.store import tables, views
from settlement.store.tables import Whole


def count_journal(connection: Connection, last: date) -> dict[Pair, Movement]:
    """What each party received and paid by component in every money line to the end of a day's window."""
    lines = views.posted_lines_v1.c
    keys = (lines.payer_id, lines.payer_component, lines.payee_id, lines.payee_component)
    flows = (
        select(*keys, func.sum(lines.micros).label("micros"), func.count().label("line_count"))
        .where(lines.window_date <= last)
        .group_by(*keys)
        .cte("flows")
    ).c
    sides = union_all(
        select(flows.payee_id.label("party_id"), flows.payee_component, flows.micros, flows.line_count),
        select(flows.payer_id, flows.payer_component, -flows.micros, flows.line_count),
    ).subquery()
    party_id, component, micros, line_count = sides.c
    rows = connection.execute(
        select(
            party_id, component, cast(func.sum(micros), Whole), cast(func.sum(line_count), BigInteger)
        ).group_by(party_id, component)
    )
    return {(row[0], row[1]): Movement(row[2], row[3]) for row in rows}


def sum_statements(connection: Connection, last: date) -> list[SettledLine]:
    """Every statement line over all windows to a day, of the runs that count."""
    lines, windows = tables.statement_lines.c, tables.windows.c
    rows = connection.execute(
        select(
            lines.party_id,
            lines.component,
            cast(func.sum(lines.line_count), BigInteger),
            cast(func.sum(lines.exact_micros), Whole),
            cast(func.sum(lines.amount_minor), Whole),
        )
        .join(
            tables.windows,
            and_(windows.window_date == lines.window_date, windows.run_number == lines.run_number),
        )
        .where(lines.window_date <= last)
        .group_by(lines.party_id, lines.component)
    )
    return [SettledLine(*row) for row in rows]


def count_windows(connection: Connection, last: date) -> int:
    """How many windows settlement holds to a day."""
    windows = tables.windows.c
    return connection.execute(select(func.count()).where(windows.window_date <= last)).scalar_one()
