"""What people do with an outbox: look, put dead letters back or drop them, find receipts, forget old ones."""

from merchant_adapter.outbox.errors import CommandUnknown
from merchant_adapter.outbox.policy import BEHIND_DEAD_LETTER
from merchant_adapter.outbox.records import Archived, DeadLetter, Limits, OutboxStatus, State, Trouble
from merchant_adapter.outbox.rows import receipts_of
from merchant_adapter.outbox.tables import Database, totals_of
from merchant_adapter.outbox.times import to_time

_DROP = """
INSERT INTO archive (request_id, member_id, kind, digest, accepted_ms, attempts, state, reason, entry_id, final_ms,
    is_noted, message)
SELECT request_id, member_id, kind, digest, accepted_ms, attempts, 'dropped', :reason, '', :final_ms, 0, message
FROM queue WHERE request_id = :request_id AND state = 'dead'
"""

# Those that are dead letters only because of the ones put back, at any distance, follow them.
_RESUBMIT = """
UPDATE queue SET state = 'waiting', due_ms = 0, asked_ms = 0, attempts = 0, untrusted_ms = NULL, holds_member = 0
WHERE state = 'dead' AND (:request_id = '' OR request_id IN (
    WITH RECURSIVE back (request_id, member_id, holds_member) AS (
        SELECT request_id, member_id, holds_member FROM queue WHERE state = 'dead' AND request_id = :request_id
        UNION
        SELECT q.request_id, q.member_id, q.holds_member FROM queue q JOIN back b
            ON q.follows = b.request_id OR (b.holds_member = 1 AND q.member_id = b.member_id)
        WHERE q.state = 'dead' AND q.reason = :behind
    )
    SELECT request_id FROM back))
"""

_DEAD = """
SELECT request_id, member_id, kind, reason, detail, attempts, accepted_ms, 0 FROM queue WHERE state = 'dead'
UNION ALL
SELECT request_id, member_id, kind, reason, '', attempts, accepted_ms, 1 FROM archive WHERE is_noted = 1
ORDER BY accepted_ms, request_id LIMIT :most
"""


