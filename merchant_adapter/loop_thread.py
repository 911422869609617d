"""An event loop on a thread of its own, for callers that have none."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

R = TypeVar("R")


class LoopThread:
    """Runs coroutines to their end for callers of any thread, until it is stopped."""

    def __init__(self, name: str) -> None:
        """`name` is the thread's."""
        self._loop = asyncio.new_event_loop()
        # A daemon, so that a program that forgets to close does not hang at its end.
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it was not stopped yet."""
        return self._thread.is_alive()

    def run(self, coroutine: Coroutine[Any, Any, R], closed: str = "this client is closed") -> R:
        """What the coroutine gives. A caller that is interrupted (Ctrl-C) cancels it.

        Raises RuntimeError with the text `closed` once it was stopped.
        """
        if not self.is_running:
            coroutine.close()
            raise RuntimeError(closed)
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Ends the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
