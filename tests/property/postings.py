"""An entry as core and reference both tell it: without its place in the journal and the moment it was decided."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from exchange.core.commands import kind_in_journal
from exchange.core.ids import entry_text
from tests.reference import Posting
from tests.rows import Rows

Name = tuple[int, str]


class Told(NamedTuple):
    """An entry by its decision, with legs in their order and lines added up by who owes whom what."""

    name: Name
    kind: str
    member: int
    points: int
    version: int
    original: Name | None
    legs: list[tuple[Any, ...]]
    lines: dict[tuple[Any, ...], int]


def posting_of_core(entry_id: str, rows: Rows) -> Told:
    """An entry of the core's journal."""
    entry = rows.journal[entry_id]
    lines: Counter[tuple[Any, ...]] = Counter()
    for line in entry.lines:
        lines[line[:4]] += line.micros
    legs = [
        (leg.member_id, leg.lot_sequence, leg.issuer_id, leg.rate_version, *leg[4:7]) for leg in entry.legs
    ]
    original = None if entry.original is None else name_of(entry_text(*entry.original), rows)
    command = entry.command
    kind = kind_in_journal(command)
    return Told(
        name_of(entry_id, rows),
        kind,
        command.member_id,
        entry.points,
        entry.rate_version,
        original,
        legs,
        dict(lines),
    )


def posting_of_reference(posting: Posting) -> Told:
    """A posting of the reference ledger."""
    lines: Counter[tuple[Any, ...]] = Counter()
    for payment in posting.payments:
        lines[tuple(payment[:4])] += payment.micros
    legs = [
        (move.lot.member, move.lot.sequence, move.lot.issuer, move.lot.version, *move[1:])
        for move in posting.moves
    ]
    return Told(
        posting.name,
        _kind_told(posting),
        posting.member,
        posting.points,
        posting.version,
        posting.original,
        legs,
        dict(lines),
    )


def _kind_told(posting: Posting) -> str:
    """An adjustment and a promise have kinds of their own."""
    if posting.kind == "adjust":
        return f"adjust_{posting.does}"
    return "pending_earn" if posting.kind == "earn" and posting.command.pending else posting.kind


def name_of(entry_id: str, rows: Rows) -> Name:
    """An entry's decision. What the hub posts names an entry id, which batching changes: that one's name for it."""
    partner, request_id = rows.name_of(entry_id)
    why, _, named = request_id.partition(":")
    if why in ("lapse", "cancel"):
        return partner, f"{why}:{name_of(named, rows)}"
    return partner, request_id
