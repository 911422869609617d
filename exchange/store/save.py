"""Saves a planned batch: one statement a table, the chain last, then the commit.

A large batch is copied in. A small one goes as one INSERT a table in the pipeline that also updates and commits:
COPY can't be pipelined, and for a few rows the round trips would cost more than the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from hashlib import sha256
from itertools import chain, repeat
from operator import attrgetter
from typing import Final, NamedTuple

from exchange.core.book import Book
from exchange.core.commands import Posted, kind_in_journal, part_of
from exchange.core.evidence import Call
from exchange.core.ids import HUB
from exchange.core.journal import Leg, Line
from exchange.core.lots import RARE_COUNTERS, Lot
from exchange.store.binary import (
    Columns,
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
from exchange.store.readings import rare_counters
from exchange.store.save_standings import standing_requests
from exchange.store.standing import Standing

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

_COMMON_COUNTERS: Final = tuple(name for name in LOT_COUNTERS if name not in RARE_COUNTERS)

_told: Final = attrgetter(
    *("member_id", "partner_id", "event_time", "request_id", "store_id", "terminal_id", "reference"),
    *("reason", "campaign_id", "channel"),
)
"""What an entry says of its command, the texts in the order of their columns."""
_named: Final = attrgetter("partner_id", "request_id", "fingerprint", "kind", "reference")
_counters: Final = attrgetter(*LOT_COUNTERS)
_common_counters: Final = attrgetter(*_COMMON_COUNTERS)
_whole: Final = attrgetter(
    *("member_id", "lot_sequence", "issuer_id", "rate_version", "expiry_date", "funding_micros"),
    *("prefunded_micros", *LOT_COUNTERS),
)


def _update_lots(counters: Sequence[str]) -> bytes:
    types = "bigint integer" + " bigint" * len(counters)
    return update_statement("lots", "member_id lot_sequence", counters, types, "spent = new.open_points = 0")


# What earns and burns change; and everything, for lots in which more did: a lot's counters add up at any moment.
UPDATE_COMMON_COUNTERS: Final = _update_lots(_COMMON_COUNTERS)
UPDATE_LOTS: Final = _update_lots(LOT_COUNTERS)

UPDATE_WALLETS: Final = b"""
UPDATE exchange.wallets SET open_points = new.open_points, deficit_points = new.deficit_points,
    lot_sequence = new.lot_sequence, next_expiry_date = new.next_expiry_date, last_decided_time = %s::timestamptz
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::integer[], %s::date[])
    AS new (member_id, open_points, deficit_points, lot_sequence, next_expiry_date)
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
    standings: Mapping[int, Standing],
    *,
    by_copy: bool,
) -> Steps[None]:
    """Writes everything a batch decided and commits. `window_date` is the business day of its decided time.

    `standings` are the members' as they were loaded. A batch without decisions is no link of the chain; it may
    still have learnt that nothing was due.
    """
    # A new row is kept though no point is in it yet, as its number is taken: an unmerge may find nothing to move back.
    lots = [
        lot for wallet in book.wallets.values() for lot in wallet.lots.values() if lot.changed or lot.created
    ]
    created = [lot for lot in lots if lot.created]
    journal = _journal_columns(book)
    others: list[tuple[RowFormat, Columns]] = []
    if requests:
        others.append((REQUESTS, _request_columns(book.batch_id, requests)))
    if calls:
        others.append((CALLS, list(zip(*[(call_id, *call) for call_id, call in calls], strict=True))))
    if created:
        others.append((LOTS, _lot_columns(created)))
    packed = [(form, form.pack(columns)) for form, columns in journal]
    digest = sha256(b"".join([row for _, rows in packed for row in rows])).digest()
    steps = []
    if by_copy:
        packed += [(form, form.pack(columns)) for form, columns in others]
        for form, rows in packed:
            yield CopyIn(form.copy, copy_stream(rows))
    else:
        steps += [Request(form.insert, form.arrays(columns)) for form, columns in journal + others]
    steps += _update_requests(book, [lot for lot in lots if not lot.created])
    steps += standing_requests(book, standings)
    if requests:
        steps.append(_append_request(book, digest, window_date))
    yield [*steps, Request(COMMIT)]


