"""Errors on the wire: the one table from reasons to codes, and the status bytes of each refusal.

Nothing but what is written here ever leaves: no exception text, stack, SQL, path or class name.
"""

from __future__ import annotations

import uuid
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from exchange.core.refusals import Refusal

DOMAIN: Final = "tongdui"

_Code = grpc.StatusCode

CODES: Final[dict[str, grpc.StatusCode]] = {
    "INVALID_FIELD": _Code.INVALID_ARGUMENT,
    "SIGNATURE_INVALID": _Code.UNAUTHENTICATED,
    "SIGNATURE_STALE": _Code.UNAUTHENTICATED,
    "ROLE_REQUIRED": _Code.PERMISSION_DENIED,
    "REQUEST_ID_REUSED": _Code.ALREADY_EXISTS,
    "HUB_BUSY": _Code.RESOURCE_EXHAUSTED,
    "HUB_UNAVAILABLE": _Code.UNAVAILABLE,
    "INTERNAL": _Code.INTERNAL,
    "MEMBER_UNKNOWN": _Code.NOT_FOUND,
    "EVENT_IN_FUTURE": _Code.INVALID_ARGUMENT,
    "EVENT_TOO_OLD": _Code.FAILED_PRECONDITION,
    "DUPLICATE_REFERENCE": _Code.ALREADY_EXISTS,
    "NO_RATE_CARD": _Code.FAILED_PRECONDITION,
    "NOTHING_TO_EARN": _Code.FAILED_PRECONDITION,
    "POINTS_OVER_LIMIT": _Code.FAILED_PRECONDITION,
    "INSUFFICIENT_POINTS": _Code.FAILED_PRECONDITION,
    "CONSENT_REQUIRED": _Code.PERMISSION_DENIED,
    "CONSENT_LIMIT_EXCEEDED": _Code.PERMISSION_DENIED,
    "CONSENT_DAILY_LIMIT_EXCEEDED": _Code.PERMISSION_DENIED,
    "PARTNER_UNKNOWN": _Code.NOT_FOUND,
    "PARTNER_EXISTS": _Code.ALREADY_EXISTS,
    "KEY_UNKNOWN": _Code.NOT_FOUND,
    "KEY_UNSUITABLE": _Code.INVALID_ARGUMENT,
    "KEY_PROOF_INVALID": _Code.PERMISSION_DENIED,
    "KEY_STATE": _Code.FAILED_PRECONDITION,
    "SAME_PERSON": _Code.PERMISSION_DENIED,
    "RATE_CARD_UNKNOWN": _Code.NOT_FOUND,
    "RATE_CARD_STATE": _Code.FAILED_PRECONDITION,
    "RATE_CARD_UNFUNDED": _Code.FAILED_PRECONDITION,
    "RATE_CARD_ARBITRAGE": _Code.FAILED_PRECONDITION,
    "ALIAS_TAKEN": _Code.ALREADY_EXISTS,
    "ATTESTATION_NOT_ALLOWED": _Code.PERMISSION_DENIED,
    "CONTACT_PROOF_INVALID": _Code.PERMISSION_DENIED,
    "CODE_LIMIT_EXCEEDED": _Code.RESOURCE_EXHAUSTED,
    "CODE_SENDER_MISSING": _Code.FAILED_PRECONDITION,
    "CODE_NOT_SENT": _Code.UNAVAILABLE,
    "MEMBER_NOT_CLOSED": _Code.FAILED_PRECONDITION,
    "CLOCK_NOT_MANUAL": _Code.FAILED_PRECONDITION,
    "CLOCK_BACKWARDS": _Code.FAILED_PRECONDITION,
    "WINDOW_STILL_OPEN": _Code.FAILED_PRECONDITION,
    "WINDOW_OUT_OF_ORDER": _Code.FAILED_PRECONDITION,
    "WINDOW_NOT_CLOSED": _Code.FAILED_PRECONDITION,
    "ENTRY_UNKNOWN": _Code.NOT_FOUND,
    "SETTLEMENT_UNKNOWN": _Code.NOT_FOUND,
    "MEMBER_FROZEN": _Code.FAILED_PRECONDITION,
    "MEMBER_CLOSED": _Code.FAILED_PRECONDITION,
    "MEMBER_MERGED": _Code.FAILED_PRECONDITION,
    "MEMBER_STATE": _Code.FAILED_PRECONDITION,
    "SAME_MEMBER": _Code.FAILED_PRECONDITION,
    "POINTS_OUTSTANDING": _Code.FAILED_PRECONDITION,
    "ORIGINAL_UNKNOWN": _Code.NOT_FOUND,
    "NOT_PENDING": _Code.FAILED_PRECONDITION,
    "EARN_CANCELLED": _Code.FAILED_PRECONDITION,
    "CLAW_BACK_BASIS": _Code.FAILED_PRECONDITION,
    "OVER_ORIGINAL": _Code.FAILED_PRECONDITION,
    "HOLD_UNKNOWN": _Code.NOT_FOUND,
    "HOLD_CLOSED": _Code.FAILED_PRECONDITION,
    "HOLD_LAPSED": _Code.FAILED_PRECONDITION,
    "HOLD_TOO_LONG": _Code.FAILED_PRECONDITION,
    "NO_NATIVE_RATE": _Code.FAILED_PRECONDITION,
    "NOTHING_TO_EXCHANGE": _Code.FAILED_PRECONDITION,
    "ALREADY_EARNED": _Code.ALREADY_EXISTS,
    "QUOTE_EXPIRED": _Code.FAILED_PRECONDITION,
    "QUOTE_USED": _Code.ALREADY_EXISTS,
    "PAY_CODE_INVALID": _Code.PERMISSION_DENIED,
    "PAY_CODE_LIMIT_EXCEEDED": _Code.PERMISSION_DENIED,
    "TERMINAL_LOCKED": _Code.PERMISSION_DENIED,
    "MEMBER_DAILY_LIMIT_EXCEEDED": _Code.PERMISSION_DENIED,
    "TERMINAL_DAILY_LIMIT_EXCEEDED": _Code.PERMISSION_DENIED,
    "TRANSFER_LIMIT_EXCEEDED": _Code.PERMISSION_DENIED,
    "UNKNOWN_PARTY": _Code.FAILED_PRECONDITION,
    "ADJUSTMENT_UNKNOWN": _Code.NOT_FOUND,
    "ADJUSTMENT_WITHDRAWN": _Code.FAILED_PRECONDITION,
    "ADJUSTMENT_POSTED": _Code.FAILED_PRECONDITION,
    "TERMINAL_UNKNOWN": _Code.NOT_FOUND,
    "CURSOR_AHEAD": _Code.OUT_OF_RANGE,
    "CONTROL_TOTAL": _Code.FAILED_PRECONDITION,
    "FILE_MALFORMED": _Code.INVALID_ARGUMENT,
    "WINDOW_CERTIFIED": _Code.FAILED_PRECONDITION,
    "RECONCILIATION_UNKNOWN": _Code.NOT_FOUND,
    "BREAK_UNKNOWN": _Code.NOT_FOUND,
    "BREAK_STATE": _Code.FAILED_PRECONDITION,
    "DISPUTE_UNKNOWN": _Code.NOT_FOUND,
    "DISPUTE_STATE": _Code.FAILED_PRECONDITION,
}
"""The canonical code of every reason in `error_reason.proto`."""

