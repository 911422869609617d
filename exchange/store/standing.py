"""A member's standing: what of a wallet only some commands change, read and written apart from the rest."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

from exchange.core.accounts import MemberState, Wallet

Standing = tuple[Any, ...]
"""The fields below, as the core has them."""

standing_of: Final[Callable[[Wallet], Standing]] = attrgetter(
    *("pending_points", "held_points", "state", "survivor_id", "merged_by", "deficit_sequence"),
    *("next_cancel_date", "next_deadline", "spent_date", "spent_count", "spent_points", "transferred_points"),
)

PLAIN: Final = standing_of(Wallet(0))
"""That of nearly every member."""

_PLAIN_COLUMNS: Final = {
    "pending_points": "0",
    "held_points": "0",
    "state": "'active'",
    "survivor_id": "0",
    "merged_batch_id": "0",
    "merged_entry_index": "0",
    "deficit_sequence": "0",
    "next_cancel_date": "'9999-12-31'",
    "next_deadline": "'9999-12-31 23:59:59.999999+00'",
    "spent_date": "'0001-01-01'",
    "spent_count": "0",
    "spent_points": "0",
    "transferred_points": "0",
}

COLUMNS: Final = tuple(_PLAIN_COLUMNS)
"""Where the table of wallets has it."""

READ_STANDING: Final = (
    f"CASE WHEN NOT ({' AND '.join(f'{name} = {value}' for name, value in _PLAIN_COLUMNS.items())})"
    f" THEN ROW({', '.join(COLUMNS)}) END"
).encode()
"""The columns as one value, which is NULL where they are plain: sending and reading them all costs 2 us a wallet."""

_NO_ENTRY: Final = (0, 0)


def to_row(standing: Standing) -> tuple[Any, ...]:
    """A standing as the columns have it."""
    pending, held, state, survivor_id, merged_by, *rest = standing
    return (pending, held, state.value, survivor_id, *(merged_by or _NO_ENTRY), *rest)


def take_standing(wallet: Wallet, row: tuple[Any, ...] | None) -> Standing:
    """Gives a wallet that was just made the standing that `READ_STANDING` found; gives it back too."""
    if row is None:
        return PLAIN
    wallet.pending_points, wallet.held_points, state, wallet.survivor_id, *rest = row
    wallet.state = MemberState(state)
    merged_batch, merged_index, wallet.deficit_sequence, wallet.next_cancel_date, *rest = rest
    wallet.merged_by = (merged_batch, merged_index) if merged_batch else None
    wallet.next_deadline, wallet.spent_date, wallet.spent_count, *points = rest
    wallet.spent_points, wallet.transferred_points = points
    return standing_of(wallet)
