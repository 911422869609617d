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
from settlement.core.findings import Cleared, ControlSet, Found
from settlement.core.matching import entry_content, line_content
from settlement.store.break_moves import DIFFERENCES, Moves, move_breaks
from settlement.store.pairing import Side
from settlement.store.reconciliation_tables import (
    CONTROLS,
    control_column,
    difference_values,
    reconciliations,
)

_BLOCK: Final = 2_000
"""Breaks that are written at a time."""

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
        points_at_stake, amount_at_stake_micros, {DIFFERENCES}, seen_count, last_seen_date, resolved_time,
        resolved_date)
    SELECT :partner_id, business_key, :day, type, severity, CASE WHEN resolved THEN 'RESOLVED' ELSE 'OPEN' END,
        CASE WHEN resolved THEN 'AUTO_CLEARED' END, detail, :day, :moment, due_time, :file_id, line_number, entry_id,
        request_id, hub, partner, points_at_stake, amount_at_stake_micros, {DIFFERENCES}, 1, :today,
        CASE WHEN resolved THEN CAST(:moment AS timestamptz) END, CASE WHEN resolved THEN CAST(:day AS date) END
    FROM found
    ON CONFLICT (partner_id, business_key) DO UPDATE SET seen_count = kept.seen_count + 1,
        last_seen_date = excluded.last_seen_date, detail = excluded.detail
    RETURNING break_id, business_key
)
INSERT INTO settlement.reconciliation_breaks (reconciliation_id, break_id, {DIFFERENCES})
SELECT :reconciliation_id, break_id, {DIFFERENCES} FROM saved JOIN found USING (business_key)
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


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A reconciliation's id, and which breaks it moved."""

    reconciliation_id: int
    moves: tuple[Moves, ...]


def save_run(
    connection: Connection, run: Run, found: Sequence[Found], cleared: Sequence[Cleared]
) -> SavedRun:
    """Writes a reconciliation with its breaks, and moves breaks on. The caller has the moves recorded."""
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
    moves = move_breaks(connection, common, cleared)
    return SavedRun(reconciliation_id, moves)


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
