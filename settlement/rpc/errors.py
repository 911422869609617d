"""Errors on the wire: the reasons settlement uses, their codes, and nothing else of what went wrong.

No exception text, stack, SQL, path or class name ever leaves; an unexpected fault is an incident id.
"""

from __future__ import annotations

import uuid
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

DOMAIN: Final = "tongdui"

_Code = grpc.StatusCode

REASONS: Final[dict[str, tuple[grpc.StatusCode, str]]] = {
    "INVALID_FIELD": (_Code.INVALID_ARGUMENT, "a field makes no sense"),
    "SIGNATURE_INVALID": (
        _Code.UNAUTHENTICATED,
        "the request's signature, key or audience is not acceptable",
    ),
    "SIGNATURE_STALE": (
        _Code.UNAUTHENTICATED,
        "the request's signature is outside its time; compare your clock with hub_time",
    ),
    "ROLE_REQUIRED": (_Code.PERMISSION_DENIED, "this key's roles do not allow this"),
    "REQUEST_ID_REUSED": (_Code.ALREADY_EXISTS, "this request id was used before with other fields"),
    "HUB_BUSY": (_Code.RESOURCE_EXHAUSTED, "too many uploads are under way; nothing was decided, try again"),
    "HUB_UNAVAILABLE": (_Code.UNAVAILABLE, "settlement cannot answer now; ask again"),
    "INTERNAL": (_Code.INTERNAL, "an internal error; tell the operator the incident id"),
    "SETTLEMENT_UNKNOWN": (_Code.NOT_FOUND, "settlement has nothing of this date for this partner"),
    "PARTNER_UNKNOWN": (_Code.NOT_FOUND, "no partner has this id"),
    "CONTROL_TOTAL": (_Code.FAILED_PRECONDITION, "the file disagrees with a total that it states itself"),
    "FILE_MALFORMED": (
        _Code.INVALID_ARGUMENT,
        "the file is not of its format, or not of this partner, day or currency",
    ),
    "WINDOW_CERTIFIED": (_Code.FAILED_PRECONDITION, "the day's window is certified: its files stand"),
    "RECONCILIATION_UNKNOWN": (_Code.NOT_FOUND, "there was no reconciliation of this partner and day"),
    "BREAK_UNKNOWN": (_Code.NOT_FOUND, "no break of this id is yours to see"),
    "BREAK_STATE": (_Code.FAILED_PRECONDITION, "the break's state does not allow this"),
    "DISPUTE_UNKNOWN": (_Code.NOT_FOUND, "no dispute of this id is yours to answer"),
    "DISPUTE_STATE": (_Code.FAILED_PRECONDITION, "the dispute's state does not allow this"),
}
"""The reasons of `error_reason.proto` that settlement sends, with code and message."""


UNSIGNED: Final = frozenset({"SIGNATURE_INVALID", "SIGNATURE_STALE", "HUB_UNAVAILABLE", "INTERNAL"})
"""Answers without a receipt: of an unknown caller, or of an unknown outcome."""


class CallError(Exception):
    """Ends a call. The only exception whose content reaches a caller."""

    def __init__(
        self, reason: str, message: str = "", details: tuple[Message, ...] = (), **metadata: str
    ) -> None:
        """Takes a reason of REASONS and the metadata `docs/errors.md` lists for it."""
        super().__init__(reason)
        self.code, text = REASONS[reason]
        self.reason = reason
        self.status = status_pb2.Status(code=self.code.value[0], message=message or text)
        info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)
        for detail in (info, *details):
            packed = any_pb2.Any()
            packed.Pack(detail, deterministic=True)
            self.status.details.append(packed)


def invalid_field(field: str, description: str) -> CallError:
    """A field that makes no sense, by its name in the request."""
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
    request = error_details_pb2.BadRequest(field_violations=[violation])
    return CallError("INVALID_FIELD", f"{field}: {description}", (request,), field=field)


def unavailable() -> CallError:
    """The database is away; worth another try."""
    retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1))
    return CallError("HUB_UNAVAILABLE", details=(retry,))


def busy() -> CallError:
    """Too many of the kind are under way."""
    retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=5))
    return CallError("HUB_BUSY", details=(retry,))


def internal() -> tuple[CallError, str]:
    """An error that says nothing but an incident id, and that id for the log."""
    incident_id = uuid.uuid4().hex
    return CallError("INTERNAL", incident_id=incident_id), incident_id
