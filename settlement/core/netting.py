"""Netting: the exact sum of a window's money lines by party and component, and who owed whom behind it.

Nothing is rounded here, so nothing depends on the order in which lines are added
(docs/settlement.md, Netting and rounding).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Pair = tuple[str, str]
"""(party id, component): one line of one party's statement."""


@dataclass(frozen=True, slots=True)
class Flow:
    """All money lines of a window that agree in payer, payee and both components, added up.

    Attributes:
        payer_id, payee_id: partner ids, `POOL` or `OPERATOR`; never the same.
        payer_component, payee_component: the statement lines it belongs to on each side.
        exact_micros: the sum, positive.
        line_count: how many money lines it is the sum of, positive.
    """

    payer_id: str
    payer_component: str
    payee_id: str
    payee_component: str
    exact_micros: int
    line_count: int

    def __post_init__(self) -> None:
        if self.payer_id == self.payee_id:
            raise ValueError(f"payer_id: {self.payer_id!r} cannot owe itself")
        if self.exact_micros <= 0 or self.line_count <= 0:
            raise ValueError(f"exact_micros: {self.exact_micros} over {self.line_count} lines, both positive")


@dataclass(frozen=True, slots=True)
class Movement:
    """What one window moves on one statement line.

    Attributes:
        exact_micros: received less paid.
        line_count: money lines behind it; 0 only where nothing moved.
    """

    exact_micros: int = 0
    line_count: int = 0

    def plus(self, micros: int, line_count: int) -> Movement:
        """This movement and `line_count` more lines of `micros` together."""
        return Movement(self.exact_micros + micros, self.line_count + line_count)


NO_MOVEMENT = Movement()


def movements(flows: Iterable[Flow]) -> dict[Pair, Movement]:
    """What each party receives (+) and pays (-) on each component, exactly. The sum over all is 0."""
    found: defaultdict[Pair, Movement] = defaultdict(Movement)
    for flow in flows:
        payer = (flow.payer_id, flow.payer_component)
        payee = (flow.payee_id, flow.payee_component)
        found[payer] = found[payer].plus(-flow.exact_micros, flow.line_count)
        found[payee] = found[payee].plus(flow.exact_micros, flow.line_count)
    return dict(found)


def exact_nets(moved: Mapping[Pair, Movement]) -> dict[str, int]:
    """The multilateral net position of each party in micros, before rounding."""
    nets: defaultdict[str, int] = defaultdict(int)
    for (party_id, _), movement in moved.items():
        nets[party_id] += movement.exact_micros
    return dict(nets)


def bilateral_matrix(flows: Iterable[Flow]) -> dict[tuple[str, str], int]:
    """What each payer owes each payee in micros, by (payer, payee), both directions kept apart."""
    matrix: defaultdict[tuple[str, str], int] = defaultdict(int)
    for flow in flows:
        matrix[flow.payer_id, flow.payee_id] += flow.exact_micros
    return dict(matrix)
