"""Business days: when a window is past its cut-off."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from exchange.core.book import Terms


def window_end(window_date: date, terms: Terms) -> datetime:
    """The first moment at which a window can be closed, in UTC.

    A window lasts from the cut-off on its own day to the cut-off on the next. From this moment on no moment
    falls into it (`Terms.window_of`); where a clock change repeats or skips the cut-off, it is the later of the
    two readings.
    """
    cut_off = datetime.combine(window_date + timedelta(days=1), time.min) + terms.cut_off
    readings = (cut_off.replace(tzinfo=terms.zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return max(readings)
