"""From a status to an exception: by reason, by code where the reason is new, never by anything garbled."""

import re
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from merchant_adapter import (
    Busy,
    FieldViolation,
    Forbidden,
    HubError,
    InvalidRequest,
    OutcomeUnknown,
    Prepared,
    Reason,
    ReceiptInvalid,
    Refusal,
    Refused,
    Stale,
    Untrusted,
)
from merchant_adapter.reasons import ADAPTER_REASONS, RECORDED
from merchant_adapter.statuses import read_status, read_status_bytes
from tests.wire.adapter_fake_hub import add_detail, status
from tongdui.type.v1.error_reason_pb2 import ErrorReason

PROTO = (Path(__file__).parents[2] / "proto/tongdui/type/v1/error_reason.proto").read_text()
CODE = grpc.StatusCode
CODES = {code.name: code for code in CODE}


def contract() -> dict[str, tuple[str, bool]]:
    """Of each reason in the .proto file: its code, and whether its comment says it is recorded."""
    found = re.findall(
        r"// ([A-Z_]+)(?: with [^,]*)?, (not )?recorded\.(?:.|\n)*?ERROR_REASON_([A-Z_]+) = ", PROTO
    )
    return {reason: (code, negation == "") for code, negation, reason in found}


def test_the_reasons_are_those_of_the_contract() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - not a dict

    known = set(Reason) - ADAPTER_REASONS

    assert known == names == contract().keys()


def test_the_recorded_reasons_are_those_of_the_contract() -> None:
    expected = {reason for reason, (_, recorded) in contract().items() if recorded}

    assert expected == RECORDED
    assert len(RECORDED) == 38


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("INVALID_FIELD", InvalidRequest),
        ("EVENT_IN_FUTURE", InvalidRequest),
        ("KEY_UNSUITABLE", InvalidRequest),
        ("SIGNATURE_INVALID", Untrusted),
        ("SIGNATURE_STALE", Stale),
        ("ROLE_REQUIRED", Forbidden),
        ("REQUEST_ID_REUSED", Refused),
        ("HUB_BUSY", Busy),
        ("HUB_UNAVAILABLE", OutcomeUnknown),
        ("INTERNAL", OutcomeUnknown),
        ("MEMBER_UNKNOWN", Refused),
        ("DUPLICATE_REFERENCE", Refused),
        ("NOTHING_TO_EARN", Refused),
        ("CONSENT_REQUIRED", Refused),
        ("SAME_PERSON", Refused),
        ("WINDOW_STILL_OPEN", Refused),
        ("OVER_ORIGINAL", Refused),
        ("HOLD_UNKNOWN", Refused),
        ("ALREADY_EARNED", Refused),
        ("TERMINAL_LOCKED", Refused),
        ("CODE_LIMIT_EXCEEDED", Refused),
        ("CODE_NOT_SENT", OutcomeUnknown),
        ("CURSOR_AHEAD", InvalidRequest),
    ],
)
def test_each_reason_is_its_class_of_outcome(reason: str, expected: type[HubError]) -> None:
    code = CODES[contract()[reason][0]]

    error = read_status(status(code, reason)).to_error()

    assert type(error) is expected
    assert error.reason is Reason(reason)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (CODE.INVALID_ARGUMENT, InvalidRequest),
        (CODE.OUT_OF_RANGE, InvalidRequest),
        (CODE.UNAUTHENTICATED, Untrusted),
        (CODE.NOT_FOUND, Refused),
        (CODE.ALREADY_EXISTS, Refused),
        (CODE.FAILED_PRECONDITION, Refused),
        (CODE.PERMISSION_DENIED, Refused),
        (CODE.RESOURCE_EXHAUSTED, Busy),
        (CODE.UNAVAILABLE, OutcomeUnknown),
        (CODE.DEADLINE_EXCEEDED, OutcomeUnknown),
        (CODE.CANCELLED, OutcomeUnknown),
        (CODE.ABORTED, OutcomeUnknown),
        (CODE.UNKNOWN, OutcomeUnknown),
        (CODE.INTERNAL, OutcomeUnknown),
        (CODE.DATA_LOSS, OutcomeUnknown),
        (CODE.UNIMPLEMENTED, OutcomeUnknown),
    ],
)
def test_a_reason_of_a_later_hub_is_judged_by_its_code(
    code: grpc.StatusCode, expected: type[HubError]
) -> None:
    error = read_status(status(code, "SOMETHING_NEW", detail="7")).to_error()

    assert type(error) is expected
    assert (error.reason, error.metadata) == ("SOMETHING_NEW", {"detail": "7"})


