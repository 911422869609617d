"""Saves a planned batch: one COPY or one UPDATE a table, the chain last, then the commit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple

from exchange.core.book import Book, Link, Wallet
from exchange.core.commands import PART, Posted
from exchange.core.evidence import Call
from exchange.core.journal import Entry
from exchange.core.lots import Lot
from exchange.store.binary import (
    Binary,
    bools,
    copy_stream,
    dates,
    day_number,
    field,
    int4s,
    int8s,
    microseconds,
)
from exchange.store.load import Connection

# Fixed-size columns come first in every journal table, each behind its length of 2 to 8 bytes.
_ENTRY: Final = Struct(">h iq ii iq ii iq ii iq")
_LEG: Final = Struct(">h iq ii ii iq ii ii ii iq")
_LINE: Final = Struct(">h iq ii ii iq ii ii iq")
_REQUEST: Final = Struct(">h ii i? iq ii iq ii")
_CALL: Final = Struct(">h iq ii")
_LOT: Final = Struct(">h iq ii ii ii ii i? iq iq iq iq iq iq iq")
NO_ENTRY: Final = -1
NO_CALL: Final = -1

COPY_ENTRIES: Final = b"""COPY exchange.entries (batch_id, entry_index, member_id, partner_id, points, rate_version,
    event_time, kind, request_id, store_id, terminal_id, reference, reason, campaign_id, channel)
    FROM STDIN (FORMAT BINARY)"""
COPY_LEGS: Final = b"""COPY exchange.legs (batch_id, entry_index, leg_number, member_id, lot_sequence, issuer_id,
    rate_version, points, from_account, to_account) FROM STDIN (FORMAT BINARY)"""
COPY_LINES: Final = b"""COPY exchange.lines (batch_id, entry_index, line_number, member_id, payer_id, payee_id,
    micros, payer_component, payee_component) FROM STDIN (FORMAT BINARY)"""
COPY_REQUESTS: Final = b"""COPY exchange.requests (partner_id, accepted, batch_id, entry_index, call_id, part,
    request_id, fingerprint, kind, reference, answer) FROM STDIN (FORMAT BINARY)"""
COPY_CALLS: Final = b"""COPY exchange.calls (call_id, partner_id, key_id, path, signature_input,
    signature, body) FROM STDIN (FORMAT BINARY)"""
COPY_LOTS: Final = b"""COPY exchange.lots (member_id, lot_sequence, issuer_id, rate_version, expiry_date, spent,
    funding_micros, prefunded_micros, issued_points, open_points, held_points, burned_points, expired_points)
    FROM STDIN (FORMAT BINARY)"""

UPDATE_LOTS: Final = b"""
UPDATE exchange.lots SET spent = new.spent, issued_points = new.issued_points, open_points = new.open_points,
    burned_points = new.burned_points, expired_points = new.expired_points
