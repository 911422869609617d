"""What the services of the registrar share: calls become writes, refusals become errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message

from exchange.core.ids import OPERATOR
from exchange.registrar import Actor, Answered, Asked, RegistrarRefusal, Write
from exchange.rpc.calls import REPLAYED, Incoming
from exchange.rpc.errors import CallError, InvalidField, error, invalid_field_status
from exchange.rpc.lanes import Lane
from exchange.rpc.signatures import Caller
from exchange.rpc.translate import check_request_id, check_text
from tongdui.signing import fingerprint

_T = TypeVar("_T")


def to_asked(kind: str, request_id: str, request: Message) -> Asked:
    """What a repeat is recognised by. Raises `InvalidField`."""
    return Asked(
        check_request_id(request_id), fingerprint(kind, request.SerializeToString(deterministic=True))
    )


def to_write(kind: str, request_id: str, request: Message, incoming: Incoming) -> Write:
    """A call as a write. Raises `InvalidField`."""
    return Write(kind, to_asked(kind, request_id, request), incoming.evidence())


def to_actor(caller: Caller) -> Actor:
    """Who asks."""
    return Actor(caller.partner_id, caller.owner, caller.person())


def is_staff(caller: Caller) -> bool:
    """Whether it is one of the operator's people, in whatever role."""
    return caller.partner_id == OPERATOR


def own_partner(field: str, named: str, caller: Caller) -> str:
    """The partner a call is about: the operator's people name one, a partner names itself or nobody.

    Raises `InvalidField`, or ROLE_REQUIRED for a partner that names another.
    """
    if is_staff(caller):
        return check_text(field, named)
    if named not in ("", caller.owner):
        raise error("ROLE_REQUIRED")
    return caller.owner


def refusal_error(refusal: RegistrarRefusal) -> CallError:
    """The error of a refusal."""
    if refusal.reason == "INVALID_FIELD":
        known = refusal.metadata["registered_as"]
        described = f"is registered as {known}; one person has one spelling"
        return CallError(
            invalid_field_status(InvalidField(refusal.metadata["field"], described)), refusal.reason
        )
    return error(refusal.reason, **refusal.metadata)


async def answered(lane: Lane, incoming: Incoming, work: Callable[[], Answered]) -> bytes:
    """The answer's bytes to a write; one that was given before is hinted at. Raises `CallError`."""
    made = await in_thread(lane, work)
    return noted(incoming, made)


def noted(incoming: Incoming, made: Answered) -> bytes:
    """The answer's bytes, after hinting at a repeat."""
    if made.replayed:
        incoming.hints.append(REPLAYED)
    return made.answer


async def in_thread(lane: Lane, work: Callable[[], _T]) -> _T:
    """What `work` gives, run in the lane. Raises `CallError` where the registrar refuses, or HUB_BUSY."""
    try:
        return await lane.run(work)
    except RegistrarRefusal as refusal:
        raise refusal_error(refusal) from refusal
