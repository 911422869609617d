"""Kinds of entries as a partner's file knows them: which total they count in, and the states a line may claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from settlement.core.break_types import Controls

EARNED: Final[Mapping[str, int]] = {"earn": 1, "confirm_earn": 1, "exchange_in": 1, "claw_back_earn": -1}
"""Kinds that count as points earned, and their sign."""

BURNED: Final[Mapping[str, int]] = {
    "burn": 1,
    "capture_burn": 1,
    "confirm_exchange_out": 1,
    "refund_burn": -1,
}
"""Kinds that count as points burned, and their sign."""

STATES: Final[Mapping[str, tuple[str, ...]]] = {
    "earn": ("posted",),
    "pending_earn": ("pending",),
    "confirm_earn": ("posted",),
    "cancel_earn": ("cancelled",),
    "claw_back_earn": ("posted",),
    "authorize_burn": ("held",),
    "extend_hold": ("held",),
    "capture_burn": ("posted", "captured"),
    "void_burn": ("voided",),
    "burn": ("posted", "captured"),
    "refund_burn": ("posted",),
    "exchange_in": ("posted",),
    "exchange_out": ("held",),
    "confirm_exchange_out": ("posted", "captured"),
    "refuse_exchange_out": ("voided", "cancelled"),
    "transfer": ("posted",),
}
"""Every kind a file may have, and the states that say the same as an entry of this kind."""

KINDS: Final = frozenset(STATES)
LINE_STATES: Final = ("posted", "pending", "held", "captured", "voided", "cancelled")

ORIGINALS: Final[Mapping[str, tuple[str, ...]]] = {
    "refund_burn": ("burn", "capture_burn"),
    "claw_back_earn": ("earn", "pending_earn", "confirm_earn"),
}
"""Kinds that give back, and the kinds of what they follow."""

_STAGES: Final = (
    frozenset({"authorize_burn", "extend_hold", "capture_burn", "void_burn", "burn"}),
    frozenset({"pending_earn", "confirm_earn", "cancel_earn", "earn"}),
    frozenset({"exchange_out", "confirm_exchange_out", "refuse_exchange_out"}),
)


def same_deal(kind: str, other: str) -> bool:
    """Whether two kinds can be stages of one deal, such as a hold's capture and its void."""
    return any(kind in stage and other in stage for stage in _STAGES)


def controls_of(kind: str, points: int, claimed_micros: int, owed_micros: int) -> Controls:
    """What an entry or line counts in the four totals."""
    return Controls(EARNED.get(kind, 0) * points, BURNED.get(kind, 0) * points, claimed_micros, owed_micros)
