"""The values an outbox takes and gives. Times are aware and in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from merchant_adapter.outbox.policy import Verdict
from merchant_adapter.receipts import Receipt


class State(StrEnum):
    """Where a command is on its way."""

    WAITING = "waiting"
    DEAD = "dead"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much an outbox takes before it refuses sales aloud.

    Attributes:
        most_commands: commands without a final answer, dead letters included.
        most_bytes: the sum of their messages.
        most_file_bytes: the size of a SQLite file, archive included; None for as much as the disk holds.
    """

    most_commands: int = 1_000_000
    most_bytes: int = 1 << 30
    most_file_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class NewCommand:
    """A command on its way into the store.

    Attributes:
        request_id, member_id: whose decision it is, and whose order it keeps.
        kind: its field in `Command`.
        message: the exact bytes of its request message.
        follows: the request id of the command it follows; empty where it follows none.
        digest: SHA-256 over kind and message: tells a repeated command from a reused id.
        accepted_ms: when, in Unix milliseconds.
        asked_ms: until when a till asks for itself, in Unix milliseconds; 0 where none does.
    """

    request_id: str
    member_id: str
    kind: str
    message: bytes = field(repr=False)
    follows: str
    digest: bytes = field(repr=False)
    accepted_ms: int
    asked_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A command that the outbox has stored durably: the sale is safe.

    Attributes:
        request_id: names it, here and at the hub.
        accepted_time: when it was stored first.
        state: WAITING, or what has become of it where it was stored before.
        is_repeat: whether it was stored before.
    """

    request_id: str
    accepted_time: datetime
    state: State = State.WAITING
    is_repeat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A command that waits for a person: to resubmit it once the cause is mended, or to drop it.

    A recorded refusal that is to be looked at (`RetryPolicy.noted_refusals`) is final and can only be dropped.
    """

    request_id: str
    member_id: str
    kind: str
    reason: str
    detail: str
    attempts: int
    accepted_time: datetime
    is_final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why commands that were tried are still waiting: how many, and when the last of them was tried."""

    reason: str
    commands: int
    last_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStatus:
    """How an outbox is.

    Attributes:
        waiting: commands without a final answer, dead letters left out.
        dead: dead letters.
        stored_bytes: the messages of both.
        oldest_time: when the oldest waiting command was accepted, None where none waits.
        oldest_seconds: its age.
        final_last_minute: commands that got their final answer within the last 60 seconds.
        troubles: the last errors of those that wait, the most frequent first.
        limits: what it takes.
    """

    waiting: int
    dead: int
    stored_bytes: int
    oldest_time: datetime | None
    oldest_seconds: float
    final_last_minute: int
    troubles: tuple[Trouble, ...]
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """What is known of one command, in the queue or in the archive.

    Attributes:
        request_id, member_id, kind, accepted_time, attempts: the command's.
        state: where it is.
        reason: why it was refused or dropped, or was not settled yet; empty for an acceptance.
        entry_id: the entry of an accepted one.
        final_time: when its final answer was archived, None while it has none.
        batch_index: its place in the batch of the receipt, None where it was asked by itself.
        receipt: the hub's signed answer to the batch it was in, None while it has none.
        detail: what was said about the last try, for people, as long as it has no final answer.
    """

    request_id: str
    member_id: str
    kind: str
    accepted_time: datetime
    attempts: int
    state: State
    reason: str = ""
    entry_id: str = ""
    final_time: datetime | None = None
    batch_index: int | None = None
    receipt: Receipt | None = field(default=None, repr=False, compare=False)
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the commands of one batch, and how many wait now."""

    fates: Mapping[str, int]
    waiting: int


@dataclass(frozen=True, slots=True)
class Settled:
    """What one try came to, for one command.

    Attributes:
        number: the stored command.
        size: the bytes of its message.
        attempts: tries so far, this one included.
        verdict: what is to be done.
        detail: what the hub said, for people.
        entry_id: the entry of an accepted one.
        batch_index: its place in the batch that was answered, None where it was asked by itself.
        due_ms: for one to be asked again, when, in Unix milliseconds.
        decided_ms: when the hub decided an accepted one, on the ledger clock, in Unix milliseconds.
    """

    number: int
    size: int
    attempts: int
    verdict: Verdict
    detail: str = ""
    entry_id: str = ""
    batch_index: int | None = None
    due_ms: int = 0
    decided_ms: int | None = None
