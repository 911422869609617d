"""Rate cards between the wire and the registrar."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from typing import Final, Literal

from google.protobuf.timestamp_pb2 import Timestamp

from exchange.core.money import MAX_MICROS_PER_POINT
from exchange.core.rates import ExpiryKind, ExpiryPolicy
from exchange.registrar import NewCard
from exchange.rpc.errors import InvalidField
from exchange.rpc.translate import (
    check_range,
    check_text,
    from_date,
    from_timestamp,
    to_date,
    to_timestamp,
)
from exchange.store.reads.pages import Card
from tongdui.exchange.v1 import rate_cards_service_pb2 as messages
from tongdui.type.v1 import fraction_pb2

MAX_FRACTION: Final = 1_000_000_000
MAX_DAYS: Final = 36_500
MAX_MONTHS: Final = 1_200

_State = messages.RateCard.State
STATES: Final[dict[str, messages.RateCard.State.ValueType]] = {
    "proposed": _State.STATE_PROPOSED,
    "approved": _State.STATE_APPROVED,
    "withdrawn": _State.STATE_WITHDRAWN,
}


def to_new_card(request: messages.ProposeRateCardRequest) -> NewCard:
    """A card to propose. Raises `InvalidField`."""
    card = request.rate_card
    _check_presence(card)
    share = _part(card, "breakage_issuer_share")
    if share > 1:
        raise InvalidField("rate_card.breakage_issuer_share", "must be 0 to 1")
    spread = _part(card, "exchange_spread")
    if spread >= 1:
        raise InvalidField("rate_card.exchange_spread", "must be 0 to below 1")
    if spread and not card.HasField("native_rate_in"):
        raise InvalidField("rate_card.exchange_spread", "needs native_rate_in, of which it is a part")
    funding = _micros(card, "funding_micros", 1)
    return NewCard(
        check_text("rate_card.partner_id", card.partner_id),
        from_timestamp("rate_card.valid_from", card.valid_from),
        _fraction("rate_card.earn_rate", card.earn_rate),
        _native_rate(card, "native_rate_in"),
        _native_rate(card, "native_rate_out"),
        spread,
        _micros(card, "face_value_micros"),
        funding,
        _micros(card, "reimbursement_micros"),
        _micros(card, "issue_fee_micros"),
        check_range("rate_card.prefunded_micros", card.prefunded_micros, 0, funding),
        _to_policy(card.expiry_policy),
        share,
    )


def _check_presence(card: messages.RateCard) -> None:
    for given in ("version", "state", "proposed_by", "approved_by", "withdrawn_by"):
        if getattr(card, given):
            raise InvalidField(f"rate_card.{given}", "must not be set")
    times: tuple[Literal["propose_time", "approve_time", "withdraw_time"], ...] = (
        "propose_time",
        "approve_time",
        "withdraw_time",
    )
    for time in times:
        if card.HasField(time):
            raise InvalidField(f"rate_card.{time}", "must not be set")
    required: tuple[Literal["valid_from", "earn_rate", "expiry_policy"], ...] = (
        "valid_from",
        "earn_rate",
        "expiry_policy",
    )
    for name in required:
        if not card.HasField(name):
            raise InvalidField(f"rate_card.{name}", "must be set")


def _micros(card: messages.RateCard, name: str, lowest: int = 0) -> int:
    return check_range(f"rate_card.{name}", getattr(card, name), lowest, MAX_MICROS_PER_POINT)


def _part(card: messages.RateCard, name: Literal["breakage_issuer_share", "exchange_spread"]) -> Fraction:
    return _fraction(f"rate_card.{name}", getattr(card, name)) if card.HasField(name) else Fraction(0)


def _native_rate(
    card: messages.RateCard, name: Literal["native_rate_in", "native_rate_out"]
) -> Fraction | None:
    """A way that is closed has no rate; a rate of 0 would be a way on which points vanish."""
    if not card.HasField(name):
        return None
    return _fraction(f"rate_card.{name}", getattr(card, name), lowest=1)


def _fraction(name: str, value: fraction_pb2.Fraction, lowest: int = 0) -> Fraction:
    numerator = check_range(f"{name}.numerator", value.numerator, lowest, MAX_FRACTION)
    return Fraction(numerator, check_range(f"{name}.denominator", value.denominator, 1, MAX_FRACTION))


def _to_policy(policy: messages.ExpiryPolicy) -> ExpiryPolicy:
    name = "rate_card.expiry_policy"
    which = policy.WhichOneof("policy")
    if which == "days":
        return ExpiryPolicy(ExpiryKind.DAYS, check_range(f"{name}.days", policy.days, 1, MAX_DAYS))
    if which == "months_to_month_end":
        months = check_range(f"{name}.months_to_month_end", policy.months_to_month_end, 1, MAX_MONTHS)
        return ExpiryPolicy(ExpiryKind.MONTHS_TO_MONTH_END, months)
    if which == "fixed_date":
        day = from_date(f"{name}.fixed_date", policy.fixed_date)
        return ExpiryPolicy(ExpiryKind.FIXED_DATE, fixed_date=day)
    if which is None or not policy.never:
        raise InvalidField(name, "exactly one policy must be set, and never only to true")
    return ExpiryPolicy(ExpiryKind.NEVER)


def to_state(state: messages.RateCard.State.ValueType) -> str | None:
    """The state that a list is to be of; None for all. Raises `InvalidField`."""
    if state == _State.STATE_UNSPECIFIED:
        return None
    for name, number in STATES.items():
        if number == state:
            return name
    raise InvalidField("state", "must be a state of the contract")


def from_card(card: Card) -> messages.RateCard:
    """A card for the wire."""
    return messages.RateCard(
        partner_id=card.partner_code,
        version=card.version,
        valid_from=to_timestamp(card.valid_from),
        earn_rate=_from_fraction(card.earn_rate),
        native_rate_in=_from_optional(card.native_rate_in),
        native_rate_out=_from_optional(card.native_rate_out),
        exchange_spread=_from_optional(card.exchange_spread or None),
        face_value_micros=card.face_value_micros,
        funding_micros=card.funding_micros,
        reimbursement_micros=card.reimbursement_micros,
        issue_fee_micros=card.issue_fee_micros,
        prefunded_micros=card.prefunded_micros,
        expiry_policy=_from_policy(card.expiry_policy),
        breakage_issuer_share=_from_optional(card.breakage_issuer_share or None),
        state=STATES[card.state],
        proposed_by=card.proposed_by,
        approved_by=card.approved_by,
        propose_time=_from_moment(card.propose_time),
        approve_time=_from_moment(card.approve_time),
        withdraw_time=_from_moment(card.withdraw_time),
        withdrawn_by=card.withdrawn_by,
    )


def _from_moment(moment: datetime | None) -> Timestamp | None:
    return None if moment is None else to_timestamp(moment)


def _from_fraction(value: Fraction) -> fraction_pb2.Fraction:
    return fraction_pb2.Fraction(numerator=value.numerator, denominator=value.denominator)


def _from_optional(value: Fraction | None) -> fraction_pb2.Fraction | None:
    return None if value is None else _from_fraction(value)


def _from_policy(policy: ExpiryPolicy) -> messages.ExpiryPolicy:
    if policy.kind is ExpiryKind.DAYS:
        return messages.ExpiryPolicy(days=policy.amount)
    if policy.kind is ExpiryKind.MONTHS_TO_MONTH_END:
        return messages.ExpiryPolicy(months_to_month_end=policy.amount)
    if policy.kind is ExpiryKind.FIXED_DATE:
        return messages.ExpiryPolicy(fixed_date=to_date(policy.fixed_date))
    return messages.ExpiryPolicy(never=True)
