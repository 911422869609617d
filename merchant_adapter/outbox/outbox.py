"""The outbox: what a till hands over is stored durably before anything is sent, and sent until it is answered."""

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, TypeVar

from merchant_adapter.errors import InvalidRequest
from merchant_adapter.outbox.asking import Asking
from merchant_adapter.outbox.frames import digest
from merchant_adapter.outbox.history import History
from merchant_adapter.outbox.records import (
    Archived,
    DeadLetter,
    Limits,
    NewCommand,
    OutboxStatus,
    Queued,
)
from merchant_adapter.outbox.store import Store
from merchant_adapter.outbox.tables import Database
from merchant_adapter.outbox.times import now_ms
from merchant_adapter.outbox.upkeep import Upkeep
from merchant_adapter.outbox.writer import Writer
from merchant_adapter.points import points_method
from merchant_adapter.points_commands import PointsCommand

DEFAULT_RETENTION_DAYS = 400
MOST_MESSAGE_BYTES = 64 * 1024
MOST_TEXT_CHARACTERS = 64
PRUNED_AT_ONCE = 20
DAY_MS = 86_400_000

T = TypeVar("T")


class Outbox:
    """A durable queue of commands on points, and the archive of their receipts. Use it with `with`.

    Threads may share one, several processes may open the same one, and one process at a time drains it: see
    `Dispatcher`. Every method raises OutboxError.
    """

    def __init__(self, database: Database, limits: Limits) -> None:
        """Takes over the database."""
        self.store = Store(database, limits)
        self.asking = Asking(database)
        self.history = History(database)
        self._upkeep = Upkeep(database, limits)
        self.writer = Writer(self.store, database.close)

    @classmethod
    def open(
        cls, location: str | os.PathLike[str], *, limits: Limits | None = None, must_exist: bool = False
    ) -> Self:
        """The outbox in a SQLite file, or in a PostgreSQL by its URL; made where there is none yet.

        Raises OutboxError, and FileRefused where others can read the file or it is none.
        """
        limits = limits or Limits()
        text = os.fspath(location)
        if text.startswith(("postgresql://", "postgres://")):
            # psycopg is there only where the extra `adapter-postgres` is installed.
            from merchant_adapter.outbox.postgres import PostgresDatabase

            return cls(PostgresDatabase(text, must_exist=must_exist), limits)
        from merchant_adapter.outbox.sqlite import SqliteDatabase

        return cls(SqliteDatabase(Path(text), limits.most_file_bytes, must_exist=must_exist), limits)

    def accept(self, command: PointsCommand[Any]) -> Queued:
        """Stores a command; it is durable when this returns, and will be sent until the hub has answered it.

        Commands that are accepted at the same time, by threads or tasks, share one sync of the disk. The same command
        again is stored once; another one under its request id raises RequestIdTaken. Raises InvalidRequest for what
        could never be sent, and OutboxError where the sale is not safe here: then refuse it aloud.
        """
        return self.hand_in([command]).result()[0]

    def accept_all(self, commands: Sequence[PointsCommand[Any]]) -> list[Queued]:
        """Stores several commands in this order, all of them or none."""
        return self.hand_in(commands).result()

    async def accept_async(self, command: PointsCommand[Any]) -> Queued:
        """`accept` for asyncio. Where it is cancelled, the command may be stored all the same."""
        return (await asyncio.wrap_future(self.hand_in([command])))[0]

    def hand_in(
        self, commands: Sequence[PointsCommand[Any]], *, asked_seconds: float = 0.0
    ) -> "Future[list[Queued]]":
        """`accept_all` that does not wait: the future is done when the commands are durable.

        For `asked_seconds` the dispatcher leaves new ones to the caller, who asks for them: see `Till`.
        """
        accepted_ms = now_ms()
        asked_ms = accepted_ms + int(asked_seconds * 1000) if asked_seconds else 0
        return self.writer.hand_in([new_command(command, accepted_ms, asked_ms) for command in commands])

    def status(self) -> OutboxStatus:
        """How many commands wait, since when, why, and how fast they are settled."""
        return self._do(lambda: self._upkeep.status(now_ms()))

    def dead_letters(self, most: int = 1_000) -> list[DeadLetter]:
        """What waits for a person, oldest first."""
        return self._do(lambda: self._upkeep.dead_letters(most))

    def resubmit(self, request_id: str = "") -> int:
        """Puts a dead letter back into its old place, with those held back behind it; all of them without an id.

        Gives how many. Raises CommandUnknown where there is no such dead letter, or its refusal is for ever.
        """
        return self._do(lambda: self._upkeep.resubmit(request_id))

    def drop(self, request_id: str, reason: str) -> None:
        """Gives a dead letter up for good; the archive keeps it with the reason. Raises CommandUnknown."""
        self._do(lambda: self._upkeep.drop(request_id, reason, now_ms()))

    def find(self, request_id: str) -> Archived | None:
        """What is known of a command: where it is, how it ended, and the receipt."""
        return self._do(lambda: self._upkeep.find(request_id))

    def prune(self, retention_days: float = DEFAULT_RETENTION_DAYS) -> tuple[int, int]:
        """Forgets what was archived longer ago; gives (commands, receipts) forgotten."""
        before_ms = now_ms() - int(retention_days * DAY_MS)
        commands = receipts = 0
        while True:
            # In rounds, so that sales are accepted in between.
            found = self._do(lambda: self._upkeep.prune(before_ms, PRUNED_AT_ONCE))
            commands, receipts = commands + found[0], receipts + found[1]
            if found[1] < PRUNED_AT_ONCE:
                return commands, receipts

    def close(self) -> None:
        """Stores what was handed in, and closes. May be called again."""
        self.writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, work: Callable[[], T]) -> T:
        return self.writer.do(work).result()


def new_command(command: PointsCommand[Any], accepted_ms: int, asked_ms: int = 0) -> NewCommand:
    """A command as the store takes it. Raises InvalidRequest for what could never be sent."""
    method = points_method(command)
    message = method.write(command).SerializeToString()
    for name in ("request_id", "member_id"):
        text = getattr(command, name)
        if not (0 < len(text) <= MOST_TEXT_CHARACTERS and text.isprintable()):
            raise InvalidRequest.of_field(name, f"must be 1 to {MOST_TEXT_CHARACTERS} printable characters")
    original_request_id: str = getattr(command, "original_request_id", "")
    if not original_request_id.isprintable():  # a column too, and PostgreSQL stores no NUL
        raise InvalidRequest.of_field("original_request_id", "must be printable characters")
    if len(message) > MOST_MESSAGE_BYTES:
        raise InvalidRequest.of_field("request", f"longer than {MOST_MESSAGE_BYTES} bytes")
    return NewCommand(
        command.request_id,
        command.member_id,
        method.name,
        message,
        original_request_id,
        digest(method.name, message),
        accepted_ms,
        asked_ms,
    )
