"""Random coalitions: cards of three partners, consents, and the terms that all agreed on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from fractions import Fraction
from itertools import product
from typing import NamedTuple

from hypothesis import strategies as st

from exchange.core.book import PayCode, Terms
from exchange.core.rates import ExpiryPolicy, RateCard
from tests.builders import M1, M2, M3, NO_EXPIRY, TERMS, A, B, C, at, card, days, months, until
from tests.reference import ReferenceLedger

M4 = 14
MEMBERS = (M1, M2, M3, M4)
PARTNERS = (A, B, C)
CARDLESS = 4
"""A partner that M1 is linked to and that has no card."""

WITHDRAWN = 77
"""The number of a correction that was withdrawn before it could be posted."""

FIRST_CARD, SECOND_CARD = "2026-01-25 00:00", "2026-02-01 00:00"
LONG_AGO = at("2017-01-01 00:00")


class Prices(NamedTuple):
    """Micros a point."""

    funding: int
    prefunded: int
    reimbursement: int
    issue_fee: int


PRICES = [
    Prices(10_000, 10_000, 9_500, 200),  # issue-funded
    Prices(10_000, 0, 9_500, 200),  # redeem-funded
    Prices(10_500, 3_333, 9_600, 0),  # hybrid, with parts that have to be floored
    Prices(7, 3, 5, 1),
    Prices(1, 1, 0, 0),  # a redeemer that receives nothing
    Prices(3, 1, 11, 2),  # R above F: what slips through approval
    Prices(9_000, 9_000, 12_000, 0),
    Prices(9_000, 4_000, 12_001, 0),
]
EXPIRIES = [
    NO_EXPIRY,
    days(3),
    days(5),
    months(0),
    months(1),
    until("2026-02-02"),
    days(0),
    until("2026-01-28"),
    *[NO_EXPIRY, days(30), days(8), months(0), days(9)],
]
SHARES = [Fraction(0), Fraction(1, 2), Fraction(1, 3), Fraction(1)]


class Native(NamedTuple):
    """What a partner's own points are worth: into points, out of points, the spread on the way in."""

    rate_in: Fraction | None
    rate_out: Fraction | None
    spread: Fraction


NATIVES = [
    Native(Fraction(2, 5), Fraction(2), Fraction(1, 50)),
    Native(Fraction(3), Fraction(1, 3), Fraction(0)),
    Native(Fraction(1, 7), Fraction(5), Fraction(1, 3)),
    Native(None, Fraction(1), Fraction(0)),
    Native(Fraction(7, 3), None, Fraction(1, 10)),
]

LINKS = [
    *((member, partner) for member in MEMBERS for partner in PARTNERS if (member, partner) != (M2, C)),
    (M1, CARDLESS),
]
WIDE = (1_000_000, 1_000_000)
CONSENTS = [*[WIDE] * 14, (40, 1_000_000), (100, 45), (0, 10), (10, 0)]

TERMS_OF_ALL = [
    TERMS,
    replace(TERMS, grace_days=2, pending_days=2),
    replace(TERMS, refund="pro_rata", grace_days=5),
    replace(TERMS, claw_back="clamp", pending_days=3),
    replace(TERMS, refund="pro_rata", pending_days=1),
    replace(TERMS, member_daily_burns=2, grace_days=1),
    replace(TERMS, terminal_daily_burns=2, refund="pro_rata"),
    replace(TERMS, member_daily_points=90, transfer_limit_points=30),
    replace(TERMS, terminal_daily_points=150, grace_days=3),
    replace(TERMS, transfer_daily_points=30, transfer_limit_points=60, late_limit=timedelta(days=2)),
]


@dataclass(frozen=True)
class Coalition:
    """What was agreed before the first command."""

    cards: tuple[RateCard, ...]
    consent: dict[tuple[int, int], tuple[int, int]]
    terms: Terms

    def reference(self, pay_codes: Iterable[PayCode]) -> ReferenceLedger:
        """The reference ledger before the first command."""
        return ReferenceLedger(self.cards, MEMBERS, self.consent, self.terms, pay_codes, {WITHDRAWN})


def plain_coalition(prices: Iterable[Prices], native: Native, terms: Terms) -> Coalition:
    """One card a partner for ever, points that never expire, and all members know all partners."""
    cards = (
        replace(_card(partner, 1, each, NO_EXPIRY, Fraction(1, 3), native), valid_from=LONG_AGO)
        for partner, each in zip(PARTNERS, prices, strict=True)
    )
    return Coalition(tuple(cards), dict.fromkeys(product(MEMBERS, PARTNERS), WIDE), terms)


def _card(
    partner: int, version: int, prices: Prices, expiry: ExpiryPolicy, share: Fraction, native: Native
) -> RateCard:
    priced = card(
        partner,
        version,
        valid_from=FIRST_CARD if version == 1 else SECOND_CARD,
        earn_rate=Fraction(partner, version),
        face_value=10_000 * version,
        expiry=expiry,
        breakage_issuer_share=share,
        **prices._asdict(),
    )
    return replace(
        priced, native_rate_in=native.rate_in, native_rate_out=native.rate_out, exchange_spread=native.spread
    )


_CARD_TERMS = st.sampled_from(list(product(PRICES, EXPIRIES, SHARES, NATIVES)))
_CARDS = st.tuples(*[_CARD_TERMS] * 6).map(
    lambda terms: tuple(
        _card(partner, version, *each)
        for (partner, version), each in zip(product(PARTNERS, (1, 2)), terms, strict=True)
    )
)
_CONSENTS = st.tuples(*[st.sampled_from(CONSENTS)] * len(LINKS)).map(
    lambda limits: dict(zip(LINKS, limits, strict=True))
)

COALITIONS = st.builds(Coalition, _CARDS, _CONSENTS, st.sampled_from(TERMS_OF_ALL))
