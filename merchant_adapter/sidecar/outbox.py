"""The outbox as people see it: how it is, and what waits for them."""

import asyncio
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from merchant_adapter.outbox.records import DeadLetter, OutboxStatus
from merchant_adapter.sidecar.context import Context, Mounted
from merchant_adapter.sidecar.models import WITHOUT_NUL, answer_of, said
from merchant_adapter.sidecar.problems import documented
from merchant_adapter.sidecar.requests import RequestId

MOST_DEAD = 1_000


class Drop(BaseModel):
    """Why a dead letter is given up."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)

    reason: str = Field(
        min_length=1, max_length=200, pattern=WITHOUT_NUL, description="Kept with it in the archive."
    )


class Dropped(BaseModel):
    """A dead letter that was given up for good."""

    request_id: str


class Resubmitted(BaseModel):
    """How many commands are asked again: the dead letter, and those held back behind it."""

    commands: int


class DeadLetters(BaseModel):
    """What waits for a person, oldest first."""

    dead: list[answer_of(DeadLetter)]  # type: ignore[valid-type]  # made from the value


def mounted(context: Context) -> Mounted:
    """The routes."""
    router = APIRouter(
        prefix="/v1/outbox", tags=["outbox"], responses=documented(HTTPStatus.SERVICE_UNAVAILABLE)
    )
    outbox = context.outbox

    @router.get("", operation_id="get_outbox", response_model=answer_of(OutboxStatus))
    async def get_outbox() -> Response:
        """How many commands wait, since when, and why."""
        return JSONResponse(said(await asyncio.to_thread(outbox.status)))

    @router.get(
        "/dead",
        operation_id="get_dead_letters",
        response_model=DeadLetters,
        responses=documented(HTTPStatus.UNPROCESSABLE_ENTITY),
    )
    async def get_dead_letters(most: Annotated[int, Query(ge=1, le=MOST_DEAD)] = MOST_DEAD) -> Response:
        """The dead letters, oldest first."""
        found = await asyncio.to_thread(outbox.dead_letters, most)
        return JSONResponse({"dead": [said(one) for one in found]})

    acts = documented(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.INSUFFICIENT_STORAGE)

    @router.post("/dead/{request_id}/resubmit", operation_id="resubmit", responses=acts)
    async def resubmit(request_id: RequestId) -> Resubmitted:
        """Puts a dead letter back into its old place, with those held back behind it."""
        return Resubmitted(commands=await asyncio.to_thread(outbox.resubmit, request_id))

    @router.post("/dead/{request_id}/drop", operation_id="drop", responses=acts)
    async def drop(request_id: RequestId, why: Drop) -> Dropped:
        """Gives a dead letter up for good; the archive keeps it with the reason."""
        await asyncio.to_thread(outbox.drop, request_id, why.reason)
        return Dropped(request_id=request_id)

    return Mounted(router=router)
