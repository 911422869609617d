"""Loops that call as fast as they can, or at a fixed rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

Once = Callable[[], Awaitable[object]]

SETTLE_SECONDS: Final = 0.2
"""How long calls are under way before they count."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """Latencies in seconds, from the moment each call was due."""

    seconds: list[float]

    def percentile(self, share: float) -> float:
        """The latency that `share` of the calls stayed within, in seconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def flat_out(once: Once, in_flight: int, seconds: float) -> float:
    """Calls a second with `in_flight` calls under way all the time.

    So neither the calls before the first answers count nor those that run out at the end, when none is sent any more.
    """
    done = 0
    begin = time.monotonic() + SETTLE_SECONDS
    end = begin + seconds

    async def worker() -> None:
        nonlocal done
        while time.monotonic() < end:
            await once()
            done += begin <= time.monotonic() < end

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return done / seconds


async def at_rate(once: Once, rate: float, seconds: float) -> Latencies:
    """Sends calls at a fixed rate whatever the answers take, and measures from when each was due."""
    latencies: list[float] = []
    running: set[asyncio.Task[None]] = set()

    async def measured(due: float) -> None:
        await once()
        latencies.append(time.monotonic() - due)

    started = time.monotonic()
    for number in range(int(rate * seconds)):
        due = started + number / rate
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(measured(due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    return Latencies(latencies)
