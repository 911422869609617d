"""Rows that only some commands change: holds, pending earns, deficits, moves, marks, quotes, codes, tills.

They are few, so they are inserted and updated from arrays in the batch's last pipeline, whatever its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from exchange.core.book import Book
from exchange.core.originals import Deficit, Hold, PendingEarn
from exchange.store.binary import (
    RowFormat,
    array,
    dates,
    day_number,
    int4s,
    int8s,
    microseconds,
    texts,
    update_statement,
)
from exchange.store.pipeline import Request
from exchange.store.standing import COLUMNS, Standing, standing_of, to_row

HOLDS: Final = RowFormat(
    "holds",
    "partner_id int4, member_id int8, batch_id int8, entry_index int4, points int8, rate_version int4,"
    "authorised_time time, deadline time, request_id text, kind word",
)
PENDING_EARNS: Final = RowFormat(
    "pending_earns",
    "partner_id int4, member_id int8, batch_id int8, entry_index int4, points int8, due_date date, request_id text",
)
DEFICITS: Final = RowFormat(
    "deficits",
    "member_id int8, deficit_sequence int4, issuer_id int4, funding_micros int8, raised_time time,"
    "raised_points int8, moved_in_points int8, absorbed_points int8, forgiven_points int8, moved_out_points int8,"
    "moved_from_member_id int8, moved_from_sequence int4",
)
LOT_MOVES: Final = RowFormat(
    "lot_moves",
    "from_member_id int8, from_lot_sequence int4, to_member_id int8, to_lot_sequence int4, batch_id int8,"
    "entry_index int4, points int8, why word",
)
MARKS: Final = RowFormat("marks", "member_id int8, partner_id int4, once_rule text")
QUOTES: Final = RowFormat("quotes", "batch_id int8, entry_index int4, quote_id text")
TERMINALS: Final = RowFormat(
    "terminals",
    "partner_id int4, wrong_tries int4, locked bool, spent_date date, spent_count int8, spent_points int8,"
    "store_id word, terminal_id word",
)
OTHER_MEMBERS: Final = RowFormat("other_members", "member_id int8, batch_id int8, entry_index int4")
LINKS: Final = RowFormat("links", "member_id int8, partner_id int4")


# What only some commands change.
UPDATE_STANDINGS: Final = update_statement(
    "wallets",
    "member_id",
    COLUMNS,
    "bigint bigint bigint text bigint bigint integer integer date timestamptz date bigint bigint bigint",
)

UPDATE_HOLDS: Final = update_statement(
    "holds", "partner_id request_id", ("deadline",), "integer text timestamptz"
)

DELETE_HOLDS: Final = b"""
DELETE FROM exchange.holds USING unnest(%s::integer[], %s::text[]) AS gone (partner_id, request_id)
WHERE holds.partner_id = gone.partner_id AND holds.request_id = gone.request_id"""

UPDATE_PENDING_EARNS: Final = update_statement(
    "pending_earns", "partner_id request_id", ("points",), "integer text bigint"
)

# A date that may be absent: arrays of ours have no NULLs, and only new rows need it.
SET_OWN_EXPIRY: Final = update_statement(
    "pending_earns", "partner_id request_id", ("expiry_date",), "integer text date"
)

DELETE_PENDING_EARNS: Final = b"""
DELETE FROM exchange.pending_earns USING unnest(%s::integer[], %s::text[]) AS gone (partner_id, request_id)
WHERE pending_earns.partner_id = gone.partner_id AND pending_earns.request_id = gone.request_id"""

UPDATE_DEFICITS: Final = update_statement(
    "deficits",
    "member_id deficit_sequence",
    ("moved_in_points", "absorbed_points", "forgiven_points", "moved_out_points"),
    "bigint integer bigint bigint bigint bigint",
)

UPDATE_PAY_CODES: Final = b"""
UPDATE exchange.pay_codes SET used = true FROM unnest(%s::bytea[]) AS new (digest)
WHERE pay_codes.digest = new.digest"""

UPDATE_TERMINALS: Final = update_statement(
    "terminals",
    "partner_id store_id terminal_id",
    ("wrong_tries", "locked", "spent_date", "spent_count", "spent_points"),
    "integer text text integer boolean date bigint bigint",
)

_Row = tuple[Any, ...]


def standing_requests(book: Book, standings: Mapping[int, Standing]) -> list[Request]:
    """The statements for everything but journal, requests, lots, and the wallets' and links' plain figures."""
    requests = _standings(book, standings)
    if book.holds:
        requests += _holds(list(book.holds.values()))
    if book.pending_earns:
        requests += _pending_earns(list(book.pending_earns.values()))
    requests += _deficits([it for wallet in book.wallets.values() for it in wallet.deficits])
    requests += _inserts(
        LOT_MOVES,
        [(*it.source, *it.target, *it[2:4], it.points, it.why) for it in book.lot_moves[book.loaded_moves :]],
    )
    requests += _inserts(OTHER_MEMBERS, _other_members(book))
    requests += _inserts(MARKS, book.new_marks)
    requests += _inserts(QUOTES, [(book.batch_id, index, quote_id) for quote_id, index in book.new_quotes])
    requests += _inserts(LINKS, [(it.member_id, it.partner_id) for it in book.links.values() if it.created])
    if book.pay_codes or book.terminals:
        requests += _authorities(book)
    return requests


def _inserts(form: RowFormat, rows: Sequence[_Row]) -> list[Request]:
    return [Request(form.insert, form.arrays(list(zip(*rows, strict=True))))] if rows else []


def _other_members(book: Book) -> list[_Row]:
    """Members in the legs of another's entry, so that they find it among theirs."""
    touched = {
        (leg[0], book.batch_id, index)
        for index, entry in enumerate(book.entries)
        for leg in entry.legs
        if leg[0] != entry.command.member_id
    }
    return sorted(touched)