FROM unnest(%s::bigint[], %s::integer[], %s::boolean[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
    AS new (member_id, lot_sequence, spent, issued_points, open_points, burned_points, expired_points)
WHERE lots.member_id = new.member_id AND lots.lot_sequence = new.lot_sequence"""

UPDATE_WALLETS: Final = b"""
UPDATE exchange.wallets SET open_points = new.open_points, lot_sequence = new.lot_sequence,
    next_expiry_date = new.next_expiry_date, last_decided_time = %s
FROM unnest(%s::bigint[], %s::bigint[], %s::integer[], %s::date[])
    AS new (member_id, open_points, lot_sequence, next_expiry_date)
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
        if entry.command.kind == "expire"
    ]


def save_batch(
    connection: Connection,
    book: Book,
    requests: Sequence[RequestRow],
    calls: Sequence[tuple[int, Call]],
    window_date: date,
) -> None:
    """Writes everything a batch decided and commits. `window_date` is the business day of its decided time.

    A batch without decisions is no link of the chain; it may still have learnt that nothing was due.
    """
    entries, legs, lines = _journal_rows(book)
    batch_id = book.batch_id
    request_rows = [_request_row(batch_id, request) for request in requests]
    lots = [lot for wallet in book.wallets.values() for lot in wallet.lots.values() if lot.changed]
    created = [_lot_row(lot) for lot in lots if lot.created]
    for statement, rows in (
        (COPY_ENTRIES, entries),
        (COPY_LEGS, legs),
        (COPY_LINES, lines),
        (COPY_REQUESTS, request_rows),
        (COPY_CALLS, [_call_row(call_id, call) for call_id, call in calls]),
        (COPY_LOTS, created),
    ):
        if rows:
            _copy(connection, statement, rows)
    digest = sha256(b"".join((*entries, *legs, *lines))).digest()
    with connection.pipeline():
        _update_lots(connection, [lot for lot in lots if not lot.created])
        _update_wallets(connection, [wallet for wallet in book.wallets.values() if wallet.changed], book)
        _update_links(connection, [link for link in book.links.values() if link.changed])
        if requests:
            values = (digest, window_date, batch_id, book.decided_time, len(entries), digest)
            connection.cursor().execute(APPEND_TO_CHAIN, values, prepare=True)
        connection.commit()


def _copy(connection: Connection, statement: bytes, rows: Iterable[bytes]) -> None:
    with connection.cursor().copy(statement) as copy:
        copy.write(copy_stream(rows))


def _journal_rows(book: Book) -> tuple[list[bytes], list[bytes], list[bytes]]:
    entries, legs, lines = [], [], []
    batch_id = book.batch_id
    for index, entry in enumerate(book.entries):
        member_id = entry.command.member_id
        entries.append(_entry_row(batch_id, index, entry))
        for number, leg in enumerate(entry.legs):
            legs.append(
                _LEG.pack(
                    *(10, 8, batch_id, 4, index, 4, number, 8, member_id, 4, leg.lot_sequence),
                    *(4, leg.issuer_id, 4, leg.rate_version, 8, leg.points),
                )
                + _WORDS[leg.from_account]
                + _WORDS[leg.to_account]
            )
        for number, line in enumerate(entry.lines):
            lines.append(
                _LINE.pack(
                    *(9, 8, batch_id, 4, index, 4, number, 8, member_id),
                    *(4, line.payer_id, 4, line.payee_id, 8, line.micros),
                )
                + _WORDS[line.payer_component]
                + _WORDS[line.payee_component]
            )
    return entries, legs, lines


class _Words(dict[str, bytes]):
    """Fields of the few words the journal uses, made once each."""

    def __missing__(self, word: str) -> bytes:
        made = self[word] = field(word.encode())
        return made


_WORDS: Final = _Words()


def _entry_row(batch_id: int, index: int, entry: Entry) -> bytes:
    command = entry.command
    return b"".join(
        (
            _ENTRY.pack(
                *(15, 8, batch_id, 4, index, 8, command.member_id, 4, command.partner_id, 8, entry.points),
                *(4, entry.rate_version, 8, microseconds(command.event_time)),
            ),
            _WORDS[command.kind],
            field(command.request_id.encode()),
            field(command.store_id.encode()),
            field(command.terminal_id.encode()),
            field(command.reference.encode()),
            field(command.reason.encode()),
            field(command.campaign_id.encode()),
            field(command.channel.encode()),
        )
    )


def _request_row(batch_id: int, request: RequestRow) -> bytes:
    command = request.command
    return b"".join(
        (
            _REQUEST.pack(
                *(11, 4, command.partner_id, 1, request.accepted, 8, batch_id),
                *(4, request.entry_index, 8, request.call_id, 4, PART),
            ),
            field(command.request_id.encode()),
            field(command.fingerprint),
            _WORDS[command.kind],
            field(command.reference.encode()),
            field(request.answer),
        )
    )


def _call_row(call_id: int, call: Call) -> bytes:
    return b"".join(
        (
            _CALL.pack(7, 8, call_id, 4, call.partner_id),
            field(call.key_id.encode()),
            field(call.path.encode()),
            field(call.signature_input.encode()),
            field(call.signature),
            field(call.body),
        )
    )


def _lot_row(lot: Lot) -> bytes:
    return _LOT.pack(
        *(13, 8, lot.member_id, 4, lot.lot_sequence, 4, lot.issuer_id, 4, lot.rate_version),
        *(4, day_number(lot.expiry_date), 1, lot.open_points == 0),
        *(8, lot.funding_micros, 8, lot.prefunded_micros, 8, lot.issued_points, 8, lot.open_points),
        *(8, lot.held_points, 8, lot.burned_points, 8, lot.expired_points),
    )


def _update_lots(connection: Connection, lots: list[Lot]) -> None:
    _update(
        connection,
        UPDATE_LOTS,
        lots,
        int8s([lot.member_id for lot in lots]),
        int4s([lot.lot_sequence for lot in lots]),
        bools([lot.open_points == 0 for lot in lots]),
        int8s([lot.issued_points for lot in lots]),
        int8s([lot.open_points for lot in lots]),
        int8s([lot.burned_points for lot in lots]),
        int8s([lot.expired_points for lot in lots]),
    )


def _update_wallets(connection: Connection, wallets: list[Wallet], book: Book) -> None:
    _update(
        connection,
        UPDATE_WALLETS,
        wallets,
        book.decided_time,
        int8s([wallet.member_id for wallet in wallets]),
        int8s([wallet.open_points for wallet in wallets]),
        int4s([wallet.lot_sequence for wallet in wallets]),
        dates([wallet.next_expiry_date for wallet in wallets]),
    )


def _update_links(connection: Connection, links: list[Link]) -> None:
    _update(
        connection,
        UPDATE_LINKS,
        links,
        int8s([link.member_id for link in links]),
        int4s([link.partner_id for link in links]),
        dates([link.burned_date for link in links]),
        int8s([link.burned_points for link in links]),
    )


def _update(
    connection: Connection, statement: bytes, rows: Sequence[object], *values: Binary | object
) -> None:
    if rows:
        connection.cursor().execute(statement, values, prepare=True)
