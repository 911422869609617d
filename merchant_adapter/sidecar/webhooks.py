"""Where a shop platform tells orders: stored before it is answered, and made into commands later."""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from merchant_adapter.json_object import Unreadable
from merchant_adapter.outbox.errors import CommandUnknown, OutboxUnavailable
from merchant_adapter.private_files import FileRefused
from merchant_adapter.sidecar.context import JSON, BodyRule, Context, Figure, Mounted
from merchant_adapter.sidecar.models import WITHOUT_NUL, answer_of, said
from merchant_adapter.sidecar.problems import documented, problem
from merchant_adapter.webhooks.inbox import Inbox
from merchant_adapter.webhooks.inbox_records import DeadOrder, DeliveryConflict, InboxStatus, Received
from merchant_adapter.webhooks.order_event import OrderEvent, OrderPolicy
from merchant_adapter.webhooks.platform import Delivery, GenericPlatform, Platform
from merchant_adapter.webhooks.processor import OrderProcessor
from merchant_adapter.webhooks.reading import check_order
from merchant_adapter.webhooks.settings import WebhookSettings
from merchant_adapter.webhooks.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, TOLERANCE_SECONDS

ORDERS = "/v1/webhooks/orders"
MOST_ORDER_BYTES = 1 << 20
MOST_DEAD = 1_000

_log = logging.getLogger(__name__)

ANSWER_SECONDS = 1.5
"""Platforms give up after a few seconds, and some stop calling for good after a few failures."""

NOT_SIGNED = "the delivery is not signed with a secret of this sidecar, or not now"

DESCRIPTION = f"""No token: the signature is the authority. Over the raw body, with a shared secret:

    {SIGNATURE_HEADER}: v1=<hex of HMAC-SHA256(secret, timestamp + "." + body)>

`{TIMESTAMP_HEADER}` is that timestamp, in Unix seconds, at most {TOLERANCE_SECONDS} s from the sidecar's clock. While
a secret is changed, both signatures may be sent, separated by a comma. Fields that are not listed here are passed over.

The order is stored durably before the answer, and becomes commands later. Deliver it as often as you like, in any
order: the newest version counts."""


class Told(BaseModel):
    """What became of a delivery. Whatever it is, the sender is done with it."""

    outcome: Received = Field(
        description="`duplicate`: it was stored before; `ignored`: a newer version of the order is known."
    )
    order_id: str
    version: int


