"""What points move in money. Payments may be below zero or of nothing here; `Posting.pay` puts that right."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from tests.reference.records import OPERATOR, POOL, Lot, Payment


def two_parts(micros: int, card: Any) -> tuple[int, int]:
    """What the pool and what the issuer give, of so many micros for a point issued under the card."""
    from_pool = math.floor(micros * Fraction(card.prefunded_micros, card.funding_micros))
    return from_pool, micros - from_pool


def of_earn(lot: Lot, card: Any, points: int) -> list[Payment]:
    """The issuer owes the pool P and the operator its fee."""
    return [
        Payment(lot.issuer, "ISSUE_FUNDING", POOL, "ISSUE_FUNDING", points * card.prefunded_micros),
        Payment(lot.issuer, "ISSUE_FEE", OPERATOR, "ISSUE_FEE", points * card.issue_fee_micros),
    ]


def of_exchange_in(lot: Lot, card: Any, gross: Fraction, credited: int) -> list[Payment]:
    """P for what was credited; the operator's fee is what the spread took, floored to a micro."""
    fee = math.floor((gross - credited) * card.funding_micros)
    return [
        Payment(lot.issuer, "ISSUE_FUNDING", POOL, "ISSUE_FUNDING", credited * card.prefunded_micros),
        Payment(lot.issuer, "EXCHANGE_FEE", OPERATOR, "EXCHANGE_FEE", fee),
    ]


def of_burn(lot: Lot, card: Any, points: int, redeemer: int, reimbursement: int) -> list[Payment]:
    """Each payer gives its part of R to the redeemer, and the rest of what it owes to the operator."""
    if lot.issuer == redeemer:
        return [Payment(POOL, "BURN_FUNDING", redeemer, "BURN_REIMBURSE", points * card.prefunded_micros)]
    owes = {POOL: card.prefunded_micros, lot.issuer: card.funding_micros - card.prefunded_micros}
    gives = dict(zip((POOL, lot.issuer), two_parts(reimbursement, card), strict=True))
    payments = []
    for payer in (POOL, lot.issuer):
        spread = points * (owes[payer] - gives[payer])
        payments.append(Payment(payer, "BURN_FUNDING", redeemer, "BURN_REIMBURSE", points * gives[payer]))
        payments.append(Payment(payer, "BURN_FUNDING", OPERATOR, "SPREAD", spread))
    return payments


BACKWARDS = {
    "BURN_FUNDING": "FUNDING_REVERSAL",
    "BURN_REIMBURSE": "REIMBURSE_REVERSAL",
    "SPREAD": "SPREAD_REVERSAL",
}


def of_refund(burn: list[Payment]) -> list[Payment]:
    """A burn's payments the other way round."""
    return [
        Payment(
            payment.payee,
            BACKWARDS[payment.payee_component],
            payment.payer,
            BACKWARDS[payment.payer_component],
            payment.micros,
        )
        for payment in burn
    ]


def of_claw_back(lot: Lot, card: Any, points: int) -> list[Payment]:
    """The pool gives back what the issuer paid in; the fee is not returned."""
    returned = points * card.prefunded_micros
    return [Payment(POOL, "CLAWBACK_FUNDING", lot.issuer, "CLAWBACK_FUNDING", returned)]


def of_absorption(lot: Lot, card: Any, points: int, owed: int, funding: int) -> list[Payment]:
    """The lot's payers give the owed issuer the deficit's F, and the operator the rest of the lot's."""
    if lot.issuer == owed:
        returned = points * card.prefunded_micros
        return [Payment(POOL, "DEFICIT_FUNDING", owed, "DEFICIT_RECOVERY", returned)]
    owes = (card.prefunded_micros, card.funding_micros - card.prefunded_micros)
    payments = []
    for payer, owing, giving in zip((POOL, lot.issuer), owes, two_parts(funding, card), strict=True):
        payments.append(Payment(payer, "DEFICIT_FUNDING", owed, "DEFICIT_RECOVERY", points * giving))
        payments.append(
            Payment(payer, "DEFICIT_FUNDING", OPERATOR, "RATE_VARIANCE", points * (owing - giving))
        )
    return payments


def of_expiry(lot: Lot, card: Any, points: int) -> list[Payment]:
    """What the pool held: the issuer's share, floored per point, and the rest for the operator."""
    to_issuer = math.floor(card.prefunded_micros * card.breakage_issuer_share)
    to_operator = card.prefunded_micros - to_issuer
    return [
        Payment(POOL, "BREAKAGE_SHARE", lot.issuer, "BREAKAGE_SHARE", points * to_issuer),
        Payment(POOL, "BREAKAGE_SHARE", OPERATOR, "BREAKAGE_SHARE", points * to_operator),
    ]
