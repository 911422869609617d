"""The blocking methods of `PointsService`: each does what the asynchronous one of its name does."""

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar, overload

from merchant_adapter.client import Hub
from merchant_adapter.errors import Refusal
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
from merchant_adapter.quotes import Quote, QuoteRequest
from merchant_adapter.results import Results

A = TypeVar("A", bound=PointsAnswer)
R = TypeVar("R")


class SyncPointsCalls(ABC):
    """What `SyncHub` says to `PointsService`."""

    _hub: Hub

    @abstractmethod
    def _run(self, coroutine: Coroutine[Any, Any, R]) -> R: ...

    def quote(self, request: QuoteRequest, *, deadline_seconds: float | None = None) -> Quote:
        """Asks for a price before anything happens; nothing is posted or held."""
        return self._run(self._hub.quote(request, deadline_seconds=deadline_seconds))

    def earn(self, command: EarnCommand, *, deadline_seconds: float | None = None) -> Earned:
        """Gives a member points, at once or pending."""
        return self._run(self._hub.earn(command, deadline_seconds=deadline_seconds))

    def confirm_earn(
        self, command: ConfirmEarnCommand, *, deadline_seconds: float | None = None
    ) -> EarnConfirmed:
        """Owes the points of a pending earn."""
        return self._run(self._hub.confirm_earn(command, deadline_seconds=deadline_seconds))

    def cancel_earn(
        self, command: CancelEarnCommand, *, deadline_seconds: float | None = None
    ) -> EarnCancelled:
        """Drops a pending earn."""
        return self._run(self._hub.cancel_earn(command, deadline_seconds=deadline_seconds))

    def claw_back_earn(
        self, command: ClawBackEarnCommand, *, deadline_seconds: float | None = None
    ) -> EarnClawedBack:
        """Takes points of an earn back, because goods came back."""
        return self._run(self._hub.claw_back_earn(command, deadline_seconds=deadline_seconds))

    def authorize_burn(
        self, command: AuthorizeBurnCommand, *, deadline_seconds: float | None = None
    ) -> BurnAuthorized:
        """Holds a member's points for a purchase that is not complete yet."""
        return self._run(self._hub.authorize_burn(command, deadline_seconds=deadline_seconds))

    def extend_hold(
        self, command: ExtendHoldCommand, *, deadline_seconds: float | None = None
    ) -> HoldExtended:
        """Holds the points of an authorisation longer."""
        return self._run(self._hub.extend_hold(command, deadline_seconds=deadline_seconds))

    def capture_burn(
        self, command: CaptureBurnCommand, *, deadline_seconds: float | None = None
    ) -> BurnCaptured:
        """Burns all or part of what an authorisation holds."""
        return self._run(self._hub.capture_burn(command, deadline_seconds=deadline_seconds))

    def void_burn(self, command: VoidBurnCommand, *, deadline_seconds: float | None = None) -> BurnVoided:
        """Gives up an authorisation."""
        return self._run(self._hub.void_burn(command, deadline_seconds=deadline_seconds))

    def burn(self, command: BurnCommand, *, deadline_seconds: float | None = None) -> Burned:
        """Spends a member's points at once."""
        return self._run(self._hub.burn(command, deadline_seconds=deadline_seconds))

    def refund_burn(
        self, command: RefundBurnCommand, *, deadline_seconds: float | None = None
    ) -> BurnRefunded:
        """Gives points of a burn back to their lots."""
        return self._run(self._hub.refund_burn(command, deadline_seconds=deadline_seconds))

    def exchange_in(
        self, command: ExchangeInCommand, *, deadline_seconds: float | None = None
    ) -> ExchangedIn:
        """Turns native points into coalition points."""
        return self._run(self._hub.exchange_in(command, deadline_seconds=deadline_seconds))

    def exchange_out(
        self, command: ExchangeOutCommand, *, deadline_seconds: float | None = None
    ) -> ExchangeOutHeld:
        """Holds points that are to become native points."""
        return self._run(self._hub.exchange_out(command, deadline_seconds=deadline_seconds))

    def confirm_exchange_out(
        self, command: ConfirmExchangeOutCommand, *, deadline_seconds: float | None = None
    ) -> ExchangeOutConfirmed:
        """The native points were credited."""
        return self._run(self._hub.confirm_exchange_out(command, deadline_seconds=deadline_seconds))

    def refuse_exchange_out(
        self, command: RefuseExchangeOutCommand, *, deadline_seconds: float | None = None
    ) -> ExchangeOutRefused:
        """The native points were not credited, and will not be."""
        return self._run(self._hub.refuse_exchange_out(command, deadline_seconds=deadline_seconds))

    def transfer(self, command: TransferCommand, *, deadline_seconds: float | None = None) -> Transferred:
        """Gives points of a member to another."""
        return self._run(self._hub.transfer(command, deadline_seconds=deadline_seconds))

    @overload
    def post_batch(
        self, commands: Sequence[EarnCommand | BurnCommand], *, deadline_seconds: float | None = None
    ) -> Results[Earned | Burned | Refusal]: ...
    @overload
    def post_batch(
        self, commands: Sequence[PointsCommand[A]], *, deadline_seconds: float | None = None
    ) -> Results[A | Refusal]: ...
    def post_batch(
        self, commands: Sequence[PointsCommand[Any]], *, deadline_seconds: float | None = None
    ) -> Results[Any]:
        """Posts 1 to 1,000 independent commands of any kinds under one signature; a refused one is a value."""
        return self._run(self._hub.post_batch(commands, deadline_seconds=deadline_seconds))
