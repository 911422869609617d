"""What settlement reads from the hub's views (`views.py`).

Sums are the only thing computed in SQL, and only over one window at a time: what stood before it is carried on
from settlement's own tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Row, cast, func, select

from settlement.core.netting import Flow
from settlement.core.points import EntrySum, LegSum
from settlement.core.window import ClosedWindow, Ledger, WindowSums
from settlement.store import views
from settlement.store.tables import Whole


class LedgerMissing(Exception):
    """The hub has not set up its ledger in this database."""


class NumberUnknown(Exception):
    """The journal numbers a party or a card that the hub's views do not have; `str()` shows the sum."""


def read_ledger(connection: Connection) -> Ledger:
    """What every window of this ledger shares. Raises LedgerMissing."""
    columns = views.ledger_v1.c
    row = connection.execute(
        select(
            columns.audience,
            columns.currency_code,
            columns.minor_unit_digits,
            columns.time_zone,
            columns.cut_off_seconds,
        )
    ).one_or_none()
    if row is None:
        raise LedgerMissing("the hub has no ledger in this database yet; start the hub once")
    return Ledger(*row)


def read_window(connection: Connection, window_date: date) -> ClosedWindow | None:
    """The window as the hub shows it; None while it is open."""
    columns = views.windows_v1.c
    row = connection.execute(
        select(
            columns.window_date,
            columns.first_sequence,
            columns.last_sequence,
            columns.last_hash,
            columns.entry_count,
            columns.close_time,
        ).where(columns.window_date == window_date)
    ).one_or_none()
    return ClosedWindow(*row) if row else None


def read_first_window_date(connection: Connection) -> date | None:
    """The day the hub's first closed window is for; None while none is closed."""
    first: date | None = connection.execute(select(func.min(views.windows_v1.c.window_date))).scalar_one()
    return first


def read_first_posted_date(connection: Connection) -> date | None:
    """The day of the first entry in the journal; None while it is empty."""
    columns = views.posted_entries_v1.c
    statement = select(columns.window_date).order_by(columns.batch_sequence).limit(1)
    first: date | None = connection.execute(statement).scalar_one_or_none()
    return first


def count_windows_before(connection: Connection, window_date: date) -> int:
    """How many closed windows the hub shows before a day."""
    statement = select(func.count()).where(views.windows_v1.c.window_date < window_date)
    return connection.execute(statement).scalar_one()


def read_sums(connection: Connection, window_date: date) -> WindowSums:
    """Everything posted in a closed window as sums, each in the order of its keys.

    Rows are added up by the numbers they have for parties and cards; names and prices are looked up for sums.
    """
    batches = _read_batches(connection, window_date)
    return WindowSums(
        flows=_read_flows(connection, batches),
        legs=_read_leg_sums(connection, batches),
        entries=batches.entries,
    )


@dataclass(frozen=True, slots=True)
class _Batches:
    """A window's batches as a range of ids, less those of other windows in it: two hubs take ids side by side.

    Much faster for a million rows than to join each of them with its batch.
    """

    first_id: int
    last_id: int
    others: tuple[int, ...]
    entries: tuple[EntrySum, ...]

    def have(self, batch_id: ColumnElement[int]) -> ColumnElement[bool]:
        """Whether a row is of one of these batches."""
        inside = batch_id.between(self.first_id, self.last_id)
        return inside & batch_id.not_in(self.others) if self.others else inside


def _read_batches(connection: Connection, window_date: date) -> _Batches:
    columns = views.chained_batches_v1.c
    filled = columns.entry_count > 0
    first_id, last_id, *entries = connection.execute(
        select(
            func.min(columns.batch_id),
            func.max(columns.batch_id),
            func.sum(columns.entry_count),
            func.min(columns.sequence),
            func.max(columns.sequence),
        ).where(columns.window_date == window_date, filled)
    ).one()
    if first_id is None:
        return _Batches(0, -1, (), ())
    others = connection.execute(
        select(columns.batch_id).where(
            columns.batch_id.between(first_id, last_id), filled, columns.window_date != window_date
        )
    )
    return _Batches(first_id, last_id, tuple(others.scalars()), (EntrySum(*entries),))


def _read_flows(connection: Connection, batches: _Batches) -> tuple[Flow, ...]:
    lines = views.chained_lines_v1.c
    keys = (lines.payer_id, lines.payer_component, lines.payee_id, lines.payee_component)
    summed = (
        select(*keys, func.sum(lines.micros).label("micros"), func.count().label("line_count"))
        .where(batches.have(lines.batch_id))
        .group_by(*keys)
        .subquery()
    )
    payers, payees = views.chained_parties_v1.alias("payers"), views.chained_parties_v1.alias("payees")
    rows = connection.execute(
        select(
            payers.c.party_id,
            summed.c.payer_component,
            payees.c.party_id,
            summed.c.payee_component,
            cast(summed.c.micros, Whole),
            summed.c.line_count,
        )
        .select_from(summed)
        .outerjoin(payers, payers.c.party_number == summed.c.payer_id)
        .outerjoin(payees, payees.c.party_number == summed.c.payee_id)
    )
    return tuple(Flow(*row) for row in _in_order(rows))


def _read_leg_sums(connection: Connection, batches: _Batches) -> tuple[LegSum, ...]:
    legs, parties, prices = views.chained_legs_v1.c, views.chained_parties_v1, views.card_prices_v1
    numbered = (legs.issuer_id, legs.rate_version, legs.from_account, legs.to_account)
    summed = (
        select(*numbered, func.sum(legs.points).label("points"), func.count().label("leg_count"))
        .where(batches.have(legs.batch_id))
        .group_by(*numbered)
        .subquery()
    )
    keys = (
        parties.c.party_id,
        summed.c.from_account,
        summed.c.to_account,
        prices.c.funding_micros,
        prices.c.prefunded_micros,
    )
    rows = connection.execute(
        select(*keys, cast(func.sum(summed.c.points), Whole), cast(func.sum(summed.c.leg_count), BigInteger))
        .select_from(summed)
        .outerjoin(parties, parties.c.party_number == summed.c.issuer_id)
        .outerjoin(
            prices,
            (prices.c.party_number == summed.c.issuer_id) & (prices.c.rate_version == summed.c.rate_version),
        )
        .group_by(*keys)
    )
    return tuple(LegSum(*row) for row in _in_order(rows))


def _in_order(rows: Iterable[Row[Any]]) -> list[tuple[Any, ...]]:
    """Sums in the order of their keys. Raises NumberUnknown."""
    found = [tuple(row) for row in rows]
    for row in found:
        if None in row:
            raise NumberUnknown(f"the hub's views have no name or no price for a sum of the journal: {row}")
    return sorted(found)  # not by the server, whose collation must not matter
