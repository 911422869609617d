"""Writes what a reconciliation found: itself, its breaks, and what became of earlier ones. Nothing here commits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection, insert, text

from settlement.core.break_types import severity_of
from settlement.core.deed import SETTLEMENT
from settlement.core.matching import entry_content, line_content
from settlement.core.reconcile import Cleared, ControlSet, Found
from settlement.core.roles import Act
from settlement.store.pairing import Side
from settlement.store.reconciliation_tables import (
    CONTROLS,
    control_column,
    difference_values,
    reconciliations,
)

_BLOCK: Final = 2_000
"""Breaks that are written at a time."""

_DIFFERENCES: Final = ", ".join(control_column(control, "difference") for control in CONTROLS)

_SAVE: Final = f"""
WITH found AS (
    SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS found (business_key text, type text, severity text,
        due_time timestamptz, resolved boolean, detail text, line_number bigint, entry_id text, request_id text,
        hub jsonb, partner jsonb, points_at_stake numeric, amount_at_stake_micros numeric,
        earned_points_difference numeric, burned_points_difference numeric, claimed_difference_micros numeric,
        owed_difference_micros numeric)
), saved AS (
    INSERT INTO settlement.breaks AS kept (partner_id, business_key, window_date, type, severity, state, resolution,
        detail, opened_date, opened_time, due_time, file_id, line_number, entry_id, request_id, hub, partner,
        points_at_stake, amount_at_stake_micros, {_DIFFERENCES}, seen_count, last_seen_date, resolved_time,
        resolved_date)
    SELECT :partner_id, business_key, :day, type, severity, CASE WHEN resolved THEN 'RESOLVED' ELSE 'OPEN' END,
        CASE WHEN resolved THEN 'AUTO_CLEARED' END, detail, :day, :moment, due_time, :file_id, line_number, entry_id,
        request_id, hub, partner, points_at_stake, amount_at_stake_micros, {_DIFFERENCES}, 1, :today,
        CASE WHEN resolved THEN CAST(:moment AS timestamptz) END, CASE WHEN resolved THEN CAST(:day AS date) END
    FROM found
    ON CONFLICT (partner_id, business_key) DO UPDATE SET seen_count = kept.seen_count + 1,
        last_seen_date = excluded.last_seen_date, detail = excluded.detail,
        state = CASE WHEN kept.cleared_by_file IS NOT NULL AND kept.cleared_date IS NULL THEN 'OPEN'
            ELSE kept.state END,
        resolution = CASE WHEN kept.cleared_by_file IS NOT NULL AND kept.cleared_date IS NULL THEN NULL
            ELSE kept.resolution END,
        resolved_time = CASE WHEN kept.cleared_by_file IS NOT NULL AND kept.cleared_date IS NULL THEN NULL
            ELSE kept.resolved_time END,
        resolved_date = CASE WHEN kept.cleared_by_file IS NOT NULL AND kept.cleared_date IS NULL THEN NULL
            ELSE kept.resolved_date END,
        cleared_by_file = CASE WHEN kept.cleared_date IS NULL THEN NULL ELSE kept.cleared_by_file END
    RETURNING break_id, business_key
)
INSERT INTO settlement.reconciliation_breaks (reconciliation_id, break_id, {_DIFFERENCES})
SELECT :reconciliation_id, break_id, {_DIFFERENCES} FROM saved JOIN found USING (business_key)
"""  # noqa: S608 - names of ours

_EVENTS: Final = """
INSERT INTO settlement.break_events (break_id, event_time, person, key_id, act, state_from, state_to, text)
SELECT break_id, :moment, :person, '', :act, state, :state_to, :text FROM settlement.breaks WHERE {condition}
"""

_RESOLVE: Final = """
UPDATE settlement.breaks SET state = 'RESOLVED', resolution = :resolution, resolved_time = :moment,
    resolved_date = :resolved_date, cleared_by_file = :file_id
