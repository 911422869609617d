"""Why the rules say no: values, never exceptions."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Reason(StrEnum):
    """The stable reason of a refusal, spelled as in `error_reason.proto`."""

    MEMBER_UNKNOWN = "MEMBER_UNKNOWN"
    EVENT_IN_FUTURE = "EVENT_IN_FUTURE"
    EVENT_TOO_OLD = "EVENT_TOO_OLD"
    DUPLICATE_REFERENCE = "DUPLICATE_REFERENCE"
    NO_RATE_CARD = "NO_RATE_CARD"
    NOTHING_TO_EARN = "NOTHING_TO_EARN"
    POINTS_OVER_LIMIT = "POINTS_OVER_LIMIT"
    INSUFFICIENT_POINTS = "INSUFFICIENT_POINTS"
    CONSENT_REQUIRED = "CONSENT_REQUIRED"
    CONSENT_LIMIT_EXCEEDED = "CONSENT_LIMIT_EXCEEDED"
    CONSENT_DAILY_LIMIT_EXCEEDED = "CONSENT_DAILY_LIMIT_EXCEEDED"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"


UNRECORDED = frozenset({Reason.EVENT_IN_FUTURE, Reason.REQUEST_ID_REUSED})
"""Refusals that leave the request id free: time will cure the first, the second has its decision already."""


class Refusal(NamedTuple):
    """A no, with the figures that explain it as text."""

    reason: Reason
    metadata: tuple[tuple[str, str], ...] = ()