MESSAGES: Final[dict[str, str]] = {
    "SIGNATURE_INVALID": "the request's signature, key or audience is not acceptable",
    "SIGNATURE_STALE": "the request's signature is outside its time; compare your clock with hub_time",
    "ROLE_REQUIRED": "this key's roles do not allow this method",
    "REQUEST_ID_REUSED": "this request id was used before with other fields",
    "HUB_BUSY": "the hub is busy; nothing was decided, try again",
    "HUB_UNAVAILABLE": "the outcome is unknown; repeat the same request id",
    "MEMBER_UNKNOWN": "no member of this id is linked to your partner",
    "EVENT_IN_FUTURE": "event_time is more than 60 seconds ahead of the ledger clock",
    "EVENT_TOO_OLD": "event_time is older than the late limit",
    "DUPLICATE_REFERENCE": "an accepted command of this kind already has this reference",
    "NO_RATE_CARD": "no approved rate card was in force at event_time",
    "NOTHING_TO_EARN": "the eligible spend earns less than one point",
    "POINTS_OVER_LIMIT": "the eligible spend earns more points than one command may carry",
    "INSUFFICIENT_POINTS": "the member has fewer available points",
    "CONSENT_REQUIRED": "the member has not consented to burns at this partner",
    "CONSENT_LIMIT_EXCEEDED": "the burn is above the member's limit per burn",
    "CONSENT_DAILY_LIMIT_EXCEEDED": "the burn would pass the member's limit per day",
    "PARTNER_UNKNOWN": "no partner has this id",
    "PARTNER_EXISTS": "a partner with this id exists",
    "KEY_UNKNOWN": "no key has this id",
    "KEY_UNSUITABLE": "the public key is not a usable Ed25519 key",
    "KEY_PROOF_INVALID": "the proof of possession does not verify over a current challenge",
    "KEY_STATE": "the key's state, or the number of its owner's active keys, does not allow this",
    "SAME_PERSON": "another person must approve this",
    "RATE_CARD_UNKNOWN": "the partner has no such rate card",
    "RATE_CARD_STATE": "the rate card's state, order or notice does not allow this",
    "RATE_CARD_UNFUNDED": "a reimbursement would exceed a funding",
    "RATE_CARD_ARBITRAGE": "exchanging points out and in again would give more than it takes",
    "ALIAS_TAKEN": "the customer id or the member is linked otherwise",
    "ATTESTATION_NOT_ALLOWED": "your contract does not let you attest for members",
    "CONTACT_PROOF_INVALID": "the proof of the contact, or its code, is not valid",
    "CODE_LIMIT_EXCEEDED": "too many one-time codes within an hour",
    "CODE_SENDER_MISSING": "this hub sends no one-time codes",
    "CODE_NOT_SENT": "the one-time code could not be sent; try again",
    "MEMBER_NOT_CLOSED": "only a closed member can be erased",
    "CLOCK_NOT_MANUAL": "the ledger clock follows the system",
    "CLOCK_BACKWARDS": "the ledger clock only moves forward",
    "WINDOW_STILL_OPEN": "the window is not past its cut-off",
    "WINDOW_NOT_CLOSED": "the window is not closed",
    "WINDOW_OUT_OF_ORDER": "an earlier window is still open, or the ledger began later",
    "ENTRY_UNKNOWN": "no entry of this id is yours to see",
    "SETTLEMENT_UNKNOWN": "there is no settlement of this date",
    "MEMBER_FROZEN": "the member's account is frozen",
    "MEMBER_CLOSED": "the member's account is closed",
    "MEMBER_MERGED": "the member's account lives on in another",
    "MEMBER_STATE": "the account's state does not allow this",
    "SAME_MEMBER": "both members are the same",
    "POINTS_OUTSTANDING": "points are pending or held",
    "ORIGINAL_UNKNOWN": "no accepted command of yours with original_request_id was for this member",
    "NOT_PENDING": "the earn is not pending",
    "EARN_CANCELLED": "the earn was cancelled",
    "CLAW_BACK_BASIS": "only an earn by eligible spend can be clawed back by spend",
    "OVER_ORIGINAL": "more than is left of the original",
    "HOLD_UNKNOWN": "no accepted authorisation of yours with original_request_id was for this member",
    "HOLD_CLOSED": "the hold was decided before",
    "HOLD_LAPSED": "the hold has lapsed",
    "HOLD_TOO_LONG": "a hold is at most 7 days long",
    "NO_NATIVE_RATE": "your rate card has no rate for native points",
    "NOTHING_TO_EXCHANGE": "the points give less than one native point",
    "ALREADY_EARNED": "the member has earned by this rule before",
    "QUOTE_EXPIRED": "the quote has expired",
    "QUOTE_USED": "the quote was used before",
    "PAY_CODE_INVALID": "the pay code is not acceptable",
    "PAY_CODE_LIMIT_EXCEEDED": "more points than the pay code was issued for",
    "TERMINAL_LOCKED": "too many wrong pay codes at this terminal",
    "MEMBER_DAILY_LIMIT_EXCEEDED": "the member has reached the limit of a day",
    "TERMINAL_DAILY_LIMIT_EXCEEDED": "the terminal has reached the limit of a day",
    "TRANSFER_LIMIT_EXCEEDED": "the transfer is above the limit",
    "UNKNOWN_PARTY": "an adjustment names a partner that does not exist",
    "ADJUSTMENT_UNKNOWN": "no correction has this id",
    "ADJUSTMENT_WITHDRAWN": "the correction was withdrawn",
    "ADJUSTMENT_POSTED": "the correction is posted",
    "TERMINAL_UNKNOWN": "no pay code was ever tried at this terminal",
    "CURSOR_AHEAD": "the cursor is past the end of this ledger's journal",
    "CONTROL_TOTAL": "the file disagrees with a total that it states itself",
    "FILE_MALFORMED": "the file is not of its format, or not of this partner, day or currency",
    "WINDOW_CERTIFIED": "the day's window is certified: its files stand",
    "RECONCILIATION_UNKNOWN": "there was no reconciliation of this partner and day",
    "BREAK_UNKNOWN": "no break of this id is yours to see",
    "BREAK_STATE": "the break's state does not allow this",
    "DISPUTE_UNKNOWN": "no dispute of this id is yours to answer",
    "DISPUTE_STATE": "the dispute's state does not allow this",
}

