"""Breaks: what can differ between a partner's record and the hub's, in which totals, and how severe it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from settlement.core.break_state import Severity


class BreakType(Enum):
    """What a difference is (docs/settlement.md, Breaks). The last three come from the bank."""

    TIMING = "TIMING"
    MISSING_AT_HUB = "MISSING_AT_HUB"
    MISSING_AT_PARTNER = "MISSING_AT_PARTNER"
    DUPLICATE = "DUPLICATE"
    AMOUNT_MISMATCH = "AMOUNT_MISMATCH"
    RATE_VERSION_MISMATCH = "RATE_VERSION_MISMATCH"
    FEE_VARIANCE = "FEE_VARIANCE"
    ROUNDING = "ROUNDING"
    STATE_MISMATCH = "STATE_MISMATCH"
    WRONG_MEMBER = "WRONG_MEMBER"
    WRONG_STORE = "WRONG_STORE"
    REFUND_UNLINKED = "REFUND_UNLINKED"
    SETTLEMENT_SHORT = "SETTLEMENT_SHORT"
    SETTLEMENT_OVER = "SETTLEMENT_OVER"
    SETTLEMENT_REJECTED = "SETTLEMENT_REJECTED"


_LEAST: Final = {
    BreakType.DUPLICATE: Severity.HIGH,
    BreakType.STATE_MISMATCH: Severity.HIGH,
    BreakType.WRONG_MEMBER: Severity.HIGH,
    BreakType.SETTLEMENT_SHORT: Severity.HIGH,
    BreakType.SETTLEMENT_REJECTED: Severity.HIGH,
    BreakType.MISSING_AT_HUB: Severity.MEDIUM,
    BreakType.MISSING_AT_PARTNER: Severity.MEDIUM,
    BreakType.AMOUNT_MISMATCH: Severity.MEDIUM,
    BreakType.REFUND_UNLINKED: Severity.MEDIUM,
    BreakType.SETTLEMENT_OVER: Severity.MEDIUM,
}
"""What is wrong with a member's points or with money that moved starts higher; all other types are LOW."""

CRITICAL_MICROS: Final = 10_000_000_000
HIGH_MICROS: Final = 1_000_000_000
"""From 10,000 and 1,000 of the major unit at stake a break is critical, and high, whatever its type."""


def severity_of(kind: BreakType, amount_at_stake_micros: int) -> Severity:
    """The severity a break starts with: by its type, or more by what is at stake."""
    by_type = _LEAST.get(kind, Severity.LOW)
    if kind in (BreakType.TIMING, BreakType.ROUNDING):
        return by_type
    if amount_at_stake_micros >= CRITICAL_MICROS:
        return Severity.CRITICAL
    if amount_at_stake_micros >= HIGH_MICROS and by_type is not Severity.CRITICAL:
        return Severity.HIGH
    return by_type


@dataclass(frozen=True, slots=True)
class Controls:
    """The four totals that are controlled, or a difference between two such sets. Signed."""

    earned_points: int = 0
    burned_points: int = 0
    claimed_micros: int = 0
    owed_micros: int = 0

    def __add__(self, other: Controls) -> Controls:
        return Controls(
            self.earned_points + other.earned_points,
            self.burned_points + other.burned_points,
            self.claimed_micros + other.claimed_micros,
            self.owed_micros + other.owed_micros,
        )

    def __sub__(self, other: Controls) -> Controls:
        return self + -other

    def __neg__(self) -> Controls:
        return Controls(-self.earned_points, -self.burned_points, -self.claimed_micros, -self.owed_micros)

    def __bool__(self) -> bool:
        return self != NOTHING

    @property
    def points_at_stake(self) -> int:
        """Points that one side has and the other has not, as an amount."""
        return max(abs(self.earned_points), abs(self.burned_points))

    @property
    def amount_at_stake_micros(self) -> int:
        """Money that one side states and the other does not, as an amount."""
        return max(abs(self.claimed_micros), abs(self.owed_micros))


NOTHING: Final = Controls()
