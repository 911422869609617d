"""When windows end, and which states follow which."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from settlement.core.business_day import days, window_end
from settlement.core.run_state import WindowState

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("day", "cut_off_seconds", "zone", "end"),
    [
        (date(2026, 1, 1), 0, UTC, datetime(2026, 1, 2, tzinfo=UTC)),
        (date(2026, 1, 1), 0, SHANGHAI, datetime(2026, 1, 1, 16, tzinfo=UTC)),
        (date(2026, 1, 1), 2 * 3_600, SHANGHAI, datetime(2026, 1, 1, 18, tzinfo=UTC)),
        # The clocks go forward at 02:00 on 29 March and back at 03:00 on 25 October.
        (date(2026, 3, 28), 0, BERLIN, datetime(2026, 3, 28, 23, tzinfo=UTC)),
        (date(2026, 3, 29), 0, BERLIN, datetime(2026, 3, 29, 22, tzinfo=UTC)),
        (date(2026, 3, 28), 4 * 3_600, BERLIN, datetime(2026, 3, 29, 2, tzinfo=UTC)),
        (date(2026, 10, 24), 4 * 3_600, BERLIN, datetime(2026, 10, 25, 3, tzinfo=UTC)),
    ],
)
def test_a_window_ends_at_the_cut_off_on_the_wall_clock_of_its_zone(
    day: date, cut_off_seconds: int, zone: ZoneInfo, end: datetime
) -> None:
    assert window_end(day, cut_off_seconds, zone) == end


def test_days_run_from_the_first_to_the_last_and_none_backwards() -> None:
    assert list(days(date(2025, 12, 31), date(2026, 1, 2))) == [
        date(2025, 12, 31),
        date(2026, 1, 1),
        date(2026, 1, 2),
    ]
    assert list(days(date(2026, 1, 2), date(2026, 1, 1))) == []


def test_states_follow_one_another() -> None:
    names = ["CLOSED", "COMPUTED", "CERTIFIED", "APPROVED", "EXPORTED", "SETTLED"]

    assert [state.value for state in WindowState] == names
    for place, state in enumerate(WindowState):
        assert [other.reached(state) for other in WindowState] == [it >= place for it in range(6)]
        assert list(state.and_later) == names[place:]
