"""Identifiers: text on the wire, integers inside."""

from __future__ import annotations

from typing import Final

HUB: Final = 0
"""The owner of what the hub posts by itself."""

POOL: Final = -1
"""The escrow pool, a party to money lines."""

OPERATOR: Final = -2
"""The coalition's operator, a party to money lines."""

RESERVED_PARTNER_IDS: Final = {HUB: "hub", POOL: "POOL", OPERATOR: "OPERATOR"}
"""How the reserved parties are written on the wire. No partner can have one of these names in any case."""

MEMBER_BITS: Final = 60
_MEMBER_DIGITS: Final = "0123456789abcdefghijklmnopqrstuv"
_MEMBER_LENGTH: Final = 14  # "m-" and 12 digits of 5 bits

UNKNOWN_MEMBER: Final = -1
"""The integer of every text that can't name a member; no wallet has it."""


def member_text(member_id: int) -> str:
    """The wire form of a member: `m-` and 12 base32hex digits. Opaque to partners; 0 <= member_id < 2**60."""
    digits = []
    for _ in range(12):
        digits.append(_MEMBER_DIGITS[member_id & 31])
        member_id >>= 5
    return "m-" + "".join(reversed(digits))


def member_number(text: str) -> int:
    """The integer of a member's wire form, or `UNKNOWN_MEMBER` for a text the hub never gave out.

    Such a text is a member nobody knows, not a malformed request: to the caller ids are opaque.
    """
    if len(text) != _MEMBER_LENGTH or not text.startswith("m-") or not text.isascii():
        return UNKNOWN_MEMBER
    digits = text[2:]
    if not digits.isalnum() or digits != digits.lower():
        return UNKNOWN_MEMBER
    try:
        return int(digits, 32)
    except ValueError:  # w, x, y, z are alphanumeric but no digits here
        return UNKNOWN_MEMBER


def entry_text(batch_id: int, entry_index: int) -> str:
    """The wire form of an entry: `<batch id>-<index in the batch>`."""
    return f"{batch_id}-{entry_index}"


def lapse_request_id(hold: tuple[int, int]) -> str:
    """The derived request id under which the hub releases a hold past its deadline; `hold` names its entry."""
    return f"lapse:{entry_text(*hold)}"


def cancel_request_id(earn: tuple[int, int]) -> str:
    """The derived request id under which the hub cancels an earn that is pending too long; `earn` names its entry."""
    return f"cancel:{entry_text(*earn)}"


def expiry_request_id(member_id: int, lot_sequence: int, expiry_day: str) -> str:
    """The derived request id under which the hub posts a lot's expiry: `expire:<lot>:<day>`."""
    return f"expire:{member_text(member_id)}.{lot_sequence}:{expiry_day}"
