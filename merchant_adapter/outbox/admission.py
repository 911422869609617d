"""Whether an outbox takes commands: limits, and request ids that it knows. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from merchant_adapter.outbox.errors import OutboxFull, RequestIdTaken
from merchant_adapter.outbox.records import Limits, NewCommand, State

_SEE = "the sale was not stored. `tongdui-adapter outbox status` says why they are not sent"


@dataclass(frozen=True, slots=True)
class Known:
    """A command that was stored before: the digest of kind and message, where it is, when it was accepted."""

    digest: bytes
    state: State
    accepted_ms: int


def admit(
    group: Sequence[NewCommand], known: Mapping[str, Known], count: int, size: int, limits: Limits
) -> list[NewCommand]:
    """Those of a group that are new; the others are known, with the same bytes.

    `count` commands of `size` bytes are stored. Raises RequestIdTaken, and OutboxFull where all together are too many.
    """
    new: dict[str, NewCommand] = {}
    for one in group:
        before = known.get(one.request_id) or new.setdefault(one.request_id, one)
        if before.digest != one.digest:
            raise RequestIdTaken(
                f"{one.request_id}: the outbox holds another command of this request id, and nothing was stored; a new"
                " decision takes a new id"
            )
    if new and count + len(new) > limits.most_commands:
        raise OutboxFull(f"the outbox is full: {count} commands wait of {limits.most_commands}; {_SEE}")
    if new and size + sum(len(one.message) for one in new.values()) > limits.most_bytes:
        raise OutboxFull(f"the outbox is full: {size} bytes wait of {limits.most_bytes}; {_SEE}")
    return list(new.values())
