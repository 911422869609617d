"""Unix milliseconds, in which an outbox keeps its times."""

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_ms() -> int:
    """The system's clock."""
    return time.time_ns() // 1_000_000


def to_time(milliseconds: int) -> datetime:
    """The same time as a value, in UTC."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def to_ms(time: datetime) -> int:
    """The time as an outbox keeps it, rounded down."""
    return (time - _EPOCH) // timedelta(milliseconds=1)
