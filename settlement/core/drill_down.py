"""What stands behind a line of a statement: entries of the hub's journal, each with its part of the line."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, datetime

from settlement.core.certificate import time_text


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where an entry stands in the ledger's one order; text is `<batch sequence>.<entry index>`."""

    batch_sequence: int
    entry_index: int

    @classmethod
    def parse(cls, text: str) -> Place:
        """The place of a text. Raises ValueError."""
        sequence, _, index = text.partition(".")
        if not (sequence.isdecimal() and index.isdecimal()):
            raise ValueError(f"{text!r} is not a place, expected such as 17.3")
        return cls(int(sequence), int(index))

    def __str__(self) -> str:
        return f"{self.batch_sequence}.{self.entry_index}"


@dataclass(frozen=True, slots=True)
class LineEntry:
    """One entry behind a statement line.

    Attributes:
        entry_id: the hub's name of it.
        partner_id, request_id: who posted it under which request; that partner holds the hub's receipt for it.
        component: the statement line it is behind.
        points: the points the entry states.
        line_count: its money lines behind the statement line.
        micros: their sum, exact; received is positive, paid negative.
    """

    place: Place
    entry_id: str
    partner_id: str
    request_id: str
    kind: str
    reference: str
    store_id: str
    terminal_id: str
    member_id: str
    event_time: datetime
    points: int
    rate_version: int
    component: str
    line_count: int
    micros: int


@dataclass(frozen=True, slots=True)
class EntryLeg:
    """Points that an entry moved."""

    issuer_id: str
    from_account: str
    to_account: str
    points: int
    funding_micros: int
    prefunded_micros: int


@dataclass(frozen=True, slots=True)
class EntryLine:
    """Money that an entry makes one party owe another."""

    payer_id: str
    payer_component: str
    payee_id: str
    payee_component: str
    micros: int


@dataclass(frozen=True, slots=True)
class PostedEntry:
    """An entry with everything that proves it.

    Attributes:
        window_date: the business day it was posted on.
        digest, chain_hash: of its batch, 32 bytes each; what the hub signed when it closed the window.
    """

    place: Place
    entry_id: str
    window_date: date
    kind: str
    partner_id: str
    request_id: str
    member_id: str
    reference: str
    store_id: str
    terminal_id: str
    event_time: datetime
    decided_time: datetime
    points: int
    rate_version: int
    legs: tuple[EntryLeg, ...]
    lines: tuple[EntryLine, ...]
    digest: bytes
    chain_hash: bytes


def line_entry_content(entry: LineEntry) -> dict[str, object]:
    """An entry behind a line as plain data."""
    own = {"place": str(entry.place), "event_time": time_text(entry.event_time)}
    return asdict(entry) | own


def posted_entry_content(entry: PostedEntry) -> dict[str, object]:
    """An entry as plain data."""
    return asdict(entry) | {
        "place": str(entry.place),
        "window_date": entry.window_date.isoformat(),
        "event_time": time_text(entry.event_time),
        "decided_time": time_text(entry.decided_time),
        "digest": entry.digest.hex(),
        "chain_hash": entry.chain_hash.hex(),
    }
