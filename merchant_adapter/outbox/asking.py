"""What a till does with the tables of an outbox while somebody waits at it. Each method is one transaction."""

from dataclasses import dataclass
from datetime import datetime

from merchant_adapter.outbox.lanes import Waiting
from merchant_adapter.outbox.rows import WAITING, waiting_of
from merchant_adapter.outbox.tables import Database, totals_of
from merchant_adapter.outbox.times import to_time

_FACTS = """
SELECT accepted_ms, asked_ms, reason, detail, follows <> ''
    AND EXISTS (SELECT 1 FROM queue o WHERE o.request_id = queue.follows)
FROM queue WHERE request_id = :request_id AND state = 'waiting'
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A command that waits for its answer, and that a till may ask for now.

    Attributes:
        command: with the exact bytes that were stored.
        since: when it was stored first.
        reason, detail: what came of the last try, empty where there was none.
        follows_one: whether the command that it follows has no answer yet: the hub would not know its original.
    """

    command: Waiting
    since: datetime
    reason: str
    detail: str
    follows_one: bool


class Asking:
    """Raises OutboxError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, request_id: str, until_ms: int) -> Asked | None:
        """Leaves a waiting command to its till until then; None where it is not waiting any more."""
        values = {"request_id": request_id, "until": until_ms}
        with self._database.transaction():
            facts = self._database.query(_FACTS, values)
            if not facts:
                return None
            ((since_ms, asked_ms, reason, detail, follows_one),) = facts
            if asked_ms < until_ms:
                self._database.change(
                    "UPDATE queue SET asked_ms = :until WHERE request_id = :request_id", values
                )
            (row,) = self._database.query(WAITING + "request_id = :request_id", values)
        return Asked(waiting_of(row), to_time(since_ms), reason, detail, bool(follows_one))

    def give_up(self, number: int) -> None:
        """Leaves a command to the dispatcher from now on."""
        with self._database.transaction():
            self._database.change("UPDATE queue SET asked_ms = 0 WHERE number = :number", {"number": number})

    def forget(self, number: int, size: int) -> None:
        """Keeps nothing of a command that the hub can never decide: its till has been told so.

        Nothing was decided under its request id, so a mended one may use it.
        """
        with self._database.transaction():
            if self._database.change("DELETE FROM queue WHERE number = :number", {"number": number}):
                count, stored = totals_of(self._database)
                self._database.change(
                    "UPDATE totals SET commands = :commands, bytes = :bytes",
                    {"commands": count - 1, "bytes": stored - size},
                )