_UNSIGNED: Final = frozenset({"HUB_UNAVAILABLE", "INTERNAL", "SIGNATURE_INVALID", "SIGNATURE_STALE"})


class CallError(Exception):
    """Ends a call with a status. The only exception whose content reaches a caller."""

    def __init__(self, status: status_pb2.Status, reason: str, details: bytes | None = None) -> None:
        """Takes the status, its reason, and the bytes it was recorded with, if it was."""
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.details = status.SerializeToString(deterministic=True) if details is None else details

    @classmethod
    def recorded(cls, details: bytes) -> CallError:
        """The error of a status in bytes, which go out unchanged."""
        status = status_pb2.Status.FromString(details)
        info = error_details_pb2.ErrorInfo()
        status.details[0].Unpack(info)
        return cls(status, info.reason, details)

    @property
    def has_receipt(self) -> bool:
        """Whether a write so answered carries a receipt: not when its outcome is unknown or its caller is."""
        return self.reason not in _UNSIGNED


class InvalidField(ValueError):
    """A field that makes no sense. Raised by `translate` only."""

    def __init__(self, field: str, description: str) -> None:
        """Takes the field's path in the request and what it must be."""
        super().__init__(f"{field}: {description}")
        self.field = field
        self.description = description


def status(
    reason: str, message: str | None = None, metadata: dict[str, str] | None = None
) -> status_pb2.Status:
    """A status with exactly one ErrorInfo, and RetryInfo where trying again makes sense."""
    made = status_pb2.Status(code=CODES[reason].value[0], message=message or MESSAGES[reason])
    _add(made, error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata or {}))
    if reason in ("HUB_BUSY", "HUB_UNAVAILABLE"):
        delay = duration_pb2.Duration(seconds=1)
        _add(made, error_details_pb2.RetryInfo(retry_delay=delay))
    return made


