"""Loads a batch: locks the wallets alone, in key order, then reads the rest, one statement a table.

The reads come in statements of their own after the lock, because READ COMMITTED gives each a new snapshot: a
join that locks and reads at once was seen to return stale lots on PostgreSQL 15.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from psycopg.rows import TupleRow

from exchange.core.book import Book, Known, Link, Terms, Wallet
from exchange.core.ids import entry_text
from exchange.core.lots import Lot, LotKey
from exchange.core.needs import Needs
from exchange.core.rates import Cards
from exchange.store.binary import dates, int4s, int8s, texts
from exchange.store.pipeline import BEGIN, Request, Steps

FIRST_LOTS: Final = 4
"""Lots in consumption order that a burn is given at first; nearly all need no more."""

# Locks every wallet of the batch in key order, so that two batches never wait for each other in a circle.
LOCK_WALLETS: Final = b"""
SELECT member_id, open_points, pending_points, held_points, deficit_points, lot_sequence, next_expiry_date,
    last_decided_time
FROM exchange.wallets WHERE member_id = ANY(%s) ORDER BY member_id FOR NO KEY UPDATE"""

# The batch's id, the ledger clock read after the locks, and whether cached cards are still true.
READ_CONSTANTS: Final = b"""
SELECT nextval('exchange.batch_ids'), CASE WHEN clock = 'manual' THEN manual_time ELSE clock_timestamp() END,
    version
FROM exchange.ledger, exchange.registry"""

_LOT_COLUMNS: Final = b"""member_id, lot_sequence, issuer_id, rate_version, expiry_date, funding_micros,
    prefunded_micros, issued_points, open_points, held_points, burned_points, expired_points"""

# The lots that earns would join, by key.
READ_LOTS_BY_KEY: Final = (
    b"SELECT "
    + _LOT_COLUMNS
    + b"""
FROM unnest(%s::bigint[], %s::integer[], %s::integer[], %s::date[])
    AS key (member_id, issuer_id, rate_version, expiry_date)
JOIN exchange.lots USING (member_id, issuer_id, rate_version, expiry_date)"""
)

# The first open lots of each member in consumption order. The limit is part of the text: a generic plan for an
# unknown limit would read and sort all lots of a member.
READ_FIRST_LOTS: Final = (
    b"SELECT first.* FROM unnest(%s::bigint[]) AS key (member_id) CROSS JOIN LATERAL (SELECT "
    + _LOT_COLUMNS
    + b""" FROM exchange.lots WHERE lots.member_id = key.member_id AND NOT spent
    ORDER BY expiry_date, lot_sequence LIMIT """
    + str(FIRST_LOTS).encode()
    + b") AS first"
)

# All open lots of each member.
READ_OPEN_LOTS: Final = (
    b"SELECT " + _LOT_COLUMNS + b" FROM unnest(%s::bigint[]) AS key (member_id)"
    b" JOIN exchange.lots USING (member_id) WHERE NOT spent"
)

READ_LINKS: Final = b"""
SELECT member_id, partner_id, per_burn_limit_points, per_day_limit_points, burned_date, burned_points
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
    """A book, and the registry version that was true when it was loaded."""

    book: Book
    registry_version: int


def load_book(needs: Needs, cards: Cards, terms: Terms) -> Steps[Loaded]:
    """Begins a transaction, locks and reads what the commands need. The caller commits or rolls back."""
    lot_requests = _lot_requests(needs)
    rows = yield [
        Request(BEGIN),
        Request(LOCK_WALLETS, (int8s(sorted(needs.members)),)),
        Request(READ_CONSTANTS),
        *lot_requests,
        *_key_requests(needs),
    ]
    answers = iter(rows)
    next(answers)
    wallet_rows = next(answers)
    batch_id, clock, registry_version = next(answers)[0]
    wallets, decided_time = _wallets(wallet_rows, clock)
    book = Book(terms, cards, decided_time, batch_id, wallets)
    for _ in lot_requests:
        add_lots(book, next(answers))
    yield from _load_missing_lots(needs, book)
    for row in next(answers):
        book.links[row[0], row[1]] = Link(*row)
    for partner_id, request_id, fingerprint, accepted, answer in next(answers):
        book.requests[partner_id, request_id] = Known(fingerprint, accepted, answer)
    for partner_id, kind, reference, part, in_batch, entry_index in next(answers):
        book.references[partner_id, kind, reference, part] = entry_text(in_batch, entry_index)
    return Loaded(book, registry_version)


def _lot_requests(needs: Needs) -> list[Request]:
    requests = []
    if needs.lots:
        members, issuers, versions, expiry_dates = zip(*needs.lots, strict=True)
        keys = int8s(members), int4s(issuers), int4s(versions), dates(expiry_dates)
        requests.append(Request(READ_LOTS_BY_KEY, keys))
    if needs.spending:
        requests.append(Request(READ_FIRST_LOTS, (int8s(list(needs.spending)),)))
    return requests


def _key_requests(needs: Needs) -> list[Request]:
    """Links, request ids and references, in this order."""
    links = list(needs.links)
    references = needs.references
    return [
        Request(READ_LINKS, (int8s([link[0] for link in links]), int4s([link[1] for link in links]))),
        Request(
            READ_REQUESTS,
            (int4s([key[0] for key in needs.requests]), texts([key[1] for key in needs.requests])),
        ),
        Request(
            READ_REFERENCES,
            (
                int4s([key[0] for key in references]),
                texts([key[2] for key in references]),
                texts([key[1] for key in references]),
                int4s([key[3] for key in references]),
            ),
        ),
    ]


def _wallets(rows: Sequence[TupleRow], clock: datetime) -> tuple[dict[int, Wallet], datetime]:
    wallets = {}
    decided_time = clock
    for *columns, last_decided_time in rows:
        wallets[columns[0]] = Wallet(*columns)
        # Never before the member's last, even if the clock stepped back.
        decided_time = max(decided_time, last_decided_time)
    return wallets, decided_time


def add_lots(book: Book, rows: Sequence[TupleRow]) -> None:
    """Adds rows of lots to their wallets."""
    for row in rows:
        lot = Lot(*row)
        key = LotKey(lot.member_id, lot.issuer_id, lot.rate_version, lot.expiry_date)
        book.wallets[lot.member_id].lots[key] = lot


def _load_missing_lots(needs: Needs, book: Book) -> Steps[None]:
    """The second reading, for members whose burns may need more lots, or who have lots past their day."""
    short = [
        wallet.member_id
        for wallet in book.wallets.values()
        if wallet.next_expiry_date < book.today or _may_run_short(wallet, needs)
    ]
    if short:
        (rows,) = yield [Request(READ_OPEN_LOTS, (int8s(short),))]
        add_lots(book, rows)


def _may_run_short(wallet: Wallet, needs: Needs) -> bool:
    wanted = needs.spending.get(wallet.member_id)
    if wanted is None:
        return False
    loaded = sum(lot.open_points for lot in wallet.lots.values())
    return loaded < wallet.open_points and _first_points(wallet) < wanted


def _first_points(wallet: Wallet) -> int:
    return sum(lot.open_points for lot in wallet.spendable()[:FIRST_LOTS])
