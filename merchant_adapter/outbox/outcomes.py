"""What stands in a receipt about one command: the command as it was asked, and how it was answered."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from merchant_adapter import methods
from merchant_adapter.errors import Refusal
from merchant_adapter.from_messages import to_date, to_datetime
from merchant_adapter.json_object import Unreadable
from merchant_adapter.outbox.records import Archived, State
from merchant_adapter.points import METHOD_OF_KIND
from merchant_adapter.points_answers import PointsAnswer
from merchant_adapter.points_commands import PointsCommand
from merchant_adapter.receipts import Receipt
from merchant_adapter.statuses import read_status, read_status_bytes
from tongdui.exchange.v1.commands_pb2 import Command, CommandResult
from tongdui.exchange.v1.points_service_pb2 import PostBatchRequest, PostBatchResponse


def outcome_of(found: Archived) -> PointsAnswer | Refusal:
    """How an archived command that has a receipt was answered.

    An answer has its receipt where this is of it alone. Raises Unreadable where the receipt is not of this command.
    """
    assert found.receipt is not None, "what is accepted or refused is archived with its receipt"
    try:
        answer = _answer(found, found.receipt)
    except (DecodeError, IndexError, ValueError) as error:
        raise Unreadable(f"the receipt of {found.request_id} does not answer it: {error}") from error
    return answer.with_request_id(found.request_id) if isinstance(answer, Refusal) else answer


def command_of(kind: str, message: bytes) -> PointsCommand[Any]:
    """The command in a stored message. Raises Unreadable."""
    method = METHOD_OF_KIND[kind]
    try:
        read = method.request.FromString(message)
        return method.command(
            **{one.name: _value(read, one.name, one.default) for one in fields(method.command)}
        )
    except (DecodeError, ValueError, OverflowError) as error:
        raise Unreadable(f"a stored {kind} makes no sense: {error}") from error


def asked_message(found: Archived) -> bytes:
    """The request message of an archived command, out of its receipt. Raises Unreadable."""
    receipt = found.receipt
    assert receipt is not None, "what is accepted or refused is archived with its receipt"
    if receipt.path != methods.POST_BATCH:
        return receipt.request
    try:
        one: Message = getattr(_commands(receipt)[found.batch_index or 0], found.kind)
    except (DecodeError, IndexError) as error:
        raise Unreadable(f"the receipt of {found.request_id} is not of it: {error}") from error
    return one.SerializeToString()


def _answer(found: Archived, receipt: Receipt) -> PointsAnswer | Refusal:
    method = METHOD_OF_KIND[found.kind]
    if found.state is State.REFUSED and (refusal := read_status_bytes(receipt.answer)) is not None:
        return refusal
    if receipt.path != methods.POST_BATCH:
        return method.read(found.request_id, method.response.FromString(receipt.answer), receipt)  # type: ignore[no-any-return]  # of this method
    result = _results(receipt)[found.batch_index or 0]
    match result.WhichOneof("result"):
        case "error":
            return read_status(result.error)
        case found.kind:
            return method.read(found.request_id, getattr(result, found.kind), None)  # type: ignore[no-any-return]  # of this method
        case other:
            raise ValueError(f"it has {other or 'nothing'}")


# A receipt is of up to a thousand commands, and whoever reads one of them mostly reads the others next.


@lru_cache(maxsize=4)
def _commands(receipt: Receipt) -> Sequence[Command]:
    return PostBatchRequest.FromString(receipt.request).commands


@lru_cache(maxsize=4)
def _results(receipt: Receipt) -> Sequence[CommandResult]:
    return PostBatchResponse.FromString(receipt.answer).results


def _value(message: Message, name: str, default: Any) -> Any:
    """A field as `writer_of` took it."""
    described: Mapping[str, Any] = message.DESCRIPTOR.fields_by_name
    value = getattr(message, name)
    if isinstance(value, Timestamp):
        return to_datetime(value)
    if isinstance(value, Date):
        return to_date(value) if message.HasField(name) else None
    if described[name].has_presence:
        return value if message.HasField(name) else None
    # 0 of a field whose default is None was never written: see `writer_of`.
    return None if default is None and not value else value
