"""adapter.*: how many sales a second an outbox accepts durably, one by one and side by side, and its memory."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from merchant_adapter import EarnCommand
from merchant_adapter.outbox import Outbox

SECONDS: Final = 5.0
SIDE_BY_SIDE: Final = 256
MEMORY_STEP: Final = 500

_MEMORY: Final = """
import sys
from pathlib import Path
from benchmarks.outbox import grow
grow(Path(sys.argv[1]), int(sys.argv[2]))
"""


def measure_outbox(folder: Path, commands: int, console: Console) -> dict[str, float]:
    """Accepts into files in `folder`; the memory is watched over so many commands.

    `adapter.fsyncs_per_s` is the disk's own: a single accept cannot be faster.
    """
    folder.mkdir()
    with console.status("outbox: one by one"):
        figures = {"adapter.fsyncs_per_s": _fsyncs_per_s(folder / "floor", SECONDS / 4)}
        with Outbox.open(folder / "single.db") as outbox:
            figures["adapter.outbox_single_per_s"] = _one_by_one(outbox, SECONDS)
    with console.status("outbox: side by side"), Outbox.open(folder / "grouped.db") as outbox:
        figures["adapter.outbox_per_s"] = asyncio.run(_side_by_side(outbox, SECONDS))
    with console.status(f"outbox: memory over {commands:,}"):
        figures["adapter.outbox_memory_growth_mib"] = _memory_growth_mib(folder / "memory.db", commands)
    return figures


def grow(file: Path, count: int) -> None:
    """Prints the resident memory in KiB after a tenth of `count` sales and after all of them."""
    sales = _sales()
    with Outbox.open(file) as outbox:
        for number in range(count // MEMORY_STEP):
            if number == count // MEMORY_STEP // 10:
                print(_resident_kib())
            outbox.accept_all([next(sales) for _ in range(MEMORY_STEP)])
        print(_resident_kib())


def _fsyncs_per_s(file: Path, seconds: float) -> float:
    with file.open("wb", buffering=0) as sink:

        def once() -> None:
            sink.write(bytes(4096))
            os.fdatasync(sink.fileno())

        return _rate(once, seconds)


def _one_by_one(outbox: Outbox, seconds: float) -> float:
    sales = _sales()
    return _rate(lambda: outbox.accept(next(sales)), seconds)


async def _side_by_side(outbox: Outbox, seconds: float) -> float:
    """As a server accepts that answers many tills."""
    sales, done = _sales(), 0
    begun = time.monotonic()

    async def till() -> None:
        nonlocal done
        while time.monotonic() - begun < seconds:
            await outbox.accept_async(next(sales))
            done += 1

    await asyncio.gather(*(till() for _ in range(SIDE_BY_SIDE)))
    return done / (time.monotonic() - begun)


def _memory_growth_mib(file: Path, count: int) -> float:
    command = [sys.executable, "-c", _MEMORY, str(file), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after = (int(line) for line in done.stdout.split())
    return (after - before) / 1024


def _resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _rate(once: Callable[[], object], seconds: float) -> float:
    done, begun = 0, time.monotonic()
    while time.monotonic() - begun < seconds:
        once()
        done += 1
    return done / (time.monotonic() - begun)


def _sales() -> Iterator[EarnCommand]:
    now, number = datetime.now(UTC), 0
    while True:
        number += 1
        yield EarnCommand(
            member_id=f"m-{number % 100_000:012}",
            points=5,
            event_time=now,
            store_id="store-1",
            terminal_id="till-1",
            reference=f"order-{number}",
        )
