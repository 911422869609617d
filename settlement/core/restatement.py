"""Restatement: what a window would have been, had everything that happened on its day been posted to it.

A closed window is never changed. Late events and adjustments are posted to the window that is open when they
arrive, priced at their event time; the report shows what that moved from one day to another
(docs/settlement.md, Restatement).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from settlement.core.contracts import Contract, bilateral_pairs
from settlement.core.netting import Flow, movements
from settlement.core.parties import party_order
from settlement.core.rounding import StatementLine, settle_lines


@dataclass(frozen=True, slots=True)
class RestatedLine:
    """One statement line as it was settled and as it would have been, in minor units and in micros."""

    party_id: str
    component: str
    was_minor: int
    would_be_minor: int
    was_micros: int
    would_be_micros: int

    @property
    def difference_minor(self) -> int:
        """What would be more (+) or less (-)."""
        return self.would_be_minor - self.was_minor


@dataclass(frozen=True, slots=True)
class Restatement:
    """A whole window restated.

    Attributes:
        lines: those that moved on either side, by party and component.
        entries_in: entries of the day that were posted to other windows.
        entries_out: entries of other days that were posted to the window.
    """

    lines: tuple[RestatedLine, ...]
    entries_in: int
    entries_out: int

    def nets(self) -> tuple[tuple[str, int, int], ...]:
        """(party, net as it was, net as it would be), in the order of statements. Both columns sum to 0."""
        parties = sorted({line.party_id for line in self.lines}, key=party_order)
        return tuple(
            (
                party,
                sum(line.was_minor for line in self.lines if line.party_id == party),
                sum(line.would_be_minor for line in self.lines if line.party_id == party),
            )
            for party in parties
        )


def restate(
    before: Iterable[StatementLine],
    was: Iterable[StatementLine],
    flows: Iterable[Flow],
    contracts: Iterable[Contract],
    unit_micros: int,
) -> tuple[RestatedLine, ...]:
    """A window's lines beside those its day's entries would have made.

    `before` are the lines of the window before, as they were settled: a restatement moves nothing of other days.
    `flows` are those of every entry whose event time is of the day, whatever window it is posted to.
    """
    settled = {line.pair: line for line in was}
    moved = movements(flows, bilateral_pairs(contracts))
    restated = {line.pair: line for line in settle_lines(before, moved, unit_micros)}
    pairs = sorted(settled.keys() | restated.keys(), key=lambda pair: (party_order(pair[0]), pair[1]))
    lines = (_line(pair, settled.get(pair), restated.get(pair)) for pair in pairs)
    return tuple(
        it for it in lines if it.was_minor or it.would_be_minor or it.was_micros or it.would_be_micros
    )


def _line(pair: tuple[str, str], was: StatementLine | None, would_be: StatementLine | None) -> RestatedLine:
    return RestatedLine(
        party_id=pair[0],
        component=pair[1],
        was_minor=was.amount_minor if was else 0,
        would_be_minor=would_be.amount_minor if would_be else 0,
        was_micros=was.exact_micros if was else 0,
        would_be_micros=would_be.exact_micros if would_be else 0,
    )
