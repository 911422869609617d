"""What goes wrong below the routes, as problems. What a caller cannot use is logged, and not said."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from merchant_adapter.errors import (
    Busy,
    FieldViolation,
    Forbidden,
    HubError,
    InvalidRequest,
    Refusal,
    Refused,
    Untrusted,
)
from merchant_adapter.json_object import Unreadable
from merchant_adapter.outbox.errors import (
    CommandUnknown,
    OutboxDamaged,
    OutboxError,
    OutboxFull,
    RequestIdTaken,
)
from merchant_adapter.reasons import Reason
from merchant_adapter.sidecar.problems import OUTCOME_UNKNOWN, ProblemError, problem
from merchant_adapter.till import DROPPED

RETRY_SECONDS = 5
"""After how long to offer a sale again that an outbox could not take."""

TAKEN = "this request_id is of another command; nothing was stored, and a new decision takes a new id"
UNKNOWN = "there is no dead letter of this request_id, or its refusal is for ever and it can only be dropped"
FULL = "the outbox or its disk is full: nothing was stored. GET /v1/outbox says why nothing leaves"
DAMAGED = "the outbox is damaged: nothing more is stored. The sidecar's log says how to recover"
UNAVAILABLE = "the outbox did not answer: offer the same command, with its request_id, again"

_log = logging.getLogger(__name__)


def add_handlers(app: FastAPI) -> None:
    """Has the application answer every failure with a problem."""
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _unrouted)
    app.add_exception_handler(ProblemError, _said)
    app.add_exception_handler(HubError, _hub_failed)
    app.add_exception_handler(OutboxError, _outbox_failed)
    app.add_exception_handler(Unreadable, _archive_damaged)


def of_refusal(refusal: Refusal) -> JSONResponse:
    """The problem of a command that was decided against, or can never be decided as it is, or was given up."""
    if refusal.reason == DROPPED:
        detail = f"a person gave it up: {refusal.message}"
        return problem(HTTPStatus.CONFLICT, DROPPED, detail, request_id=refusal.request_id)
    return of_hub(refusal.to_error())


def of_hub(error: HubError, *, is_read: bool = False) -> JSONResponse:
    """The problem of an answer of the hub that is no acceptance, or of none."""
    refusal, headers = error.refusal, {}
    recorded = False
    match error:
        case InvalidRequest():
            status = HTTPStatus.UNPROCESSABLE_ENTITY
        case Refused():
            is_lookup = is_read and error.code == "NOT_FOUND"
            status = HTTPStatus.NOT_FOUND if is_lookup else HTTPStatus.CONFLICT
            recorded = error.recorded and not is_read
        case Untrusted() | Forbidden():
            # Not the caller's fault: the hub does not take the sidecar's key, or not for this.
            status = HTTPStatus.BAD_GATEWAY
        case Busy():
            status = HTTPStatus.SERVICE_UNAVAILABLE
            headers = {"Retry-After": str(math.ceil(refusal.retry_after_seconds or RETRY_SECONDS))}
        case _:
            return _unknown(error)
    return problem(
        status,
        error.reason,
        in_one_line(error.fields) or refusal.message,
        request_id=error.request_id,
        recorded=recorded,
        fields=error.fields,
        headers=headers,
    )


def of_outbox(error: OutboxError, request_id: str = "") -> JSONResponse:
    """The problem of an outbox that did not do what it was asked. Its own words name files: they are for the log."""
    headers = {"Retry-After": str(RETRY_SECONDS)}
    match error:
        case RequestIdTaken():
            headers.clear()
            found = HTTPStatus.CONFLICT, "REQUEST_ID_TAKEN", TAKEN
        case CommandUnknown():
            headers.clear()
            found = (
                HTTPStatus.NOT_FOUND,
                "COMMAND_UNKNOWN",
                "no dead letter of this request_id can be put back or dropped",
            )
        case OutboxFull():
            found = HTTPStatus.INSUFFICIENT_STORAGE, "OUTBOX_FULL", FULL
        case OutboxDamaged():
            found = HTTPStatus.SERVICE_UNAVAILABLE, "OUTBOX_DAMAGED", DAMAGED
        case _:
            found = HTTPStatus.SERVICE_UNAVAILABLE, "OUTBOX_UNAVAILABLE", UNAVAILABLE
    if headers:
        _log.error("outbox: %s", error)
    return problem(*found, request_id=request_id, headers=headers)


def _unknown(error: HubError) -> JSONResponse:
    because = error.reason or error.code
    detail = f"no answer that settles it ({because}): repeat it as it is, with the same request_id"
    return problem(HTTPStatus.GATEWAY_TIMEOUT, OUTCOME_UNKNOWN, detail, request_id=error.request_id)


def in_one_line(violations: Iterable[FieldViolation]) -> str:
    """The fields at fault, for people."""
    return "; ".join(f"{one.field}: {one.description}" for one in violations)


async def _malformed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = [FieldViolation(_place(one["loc"]), _wrong(one)) for one in error.errors()]
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, Reason.INVALID_FIELD, in_one_line(found), fields=found)


def _place(location: Sequence[str | int]) -> str:
    """`commands[3].points` of ("body", "commands", 3, "earn", "points"), where "earn" is only which kind it is."""
    place = ""
    steps = list(location)[1:]
    for at, step in enumerate(steps):
        if isinstance(step, int):
            place += f"[{step}]" if place else ""
        elif not (at and isinstance(steps[at - 1], int) and at < len(steps) - 1):
            place += f".{step}" if place else step
    return place or "body"


def _wrong(said: Mapping[str, Any]) -> str:
    match said["type"]:
        case "extra_forbidden":
            return "there is no such field"
        case "json_invalid":
            return "not JSON"
        case "int_type" | "int_from_float":
            return "must be a whole number, in digits alone, without quotes" + (
                ": minor units, so that 128.00 is 12800" if str(said["loc"][-1]).endswith("_minor") else ""
            )
        case _:
            return str(said["msg"]).removeprefix("Value error, ")


async def _unrouted(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.BAD_REQUEST:  # a body that is not even text, or nested without end
        fields = [FieldViolation("body", "not JSON")]
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, Reason.INVALID_FIELD, "body: not JSON", fields=fields)
    status = HTTPStatus(error.status_code)
    reason = status.name.replace("NOT_FOUND", "ROUTE_UNKNOWN")
    return problem(status, reason, "there is no such route, or not with this method", headers=error.headers)


async def _said(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)
    return error.answer


async def _hub_failed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HubError)
    return of_hub(error, is_read=request.method == "GET")


async def _outbox_failed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OutboxError)
    return of_outbox(error)


async def _archive_damaged(_: Request, error: Exception) -> JSONResponse:
    return of_outbox(OutboxDamaged(str(error)))
