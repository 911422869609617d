"""What can be asked of the ledger.

Points are whole; spend is in minor units; `original` is the request id, of the same partner, of the command that
this one follows.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Final, Literal

from exchange.core.record import record


@record
class Quote:
    """A price that the hub promised: the wire layer has checked its signature and what it is bound to."""

    quote_id: str
    rate_version: int
    expire_time: datetime


@record
class Authority:
    """On what a member's points may be spent: the SHA-256 of a pay code, or, where it is empty, the consent."""

    pay_code: bytes = b""
    quote: Quote | None = None


NO_AUTHORITY: Final = Authority()


@record
class Instruction:
    """What every command but `Wake` says: who asks, for whom, when and where it happened, and what names it."""

    partner_id: int
    request_id: str
    fingerprint: bytes
    member_id: int
    event_time: datetime
    store_id: str
    terminal_id: str
    reference: str
    reason: str
    campaign_id: str
    channel: str


@record
class Earn(Instruction):
    """Give a member points. Exactly one of `points`, `spend_minor` and `native_points` is above 0.

    `pending` earns are owed only when they are confirmed; `once_rule` names a rule that a member may earn by once.
    """

    points: int
    spend_minor: int
    expiry_date: date | None
    native_points: int = 0
    pending: bool = False
    once_rule: str = ""
    quote: Quote | None = None
    kind: Literal["earn"] = "earn"


@record
class ConfirmEarn(Instruction):
    """The order behind a pending earn was completed."""

    original: str
    kind: Literal["confirm_earn"] = "confirm_earn"


@record
class CancelEarn(Instruction):
    """The order behind a pending earn was not completed. The hub cancels what is pending too long."""

    original: str
    kind: Literal["cancel_earn"] = "cancel_earn"


@record
class ClawBackEarn(Instruction):
    """An order was refunded, whole or in part. Exactly one of `points` and `refunded_spend_minor` is above 0."""

    original: str
    part: int
    points: int
    refunded_spend_minor: int
    kind: Literal["claw_back_earn"] = "claw_back_earn"


@record
class AuthorizeBurn(Instruction):
    """Hold a member's points for a time; `hold_seconds` 0 is the default."""

    points: int
    hold_seconds: int = 0
    authority: Authority = NO_AUTHORITY
    kind: Literal["authorize_burn"] = "authorize_burn"


@record
class ExtendHold(Instruction):
    """Hold the points of an authorisation `hold_seconds` longer, from now."""

    original: str
    hold_seconds: int
    kind: Literal["extend_hold"] = "extend_hold"


@record
class CaptureBurn(Instruction):
    """Burn all (`points` 0) or part of what is held, and release the rest."""

    original: str
    points: int = 0
    kind: Literal["capture_burn"] = "capture_burn"


@record
class VoidBurn(Instruction):
    """Release what is held."""

    original: str
    kind: Literal["void_burn"] = "void_burn"


@record
class Burn(Instruction):
    """Spend a member's points at the calling partner: authorise and capture in one."""

    points: int
    authority: Authority = NO_AUTHORITY
    kind: Literal["burn"] = "burn"


@record
class RefundBurn(Instruction):
    """Goods paid with points came back, all or some. `original` is a burn, a capture or a confirmed exchange."""

    original: str
    part: int
    points: int
    kind: Literal["refund_burn"] = "refund_burn"


@record
class ExchangeIn(Instruction):
    """Native points of the calling partner become coalition points that it issues."""

    native_points: int
    expiry_date: date | None
    quote: Quote | None = None
    kind: Literal["exchange_in"] = "exchange_in"


@record
class ExchangeOut(Instruction):
    """Coalition points are to become native points of the calling partner; they are held until it answers."""

    points: int
    authority: Authority = NO_AUTHORITY
    kind: Literal["exchange_out"] = "exchange_out"


@record
class ConfirmExchangeOut(Instruction):
    """The partner has credited the native points of an exchange."""

    original: str
    kind: Literal["confirm_exchange_out"] = "confirm_exchange_out"


@record
class RefuseExchangeOut(Instruction):
    """The partner has not credited the native points of an exchange and will not."""

    original: str
    kind: Literal["refuse_exchange_out"] = "refuse_exchange_out"


@record
class Transfer(Instruction):
    """Give points of one member to another, on the giver's authority."""

    to_member_id: int
    points: int
    authority: Authority = NO_AUTHORITY
    kind: Literal["transfer"] = "transfer"


@record
class MoneyMove:
    """A correction of money alone, between partners and `OPERATOR`: micros above 0."""

    payer_id: int
    payee_id: int
    micros: int


@record
class Adjust(Instruction):
    """A correction by two people of the operator: stands for the command that should have been, or moves money."""

    subject: Earn | ClawBackEarn | Burn | RefundBurn | MoneyMove
    adjustment_id: int
    kind: Literal["adjust"] = "adjust"


@record
class ChangeState(Instruction):
    """Freeze, unfreeze or close a member's account."""

    kind: Literal["freeze", "unfreeze", "close"]


@record
class Merge(Instruction):
    """One person has two accounts: move this one's lots and deficits to `into_member_id`."""

    into_member_id: int
    kind: Literal["merge"] = "merge"


@record
class Unmerge(Instruction):
    """They were two people after all: `member_id` is the one that was merged, `original` the merge."""

    original: str
    kind: Literal["unmerge"] = "unmerge"


@record
class Due(Instruction):
    """The hub's own posting of what fell due. Never asked for, only derived."""

    kind: Literal["expire", "lapse", "cancel_earn"]


@record
class Wake:
    """Have a member's due postings made, and nothing else. Recorded nowhere: it has no answer of its own."""

    member_id: int
    kind: Literal["wake"] = "wake"


PartnerCommand = (
    Earn
    | ConfirmEarn
    | CancelEarn
    | ClawBackEarn
    | AuthorizeBurn
    | ExtendHold
    | CaptureBurn
    | VoidBurn
    | Burn
    | RefundBurn
    | ExchangeIn
    | ExchangeOut
    | ConfirmExchangeOut
    | RefuseExchangeOut
    | Transfer
)
"""What a partner can ask for."""

OperatorCommand = Adjust | ChangeState | Merge | Unmerge
"""What the operator can ask for."""

Asked = PartnerCommand | OperatorCommand
"""What can be asked for, and is decided once for ever."""

Posted = Asked | Due
"""What an entry can stand for."""

Command = Asked | Wake
"""What a batch can hold."""


def kind_in_journal(command: Posted) -> str:
    """The kind of a command's entry: what an adjustment stands for, and whether an earn is only pending."""
    if isinstance(command, Earn):
        return "pending_earn" if command.pending else "earn"
    if not isinstance(command, Adjust):
        return command.kind
    return "adjust_money" if isinstance(command.subject, MoneyMove) else f"adjust_{command.subject.kind}"


def part_of(command: Posted) -> int:
    """The part of its reference that a command is: partial refunds and claw backs number theirs, all others are 0."""
    return command.part if isinstance(command, (ClawBackEarn, RefundBurn)) else 0
