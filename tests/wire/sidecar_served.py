"""A sidecar on a real socket, before a hub that behaves as a test tells it to."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from merchant_adapter import Hub, methods
from merchant_adapter.outbox import Limits, Outbox
from merchant_adapter.points import POINTS_METHODS
from merchant_adapter.sidecar.context import Context, Mounted
from merchant_adapter.sidecar.listening import open_tcp
from merchant_adapter.sidecar.process import run
from merchant_adapter.till import Till
from tests.wire.adapter_fake_hub import (
    AUDIENCE,
    CAFE_KEY,
    HUB_KEYS,
    Call,
    Reply,
    accepted,
    status,
)
from tests.wire.fake_ledger import CODE, QUICK, Ledger, refusal, request_of
from tongdui.exchange.v1 import journal_service_pb2, members_service_pb2, points_service_pb2
from tongdui.exchange.v1.commands_pb2 import Command, CommandResult

TOKEN = "token-of-the-tests-and-nobody-else"
NO_WORD = Reply(code=CODE.UNAVAILABLE, has_receipt=False)
SALE: dict[str, Any] = {
    "member_id": "m-1",
    "event_time": "2026-01-01T20:00:00+08:00",
    "store_id": "s",
    "terminal_id": "t",
    "reference": "r-1",
    "points": 5,
}

_POSTINGS = {methods.POST_BATCH, *(one.path for one in POINTS_METHODS)}


def moment() -> Timestamp:
    return Timestamp(seconds=1_767_268_800)


@dataclass(slots=True)
class SilentLedger(Ledger):
    """A hub whose burns of more than 100 points are refused. While it `is_silent` it decides, and no answer comes."""

    is_silent: bool = False

    def __post_init__(self) -> None:
        self.decide = _decide

    def reply(self, call: Call) -> Reply:
        found = self.post(call) if call.path in _POSTINGS else _others(call)
        return NO_WORD if self.is_silent else found


def _decide(command: Command) -> CommandResult:
    name, request = command.WhichOneof("command") or "", request_of(command)
    if name == "burn" and request.points > 100:
        return refusal(CODE.FAILED_PRECONDITION, "INSUFFICIENT_POINTS")
    (method,) = (one for one in POINTS_METHODS if one.name == name)
    answer: Any = method.response(entry_id=f"e-{request.request_id}", decided_time=moment())
    if hasattr(answer, "points"):
        answer.points = getattr(request, "points", 0) or 1
    if hasattr(answer, "expire_time"):
        answer.expire_time.CopyFrom(moment())
    result = CommandResult()
    getattr(result, name).CopyFrom(answer)
    return result


def _others(call: Call) -> Reply:
    match call.path.rpartition("/")[2]:
        case "GetLedger":
            return accepted(
                journal_service_pb2.GetLedgerResponse(
                    audience=AUDIENCE, currency_code="CNY", time_zone="Asia/Shanghai", ledger_time=moment()
                )
            )
        case "EnrollMember":
            return accepted(members_service_pb2.EnrollMemberResponse(member_id="m-1"))
        case "IssuePayCode":
            return accepted(
                members_service_pb2.IssuePayCodeResponse(
                    code="12345678901234567890",
                    qr_text="TONGDUI:1",
                    issue_time=moment(),
                    expire_time=moment(),
                )
            )
        case "Quote":
            return accepted(points_service_pb2.QuoteResponse(quote=b"\xfb\xff", expire_time=moment()))
        case _:
            return Reply(
                code=CODE.NOT_FOUND, details=status(CODE.NOT_FOUND, "MEMBER_UNKNOWN").SerializeToString()
            )


@dataclass(frozen=True, slots=True)
class Heard:
    """One HTTP answer."""

    status: int
    headers: http.client.HTTPMessage
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


@dataclass(frozen=True, slots=True)
class Caller:
    """What a mall does with a sidecar: `address` is (host, port), or the path of a unix socket."""

    address: tuple[str, int] | str
    token: str = TOKEN

    def ask(self, method: str, path: str, body: bytes, **headers: str) -> Heard:
        """Sends a body, JSON unless said otherwise; the names of headers with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Content-Type", "application/json")
        if self.token:
            named.setdefault("Authorization", f"Bearer {self.token}")
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = self._connected()
        try:
            connection.request(method, path, body or None, named)
            answer = connection.getresponse()
            return Heard(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def post(self, path: str, body: Any, **headers: str) -> Heard:
        return self.ask("POST", path, json.dumps(body).encode(), **headers)

    def get(self, path: str, **headers: str) -> Heard:
        return self.ask("GET", path, b"", **headers)

    def _connected(self) -> socket.socket:
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.settimeout(30)
        try:
            opened.connect(self.address)
        except OSError:
            opened.close()
            raise
        return opened


@contextmanager
def sidecar(
    hub_address: str,
    location: Path | str,
    limits: Limits | None = None,
    *,
    listening: socket.socket | None = None,
    token: str = TOKEN,
    mount: Callable[[Context], Sequence[Mounted]] = lambda _: (),
    connect: Callable[[], Hub] | None = None,
) -> Iterator[Caller]:
    """A sidecar with its dispatcher, in a thread of its own; on a free port unless told otherwise.

    `location` is the outbox's. `mount` adds further parts. `connect` opens a hub that is not the fake one.
    """
    listens = listening or open_tcp("127.0.0.1:0", allow_remote=False)
    started: asyncio.Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = asyncio.Queue()
    ready = threading.Event()

    async def served() -> None:
        with Outbox.open(location, limits=limits) as outbox:
            async with (
                connect()
                if connect
                else Hub.connect(hub_address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS, timeout_seconds=30)
            ) as hub:
                context = Context(hub, outbox, Till(hub, outbox, policy=QUICK))
                mounts = mount(context)
                started.put_nowait((asyncio.get_running_loop(), context.stopping))
                ready.set()
                await run(context, listens, token=token, mounts=mounts, policy=QUICK)

    thread = threading.Thread(target=asyncio.run, args=(served(),))
    thread.start()
    try:
        assert ready.wait(20)
        yield Caller(listens.getsockname(), token)
    finally:
        loop, stopping = started.get_nowait()
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        listens.close()
