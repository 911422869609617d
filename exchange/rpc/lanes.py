"""Threads beside the event loop, a few for each kind of work, so that no kind waits behind another's queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Final, NamedTuple, TypeVar

from exchange.rpc.errors import error

MAX_WAITING_READS: Final = 64
MAX_WAITING_CODES: Final = 32
MAX_WAITING_WRITES: Final = 256
"""Of the registrar; earns and burns wait in the batcher's queue."""
MAX_WAITING_STREAMS: Final = 256
"""All that a hub has: each waits for one page at most."""

_T = TypeVar("_T")


class Lane:
    """A few threads and a bounded queue before them."""

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        """`waiting` is how much work may wait for one of the `threads`."""
        self._threads = ThreadPoolExecutor(threads, name)
        self._room = BoundedSemaphore(threads + waiting)

    async def run(self, work: Callable[[], _T]) -> _T:
        """What `work` gives in a thread of the lane. Raises HUB_BUSY at once where the queue is full."""
        if not self._room.acquire(blocking=False):
            raise error("HUB_BUSY")
        try:
            future = self._threads.submit(work)
        except RuntimeError as closed:  # the hub stops
            self._room.release()
            raise error("HUB_BUSY") from closed
        # When the work ends, not when its caller gives up: a cancelled call's read still has the thread.
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def _leave(self, _: Future[_T]) -> None:
        self._room.release()

    def close(self) -> None:
        """Drops what waits, and waits for what runs: a connection that it has would not be closed with the others."""
        self._threads.shutdown(cancel_futures=True)


class Lanes(NamedTuple):
    """Where the services work: what is read, serialised there too, and what the registrar writes."""

    reads: Lane
    writes: Lane


class HubLanes(NamedTuple):
    """Who works where in a hub, so that revocation, expiry and health never wait behind callers."""

    services: Lanes
    streams: Lane
    tail: Lane
    directory: Lane
    housekeeper: Lane
    probe: Lane
    codes: Lane

    def close(self) -> None:
        """Closes every lane."""
        for lane in (*self.services, *self[1:]):
            lane.close()


def open_lanes() -> HubLanes:
    """The lanes of one hub: 11 threads, so that none waits for one of the engine's 11 connections.

    Two more wait for the sender of one-time codes, which has nothing to do with the database.
    """
    return HubLanes(
        services=Lanes(Lane("read", 2, MAX_WAITING_READS), Lane("write", 4, MAX_WAITING_WRITES)),
        streams=Lane("stream", 1, MAX_WAITING_STREAMS),
        tail=Lane("tail", 1, 1),
        directory=Lane("directory", 1, 8),
        housekeeper=Lane("housekeeper", 1, 8),
        probe=Lane("probe", 1, 1),
        codes=Lane("codes", 2, MAX_WAITING_CODES),
    )