class WhichOrder(BaseModel):
    """An order whose newest version is a dead letter."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)

    order_id: str = Field(min_length=1, max_length=64, pattern=WITHOUT_NUL)


class GivenUpOrder(WhichOrder):
    """The same, and why it is given up."""

    reason: str = Field(min_length=1, max_length=200, pattern=WITHOUT_NUL, description="Kept with it.")


class DeadOrders(BaseModel):
    """Orders that wait for a person, oldest first."""

    dead: list[answer_of(DeadOrder)]  # type: ignore[valid-type]  # made from the value


def mounted(context: Context, policy: OrderPolicy, platform: Platform) -> Mounted:
    """The routes, and the work on what they store. Raises OutboxError."""
    inbox = Inbox(context.outbox, platform.name)
    router = APIRouter(tags=["webhooks"], responses=documented(HTTPStatus.SERVICE_UNAVAILABLE))
    _add_orders(router, inbox, platform, policy)
    _add_looking(router, inbox)
    _add_acts(router, inbox)
    processor = OrderProcessor(inbox, context.hub, policy, platform.name)
    return Mounted(
        router=router,
        bodies={ORDERS: BodyRule(most_bytes=MOST_ORDER_BYTES)},
        without_token=frozenset({ORDERS}),
        work=(processor.run,),
        figures=partial(_figures, inbox),
    )


def read_secrets_again(platform: GenericPlatform, path: Path) -> None:
    """Has a platform go by the secrets that count now, by the settings at `path`; where they are bad, as before."""
    try:
        secrets = WebhookSettings.load(path).secrets
    except (FileRefused, Unreadable, OSError) as error:
        _log.error("webhooks: the secrets count that did before, the new ones cannot be read: %s", error)
        return
    platform.secrets = secrets
    _log.info(
        "webhooks: secrets read anew, %d count; other settings are taken at the next start", len(secrets)
    )


async def _figures(inbox: Inbox) -> Sequence[Figure]:
    found = await inbox.status()
    return (
        Figure("tongdui_inbox_waiting", "Orders that are to become commands", found.waiting),
        Figure("tongdui_inbox_put_off", "Those of them that are tried again after a pause", found.put_off),
        Figure("tongdui_inbox_dead", "Orders that wait for a person", found.dead),
        Figure("tongdui_inbox_oldest_seconds", "Age of the oldest that waits", found.oldest_seconds),
    )


def _add_orders(router: APIRouter, inbox: Inbox, platform: Platform, policy: OrderPolicy) -> None:
    async def told(request: Request) -> Response:
        delivery = Delivery(_headers(request), await request.body())
        if not platform.verify(delivery, time.time()):
            return problem(HTTPStatus.UNAUTHORIZED, "NOT_SIGNED", NOT_SIGNED)
        event = platform.read(delivery)
        check_order(event, policy, datetime.now(UTC))
        try:
            found = await _stored(inbox, event)
        except DeliveryConflict as error:
            return problem(HTTPStatus.CONFLICT, "DELIVERY_CONFLICT", str(error))
        answer = Told(outcome=found, order_id=event.order_id, version=event.version)
        return JSONResponse(answer.model_dump(mode="json"))

    router.add_api_route(
        ORDERS,
        told,
        methods=["POST"],
        operation_id="tell_order",
        summary="Tells an order as of a version.",
        description=DESCRIPTION,
        response_model=Told,
        responses=documented(
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.CONFLICT,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.INSUFFICIENT_STORAGE,
        ),
        openapi_extra={"parameters": _PARAMETERS, "requestBody": _body()},
    )


async def _stored(inbox: Inbox, event: OrderEvent) -> Received:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await inbox.receive(event)
    except TimeoutError as error:
        raise OutboxUnavailable(
            "an order was not stored in time; its sender was told to repeat it"
        ) from error


def _add_looking(router: APIRouter, inbox: Inbox) -> None:
    @router.get("/v1/webhooks", operation_id="get_webhooks", response_model=answer_of(InboxStatus))
    async def get_webhooks() -> Response:
        """How many orders are to become commands, since when, and how many wait for a person."""
        return JSONResponse(said(await inbox.status()))

    @router.get(
        "/v1/webhooks/dead",
        operation_id="get_dead_orders",
        response_model=DeadOrders,
        responses=documented(HTTPStatus.UNPROCESSABLE_ENTITY),
    )
    async def get_dead_orders(most: Annotated[int, Query(ge=1, le=MOST_DEAD)] = MOST_DEAD) -> Response:
        """The orders that wait for a person, oldest first. A newer version that comes takes its place by itself."""
        return JSONResponse({"dead": [said(one) for one in await inbox.dead_orders(most)]})


def _add_acts(router: APIRouter, inbox: Inbox) -> None:
    # The order is named in the body: its id is the platform's, and may hold what a path may not.
    acts = documented(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.INSUFFICIENT_STORAGE)

    @router.post(
        "/v1/webhooks/dead/resubmit",
        operation_id="resubmit_order",
        response_model=WhichOrder,
        responses=acts,
    )
    async def resubmit_order(which: WhichOrder) -> Response:
        """Tries an order again, once the cause is mended."""
        try:
            await inbox.resubmit(which.order_id)
        except CommandUnknown:
            return _unknown()
        return JSONResponse({"order_id": which.order_id})

    @router.post(
        "/v1/webhooks/dead/drop", operation_id="drop_order", response_model=WhichOrder, responses=acts
    )
    async def drop_order(which: GivenUpOrder) -> Response:
        """Gives a version of an order up for good; what came of earlier ones stays."""
        try:
            await inbox.drop(which.order_id, which.reason)
        except CommandUnknown:
            return _unknown()
        return JSONResponse({"order_id": which.order_id})


def _unknown() -> JSONResponse:
    return problem(HTTPStatus.NOT_FOUND, "ORDER_UNKNOWN", "no order of this order_id is a dead letter")


_PARAMETERS = [
    {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
    for name in (TIMESTAMP_HEADER, SIGNATURE_HEADER)
]


def _body() -> dict[str, Any]:
    """The body as the value has it. FastAPI must not read it: the signature is over the raw bytes, and comes first."""
    schema = TypeAdapter(OrderEvent).json_schema()
    return {"required": True, "content": {JSON: {"schema": _inlined(schema, schema.pop("$defs"))}}}


def _inlined(schema: Any, named: dict[str, Any]) -> Any:
    match schema:
        case {"$ref": str(reference)}:
            return _inlined(named[reference.rpartition("/")[2]], named)
        case dict():
            return {name: _inlined(it, named) for name, it in schema.items()}
        case list():
            return [_inlined(it, named) for it in schema]
        case _:
            return schema


def _headers(request: Request) -> dict[str, str]:
    return {name.lower(): ",".join(request.headers.getlist(name)) for name in request.headers}
