"""Reads what commands follow: entries, what followed them before, their lots, and where points moved from there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from psycopg.rows import TupleRow

from exchange.core.book import Book
from exchange.core.journal import Leg
from exchange.core.originals import EntryName, Original, Posting
from exchange.store.binary import int4s, int8s, texts
from exchange.store.load_standings import (
    READ_HOLDS_BY_KEY,
    READ_PENDING_EARNS_BY_KEY,
    take_holds,
    take_pending_earns,
)
from exchange.store.pipeline import Request
from exchange.store.readings import LOT_COLUMNS, MOVE_COLUMNS, Reading, add_lots, add_moves

# The entries of the commands that are followed, each with a number of its own, and after each the entries that
# followed it. A follower's batch id is higher: both were decided under the member's lock.
_FOLLOWED: Final = b"""
WITH followed AS MATERIALIZED (
    SELECT requests.partner_id, requests.request_id, requests.batch_id, requests.entry_index
    FROM unnest(%s::integer[], %s::text[]) AS key (partner_id, request_id)
    JOIN exchange.requests USING (partner_id, request_id) WHERE accepted AND batch_id > 0
), named AS (
    SELECT partner_id, request_id, batch_id, entry_index FROM followed
    UNION ALL
    SELECT followed.partner_id, followed.request_id, later.batch_id, later.entry_index FROM followed
    JOIN exchange.entries AS later ON later.original_batch_id = followed.batch_id
        AND later.original_entry_index = followed.entry_index AND later.original_batch_id <> 0
)"""

READ_ORIGINALS: Final = (
    _FOLLOWED
    + b"""
SELECT named.partner_id, named.request_id, entries.batch_id, entries.entry_index, entries.kind, entries.member_id,
    entries.points, entries.rate_version, entries.event_time, entries.spend_minor, entries.native_points
FROM named JOIN exchange.entries USING (batch_id, entry_index)
ORDER BY named.partner_id, named.request_id, entries.batch_id, entries.entry_index"""
)

# Each entry's legs once: a capture that is to be refunded may also be what followed a hold that another command names.
READ_ORIGINAL_LEGS: Final = (
    _FOLLOWED
    + b"""
SELECT legs.batch_id, legs.entry_index, legs.member_id, legs.lot_sequence, legs.issuer_id, legs.rate_version,
    legs.from_account, legs.to_account, legs.points
FROM (SELECT DISTINCT batch_id, entry_index FROM named) AS named
JOIN exchange.legs USING (batch_id, entry_index)
ORDER BY legs.batch_id, legs.entry_index, legs.leg_number"""
)

# The lots of those legs, and the rows to which merge and grace moved points from there, however often.
_REACHED: Final = (
    _FOLLOWED.replace(b"WITH followed", b"WITH RECURSIVE followed")
    + b""", reached (member_id, lot_sequence) AS (
    SELECT legs.member_id, legs.lot_sequence FROM named JOIN exchange.legs USING (batch_id, entry_index)
    UNION
    SELECT lot_moves.to_member_id, lot_moves.to_lot_sequence FROM reached
    JOIN exchange.lot_moves ON lot_moves.from_member_id = reached.member_id
        AND lot_moves.from_lot_sequence = reached.lot_sequence
)"""
)

READ_ORIGINAL_LOTS: Final = (
    _REACHED + b" SELECT " + LOT_COLUMNS + b" FROM reached JOIN exchange.lots USING (member_id, lot_sequence)"
)

READ_ORIGINAL_MOVES: Final = (
    _REACHED
    + b" SELECT "
    + MOVE_COLUMNS
    + b""" FROM reached JOIN exchange.lot_moves ON lot_moves.from_member_id = reached.member_id
    AND lot_moves.from_lot_sequence = reached.lot_sequence"""
)

READ_MERGE_MOVES: Final = (
    b"SELECT "
    + MOVE_COLUMNS
    + b" FROM unnest(%s::bigint[], %s::integer[]) AS key (batch_id, entry_index)"
    + b" JOIN exchange.lot_moves USING (batch_id, entry_index)"
)


def original_readings(originals: Iterable[tuple[int, str]]) -> list[Reading]:
    """Everything about the commands of these (partner, request id)."""
    keys = sorted(originals)
    values = int4s([key[0] for key in keys]), texts([key[1] for key in keys])
    return [
        (Request(READ_ORIGINALS, values), _take_originals),
        (Request(READ_ORIGINAL_LEGS, values), _take_original_legs),
        (Request(READ_ORIGINAL_LOTS, values), add_lots),
        (Request(READ_ORIGINAL_MOVES, values), add_moves),
        (Request(READ_HOLDS_BY_KEY, values), take_holds),
        (Request(READ_PENDING_EARNS_BY_KEY, values), take_pending_earns),
    ]


def merge_readings(merges: Iterable[tuple[int, int]]) -> list[Reading]:
    """All moves that these merges, (batch id, entry index), made."""
    batches, indexes = zip(*sorted(merges), strict=True)
    return [(Request(READ_MERGE_MOVES, (int8s(batches), int4s(indexes))), add_moves)]


def _take_originals(book: Book, rows: Sequence[TupleRow]) -> None:
    """The first row of a key is the command's own entry, the others followed it."""
    for partner_id, request_id, batch_id, entry_index, *rest in rows:
        posting = Posting._make((EntryName(batch_id, entry_index), *rest, ()))
        original = book.originals.get((partner_id, request_id))
        if original is None:
            book.originals[partner_id, request_id] = Original(posting)
        else:
            original.follow_ups.append(posting)


def _take_original_legs(book: Book, rows: Sequence[TupleRow]) -> None:
    legs: dict[EntryName, list[Leg]] = {}
    for batch_id, entry_index, *columns in rows:
        legs.setdefault(EntryName(batch_id, entry_index), []).append(Leg._make((*columns, 0)))
    for original in book.originals.values():
        first = original.posting
        original.posting = first._replace(legs=tuple(legs.get(first.name, first.legs)))
        original.follow_ups = [
            it._replace(legs=tuple(legs.get(it.name, it.legs))) for it in original.follow_ups
        ]
