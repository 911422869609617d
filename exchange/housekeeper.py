"""Wakes members whose points are past their day, so that expiries are posted even where nobody calls.

Answers never depend on when it runs: a member's first command of a batch posts what is due before it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from exchange.batcher import Batcher, QueueFull
from exchange.core.commands import Wake
from exchange.store.failures import StoreUnavailable, without_values

WAKE_AT_ONCE: Final = 500
"""Members of one reading; half a batch, so that partners' commands still find room."""

LOOK_SECONDS: Final = 5.0

Sweep = Callable[[], Awaitable[int]]
"""Posts everything that is due now, and gives the number of members woken."""

_log = logging.getLogger(__name__)


class Housekeeper:
    """Reads who is due and wakes them through the batcher."""

    def __init__(self, batcher: Batcher, read_due: Callable[[int], Awaitable[list[int]]]) -> None:
        """`read_due(limit)` gives members who may have points past their day."""
        self._batcher = batcher
        self._read_due = read_due
        self._sweeping = asyncio.Lock()

    async def sweep(self) -> int:
        """Posts everything that is due now, and gives the number of members woken."""
        async with self.alone() as sweep:
            return await sweep()

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[Sweep, None]:
        """Gives what sweeps, and lets no other sweep of this hub begin meanwhile: its count is all that fell due."""
        async with self._sweeping:
            yield self._sweep

    async def _sweep(self) -> int:
        woken = 0
        before: list[int] = []
        while due := await self._read_due(WAKE_AT_ONCE):
            if due == before:  # a defect, which must not become a loop without end
                _log.error("%d members are due and waking them changes nothing", len(due))
                break
            before = due
            count = await self._wake(due)
            if not count:
                break
            woken += count
        return woken

    async def _wake(self, member_ids: list[int]) -> int:
        """Wakes each in a call of its own: a defect at one must not keep the others' points from expiring."""
        calls = (self._batcher.submit([Wake(member_id)], None) for member_id in member_ids)
        failures = [
            it for it in await asyncio.gather(*calls, return_exceptions=True) if isinstance(it, Exception)
        ]
        for failure in failures:
            if isinstance(failure, (QueueFull, StoreUnavailable)):
                raise failure
        if failures:
            _log.error("%d members were not woken, the first: %s", len(failures), without_values(failures[0]))
        return len(member_ids) - len(failures)

    async def run(self) -> None:
        """Sweeps for ever."""
        while True:
            try:
                woken = await self.sweep()
                if woken:
                    _log.info("woke %d members", woken)
            except (QueueFull, StoreUnavailable) as full:
                _log.warning("the sweep has to wait: %s", without_values(full))
            except Exception as failure:  # noqa: BLE001  # the keeper must outlive any one sweep; it is logged
                _log.error("the sweep failed: %s", without_values(failure))
            await asyncio.sleep(LOOK_SECONDS)
