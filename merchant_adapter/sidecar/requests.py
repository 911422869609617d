"""What became of a command, and the receipt that proves it."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal, Union

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from merchant_adapter.errors import Refusal
from merchant_adapter.outbox.records import Archived, State
from merchant_adapter.points import POINTS_METHODS
from merchant_adapter.points_answers import PointsAnswer
from merchant_adapter.sidecar.commands import Told
from merchant_adapter.sidecar.context import JSON, Context, Mounted
from merchant_adapter.sidecar.models import PRINTABLE_WORD, GivenTime, answer_of
from merchant_adapter.sidecar.problems import FieldProblem, ProblemError, documented, problem
from merchant_adapter.till import Resolving, told

RequestId = Annotated[str, Path(pattern=PRINTABLE_WORD, description="The command's.")]

_ANSWERS: Any = Union[tuple(answer_of(one.answer) for one in POINTS_METHODS)]  # noqa: UP007  # made from a table

STATES: Mapping[State, Literal["resolving", "accepted", "refused", "dead", "dropped"]] = {
    State.WAITING: "resolving",
    State.ACCEPTED: "accepted",
    State.REFUSED: "refused",
    State.DEAD: "dead",
    State.DROPPED: "dropped",
}


class WhyNot(BaseModel):
    """Why a command was refused, or is not settled yet."""

    reason: str
    detail: str
    fields: list[FieldProblem]


class Outcome(BaseModel):
    """What is known of one command."""

    request_id: str
    state: Literal["resolving", "accepted", "refused", "dead", "dropped"]
    command: str = Field(description="Which route it is of, such as `earn`.")
    accepted_time: GivenTime = Field(description="When it was stored first.")
    attempts: int
    answer: _ANSWERS | None = Field(description="Where it is accepted.")
    why_not: WhyNot | None = Field(description="Where it is not accepted, or not yet.")


def mounted(context: Context) -> Mounted:
    """The routes."""
    router = APIRouter(
        prefix="/v1/requests",
        tags=["requests"],
        responses=documented(
            HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE
        ),
    )

    @router.get("/{request_id}", operation_id="get_request", response_model=Outcome)
    async def get_request(request_id: RequestId) -> Outcome:
        """What became of a command of this outbox, however it was handed in."""
        return _outcome(await _found(context, request_id))

    @router.get(
        "/{request_id}/receipt",
        operation_id="get_receipt",
        response_class=Response,
        responses={200: {"content": {JSON: {"schema": {"type": "object"}}}}},
    )
    async def get_receipt(request_id: RequestId) -> Response:
        """The hub's receipt, as `tongdui-adapter verify` takes it; of all commands that were answered together."""
        found = await _found(context, request_id)
        if found.receipt is None:
            detail = f"it has no receipt; it is {STATES[found.state]}"
            raise ProblemError(
                problem(HTTPStatus.NOT_FOUND, "RECEIPT_UNKNOWN", detail, request_id=request_id)
            )
        return Response(found.receipt.to_json(), media_type=JSON)

    return Mounted(router=router)


async def _found(context: Context, request_id: str) -> Archived:
    found = await asyncio.to_thread(context.outbox.find, request_id)
    if found is None:
        detail = "this outbox has no command of this request_id"
        raise ProblemError(problem(HTTPStatus.NOT_FOUND, "REQUEST_UNKNOWN", detail, request_id=request_id))
    return found


def _outcome(found: Archived) -> Outcome:
    what = told(found)
    is_answer = isinstance(what, PointsAnswer)
    return Outcome.model_construct(
        request_id=found.request_id,
        state=STATES[found.state],
        command=found.kind,
        accepted_time=found.accepted_time,
        attempts=found.attempts,
        answer=answer_of(type(what)).model_validate(what) if is_answer else None,
        why_not=_why_not(what),
    )


def _why_not(what: Told) -> WhyNot | None:
    match what:
        case Refusal():
            fields = [FieldProblem(field=one.field, description=one.description) for one in what.fields]
            return WhyNot(reason=what.reason, detail=what.message, fields=fields)
        case Resolving() if what.reason:
            return WhyNot(reason=what.reason, detail=what.detail, fields=[])
        case _:
            return None
