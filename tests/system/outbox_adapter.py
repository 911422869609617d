"""A mall's adapter as a process of its own: it accepts sales, says so, and drains its outbox, until it is stopped.

Each line on standard output names a sale that `accept` returned for, or that a till asked for with what it was told;
what a killed process had not said yet was not accepted as far as the till knows, though it may be in the outbox.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from datetime import UTC, datetime
from typing import Any

from merchant_adapter import BurnCommand, EarnCommand, Hub
from merchant_adapter.outbox import Dispatcher, Outbox
from merchant_adapter.till import Till

ASK_SECONDS = 0.5


def next_sale(chance: random.Random, members: list[str]) -> EarnCommand | BurnCommand:
    """Earns, and every third time a burn that may find too few points."""
    till: dict[str, Any] = {
        "member_id": chance.choice(members),
        "event_time": datetime.now(UTC),
        "store_id": "s",
        "terminal_id": "t",
        "reference": f"order-{chance.getrandbits(60)}",
    }
    if chance.random() < 1 / 3:
        return BurnCommand(points=chance.randint(1, 30), **till)
    return EarnCommand(points=chance.randint(1, 20), **till)


async def tills(
    outbox: Outbox, hub: Hub, members: list[str], stopping: asyncio.Event, pause_seconds: float
) -> None:
    """Three tills that nobody waits at, and one where somebody does."""
    chance = random.Random()

    async def queue() -> None:
        while not stopping.is_set():
            sale = next_sale(chance, members)
            await outbox.accept_async(sale)
            _say(sale.member_id, sale.request_id)
            await asyncio.sleep(pause_seconds)

    async def ask() -> None:
        till = Till(hub, outbox)
        while not stopping.is_set():
            sale: EarnCommand | BurnCommand = next_sale(chance, members)
            told = await till.ask(sale, ASK_SECONDS)
            _say(sale.member_id, sale.request_id, type(told).__name__)
            await asyncio.sleep(pause_seconds)

    await asyncio.gather(queue(), queue(), queue(), ask())


def _say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


async def main(settings: dict[str, Any]) -> None:
    """Runs until SIGTERM; then the outbox is emptied first, and the tills accept nothing more."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    with Outbox.open(settings["outbox"]) as outbox:
        async with Hub.connect(
            settings["hub"],
            settings["audience"],
            key=settings["key"],
            hub_keys=settings["hub_keys"],
            timeout_seconds=5.0,
        ) as hub:
            dispatcher = Dispatcher(outbox, hub)
            running = asyncio.create_task(dispatcher.run())
            await tills(outbox, hub, settings["members"], stopping, settings["pause_seconds"])
            dispatcher.stop()
            await running
            await Dispatcher(outbox, hub).drain(wait=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
