"""What an accepted command comes to by the partner's own reckoning: pure, from the command, its answer and the cards.

docs/ledger.md has the rules behind the amounts, docs/settlement.md what a partner file says of each kind.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from fractions import Fraction
from math import floor
from typing import Any

from merchant_adapter.answers import Line
from merchant_adapter.partner_file import Deal
from merchant_adapter.points import points_method
from merchant_adapter.points_answers import (
    BurnCaptured,
    Burned,
    BurnRefunded,
    BurnVoided,
    EarnClawedBack,
    EarnConfirmed,
    Earned,
    ExchangedIn,
    ExchangeOutConfirmed,
    ExchangeOutRefused,
    PointsAnswer,
)
from merchant_adapter.points_commands import PointsCommand

STATES: Mapping[str, str] = {
    "pending_earn": "pending",
    "cancel_earn": "cancelled",
    "authorize_burn": "held",
    "extend_hold": "held",
    "capture_burn": "captured",
    "void_burn": "voided",
    "exchange_out": "held",
    "confirm_exchange_out": "captured",
    "refuse_exchange_out": "cancelled",
}
"""The state of a deal by the kind of its entry; of all other kinds `posted`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What points cost their issuer by one version of its rate card, in micros a point.

    Attributes:
        funding_micros: F.
        prefunded_micros: P, the part of F that is paid at issue.
        issue_fee_micros: f, the operator's fee for a point earned.
        native_rate_in: points for a native point, None where there is no exchange in.
    """

    funding_micros: int
    prefunded_micros: int
    issue_fee_micros: int
    native_rate_in: Fraction | None = None


@dataclass(frozen=True, slots=True)
class BusinessDays:
    """The coalition's calendar: in `zone`, each day ending `cut_off_seconds` after its midnight."""

    zone: tzinfo
    cut_off_seconds: int

    def end(self, day: date) -> datetime:
        """The moment, in UTC, from which on the hub posts into the next day's window."""
        midnight = datetime.combine(day + timedelta(days=1), time.min)
        return (midnight + timedelta(seconds=self.cut_off_seconds)).replace(tzinfo=self.zone).astimezone(UTC)

    def begin(self, day: date) -> datetime:
        """The moment, in UTC, from which on the hub posts into this day's window."""
        return self.end(day - timedelta(days=1))

    def calendar_day(self, moment: datetime) -> date:
        """The day on the calendar, by which points expire."""
        return moment.astimezone(self.zone).date()


@dataclass(frozen=True, slots=True)
class Accepted:
    """A command that the hub accepted, and its answer."""

    command: PointsCommand[Any]
    answer: PointsAnswer


def deal_of(accepted: Accepted, prices: Prices | None) -> Deal:
    """One line of the partner's file.

    `prices` are those under which the points came to be: of the answer's own `rate_version` where it issued some; of
    what it takes back, for a claw back, and None where that was pending. Other kinds take none.
    """
    command, answer = accepted.command, accepted.answer
    kind = kind_of(accepted)
    claimed, owed = _money(accepted, prices)
    return Deal(
        kind=kind,
        event_time=command.event_time,
        points=answer.points,
        claimed_micros=claimed,
        owed_micros=owed,
        request_id=command.request_id,
        reference=command.reference,
        part=getattr(command, "part", None),
        member_id=command.member_id,
        store_id=command.store_id,
        terminal_id=command.terminal_id,
        rate_version=getattr(answer, "rate_version", None),
        state=STATES.get(kind, "posted"),
    )


def kind_of(accepted: Accepted) -> str:
    """The kind of its entry in the journal."""
    if isinstance(accepted.answer, Earned) and accepted.answer.pending:
        return "pending_earn"
    return points_method(accepted.command).name


def _money(accepted: Accepted, prices: Prices | None) -> tuple[int, int]:
    """What the partner is to receive for it, and what it is to pay."""
    match accepted.answer:
        case Earned(pending=True):
            return 0, 0
        case Earned() | EarnConfirmed() as earned:
            issued = _known(prices)
            return 0, earned.points * (issued.prefunded_micros + issued.issue_fee_micros)
        case ExchangedIn() as exchanged:
            issued = _known(prices)
            gross = exchanged.native_points * (issued.native_rate_in or Fraction(0))
            fee = floor((gross - exchanged.points) * issued.funding_micros)
            return 0, exchanged.points * issued.prefunded_micros + fee
        case EarnClawedBack() as taken:
            per_point = 0 if prices is None else prices.prefunded_micros
            return (taken.points - taken.deficit_points) * per_point, 0
        case Burned() | BurnCaptured() | ExchangeOutConfirmed() as burned:
            return burned.reimbursement_micros, 0
        case BurnRefunded() as refunded:
            return 0, refunded.reimbursement_micros
        case _:
            return 0, 0


def _known(prices: Prices | None) -> Prices:
    assert prices is not None, "points were issued, by a version of the issuer's card"
    return prices


def is_open(accepted: Accepted, day: date, *, clamps: bool = False, last_day: date | None = None) -> bool:
    """Whether other money may have moved with it than answer and card tell, so that only the journal knows.

    That is so where points that arrived paid what the member owed, or were past their day: a member never owes points
    and has some available, so fewer are available afterwards than arrived. Of a claw back it is so where points had
    been used or had expired. `day` is the calendar's when it was decided; `clamps`: whether the coalition forgives
    what was used of clawed-back points; `last_day`: of the points that a claw back takes, None where there is none.
    """
    match accepted.answer:
        case Earned(pending=True):
            return False
        case Earned() | EarnConfirmed() | ExchangedIn() as issued:
            return issued.available_points < issued.points or _is_past(issued.expiry_date, day)
        case EarnClawedBack() as taken:
            return taken.deficit_points > 0 or clamps or _is_past(last_day, day)
        case BurnCaptured() as captured:
            return captured.available_points < captured.released_points
        case BurnRefunded() | BurnVoided() | ExchangeOutRefused() as returned:
            return returned.available_points < returned.points
        case _:
            return False


def _is_past(last_day: date | None, day: date) -> bool:
    return last_day is not None and last_day < day


def by_the_journal(deal: Deal, lines: Iterable[Line], partner_id: str) -> Deal:
    """The deal with the money that the hub posted for it."""
    claimed = owed = 0
    for line in lines:
        claimed += line.micros if line.payee_id == partner_id else 0
        owed += line.micros if line.payer_id == partner_id else 0
    return replace(deal, claimed_micros=claimed, owed_micros=owed)
