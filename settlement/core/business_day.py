"""Business days: when a window ends, and runs of days. The zone is handed in, never looked up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo


def window_end(window_date: date, cut_off_seconds: int, zone: tzinfo) -> datetime:
    """The moment, in UTC, at which the window of a business day is past its cut-off.

    `cut_off_seconds` counts after the midnight with which the day ends, on the wall clock of `zone`; 0 is
    that midnight. A wall-clock time that a change of the clocks skips or repeats is read by the offset before
    the change.
    """
    midnight = datetime.combine(window_date + timedelta(days=1), time.min)
    return (midnight + timedelta(seconds=cut_off_seconds)).replace(tzinfo=zone).astimezone(UTC)


def days(first: date, last: date) -> Iterator[date]:
    """Every day from `first` to `last`, both included; none where `last` is earlier."""
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)


def business_day(moment: datetime, cut_off_seconds: int, zone: tzinfo) -> date:
    """The business day whose window is open at a moment: `window_end` the other way round."""
    wall_clock = moment.astimezone(zone).replace(tzinfo=None)
    return (wall_clock - timedelta(seconds=cut_off_seconds)).date()
