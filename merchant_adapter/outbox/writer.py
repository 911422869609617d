"""The one thread that works on an outbox's store. What tills hand in at the same time shares one sync of the disk."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TypeVar

from merchant_adapter.outbox.errors import OutboxError
from merchant_adapter.outbox.records import NewCommand, Queued
from merchant_adapter.outbox.store import Store

T = TypeVar("T")

MOST_TOGETHER = 1_000
"""Hand-ins that share a transaction at most; beyond it nothing is gained and a till waits longer."""

_HandIn = tuple[Sequence[NewCommand], "Future[list[Queued]]"]


class Writer:
    """Takes work from any thread and does it in order, hand-ins in groups."""

    def __init__(self, store: Store, close: Callable[[], None]) -> None:
        """`close` ends what the thread works on, after the last work."""
        self._store = store
        self._close = close
        self._work: SimpleQueue[_HandIn | Callable[[], None] | None] = SimpleQueue()
        self._closing = threading.Lock()
        self._is_closed = False
        self.on_change: Callable[[], None] = lambda: None
        """Called by the thread after new commands were stored, and by tills that have done with one."""
        # A daemon: a program that ends without closing has lost nothing that was accepted.
        self._thread = threading.Thread(target=self._run, name="tongdui-outbox", daemon=True)
        self._thread.start()

    def hand_in(self, commands: Sequence[NewCommand]) -> "Future[list[Queued]]":
        """Stores these commands, all of them or none; done when they are durable."""
        future: Future[list[Queued]] = Future()
        self._put((commands, future))
        return future

    def do(self, work: Callable[[], T]) -> "Future[T]":
        """Does any other work on the store."""
        future: Future[T] = Future()
        self._put(lambda: _settle(future, work))
        return future

    def close(self) -> None:
        """Does what was handed in before, and ends. May be called again."""
        with self._closing:
            if not self._is_closed:
                self._is_closed = True
                self._work.put(None)
        self._thread.join()

    def _put(self, work: "_HandIn | Callable[[], None]") -> None:
        with self._closing:
            if self._is_closed:
                raise OutboxError("this outbox is closed")
            self._work.put(work)

    def _run(self) -> None:
        is_open = True
        while is_open:
            group: list[_HandIn] = []
            work = self._work.get()
            while isinstance(work, tuple):
                group.append(work)
                if len(group) == MOST_TOGETHER:
                    break
                try:
                    work = self._work.get_nowait()
                except Empty:
                    break
            if group:
                self._add(group)
            if work is None:
                is_open = False
            elif not isinstance(work, tuple):
                work()
        self._close()

    def _add(self, handed_in: Sequence[_HandIn]) -> None:
        # One that was cancelled while it waited is not stored, and can't be told anything.
        group = [
            (commands, future) for commands, future in handed_in if future.set_running_or_notify_cancel()
        ]
        try:
            results = self._store.add([commands for commands, _ in group])
        except BaseException as error:  # noqa: BLE001  # each of them waits for it, and raises it
            for _, future in group:
                future.set_exception(error)
            return
        for (_, future), result in zip(group, results, strict=True):
            if isinstance(result, OutboxError):
                future.set_exception(result)
            else:
                future.set_result(result)
        self.on_change()


def _settle(future: "Future[T]", work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001  # whoever waits for it raises it
        future.set_exception(error)
    else:
        future.set_result(result)
