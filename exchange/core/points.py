"""Points: whole numbers, the accounts of a lot they move between, and how many one command may carry."""

from __future__ import annotations

from typing import Final

MAX_POINTS: Final = 1_000_000_000
"""Points one command may carry at most."""

MAX_SPEND_MINOR: Final = 1_000_000_000_000
"""Eligible spend one earn may state at most, in minor units."""

ISSUED: Final = "issued"
MOVED_IN: Final = "moved_in"
OPEN: Final = "open"
HELD: Final = "held"
BURNED: Final = "burned"
EXPIRED: Final = "expired"
CLAWED_BACK: Final = "clawed_back"
ABSORBED: Final = "absorbed"
MOVED_OUT: Final = "moved_out"

SOURCES: Final = frozenset({ISSUED, MOVED_IN})
"""Where points come from. Per lot: issued + moved_in = the sum of all accounts that are not sources.

A leg of a refund has its points back from `burned`, the only end that gives any up.
"""

ESCROWED: Final = frozenset({OPEN, HELD})
"""The accounts whose points the pool holds P for."""
