"""How many histories are tried. `TONGDUI_PROPERTY_FACTOR=10` tries ten times as many, and other ones each time."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("TONGDUI_PROPERTY_FACTOR", "1"))


def tries(examples: int) -> settings:
    """So many examples in every run: the same ones, so that a failure is a change of the code and never luck.

    A longer run looks further: other examples each time, and whatever fails is printed as code to repeat it.
    """
    return settings(
        max_examples=examples * FACTOR,
        deadline=None,
        derandomize=FACTOR == 1,
        database=None,
        print_blob=True,
        suppress_health_check=[
            HealthCheck.too_slow,  # a history is hundreds of decisions
            HealthCheck.data_too_large,
        ],
    )