def _journal_columns(book: Book) -> list[tuple[RowFormat, Columns]]:
    """Entries, legs and lines, in the order in which they are hashed; a table without rows is left out."""
    if not book.entries:
        return []
    commands, points, versions, legs, lines, originals, spends, natives = zip(*book.entries, strict=True)
    members, partners, times, request_ids, *texts = zip(*map(_told, commands), strict=True)
    count = len(commands)
    batch_ids = [book.batch_id] * count
    from_batches, from_indexes = zip(*[original or NO_ORIGINAL for original in originals], strict=True)
    entries = (
        *(batch_ids, range(count), members, partners, points, versions, list(map(microseconds, times))),
        *(spends, natives, from_batches, from_indexes, list(map(kind_in_journal, commands)), request_ids),
        *texts,
    )
    return [
        (ENTRIES, entries),
        *_leg_columns(book.batch_id, legs),
        *_line_columns(book.batch_id, lines, members),
    ]


def _leg_columns(batch_id: int, legs: Sequence[tuple[Leg, ...]]) -> Iterator[tuple[RowFormat, Columns]]:
    indexes, numbers = _places(legs)
    if indexes:
        members, sequences, issuers, versions, sources, targets, points, _ = zip(
            *chain.from_iterable(legs), strict=True
        )
        keys = [batch_id] * len(indexes), indexes, numbers
        yield LEGS, (*keys, members, sequences, issuers, versions, points, sources, targets)


def _line_columns(
    batch_id: int, lines: Sequence[tuple[Line, ...]], members: Sequence[int]
) -> Iterator[tuple[RowFormat, Columns]]:
    indexes, numbers = _places(lines)
    if indexes:
        payers, payer_components, payees, payee_components, micros = zip(
            *chain.from_iterable(lines), strict=True
        )
        keys = [batch_id] * len(indexes), indexes, numbers, [members[index] for index in indexes]
        yield LINES, (*keys, payers, payees, micros, payer_components, payee_components)


def _places(groups: Sequence[Sequence[object]]) -> tuple[list[int], list[int]]:
    """For each item of each group: the group's index, and the item's number in it."""
    sizes = list(map(len, groups))
    indexes = list(chain.from_iterable(map(repeat, range(len(sizes)), sizes)))
    return indexes, list(chain.from_iterable(map(range, sizes)))


def _request_columns(batch_id: int, requests: Sequence[RequestRow]) -> Columns:
    commands, accepted, indexes, call_ids, answers = zip(*requests, strict=True)
    partners, *names = zip(*map(_named, commands), strict=True)
    parts = list(map(part_of, commands))
    return (partners, accepted, [batch_id] * len(commands), indexes, call_ids, parts, *names, answers)


def _lot_columns(lots: Sequence[Lot]) -> Columns:
    members, sequences, issuers, versions, days, fundings, prefundings, *counters = zip(
        *map(_whole, lots), strict=True
    )
    spent = [not lot.open_points for lot in lots]
    keys = members, sequences, issuers, versions, list(map(day_number, days))
    return (*keys, spent, fundings, prefundings, *counters)


def _update_requests(book: Book, lots: list[Lot]) -> list[Request]:
    requests: list[Request] = []
    values: tuple[bytes, ...]
    common = [lot for lot in lots if rare_counters(lot) == lot.stored]
    requests += _lot_requests(UPDATE_COMMON_COUNTERS, _common_counters, common)
    if len(common) < len(lots):
        others = [lot for lot in lots if rare_counters(lot) != lot.stored]
        requests += _lot_requests(UPDATE_LOTS, _counters, others)
    if wallets := [wallet for wallet in book.wallets.values() if wallet.changed]:
        values = (
            int8(microseconds(book.decided_time)),
            int8s([wallet.member_id for wallet in wallets]),
            int8s([wallet.open_points for wallet in wallets]),
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


def _lot_requests(
    statement: bytes, counters: Callable[[Lot], tuple[int, ...]], lots: Sequence[Lot]
) -> list[Request]:
    if not lots:
        return []
    keys = int8s([lot.member_id for lot in lots]), int4s([lot.lot_sequence for lot in lots])
    return [Request(statement, (*keys, *map(int8s, zip(*map(counters, lots), strict=True))))]


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
