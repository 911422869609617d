"""The application: all routes behind one gate, with one OpenAPI document."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse

from merchant_adapter.sidecar import commands, health, members, outbox, requests
from merchant_adapter.sidecar.context import Context, Mounted
from merchant_adapter.sidecar.document import completed
from merchant_adapter.sidecar.failures import add_handlers
from merchant_adapter.sidecar.gate import Gate, Rules
from merchant_adapter.sidecar.hub_watch import HubWatch
from merchant_adapter.sidecar.metrics import Metrics
from merchant_adapter.sidecar.page import page_of

TITLE = "Tongdui sidecar"
SUMMARY = "Points of a Tongdui coalition for a mall written in anything, over local HTTP and JSON."
PAGE, DOCUMENT = "/", "/openapi.json"


def create_app(
    context: Context,
    *,
    watch: HubWatch,
    metrics: Metrics,
    token: str = "",
    mounts: Sequence[Mounted] = (),
) -> FastAPI:
    """The sidecar of one outbox and one hub.

    Without a `token` everybody who reaches the socket may call. `mounts` are further parts; their work is for whoever
    runs the application.
    """
    parts = [
        commands.mounted(context),
        requests.mounted(context),
        members.mounted(context),
        outbox.mounted(context),
        *mounts,
        health.mounted(context, watch, metrics, mounts),
    ]
    app = FastAPI(
        title=TITLE,
        summary=SUMMARY,
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=DOCUMENT,
        redirect_slashes=False,
        dependencies=[Depends(_refuse_unknown_parameters)],
    )
    for part in parts:
        app.include_router(part.router)
    without_token = frozenset({PAGE, DOCUMENT}).union(*(part.without_token for part in parts))
    bodies = {path: rule for part in parts for path, rule in part.bodies.items()}
    add_handlers(app)
    _add_document(app, without_token if token else None)
    app.add_middleware(
        Gate,
        rules=Rules(token=token, without_token=without_token, bodies=bodies),
        seen=metrics.seen,
    )
    return app


async def _refuse_unknown_parameters(request: Request) -> None:
    """A parameter that is misspelt must not be passed over, in the query as little as in a body."""
    operation = request.app.openapi()["paths"].get(request.scope["route"].path, {})
    parameters = operation.get(request.method.lower(), {}).get("parameters", [])
    known = {one["name"] for one in parameters if one["in"] == "query"}
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        raise RequestValidationError([{"type": "extra_forbidden", "loc": ("query", one)} for one in unknown])


def _add_document(app: FastAPI, without_token: frozenset[str] | None) -> None:
    """The OpenAPI document with what all routes have in common, and the page that shows it."""
    made = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = completed(made(), without_token)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI has it extended
    show = partial(
        HTMLResponse, headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    )

    @app.get(PAGE, include_in_schema=False)
    async def page() -> HTMLResponse:
        """The document for people."""
        return show(page_of(document()))
