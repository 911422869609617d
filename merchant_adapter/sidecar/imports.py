"""A CSV file of commands, taken as a whole or not at all."""

import asyncio
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from merchant_adapter.csv_import import MOST_BYTES, named_by_row, read_commands
from merchant_adapter.outbox.errors import RequestIdTaken
from merchant_adapter.outbox.times import now_ms
from merchant_adapter.sidecar.context import BodyRule, Context, Mounted
from merchant_adapter.sidecar.problems import documented

IMPORTS = "/v1/imports"
CSV = "text/csv"

DESCRIPTION = """The columns are `command` (`earn`, `burn`, ...) and the names of that command's fields, in any order;
an empty cell is a field that is not given. UTF-8. All rows are stored durably, in the file's order, or none is, and the
answer names up to 100 faults as `rows[7].points`: row 1 has the columns' names.

A row without a `request_id` gets one made of its command, reference and part. So the same file again posts nothing
twice."""


class Imported(BaseModel):
    """What became of a file: all of it is stored, or was found right."""

    rows: int
    new: int = Field(description="Commands that were not stored before; with `dry_run` 0.")
    repeated: int = Field(description="Commands that were; with `dry_run` 0.")


def mounted(context: Context) -> Mounted:
    """The route."""
    router = APIRouter(tags=["imports"], responses=documented(HTTPStatus.SERVICE_UNAVAILABLE))
    reading = asyncio.Lock()

    async def post_import(
        request: Request,
        dry_run: Annotated[
            bool, Query(description="Read the file, name its faults, and store nothing.")
        ] = False,
    ) -> Response:
        # In a thread: a large file takes seconds, and others go on meanwhile. One file at a time: threads are few, and
        # a till needs one to look up what it is told.
        async with reading:
            rows = await asyncio.to_thread(read_commands, await request.body(), now_ms())
        if dry_run:
            return JSONResponse(Imported(rows=len(rows), new=0, repeated=0).model_dump())
        handed_in = context.outbox.writer.hand_in([row.command for row in rows])
        try:
            queued = await asyncio.wrap_future(handed_in)
        except RequestIdTaken as error:
            raise named_by_row(error, rows) from error
        repeated = sum(one.is_repeat for one in queued)
        stored = Imported(rows=len(rows), new=len(rows) - repeated, repeated=repeated)
        return JSONResponse(stored.model_dump(), HTTPStatus.ACCEPTED)

    router.add_api_route(
        IMPORTS,
        post_import,
        methods=["POST"],
        operation_id="post_import",
        summary="Stores the commands of a CSV file, all of them or none.",
        description=DESCRIPTION,
        status_code=HTTPStatus.ACCEPTED,
        response_model=Imported,
        response_description="Stored durably, all of them.",
        responses={
            200: {"model": Imported, "description": "With `dry_run`: all rows can be used."},
            **documented(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.INSUFFICIENT_STORAGE),
        },
        openapi_extra={
            "requestBody": {"required": True, "content": {CSV: {"schema": {"type": "string"}}}},
        },
    )
    return Mounted(router=router, bodies={IMPORTS: BodyRule(media_type=CSV, most_bytes=MOST_BYTES)})
