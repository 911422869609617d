"""Loads a batch: locks the wallets alone, in key order, then reads the rest, one statement a table.

The reads come in statements of their own after the lock, because READ COMMITTED gives each a new snapshot: a
join that locks and reads at once was seen to return stale lots on PostgreSQL 15. What the rules still lack after
the first reading they say themselves (`further_needs`), and it is read until they lack nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from psycopg.rows import TupleRow

from exchange.core.book import Book, Known, Terms, Wallet
from exchange.core.commands import Command
from exchange.core.decide.burn import FIRST_LOTS
from exchange.core.ids import entry_text
from exchange.core.needs import Needs
from exchange.core.planner import collect_needs, further_needs
from exchange.core.rates import Cards
from exchange.store.binary import dates, int4s, int8s, texts
from exchange.store.load_originals import merge_readings, original_readings
from exchange.store.load_standings import authority_readings, whole_readings
from exchange.store.pipeline import BEGIN, ROLLBACK, Request, Steps
from exchange.store.readings import LOT_COLUMNS, Reading, add_links, add_lots
from exchange.store.standing import READ_STANDING, Standing, take_standing

# Locks every wallet of the batch in key order, so that two batches never wait for each other in a circle. A decision
# is never before the member's last one. That is sent only where it is ahead of when the transaction began, as no
# decision is before that either: reading a time costs as much as all other columns.
LOCK_WALLETS: Final = (
    b"SELECT member_id, open_points, deficit_points, lot_sequence, next_expiry_date, CASE WHEN last_decided_time >"
    b" (SELECT CASE WHEN clock = 'manual' THEN manual_time ELSE now() END FROM exchange.ledger)"
    b" THEN last_decided_time END, "
    + READ_STANDING
    + b" FROM exchange.wallets WHERE member_id = ANY(%s) ORDER BY member_id FOR NO KEY UPDATE"
)

# The batch's id, the ledger clock and the wall clock read after the locks, and whether cached cards are still true.
READ_CONSTANTS: Final = b"""
SELECT nextval('exchange.batch_ids'),
    CASE WHEN clock = 'manual' THEN manual_time ELSE greatest(now(), clock_timestamp()) END,
    version, clock_timestamp()
FROM exchange.ledger, exchange.registry"""

# The lots that points would join, by key.
READ_LOTS_BY_KEY: Final = (
    b"SELECT "
    + LOT_COLUMNS
    + b"""
FROM unnest(%s::bigint[], %s::integer[], %s::integer[], %s::date[])
    AS key (member_id, issuer_id, rate_version, expiry_date)
JOIN exchange.lots USING (member_id, issuer_id, rate_version, expiry_date)"""
)

# The first open lots of each member in consumption order. The limit is part of the text: a generic plan for an
# unknown limit would read and sort all lots of a member.
READ_FIRST_LOTS: Final = (
    b"SELECT first.* FROM unnest(%s::bigint[]) AS key (member_id) CROSS JOIN LATERAL (SELECT "
    + LOT_COLUMNS
    + b""" FROM exchange.lots WHERE lots.member_id = key.member_id AND NOT spent
    ORDER BY expiry_date, lot_sequence LIMIT """
    + str(FIRST_LOTS).encode()
    + b") AS first"
)

# All open lots of each member.
READ_OPEN_LOTS: Final = (
    b"SELECT " + LOT_COLUMNS + b" FROM unnest(%s::bigint[]) AS key (member_id)"
    b" JOIN exchange.lots USING (member_id) WHERE NOT spent"
)

READ_LINKS: Final = b"""
SELECT member_id, partner_id, per_burn_limit_points, per_day_limit_points, burned_date, burned_points,
    unlinked
FROM unnest(%s::bigint[], %s::integer[]) AS key (member_id, partner_id)
JOIN exchange.links USING (member_id, partner_id)"""

READ_REQUESTS: Final = b"""
SELECT partner_id, request_id, fingerprint, accepted, answer
FROM unnest(%s::integer[], %s::text[]) AS key (partner_id, request_id)
JOIN exchange.requests USING (partner_id, request_id)"""

READ_REFERENCES: Final = b"""
SELECT partner_id, kind, reference, part, batch_id, entry_index
FROM unnest(%s::integer[], %s::text[], %s::text[], %s::integer[]) AS key (partner_id, reference, kind, part)
JOIN exchange.requests USING (partner_id, reference, kind, part) WHERE accepted AND requests.reference <> ''"""


class Loaded(NamedTuple):
    """A book, the registry version that was true when it was loaded, and the members' standing as it was."""

    book: Book
    registry_version: int
    standings: dict[int, Standing]