WHERE {condition}
"""

_REOPEN: Final = """
UPDATE settlement.breaks SET state = 'OPEN', resolution = NULL, resolved_time = NULL, resolved_date = NULL,
    cleared_by_file = NULL
WHERE {condition}
"""
_FORGET: Final = "UPDATE settlement.breaks SET cleared_date = NULL WHERE {condition}"
_ESCALATE: Final = """
UPDATE settlement.breaks SET severity = 'HIGH', due_time = CAST(:moment AS timestamptz) + interval '72 hours'
WHERE {condition}
"""

_WAITED_FOR: Final = "break_id = ANY(:break_ids) AND state <> 'RESOLVED'"
_GONE: Final = (
    "partner_id = :partner_id AND window_date = :day AND state <> 'RESOLVED' AND business_key NOT LIKE 'payment/%'"
    " AND NOT EXISTS (SELECT FROM settlement.reconciliation_breaks AS again WHERE again.break_id = breaks.break_id"
    " AND again.reconciliation_id = :reconciliation_id)"
)
_NOT_CLEARED_AGAIN: Final = (
    "partner_id = :partner_id AND cleared_date = :day AND NOT break_id = ANY(:break_ids)"
)
_OVERDUE_TIMING: Final = (
    "partner_id = :partner_id AND type = 'TIMING' AND state <> 'RESOLVED' AND severity = 'LOW' AND window_date < :day"
    " AND 2 <= (SELECT count(DISTINCT later.window_date) FROM settlement.reconciliations AS later"
    " WHERE later.partner_id = breaks.partner_id AND later.window_date > breaks.window_date)"
)

_CLEARED: Final = f"""
INSERT INTO settlement.reconciliation_breaks (reconciliation_id, break_id, {_DIFFERENCES})
SELECT :reconciliation_id, {", ".join(f"cleared.{name}" for name in ("break_id", *_DIFFERENCES.split(", ")))}
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS cleared (break_id bigint, earned_points_difference numeric,
    burned_points_difference numeric, claimed_difference_micros numeric, owed_difference_micros numeric)
