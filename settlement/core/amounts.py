"""Amounts of money: exact ones in whole micros, settled ones in whole minor units (fen), and their text.

One micro is a millionth of the settlement currency's major unit (yuan).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MICRO_DIGITS: Final = 6


def micros_per_minor(minor_unit_digits: int) -> int:
    """Micros in one minor unit: 10,000 where the currency has 2 digits. Raises ValueError outside 0 to 6."""
    if not 0 <= minor_unit_digits <= MICRO_DIGITS:
        raise ValueError(f"minor_unit_digits: {minor_unit_digits}, expected 0 to {MICRO_DIGITS}")
    return int(10 ** (MICRO_DIGITS - minor_unit_digits))


def round_half_up(micros: int, unit_micros: int) -> int:
    """Minor units nearest to an exact amount; a half goes away from zero, the same for both signs.

    Symmetric, so that what one party pays and the other receives round to the same figure
    (docs/settlement.md, Rounding).
    """
    minor = (2 * abs(micros) + unit_micros) // (2 * unit_micros)
    return minor if micros >= 0 else -minor


def minor_text(minor: int, minor_unit_digits: int) -> str:
    """A settled amount for people: `-1,234.56`. Zero has no sign."""
    return _text(minor, minor_unit_digits, minor_unit_digits, ",")


def micros_texts(amounts: Iterable[int], minor_unit_digits: int) -> list[str]:
    """Exact amounts of one column for people, all with as many decimals as the one that needs most: `38.3135`.

    At least the minor unit's decimals are shown.
    """
    column = tuple(amounts)
    decimals = max((_decimals_needed(micros) for micros in column), default=0)
    return [_text(micros, MICRO_DIGITS, max(decimals, minor_unit_digits), ",") for micros in column]


def decimal_text(amount: int, digits: int) -> str:
    """An amount for machines: all its `digits` decimals and no separators: `-1234.56`."""
    return _text(amount, digits, digits, "")


def _decimals_needed(micros: int) -> int:
    return len(f"{abs(micros) % 10**MICRO_DIGITS:0{MICRO_DIGITS}d}".rstrip("0"))


def _text(amount: int, digits: int, decimals: int, separator: str) -> str:
    whole, rest = divmod(abs(amount), 10**digits)
    fraction = f"{rest:0{digits}d}"[:decimals] if digits else ""
    grouped = f"{whole:,}".replace(",", separator)
    sign = "-" if amount < 0 else ""
    return f"{sign}{grouped}.{fraction}" if fraction else f"{sign}{grouped}"
