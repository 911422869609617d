"""Burn: which lots are spent, what it is worth, who pays, and the member's consent."""

from __future__ import annotations

from datetime import date

import pytest

from exchange.core.decisions import Accepted
from exchange.core.ids import OPERATOR, POOL
from exchange.core.journal import Leg, Line
from exchange.core.planner import plan
from exchange.core.points import BURNED, OPEN
from exchange.core.rates import NEVER
from exchange.core.refusals import Reason
from tests.builders import M1, NOON, WIDE, A, B, C, accepted, at, book, burn, card, lot, refusal


def taken(decision: Accepted) -> list[tuple[int, int]]:
    """(lot, points) of each leg."""
    return [(leg.lot_sequence, leg.points) for leg in decision.entry.legs]


def test_a_burn_takes_lots_by_expiry_day_then_by_sequence_and_never_last() -> None:
    lots = [
        lot(10, expiry_date=NEVER),
        lot(20, expiry_date=date(2026, 6, 30), issuer=card(A)),
        lot(30, expiry_date=date(2026, 3, 31)),
        lot(40, expiry_date=date(2026, 6, 30), issuer=card(C)),
    ]
    here = book(lots=lots)

    decision = accepted(plan([burn(points=95)], here)[0])

    assert taken(decision) == [(3, 30), (2, 20), (4, 40), (1, 5)]
    assert [each.open_points for each in lots] == [5, 0, 0, 0]
    assert [each.burned_points for each in lots] == [5, 20, 30, 40]
    assert decision.available_points == 5


def test_a_burn_takes_no_more_than_it_needs_and_leaves_other_lots_alone() -> None:
    first, second = lot(100, expiry_date=date(2026, 3, 31)), lot(100)
    here = book(lots=[first, second])

    decision = accepted(plan([burn(points=100)], here)[0])

    assert taken(decision) == [(1, 100)]
    assert (first.changed, second.changed) == (True, False)


def test_two_issuers_share_a_burn_and_each_pays_for_its_own_points() -> None:
    issue_funded = lot(60, issuer=card(A, funding=10_000), expiry_date=date(2026, 3, 31))
    redeem_funded = lot(100, issuer=card(C, funding=10_500, prefunded=0))
    here = book(
        cards=[card(C, funding=10_500, prefunded=0), card(B, face_value=11_000, reimbursement=9_500)],
        lots=[issue_funded, redeem_funded],
    )

    decision = accepted(plan([burn(points=100, partner_id=B)], here)[0])

    assert decision.entry.legs == (
        Leg(M1, 1, A, 1, OPEN, BURNED, 60, 10_000),
        Leg(M1, 2, C, 1, OPEN, BURNED, 40, 0),
    )
    assert sorted(decision.entry.lines) == sorted(
        [
            Line(POOL, "BURN_FUNDING", B, "BURN_REIMBURSE", 60 * 9_500),
            Line(POOL, "BURN_FUNDING", OPERATOR, "SPREAD", 60 * 500),
            Line(C, "BURN_FUNDING", B, "BURN_REIMBURSE", 40 * 9_500),
            Line(C, "BURN_FUNDING", OPERATOR, "SPREAD", 40 * 1_000),
        ]
    )
    assert decision.value_micros == 100 * 11_000
    assert decision.reimbursement_micros == 100 * 9_500


def test_the_redeemers_own_points_bring_only_what_the_pool_holds() -> None:
    own = card(B, funding=10_000, prefunded=4_000)
    here = book(cards=[own], lots=[lot(30, issuer=own, expiry_date=date(2026, 3, 31)), lot(70)])

    decision = accepted(plan([burn(points=100, partner_id=B)], here)[0])

    assert decision.reimbursement_micros == 30 * 4_000 + 70 * 9_500


def test_a_reimbursement_above_the_funding_is_paid_in_full_and_the_operator_pays_the_rest() -> None:
    here = book(
        cards=[card(A, funding=9_000), card(B, reimbursement=9_500)],
        lots=[lot(100, issuer=card(A, funding=9_000))],
    )

    decision = accepted(plan([burn(points=100, partner_id=B)], here)[0])

    assert decision.reimbursement_micros == 950_000
    assert decision.entry.lines == (
        Line(POOL, "BURN_FUNDING", B, "BURN_REIMBURSE", 950_000),
        Line(OPERATOR, "SPREAD", POOL, "BURN_FUNDING", 50_000),
    )


