"""A member's account as a batch would find it now: with what is due done, whether or not a sweep came by."""

from __future__ import annotations

from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, or_, select

from exchange.store.reads.accounts import is_member
from exchange.store.reads.ledger import read_clock
from exchange.store.tables import DEFICITS, HOLDS, LEGS, LOTS, PARTNERS, PENDING_EARNS, RATE_CARDS, WALLETS


class WalletLot(NamedTuple):
    """Points of one issuer at one price with one last usable day."""

    lot_sequence: int
    issuer_code: str
    rate_version: int
    expiry_date: date
    open_points: int
    held_points: int


class OwedPoints(NamedTuple):
    """Points of a deficit, owed to an issuer."""

    issuer_code: str
    points: int


class WalletState(NamedTuple):
    """A member's account at one moment of the ledger clock; its lots in the order they are spent.

    `face_value_micros` is what a point buys at the partner that reads, None where none does or it has no card.
    """

    member_id: int
    available_points: int
    pending_points: int
    held_points: int
    deficit_points: int
    lots: list[WalletLot]
    read_time: datetime
    state: str
    survivor_id: int
    deficits: list[OwedPoints]
    face_value_micros: int | None
    today: date


def read_wallet(connection: Connection, member_id: int, linked_to: int | None) -> WalletState | None:
    """A member's account, or None where `is_member` would say no.

    Points past their day are not available, holds past their deadline are released and pending earns past their
    time are gone, as the next batch would post it.
    """
    if not is_member(connection, member_id, linked_to):
        return None
    ledger = read_clock(connection)
    wallet = connection.execute(select(WALLETS).where(WALLETS.c.member_id == member_id)).one()
    read_time = max(ledger.ledger_time, wallet.last_decided_time)  # as a batch would decide
    today = ledger.terms().day_of(read_time)
    lots = _read_lots(connection, member_id)
    deficits = _read_deficits(connection, member_id) if wallet.deficit_points else []
    if wallet.held_points:
        lots = _release(lots, _read_lapsed(connection, member_id))
        lots, deficits = _absorb(lots, deficits)
    lots = [_usable(lot, today) for lot in lots]
    pending = wallet.pending_points
    if pending:
        pending -= _read_cancelled(connection, member_id, today)
    return WalletState(
        member_id,
        sum(lot.open_points for lot in lots),
        pending,
        sum(lot.held_points for lot in lots),
        sum(owed.points for owed in deficits),
        [lot for lot in lots if lot.open_points or lot.held_points],
        read_time,
        wallet.state,
        wallet.survivor_id,
        _by_issuer(deficits),
        None if linked_to is None else _read_face_value(connection, linked_to, read_time),
        today,
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


def _read_deficits(connection: Connection, member_id: int) -> list[OwedPoints]:
    """Outstanding deficits, in the order in which they absorb."""
    columns = DEFICITS.c
    outstanding = (
        columns.raised_points
        + columns.moved_in_points
        - columns.absorbed_points
        - columns.forgiven_points
        - columns.moved_out_points
    )
    rows = connection.execute(
        select(PARTNERS.c.code, outstanding)
        .select_from(DEFICITS)
        .join(PARTNERS, PARTNERS.c.partner_id == columns.issuer_id)
        .where(columns.member_id == member_id, outstanding > 0)
        .order_by(columns.raised_time, columns.deficit_sequence)
    )
    return [OwedPoints._make(row) for row in rows]


def _read_lapsed(connection: Connection, member_id: int) -> dict[int, int]:
    """Points by lot of the member's holds that are past their deadline, which the wall clock decides."""
    legs, holds = LEGS.c, HOLDS.c
    same = (legs.batch_id == holds.batch_id) & (legs.entry_index == holds.entry_index)
    rows = connection.execute(
        select(legs.lot_sequence, func.sum(legs.points))
        .select_from(HOLDS)
        .join(LEGS, same)
        .where(
            holds.member_id == member_id,
            holds.deadline < func.clock_timestamp(),
            legs.member_id == member_id,
            legs.to_account == "held",
        )
        .group_by(legs.lot_sequence)
    )
    return {lot_sequence: int(points) for lot_sequence, points in rows}


def _read_cancelled(connection: Connection, member_id: int, today: date) -> int:
    columns = PENDING_EARNS.c
    due = select(func.coalesce(func.sum(columns.points), 0)).where(
        columns.member_id == member_id, columns.due_date < today
    )
    return int(connection.execute(due).scalar_one())


def _read_face_value(connection: Connection, partner_id: int, moment: datetime) -> int | None:
    columns = RATE_CARDS.c
    in_force = (
        select(columns.face_value_micros)
        .where(columns.partner_id == partner_id, columns.state == "approved", columns.valid_from <= moment)
        .order_by(columns.valid_from.desc())
        .limit(1)
    )
    return connection.execute(in_force).scalar_one_or_none()


def _release(lots: list[WalletLot], lapsed: dict[int, int]) -> list[WalletLot]:
    return [
        lot._replace(
            open_points=lot.open_points + lapsed.get(lot.lot_sequence, 0),
            held_points=lot.held_points - lapsed.get(lot.lot_sequence, 0),
        )
        for lot in lots
    ]


def _absorb(lots: list[WalletLot], deficits: list[OwedPoints]) -> tuple[list[WalletLot], list[OwedPoints]]:
    """What came free goes to the deficits first, lots in the order they are spent, deficits oldest first."""
    to_pay = taken = min(sum(lot.open_points for lot in lots), sum(owed.points for owed in deficits))
    left: list[WalletLot] = []
    for lot in lots:
        points = min(to_pay, lot.open_points)
        to_pay -= points
        left.append(lot._replace(open_points=lot.open_points - points))
    owing: list[OwedPoints] = []
    for owed in deficits:
        points = min(taken, owed.points)
        taken -= points
        if points < owed.points:
            owing.append(owed._replace(points=owed.points - points))
    return left, owing


def _by_issuer(deficits: list[OwedPoints]) -> list[OwedPoints]:
    totals: dict[str, int] = {}
    for owed in deficits:
        totals[owed.issuer_code] = totals.get(owed.issuer_code, 0) + owed.points
    return [OwedPoints(code, totals[code]) for code in sorted(totals)]


def _usable(lot: WalletLot, today: date) -> WalletLot:
    return lot._replace(open_points=0) if lot.expiry_date < today else lot