"""  # noqa: S608 - names of ours


@dataclass(frozen=True, slots=True)
class Run:
    """One reconciliation about to be written.

    Attributes:
        moment: when, by the ledger; due times count from it.
        today: the business day it is on.
    """

    side: Side
    profile_version: int | None
    rules: Mapping[str, Any]
    controls: ControlSet
    matched_count: int
    moment: datetime
    today: date


def save_run(connection: Connection, run: Run, found: Sequence[Found], cleared: Sequence[Cleared]) -> int:
    """Writes a reconciliation with its breaks, and moves earlier breaks on; gives its id."""
    reconciliation_id = _save_reconciliation(connection, run, len(found))
    common = {
        "reconciliation_id": reconciliation_id,
        "partner_id": run.side.partner_id,
        "day": run.side.window_date,
        "file_id": run.side.file_id,
        "moment": run.moment,
        "today": run.today,
    }
    for block in _blocks(_break_row(one, run.moment) for one in found):
        connection.execute(text(_SAVE), common | {"rows": json.dumps(block)})
    _resolve(
        connection, _GONE, common, "PARTNER_FIXED", run.today, "no longer found in the partner's newest file"
    )
    _clear(connection, common, cleared)
    _escalate(connection, common)
    return reconciliation_id


def _blocks(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    iterator = iter(rows)
    while block := list(islice(iterator, _BLOCK)):
        yield block


def _break_row(found: Found, moment: datetime) -> dict[str, Any]:
    severity = severity_of(found.type, found.at_stake.amount_at_stake_micros)
    side = found.line or found.entry
    return {
        "business_key": found.key,
        "type": found.type.value,
        "severity": severity.label,
        "due_time": (moment + timedelta(hours=severity.due_hours)).isoformat(),
        "resolved": found.resolved,
        "detail": found.detail,
        "line_number": found.line.line_number if found.line else None,
        "entry_id": found.entry.entry_id if found.entry else None,
        "request_id": side.request_id if side else "",
        "hub": entry_content(found.entry) if found.entry else None,
        "partner": line_content(found.line) if found.line else None,
        "points_at_stake": found.at_stake.points_at_stake,
        "amount_at_stake_micros": found.at_stake.amount_at_stake_micros,
        **difference_values(found.controls),
    }


def _save_reconciliation(connection: Connection, run: Run, break_count: int) -> int:
    controls = run.controls
    values: dict[str, Any] = {
        "window_date": run.side.window_date,
        "partner_id": run.side.partner_id,
        "file_id": run.side.file_id,
        "profile_version": run.profile_version,
        "rules": dict(run.rules),
        "run_time": run.moment,
        "matched_count": run.matched_count,
        "break_count": break_count,
        "state": "EXPLAINED" if controls.explained else "UNEXPLAINED",
    }
    for control in CONTROLS:
        values[f"partner_{control}"] = getattr(controls.partner, control)
        values[f"hub_{control}"] = getattr(controls.hub, control)
        for what in ("difference", "classified", "unexplained"):
            values[control_column(control, what)] = getattr(getattr(controls, what), control)
    statement = insert(reconciliations).values(**values).returning(reconciliations.c.reconciliation_id)
    return int(connection.execute(statement).scalar_one())


def _resolve(
    connection: Connection,
    condition: str,
    common: Mapping[str, Any],
    resolution: str,
    resolved_date: date,
    words: str,
) -> None:
    event = {"person": SETTLEMENT, "act": Act.CLEAR_BREAK.label, "state_to": "RESOLVED", "text": words}
    connection.execute(text(_EVENTS.format(condition=condition)), {**common, **event})
    values = {**common, "resolution": resolution, "resolved_date": resolved_date}
    connection.execute(text(_RESOLVE.format(condition=condition)), values)


def _clear(connection: Connection, common: Mapping[str, Any], cleared: Sequence[Cleared]) -> None:
    """Earlier breaks whose other side is there now; and those that an earlier run thought so of are open again."""
    with_ids = {**common, "break_ids": [one.break_id for one in cleared]}
    event = {"person": SETTLEMENT, "act": Act.REOPEN_BREAK.label, "state_to": "OPEN"}
    again = f"{_NOT_CLEARED_AGAIN} AND resolution = 'AUTO_CLEARED'"
    words = "the other side is not there after all"
    connection.execute(text(_EVENTS.format(condition=again)), {**with_ids, **event, "text": words})
    connection.execute(text(_REOPEN.format(condition=again)), with_ids)
    connection.execute(text(_FORGET.format(condition=_NOT_CLEARED_AGAIN)), with_ids)
    if not cleared:
        return
    words = f"the other side came with {common['day']}"
    _resolve(connection, _WAITED_FOR, with_ids, "AUTO_CLEARED", common["day"], words)
    connection.execute(
        text("UPDATE settlement.breaks SET cleared_date = :day WHERE break_id = ANY(:break_ids)"), with_ids
    )
    rows = [{"break_id": one.break_id, **difference_values(one.controls)} for one in cleared]
    connection.execute(text(_CLEARED), {**common, "rows": json.dumps(rows)})


def _escalate(connection: Connection, common: Mapping[str, Any]) -> None:
    """A matter of timing that two later files did not settle is none."""
    event = {"person": SETTLEMENT, "act": "escalate_break", "state_to": "OPEN"}
    words = "two later reconciliations did not bring the other side"
    statement = _EVENTS.format(condition=_OVERDUE_TIMING).replace(":state_to", "state")
    connection.execute(text(statement), {**common, **event, "text": words})
    connection.execute(text(_ESCALATE.format(condition=_OVERDUE_TIMING)), common)
