"""What the dispatcher and the tills do with the tables of an outbox. One thread at a time."""

import json
from collections import Counter
from collections.abc import Sequence

from merchant_adapter.outbox.admission import Known, admit
from merchant_adapter.outbox.errors import OutboxError, OutboxInUse, OutboxUnavailable
from merchant_adapter.outbox.lanes import Waiting
from merchant_adapter.outbox.policy import Fate
from merchant_adapter.outbox.records import Limits, NewCommand, Queued, Settled, State, Tally
from merchant_adapter.outbox.rows import WAITING, ms_of, queued_of, row_of, waiting_of
from merchant_adapter.outbox.tables import Database, totals_of
from merchant_adapter.receipts import Receipt

_READ = WAITING + "number > :after ORDER BY number LIMIT :most"

_HEADS = (
    WAITING  # noqa: S608  # both are constants
    + """number IN (SELECT min(number) FROM queue WHERE state = 'waiting'
    AND member_id IN (SELECT value FROM json_each(:ids)) GROUP BY member_id)"""
)

_AMONG = "number IN (SELECT CAST(value AS BIGINT) FROM json_each(:ids))"
_THOSE = WAITING + _AMONG
_QUEUED = "SELECT number FROM queue WHERE " + _AMONG  # noqa: S608  # both are constants

_ADD = """
INSERT INTO queue (request_id, member_id, kind, message, follows, digest, accepted_ms,
    state, attempts, due_ms, tried_ms, holds_member, reason, detail, asked_ms)
VALUES (:request_id, :member_id, :kind, :message, :follows, :digest, :accepted_ms, 'waiting', 0, 0, 0, 0, '', '',
    :asked_ms)
"""

# A command is in the archive already where another process had settled it too: the later receipt replaces the first.
_ARCHIVE = """
INSERT INTO archive (request_id, member_id, kind, digest, accepted_ms, attempts, state, reason, entry_id, final_ms,
    receipt_id, batch_index, is_noted, message, decided_ms, follows)
SELECT request_id, member_id, kind, digest, accepted_ms, :attempts, :state, :reason, :entry_id, :final_ms,
    :receipt_id, :batch_index, :is_noted, NULL, :decided_ms, follows FROM queue WHERE number = :number
ON CONFLICT (request_id) DO UPDATE SET attempts = excluded.attempts, state = excluded.state,
    reason = excluded.reason, entry_id = excluded.entry_id, final_ms = excluded.final_ms,
    receipt_id = excluded.receipt_id, batch_index = excluded.batch_index, decided_ms = excluded.decided_ms
"""


