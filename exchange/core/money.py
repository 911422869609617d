"""Money: whole micros, split between the pool and the issuer without a remainder.

One micro is a millionth of the settlement currency's major unit.
"""

from __future__ import annotations

from typing import Final

MAX_MICROS_PER_POINT: Final = 1_000_000_000
"""The highest price of a point a rate card may state; times `MAX_POINTS` it still fits 63 bits."""

ISSUE_FUNDING: Final = "ISSUE_FUNDING"
ISSUE_FEE: Final = "ISSUE_FEE"
BURN_FUNDING: Final = "BURN_FUNDING"
BURN_REIMBURSE: Final = "BURN_REIMBURSE"
SPREAD: Final = "SPREAD"
BREAKAGE_SHARE: Final = "BREAKAGE_SHARE"
REIMBURSE_REVERSAL: Final = "REIMBURSE_REVERSAL"
SPREAD_REVERSAL: Final = "SPREAD_REVERSAL"
FUNDING_REVERSAL: Final = "FUNDING_REVERSAL"
CLAWBACK_FUNDING: Final = "CLAWBACK_FUNDING"
DEFICIT_FUNDING: Final = "DEFICIT_FUNDING"
DEFICIT_RECOVERY: Final = "DEFICIT_RECOVERY"
RATE_VARIANCE: Final = "RATE_VARIANCE"
EXCHANGE_FEE: Final = "EXCHANGE_FEE"
ADJUSTMENT: Final = "ADJUSTMENT"


def pool_part(micros: int, prefunded_micros: int, funding_micros: int) -> int:
    """The pool's part of `micros` a point on a lot with prices P and F: floor(micros * P / F).

    The issuer's part is the rest, so that parts always add up to the whole (docs/ledger.md, Prices).
    """
    return micros * prefunded_micros // funding_micros
