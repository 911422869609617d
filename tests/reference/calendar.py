"""Last usable days, found by turning the calendar's pages one by one."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from tests.reference.records import LAST_DAY_OF_ALL


def last_day_by(policy: Any, event_day: date) -> date:
    """The last usable day of points earned that day."""
    if policy.kind.value == "never":
        return LAST_DAY_OF_ALL
    if policy.kind.value == "fixed_date":
        fixed: date = policy.fixed_date
        return fixed
    if policy.kind.value == "days":
        return days_later(event_day, policy.amount)
    day = event_day
    for _ in range(policy.amount):
        day = days_later(_end_of_month(day), 1)
    return _end_of_month(day)


def days_later(day: date, count: int) -> date:
    """So many days on, or the last day of all."""
    for _ in range(count):
        if day == LAST_DAY_OF_ALL:
            return day
        day += timedelta(days=1)
    return day


def _end_of_month(day: date) -> date:
    while days_later(day, 1).month == day.month and day < LAST_DAY_OF_ALL:
        day = days_later(day, 1)
    return day