class Upkeep:
    """Each method is one transaction, durable when it returns. Raises OutboxError."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    def status(self, now_ms: int) -> OutboxStatus:
        """How the outbox is."""
        # Not one transaction: a full disk must not keep anybody from looking.
        count, size = totals_of(self._database)
        ((dead,),) = self._database.query("SELECT count(*) FROM queue WHERE state = 'dead'", {})
        oldest = self._database.query(
            "SELECT accepted_ms FROM queue WHERE state = 'waiting' ORDER BY number LIMIT 1", {}
        )
        ((recent,),) = self._database.query(
            "SELECT count(*) FROM archive WHERE final_ms > :since AND state <> 'dropped'",
            {"since": now_ms - 60_000},
        )
        troubles = self._database.query(
            "SELECT reason, count(*), max(tried_ms) FROM queue WHERE state = 'waiting' AND attempts > 0"
            " GROUP BY reason ORDER BY 2 DESC, 1 LIMIT 10",
            {},
        )
        oldest_ms = oldest[0][0] if oldest else None
        return OutboxStatus(
            waiting=max(count - dead, 0),
            dead=dead,
            stored_bytes=size,
            oldest_time=None if oldest_ms is None else to_time(oldest_ms),
            oldest_seconds=0.0 if oldest_ms is None else max(now_ms - oldest_ms, 0) / 1000,
            final_last_minute=recent,
            troubles=tuple(
                Trouble(reason=reason, commands=many, last_time=to_time(last))
                for reason, many, last in troubles
            ),
            limits=self._limits,
        )

    def dead_letters(self, most: int) -> list[DeadLetter]:
        """The oldest ones."""
        return [
            DeadLetter(
                request_id=request_id,
                member_id=member_id,
                kind=kind,
                reason=reason,
                detail=detail,
                attempts=attempts,
                accepted_time=to_time(accepted_ms),
                is_final=bool(is_final),
            )
            for request_id, member_id, kind, reason, detail, attempts, accepted_ms, is_final in self._database.query(
                _DEAD, {"most": most}
            )
        ]

    def resubmit(self, request_id: str) -> int:
        """Puts a dead letter back in its old place, with those that were behind it; all for an empty id."""
        with self._database.transaction():
            count = self._database.change(_RESUBMIT, {"request_id": request_id, "behind": BEHIND_DEAD_LETTER})
            # Tells the dispatcher, wherever it runs, that there is something behind what it has read.
            self._database.change("UPDATE totals SET resubmits = resubmits + 1", {})
        if request_id and not count:
            found = self.find(request_id)
            if found is not None and found.state is State.REFUSED:
                raise CommandUnknown(
                    f"{request_id}: refused with {found.reason} for ever; it takes a new command, or drop it"
                )
            raise CommandUnknown(f"{request_id}: no dead letter of this outbox")
        return count

    def drop(self, request_id: str, reason: str, now_ms: int) -> None:
        """Gives a dead letter up, and keeps it in the archive with the reason."""
        values = {"request_id": request_id, "reason": reason, "final_ms": now_ms}
        with self._database.transaction():
            noted = self._database.change(
                "UPDATE archive SET is_noted = 0 WHERE request_id = :request_id AND is_noted = 1", values
            )
            if noted:
                return
            if not self._database.change(_DROP, values):
                raise CommandUnknown(f"{request_id}: no dead letter of this outbox")
            self._database.change(
                "UPDATE totals SET commands = commands - 1, bytes = bytes -"
                " (SELECT length(message) FROM queue WHERE request_id = :request_id)",
                values,
            )
            self._database.change("DELETE FROM queue WHERE request_id = :request_id", values)

    def find(self, request_id: str) -> Archived | None:
        """What is known of a command."""
        values = {"request_id": request_id}
        rows = self._database.query(
            "SELECT request_id, member_id, kind, accepted_ms, attempts, state, reason, '', NULL, NULL, NULL, detail"
            " FROM queue WHERE request_id = :request_id"
            " UNION ALL SELECT request_id, member_id, kind, accepted_ms, attempts, state, reason, entry_id,"
            " final_ms, batch_index, receipt_id, '' FROM archive WHERE request_id = :request_id LIMIT 1",
            values,
        )
        if not rows:
            return None
        *own, accepted_ms, attempts, state, reason, entry_id, final_ms, batch_index, receipt_id, detail = (
            rows[0]
        )
        return Archived(
            request_id=own[0],
            member_id=own[1],
            kind=own[2],
            accepted_time=to_time(accepted_ms),
            attempts=attempts,
            state=State(state),
            reason=reason,
            entry_id=entry_id,
            final_time=None if final_ms is None else to_time(final_ms),
            batch_index=batch_index,
            receipt=None if receipt_id is None else receipts_of(self._database, [receipt_id])[receipt_id],
            detail=detail,
        )

    def prune(self, before_ms: int, most_receipts: int) -> tuple[int, int]:
        """Forgets the oldest of the archive: at most so many receipts that are older, and their commands.

        Gives (commands, receipts) forgotten. A refusal that somebody is still to look at stays, with its receipt.
        """
        values = {"before": before_ms, "most": most_receipts}
        with self._database.transaction():
            due = self._database.query(
                "SELECT id, final_ms FROM receipts WHERE final_ms < :before AND NOT EXISTS"
                " (SELECT 1 FROM archive WHERE is_noted = 1 AND receipt_id = receipts.id)"
                " ORDER BY final_ms LIMIT :most",
                values,
            )
            # All of them below the limit, or up to the last receipt of this round.
            until = due[-1][1] if len(due) == most_receipts else before_ms - 1
            commands = self._database.change(
                "DELETE FROM archive WHERE final_ms <= :until AND is_noted = 0", {"until": until}
            )
            self._database.change_each("DELETE FROM receipts WHERE id = :id", [{"id": one} for one, _ in due])
        return commands, len(due)
