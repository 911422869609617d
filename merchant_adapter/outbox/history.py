"""What a partner's own record of a day is made of: the commands of an outbox with their answers, and those without."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from merchant_adapter.outbox.records import Archived, State
from merchant_adapter.outbox.rows import receipts_of
from merchant_adapter.outbox.tables import Database
from merchant_adapter.outbox.times import to_time
from merchant_adapter.receipts import Receipt

_COLUMNS = (
    "request_id, member_id, kind, accepted_ms, attempts, state, reason, entry_id, final_ms, batch_index,"
    " receipt_id, decided_ms"
)
_ARCHIVED = f"SELECT {_COLUMNS} FROM archive WHERE "  # noqa: S608  # names of ours

_DECIDED = (
    _ARCHIVED
    + "decided_ms >= :begin AND decided_ms < :end AND (decided_ms, request_id) > (:after_ms, :after_id)"
    " ORDER BY decided_ms, request_id LIMIT :most"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reading goes on: after this command."""

    decided_ms: int
    request_id: str


BEGINNING = Place(-1, "")


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A command without a final answer. `message` is its request message."""

    number: int
    request_id: str
    kind: str
    message: bytes = field(repr=False)
    reason: str


class History:
    """Each method is one reading. Raises OutboxError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def decided(
        self, begin_ms: int, end_ms: int, after: Place, most: int
    ) -> tuple[Sequence[Archived], Place | None]:
        """Commands that the hub accepted in this time of the ledger clock, in its order, with their receipts.

        Gives the place to go on from, None after the last ones. Commands of one batch share its receipt's value.
        """
        rows = self._database.query(
            _DECIDED,
            {
                "begin": begin_ms,
                "end": end_ms,
                "after_ms": after.decided_ms,
                "after_id": after.request_id,
                "most": most,
            },
        )
        receipts = receipts_of(self._database, {row[10] for row in rows})
        last = Place(rows[-1][11], rows[-1][0]) if len(rows) == most else None
        return [_archived(row, receipts) for row in rows], last

    def follower(self, request_id: str, kind: str) -> Archived | None:
        """The accepted command of this kind that follows this one."""
        rows = self._database.query(
            _ARCHIVED + "follows = :request_id AND follows <> '' AND kind = :kind AND state = 'accepted'",
            {"request_id": request_id, "kind": kind},
        )
        return _archived(rows[0], receipts_of(self._database, {rows[0][10]})) if rows else None

    def unanswered(self, after: int, most: int) -> list[Unanswered]:
        """Commands without a final answer, dead letters among them, in the order of their acceptance."""
        rows = self._database.query(
            "SELECT number, request_id, kind, message, reason FROM queue WHERE number > :after"
            " ORDER BY number LIMIT :most",
            {"after": after, "most": most},
        )
        return [Unanswered(*row) for row in rows]

    def fact(self, name: str) -> str | None:
        """Something that was kept beside the commands."""
        rows = self._database.query("SELECT value FROM facts WHERE name = :name", {"name": name})
        return rows[0][0] if rows else None

    def keep_fact(self, name: str, value: str) -> None:
        """Keeps it, in the place of what was kept under this name."""
        with self._database.transaction():
            self._database.change(
                "INSERT INTO facts (name, value) VALUES (:name, :value)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                {"name": name, "value": value},
            )


def _archived(row: Sequence[Any], receipts: Mapping[int, Receipt]) -> Archived:
    (
        request_id,
        member_id,
        kind,
        accepted_ms,
        attempts,
        state,
        reason,
        entry_id,
        final_ms,
        index,
        receipt_id,
        _,
    ) = row
    return Archived(
        request_id=request_id,
        member_id=member_id,
        kind=kind,
        accepted_time=to_time(accepted_ms),
        attempts=attempts,
        state=State(state),
        reason=reason,
        entry_id=entry_id,
        final_time=to_time(final_ms),
        batch_index=index,
        receipt=receipts[receipt_id],
    )
