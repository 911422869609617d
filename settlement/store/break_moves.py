"""What a reconciliation makes of breaks that there are already: cleared, fixed, another now, or open again.

Each kind of move is one statement over all its breaks, which also tells their history. Nothing here commits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import Connection, text

from settlement.core.deed import SETTLEMENT
from settlement.core.findings import Cleared
from settlement.core.roles import Act
from settlement.store.reconciliation_tables import CONTROLS, control_column, difference_values

DIFFERENCES: Final = ", ".join(control_column(control, "difference") for control in CONTROLS)

# One statement, so that breaks, their history and what the audit log is told are of the same rows.
_MOVE: Final = """
WITH moved AS (
    SELECT break_id, state, resolution, severity FROM settlement.breaks WHERE {condition} FOR UPDATE
), changed AS (
    UPDATE settlement.breaks AS kept SET {changes} FROM moved WHERE kept.break_id = moved.break_id
    RETURNING kept.break_id, kept.state, kept.resolution, kept.severity
), told AS (
    INSERT INTO settlement.break_events (break_id, event_time, person, key_id, act, state_from, state_to, text)
    SELECT break_id, :moment, :person, '', :act, {state_from}, changed.state, :words
    FROM moved JOIN changed USING (break_id)
), undisputed AS (
    UPDATE settlement.disputes SET state = 'DECIDED', decision = 'the break cleared itself', decided_by = :person,
        decide_time = :moment
    FROM changed
    WHERE disputes.break_id = changed.break_id AND disputes.state <> 'DECIDED' AND changed.state = 'RESOLVED'
    RETURNING disputes.dispute_id
)
SELECT break_id, {state_from} AS state_from, moved.resolution AS resolution_from, moved.severity AS severity_from,
    changed.state, changed.resolution, changed.severity, ARRAY(SELECT dispute_id FROM undisputed) AS disputes
FROM moved JOIN changed USING (break_id) ORDER BY break_id
"""

_RESOLVED: Final = (
    "state = 'RESOLVED', resolution = :resolution, resolved_time = :moment, resolved_date = :resolved_date,"
    " cleared_by_file = :file_id"
)
_RESOLVED_AS_IS: Final = "resolved_time = :moment"
_OPENED: Final = (
    "state = 'OPEN', resolution = NULL, resolved_time = NULL, resolved_date = NULL, cleared_by_file = NULL"
)
_ESCALATED: Final = "severity = 'HIGH', due_time = CAST(:moment AS timestamptz) + interval '72 hours'"
_FORGET: Final = "UPDATE settlement.breaks SET cleared_date = NULL WHERE {condition}"

_IN_THIS_RUN: Final = (
    "EXISTS (SELECT FROM settlement.reconciliation_breaks AS again WHERE again.break_id = breaks.break_id"
    " AND again.reconciliation_id = :reconciliation_id)"
)
_FOUND_AGAIN: Final = (
    f"partner_id = :partner_id AND window_date = :day AND {_IN_THIS_RUN}"
    " AND resolution IN ('PARTNER_FIXED', 'RECLASSIFIED') AND cleared_by_file IS NOT NULL"
    " AND cleared_date IS NULL"
)
_ROUNDED: Final = (
    f"partner_id = :partner_id AND window_date = :day AND {_IN_THIS_RUN}"
    " AND seen_count = 1 AND resolution = 'AUTO_CLEARED' AND NOT EXISTS"
    " (SELECT FROM settlement.break_events AS told WHERE told.break_id = breaks.break_id)"
)
_CORRECTED: Final = (
    "EXISTS (SELECT FROM settlement.resolutions AS posted WHERE posted.break_id = breaks.break_id"
    " AND posted.entry_id IS NOT NULL)"
)
_OF_THIS_DAY: Final = (
    "partner_id = :partner_id AND window_date = :day AND business_key NOT LIKE 'payment/%'"
    f" AND NOT {_IN_THIS_RUN}"
)

_DEAL: Final = r"regexp_replace({}.business_key, '^[^/]+/[^/]+/(.*)/-?\d+,-?\d+,-?\d+,-?\d+(/\d+)?$', '\1')"
"""What a break's key says of its deal: without the day, the type and the amounts (core/reconcile.py)."""

_NOW_ANOTHER: Final = f"""break_id IN (
    WITH gone AS MATERIALIZED (
        SELECT break_id, entry_id, {_DEAL.format("breaks")} AS deal FROM settlement.breaks
        WHERE {_OF_THIS_DAY} AND state <> 'RESOLVED' AND NOT {_CORRECTED}
    ), fresh AS MATERIALIZED (
        SELECT entry_id, {_DEAL.format("other")} AS deal
        FROM settlement.reconciliation_breaks AS this JOIN settlement.breaks AS other USING (break_id)
        WHERE this.reconciliation_id = :reconciliation_id AND other.window_date = :day AND NOT EXISTS (
            SELECT FROM settlement.reconciliation_breaks AS before
            WHERE before.break_id = other.break_id AND before.reconciliation_id = (
                SELECT max(reconciliation_id) FROM settlement.reconciliations
                WHERE partner_id = :partner_id AND window_date = :day AND reconciliation_id < :reconciliation_id))
    )
    SELECT gone.break_id FROM gone JOIN fresh USING (deal)
    UNION SELECT gone.break_id FROM gone JOIN fresh USING (entry_id)
)"""  # noqa: S608 - names of ours

