"""Saves a planned batch: one statement a table, the chain last, then the commit.

A large batch is copied in. A small one goes as one INSERT a table in the pipeline that also updates and commits:
COPY can't be pipelined, and for a few rows the round trips would cost more than the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from hashlib import sha256
from operator import attrgetter
from typing import Final, NamedTuple

from psycopg.rows import TupleRow

from exchange.core.book import Book
from exchange.core.commands import Posted, kind_in_journal, part_of
from exchange.core.evidence import Call
from exchange.core.ids import HUB
from exchange.core.lots import Lot
from exchange.store.binary import (
    Row,
    RowFormat,
    copy_stream,
    dates,
    day_number,
    int4,
    int4s,
    int8,
    int8s,
    microseconds,
    update_statement,
)
from exchange.store.pipeline import COMMIT, CopyIn, Request, Steps
from exchange.store.save_standings import standing_requests

NO_ENTRY: Final = -1
NO_CALL: Final = -1
NO_ORIGINAL: Final = (0, 0)

ENTRIES: Final = RowFormat(
    "entries",
    "batch_id int8, entry_index int4, member_id int8, partner_id int4, points int8, rate_version int4,"
    "event_time time, spend_minor int8, native_points int8, original_batch_id int8,"
    "original_entry_index int4, kind word, request_id text, store_id word, terminal_id word, reference text,"
    "reason word, campaign_id word, channel word",
)
LEGS: Final = RowFormat(
    "legs",
    "batch_id int8, entry_index int4, leg_number int4, member_id int8, lot_sequence int4, issuer_id int4,"
    "rate_version int4, points int8, from_account word, to_account word",
)
LINES: Final = RowFormat(
    "lines",
    "batch_id int8, entry_index int4, line_number int4, member_id int8, payer_id int4, payee_id int4, micros int8,"
    "payer_component word, payee_component word",
)
REQUESTS: Final = RowFormat(
    "requests",
    "partner_id int4, accepted bool, batch_id int8, entry_index int4, call_id int8, part int4, request_id text,"
    "fingerprint bytes, kind word, reference text, answer bytes",
)
CALLS: Final = RowFormat(
    "calls",
    "call_id int8, partner_id int4, key_id word, path word, signature_input text, signature bytes, body bytes",
)
LOTS: Final = RowFormat(
    "lots",
    "member_id int8, lot_sequence int4, issuer_id int4, rate_version int4, expiry_date date, spent bool,"
    "funding_micros int8, prefunded_micros int8, issued_points int8, moved_in_points int8, open_points int8,"
    "held_points int8, burned_points int8, expired_points int8, clawed_back_points int8, absorbed_points int8,"
    "moved_out_points int8, transferred_points int8, deficit_raised_points int8",
)
LOT_COUNTERS: Final = tuple(
    f"{name}_points"
    for name in (
        *("issued", "moved_in", "open", "held", "burned", "expired", "clawed_back", "absorbed", "moved_out"),
        *("transferred", "deficit_raised"),
    )
)


_counters: Final = attrgetter(*LOT_COUNTERS)

UPDATE_LOTS: Final = update_statement(
    "lots",
    "member_id lot_sequence",
    LOT_COUNTERS,
    "bigint integer" + " bigint" * len(LOT_COUNTERS),
    "spent = new.open_points = 0",
)

UPDATE_WALLETS: Final = b"""
UPDATE exchange.wallets SET open_points = new.open_points, pending_points = new.pending_points,
    held_points = new.held_points, deficit_points = new.deficit_points, lot_sequence = new.lot_sequence,
    next_expiry_date = new.next_expiry_date, last_decided_time = %s::timestamptz
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::integer[], %s::date[])
    AS new (member_id, open_points, pending_points, held_points, deficit_points, lot_sequence, next_expiry_date)
WHERE wallets.member_id = new.member_id"""

UPDATE_LINKS: Final = b"""
UPDATE exchange.links SET burned_date = new.burned_date, burned_points = new.burned_points
FROM unnest(%s::bigint[], %s::integer[], %s::date[], %s::bigint[])
    AS new (member_id, partner_id, burned_date, burned_points)
WHERE links.member_id = new.member_id AND links.partner_id = new.partner_id"""

# The chain's row is the ledger's one short lock: it is taken last and held only for the commit.
APPEND_TO_CHAIN: Final = b"""
WITH link AS (
    UPDATE exchange.chain SET sequence = sequence + 1, hash = sha256(hash || %s::bytea),
        window_date = greatest(window_date, %s::date)
    RETURNING sequence, hash, window_date
)
INSERT INTO exchange.batches (batch_id, sequence, decided_time, window_date, entry_count, digest, hash)
SELECT %s::bigint, sequence, %s::timestamptz, window_date, %s::integer, %s::bytea, hash FROM link"""


class RequestRow(NamedTuple):
    """A decision to record: the command, which call brought it, and the answer's bytes."""

    command: Posted
    accepted: bool
    entry_index: int
    call_id: int
    answer: bytes


def call_id_of(batch_id: int, index: int) -> int:
    """Names the call whose evidence is the `index`-th that a batch keeps; at most 65,536 a batch."""
    return (batch_id << 16) + index


def system_requests(book: Book) -> list[RequestRow]:
    """The decisions behind the entries that the hub posted by itself; they answer nobody."""
    return [
        RequestRow(entry.command, True, index, NO_CALL, b"")
        for index, entry in enumerate(book.entries)
        if entry.command.partner_id == HUB
    ]


