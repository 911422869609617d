"""How many histories are tried. `TONGDUI_PROPERTY_FACTOR=10` tries ten times as many, and other ones each time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from hypothesis import HealthCheck, Phase, seed, settings

FACTOR = int(os.environ.get("TONGDUI_PROPERTY_FACTOR", "1"))

SEED: Final = 20261121
"""Of the examples of every plain run. `derandomize` would take the bytecode for a seed, which differs by Python."""

_Test = TypeVar("_Test", bound=Callable[..., None])


def tries(
    examples: int, phases: Sequence[Phase] = tuple(Phase), *, more: int = 0
) -> Callable[[_Test], _Test]:
    """So many examples in every run: the same ones, so that a failure is a change of the code and never luck.

    `more` gives as many again that are others, by its number. A longer run looks further: other examples each time,
    and whatever fails is printed as code to repeat it.
    """
    found = settings(
        max_examples=examples * FACTOR,
        phases=phases,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[
            HealthCheck.too_slow,  # a history is hundreds of decisions
            HealthCheck.data_too_large,
        ],
    )

    def decorate(test: _Test) -> _Test:
        return found(test if FACTOR > 1 else seed(SEED + more)(test))

    return decorate