def _standings(book: Book, standings: Mapping[int, Standing]) -> list[Request]:
    changed = [
        (member_id, *to_row(standing))
        for member_id, wallet in book.wallets.items()
        if wallet.changed and (standing := standing_of(wallet)) != standings[member_id]
    ]
    if not changed:
        return []
    members, pending, held, states, survivors, batches, indexes, sequences, cancels, *rest = zip(
        *changed, strict=True
    )
    deadlines, days, *counters = rest
    values = (
        *(int8s(members), int8s(pending), int8s(held), texts(states), int8s(survivors), int8s(batches)),
        *(int4s(indexes), int4s(sequences), dates(cancels), _times(deadlines), dates(days)),
        *map(int8s, counters),
    )
    return [Request(UPDATE_STANDINGS, values)]


def _times(moments: Iterable[Any]) -> bytes:
    return array("time", [microseconds(moment) for moment in moments])


def _keys(rows: Sequence[Hold] | Sequence[PendingEarn]) -> tuple[bytes, bytes]:
    return int4s([row.partner_id for row in rows]), texts([row.request_id for row in rows])


def _holds(holds: Sequence[Hold]) -> list[Request]:
    made = [hold for hold in holds if hold.created and not hold.closed]
    requests = _inserts(
        HOLDS,
        [
            (
                *(it.partner_id, it.member_id, *it.entry, it.points, it.rate_version),
                *(microseconds(it.authorised_time), microseconds(it.deadline), it.request_id, it.kind),
            )
            for it in made
        ],
    )
    if longer := [hold for hold in holds if hold.changed and not hold.created and not hold.closed]:
        requests.append(Request(UPDATE_HOLDS, (*_keys(longer), _times(it.deadline for it in longer))))
    if gone := [hold for hold in holds if hold.closed and not hold.created]:
        requests.append(Request(DELETE_HOLDS, _keys(gone)))
    return requests


def _pending_earns(earns: Sequence[PendingEarn]) -> list[Request]:
    made = [it for it in earns if it.created and not it.closed]
    requests = _inserts(
        PENDING_EARNS,
        [
            (it.partner_id, it.member_id, *it.entry, it.points, day_number(it.due_date), it.request_id)
            for it in made
        ],
    )
    if own := [it for it in made if it.expiry_date is not None]:
        days = dates([it.expiry_date for it in own if it.expiry_date is not None])
        requests.append(Request(SET_OWN_EXPIRY, (*_keys(own), days)))
    if smaller := [it for it in earns if it.changed and not it.created and not it.closed]:
        requests.append(
            Request(UPDATE_PENDING_EARNS, (*_keys(smaller), int8s([it.points for it in smaller])))
        )
    if gone := [it for it in earns if it.closed and not it.created]:
        requests.append(Request(DELETE_PENDING_EARNS, _keys(gone)))
    return requests


_deficit_key: Final = attrgetter("member_id", "deficit_sequence")


def _deficits(deficits: Sequence[Deficit]) -> list[Request]:
    requests = _inserts(
        DEFICITS,
        [
            (
                *(*_deficit_key(it), it.issuer_id, it.funding_micros, microseconds(it.raised_time)),
                *(it.raised_points, it.moved_in_points, it.absorbed_points, it.forgiven_points),
                *(it.moved_out_points, *(it.moved_from or (0, 0))),
            )
            for it in deficits
            if it.created
        ],
    )
    if changed := [it for it in deficits if it.changed and not it.created]:
        values = (
            int8s([it.member_id for it in changed]),
            int4s([it.deficit_sequence for it in changed]),
            int8s([it.moved_in_points for it in changed]),
            int8s([it.absorbed_points for it in changed]),
            int8s([it.forgiven_points for it in changed]),
            int8s([it.moved_out_points for it in changed]),
        )
        requests.append(Request(UPDATE_DEFICITS, values))
    return requests


def _authorities(book: Book) -> list[Request]:
    requests: list[Request] = []
    if used := [code.digest for code in book.pay_codes.values() if code.changed]:
        requests.append(Request(UPDATE_PAY_CODES, (array("bytes", used),)))
    requests += _inserts(
        TERMINALS,
        [
            (
                *(it.partner_id, it.wrong_tries, it.locked, day_number(it.spent_date), it.spent_count),
                *(it.spent_points, it.store_id, it.terminal_id),
            )
            for _, it in sorted(book.terminals.items())  # in key order: two batches may make the same tills
            if it.created
        ],
    )
    if tills := [it for it in book.terminals.values() if it.changed and not it.created]:
        values = (
            int4s([it.partner_id for it in tills]),
            texts([it.store_id for it in tills]),
            texts([it.terminal_id for it in tills]),
            int4s([it.wrong_tries for it in tills]),
            array("bool", [it.locked for it in tills]),
            dates([it.spent_date for it in tills]),
            int8s([it.spent_count for it in tills]),
            int8s([it.spent_points for it in tills]),
        )
        requests.append(Request(UPDATE_TERMINALS, values))
    return requests
