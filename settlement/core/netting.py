"""Netting: the exact sum of a window's money lines by party and component, and who owed whom behind it.

Nothing is rounded here, so nothing depends on the order in which lines are added
(docs/settlement.md, Netting and rounding).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

Pair = tuple[str, str]
"""(party id, component): one line of one party's statement."""

Partners = frozenset[tuple[str, str]]
"""Pairs of partners that settle between themselves, each as `ordered_pair` gives it."""

NO_PARTNERS: Final[Partners] = frozenset()

_BILATERAL_PREFIX: Final = "BILATERAL:"


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


def ordered_pair(one: str, other: str) -> tuple[str, str]:
    """Two partners in the order of their ids, as a contract between them names them."""
    return (one, other) if one < other else (other, one)


def bilateral_line(party_id: str, other_id: str) -> Pair:
    """The statement line of one partner for everything it settles with another under a contract."""
    return party_id, f"{_BILATERAL_PREFIX}{other_id}"


def bilateral_counterparty(component: str) -> str:
    """The other partner of a bilateral line; empty for every other component."""
    return component.removeprefix(_BILATERAL_PREFIX) if component.startswith(_BILATERAL_PREFIX) else ""


def flow_lines(flow: Flow, bilateral: Partners = NO_PARTNERS) -> tuple[Pair, Pair]:
    """The payer's and the payee's statement line of a flow."""
    if ordered_pair(flow.payer_id, flow.payee_id) in bilateral:
        return bilateral_line(flow.payer_id, flow.payee_id), bilateral_line(flow.payee_id, flow.payer_id)
    return (flow.payer_id, flow.payer_component), (flow.payee_id, flow.payee_component)


def movements(flows: Iterable[Flow], bilateral: Partners = NO_PARTNERS) -> dict[Pair, Movement]:
    """What each party receives (+) and pays (-) on each line, exactly. The sum over all is 0.

    What the partners of a `bilateral` pair owe each other is on one line of each, whatever it is for.
    """
    found: defaultdict[Pair, Movement] = defaultdict(Movement)
    for flow in flows:
        payer, payee = flow_lines(flow, bilateral)
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
