"""The commands of `PointsService` in one table: how each is called, written and read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from merchant_adapter import points_answers as answers
from merchant_adapter import points_commands as commands
from merchant_adapter.from_messages import reader_of
from merchant_adapter.methods import POINTS
from merchant_adapter.points_answers import PointsAnswer
from merchant_adapter.points_commands import PointsCommand
from merchant_adapter.receipts import Receipt
from merchant_adapter.to_messages import writer_of
from tongdui.exchange.v1 import commands_pb2

A = TypeVar("A", bound=PointsAnswer)


@dataclass(frozen=True, slots=True)
class PointsMethod(Generic[A]):
    """One command of `PointsService`.

    Attributes:
        name: its field in `Command` and, accepted, in `CommandResult`.
        path: the full gRPC method.
        command: the value that asks.
        answer: the value of its acceptance.
        request: the message that `command` is written into.
        response: the message that is read into `answer`.
        write: gives the request message of a command; raises InvalidRequest.
        read: gives the answer of (request id, response, receipt of this response alone).
    """

    name: str
    path: str
    command: type[PointsCommand[A]]
    answer: type[A]
    request: type[Message]
    response: type[Message]
    write: Callable[[PointsCommand[A]], Message] = field(repr=False)
    read: Callable[[str, Any, Receipt | None], A] = field(repr=False)


def _method(name: str, command: type[PointsCommand[A]], answer: type[A]) -> PointsMethod[A]:
    # The contract's names follow from one another: claw_back_earn, ClawBackEarn, ClawBackEarnRequest.
    rpc = "".join(word.capitalize() for word in name.split("_"))
    request, response = getattr(commands_pb2, f"{rpc}Request"), getattr(commands_pb2, f"{rpc}Response")
    write, read = writer_of(command, request), reader_of(answer, response)
    return PointsMethod(name, POINTS + rpc, command, answer, request, response, write, read)


POINTS_METHODS: tuple[PointsMethod[Any], ...] = (
    _method("earn", commands.EarnCommand, answers.Earned),
    _method("confirm_earn", commands.ConfirmEarnCommand, answers.EarnConfirmed),
    _method("cancel_earn", commands.CancelEarnCommand, answers.EarnCancelled),
    _method("claw_back_earn", commands.ClawBackEarnCommand, answers.EarnClawedBack),
    _method("authorize_burn", commands.AuthorizeBurnCommand, answers.BurnAuthorized),
    _method("extend_hold", commands.ExtendHoldCommand, answers.HoldExtended),
    _method("capture_burn", commands.CaptureBurnCommand, answers.BurnCaptured),
    _method("void_burn", commands.VoidBurnCommand, answers.BurnVoided),
    _method("burn", commands.BurnCommand, answers.Burned),
    _method("refund_burn", commands.RefundBurnCommand, answers.BurnRefunded),
    _method("exchange_in", commands.ExchangeInCommand, answers.ExchangedIn),
    _method("exchange_out", commands.ExchangeOutCommand, answers.ExchangeOutHeld),
    _method("confirm_exchange_out", commands.ConfirmExchangeOutCommand, answers.ExchangeOutConfirmed),
    _method("refuse_exchange_out", commands.RefuseExchangeOutCommand, answers.ExchangeOutRefused),
    _method("transfer", commands.TransferCommand, answers.Transferred),
)
"""Every command of `PostBatch`, in the order of the service."""

METHOD_OF_KIND: Mapping[str, PointsMethod[Any]] = {one.name: one for one in POINTS_METHODS}
"""By the name of its field in `Command`, which is what an outbox calls its kind."""

_BY_COMMAND: Mapping[type[PointsCommand[Any]], PointsMethod[Any]] = {
    one.command: one for one in POINTS_METHODS
}


def points_method(command: PointsCommand[A]) -> PointsMethod[A]:
    """The method that this command asks for."""
    return _BY_COMMAND[type(command)]
