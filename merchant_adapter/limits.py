"""What the contract (proto/) lets the fields of a command be: what is outside would be refused by the hub."""

from collections.abc import Mapping

MOST_POINTS = 1_000_000_000
MOST_SPEND_MINOR = 1_000_000_000_000
MOST_CHARACTERS = 64
EARLIEST_YEAR, LATEST_YEAR = 2000, 9998

_points = (1, MOST_POINTS)
_spend = (1, MOST_SPEND_MINOR)
_word = (1, MOST_CHARACTERS)
_may_be_empty = (0, MOST_CHARACTERS)

NUMBERS: Mapping[str, tuple[int, int]] = {
    "points": _points,
    "native_points": _points,
    "eligible_spend_minor": _spend,
    "refunded_spend_minor": _spend,
    "part": (0, 1_000_000),
    "hold_seconds": (1, 604_800),
    "max_points": _points,
    "per_burn_limit_points": (0, MOST_POINTS),
    "per_day_limit_points": (0, MOST_POINTS),
    "earn_points": _points,
    "earn_spend_minor": _spend,
    "earn_native_points": _points,
    "burn_points": _points,
    "exchange_in_native_points": _points,
    "exchange_out_points": _points,
}
"""The lowest and the highest value, by the field's name."""

TEXTS: Mapping[str, tuple[int, int]] = {
    "member_id": _word,
    "to_member_id": _word,
    "store_id": _word,
    "terminal_id": _word,
    "reference": _word,
    "customer_id": _word,
    "request_id": _word,
    "original_request_id": _word,
    "campaign_id": _may_be_empty,
    "channel": _may_be_empty,
    "once_rule": _may_be_empty,
    "partner_id": _may_be_empty,
    "reason": (0, 200),
    "pay_code": _may_be_empty,
}
"""The fewest and the most characters, by the field's name. All of them printable."""