_WAITED_FOR: Final = "break_id = ANY(:break_ids) AND state <> 'RESOLVED'"
_GONE: Final = f"{_OF_THIS_DAY} AND state <> 'RESOLVED' AND NOT {_CORRECTED}"
_CORRECTED_TWICE: Final = (
    f"{_OF_THIS_DAY} AND state = 'RESOLVED' AND resolution = 'ADJUSTED' AND {_CORRECTED}"
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
INSERT INTO settlement.reconciliation_breaks (reconciliation_id, break_id, {DIFFERENCES})
SELECT :reconciliation_id, {", ".join(f"cleared.{name}" for name in ("break_id", *DIFFERENCES.split(", ")))}
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS cleared (break_id bigint, earned_points_difference numeric,
    burned_points_difference numeric, claimed_difference_micros numeric, owed_difference_micros numeric)
"""  # noqa: S608 - names of ours


@dataclass(frozen=True, slots=True)
class Moves:
    """Breaks that the program moved in one way, as the audit log is told."""

    act: Act
    words: str
    before: Mapping[str, object]
    after: Mapping[str, object]


def move_breaks(
    connection: Connection, common: Mapping[str, Any], cleared: Sequence[Cleared]
) -> tuple[Moves, ...]:
    """Moves a partner's breaks on after a reconciliation found others; tells which.

    `common`: its `reconciliation_id`, `partner_id`, `day`, `file_id`, and the `moment` and day `today` of it.
    """
    mover = _Mover(connection, common)
    day, today = common["day"], common["today"]
    mover.resolve(_ROUNDED, "AUTO_CLEARED", day, "at most the rounding apart", from_open=True)
    mover.reopen(_FOUND_AGAIN, "found again")
    mover.reopen(_CORRECTED_TWICE, _TWICE, f"{_OPENED}, detail = detail || :appended", appended=f"; {_TWICE}")
    mover.resolve(_NOW_ANOTHER, "RECLASSIFIED", today, "the same deal is another break now")
    mover.resolve(_GONE, "PARTNER_FIXED", today, "no longer found in the partner's newest file")
    _clear(mover, cleared)
    words = "two later reconciliations did not bring the other side"
    mover.move(Act.ESCALATE_BREAK, _OVERDUE_TIMING, _ESCALATED, words)
    return tuple(mover.moves)


_TWICE: Final = (
    "a correction was posted for it and the partner changed its record too: both sides are corrected"
)


class _Mover:
    """Moves breaks within one run, and keeps what it moved."""

    def __init__(self, connection: Connection, common: Mapping[str, Any]) -> None:
        self.connection, self.common = connection, common
        self.moves: list[Moves] = []

    def resolve(
        self,
        condition: str,
        resolution: str,
        resolved_date: date,
        words: str,
        *,
        from_open: bool = False,
        **values: Any,
    ) -> None:
        """`from_open`: the breaks were written as resolved, and were nothing before."""
        values |= {"resolution": resolution, "resolved_date": resolved_date}
        state_from = "'OPEN'" if from_open else "moved.state"
        self.move(
            Act.CLEAR_BREAK,
            condition,
            _RESOLVED_AS_IS if from_open else _RESOLVED,
            words,
            state_from,
            **values,
        )

    def reopen(self, condition: str, words: str, changes: str = _OPENED, **values: Any) -> None:
        """Breaks that are resolved are open again."""
        self.move(Act.REOPEN_BREAK, condition, changes, words, **values)

    def move(
        self,
        act: Act,
        condition: str,
        changes: str,
        words: str,
        state_from: str = "moved.state",
        **values: Any,
    ) -> None:
        """Changes the breaks of a condition, tells their history, and closes disputes of those it resolves."""
        statement = _MOVE.format(condition=condition, changes=changes, state_from=state_from)
        told = {"person": SETTLEMENT, "act": act.label, "words": words}
        rows = self.connection.execute(text(statement), {**self.common, **told, **values}).all()
        if not rows:
            return
        before = {
            str(row.break_id): {
                "state": row.state_from,
                "resolution": row.resolution_from if row.state_from == "RESOLVED" else None,
                "severity": row.severity_from,
            }
            for row in rows
        }
        after = {
            "break_ids": [row.break_id for row in rows],
            "state": rows[0].state if act is not Act.ESCALATE_BREAK else None,
            "resolution": rows[0].resolution,
            "severity": rows[0].severity if act is Act.ESCALATE_BREAK else None,
            "closed_dispute_ids": sorted(rows[0].disputes),
        }
        self.moves.append(Moves(act, words, before, {name: it for name, it in after.items() if it}))


def _clear(mover: _Mover, cleared: Sequence[Cleared]) -> None:
    """Earlier breaks whose other side is there now; and those that an earlier run thought so of are open again."""
    connection, common = mover.connection, mover.common
    ids = [one.break_id for one in cleared]
    again = f"{_NOT_CLEARED_AGAIN} AND resolution = 'AUTO_CLEARED'"
    mover.reopen(again, "the other side is not there after all", break_ids=ids)
    connection.execute(text(_FORGET.format(condition=_NOT_CLEARED_AGAIN)), {**common, "break_ids": ids})
    if not cleared:
        return
    words = f"the other side came with {common['day']}"
    mover.resolve(_WAITED_FOR, "AUTO_CLEARED", common["day"], words, break_ids=ids)
    connection.execute(
        text("UPDATE settlement.breaks SET cleared_date = :day WHERE break_id = ANY(:break_ids)"),
        {**common, "break_ids": ids},
    )
    rows = [{"break_id": one.break_id, **difference_values(one.controls)} for one in cleared]
    connection.execute(text(_CLEARED), {**common, "rows": json.dumps(rows)})
