"""What one burned point moves: parts of pool and issuer, at every price."""

from __future__ import annotations

import pytest

from exchange.core.decide.draft import Draft
from exchange.core.decide.prices import owe_burn
from exchange.core.ids import OPERATOR, POOL
from exchange.core.journal import Line
from exchange.core.lots import Lot
from exchange.core.money import MAX_MICROS_PER_POINT, pool_part
from exchange.core.points import MAX_POINTS
from exchange.core.rates import RateCard, split_burn
from tests.builders import A, B, card, lot


def burn_lines(burned: Lot, redeemer: RateCard) -> list[Line]:
    """What 100 points of a lot move."""
    draft = Draft()
    owe_burn(draft, burned, 100, redeemer)
    return draft.lines


def test_parts_add_up_to_the_whole_and_every_lot_gives_exactly_its_funding() -> None:
    for funding in range(1, 13):
        for prefunded in range(funding + 1):
            for reimbursement in range(2 * funding + 2):
                split = split_burn(funding, prefunded, reimbursement)

                assert split.pool_reimbursement + split.issuer_reimbursement == reimbursement
                assert split.pool_reimbursement + split.pool_spread == prefunded
                assert split.issuer_reimbursement + split.issuer_spread == funding - prefunded
                assert 0 <= split.pool_reimbursement * funding <= reimbursement * prefunded
                assert reimbursement * prefunded < (split.pool_reimbursement + 1) * funding
                assert split.issuer_reimbursement >= 0


def test_up_to_the_funding_the_operator_never_pays() -> None:
    for funding in range(1, 13):
        for prefunded in range(funding + 1):
            for reimbursement in range(funding + 1):
                split = split_burn(funding, prefunded, reimbursement)

                assert split.pool_spread >= 0
                assert split.issuer_spread >= 0


@pytest.mark.parametrize(
    ("micros", "prefunded", "funding", "part"),
    [
        (9_500, 10_000, 10_000, 9_500),
        (9_500, 0, 10_000, 0),
        (9_500, 5_000, 10_000, 4_750),
        (9_501, 5_000, 10_000, 4_750),  # 4,750.5: the half is the issuer's
        (9_600, 3_333, 10_500, 3_047),  # 3,047.31...
        (1, 1, 2, 0),
        (0, 7, 7, 0),
        (MAX_MICROS_PER_POINT, MAX_MICROS_PER_POINT, MAX_MICROS_PER_POINT, MAX_MICROS_PER_POINT),
    ],
)
def test_the_pools_part_is_rounded_down(micros: int, prefunded: int, funding: int, part: int) -> None:
    assert pool_part(micros, prefunded, funding) == part


def test_the_largest_command_at_the_highest_price_fits_63_bits() -> None:
    assert MAX_POINTS * MAX_MICROS_PER_POINT < 2**63


@pytest.mark.parametrize(
    ("funding", "prefunded", "reimbursement", "lines"),
    [
        pytest.param(
            10_000,
            10_000,
            9_500,
            [
                Line(POOL, "BURN_FUNDING", B, "BURN_REIMBURSE", 950_000),
                Line(POOL, "BURN_FUNDING", OPERATOR, "SPREAD", 50_000),
            ],
            id="issue-funded",
        ),
        pytest.param(
            10_000,
            0,
            9_500,
            [
                Line(A, "BURN_FUNDING", B, "BURN_REIMBURSE", 950_000),
                Line(A, "BURN_FUNDING", OPERATOR, "SPREAD", 50_000),
            ],
            id="redeem-funded",
        ),
        pytest.param(
            10_500,
            3_333,
            9_600,
            [
                Line(POOL, "BURN_FUNDING", B, "BURN_REIMBURSE", 304_700),
                Line(A, "BURN_FUNDING", B, "BURN_REIMBURSE", 655_300),
                Line(POOL, "BURN_FUNDING", OPERATOR, "SPREAD", 28_600),
                Line(A, "BURN_FUNDING", OPERATOR, "SPREAD", 61_400),
            ],
            id="hybrid",
        ),
        pytest.param(
            9_000,
            9_000,
            12_000,
            [
                Line(POOL, "BURN_FUNDING", B, "BURN_REIMBURSE", 1_200_000),
                Line(OPERATOR, "SPREAD", POOL, "BURN_FUNDING", 300_000),
            ],
            id="R above F: the operator pays the difference",
        ),
        pytest.param(
            9_000,
            0,
            12_000,
            [
                Line(A, "BURN_FUNDING", B, "BURN_REIMBURSE", 1_200_000),
                Line(OPERATOR, "SPREAD", A, "BURN_FUNDING", 300_000),
            ],
            id="R above F, redeem-funded",
        ),
        pytest.param(
            9_000,
            4_500,
            12_000,
            [
                Line(POOL, "BURN_FUNDING", B, "BURN_REIMBURSE", 600_000),
                Line(A, "BURN_FUNDING", B, "BURN_REIMBURSE", 600_000),
                Line(OPERATOR, "SPREAD", POOL, "BURN_FUNDING", 150_000),
                Line(OPERATOR, "SPREAD", A, "BURN_FUNDING", 150_000),
            ],
            id="R above F, hybrid",
        ),
        pytest.param(
            10_000,
            10_000,
            10_000,
            [Line(POOL, "BURN_FUNDING", B, "BURN_REIMBURSE", 1_000_000)],
            id="R equals F: no spread",
        ),
        pytest.param(
            10_000,
            10_000,
            0,
            [Line(POOL, "BURN_FUNDING", OPERATOR, "SPREAD", 1_000_000)],
            id="a redeemer that receives nothing",
        ),
    ],
)
def test_a_burn_elsewhere_is_paid_by_pool_and_issuer(
    funding: int, prefunded: int, reimbursement: int, lines: list[Line]
) -> None:
    burned = lot(issuer=card(A, funding=funding, prefunded=prefunded))

    found = burn_lines(burned, card(B, reimbursement=reimbursement))

    assert sorted(found) == sorted(lines)


@pytest.mark.parametrize(
    ("prefunded", "lines"),
    [
        pytest.param(10_000, [Line(POOL, "BURN_FUNDING", A, "BURN_REIMBURSE", 1_000_000)], id="issue-funded"),
        pytest.param(4_000, [Line(POOL, "BURN_FUNDING", A, "BURN_REIMBURSE", 400_000)], id="hybrid"),
        pytest.param(0, [], id="redeem-funded"),
    ],
)
def test_a_burn_at_its_own_issuer_gives_back_what_the_pool_holds_and_has_no_spread(
    prefunded: int, lines: list[Line]
) -> None:
    own = card(A, funding=10_000, prefunded=prefunded, reimbursement=9_500)

    found = burn_lines(lot(issuer=own), card(A, 2, reimbursement=5_000))

    assert found == lines
