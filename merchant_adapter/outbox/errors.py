"""Why an outbox could not do what it was asked; each text says what to do about it."""

RECOVERY = (
    "Nothing more is accepted into it. Stop every program that uses it, keep a copy of the file with its -wal, and run"
    " `tongdui-adapter outbox recover`: it brings what can be read into a new file. What is sent from there and had"
    " been answered before gets the same answer again"
)


class OutboxError(Exception):
    """An outbox did not do what it was asked. A sale that meets one was not accepted: tell the till."""


class OutboxFull(OutboxError):
    """A limit, or the disk, is reached. The sale was not stored; those accepted before are safe."""


class OutboxUnavailable(OutboxError):
    """The store did not answer, or not in time. Whether the sale was stored is unknown.

    Offer the same command, with the same request id, again: it is stored once.
    """


class OutboxDamaged(OutboxError):
    """What the store holds is not what was written, so nothing more is accepted into it."""


class OutboxInUse(OutboxError):
    """Another process drains this outbox, or it belongs to another partner or hub."""


class RequestIdTaken(OutboxError):
    """The outbox holds another command of this request id. Nothing was stored: an id is of one command for ever."""


class CommandUnknown(OutboxError):
    """No command of this request id is where it was looked for, or it is in no state that allows this."""
