"""Request ids: UUIDv7 (RFC 9562, 5.7), so ids made one after another lie together in the hub's index.

What comes from a file or a platform, and may come again, gets its id from its own names instead (UUIDv5).
"""

import os
import threading
import time
import uuid
from collections.abc import Callable

_NAMESPACE = uuid.UUID("7d3f2b0e-5c5a-4d53-9a38-0f1c7e6b2a94")

_VERSION_7 = 0x7 << 76
_VARIANT_RFC_9562 = 0b10 << 62
_LOW_62_BITS = (1 << 62) - 1


def _system_milliseconds() -> int:
    return time.time_ns() // 1_000_000


class RequestIds:
    """Makes ids that only ever ascend, also within one millisecond and when the clock is set back.

    `now_milliseconds` gives Unix milliseconds. Safe to share between threads.
    """

    def __init__(self, now_milliseconds: Callable[[], int] = _system_milliseconds) -> None:
        self._now_milliseconds = now_milliseconds
        self._lock = threading.Lock()
        self._milliseconds = 0
        self._tail = 0

    def next(self) -> str:
        """The next id, 36 characters in lower case."""
        with self._lock:
            now = self._now_milliseconds()
            if now > self._milliseconds:
                # 73 of the 74 random bits (RFC 9562, 6.2, method 2): the first stays 0, so that counting
                # on by up to 2^32 at a time has room for 2^41 ids before it could overflow.
                self._milliseconds, self._tail = now, int.from_bytes(os.urandom(10)) >> 7
            else:
                self._tail += 1 + int.from_bytes(os.urandom(4))
            milliseconds, tail = self._milliseconds, self._tail
        value = milliseconds << 80 | _VERSION_7 | tail >> 62 << 64 | _VARIANT_RFC_9562 | tail & _LOW_62_BITS
        digits = f"{value:032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_ids = RequestIds()


def new_request_id() -> str:
    """A new request id of this process. Choose it before the first attempt and keep it for every repeat."""
    return _ids.next()


def derived_request_id(*names: str) -> str:
    """The id of the decision that these names stand for: the same names give the same id, on any machine.

    It is the UUIDv5 of the names, each on a line, in the namespace 7d3f2b0e-5c5a-4d53-9a38-0f1c7e6b2a94; so none of
    them may have a line feed.
    """
    assert not any("\n" in name for name in names), "two lists of names would be one"
    return str(uuid.uuid5(_NAMESPACE, "\n".join(names)))
