"""Is the process there, can it take a sale, and its figures."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from merchant_adapter.outbox.errors import OutboxDamaged, OutboxError, OutboxFull
from merchant_adapter.outbox.outbox import Outbox
from merchant_adapter.outbox.records import OutboxStatus
from merchant_adapter.sidecar.context import Context, Mounted
from merchant_adapter.sidecar.hub_watch import HubState, HubWatch
from merchant_adapter.sidecar.metrics import CONTENT_TYPE, Metrics
from merchant_adapter.sidecar.problems import documented

OPEN_PATHS = frozenset({"/healthz", "/readyz"})


class Alive(BaseModel):
    """The process is there."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether a sale can be taken now."""

    ready: bool
    outbox: Literal["ok", "full", "unavailable", "damaged"]
    hub: HubState = Field(description="For information: sales are taken while the hub is away.")


def mounted(context: Context, watch: HubWatch, metrics: Metrics, others: Sequence[Mounted]) -> Mounted:
    """The routes. `/metrics` tells the figures of the `others` too."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", operation_id="healthz")
    async def healthz() -> Alive:
        """The process is there."""
        return Alive()

    @router.get(
        "/readyz",
        operation_id="readyz",
        response_model=Readiness,
        responses={503: {"model": Readiness, "description": "No sale can be taken."}},
    )
    async def readyz() -> Response:
        """Whether a sale can be taken: the outbox is there, whole, and has room. The hub may be away."""
        state = await asyncio.to_thread(_state_of, context.outbox)
        found = Readiness(ready=state == "ok", outbox=state, hub=watch.state)
        status = HTTPStatus.OK if found.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse(found.model_dump(mode="json"), status)

    @router.get(
        "/metrics",
        operation_id="metrics",
        response_class=Response,
        responses=documented(HTTPStatus.SERVICE_UNAVAILABLE)
        | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def figures() -> Response:
        """Figures for Prometheus."""
        status = await asyncio.to_thread(context.outbox.status)
        further = [figure for part in others for figure in await part.figures()]
        return Response(metrics.text(status, watch.state, further), media_type=CONTENT_TYPE)

    return Mounted(router=router, without_token=OPEN_PATHS)


def _state_of(outbox: Outbox) -> Literal["ok", "full", "unavailable", "damaged"]:
    try:
        outbox.accept_all([])  # takes the writer's lock, which a damaged or unwritable store does not give
        return "full" if _is_full(outbox.status()) else "ok"
    except OutboxFull:
        return "full"
    except OutboxDamaged:
        return "damaged"
    except OutboxError:
        return "unavailable"


def _is_full(status: OutboxStatus) -> bool:
    stored = status.waiting + status.dead
    return stored >= status.limits.most_commands or status.stored_bytes >= status.limits.most_bytes