class _MoreMembers(Exception):
    """Members that must be locked too. Locks are taken in key order, so it starts over with all of them."""

    def __init__(self, members: set[int]) -> None:
        super().__init__()
        self.members = members


def load_book(commands: Sequence[Command], cards: Cards, terms: Terms) -> Steps[Loaded]:
    """Begins a transaction, locks and reads what the commands need. The caller commits or rolls back."""
    needs = collect_needs(commands, cards, terms)
    while True:
        try:
            return (yield from _load(commands, needs, cards, terms))
        except _MoreMembers as more:
            yield [Request(ROLLBACK)]
            needs.members |= more.members


def _load(commands: Sequence[Command], needs: Needs, cards: Cards, terms: Terms) -> Steps[Loaded]:
    readings = [*_readings(needs), *_key_readings(needs)]
    lock = Request(LOCK_WALLETS, (int8s(sorted(needs.members)),))
    requests = [request for request, _ in readings]
    _, wallet_rows, constants, *answers = yield [Request(BEGIN), lock, Request(READ_CONSTANTS), *requests]
    batch_id, clock, registry_version, wall_time = constants[0]
    decided_time = max([clock, *[row[5] for row in wallet_rows if row[5] is not None]])
    book = Book(terms, cards, decided_time, batch_id, wall_time=wall_time)
    standings = {row[0]: _add_wallet(book, row) for row in wallet_rows}
    _absorb(book, readings, answers)
    asked = needs
    while not (more := further_needs(commands, book).without(asked)).is_empty():
        if more.members:
            raise _MoreMembers(more.members)
        readings = _readings(more)
        answers = yield [request for request, _ in readings]
        _absorb(book, readings, answers)
        asked = asked.joined(more)
    book.loaded_moves = len(book.lot_moves)
    return Loaded(book, registry_version, standings)


def _absorb(book: Book, readings: Sequence[Reading], answers: Sequence[Sequence[TupleRow]]) -> None:
    for (_, take), rows in zip(readings, answers, strict=True):
        take(book, rows)


def _key_readings(needs: Needs) -> list[Reading]:
    """Links, request ids and references: what nearly every batch reads."""
    links = list(needs.links)
    requests = needs.requests
    references = needs.references
    return [
        (
            Request(READ_LINKS, (int8s([link[0] for link in links]), int4s([link[1] for link in links]))),
            add_links,
        ),
        (
            Request(
                READ_REQUESTS, (int4s([key[0] for key in requests]), texts([key[1] for key in requests]))
            ),
            _take_requests,
        ),
        (
            Request(
                READ_REFERENCES,
                (
                    int4s([key[0] for key in references]),
                    texts([key[2] for key in references]),
                    texts([key[1] for key in references]),
                    int4s([key[3] for key in references]),
                ),
            ),
            _take_references,
        ),
    ]


def _readings(needs: Needs) -> list[Reading]:
    """What only some batches read."""
    readings: list[Reading] = []
    if needs.lots:
        members, issuers, versions, expiry_dates = zip(*needs.lots, strict=True)
        keys = int8s(members), int4s(issuers), int4s(versions), dates(expiry_dates)
        readings.append((Request(READ_LOTS_BY_KEY, keys), add_lots))
    if needs.spending:
        readings.append((Request(READ_FIRST_LOTS, (int8s(list(needs.spending)),)), add_lots))
    if needs.open_lots:
        readings.append((Request(READ_OPEN_LOTS, (int8s(sorted(needs.open_lots)),)), add_lots))
    if needs.whole:
        readings += whole_readings(needs.whole)
    if needs.originals:
        readings += original_readings(needs.originals)
    if needs.merges:
        readings += merge_readings(needs.merges)
    return readings + authority_readings(needs)


def _add_wallet(book: Book, row: TupleRow) -> Standing:
    member_id, open_points, deficit_points, lot_sequence, next_expiry_date, _, standing = row
    wallet = Wallet(member_id, open_points, 0, 0, deficit_points, lot_sequence, next_expiry_date)
    book.wallets[member_id] = wallet
    return take_standing(wallet, standing)


def _take_requests(book: Book, rows: Sequence[TupleRow]) -> None:
    for partner_id, request_id, fingerprint, accepted, answer in rows:
        book.requests[partner_id, request_id] = Known(fingerprint, accepted, answer)


def _take_references(book: Book, rows: Sequence[TupleRow]) -> None:
    for partner_id, kind, reference, part, in_batch, entry_index in rows:
        book.references[partner_id, kind, reference, part] = entry_text(in_batch, entry_index)
