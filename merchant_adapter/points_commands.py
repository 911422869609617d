"""What a partner asks of `PointsService`, as plain values.

A command's `request_id` is chosen when the value is made. Keep the value: repeating it repeats the same
decision, whatever became of the first try. A command that follows another names it by `original_request_id`,
the id of that one's value, so both can be queued before the first answer has come.
"""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Generic, TypeVar

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
from merchant_adapter.request_ids import new_request_id

A = TypeVar("A", bound=PointsAnswer, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointsCommand(Generic[A]):
    """What every command on points says; `A` is what its acceptance is.

    Attributes:
        member_id: the member, as the hub named it at enrolment.
        event_time: when it happened, with a time zone; it chooses the rate card.
        store_id, terminal_id: where.
        reference: the order or receipt number, unique among the caller's accepted commands of this kind
            (and `part`, where the command has one).
        reason: why, for people, 0 to 200 characters.
        campaign_id, channel: may be left empty. These and the texts before are 1 to 64 printable characters.
        request_id: names the decision.
    """

    member_id: str
    event_time: datetime
    store_id: str
    terminal_id: str
    reference: str
    reason: str = ""
    campaign_id: str = ""
    channel: str = ""
    request_id: str = field(default_factory=new_request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarnCommand(PointsCommand[Earned]):
    """Gives a member points that the caller issues and pays for.

    Exactly one of these is set: `points` (1 to 1,000,000,000), `eligible_spend_minor` (minor units such as
    fen, 1 to 1,000,000,000,000) and `native_points` (of the caller's own programme, 1 to 1,000,000,000); the
    last two become points by the caller's rate card, rounded down. An `expiry_date` can only shorten the life
    that the card gives the points. `pending` fixes the points and owes nothing until `ConfirmEarnCommand`.
    A member earns by a `once_rule` only once, for ever. `quote` is `Quote.quote`.
    """

    points: int | None = None
    eligible_spend_minor: int | None = None
    native_points: int | None = None
    expiry_date: date | None = None
    pending: bool = False
    once_rule: str = ""
    quote: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmEarnCommand(PointsCommand[EarnConfirmed]):
    """The order behind a pending earn was completed: its points are the member's and are paid for.

    `event_time` is when; the card in force then fixes price and last usable day.
    """

    original_request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelEarnCommand(PointsCommand[EarnCancelled]):
    """The order behind a pending earn was not completed."""

    original_request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClawBackEarnCommand(PointsCommand[EarnClawedBack]):
    """The goods of a sale came back, whole or in part: so do the points of its earn, any number of times.

    Exactly one of these is set: `points` (1 to 1,000,000,000) and `refunded_spend_minor`, the part of the
    earn's eligible spend that was refunded now, in minor units. `part` (0 to 1,000,000) tells several of one
    `reference` apart.
    """

    original_request_id: str
    part: int = 0
    points: int | None = None
    refunded_spend_minor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizeBurnCommand(PointsCommand[BurnAuthorized]):
    """Holds `points` (1 to 1,000,000,000), all or none, for a purchase that is not complete yet.

    They are held for `hold_seconds` (1 to 604,800; None for the hub's 900) on the wall clock. What they will
    bring is fixed now. `pay_code` is the 20 digits the member shows; without it the member's consent to the
    caller decides, within its limits. `quote` is `Quote.quote`.
    """

    points: int
    hold_seconds: int | None = None
    pay_code: str = field(default="", repr=False)
    quote: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendHoldCommand(PointsCommand[HoldExtended]):
    """Holds the points of an authorisation for `hold_seconds` (1 to 604,800) from now, 7 days in all."""

    original_request_id: str
    hold_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureBurnCommand(PointsCommand[BurnCaptured]):
    """Burns `points` of those an authorisation holds (None for all); the rest is the member's again."""

    original_request_id: str
    points: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidBurnCommand(PointsCommand[BurnVoided]):
    """Gives up an authorisation."""

    original_request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnCommand(PointsCommand[Burned]):
    """Spends `points` (1 to 1,000,000,000) of a member at the caller, all of them or none.

    `pay_code` and `quote` are as in `AuthorizeBurnCommand`.
    """

    points: int
    pay_code: str = field(default="", repr=False)
    quote: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundBurnCommand(PointsCommand[BurnRefunded]):
    """The goods paid with points came back: gives `points` of a burn back to their lots.

    `original_request_id` is that of the burn, the capture or the confirmed exchange out. At most what is not
    refunded yet; `part` (0 to 1,000,000) tells several refunds of one `reference` apart.
    """

    original_request_id: str
    points: int
    part: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeInCommand(PointsCommand[ExchangedIn]):
    """Turns `native_points` (1 to 1,000,000,000) of the caller's own programme into points that it issues."""

    native_points: int
    expiry_date: date | None = None
    quote: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeOutCommand(PointsCommand[ExchangeOutHeld]):
    """Holds `points` that are to become points of the caller's own programme, until it confirms or refuses.

    `pay_code` and `quote` are as in `AuthorizeBurnCommand`.
    """

    points: int
    pay_code: str = field(default="", repr=False)
    quote: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmExchangeOutCommand(PointsCommand[ExchangeOutConfirmed]):
    """The caller has credited the native points of an `ExchangeOutCommand`."""

    original_request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseExchangeOutCommand(PointsCommand[ExchangeOutRefused]):
    """The caller has not credited the native points of an `ExchangeOutCommand`, and will not."""

    original_request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferCommand(PointsCommand[Transferred]):
    """Gives `points` (1 to 1,000,000,000) of a member to another, both linked to the caller.

    The giver's authority is as for a burn: `pay_code` or consent, as in `AuthorizeBurnCommand`.
    """

    to_member_id: str
    points: int
    pay_code: str = field(default="", repr=False)
