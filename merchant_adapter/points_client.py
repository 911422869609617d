"""The asynchronous methods of `PointsService`: one a command, values in and values out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar, overload

from merchant_adapter import methods
from merchant_adapter.channel import AnswerBytes, parse_answer, prepare_call, readable
from merchant_adapter.errors import Refusal
from merchant_adapter.from_messages import from_quote
from merchant_adapter.points import points_method
from merchant_adapter.points_answers import (
    BurnAuthorized,
    BurnCaptured,
    Burned,
    BurnRefunded,
    BurnVoided,
    EarnCancelled,
    EarnClawedBack,
    EarnConfirmed,
    Earned,
    ExchangedIn,
    ExchangeOutConfirmed,
    ExchangeOutHeld,
    ExchangeOutRefused,
    HoldExtended,
    PointsAnswer,
    Transferred,
)
from merchant_adapter.points_commands import (
    AuthorizeBurnCommand,
    BurnCommand,
    CancelEarnCommand,
    CaptureBurnCommand,
    ClawBackEarnCommand,
    ConfirmEarnCommand,
    ConfirmExchangeOutCommand,
    EarnCommand,
    ExchangeInCommand,
    ExchangeOutCommand,
    ExtendHoldCommand,
    PointsCommand,
    RefundBurnCommand,
    RefuseExchangeOutCommand,
    TransferCommand,
    VoidBurnCommand,
)
from merchant_adapter.prepare import prepare, prepare_batch
from merchant_adapter.prepared import Prepared
from merchant_adapter.quotes import Quote, QuoteRequest
from merchant_adapter.results import Results, read_batch, read_one
from merchant_adapter.to_messages import to_quote_request
from tongdui.exchange.v1.points_service_pb2 import QuoteResponse

A = TypeVar("A", bound=PointsAnswer)


class PointsCalls(ABC):
    """What `Hub` says to `PointsService`."""

    @abstractmethod
    async def send(self, prepared: Prepared, *, deadline_seconds: float | None = None) -> AnswerBytes:
        """Sends the same bytes as on every other try, signed afresh. `read_results` reads the answer."""

    async def quote(self, request: QuoteRequest, *, deadline_seconds: float | None = None) -> Quote:
        """Asks for a price before anything happens; nothing is posted or held."""
        prepared = prepare_call(methods.QUOTE, to_quote_request(request))
        answer = await self.send(prepared, deadline_seconds=deadline_seconds)
        message = parse_answer(prepared, answer, QuoteResponse)
        with readable(prepared, answer):
            return from_quote(message)

    async def earn(self, command: EarnCommand, *, deadline_seconds: float | None = None) -> Earned:
        """Gives a member points, at once or pending."""
        return await self._post(command, deadline_seconds)

    async def confirm_earn(
        self, command: ConfirmEarnCommand, *, deadline_seconds: float | None = None
    ) -> EarnConfirmed:
        """Owes the points of a pending earn."""
        return await self._post(command, deadline_seconds)

    async def cancel_earn(
        self, command: CancelEarnCommand, *, deadline_seconds: float | None = None
    ) -> EarnCancelled:
        """Drops a pending earn."""
        return await self._post(command, deadline_seconds)

    async def claw_back_earn(
        self, command: ClawBackEarnCommand, *, deadline_seconds: float | None = None
    ) -> EarnClawedBack:
        """Takes points of an earn back, because goods came back."""
        return await self._post(command, deadline_seconds)

    async def authorize_burn(
        self, command: AuthorizeBurnCommand, *, deadline_seconds: float | None = None
    ) -> BurnAuthorized:
        """Holds a member's points for a purchase that is not complete yet."""
        return await self._post(command, deadline_seconds)

    async def extend_hold(
        self, command: ExtendHoldCommand, *, deadline_seconds: float | None = None
    ) -> HoldExtended:
        """Holds the points of an authorisation longer."""
        return await self._post(command, deadline_seconds)

    async def capture_burn(
        self, command: CaptureBurnCommand, *, deadline_seconds: float | None = None
    ) -> BurnCaptured:
        """Burns all or part of what an authorisation holds."""
        return await self._post(command, deadline_seconds)

    async def void_burn(
        self, command: VoidBurnCommand, *, deadline_seconds: float | None = None
    ) -> BurnVoided:
        """Gives up an authorisation."""
        return await self._post(command, deadline_seconds)

    async def burn(self, command: BurnCommand, *, deadline_seconds: float | None = None) -> Burned:
        """Spends a member's points at once."""
        return await self._post(command, deadline_seconds)

    async def refund_burn(
        self, command: RefundBurnCommand, *, deadline_seconds: float | None = None
    ) -> BurnRefunded:
        """Gives points of a burn back to their lots."""
        return await self._post(command, deadline_seconds)

    async def exchange_in(
        self, command: ExchangeInCommand, *, deadline_seconds: float | None = None
    ) -> ExchangedIn:
        """Turns native points into coalition points."""
        return await self._post(command, deadline_seconds)

    async def exchange_out(
        self, command: ExchangeOutCommand, *, deadline_seconds: float | None = None
    ) -> ExchangeOutHeld:
        """Holds points that are to become native points."""
        return await self._post(command, deadline_seconds)

    async def confirm_exchange_out(
        self, command: ConfirmExchangeOutCommand, *, deadline_seconds: float | None = None
    ) -> ExchangeOutConfirmed:
        """The native points were credited."""
        return await self._post(command, deadline_seconds)

    async def refuse_exchange_out(
        self, command: RefuseExchangeOutCommand, *, deadline_seconds: float | None = None
    ) -> ExchangeOutRefused:
        """The native points were not credited, and will not be."""
        return await self._post(command, deadline_seconds)

    async def transfer(
        self, command: TransferCommand, *, deadline_seconds: float | None = None
    ) -> Transferred:
        """Gives points of a member to another."""
        return await self._post(command, deadline_seconds)

    @overload
    async def post_batch(
        self, commands: Sequence[EarnCommand | BurnCommand], *, deadline_seconds: float | None = None
    ) -> Results[Earned | Burned | Refusal]: ...
    @overload
    async def post_batch(
        self, commands: Sequence[PointsCommand[A]], *, deadline_seconds: float | None = None
    ) -> Results[A | Refusal]: ...
    async def post_batch(
        self, commands: Sequence[PointsCommand[Any]], *, deadline_seconds: float | None = None
    ) -> Results[Any]:
        """Posts 1 to 1,000 independent commands of any kinds under one signature; a refused one is a value."""
        prepared = prepare_batch(commands)
        return read_batch(prepared, await self.send(prepared, deadline_seconds=deadline_seconds))

    async def _post(self, command: PointsCommand[A], deadline_seconds: float | None) -> A:
        method, prepared = points_method(command), prepare(command)
        answer = await self.send(prepared, deadline_seconds=deadline_seconds)
        return read_one(prepared, answer, method.response, method.read)