def test_a_refusal_of_a_later_hub_is_taken_as_recorded() -> None:
    known = read_status(status(CODE.NOT_FOUND, "PARTNER_UNKNOWN")).to_error()
    later = read_status(status(CODE.NOT_FOUND, "SOMETHING_NEW")).to_error()

    assert isinstance(known, Refused)
    assert isinstance(later, Refused)
    assert (known.recorded, later.recorded) == (False, True)


def test_an_error_without_a_reason_of_ours_leaves_the_outcome_unknown() -> None:
    none = Status(code=CODE.NOT_FOUND.value[0], message="proxy")
    foreign = Status(code=CODE.NOT_FOUND.value[0])
    add_detail(foreign, ErrorInfo(reason="MEMBER_UNKNOWN", domain="other.example"))
    twice = status(CODE.NOT_FOUND, "MEMBER_UNKNOWN")
    add_detail(twice, ErrorInfo(reason="PARTNER_UNKNOWN", domain="tongdui"))
    garbled = status(CODE.NOT_FOUND, "MEMBER_UNKNOWN")
    garbled.details[0].value = b"\xff\xff"

    errors = [read_status(made).to_error() for made in (none, foreign, twice, garbled)]

    assert [type(error) for error in errors] == [OutcomeUnknown] * 4


@pytest.mark.parametrize(
    "octets", [b"\xff", b"", b"\x0a\x06accept", status(CODE.OK, "X").SerializeToString()]
)
def test_bytes_that_are_no_error_status_of_ours_are_no_refusal(octets: bytes) -> None:
    assert read_status_bytes(octets) is None


def test_the_fields_at_fault_and_the_pause_are_read() -> None:
    made = status(CODE.RESOURCE_EXHAUSTED, "HUB_BUSY")
    add_detail(made, RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000)))
    violation = BadRequest.FieldViolation(field="commands[3].points", description="must be positive")
    add_detail(made, BadRequest(field_violations=[violation]))

    error = read_status(made).to_error()

    assert isinstance(error, Busy)
    assert error.retry_after_seconds == 1.5
    assert error.fields == (FieldViolation("commands[3].points", "must be positive"),)
    assert "commands[3].points: must be positive" in str(error)


@pytest.mark.parametrize(
    ("text", "hub_time"),
    [("1767225600", 1767225600), ("", None), ("-5", None), ("٣", None), ("9" * 13, None)],
)
def test_a_stale_signature_tells_the_hubs_time_if_it_is_one(text: str, hub_time: int | None) -> None:
    error = read_status(status(CODE.UNAUTHENTICATED, "SIGNATURE_STALE", hub_time=text)).to_error()

    assert isinstance(error, Stale)
    assert error.hub_time == hub_time


def test_an_error_carries_the_request_to_repeat() -> None:
    prepared = Prepared("/tongdui.exchange.v1.PointsService/Earn", b"body", ("id-1",))

    error = Refusal("UNAVAILABLE", Reason.NO_ANSWER, "gone").to_error(prepared=prepared)

    assert isinstance(error, OutcomeUnknown)
    assert error.prepared is prepared
    assert error.request_id == "id-1"
    assert str(error) == "NO_ANSWER: gone; request id id-1"


def test_an_invalid_receipt_is_an_unknown_outcome() -> None:
    error = ReceiptInvalid.because("the signature does not verify")

    assert isinstance(error, OutcomeUnknown)
    assert error.reason is Reason.RECEIPT_INVALID
