"""What the hub holds of a break's corrections, and which deals are corrected already. Nothing here writes.

The request id under which a correction is proposed at the hub names its break; so the hub's own list says what
became of each, also of one whose proposer was cut off before settlement could keep its number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Text, and_, cast, func, or_, select, text

from settlement.core.break_state import BreakState
from settlement.core.day_plan import CorrectionFacts
from settlement.core.parties import OPERATOR
from settlement.store.reconciliation_tables import breaks
from settlement.store.views import adjustments_v1, chained_entries_v1, posted_requests_v1

PROPOSED: Final = "proposed"
POSTED: Final = "posted"
WITHDRAWN: Final = "withdrawn"


@dataclass(frozen=True, slots=True)
class HubCorrection:
    """A correction as the hub has it: `PROPOSED`, `POSTED` or `WITHDRAWN`."""

    adjustment_id: int
    state: str


@dataclass(frozen=True, slots=True)
class PostedAdjustment:
    """A correction's entry at the hub, and the operator's request that had it posted."""

    request_id: str
    entry_id: str


def adjustment_request_id(break_id: int, number: int) -> str:
    """The request id of a break's correction, the `number`-th from 1."""
    return f"break-{break_id}-adjustment" + (f"-{number}" if number > 1 else "")


def list_corrections(connection: Connection, break_id: int) -> list[HubCorrection]:
    """All corrections of a break that were ever proposed at the hub, oldest first."""
    first, column = adjustment_request_id(break_id, 1), adjustments_v1.c.request_id
    named = or_(column == first, column.like(f"{first}-%"))
    statement = select(adjustments_v1.c.adjustment_id, adjustments_v1.c.state).where(named)
    rows = connection.execute(statement.order_by(adjustments_v1.c.adjustment_id))
    return [HubCorrection(*row) for row in rows]


def find_posted_adjustment(connection: Connection, adjustment_id: int) -> PostedAdjustment | None:
    """The entry of a correction, as the hub's journal has it; None while it has none."""
    entry, request = chained_entries_v1.c, posted_requests_v1.c
    same = and_(entry.batch_sequence == request.batch_sequence, entry.entry_index == request.entry_index)
    statement = (
        select(request.request_id, entry.batch_id, entry.entry_index)
        .select_from(posted_requests_v1.join(chained_entries_v1, same))
        .where(
            request.partner_id == OPERATOR,
            request.kind == "adjust",
            request.reference == f"adjustment-{adjustment_id}",
        )
    )
    row = connection.execute(statement).one_or_none()
    return PostedAdjustment(row.request_id, f"{row.batch_id}-{row.entry_index}") if row else None


_SAME_DEAL: Final = text("""
WITH this AS (
    SELECT *, coalesce(partner, hub) AS side FROM settlement.breaks WHERE break_id = :break_id
)
SELECT other.break_id
FROM this JOIN settlement.breaks AS other ON other.partner_id = this.partner_id AND other.break_id <> this.break_id
    AND (other.entry_id = this.entry_id OR (other.request_id = this.request_id AND this.request_id <> '')
        OR (this.side ->> 'reference' <> '' AND this.side ->> 'reference'
                = coalesce(other.partner, other.hub) ->> 'reference'
            AND this.side ->> 'kind' = coalesce(other.partner, other.hub) ->> 'kind'
            AND this.side -> 'part' IS NOT DISTINCT FROM coalesce(other.partner, other.hub) -> 'part'))
ORDER BY other.break_id
""")


def list_breaks_of_same_deal(connection: Connection, break_id: int) -> list[int]:
    """The partner's other breaks of a break's deal: by entry, by request id, or by kind, reference and part."""
    return list(connection.execute(_SAME_DEAL, {"break_id": break_id}).scalars())


def list_forgotten_corrections(connection: Connection) -> list[CorrectionFacts]:
    """Corrections that can still be posted at the hub though nobody at the desk proposes them, oldest first."""
    named = func.substring(adjustments_v1.c.request_id, r"^break-([0-9]{1,18})-adjustment(?:-[0-9]+)?$")
    columns: list[Any] = [adjustments_v1.c.adjustment_id, breaks.c.break_id, breaks.c.partner_id]
    statement = (
        select(*columns)
        .select_from(adjustments_v1.join(breaks, named == cast(breaks.c.break_id, Text)))
        .where(
            adjustments_v1.c.state == PROPOSED,
            breaks.c.state != BreakState.PENDING_RESOLUTION.value,
        )
    )
    return [CorrectionFacts(*row) for row in connection.execute(statement.order_by(columns[0]))]