def error(reason: str, **metadata: str) -> CallError:
    """An error of a reason, with the metadata that `docs/errors.md` lists for it."""
    return CallError(status(reason, metadata=metadata), reason)


def refusal_status(refusal: Refusal) -> status_pb2.Status:
    """The status of a refusal by the rules."""
    made = status(refusal.reason.value, metadata=dict(refusal.metadata))
    if refusal.reason.value == "EVENT_IN_FUTURE":
        _add_violation(made, "event_time", MESSAGES["EVENT_IN_FUTURE"])
    return made


def invalid_field_status(problem: InvalidField) -> status_pb2.Status:
    """The status of a malformed request, naming the field."""
    made = status("INVALID_FIELD", f"{problem.field}: {problem.description}", {"field": problem.field})
    _add_violation(made, problem.field, problem.description)
    return made


def internal_error() -> tuple[CallError, str]:
    """An error that says nothing but an incident id, and that id for the log."""
    incident_id = uuid.uuid4().hex
    message = "an internal error; tell the operator the incident id"
    return CallError(status("INTERNAL", message, {"incident_id": incident_id}), "INTERNAL"), incident_id


def grpc_code(made: status_pb2.Status) -> grpc.StatusCode:
    """The gRPC code of a status."""
    return _BY_NUMBER[made.code]


def _add_violation(made: status_pb2.Status, field: str, description: str) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
    _add(made, error_details_pb2.BadRequest(field_violations=[violation]))


def _add(
    made: status_pb2.Status,
    detail: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo | error_details_pb2.BadRequest,
) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail, deterministic=True)
    made.details.append(packed)


_BY_NUMBER: Final = {code.value[0]: code for code in grpc.StatusCode}
