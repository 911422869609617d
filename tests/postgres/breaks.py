"""Breaks as a reconciliation leaves them, without one."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg

NOW = datetime(2026, 1, 10, 1, 0, tzinfo=UTC)
TODAY = date(2026, 1, 10)
EARN = {
    "kind": "earn",
    "points": 250,
    "event_time": "2026-01-01T12:00:00+00:00",
    "member_id": "m-1",
    "store_id": "s-1",
    "terminal_id": "t-1",
    "reference": "R9",
    "request_id": "",
}


def plant_break(superuser: psycopg.Connection[Any], type_: str = "MISSING_AT_HUB", /, **values: Any) -> int:
    """A break of partner a, found on day 1 and due on day 6; its number."""
    row: dict[str, Any] = {
        "partner_id": "a",
        "business_key": f"{type_}-{superuser.execute('SELECT count(*) FROM settlement.breaks').fetchone()}",
        "window_date": date(2026, 1, 1),
        "type": type_,
        "severity": "MEDIUM",
        "state": "OPEN",
        "detail": "order R9 is unknown to the hub",
        "opened_date": date(2026, 1, 1),
        "opened_time": NOW - timedelta(days=9),
        "due_time": NOW - timedelta(days=4),
        "request_id": "",
        "partner": json.dumps(EARN),
        "points_at_stake": 250,
        "amount_at_stake_micros": 2_550_000,
        "earned_points_difference": 250,
        "burned_points_difference": 0,
        "claimed_difference_micros": 0,
        "owed_difference_micros": 2_550_000,
        "seen_count": 1,
        "last_seen_date": date(2026, 1, 1),
    } | values
    names = ", ".join(row)
    marks = ", ".join(["%s"] * len(row))
    made = superuser.execute(
        f"INSERT INTO settlement.breaks ({names}) VALUES ({marks}) RETURNING break_id".encode(),
        list(row.values()),
    ).fetchone()
    assert made is not None
    return int(made[0])
