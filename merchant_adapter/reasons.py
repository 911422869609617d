"""Why a request was not accepted: the hub's stable reasons, and the adapter's own two."""

from enum import StrEnum


class Reason(StrEnum):
    """The reasons of `tongdui.type.v1.ErrorReason` this version knows; `docs/errors.md` explains each.

    A reason is compared as text, so one that a later hub invents is still usable:
    `error.reason == "SOMETHING_NEW"`.
    """

    INVALID_FIELD = "INVALID_FIELD"
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    SIGNATURE_STALE = "SIGNATURE_STALE"
    ROLE_REQUIRED = "ROLE_REQUIRED"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    HUB_BUSY = "HUB_BUSY"
    HUB_UNAVAILABLE = "HUB_UNAVAILABLE"
    INTERNAL = "INTERNAL"
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
    PARTNER_UNKNOWN = "PARTNER_UNKNOWN"
    PARTNER_EXISTS = "PARTNER_EXISTS"
    KEY_UNKNOWN = "KEY_UNKNOWN"
    KEY_UNSUITABLE = "KEY_UNSUITABLE"
    KEY_PROOF_INVALID = "KEY_PROOF_INVALID"
    KEY_STATE = "KEY_STATE"
    SAME_PERSON = "SAME_PERSON"
    RATE_CARD_UNKNOWN = "RATE_CARD_UNKNOWN"
    RATE_CARD_STATE = "RATE_CARD_STATE"
    RATE_CARD_UNFUNDED = "RATE_CARD_UNFUNDED"
    ALIAS_TAKEN = "ALIAS_TAKEN"
    ATTESTATION_NOT_ALLOWED = "ATTESTATION_NOT_ALLOWED"
    CLOCK_NOT_MANUAL = "CLOCK_NOT_MANUAL"
    CLOCK_BACKWARDS = "CLOCK_BACKWARDS"
    WINDOW_STILL_OPEN = "WINDOW_STILL_OPEN"
    WINDOW_OUT_OF_ORDER = "WINDOW_OUT_OF_ORDER"
    ENTRY_UNKNOWN = "ENTRY_UNKNOWN"
    SETTLEMENT_UNKNOWN = "SETTLEMENT_UNKNOWN"

    NO_ANSWER = "NO_ANSWER"
    """The adapter's own: no answer of the hub came back that can be read."""
    RECEIPT_INVALID = "RECEIPT_INVALID"
    """The adapter's own: an answer came back whose receipt is missing or does not verify."""


ADAPTER_REASONS = frozenset({Reason.NO_ANSWER, Reason.RECEIPT_INVALID})

RECORDED = frozenset(
    {
        Reason.MEMBER_UNKNOWN,
        Reason.EVENT_TOO_OLD,
        Reason.DUPLICATE_REFERENCE,
        Reason.NO_RATE_CARD,
        Reason.NOTHING_TO_EARN,
        Reason.POINTS_OVER_LIMIT,
        Reason.INSUFFICIENT_POINTS,
        Reason.CONSENT_REQUIRED,
        Reason.CONSENT_LIMIT_EXCEEDED,
        Reason.CONSENT_DAILY_LIMIT_EXCEEDED,
    }
)
"""Those that belong to their request id for ever, so that only a new id can be answered otherwise."""


def known_reason(text: str) -> str:
    """The `Reason` of this text, or the text itself where this version does not know it."""
    try:
        return Reason(text)
    except ValueError:
        return text