def save_batch(
    book: Book,
    requests: Sequence[RequestRow],
    calls: Sequence[tuple[int, Call]],
    window_date: date,
    wallet_rows: Mapping[int, TupleRow],
    *,
    by_copy: bool,
) -> Steps[None]:
    """Writes everything a batch decided and commits. `window_date` is the business day of its decided time.

    `wallet_rows` are the wallets as they were loaded. A batch without decisions is no link of the chain; it may
    still have learnt that nothing was due.
    """
    entries, legs, lines = _journal_rows(book)
    # A new row is kept though no point is in it yet, as its number is taken: an unmerge may find nothing to move back.
    lots = [
        lot for wallet in book.wallets.values() for lot in wallet.lots.values() if lot.changed or lot.created
    ]
    tables: tuple[tuple[RowFormat, list[Row]], ...] = (
        (ENTRIES, entries),
        (LEGS, legs),
        (LINES, lines),
        (REQUESTS, [_request_row(book.batch_id, request) for request in requests]),
        (CALLS, [(call_id, *call) for call_id, call in calls]),
        (LOTS, [_lot_row(lot) for lot in lots if lot.created]),
    )
    journal = [form.pack(rows) for form, rows in tables[:3]]
    digest = sha256(b"".join([row for rows in journal for row in rows])).digest()
    if by_copy:
        packed = journal + [form.pack(rows) for form, rows in tables[3:]]
        for (form, _), rows in zip(tables, packed, strict=True):
            if rows:
                yield CopyIn(form.copy, copy_stream(rows))
    steps = []
    if not by_copy:
        steps += [Request(form.insert, form.arrays(values)) for form, values in tables if values]
    steps += _update_requests(book, [lot for lot in lots if not lot.created])
    steps += standing_requests(book, wallet_rows)
    if requests:
        steps.append(_append_request(book, digest, window_date))
    yield [*steps, Request(COMMIT)]


def _journal_rows(book: Book) -> tuple[list[Row], list[Row], list[Row]]:
    entries: list[Row] = []
    legs: list[Row] = []
    lines: list[Row] = []
    batch_id = book.batch_id
    for index, entry in enumerate(book.entries):
        command = entry.command
        member_id = command.member_id
        kind = kind_in_journal(command)
        original_batch, original_index = entry.original or NO_ORIGINAL
        entries.append(
            (
                *(batch_id, index, member_id, command.partner_id, entry.points, entry.rate_version),
                *(microseconds(command.event_time), entry.spend_minor, entry.native_points, original_batch),
                *(original_index, kind, command.request_id, command.store_id, command.terminal_id),
                *(command.reference, command.reason, command.campaign_id, command.channel),
            )
        )
        for number, leg in enumerate(entry.legs):
            lot_member, lot_sequence, issuer_id, rate_version, from_account, to_account, points, _ = leg
            legs.append(
                (
                    *(batch_id, index, number, lot_member, lot_sequence, issuer_id, rate_version, points),
                    *(from_account, to_account),
                )
            )
        for number, line in enumerate(entry.lines):
            payer_id, payer_component, payee_id, payee_component, micros = line
            lines.append(
                (
                    *(batch_id, index, number, member_id, payer_id, payee_id, micros),
                    *(payer_component, payee_component),
                )
            )
    return entries, legs, lines


def _request_row(batch_id: int, request: RequestRow) -> Row:
    command, accepted, entry_index, call_id, answer = request
    return (
        *(command.partner_id, accepted, batch_id, entry_index, call_id, part_of(command), command.request_id),
        *(command.fingerprint, command.kind, command.reference, answer),
    )


def _lot_row(lot: Lot) -> Row:
    return (
        *(lot.member_id, lot.lot_sequence, lot.issuer_id, lot.rate_version, day_number(lot.expiry_date)),
        *(lot.open_points == 0, lot.funding_micros, lot.prefunded_micros, *_counters(lot)),
    )


def _update_requests(book: Book, lots: list[Lot]) -> list[Request]:
    requests: list[Request] = []
    values: tuple[bytes, ...]
    if lots:
        counters = zip(*map(_counters, lots), strict=True)
        values = (
            int8s([lot.member_id for lot in lots]),
            int4s([lot.lot_sequence for lot in lots]),
            *map(int8s, counters),
        )
        requests.append(Request(UPDATE_LOTS, values))
    if wallets := [wallet for wallet in book.wallets.values() if wallet.changed]:
        values = (
            int8(microseconds(book.decided_time)),
            int8s([wallet.member_id for wallet in wallets]),
            int8s([wallet.open_points for wallet in wallets]),
            int8s([wallet.pending_points for wallet in wallets]),
            int8s([wallet.held_points for wallet in wallets]),
            int8s([wallet.deficit_points for wallet in wallets]),
            int4s([wallet.lot_sequence for wallet in wallets]),
            dates([wallet.next_expiry_date for wallet in wallets]),
        )
        requests.append(Request(UPDATE_WALLETS, values))
    if links := [link for link in book.links.values() if link.changed and not link.created]:
        values = (
            int8s([link.member_id for link in links]),
            int4s([link.partner_id for link in links]),
            dates([link.burned_date for link in links]),
            int8s([link.burned_points for link in links]),
        )
        requests.append(Request(UPDATE_LINKS, values))
    return requests


def _append_request(book: Book, digest: bytes, window_date: date) -> Request:
    return Request(
        APPEND_TO_CHAIN,
        (
            digest,
            int4(day_number(window_date)),
            int8(book.batch_id),
            int8(microseconds(book.decided_time)),
            int4(len(book.entries)),
            digest,
        ),
    )
