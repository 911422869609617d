"""The journal read forward along its chain, chunk by chunk, so that nothing is missed and nothing comes twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import ARRAY, BigInteger, Connection, Integer, any_, func, literal, select, tuple_

from exchange.store.reads.accounts import EntryRow, FullEntry, Place, complete_entries, select_entries
from exchange.store.tables import BATCHES, CHAIN, ENTRIES

MAX_BATCHES: Final = 1000
"""Batches that one reading walks, the one of its place among them."""

MAX_SCANNED: Final = 20_000
"""Entries of those batches, other partners' too: a reading for a rare poster must end as well."""

START: Final = Place(0, 0)
"""Before the first entry: sequences begin at 1."""


class JournalDamaged(Exception):
    """A batch is missing from the chain, or entries from a batch: nobody reads past it."""


class CursorAhead(Exception):
    """The place is past the end of the chain."""

    def __init__(self, last_sequence: int) -> None:
        """Takes where the chain ends."""
        super().__init__(last_sequence)
        self.last_sequence = last_sequence


class Chunk(NamedTuple):
    """Every entry of the posters with `after` < place <= `end`, in order, with all of its legs and lines.

    `posters` None means everybody. `is_last` says that nothing stood behind `end` when this was read.
    """

    after: Place
    end: Place
    posters: frozenset[int] | None
    entries: list[FullEntry]
    is_last: bool


class _Link(NamedTuple):
    """What a batch's row says of it."""

    batch_id: int
    sequence: int
    entry_count: int


def read_chunk(connection: Connection, after: Place, posters: frozenset[int] | None, limit: int) -> Chunk:
    """The next entries after a place, at most `limit`. Raises `CursorAhead` or `JournalDamaged`.

    Chain sequences are given out under one lock that is held until the commit, so a snapshot that has a batch
    has every batch before it; and a batch is only read whose entries are as many as its row states.
    """
    links, follows = _links(connection, after, MAX_BATCHES)
    taken = _within(links, after, limit if posters is None else MAX_SCANNED)
    if not taken or _end_of(taken[-1]) <= after:
        return Chunk(after, after, posters, [], is_last=True)
    _check_complete(connection, taken)
    rows = _rows(connection, after, taken, posters, limit)
    is_cut = len(rows) == limit
    last = taken[-1]
    end = Place(rows[-1].batch_sequence, rows[-1].entry_index) if is_cut else _end_of(last)
    # Lines are not filtered here: one chunk serves many readers.
    entries = complete_entries(connection, rows, None) if rows else []
    is_last = not (is_cut or follows or len(taken) < len(links))
    return Chunk(after, max(after, end), posters, entries, is_last)


def _links(connection: Connection, after: Place, limit: int) -> tuple[list[_Link], bool]:
    """Batches from the one of the place on, up to the first gap if there is one, and whether more may follow."""
    batches = BATCHES.c
    found = connection.execute(
        select(batches.batch_id, batches.sequence, batches.entry_count)
        .where(batches.sequence >= after.batch_sequence)
        .order_by(batches.sequence)
        .limit(limit)
    )
    links = [_Link._make(row) for row in found]
    first = max(after.batch_sequence, 1)
    if not links and after.batch_sequence > 0:
        raise CursorAhead(connection.execute(select(CHAIN.c.sequence)).scalar_one())
    whole = [link for sequence, link in enumerate(links, first) if link.sequence == sequence]
    if len(whole) < len(links) and (not whole or _end_of(whole[-1]) <= after):
        raise JournalDamaged  # what comes next is missing
    return whole, len(whole) < len(links) or len(links) == limit


def _within(links: Sequence[_Link], after: Place, room: int) -> list[_Link]:
    """The first of them that together hold as many entries as there is room for."""
    taken: list[_Link] = []
    for link in links:
        if room <= 0:
            break
        taken.append(link)
        read_before = after.entry_index + 1 if link.sequence == after.batch_sequence else 0
        room -= max(link.entry_count - read_before, 0)
    return taken


def _check_complete(connection: Connection, links: Sequence[_Link]) -> None:
    entries = ENTRIES.c
    ids = literal([link.batch_id for link in links], ARRAY(BigInteger))
    counted = connection.execute(
        select(entries.batch_id, func.count()).where(entries.batch_id == any_(ids)).group_by(entries.batch_id)
    )
    counts = {row[0]: row[1] for row in counted}
    if any(counts.get(link.batch_id, 0) != link.entry_count for link in links):
        raise JournalDamaged


def _rows(
    connection: Connection,
    after: Place,
    links: Sequence[_Link],
    posters: frozenset[int] | None,
    limit: int,
) -> list[EntryRow]:
    entries, sequence = ENTRIES.c, BATCHES.c.sequence
    query = select_entries().where(
        # Each of the first two says enough; both, so that either table is entered by its index.
        entries.batch_id == any_(literal([link.batch_id for link in links], ARRAY(BigInteger))),
        sequence.between(links[0].sequence, links[-1].sequence),
        tuple_(sequence, entries.entry_index) > tuple_(*after),
    )
    if posters is not None:
        query = query.where(entries.partner_id == any_(literal(sorted(posters), ARRAY(Integer))))
    rows = connection.execute(query.order_by(sequence, entries.entry_index).limit(limit))
    return [EntryRow._make(row) for row in rows]


def _end_of(link: _Link) -> Place:
    """The place of a batch's last entry; its first place where it has none."""
    return Place(link.sequence, max(link.entry_count - 1, 0))
