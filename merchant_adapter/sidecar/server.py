"""One process: the routes, the dispatcher and what else runs beside them, from start to an orderly stop."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import uvicorn
from fastapi import FastAPI

from merchant_adapter.outbox.dispatcher import Dispatcher

STOP_SECONDS = 5
"""How long requests under way may go on once it is to stop; what they have stored is safe in any case."""


class _Server(uvicorn.Server):
    """Uvicorn without its own handling of signals, which would end the process before the outbox is closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves them to whoever calls `serve`."""
        yield


async def serve(
    app: FastAPI,
    dispatcher: Dispatcher,
    listening: socket.socket,
    stopping: asyncio.Event,
    *,
    work: Sequence[Callable[[], Awaitable[None]]] = (),
) -> None:
    """Answers and sends until it is `stopping`; then requests under way may end, and the outbox's lock is given back.

    `work` runs beside the routes. Raises OutboxInUse where another process drains the outbox, OutboxDamaged, and what
    else ended the work: a sale must not be taken that will not be sent.
    """
    server = _Server(_settings(app))
    beside = [asyncio.ensure_future(one()) for one in (dispatcher.run, *work)]
    # Whatever ends its work, the process must not go on as if that were still being done.
    ending = asyncio.ensure_future(_end(server, stopping, beside))
    try:
        await server.serve([listening])
    finally:
        stopping.set()
        dispatcher.stop()
        for task in (ending, *beside[1:]):
            task.cancel()
        ended = await asyncio.gather(*beside, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error


async def _end(
    server: uvicorn.Server, stopping: asyncio.Event, beside: "Sequence[asyncio.Future[None]]"
) -> None:
    told = asyncio.ensure_future(stopping.wait())
    waits: list[asyncio.Future[Any]] = [told, *beside]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    stopping.set()
    server.should_exit = True


def _settings(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        http="h11",
        ws="none",
        timeout_graceful_shutdown=STOP_SECONDS,
    )
