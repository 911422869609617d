"""What a reading is: a statement, and what takes its rows into the book. And those that several readers use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

from psycopg.rows import TupleRow

from exchange.core.book import Book, Link
from exchange.core.lots import RARE_COUNTERS, Lot, LotKey, LotMove, LotPlace
from exchange.core.record import make
from exchange.store.pipeline import Request

LOT_COLUMNS: Final = (
    "member_id, lot_sequence, issuer_id, rate_version, expiry_date, funding_micros, prefunded_micros, issued_points,"
    f" open_points, burned_points, CASE WHEN {' | '.join(RARE_COUNTERS)} <> 0 THEN ROW({', '.join(RARE_COUNTERS)}) END"
).encode()
"""The counters that few commands change come as one value, or as none where all of them are 0."""

rare_counters: Final[Callable[[Lot], tuple[int, ...]]] = attrgetter(*RARE_COUNTERS)
"""A lot's rare counters, as they are stored."""

MOVE_COLUMNS: Final = b"""move_id, from_member_id, from_lot_sequence, to_member_id, to_lot_sequence, batch_id,
    entry_index, why, points"""

Reading = tuple[Request, Callable[[Book, Sequence[TupleRow]], None]]
"""A statement, and what takes its rows into the book."""


def add_lots(book: Book, rows: Sequence[TupleRow]) -> None:
    """Adds rows of lots to their wallets. A lot of a member that is not locked yet is left for the second try."""
    for row in rows:
        wallet = book.wallets.get(row[0])
        if wallet is not None:
            key = make(LotKey, (row[0], row[2], row[3], row[4]))
            if key not in wallet.lots:
                wallet.lots[key] = _lot(row)


def _lot(row: TupleRow) -> Lot:
    member_id, sequence, issuer_id, version, expiry_date, funding, prefunded, issued, opened, burned, rare = (
        row
    )
    lot = Lot(
        member_id, sequence, issuer_id, version, expiry_date, funding, prefunded, issued, 0, opened, 0, burned
    )
    if rare is not None:
        lot.stored = rare
        for name, points in zip(RARE_COUNTERS, rare, strict=True):
            setattr(lot, name, points)
    return lot


def add_links(book: Book, rows: Sequence[TupleRow]) -> None:
    """Adds rows of links."""
    for row in rows:
        book.links.setdefault((row[0], row[1]), Link(*row))


def add_moves(book: Book, rows: Sequence[TupleRow]) -> None:
    """Adds rows of moves between lots that are not there yet."""
    known = {move.move_id for move in book.lot_moves}
    for move_id, from_member, from_lot, to_member, to_lot, *rest in rows:
        if move_id not in known:
            source, target = LotPlace(from_member, from_lot), LotPlace(to_member, to_lot)
            book.lot_moves.append(LotMove._make((source, target, *rest, move_id)))
    book.lot_moves.sort(key=lambda move: move.move_id)
