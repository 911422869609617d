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

COLUMNS: Final = (
    *("pending_points", "held_points", "state", "survivor_id", "merged_batch_id", "merged_entry_index"),
    *("deficit_sequence", "next_cancel_date", "next_deadline", "spent_date", "spent_count", "spent_points"),
    "transferred_points",
)
"""Where a table has it."""

_NO_ENTRY: Final = (0, 0)


def to_row(standing: Standing) -> tuple[Any, ...]:
    """A standing as the columns have it."""
    pending, held, state, survivor_id, merged_by, *rest = standing
    return (pending, held, state.value, survivor_id, *(merged_by or _NO_ENTRY), *rest)


_PLAIN_ROW: Final = to_row(PLAIN)


def take_standing(wallet: Wallet, row: tuple[Any, ...]) -> Standing:
    """Gives a wallet that was just made the standing that its columns say; gives it back too."""
    if row == _PLAIN_ROW:
        return PLAIN
    wallet.pending_points, wallet.held_points, state, wallet.survivor_id, *rest = row
    wallet.state = MemberState(state)
    merged_batch, merged_index, wallet.deficit_sequence, wallet.next_cancel_date, *rest = rest
    wallet.merged_by = (merged_batch, merged_index) if merged_batch else None
    wallet.next_deadline, wallet.spent_date, wallet.spent_count, *points = rest
    wallet.spent_points, wallet.transferred_points = points
    return standing_of(wallet)
