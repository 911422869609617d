"""Corrections, and which of them are posted."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, Text, and_, cast, select

from exchange.core.ids import OPERATOR, entry_text
from exchange.store.tables import ADJUSTMENTS, REQUESTS

REFERENCE_PREFIX: Final = "adjustment-"


class Adjustment(NamedTuple):
    """A correction; the batch and index of its entry are None until it is posted, the withdrawal until there is one."""

    adjustment_id: int
    proposal: bytes
    proposed_by: str
    propose_time: datetime
    withdrawn_by: str | None
    withdraw_reason: str | None
    withdraw_time: datetime | None
    batch_id: int | None
    entry_index: int | None

    @property
    def entry_id(self) -> str:
        """The entry it was posted as; empty until it is."""
        return "" if self.batch_id is None else entry_text(self.batch_id, self.entry_index or 0)


def adjustment_reference(adjustment_id: int) -> str:
    """The reference that a correction is posted under, which can be once only."""
    return f"{REFERENCE_PREFIX}{adjustment_id}"


def find_adjustment(connection: Connection, adjustment_id: int) -> Adjustment | None:
    """The correction of this number."""
    found = connection.execute(_select().where(ADJUSTMENTS.c.adjustment_id == adjustment_id)).one_or_none()
    return None if found is None else Adjustment._make(found)


def list_adjustments(
    connection: Connection, before: int | None, limit: int, *, open_only: bool
) -> list[Adjustment]:
    """Corrections, newest first, those before `before`."""
    statement = _select().order_by(ADJUSTMENTS.c.adjustment_id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(ADJUSTMENTS.c.adjustment_id < before)
    if open_only:
        statement = statement.where(REQUESTS.c.batch_id.is_(None), ADJUSTMENTS.c.withdraw_time.is_(None))
    return [Adjustment._make(row) for row in connection.execute(statement)]


def _select() -> Select[Any]:
    reference = REFERENCE_PREFIX + cast(ADJUSTMENTS.c.adjustment_id, Text)
    posted = and_(
        REQUESTS.c.partner_id == OPERATOR,
        REQUESTS.c.kind == "adjust",
        REQUESTS.c.reference == reference,
        REQUESTS.c.reference != "",
        REQUESTS.c.part == 0,
        REQUESTS.c.accepted,
    )
    proposed = [it for it in ADJUSTMENTS.c if it.name != "request_id"]
    return select(*proposed, REQUESTS.c.batch_id, REQUESTS.c.entry_index).select_from(
        ADJUSTMENTS.outerjoin(REQUESTS, posted)
    )
