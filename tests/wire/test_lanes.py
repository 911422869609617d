"""Lanes: a few threads with a bounded queue."""

from __future__ import annotations

import asyncio
from threading import Event

import pytest

from exchange.rpc.errors import CallError
from exchange.rpc.lanes import Lane


def test_a_full_lane_refuses_at_once_and_takes_work_again_when_it_has_room() -> None:
    lane, go = Lane("test", threads=1, waiting=2), Event()

    async def fill() -> list[object]:
        calls = [asyncio.ensure_future(lane.run(go.wait)) for _ in range(5)]
        await asyncio.wait(calls[3:])
        go.set()
        outcomes: list[object] = list(await asyncio.gather(*calls, return_exceptions=True))
        return [*outcomes, await lane.run(lambda: "again")]

    *ran, first, second, again = asyncio.run(fill())

    assert (ran, again) == ([True, True, True], "again")
    for refused in (first, second):
        assert isinstance(refused, CallError)
        assert refused.reason == "HUB_BUSY"
    lane.close()


def test_a_call_that_is_given_up_while_it_waits_leaves_its_place() -> None:
    lane, go = Lane("test", threads=1, waiting=1), Event()

    async def give_up() -> str:
        running = asyncio.ensure_future(lane.run(go.wait))
        waiting = asyncio.ensure_future(lane.run(go.wait))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        next_one = asyncio.ensure_future(lane.run(lambda: "next"))
        await asyncio.sleep(0)
        go.set()
        await running
        return await next_one

    assert asyncio.run(give_up()) == "next"
    lane.close()
