"""Rate cards: what points cost and bring, by the moment of the event."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from itertools import zip_longest
from math import floor
from typing import Final, NamedTuple

from exchange.core.money import pool_part

NEVER: Final = date.max
"""The expiry day of points that never expire; sorts after every other day."""


class ExpiryKind(StrEnum):
    """How a card finds the last usable day."""

    NEVER = "never"
    DAYS = "days"
    MONTHS_TO_MONTH_END = "months_to_month_end"
    FIXED_DATE = "fixed_date"


@dataclass(frozen=True, slots=True)
class ExpiryPolicy:
    """When points stop being usable. `amount` is days or months, `fixed_date` the day itself."""

    kind: ExpiryKind
    amount: int = 0
    fixed_date: date = NEVER

    def last_day(self, event_date: date) -> date:
        """The last usable day of points earned on `event_date`; `NEVER` also where the calendar ends."""
        if self.kind is ExpiryKind.FIXED_DATE:
            return self.fixed_date
        return _last_day(self.kind, self.amount, event_date)


@lru_cache(1024)  # most earns of a moment are of today
def _last_day(kind: ExpiryKind, amount: int, event_date: date) -> date:
    if kind is ExpiryKind.NEVER:
        return NEVER
    try:
        if kind is ExpiryKind.DAYS:
            return event_date + timedelta(days=amount)
        year, month = divmod(event_date.year * 12 + event_date.month + amount, 12)
        return date(year, month + 1, 1) - timedelta(days=1)  # the day before the month after
    except (OverflowError, ValueError):  # past the year 9999
        return NEVER


@dataclass(frozen=True, slots=True)
class RateCard:
    """One approved version of a partner's card. Prices are micros a point; see docs/ledger.md, Prices."""

    partner_id: int
    version: int
    valid_from: datetime
    earn_rate: Fraction
    face_value_micros: int
    funding_micros: int
    reimbursement_micros: int
    issue_fee_micros: int
    prefunded_micros: int
    expiry_policy: ExpiryPolicy
    breakage_issuer_share: Fraction = Fraction(0)
    native_rate_in: Fraction | None = None
    native_rate_out: Fraction | None = None
    exchange_spread: Fraction = Fraction(0)

    def points_for(self, spend_minor: int, minor_per_major: int) -> int:
        """Points for eligible spend in minor units: floor(spend * earn_rate); a fraction earns nothing."""
        rate = self.earn_rate
        return spend_minor * rate.numerator // (rate.denominator * minor_per_major)

    def points_for_native(self, native_points: int) -> int:
        """Points for native points that were earned: floor(native * native_rate_in); 0 without such a rate."""
        return 0 if self.native_rate_in is None else floor(native_points * self.native_rate_in)

    def points_for_exchange(self, native_points: int) -> tuple[Fraction, int]:
        """What native points are worth, and the whole points that are credited of it, less the spread."""
        gross = native_points * (self.native_rate_in or Fraction(0))
        return gross, floor(gross * (1 - self.exchange_spread))

    def native_for(self, points: int) -> int:
        """Native points for points that are exchanged out: floor(points * native_rate_out)."""
        return 0 if self.native_rate_out is None else floor(points * self.native_rate_out)

    def issuer_breakage_micros(self) -> int:
        """The issuer's share of the P released when one point expires, floored per point."""
        share = self.breakage_issuer_share
        return self.prefunded_micros * share.numerator // share.denominator


class Split(NamedTuple):
    """Who pays what for one point burned: micros to the redeemer and to the operator, by payer.

    The pool pays P and the issuer F - P in all. A negative spread is the operator's to pay.
    """

    pool_reimbursement: int
    issuer_reimbursement: int
    pool_spread: int
    issuer_spread: int


def split_burn(funding_micros: int, prefunded_micros: int, reimbursement_micros: int) -> Split:
    """Splits a burn of one point of a lot priced F and P at a redeemer that receives R."""
    pool = pool_part(reimbursement_micros, prefunded_micros, funding_micros)
    issuer = reimbursement_micros - pool
    return Split(pool, issuer, prefunded_micros - pool, funding_micros - prefunded_micros - issuer)


class Cards:
    """Every approved card, found by event time or by version. Never changed once made."""

    __slots__ = ("_by_partner", "_by_version")

    def __init__(self, cards: Iterable[RateCard]) -> None:
        """Takes approved cards in any order."""
        by_partner: dict[int, list[RateCard]] = {}
        for card in sorted(cards, key=lambda card: (card.valid_from, card.version)):
            by_partner.setdefault(card.partner_id, []).append(card)
        self._by_partner = {
            partner: ([card.valid_from for card in history], history)
            for partner, history in by_partner.items()
        }
        self._by_version = {
            (card.partner_id, card.version): card
            for _, history in self._by_partner.values()
            for card in history
        }

    def in_force(self, partner_id: int, event_time: datetime) -> RateCard | None:
        """The partner's card that prices an event of that time, if any."""
        history = self._by_partner.get(partner_id)
        if history is None:
            return None
        place = bisect_right(history[0], event_time)
        return history[1][place - 1] if place else None

    def find_version(self, partner_id: int, version: int) -> RateCard | None:
        """The card of a version, None where these cards are too old to have it."""
        return self._by_version.get((partner_id, version))

    def of_version(self, partner_id: int, version: int) -> RateCard:
        """The card a lot was issued under. KeyError for one that was never approved, which no lot can name."""
        return self._by_version[partner_id, version]

    def history(self, partner_id: int) -> tuple[RateCard, ...]:
        """The partner's approved cards, earliest first."""
        return tuple(self._by_partner.get(partner_id, ([], []))[1])

    def partners(self) -> tuple[int, ...]:
        """Every partner that has a card."""
        return tuple(self._by_partner)


@dataclass(frozen=True, slots=True)
class Unfunded:
    """A reimbursement above a funding: the redeemer would receive more than an issuer pays."""

    redeemer: RateCard
    issuer: RateCard


def find_unfunded(
    proposed: RateCard, cards: Cards, earliest_event: datetime, outstanding: Iterable[tuple[int, int]]
) -> Unfunded | None:
    """The first pair of cards that would break "no R in force or coming exceeds an F in force or coming".

    In force is what prices an event of `earliest_event` (the ledger clock less the late limit) or later: a late
    earn under a card that was replaced would otherwise make points that bring more than they cost.
    `outstanding` names (partner, version) of every lot with open or held points: their F counts too, however
    old their card. Source: docs/ledger.md, Rate cards.
    """
    live: list[RateCard] = []
    for partner in {proposed.partner_id, *cards.partners()}:
        history = list(cards.history(partner))
        if partner == proposed.partner_id:
            insort(history, proposed, key=lambda card: card.valid_from)
        live += in_force_or_coming(history, earliest_event)
    funding = [*live, *(cards.of_version(partner, version) for partner, version in outstanding)]
    redeemer = max(live, key=lambda card: card.reimbursement_micros)
    issuer = min(funding, key=lambda card: card.funding_micros)
    return Unfunded(redeemer, issuer) if redeemer.reimbursement_micros > issuer.funding_micros else None


def in_force_or_coming(history: list[RateCard], moment: datetime) -> Iterable[RateCard]:
    """Of a partner's versions, earliest first, those that price an event of that moment or a later one."""
    for card, following in zip_longest(history, history[1:]):
        if following is None or following.valid_from > moment:
            yield card
