"""One route for each command on points, and one for many at once."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from inspect import cleandoc
from typing import Annotated, Any, Literal, Union
from urllib.parse import quote

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, create_model

from merchant_adapter.errors import InvalidRequest, Refusal
from merchant_adapter.outbox.errors import OutboxError
from merchant_adapter.outbox.records import Queued, State
from merchant_adapter.points import POINTS_METHODS, PointsMethod
from merchant_adapter.points_answers import PointsAnswer
from merchant_adapter.points_commands import PointsCommand
from merchant_adapter.prepare import prepare
from merchant_adapter.sidecar.context import BodyRule, Context, Mounted
from merchant_adapter.sidecar.failures import of_outbox, of_refusal
from merchant_adapter.sidecar.models import GivenTime, answer_of, body_of, said, value_of
from merchant_adapter.sidecar.problems import documented
from merchant_adapter.sidecar.waiting import Prefer, wait_of
from merchant_adapter.till import Resolving

BATCHES = "/v1/batches"
MOST_COMMANDS = 1_000
MOST_BATCH_BYTES = 4 << 20
LAST_SECONDS = 2.0
"""How long a call under way may still take once the sidecar is to stop."""

Told = PointsAnswer | Refusal | Resolving


class Unsettled(BaseModel):
    """Stored, and not decided yet, or not known here yet: it is asked until it is known."""

    state: Literal["resolving", "dead"] = Field(
        description="`dead`: a dead letter; nothing happens until a person resubmits or drops it."
    )
    request_id: str = Field(
        description="To look it up with, or to repeat the command with: it is one decision."
    )
    since: GivenTime = Field(description="When it was stored first.")
    reason: str = Field(description="Why the last try came to nothing; empty while none has ended.")
    detail: str = Field(description="For people.")


class Stored(BaseModel):
    """One command of a batch, durable in the outbox."""

    model_config = ConfigDict(from_attributes=True)

    request_id: str
    state: State
    is_repeat: bool
    accepted_time: GivenTime


class StoredBatch(BaseModel):
    """All commands of a batch, in its order."""

    commands: list[Stored]


def mounted(context: Context) -> Mounted:
    """The routes."""
    router = APIRouter(tags=["points"], responses=documented(*_PROBLEMS))
    for method in POINTS_METHODS:
        _add_command(router, context, method)
    _add_batches(router, context)
    return Mounted(router=router, bodies={BATCHES: BodyRule(most_bytes=MOST_BATCH_BYTES)})


_PROBLEMS = (
    HTTPStatus.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.INSUFFICIENT_STORAGE,
)


def _add_command(router: APIRouter, context: Context, method: PointsMethod[Any]) -> None:
    async def ask(body: Any, prefer: Prefer = None) -> Response:
        wait = wait_of(prefer)
        command: PointsCommand[Any] = value_of(method.command, body)
        try:
            told = await _asked(context, command, wait.seconds)
        except OutboxError as error:
            answer = of_outbox(error, command.request_id)
        else:
            answer = told_as(told)
        answer.headers.update(wait.headers)
        return answer

    # FastAPI reads the body's type off the signature; it is made, so it can't be written there.
    ask.__annotations__["body"] = body_of(method.command)
    summary, _, description = cleandoc(method.command.__doc__ or "").partition("\n")
    router.add_api_route(
        f"/v1/{method.name}",
        ask,
        methods=["POST"],
        operation_id=method.name,
        summary=summary,
        description=description.strip() or None,
        responses={
            200: {"model": answer_of(method.answer), "description": "Accepted: posted once, and for ever."},
            202: {
                "model": Unsettled,
                "description": "Stored durably; not decided or not known yet.",
                "headers": {
                    "Location": {"schema": {"type": "string"}, "description": "Where to look it up."}
                },
            },
        },
    )


async def _asked(context: Context, command: PointsCommand[Any], seconds: int) -> Told:
    """What the till is told within so many seconds, or soon where the sidecar is to stop."""
    if not seconds:
        return await _handed_in(context, command)
    asking = asyncio.ensure_future(context.till.ask(command, deadline_seconds=seconds))
    stopping = asyncio.ensure_future(context.stopping.wait())
    waits: list[asyncio.Future[Any]] = [asking, stopping]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([asking], timeout=LAST_SECONDS)
    finally:
        stopping.cancel()
        asking.cancel()
    if asking.cancelled() or not asking.done():
        # Stored it may be or not; this says which, and stores it where it is not.
        return await _handed_in(context, command)
    found: Told = asking.result()
    return found


async def _handed_in(context: Context, command: PointsCommand[Any]) -> Told:
    queued = await context.outbox.accept_async(command)
    if queued.state is not State.WAITING:
        told = await context.till.outcome(command.request_id)
        if told is not None:  # None: forgotten since, by the archive's retention
            return told
    return Resolving(request_id=queued.request_id, since=queued.accepted_time)


def told_as(told: Told) -> JSONResponse:
    """What is known of a command, as an answer."""
    match told:
        case PointsAnswer():
            return JSONResponse(said(told))
        case Refusal():
            return of_refusal(told)
        case Resolving():
            where = {"Location": f"/v1/requests/{quote(told.request_id, safe='')}"}
            return JSONResponse(unsettled(told).model_dump(mode="json"), HTTPStatus.ACCEPTED, where)


def unsettled(told: Resolving) -> Unsettled:
    """What is known of a command that has no answer yet."""
    return Unsettled(
        state="dead" if told.is_dead else "resolving",
        request_id=told.request_id,
        since=told.since,
        reason=told.reason,
        detail=told.detail,
    )


def _batch_body() -> type[BaseModel]:
    tagged = [body_of(one.command, f"{one.command.__name__}InBatch", one.name) for one in POINTS_METHODS]
    # Any: it is made from a table, so no checker can know it.
    of_any_kind: Any = Annotated[Union[tuple(tagged)], Field(discriminator="command")]  # noqa: UP007  # a table made it
    commands: Any = Annotated[list[of_any_kind], Field(min_length=1, max_length=MOST_COMMANDS)]
    return create_model(
        "Batch",
        __config__=ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True),
        __doc__="Commands of any kinds, stored in this order, all of them or none.",
        commands=(commands, ...),
    )


def _add_batches(router: APIRouter, context: Context) -> None:
    kinds = {one.name: one.command for one in POINTS_METHODS}

    async def post_batch(batch: Any) -> Response:
        commands = [value_of(kinds[one.command], one) for one in batch.commands]
        queued = await _all_handed_in(context, commands)
        stored = StoredBatch(commands=[Stored.model_validate(one) for one in queued])
        return JSONResponse(stored.model_dump(mode="json"), HTTPStatus.ACCEPTED)

    post_batch.__annotations__["batch"] = _batch_body()  # made, as above
    router.add_api_route(
        BATCHES,
        post_batch,
        methods=["POST"],
        operation_id="batches",
        summary=f"Stores 1 to {MOST_COMMANDS:,} commands of any kinds, all of them or none.",
        description="They are sent in this order for each member. Look each up at /v1/requests/{request_id}.",
        status_code=HTTPStatus.ACCEPTED,
        response_model=StoredBatch,
        response_description="Stored durably, all of them.",
    )


async def _all_handed_in(context: Context, commands: Sequence[PointsCommand[Any]]) -> list[Queued]:
    try:
        return await asyncio.wrap_future(context.outbox.hand_in(commands))
    except InvalidRequest:
        for at, command in enumerate(commands):
            try:
                prepare(command)
            except InvalidRequest as found:
                raise _located(found, at) from found
        raise


def _located(found: InvalidRequest, at: int) -> InvalidRequest:
    (violation, *_) = found.fields
    return InvalidRequest.of_field(f"commands[{at}].{violation.field}", violation.description)