class Store:
    """An outbox's state: each method is one transaction, durable when it returns. Raises OutboxError."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self.limits = limits

    def add(self, groups: Sequence[Sequence[NewCommand]]) -> list[list[Queued] | OutboxError]:
        """Stores the commands of each group, all of them or none; what is refused does not touch other groups."""
        with self._database.transaction():
            return self.add_within(groups)

    @property
    def database(self) -> Database:
        """For what is kept beside the queue: only to be used by the outbox's own thread."""
        return self._database

    def add_within(self, groups: Sequence[Sequence[NewCommand]]) -> list[list[Queued] | OutboxError]:
        """`add` for one that is in a transaction already."""
        count, size = totals_of(self._database)
        known = self._known([one.request_id for group in groups for one in group])
        results: list[list[Queued] | OutboxError] = []
        added: list[NewCommand] = []
        for group in groups:
            try:
                new = admit(group, known, count, size, self.limits)
            except OutboxError as error:
                results.append(error)
                continue
            results.append([queued_of(one, known) for one in group])
            known |= {one.request_id: Known(one.digest, State.WAITING, one.accepted_ms) for one in new}
            count, size = count + len(new), size + sum(len(one.message) for one in new)
            added += new
        if added:
            self._database.change_each(_ADD, [row_of(one) for one in added])
            self._set_totals(count, size)
        return results

    def read(self, after: int, most: int) -> list[Waiting]:
        """The waiting commands after a number, in order."""
        return [waiting_of(row) for row in self._database.query(_READ, {"after": after, "most": most})]

    def check_draining(self) -> None:
        """Raises OutboxUnavailable where the lock was lost with the connection: somebody else may drain now."""
        if not self._database.is_draining:
            raise OutboxUnavailable(
                "the connection to the outbox was lost, and with it the lock of its drainer"
            )

    def resubmits(self) -> int:
        """How often dead letters were put back, which may be before what was read."""
        ((count,),) = self._database.query("SELECT resubmits FROM totals", {})
        return int(count)

    def settle(
        self, receipt: Receipt | None, settled: Sequence[Settled], member_ids: Sequence[str], now_ms: int
    ) -> tuple[list[Waiting], Tally]:
        """Keeps what became of commands, and gives the next one of each of these members.

        What is final goes to the archive with the batch's `receipt`, which has been verified. What a till and the
        dispatcher both asked for is kept by whoever comes first: the hub told them the same.
        """
        with self._database.transaction():
            queued = self._queued([one.number for one in settled])
            settled = [one for one in settled if one.number in queued]
            final = [one for one in settled if one.verdict.fate in (Fate.ACCEPTED, Fate.REFUSED)]
            other = [one for one in settled if one.verdict.fate in (Fate.AGAIN, Fate.DEAD)]
            if final:
                count, size = totals_of(self._database)
                self._archive(receipt, final, now_ms)
                self._set_totals(count - len(final), size - sum(one.size for one in final))
            self._keep(other, now_ms)
            heads, waiting = self.heads(member_ids), self.waiting()
        return heads, Tally(Counter(one.verdict.fate.value for one in settled), waiting)

    def heads(self, member_ids: Sequence[str]) -> list[Waiting]:
        """The next command of each of these members."""
        return self._named(_HEADS, member_ids)

    def those(self, numbers: Sequence[int]) -> list[Waiting]:
        """Those of these commands that are waiting still."""
        return self._named(_THOSE, numbers)

    def waiting(self) -> int:
        """The commands without a final answer, dead letters left out."""
        ((dead,),) = self._database.query("SELECT count(*) FROM queue WHERE state = 'dead'", {})
        return int(totals_of(self._database)[0] - dead)

    def begin_draining(self, owner: str, audience: str) -> None:
        """Takes the lock, and checks that this outbox is this partner's at this hub.

        The first to drain it decides which. Raises OutboxInUse.
        """
        if not self._database.lock_draining():
            raise OutboxInUse("another process drains this outbox; one does at a time")
        try:
            with self._database.transaction():
                self._be_of("partner", owner)
                self._be_of("hub", audience)
                # What a crash left behind is counted anew, where nothing else can be in between.
                count, size = self._counted()
                self._set_totals(count, size)
        except OutboxError:
            self._database.unlock_draining()
            raise

    def end_draining(self) -> None:
        """Gives the lock back."""
        self._database.unlock_draining()

    def close(self) -> None:
        """Ends the connection."""
        self._database.close()

    # --- within a transaction

    def _known(self, request_ids: Sequence[str]) -> dict[str, Known]:
        """Digest, state and time of acceptance of those stored before."""
        values = {"ids": json.dumps(request_ids)}
        found: dict[str, Known] = {}
        for table in ("queue", "archive"):
            rows = self._database.query(
                f"SELECT request_id, digest, state, accepted_ms FROM {table}"  # noqa: S608  # one of two names
                " WHERE request_id IN (SELECT value FROM json_each(:ids))",
                values,
            )
            found |= {name: Known(digest, State(state), ms) for name, digest, state, ms in rows}
        return found

    def _archive(self, receipt: Receipt | None, final: Sequence[Settled], now_ms: int) -> None:
        assert receipt is not None, "an answer is final only with its receipt"
        ((receipt_id,),) = self._database.query(
            "INSERT INTO receipts (path, request, request_entries, answer, answer_entries, final_ms) VALUES"
            " (:path, :request, :request_entries, :answer, :answer_entries, :final_ms) RETURNING id",
            {
                "path": receipt.path,
                "request": receipt.request,
                "request_entries": json.dumps(receipt.request_entries),
                "answer": receipt.answer,
                "answer_entries": json.dumps(receipt.answer_entries),
                "final_ms": now_ms,
            },
        )
        rows = [
            {
                "number": one.number,
                "attempts": one.attempts,
                "state": one.verdict.fate.value,
                "reason": one.verdict.reason,
                "entry_id": one.entry_id,
                "final_ms": now_ms,
                "receipt_id": receipt_id,
                "batch_index": one.batch_index,
                "is_noted": int(one.verdict.is_noted),
                "decided_ms": one.decided_ms,
            }
            for one in final
        ]
        self._database.change_each(_ARCHIVE, rows)
        self._database.change_each(
            "DELETE FROM queue WHERE number = :number", [{"number": one.number} for one in final]
        )

    def _keep(self, other: Sequence[Settled], now_ms: int) -> None:
        if not other:
            return
        rows = [
            {
                "number": one.number,
                "state": "dead" if one.verdict.fate is Fate.DEAD else "waiting",
                "attempts": one.attempts,
                "due_ms": one.due_ms,
                "tried_ms": now_ms,
                "untrusted_ms": ms_of(one.verdict.untrusted_since),
                "holds_member": int(one.verdict.holds_member),
                "reason": one.verdict.reason,
                "detail": one.detail,
            }
            for one in other
        ]
        self._database.change_each(
            "UPDATE queue SET state = :state, attempts = :attempts, due_ms = :due_ms, tried_ms = :tried_ms,"
            " untrusted_ms = :untrusted_ms, holds_member = :holds_member, reason = :reason, detail = :detail,"
            " asked_ms = 0 WHERE number = :number AND state = 'waiting'",
            rows,
        )

    def _named(self, statement: str, names: Sequence[str] | Sequence[int]) -> list[Waiting]:
        if not names:
            return []
        rows = self._database.query(statement, {"ids": json.dumps([str(name) for name in names])})
        return [waiting_of(row) for row in rows]

    def _queued(self, numbers: Sequence[int]) -> set[int]:
        """Which of these are in the queue still."""
        rows = self._database.query(_QUEUED, {"ids": json.dumps([str(number) for number in numbers])})
        return {number for (number,) in rows}

    def _set_totals(self, commands: int, size: int) -> None:
        self._database.change(
            "UPDATE totals SET commands = :commands, bytes = :bytes", {"commands": commands, "bytes": size}
        )

    def _counted(self) -> tuple[int, int]:
        ((count, size),) = self._database.query(
            "SELECT count(*), coalesce(sum(length(message)), 0) FROM queue", {}
        )
        return int(count), int(size)

    def _be_of(self, name: str, value: str) -> None:
        found = self._fact(name)
        if found is None:
            self._database.change(
                "INSERT INTO facts (name, value) VALUES (:name, :value)", {"name": name, "value": value}
            )
        elif found != value:
            raise OutboxInUse(
                f"this outbox is of {name} {found}, not of {value}: its commands must not be sent there"
            )

    def _fact(self, name: str) -> str | None:
        rows = self._database.query("SELECT value FROM facts WHERE name = :name", {"name": name})
        return rows[0][0] if rows else None
