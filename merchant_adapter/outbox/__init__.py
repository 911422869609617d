"""The outbox of a merchant adapter: no sale that was accepted is lost, and none is counted twice.

    with Outbox.open("outbox.db") as outbox:
        outbox.accept(EarnCommand(member_id=..., points=100, ...))     # durable when it returns
        async with Hub.connect(...) as hub:
            await Dispatcher(outbox, hub).run()                        # here, or in another process

The names below are the published ones; everything else may change.
"""

from merchant_adapter.outbox.dispatcher import Dispatcher, Progress
from merchant_adapter.outbox.errors import (
    CommandUnknown,
    OutboxDamaged,
    OutboxError,
    OutboxFull,
    OutboxInUse,
    OutboxUnavailable,
    RequestIdTaken,
)
from merchant_adapter.outbox.outbox import Outbox
from merchant_adapter.outbox.policy import RetryPolicy
from merchant_adapter.outbox.records import Archived, DeadLetter, Limits, OutboxStatus, Queued, State, Trouble

__all__ = [
    "Archived",
    "CommandUnknown",
    "DeadLetter",
    "Dispatcher",
    "Limits",
    "Outbox",
    "OutboxDamaged",
    "OutboxError",
    "OutboxFull",
    "OutboxInUse",
    "OutboxStatus",
    "OutboxUnavailable",
    "Progress",
    "Queued",
    "RequestIdTaken",
    "RetryPolicy",
    "State",
    "Trouble",
]
