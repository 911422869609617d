"""What the sidecar's routes work with, and what other parts of it add."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from fastapi import APIRouter

from merchant_adapter.client import Hub
from merchant_adapter.outbox.outbox import Outbox
from merchant_adapter.till import Till

JSON = "application/json"
MOST_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Context:
    """One partner's side of one hub. All three live as long as the process.

    Attributes:
        hub: the hub, seen by the owner of one key; `hub.channel.key.owner` is the partner.
        outbox: where a sale is stored before anything is sent.
        till: the calls that somebody waits for; it uses both.
        stopping: set once the process is to end, so that nobody goes on waiting.
    """

    hub: Hub
    outbox: Outbox
    till: Till
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class BodyRule:
    """What a route takes as its body: checked before anything of it is kept or parsed."""

    media_type: str = JSON
    most_bytes: int = MOST_BODY_BYTES


@dataclass(frozen=True, slots=True)
class Figure:
    """A number as it is now, for `/metrics`: its name there, what it is, and the value."""

    name: str
    about: str
    value: float


async def _no_figures() -> Sequence[Figure]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """What another part adds to the sidecar.

    Attributes:
        router: its routes, with their whole paths such as `/v1/imports`.
        bodies: the paths whose POST takes another body than 64 KiB of JSON.
        without_token: the paths that check for themselves who calls, such as by a signature over the body.
        work: what runs beside the routes from start to stop. It is cancelled at the stop, once no request is under
            way any more; where it ends by itself, the sidecar does too.
        figures: what `/metrics` tells of it, the same names each time. Raises OutboxError.
    """

    router: APIRouter
    bodies: dict[str, BodyRule] = field(default_factory=dict)
    without_token: frozenset[str] = frozenset()
    work: Sequence[Callable[[], Awaitable[None]]] = ()
    figures: Callable[[], Awaitable[Sequence[Figure]]] = _no_figures
