"""What a reading is: a statement, and what takes its rows into the book. And those that several readers use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from psycopg.rows import TupleRow

from exchange.core.book import Book, Link
from exchange.core.lots import Lot, LotKey, LotMove, LotPlace
from exchange.core.record import make
from exchange.store.pipeline import Request

LOT_COLUMNS: Final = b"""member_id, lot_sequence, issuer_id, rate_version, expiry_date, funding_micros,
    prefunded_micros, issued_points, moved_in_points, open_points, held_points, burned_points, expired_points,
    clawed_back_points, absorbed_points, moved_out_points, transferred_points, deficit_raised_points"""

MOVE_COLUMNS: Final = b"""move_id, from_member_id, from_lot_sequence, to_member_id, to_lot_sequence, batch_id,
    entry_index, why, points"""

Reading = tuple[Request, Callable[[Book, Sequence[TupleRow]], None]]
"""A statement, and what takes its rows into the book."""


def add_lots(book: Book, rows: Sequence[TupleRow]) -> None:
    """Adds rows of lots to their wallets. A lot of a member that is not locked yet is left for the second try."""
    for row in rows:
        lot = Lot(*row)
        wallet = book.wallets.get(lot.member_id)
        if wallet is not None:
            key = make(LotKey, (lot.member_id, lot.issuer_id, lot.rate_version, lot.expiry_date))
            wallet.lots.setdefault(key, lot)


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
