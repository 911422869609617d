"""The whole history counted a second way: whatever differs by a micro, a line or a fen is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from settlement.core.netting import Movement, Pair
from settlement.core.parties import OPERATOR, POOL
from settlement.core.recount import SettledLine, history_difference
from settlement.core.rounding import ROUNDING

FEN = 10_000
COUNTED: dict[Pair, Movement] = {
    ("a", "FEE"): Movement(-14_000, 2),
    ("a", "FUNDING"): Movement(-150_000, 1),
    (OPERATOR, "FEE"): Movement(14_000, 2),
    (POOL, "FUNDING"): Movement(160_000, 2),
    (POOL, "BURN_FUNDING"): Movement(-10_000, 1),
}
SETTLED = (
    SettledLine("a", "FEE", 2, -14_000, -1),
    SettledLine("a", "FUNDING", 1, -150_000, -15),
    SettledLine(OPERATOR, "FEE", 2, 14_000, 1),
    SettledLine(OPERATOR, ROUNDING, 0, 0, 0),
    SettledLine(POOL, "ESCROW", 3, 150_000, 15),
)


def test_statements_of_all_windows_are_the_journals_sum_rounded_once() -> None:
    assert history_difference(COUNTED, SETTLED, FEN) == ""


def test_a_contracts_line_is_compared_with_the_rest_of_its_partner() -> None:
    lines = (
        SettledLine("a", "BILATERAL:b", 1, -50_000, -5),
        replace(SETTLED[1], exact_micros=-100_000, amount_minor=-10),
    )
    counted = {**COUNTED, ("a", "FUNDING"): Movement(-150_000, 2)}

    assert history_difference(counted, (SETTLED[0], *lines, *SETTLED[2:]), FEN) == ""
    assert history_difference(COUNTED, (SETTLED[0], *lines, *SETTLED[2:]), FEN).startswith("a everything: ")


Lines = tuple[SettledLine, ...]
DIFFERENT: dict[str, tuple[str, Callable[[Lines], Lines]]] = {
    "a micro": ("a FEE: the journal has -14000", lambda it: (replace(it[0], exact_micros=-14_001), *it[1:])),
    "a money line": ("a FEE: the journal has -14000", lambda it: (replace(it[0], line_count=3), *it[1:])),
    "a line nobody settled": ("a FEE: the journal has -14000", lambda it: it[1:]),
    "a line nobody posted": ("b FEE: the journal has 0", lambda it: (*it, SettledLine("b", "FEE", 1, 1, 0))),
    "a fen": ("a FEE: settled -2 minor units", lambda it: (replace(it[0], amount_minor=-2), *it[1:])),
    "a fen of rounding": (
        "all parties together settled 1",
        lambda it: (*it[:3], replace(it[3], amount_minor=1), it[4]),
    ),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_the_first_difference_is_named_by_its_party_and_line(what: str) -> None:
    begins, change = DIFFERENT[what]

    assert history_difference(COUNTED, change(SETTLED), FEN).startswith(begins)
