"""Exposure and ageing: what is not paid yet, whose it is, and for how long it has stood.

Exposure is what the operator and the others would lose with a partner today: its positions in windows that are not
settled, and what the journal has posted since the last computed window (docs/settlement.md, Exposure and ageing).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from settlement.core.parties import party_order

BUCKETS: Final[tuple[tuple[str, int], ...]] = (
    ("0-1", 0),
    ("2-3", 2),
    ("4-7", 4),
    ("8-30", 8),
    ("over 30", 31),
)
"""Each bucket of ages in days, and the age at which it begins; from the youngest."""


@dataclass(frozen=True, slots=True)
class WindowPosition:
    """What one party receives and pays, both 0 or above, in one computed window that is not settled."""

    window_date: date
    party_id: str
    receives_minor: int
    pays_minor: int

    @property
    def net_minor(self) -> int:
        """Positive where the party is still to be paid."""
        return self.receives_minor - self.pays_minor


@dataclass(frozen=True, slots=True)
class PostedPosition:
    """What one party receives and pays exactly, both 0 or above, by what is posted and not computed yet."""

    party_id: str
    receives_micros: int
    pays_micros: int


@dataclass(frozen=True, slots=True)
class Exposure:
    """Everything of one party that is not settled.

    Attributes:
        window_count: computed windows that are not settled and in which it has a position.
        receives_minor, pays_minor: gross over these windows.
        posted_receives_micros, posted_pays_micros: gross and exact since the last computed window.
        net_micros: all of it together; negative is what the party owes.
    """

    party_id: str
    window_count: int
    receives_minor: int
    pays_minor: int
    posted_receives_micros: int
    posted_pays_micros: int
    net_micros: int


def exposures(
    unsettled: Iterable[WindowPosition], posted: Iterable[PostedPosition], unit_micros: int
) -> tuple[Exposure, ...]:
    """Each party's exposure, partners by id, then pool and operator. `unit_micros` are those of a minor unit."""
    windows: defaultdict[str, list[WindowPosition]] = defaultdict(list)
    for position in unsettled:
        windows[position.party_id].append(position)
    since = {position.party_id: position for position in posted}
    return tuple(
        _exposure(party, windows[party], since.get(party, PostedPosition(party, 0, 0)), unit_micros)
        for party in sorted(windows.keys() | since.keys(), key=party_order)
    )


def _exposure(
    party_id: str, windows: Iterable[WindowPosition], posted: PostedPosition, unit_micros: int
) -> Exposure:
    own = tuple(windows)
    return Exposure(
        party_id=party_id,
        window_count=len(own),
        receives_minor=sum(it.receives_minor for it in own),
        pays_minor=sum(it.pays_minor for it in own),
        posted_receives_micros=posted.receives_micros,
        posted_pays_micros=posted.pays_micros,
        net_micros=sum(it.net_minor for it in own) * unit_micros
        + posted.receives_micros
        - posted.pays_micros,
    )


@dataclass(frozen=True, slots=True)
class Aged:
    """One party's amounts by age: in the order of BUCKETS, in the unit of what was aged."""

    party_id: str
    amounts: tuple[int, ...]

    @property
    def total(self) -> int:
        """All ages together."""
        return sum(self.amounts)


def bucket_index(age_days: int) -> int:
    """Which of BUCKETS an age belongs to. What is dated later than the day asked for counts as of that day."""
    return max(index for index, (_, begin) in enumerate(BUCKETS) if begin <= max(age_days, 0))


def aged(amounts: Iterable[tuple[str, date, int]], as_of: date) -> tuple[Aged, ...]:
    """(party, the day it stands since, amount) by party and age as of a day."""
    found: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(BUCKETS))
    for party_id, since, amount in amounts:
        found[party_id][bucket_index((as_of - since).days)] += amount
    return tuple(Aged(party, tuple(found[party])) for party in sorted(found, key=party_order))


def aged_content(row: Aged) -> Mapping[str, object]:
    """A row of an ageing list as plain data."""
    ages = {name: amount for (name, _), amount in zip(BUCKETS, row.amounts, strict=True)}
    return {"party_id": row.party_id, "ages": ages, "total": row.total}
