"""RateCardsService: what partners' points cost and bring."""

from __future__ import annotations

from fractions import Fraction
from typing import Final, Literal

from exchange.core.money import MAX_MICROS_PER_POINT
from exchange.core.rates import ExpiryKind, ExpiryPolicy
from exchange.registrar import NewCard, Registrar
from exchange.rpc.calls import Incoming, Method
from exchange.rpc.errors import InvalidField, error
from exchange.rpc.lanes import Lanes
from exchange.rpc.paging import number_in, page_limit, split_page, to_token
from exchange.rpc.registering import answered, own_partner, to_actor, to_write
from exchange.rpc.translate import (
    check_range,
    check_text,
    from_date,
    from_timestamp,
    parse,
    to_date,
    to_timestamp,
)
from exchange.store.reads.pages import Card, list_cards, partner_id_of
from exchange.store.reads.snapshots import Snapshots
from tongdui.exchange.v1 import rate_cards_service_pb2 as messages
from tongdui.type.v1 import fraction_pb2

SERVICE: Final = "tongdui.exchange.v1.RateCardsService"

MAX_FRACTION: Final = 1_000_000_000
MAX_VERSION: Final = 2**31 - 1
MAX_DAYS: Final = 36_500
MAX_MONTHS: Final = 1_200

_OPERATOR: Final = frozenset({"operator"})
_READERS: Final = frozenset({"partner", "operator", "auditor"})

_EXCHANGE: Final[tuple[Literal["native_rate_in", "native_rate_out", "exchange_spread"], ...]] = (
    "native_rate_in",
    "native_rate_out",
    "exchange_spread",
)

_STATES: Final[dict[str, messages.RateCard.State.ValueType]] = {
    "proposed": messages.RateCard.STATE_PROPOSED,
    "approved": messages.RateCard.STATE_APPROVED,
}


class RateCardsService:
    """Proposes, approves and lists rate cards."""

    def __init__(self, registrar: Registrar, snapshots: Snapshots, lanes: Lanes) -> None:
        """Takes who writes, who reads, and where."""
        self._registrar = registrar
        self._snapshots = snapshots
        self._lanes = lanes

    def methods(self) -> tuple[Method, ...]:
        """The rpcs of the service."""
        return (
            Method("ProposeRateCard", _OPERATOR, self._propose, is_write=True),
            Method("ApproveRateCard", _OPERATOR, self._approve, is_write=True),
            Method("ListRateCards", _READERS, self._list, is_write=False),
        )

    async def _propose(self, incoming: Incoming) -> bytes:
        request = parse(messages.ProposeRateCardRequest, incoming.body)
        write = to_write("propose_rate_card", request.request_id, request, incoming)
        new = to_new_card(request)
        actor = to_actor(incoming.caller)
        return await answered(
            self._lanes.writes,
            incoming,
            lambda: self._registrar.propose_rate_card(write, actor, new, _proposed),
        )

    async def _approve(self, incoming: Incoming) -> bytes:
        request = parse(messages.ApproveRateCardRequest, incoming.body)
        write = to_write("approve_rate_card", request.request_id, request, incoming)
        code = check_text("partner_id", request.partner_id)
        version = check_range("version", request.version, 1, MAX_VERSION)
        actor = to_actor(incoming.caller)
        return await answered(
            self._lanes.writes,
            incoming,
            lambda: self._registrar.approve_rate_card(write, actor, code, version, _approved),
        )

    async def _list(self, incoming: Incoming) -> bytes:
        request = parse(messages.ListRateCardsRequest, incoming.body)
        code = own_partner("partner_id", request.partner_id, incoming.caller)
        before, limit = number_in(request.page_token), page_limit(request.page_size)
        return await self._lanes.reads.run(lambda: self._page(code, before, limit))

    def _page(self, code: str, before: int | None, limit: int) -> bytes:
        rows = self._read(code, before, limit + 1)
        page, last = split_page(rows, limit)
        return messages.ListRateCardsResponse(
            rate_cards=[from_card(row) for row in page],
            next_page_token=to_token(last.version) if last else "",
        ).SerializeToString()

    def _read(self, code: str, before: int | None, limit: int) -> list[Card]:
        partner_id = self._snapshots.read(lambda it: partner_id_of(it, code))
        if partner_id is None:
            raise error("PARTNER_UNKNOWN")
        return self._snapshots.read(lambda it: list_cards(it, code, partner_id, before, limit))


def to_new_card(request: messages.ProposeRateCardRequest) -> NewCard:
    """A card to propose. Raises `InvalidField`."""
    card = request.rate_card
    for given in ("version", "state", "proposed_by", "approved_by"):
        if getattr(card, given):
            raise InvalidField(f"rate_card.{given}", "must not be set")
    required: tuple[Literal["valid_from", "earn_rate", "expiry_policy"], ...] = (
        "valid_from",
        "earn_rate",
        "expiry_policy",
    )
    for name in required:
        if not card.HasField(name):
            raise InvalidField(f"rate_card.{name}", "must be set")
    for exchange in _EXCHANGE:
        # Until the rule that no circle of exchanges makes points is checked at approval (docs/ledger.md).
        if card.HasField(exchange):
            raise InvalidField(f"rate_card.{exchange}", "exchange of native points is not open yet")
    share = Fraction(0)
    if card.HasField("breakage_issuer_share"):
        share = _fraction("rate_card.breakage_issuer_share", card.breakage_issuer_share)
    if share > 1:
        raise InvalidField("rate_card.breakage_issuer_share", "must be 0 to 1")
    funding = _micros(card, "funding_micros", 1)
    return NewCard(
        check_text("rate_card.partner_id", card.partner_id),
        from_timestamp("rate_card.valid_from", card.valid_from),
        _fraction("rate_card.earn_rate", card.earn_rate),
        None,
        None,
        Fraction(0),
        _micros(card, "face_value_micros"),
        funding,
        _micros(card, "reimbursement_micros"),
        _micros(card, "issue_fee_micros"),
        check_range("rate_card.prefunded_micros", card.prefunded_micros, 0, funding),
        _to_policy(card.expiry_policy),
        share,
    )


def _micros(card: messages.RateCard, name: str, lowest: int = 0) -> int:
    return check_range(f"rate_card.{name}", getattr(card, name), lowest, MAX_MICROS_PER_POINT)


def _fraction(name: str, value: fraction_pb2.Fraction) -> Fraction:
    numerator = check_range(f"{name}.numerator", value.numerator, 0, MAX_FRACTION)
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
        state=_STATES[card.state],
        proposed_by=card.proposed_by,
        approved_by=card.approved_by,
    )


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


def _proposed(card: Card) -> bytes:
    return messages.ProposeRateCardResponse(rate_card=from_card(card)).SerializeToString(deterministic=True)


def _approved(card: Card) -> bytes:
    return messages.ApproveRateCardResponse(rate_card=from_card(card)).SerializeToString(deterministic=True)
