"""The nine partners of the demo and their first rate cards.

All three ways to fund points are here: what an issuer pays for a point (F) goes into the pool when the point
is issued (P = F), when it is burned (P = 0), or partly then and partly later. No redeemer receives more for a
point (R) than any issuer pays, or its card would not be approved. Points of deli and pastry last a few days
only, so that some of the month's points expire within it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from examples.coalition import CardTerms, wire_date
from tongdui.exchange.v1.rate_cards_service_pb2 import ExpiryPolicy


@dataclass(frozen=True, slots=True)
class Partner:
    """One legal entity of the coalition."""

    partner_id: str
    display_name: str
    card: CardTerms

    @property
    def funded_at(self) -> str:
        """When the issuer pays for its points: at `issue`, when they are burned (`redeem`), or `both`."""
        if self.card.prefunded_micros == self.card.funding_micros:
            return "issue"
        return "both" if self.card.prefunded_micros else "redeem"


PARTNERS: Final = (
    Partner(
        "grocery",
        "Grocery",
        CardTerms(
            earn_rate=(1, 1),
            funding_micros=10_000,
            prefunded_micros=10_000,
            reimbursement_micros=9_500,
            issue_fee_micros=200,
            expiry=ExpiryPolicy(months_to_month_end=12),
        ),
    ),
    Partner(
        "drug-store",
        "Drug store",
        CardTerms(
            earn_rate=(2, 1),
            funding_micros=10_000,
            prefunded_micros=0,
            reimbursement_micros=9_500,
            issue_fee_micros=150,
            expiry=ExpiryPolicy(months_to_month_end=12),
        ),
    ),
    Partner(
        "fuel",
        "Fuel",
        CardTerms(
            earn_rate=(1, 2),
            funding_micros=10_500,
            prefunded_micros=5_250,
            reimbursement_micros=9_700,
            issue_fee_micros=100,
            expiry=ExpiryPolicy(months_to_month_end=6),
        ),
    ),
    Partner(
        "meat",
        "Meat",
        CardTerms(
            earn_rate=(2, 1),
            funding_micros=10_000,
            prefunded_micros=4_000,
            reimbursement_micros=9_400,
            issue_fee_micros=200,
            expiry=ExpiryPolicy(days=90),
        ),
    ),
    Partner(
        "deli",
        "Deli",
        CardTerms(
            earn_rate=(3, 1),
            funding_micros=10_200,
            prefunded_micros=10_200,
            reimbursement_micros=9_300,
            issue_fee_micros=250,
            expiry=ExpiryPolicy(days=10),
        ),
    ),
    Partner(
        "pastry",
        "Pastry",
        CardTerms(
            earn_rate=(5, 1),
            funding_micros=10_100,
            prefunded_micros=6_060,
            reimbursement_micros=9_200,
            issue_fee_micros=250,
            expiry=ExpiryPolicy(days=7),
            breakage_issuer_share=(2, 3),
        ),
    ),
    Partner(
        "florist",
        "Florist",
        CardTerms(
            earn_rate=(5, 1),
            funding_micros=11_000,
            prefunded_micros=0,
            reimbursement_micros=9_000,
            issue_fee_micros=300,
            expiry=ExpiryPolicy(never=True),
        ),
    ),
    Partner(
        "restaurant",
        "Restaurant",
        CardTerms(
            earn_rate=(4, 1),
            funding_micros=10_800,
            prefunded_micros=10_800,
            reimbursement_micros=9_000,
            issue_fee_micros=250,
            expiry=ExpiryPolicy(days=30),
        ),
    ),
    Partner(
        "travel",
        "Travel",
        CardTerms(
            earn_rate=(10, 1),
            face_value_micros=10_500,
            funding_micros=12_000,
            prefunded_micros=12_000,
            reimbursement_micros=10_000,
            issue_fee_micros=300,
            expiry=ExpiryPolicy(fixed_date=wire_date(date(2018, 12, 31))),
        ),
    ),
)
"""In the order in which they post and in which ties between them are decided."""

PARTNER_IDS: Final = tuple(partner.partner_id for partner in PARTNERS)

FACE_VALUE_MICROS: Final = {partner.partner_id: partner.card.face_value_micros for partner in PARTNERS}
"""What a point buys at a partner's checkout, micros."""
