"""When a business day is over."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.core.book import Terms
from exchange.core.business_day import window_end
from tests.property.profiles import tries

ZONES = ("Asia/Shanghai", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC")
MICROSECOND = timedelta(microseconds=1)
moments = st.integers(1_420_070_400, 1_893_456_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
"""The years 2015 to 2029."""
terms_of_a_coalition = st.builds(
    lambda name, seconds: Terms(ZoneInfo(name), cut_off=timedelta(seconds=seconds)),
    st.sampled_from(ZONES),
    st.integers(0, 86_399),
)


@pytest.mark.parametrize(
    ("cut_off_hours", "end"),
    [
        (0, "2026-01-01T16:00:00+00:00"),  # midnight in Shanghai
        (4, "2026-01-01T20:00:00+00:00"),  # four in the morning of the next day
    ],
)
def test_a_window_ends_at_the_cut_off_of_the_next_day(cut_off_hours: int, end: str) -> None:
    terms = Terms(ZoneInfo("Asia/Shanghai"), cut_off=timedelta(hours=cut_off_hours))

    ended = window_end(date(2026, 1, 1), terms)

    assert ended == datetime.fromisoformat(end)
    assert terms.window_of(ended - MICROSECOND) == date(2026, 1, 1)
    assert terms.window_of(ended) == date(2026, 1, 2)


@tries(100)
@given(terms_of_a_coalition, moments, st.timedeltas(timedelta(0), timedelta(days=3)))
def test_no_moment_after_its_end_falls_into_a_window(
    terms: Terms, moment: datetime, later: timedelta
) -> None:
    window = terms.window_of(moment)

    end = window_end(window, terms)

    assert terms.window_of(end + later) > window
    assert end - moment <= timedelta(hours=27)  # a day, and two clock changes at most


@pytest.mark.parametrize(
    ("zone", "window", "cut_off_minutes", "end"),
    [
        # New York turns 01:30 back on 1 November 2026: the second 01:30 counts, 06:30 UTC.
        ("America/New_York", date(2026, 10, 31), 90, "2026-11-01T06:30:00+00:00"),
        # It skips 02:30 on 8 March 2026: the later reading counts, 07:30 UTC.
        ("America/New_York", date(2026, 3, 7), 150, "2026-03-08T07:30:00+00:00"),
    ],
)
def test_a_cut_off_that_a_clock_change_repeats_or_skips_is_read_late(
    zone: str, window: date, cut_off_minutes: int, end: str
) -> None:
    terms = Terms(ZoneInfo(zone), cut_off=timedelta(minutes=cut_off_minutes))

    ended = window_end(window, terms)

    assert ended == datetime.fromisoformat(end)
