"""In front of every route: who calls, how large and of which kind the body is, and that nothing leaks out."""

import hmac
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from merchant_adapter.sidecar.context import BodyRule
from merchant_adapter.sidecar.problems import problem

MOST_UNREAD_BYTES = 64 << 20
"""So much of a body that is too long is still taken in, unkept, so that its sender hears the answer."""

_log = logging.getLogger(__name__)

Seen = Callable[[str, str, int, float], None]
"""Is told (method, route, status, seconds) of every answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the gate lets through.

    Attributes:
        token: what a caller shows; empty where the socket's own mode says who may call.
        without_token: paths that need none.
        bodies: paths whose POST takes another body than a `BodyRule()`.
    """

    token: str = field(repr=False)
    without_token: frozenset[str]
    bodies: Mapping[str, BodyRule]


class Gate:
    """Lets through what the rules allow, and reads its body before the application does."""

    def __init__(self, app: ASGIApp, rules: Rules, seen: Seen) -> None:
        self._app = app
        self._rules = rules
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, sent = time.monotonic(), [0]

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent[0] = message["status"]
            await send(message)

        try:
            await self._pass(scope, receive, watched)
        except ClientDisconnect:
            return None  # nobody is left to answer, and what came of the body is not what was meant
        except Exception as error:  # noqa: BLE001  # our bug, whatever it is: the caller gets an answer all the same
            # Without the error's own text, which could hold what a caller sent.
            trace = "".join(traceback.format_tb(error.__traceback__))
            _log.error("%s in answering %s\n%s", type(error).__name__, _route(scope), trace)
            if not sent[0]:
                failed = problem(
                    HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL", "a bug of the sidecar; see its log"
                )
                await failed(scope, receive, watched)
        finally:
            self._seen(scope["method"], _route(scope), sent[0], time.monotonic() - began)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        refused = self._stranger(scope["path"], headers)
        if refused is None and scope["method"] == "POST":
            rule = self._rules.bodies.get(scope["path"], BodyRule())
            body = await _body(receive, rule.most_bytes)
            refused = _unfit(body, headers, rule)
            receive = _replayed(body or b"", receive)
        await (refused or self._app)(scope, receive, send)

    def _stranger(self, path: str, headers: Headers) -> JSONResponse | None:
        if not self._rules.token or path in self._rules.without_token:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), self._rules.token.encode()):
            return None
        detail = "show the token of the sidecar's token file: Authorization: Bearer ..."
        return problem(
            HTTPStatus.UNAUTHORIZED, "TOKEN_REQUIRED", detail, headers={"WWW-Authenticate": "Bearer"}
        )


def _unfit(body: bytes | None, headers: Headers, rule: BodyRule) -> JSONResponse | None:
    if body is None:
        detail = f"the body is longer than {rule.most_bytes} bytes"
        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "BODY_TOO_LONG", detail)
    media_type, _, parameters = headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    is_right = (
        media_type.strip().lower() == rule.media_type
        and charset in ("", "charset=utf-8")
        and headers.get("content-encoding", "identity") == "identity"
    )
    if body and not is_right:
        detail = f"the body must be {rule.media_type} in UTF-8, as it is"
        return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "MEDIA_TYPE_UNSUPPORTED", detail)
    return None


async def _body(receive: Receive, most_bytes: int) -> bytes | None:
    """The whole body, None where it is too long. Raises ClientDisconnect where it broke off."""
    kept, size, more = bytearray(), 0, True
    while more and size <= MOST_UNREAD_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            # A CSV file that ends early is one all the same, with the last row's points cut short.
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size <= most_bytes:
            kept += part
        more = message.get("more_body", False)
    return bytes(kept) if size <= most_bytes else None


def _replayed(body: bytes, receive: Receive) -> Receive:
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return parts.pop() if parts else await receive()

    return again


def _route(scope: Scope) -> str:
    """The route's path with its names in place of ids, so that logs and metrics hold nobody's."""
    return getattr(scope.get("route"), "path", "unknown")
