"""Reading a `google.rpc.Status`, whoever sent it, into a `Refusal`. Nothing in it can make this raise."""

from typing import TypeVar

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo

from merchant_adapter.errors import FieldViolation, Refusal
from merchant_adapter.reasons import known_reason

_Detail = TypeVar("_Detail", bound=Message)

DETAILS_ENTRY = "grpc-status-details-bin"
DOMAIN = "tongdui"
_CODE_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}


def read_status(status: status_pb2.Status) -> Refusal:
    """What a status says. `reason` stays empty unless exactly one ErrorInfo of ours is in it."""
    infos = [info for info in _details(status, ErrorInfo) if info.domain == DOMAIN]
    info = infos[0] if len(infos) == 1 else ErrorInfo()
    violations = [one for bad in _details(status, BadRequest) for one in bad.field_violations]
    delays = [retry.retry_delay for retry in _details(status, RetryInfo)]
    return Refusal(
        code=_CODE_NAMES.get(status.code, str(status.code)),
        reason=known_reason(info.reason),
        message=status.message,
        metadata=dict(info.metadata),
        fields=tuple(FieldViolation(one.field, one.description) for one in violations),
        retry_after_seconds=delays[0].seconds + delays[0].nanos / 1e9 if delays else None,
    )


def read_status_bytes(octets: bytes) -> Refusal | None:
    """The refusal in these bytes, or None where they are no error status with a reason of ours."""
    try:
        status = status_pb2.Status.FromString(octets)
    except DecodeError:
        return None
    refusal = read_status(status)
    return refusal if refusal.reason and status.code else None


def _details(status: status_pb2.Status, kind: type[_Detail]) -> list[_Detail]:
    name = kind.DESCRIPTOR.full_name
    return [_unpacked(detail, kind) for detail in status.details if detail.TypeName() == name]


def _unpacked(detail: Any, kind: type[_Detail]) -> _Detail:
    try:
        return kind.FromString(detail.value)
    except DecodeError:
        # A garbled detail says nothing: without its reason the error counts as an unknown outcome.
        return kind()