def test_a_late_burn_is_priced_on_the_redeemers_card_of_its_event_time() -> None:
    old = card(B, 1, face_value=10_000, reimbursement=9_500)
    new = card(B, 2, valid_from="2026-01-01 00:00", face_value=12_000, reimbursement=9_600)
    here = book(cards=[old, new], lots=[lot(200)])

    late, on_time = plan([burn("1", event_time=at("2025-12-31 23:50")), burn("2")], here)

    assert accepted(late).entry.rate_version == 1
    assert accepted(late).reimbursement_micros == 950_000
    assert accepted(late).value_micros == 1_000_000
    assert accepted(on_time).entry.rate_version == 2
    assert accepted(on_time).reimbursement_micros == 960_000


def test_all_of_a_members_points_can_be_burned_and_not_one_more() -> None:
    here = book(lots=[lot(60), lot(40, issuer=card(C))])

    too_many, all_of_them, one_more = plan(
        [burn("1", points=101), burn("2", points=100), burn("3", points=1)], here
    )

    assert refusal(too_many) == (Reason.INSUFFICIENT_POINTS, (("available_points", "100"),))
    assert accepted(all_of_them).available_points == 0
    assert refusal(one_more) == (Reason.INSUFFICIENT_POINTS, (("available_points", "0"),))


@pytest.mark.parametrize(
    ("consent", "points", "reason"),
    [
        ((0, 0), 1, Reason.CONSENT_REQUIRED),
        ((0, 100), 1, Reason.CONSENT_REQUIRED),
        ((100, 0), 1, Reason.CONSENT_REQUIRED),
        ((50, 100), 50, None),
        ((50, 100), 51, Reason.CONSENT_LIMIT_EXCEEDED),
        ((100, 50), 50, None),
        ((100, 50), 51, Reason.CONSENT_DAILY_LIMIT_EXCEEDED),
    ],
)
def test_a_burn_needs_consent_and_stays_within_its_limits(
    consent: tuple[int, int], points: int, reason: Reason | None
) -> None:
    here = book(lots=[lot(1_000)], consent=consent)

    (decision,) = plan([burn(points=points)], here)

    assert (None if isinstance(decision, Accepted) else refusal(decision).reason) == reason


def test_the_daily_limit_adds_up_what_was_accepted_and_starts_anew_on_the_next_day() -> None:
    first_day = book(lots=[lot(1_000)], consent=(80, 100), now=at("2026-01-01 23:59"))

    decisions = plan(
        [
            burn("1", points=60, event_time=NOON),
            burn("2", points=81, event_time=NOON),  # refused: does not count
            burn("3", points=40, event_time=NOON),
            burn("4", points=1, event_time=NOON),
        ],
        first_day,
    )
    second_day = book(lots=[lot(900)], consent=(80, 100), now=at("2026-01-02 00:00"))
    second_day.links = first_day.links
    (tomorrow,) = plan([burn("5", points=80, event_time=NOON)], second_day)  # of yesterday by its event time

    reasons = [
        None if isinstance(each, Accepted) else refusal(each).reason for each in (*decisions, tomorrow)
    ]
    assert reasons == [
        None,
        Reason.CONSENT_LIMIT_EXCEEDED,
        None,
        Reason.CONSENT_DAILY_LIMIT_EXCEEDED,
        None,
    ]


def test_each_partner_has_its_own_daily_limit() -> None:
    here = book(lots=[lot(1_000)], consent={(M1, A): (WIDE, 50), (M1, B): (WIDE, 50)})

    decisions = plan([burn("1", points=50, partner_id=A), burn("2", points=50, partner_id=B)], here)

    assert all(isinstance(decision, Accepted) for decision in decisions)


def test_a_refused_burn_changes_nothing() -> None:
    kept = lot(99)
    here = book(lots=[kept])

    plan([burn(points=100)], here)

    assert here.entries == []
    assert (kept.open_points, kept.changed) == (99, False)
    assert not here.wallets[M1].changed
    assert not here.links[M1, B].changed
