"""Reads what only some commands need: whole members, marks, quotes, pay codes and tills."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from psycopg.rows import TupleRow

from exchange.core.book import Book, PayCode, Terminal
from exchange.core.needs import Needs
from exchange.core.originals import Deficit, EntryName, Hold, PendingEarn
from exchange.store.binary import array, int4s, int8s, texts
from exchange.store.pipeline import Request
from exchange.store.readings import LOT_COLUMNS, MOVE_COLUMNS, Reading, add_links, add_lots, add_moves

# All lots of each member, empty ones too.
READ_ALL_LOTS: Final = (
    b"SELECT " + LOT_COLUMNS + b" FROM unnest(%s::bigint[]) AS key (member_id)"
    b" JOIN exchange.lots USING (member_id)"
)

# The rows to which points of the members' lots went, however often they moved on.
_REACHED: Final = b"""
WITH RECURSIVE reached (member_id, lot_sequence) AS (
    SELECT lot_moves.to_member_id, lot_moves.to_lot_sequence FROM unnest(%s::bigint[]) AS key (member_id)
    JOIN exchange.lot_moves ON lot_moves.from_member_id = key.member_id
    UNION
    SELECT lot_moves.to_member_id, lot_moves.to_lot_sequence FROM reached
    JOIN exchange.lot_moves ON lot_moves.from_member_id = reached.member_id
        AND lot_moves.from_lot_sequence = reached.lot_sequence
)"""

READ_REACHED_LOTS: Final = (
    _REACHED + b" SELECT " + LOT_COLUMNS + b" FROM reached JOIN exchange.lots USING (member_id, lot_sequence)"
)

READ_REACHED_MOVES: Final = (
    _REACHED
    + b" SELECT "
    + MOVE_COLUMNS
    + b" FROM reached JOIN exchange.lot_moves ON lot_moves.from_member_id = reached.member_id"
    + b" AND lot_moves.from_lot_sequence = reached.lot_sequence UNION SELECT "
    + MOVE_COLUMNS
    + b" FROM unnest(%s::bigint[]) AS key (member_id)"
    + b" JOIN exchange.lot_moves ON lot_moves.from_member_id = key.member_id"
)

READ_DEFICITS: Final = b"""
SELECT member_id, deficit_sequence, issuer_id, funding_micros, raised_time, raised_points, moved_in_points,
    absorbed_points, forgiven_points, moved_out_points, moved_from_member_id, moved_from_sequence
FROM unnest(%s::bigint[]) AS key (member_id) JOIN exchange.deficits USING (member_id)
ORDER BY member_id, deficit_sequence"""

_HOLD_COLUMNS: Final = b"""partner_id, request_id, member_id, batch_id, entry_index, kind, points, rate_version,
    authorised_time, deadline"""

READ_HOLDS: Final = (
    b"SELECT " + _HOLD_COLUMNS + b" FROM unnest(%s::bigint[]) AS key (member_id)"
    b" JOIN exchange.holds USING (member_id)"
)

READ_HOLDS_BY_KEY: Final = (
    b"SELECT "
    + _HOLD_COLUMNS
    + b" FROM unnest(%s::integer[], %s::text[]) AS key (partner_id, request_id)"
    + b" JOIN exchange.holds USING (partner_id, request_id)"
)

_PENDING_COLUMNS: Final = b"""partner_id, request_id, member_id, batch_id, entry_index, points, due_date,
    expiry_date"""

READ_PENDING_EARNS: Final = (
    b"SELECT " + _PENDING_COLUMNS + b" FROM unnest(%s::bigint[]) AS key (member_id)"
    b" JOIN exchange.pending_earns USING (member_id)"
)

READ_PENDING_EARNS_BY_KEY: Final = (
    b"SELECT "
    + _PENDING_COLUMNS
    + b" FROM unnest(%s::integer[], %s::text[]) AS key (partner_id, request_id)"
    + b" JOIN exchange.pending_earns USING (partner_id, request_id)"
)

READ_MARKS: Final = b"""
SELECT member_id, partner_id, once_rule
FROM unnest(%s::bigint[], %s::integer[], %s::text[]) AS key (member_id, partner_id, once_rule)
JOIN exchange.marks USING (member_id, partner_id, once_rule)"""

READ_ALL_MARKS: Final = b"""
SELECT member_id, partner_id, once_rule
FROM unnest(%s::bigint[]) AS key (member_id) JOIN exchange.marks USING (member_id)"""

READ_ALL_LINKS: Final = b"""
SELECT member_id, partner_id, per_burn_limit_points, per_day_limit_points, burned_date, burned_points,
    unlinked
