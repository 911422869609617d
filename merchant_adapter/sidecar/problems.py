"""Errors as RFC 9457 has them: one form for all routes."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from merchant_adapter.errors import FieldViolation

MEDIA_TYPE = "application/problem+json"

OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
"""A reason of the sidecar's own: nobody here can tell what was decided."""


class FieldProblem(BaseModel):
    """One field of the request and what is wrong with it."""

    field: str
    description: str


class Problem(BaseModel):
    """Why a request was not accepted."""

    title: str = Field(description="The status in words.")
    status: int
    reason: str = Field(description="Stable, for programs: one of docs/errors.md, or the sidecar's own.")
    detail: str = Field(description="For people.")
    request_id: str = Field(description="Whose decision it is; empty where it is none's.")
    recorded: bool = Field(
        description="Whether this is the decision, and the answer to its request_id for ever."
    )
    fields: list[FieldProblem] = Field(description="The fields at fault.")


class ProblemError(Exception):
    """A route's way to answer with a problem from anywhere."""

    def __init__(self, answer: JSONResponse) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


def problem(
    status: HTTPStatus,
    reason: str,
    detail: str,
    *,
    request_id: str = "",
    recorded: bool = False,
    fields: Sequence[FieldViolation] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An answer that is no acceptance."""
    body = Problem(
        title=status.phrase,
        status=status.value,
        reason=reason,
        detail=detail,
        request_id=request_id,
        recorded=recorded,
        fields=[FieldProblem(field=one.field, description=one.description) for one in fields],
    )
    return JSONResponse(body.model_dump(), status.value, dict(headers or {}), MEDIA_TYPE)


def documented(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """These problems, for the `responses` of a route. Those of every route are added by the application."""
    return {one.value: described(one.phrase) for one in statuses}


def described(description: str) -> dict[str, Any]:
    """A problem in the OpenAPI document."""
    reference = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {"description": description, "content": {MEDIA_TYPE: reference}}
