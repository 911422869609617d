"""Earn: lots, prices, days and money."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

import pytest

from exchange.core.book import Book
from exchange.core.commands import Earn
from exchange.core.decisions import Accepted
from exchange.core.ids import OPERATOR, POOL
from exchange.core.journal import Leg, Line
from exchange.core.lots import Lot
from exchange.core.planner import plan
from exchange.core.points import EXPIRED, ISSUED, OPEN
from exchange.core.rates import NEVER
from tests.builders import M1, NOON, A, B, accepted, at, book, card, days, earn, lot, months

TODAY = NOON.date()
FOUR_DAYS_AGO = at("2025-12-28 09:00")


def post(command: Earn, here: Book) -> Accepted:
    return accepted(plan([command], here)[0])


def the_lots(here: Book) -> list[Lot]:
    return sorted(here.wallets[M1].lots.values(), key=lambda lot: lot.lot_sequence)


def test_an_earn_makes_a_lot_and_owes_its_funding_and_fee() -> None:
    here = book(cards=[card(A, funding=10_000, prefunded=4_000, issue_fee=200)])

    decision = post(earn(points=100), here)

    assert decision.entry.legs == (Leg(M1, 1, A, 1, ISSUED, OPEN, 100, 4_000),)
    assert decision.entry.lines == (
        Line(A, "ISSUE_FUNDING", POOL, "ISSUE_FUNDING", 400_000),
        Line(A, "ISSUE_FEE", OPERATOR, "ISSUE_FEE", 20_000),
    )
    assert (decision.entry.points, decision.entry.rate_version) == (100, 1)
    assert (decision.available_points, decision.expiry_date) == (100, NEVER)
    assert (decision.value_micros, decision.reimbursement_micros) == (0, 0)
    (made,) = the_lots(here)
    assert (made.issued_points, made.open_points, made.funding_micros, made.created) == (
        100,
        100,
        10_000,
        True,
    )


def test_redeem_funded_points_without_a_fee_move_no_money() -> None:
    here = book(cards=[card(A, prefunded=0, issue_fee=0)])

    assert post(earn(points=100), here).entry.lines == ()


def test_an_earn_by_spend_is_priced_by_the_earn_rate_and_rounded_down() -> None:
    here = book(cards=[card(A, earn_rate=Fraction(3, 2), issue_fee=200)])

    decision = post(earn(spend_minor=1_999), here)

    assert decision.entry.points == 29  # 19.99 x 1.5 = 29.985
    assert decision.entry.lines[1].micros == 29 * 200


def test_earns_of_one_version_and_day_join_one_lot_for_ever() -> None:
    empty = lot(0, issuer=card(A))
    here = book(lots=[empty])

    plan([earn("1", points=100), earn("2", points=50)], here)

    assert the_lots(here) == [empty]
    assert (empty.lot_sequence, empty.open_points, empty.created, empty.changed) == (1, 150, False, True)


def test_another_issuer_version_or_day_is_another_lot_with_the_next_sequence() -> None:
    versions = [card(A, 1), card(A, 2, valid_from="2026-01-01 00:00")]
    here = book(cards=versions)
    commands = [
        earn("1"),
        earn("2", event_time=FOUR_DAYS_AGO),
        earn("3", expiry_date=date(2026, 6, 30)),
        earn("4", partner_id=B),
        earn("5"),
    ]

    plan(commands, here)

    legs = [entry.legs[0] for entry in here.entries]
    assert [(leg.lot_sequence, leg.issuer_id, leg.rate_version) for leg in legs] == [
        (1, A, 2),
        (2, A, 1),
        (3, A, 2),
        (4, B, 1),
        (1, A, 2),
    ]
    assert [
        (each.issuer_id, each.rate_version, each.expiry_date, each.open_points) for each in the_lots(here)
    ] == [
        (A, 2, NEVER, 200),
        (A, 1, NEVER, 100),
        (A, 2, date(2026, 6, 30), 100),
        (B, 1, NEVER, 100),
    ]
    assert here.wallets[M1].lot_sequence == 4


def test_a_late_earn_is_priced_on_the_card_of_its_event_time() -> None:
    old = card(A, 1, funding=10_000)
    new = card(A, 2, valid_from="2026-01-01 00:00", funding=10_500)
    here = book(cards=[old, new])

    decision = post(earn(points=100, event_time=FOUR_DAYS_AGO), here)

    assert decision.entry.rate_version == 1
    assert decision.entry.lines[0].micros == 100 * 10_000


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, date(2026, 1, 31)),
        (date(2026, 1, 15), date(2026, 1, 15)),
        (date(2026, 1, 31), date(2026, 1, 31)),
        (date(2026, 2, 1), date(2026, 1, 31)),  # a later day has no effect
        (NEVER, date(2026, 1, 31)),
    ],
)
def test_an_own_expiry_date_only_shortens_the_policy(own: date | None, expected: date) -> None:
    here = book(cards=[card(A, expiry=months(0))])

    decision = post(earn(expiry_date=own), here)

    assert decision.expiry_date == expected
    assert here.wallets[M1].next_expiry_date == expected


def test_the_policy_counts_from_the_events_day_in_the_coalitions_zone() -> None:
    here = book(cards=[card(A, expiry=days(30))])

    on_the_31st = post(earn("1", event_time=at("2025-12-31 23:59")), here)
    on_the_1st = post(earn("2", event_time=at("2026-01-01 00:00")), here)  # still December in UTC

    assert on_the_31st.expiry_date == date(2026, 1, 30)
    assert on_the_1st.expiry_date == date(2026, 1, 31)


def test_points_whose_last_day_is_today_are_open() -> None:
    here = book(cards=[card(A, expiry=days(4))])

    decision = post(earn(event_time=FOUR_DAYS_AGO), here)

    assert decision.expiry_date == TODAY
    assert decision.available_points == 100
    assert here.wallets[M1].next_expiry_date == TODAY


def test_a_late_earn_whose_points_have_had_their_day_expires_in_the_same_entry() -> None:
    priced = card(A, prefunded=10_000, issue_fee=200, expiry=days(3), breakage_issuer_share=Fraction(1, 4))
    here = book(cards=[priced], lots=[lot(7, issuer=card(B))])

    decision = post(earn(points=100, event_time=FOUR_DAYS_AGO), here)

    assert decision.entry.legs == (
        Leg(M1, 2, A, 1, ISSUED, OPEN, 100, 10_000),
        Leg(M1, 2, A, 1, OPEN, EXPIRED, 100, 10_000),
    )
    assert decision.entry.lines == (
        Line(A, "ISSUE_FUNDING", POOL, "ISSUE_FUNDING", 1_000_000),
        Line(A, "ISSUE_FEE", OPERATOR, "ISSUE_FEE", 20_000),
        Line(POOL, "BREAKAGE_SHARE", A, "BREAKAGE_SHARE", 250_000),
        Line(POOL, "BREAKAGE_SHARE", OPERATOR, "BREAKAGE_SHARE", 750_000),
    )
    assert (decision.available_points, decision.expiry_date) == (7, date(2025, 12, 31))
    made = the_lots(here)[1]
    assert (made.issued_points, made.open_points, made.expired_points) == (100, 0, 100)
    assert here.wallets[M1].next_expiry_date == NEVER
    assert len(here.entries) == 1


def test_only_a_lot_that_ends_earlier_moves_the_next_expiry_date() -> None:
    here = book(lots=[lot(10, expiry_date=date(2026, 3, 1))])

    plan([earn("1", expiry_date=date(2026, 4, 1))], here)
    later = here.wallets[M1].next_expiry_date
    plan([earn("2", expiry_date=date(2026, 2, 1))], here)
    earlier = here.wallets[M1].next_expiry_date

    assert (later, earlier) == (date(2026, 3, 1), date(2026, 2, 1))
