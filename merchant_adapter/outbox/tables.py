"""The tables of an outbox, and what differs between the two databases that can hold them.

`queue` holds what has no final answer, the message bytes included. `archive` holds the rest, without them: they are
in `receipts`, which has the hub's signed answers, each stored once for the whole batch. `totals` has one row, and
`facts` what is known of partner and hub.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from merchant_adapter.outbox.errors import OutboxDamaged

FORMAT = "1"

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "INSERT INTO facts (name, value) VALUES ('format', '1') ON CONFLICT (name) DO NOTHING",
    """CREATE TABLE IF NOT EXISTS totals (
        id {integer} PRIMARY KEY, commands {integer} NOT NULL, bytes {integer} NOT NULL,
        resubmits {integer} NOT NULL)""",
    "INSERT INTO totals (id, commands, bytes, resubmits) VALUES (1, 0, 0, 0) ON CONFLICT (id) DO NOTHING",
    """CREATE TABLE IF NOT EXISTS queue (
        number {counted}, request_id TEXT NOT NULL UNIQUE, member_id TEXT NOT NULL, kind TEXT NOT NULL,
        message {octets} NOT NULL, follows TEXT NOT NULL, digest {octets} NOT NULL, accepted_ms {integer} NOT NULL,
        state TEXT NOT NULL, attempts {integer} NOT NULL, due_ms {integer} NOT NULL, tried_ms {integer} NOT NULL,
        untrusted_ms {integer}, holds_member {integer} NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL,
        asked_ms {integer} NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS queue_members ON queue (member_id, number) WHERE state = 'waiting'",
    "CREATE INDEX IF NOT EXISTS queue_tried ON queue (reason, tried_ms) WHERE state = 'waiting' AND attempts > 0",
    "CREATE INDEX IF NOT EXISTS queue_dead ON queue (member_id, number) WHERE state = 'dead'",
    """CREATE TABLE IF NOT EXISTS receipts (
        id {counted}, path TEXT NOT NULL, request {octets} NOT NULL, request_entries TEXT NOT NULL,
        answer {octets} NOT NULL, answer_entries TEXT NOT NULL, final_ms {integer} NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS receipts_final ON receipts (final_ms)",
    """CREATE TABLE IF NOT EXISTS archive (
        request_id TEXT PRIMARY KEY, member_id TEXT NOT NULL, kind TEXT NOT NULL, digest {octets} NOT NULL,
        accepted_ms {integer} NOT NULL, attempts {integer} NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
        entry_id TEXT NOT NULL, final_ms {integer} NOT NULL, receipt_id {integer}, batch_index {integer},
        is_noted {integer} NOT NULL, message {octets}, decided_ms {integer},
        follows TEXT NOT NULL DEFAULT '')""",
    "CREATE INDEX IF NOT EXISTS archive_final ON archive (final_ms)",
    "CREATE INDEX IF NOT EXISTS archive_decided ON archive (decided_ms, request_id)"
    " WHERE decided_ms IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS archive_follows ON archive (follows) WHERE follows <> ''",
    "CREATE INDEX IF NOT EXISTS archive_noted ON archive (final_ms) WHERE is_noted = 1",
)


class Database(ABC):
    """One connection to the tables: what differs between the two kinds.

    Statements have named parameters, `:name`. Errors of the database are raised as OutboxError.
    """

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """All statements inside are durable when it ends, or none is. No other transaction runs beside it."""

    @abstractmethod
    def query(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows that a statement gives."""

    @abstractmethod
    def change(self, statement: str, values: Mapping[str, Any]) -> int:
        """How many rows a statement changed."""

    @abstractmethod
    def change_each(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs a statement once for each row of values."""

    @abstractmethod
    def lock_draining(self) -> bool:
        """Takes the lock of the one process that drains; False where another has it. It ends with this process."""

    @property
    @abstractmethod
    def is_draining(self) -> bool:
        """Whether this one has the lock still."""

    @abstractmethod
    def unlock_draining(self) -> None:
        """Gives the lock back."""

    @abstractmethod
    def close(self) -> None:
        """Ends the connection, and with it the lock."""


def check_format(database: Database) -> None:
    """Raises OutboxDamaged where these tables are not of this version."""
    rows = database.query("SELECT value FROM facts WHERE name = 'format'", {})
    found = rows[0][0] if rows else "none"
    if found != FORMAT:
        raise OutboxDamaged(f"the outbox has format {found}, and this version reads {FORMAT}")


def totals_of(database: Database) -> tuple[int, int]:
    """The commands without a final answer and the bytes of their messages."""
    ((commands, size),) = database.query("SELECT commands, bytes FROM totals", {})
    return int(commands), int(size)
