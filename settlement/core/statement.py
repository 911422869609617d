"""Statements: one party's position in one window, opening, lines by component, closing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from settlement.core.parties import OPERATOR, POOL, party_order
from settlement.core.rounding import StatementLine


@dataclass(frozen=True, slots=True)
class Statement:
    """What one party receives (+) or pays (-) for one business day, in minor units.

    Attributes:
        opening_minor: the net position to date before the day.
        lines: the components that moved, ordered by name.
        net_minor: the day's net position, the sum of the lines.
        closing_minor: the net position to date after the day.
        exact_micros: the day's exact net position.
    """

    window_date: date
    party_id: str
    opening_minor: int
    lines: tuple[StatementLine, ...]
    net_minor: int
    closing_minor: int
    exact_micros: int


def statements(window_date: date, lines: Iterable[StatementLine]) -> tuple[Statement, ...]:
    """The statements of all parties that ever moved, and always of the pool and the operator.

    Partners by id first, then `POOL`, then `OPERATOR`. Their nets sum to 0.
    """
    by_party: dict[str, list[StatementLine]] = {POOL: [], OPERATOR: []}
    for line in lines:
        by_party.setdefault(line.party_id, []).append(line)
    return tuple(
        party_statement(window_date, party, by_party[party]) for party in sorted(by_party, key=party_order)
    )


def party_statement(window_date: date, party_id: str, lines: Iterable[StatementLine]) -> Statement:
    """The statement of one party from its own lines of the window; without any, one of zeros."""
    own = sorted(lines, key=lambda line: line.component)
    net = sum(line.amount_minor for line in own)
    closing = sum(line.amount_to_date_minor for line in own)
    return Statement(
        window_date=window_date,
        party_id=party_id,
        opening_minor=closing - net,
        lines=tuple(line for line in own if line.moved),
        net_minor=net,
        closing_minor=closing,
        exact_micros=sum(line.exact_micros for line in own),
    )


def payable_minor(settled: Iterable[Statement]) -> int:
    """What the paying parties owe together, positive, in minor units."""
    return -sum(statement.net_minor for statement in settled if statement.net_minor < 0)


def statement_content(statement: Statement) -> dict[str, object]:
    """The statement as plain data for JSON and for its hash: whole numbers and texts only."""
    return {
        "window_date": statement.window_date.isoformat(),
        "party_id": statement.party_id,
        "opening_minor": statement.opening_minor,
        "lines": [line_content(line) for line in statement.lines],
        "exact_micros": statement.exact_micros,
        "net_minor": statement.net_minor,
        "closing_minor": statement.closing_minor,
    }


def line_content(line: StatementLine) -> dict[str, object]:
    """One statement line as plain data."""
    return {
        "component": line.component,
        "line_count": line.line_count,
        "exact_micros": line.exact_micros,
        "amount_minor": line.amount_minor,
        "exact_to_date_micros": line.exact_to_date_micros,
        "amount_to_date_minor": line.amount_to_date_minor,
    }
