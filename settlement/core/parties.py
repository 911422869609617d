"""Who can stand on a statement: partners by their ids, the escrow pool and the operator."""

from __future__ import annotations

from typing import Final

POOL: Final = "POOL"
"""The escrow pool. Its cash follows the escrow liability, one figure."""

OPERATOR: Final = "OPERATOR"
"""The operator of the coalition. Takes what rounding leaves."""

_ORDER: Final = {POOL: 1, OPERATOR: 2}


def party_order(party_id: str) -> tuple[int, str]:
    """A sort key: partners by id, then the pool, then the operator."""
    return _ORDER.get(party_id, 0), party_id