FROM unnest(%s::bigint[]) AS key (member_id) JOIN exchange.links USING (member_id)"""

READ_QUOTES: Final = b"""
SELECT quote_id FROM unnest(%s::text[]) AS key (quote_id) JOIN exchange.quotes USING (quote_id)"""

READ_PAY_CODES: Final = b"""
SELECT digest, member_id, partner_id, max_points, issue_time, expire_time, used
FROM unnest(%s::bytea[]) AS key (digest) JOIN exchange.pay_codes USING (digest)"""

# Tills are no member's, so they are locked too: after the wallets and in key order, which makes no circle either.
LOCK_TERMINALS: Final = b"""
SELECT terminals.partner_id, terminals.store_id, terminals.terminal_id, wrong_tries, locked, spent_date, spent_count,
    spent_points
FROM unnest(%s::integer[], %s::text[], %s::text[]) AS key (partner_id, store_id, terminal_id)
JOIN exchange.terminals USING (partner_id, store_id, terminal_id)
ORDER BY terminals.partner_id, terminals.store_id, terminals.terminal_id FOR NO KEY UPDATE OF terminals"""


# Whoever withdraws a correction locks it for itself: before this batch reads it, or after the batch is committed.
LOCK_ADJUSTMENTS: Final = b"""
SELECT adjustment_id, withdraw_time IS NOT NULL FROM exchange.adjustments WHERE adjustment_id = ANY(%s)
ORDER BY adjustment_id FOR SHARE"""


def whole_readings(whole: Iterable[int]) -> list[Reading]:
    """Everything of these members."""
    members = int8s(sorted(whole))
    return [
        (Request(READ_ALL_LOTS, (members,)), add_lots),
        (Request(READ_REACHED_LOTS, (members,)), add_lots),
        (Request(READ_REACHED_MOVES, (members, members)), add_moves),
        (Request(READ_DEFICITS, (members,)), _take_deficits),
        (Request(READ_HOLDS, (members,)), take_holds),
        (Request(READ_PENDING_EARNS, (members,)), take_pending_earns),
        (Request(READ_ALL_MARKS, (members,)), _take_marks),
        (Request(READ_ALL_LINKS, (members,)), add_links),
    ]


def authority_readings(needs: Needs) -> list[Reading]:
    """Marks, quotes, pay codes, tills and corrections."""
    readings: list[Reading] = []
    if needs.marks:
        members, partners, rules = zip(*sorted(needs.marks), strict=True)
        readings.append((Request(READ_MARKS, (int8s(members), int4s(partners), texts(rules))), _take_marks))
    if needs.quotes:
        readings.append((Request(READ_QUOTES, (texts(sorted(needs.quotes)),)), _take_quotes))
    if needs.pay_codes:
        digests = array("bytes", sorted(needs.pay_codes))
        readings.append((Request(READ_PAY_CODES, (digests,)), _take_pay_codes))
    if needs.terminals:
        partners, stores, tills = zip(*sorted(needs.terminals), strict=True)
        values = int4s(partners), texts(stores), texts(tills)
        readings.append((Request(LOCK_TERMINALS, values), _take_terminals))
    if needs.adjustments:
        numbers = int8s(sorted(needs.adjustments))
        readings.append((Request(LOCK_ADJUSTMENTS, (numbers,)), _take_adjustments))
    return readings


def _take_deficits(book: Book, rows: Sequence[TupleRow]) -> None:
    for *columns, from_member, from_sequence in rows:
        wallet = book.wallets.get(columns[0])
        if wallet is not None:
            deficit = Deficit(*columns)
            if from_member:
                deficit.moved_from = from_member, from_sequence
            wallet.deficits.append(deficit)


def take_holds(book: Book, rows: Sequence[TupleRow]) -> None:
    """Adds rows of open holds."""
    for partner_id, request_id, member_id, batch_id, entry_index, *rest in rows:
        hold = Hold(partner_id, request_id, member_id, EntryName(batch_id, entry_index), *rest)
        book.holds.setdefault((partner_id, request_id), hold)


def take_pending_earns(book: Book, rows: Sequence[TupleRow]) -> None:
    """Adds rows of pending earns."""
    for partner_id, request_id, member_id, batch_id, entry_index, *rest in rows:
        pending = PendingEarn(partner_id, request_id, member_id, EntryName(batch_id, entry_index), *rest)
        book.pending_earns.setdefault((partner_id, request_id), pending)


def _take_marks(book: Book, rows: Sequence[TupleRow]) -> None:
    book.marks.update((member_id, partner_id, once_rule) for member_id, partner_id, once_rule in rows)


def _take_quotes(book: Book, rows: Sequence[TupleRow]) -> None:
    book.quotes.update(quote_id for (quote_id,) in rows)


def _take_pay_codes(book: Book, rows: Sequence[TupleRow]) -> None:
    for row in rows:
        book.pay_codes[bytes(row[0])] = PayCode(*row)


def _take_terminals(book: Book, rows: Sequence[TupleRow]) -> None:
    for row in rows:
        book.terminals[row[0], row[1], row[2]] = Terminal(*row)


def _take_adjustments(book: Book, rows: Sequence[TupleRow]) -> None:
    book.withdrawn_adjustments.update(number for number, withdrawn in rows if withdrawn)
