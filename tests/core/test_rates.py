"""Rate cards: which one prices an event, what it prices it at, and when its points end."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest

from exchange.core.rates import NEVER, Cards, ExpiryKind, ExpiryPolicy, RateCard, find_unfunded
from tests.builders import MICROSECOND, NO_EXPIRY, NOON, A, B, C, at, card, days, months, until


@pytest.mark.parametrize(
    ("policy", "event_day", "last_day"),
    [
        (NO_EXPIRY, "2026-01-31", "9999-12-31"),
        (days(1), "2026-01-31", "2026-02-01"),
        (days(365), "2024-02-29", "2025-02-28"),  # over a leap day's end
        (days(366), "2023-03-01", "2024-03-01"),  # 366 days, because of 29 February
        (days(1), "2026-12-31", "2027-01-01"),
        (months(0), "2026-01-01", "2026-01-31"),
        (months(0), "2026-01-31", "2026-01-31"),
        (months(1), "2026-01-31", "2026-02-28"),  # no 31 February
        (months(1), "2024-01-31", "2024-02-29"),
        (months(1), "2100-01-31", "2100-02-28"),  # a century that is no leap year
        (months(12), "2024-02-29", "2025-02-28"),
        (months(1), "2026-11-30", "2026-12-31"),
        (months(1), "2026-12-01", "2027-01-31"),
        (months(13), "2026-12-15", "2028-01-31"),
        (until("2026-06-30"), "2026-06-30", "2026-06-30"),
        (until("2026-06-30"), "2026-07-01", "2026-06-30"),  # such points have had their day
        (days(1), "9999-12-31", "9999-12-31"),  # the calendar ends: never
        (days(36_500), "9950-01-01", "9999-12-31"),
        (months(0), "9999-12-01", "9999-12-31"),
        (months(1), "9999-12-01", "9999-12-31"),
        (months(1_200), "9900-01-01", "9999-12-31"),
    ],
)
def test_the_last_usable_day_follows_the_policy(policy: ExpiryPolicy, event_day: str, last_day: str) -> None:
    found = policy.last_day(date.fromisoformat(event_day))

    assert found == date.fromisoformat(last_day)


@pytest.mark.parametrize("kind", [ExpiryKind.DAYS, ExpiryKind.MONTHS_TO_MONTH_END])
def test_a_policy_beyond_the_calendar_means_never(kind: ExpiryKind) -> None:
    found = ExpiryPolicy(kind, 2**31 - 1).last_day(date(2026, 1, 1))

    assert found == NEVER


V1 = card(A, 1, valid_from="2026-01-01 00:00")
V2 = card(A, 2, valid_from="2026-02-01 00:00")
V3 = card(A, 3, valid_from="2026-02-01 00:00")


@pytest.mark.parametrize(
    ("moment", "in_force"),
    [
        (V1.valid_from - MICROSECOND, None),
        (V1.valid_from, V1),
        (V2.valid_from - MICROSECOND, V1),
        (V2.valid_from, V2),
        (datetime(9999, 12, 31, tzinfo=UTC), V2),
    ],
)
def test_a_card_is_in_force_from_its_first_moment_until_the_next_one(
    moment: datetime, in_force: RateCard | None
) -> None:
    cards = Cards([V2, V1, card(B, 1)])

    assert cards.in_force(A, moment) == in_force


def test_a_partner_without_a_card_has_none_in_force() -> None:
    assert Cards([V1]).in_force(B, NOON) is None


def test_the_later_version_wins_where_two_begin_together() -> None:
    cards = Cards([V3, V1, V2])

    assert cards.in_force(A, V2.valid_from) == V3
    assert cards.history(A) == (V1, V2, V3)


def test_a_lot_finds_its_card_however_old() -> None:
    cards = Cards([V1, V2, card(B, 1)])

    assert cards.of_version(A, 1) == V1
    assert cards.of_version(B, 1).partner_id == B
    assert cards.partners() == (B, A)  # by their first card: B's of 2017, A's of 2026
    with pytest.raises(KeyError):
        cards.of_version(A, 3)


@pytest.mark.parametrize(
    ("earn_rate", "spend_minor", "points"),
    [
        (Fraction(1), 1667, 16),  # the example's E6: 16.67 at 1 point per 1.00
        (Fraction(1), 99, 0),
        (Fraction(1), 100, 1),
        (Fraction(1, 3), 299, 0),
        (Fraction(1, 3), 300, 1),
        (Fraction(2, 3), 149, 0),
        (Fraction(2, 3), 150, 1),
        (Fraction(5, 2), 199, 4),  # 4.975
        (Fraction(1, 10), 999, 0),
        (Fraction(0), 1_000_000_000_000, 0),
        (Fraction(1, 3), 1_000_000_000_000, 3_333_333_333),
    ],
)
def test_earning_by_spend_rounds_down_and_a_fraction_earns_nothing(
    earn_rate: Fraction, spend_minor: int, points: int
) -> None:
    assert card(earn_rate=earn_rate).points_for(spend_minor, minor_per_major=100) == points


def test_a_currency_without_minor_units_earns_on_its_major_unit() -> None:
    assert card(earn_rate=Fraction(1, 100)).points_for(1_250, minor_per_major=1) == 12


@pytest.mark.parametrize(
    ("prefunded", "share", "issuer_micros"),
    [
        (10_000, Fraction(0), 0),
        (10_000, Fraction(1), 10_000),
        (10_000, Fraction(1, 2), 5_000),
        (10_001, Fraction(1, 2), 5_000),  # the half micro stays with the operator
        (10_000, Fraction(1, 3), 3_333),
        (10_000, Fraction(2, 3), 6_666),
        (0, Fraction(1), 0),
    ],
)
def test_breakage_gives_the_issuer_its_share_rounded_down_per_point(
    prefunded: int, share: Fraction, issuer_micros: int
) -> None:
    priced = card(prefunded=prefunded, funding=20_000, breakage_issuer_share=share)

    assert priced.issuer_breakage_micros() == issuer_micros


# No R in force or coming exceeds an F in force or coming, or that of an outstanding lot.

IN_FORCE = [card(A, funding=10_000, reimbursement=9_500), card(B, funding=10_000, reimbursement=9_500)]


@pytest.mark.parametrize("both", [9_500, 10_000])  # the least that others receive, the most that they pay
def test_a_card_within_every_funding_is_funded(both: int) -> None:
    proposed = card(C, funding=both, reimbursement=both)

    assert find_unfunded(proposed, Cards(IN_FORCE), NOON, []) is None


def test_a_reimbursement_above_anothers_funding_names_both_cards() -> None:
    proposed = card(C, funding=20_000, reimbursement=10_001)

    found = find_unfunded(proposed, Cards(IN_FORCE), NOON, [])

    assert found is not None
    assert found.redeemer == proposed
    assert found.issuer in IN_FORCE


def test_a_funding_below_anothers_reimbursement_names_both_cards() -> None:
    proposed = card(C, funding=9_499, reimbursement=0)

    found = find_unfunded(proposed, Cards(IN_FORCE), NOON, [])

    assert found is not None
    assert found.redeemer in IN_FORCE
    assert found.issuer == proposed


def test_a_card_that_is_yet_to_come_counts() -> None:
    coming = card(B, 2, valid_from="2026-06-01 00:00", funding=9_000, reimbursement=9_000)
    proposed = card(C, funding=10_000, reimbursement=9_001)

    found = find_unfunded(proposed, Cards([*IN_FORCE, coming]), NOON, [])

    assert found is not None
    assert found.issuer == coming


def test_a_card_that_another_has_replaced_counts_no_more_unless_points_of_it_are_outstanding() -> None:
    past = card(B, 1, funding=9_000, reimbursement=9_000)
    present = card(B, 2, valid_from="2026-01-01 12:00", funding=10_000, reimbursement=9_000)
    cards = Cards([card(A, reimbursement=9_000), past, present])
    proposed = card(C, funding=10_000, reimbursement=9_500)

    before_replaced = find_unfunded(proposed, cards, present.valid_from - MICROSECOND, [])
    replaced = find_unfunded(proposed, cards, present.valid_from, [])
    outstanding = find_unfunded(proposed, cards, present.valid_from, [(B, 1)])

    assert before_replaced is not None
    assert before_replaced.issuer == past
    assert replaced is None
    assert outstanding is not None
    assert outstanding.issuer == past


def test_the_card_that_a_proposal_will_replace_still_counts_until_then() -> None:
    proposed = card(B, 2, valid_from="2026-02-01 00:00", funding=20_000, reimbursement=9_000)
    cards = Cards(
        [card(A, funding=20_000, reimbursement=9_500), card(B, 1, funding=9_400, reimbursement=9_000)]
    )

    until_then = find_unfunded(proposed, cards, proposed.valid_from - timedelta(days=1), [])
    from_then_on = find_unfunded(proposed, cards, proposed.valid_from, [])

    assert until_then is not None
    assert until_then.issuer.version == 1
    assert from_then_on is None


def test_a_partners_own_card_may_not_reimburse_more_than_it_funds() -> None:
    # On-us burns are not priced by R, but the same card redeems other issuers' points.
    proposed = card(A, funding=9_000, reimbursement=9_001)

    found = find_unfunded(proposed, Cards([]), at("2026-01-01 00:00"), [])

    assert found is not None
    assert (found.redeemer, found.issuer) == (proposed, proposed)
