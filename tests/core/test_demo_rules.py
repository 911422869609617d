"""The demo's fixed rules: who is enrolled and linked where, and when a household burns points."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from examples.month.households import CONSENT, Households
from examples.month.partners import PARTNER_IDS, PARTNERS
from examples.purchases.reader import PARTNERS as PARTNERS_OF_PURCHASES
from examples.purchases.reader import Purchase

HOUSEHOLD = 7
MORNING = datetime(2017, 11, 24, 9, tzinfo=UTC)


def bought(partner: str, spend_fen: int, basket_id: int = 1, household_id: int = HOUSEHOLD) -> Purchase:
    return Purchase(
        event_time=MORNING + timedelta(hours=basket_id),
        household_id=household_id,
        basket_id=basket_id,
        store_id=3,
        partner=partner,
        spend_fen=spend_fen,
        line_count=1,
    )


def at_home_at(partner: str) -> Households:
    households = Households()
    households.note_earned(HOUSEHOLD, partner, 5_000)
    return households


def planned(
    households: Households, purchases: list[Purchase], available_points: int
) -> list[tuple[str, int]]:
    burns = households.plan_burns(purchases, {HOUSEHOLD: available_points})
    return [(burn.purchase.partner, burn.points) for burn in burns]


def test_a_burn_is_where_most_of_the_basket_was_spent_away_from_home() -> None:
    households = at_home_at("grocery")

    burns = planned(households, [bought("grocery", 9_000), bought("deli", 500), bought("meat", 700)], 450)

    assert burns == [("meat", 400)]


def test_a_tie_goes_to_the_partner_that_posts_first() -> None:
    households = at_home_at("travel")

    burns = planned(households, [bought("deli", 500), bought("grocery", 500)], 200)

    assert burns == [("grocery", 200)]


def test_a_household_that_shops_at_home_only_keeps_its_points() -> None:
    households = at_home_at("grocery")

    burns = planned(households, [bought("grocery", 9_000)], 4_000)

    assert burns == []


def test_a_burn_pays_no_more_than_the_purchase_costs() -> None:
    households = at_home_at("grocery")

    burns = planned(households, [bought("travel", 420)], 4_000)

    # 420 fen at 1.05 fen a point are 400 points; at the usual fen a point they would be too.
    assert burns == [("travel", 400)]


def test_the_price_counts_at_what_a_point_buys_there() -> None:
    households = at_home_at("grocery")

    burns = planned(households, [bought("travel", 419)], 4_000)

    assert burns == [("travel", 300)]


def test_a_burn_stays_within_the_consent() -> None:
    households = at_home_at("grocery")

    burns = planned(households, [bought("meat", 90_000)], 50_000)

    assert burns == [("meat", CONSENT.per_burn_limit_points)]


def test_fewer_than_two_hundred_points_are_kept() -> None:
    households = at_home_at("grocery")

    burns = planned(households, [bought("meat", 90_000)], 199)

    assert burns == []


def test_only_the_last_basket_of_the_day_is_paid_with_points() -> None:
    households = at_home_at("grocery")
    day = [bought("meat", 9_000), bought("deli", 800, basket_id=2), bought("fuel", 700, basket_id=2)]

    burns = planned(households, day, 1_000)

    assert burns == [("deli", 800)]


def test_a_household_that_earned_nothing_today_burns_nothing() -> None:
    households = at_home_at("grocery")

    burns = households.plan_burns([bought("meat", 9_000)], {})

    assert burns == []


def test_a_household_is_enrolled_by_the_first_partner_and_linked_by_the_others() -> None:
    households = Households()
    day = [bought("meat", 100), bought("grocery", 100), bought("deli", 100, 2, household_id=8)]

    newcomers = households.newcomers(day)
    for partner, customers in newcomers.items():
        households.welcome(partner, {customer: f"m-{customer}" for customer in customers})
    strangers = households.strangers(day)
    households.welcome("grocery", {HOUSEHOLD: "m-7"})

    assert newcomers == {"meat": [HOUSEHOLD], "deli": [8]}
    assert strangers == {"grocery": [HOUSEHOLD]}
    assert households.newcomers(day) == {}
    assert households.strangers(day) == {}
    assert households.link_count == 3


def test_the_partners_are_those_of_the_purchases() -> None:
    partner_ids = [partner.partner_id for partner in PARTNERS]

    assert sorted(partner_ids) == sorted(PARTNERS_OF_PURCHASES)
    assert tuple(partner_ids) == PARTNER_IDS


def test_no_redeemer_receives_more_than_the_least_an_issuer_pays() -> None:
    least_funding = min(partner.card.funding_micros for partner in PARTNERS)

    assert all(partner.card.reimbursement_micros <= least_funding for partner in PARTNERS)


def test_every_funding_mode_and_every_expiry_policy_is_there() -> None:
    modes = {partner.funded_at for partner in PARTNERS}
    policies = {partner.card.expiry.WhichOneof("policy") for partner in PARTNERS}

    assert modes == {"issue", "redeem", "both"}
    assert policies == {"never", "days", "months_to_month_end", "fixed_date"}


def test_a_yuan_earns_from_half_a_point_to_ten() -> None:
    rates = [Fraction(*partner.card.earn_rate) for partner in PARTNERS]

    assert (min(rates), max(rates)) == (Fraction(1, 2), Fraction(10))
