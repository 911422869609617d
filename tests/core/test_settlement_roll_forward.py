"""Roll-forwards close for points and money, whatever moved; what is not settled is bucketed by its age."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from settlement.core.exposure import (
    BUCKETS,
    Exposure,
    PostedPosition,
    WindowPosition,
    aged,
    bucket_index,
    exposures,
)
from settlement.core.points import ACCOUNTS, SINKS, STANDING, IssuerPoints, LegSum, roll_forward
from settlement.core.roll_forward import MOVEMENTS, RollForward, roll_forwards, totals

DAY = date(2026, 1, 10)


def leg(
    source: str, target: str, points: int, issuer: str = "a", funding: int = 10_000, prefunded: int = 4_000
) -> LegSum:
    return LegSum(issuer, source, target, funding, prefunded, points, 1)


BEFORE = roll_forward(
    (), [leg("issued", "open", 1_000), leg("open", "held", 300), leg("open", "burned", 100)]
)
EVERY_LEG = (
    leg("issued", "open", 70, funding=10_500, prefunded=0),
    leg("moved_in", "open", 5),
    leg("open", "held", 50),
    leg("held", "open", 20),
    leg("held", "burned", 200),
    leg("open", "burned", 30),
    leg("burned", "open", 60),
    leg("open", "expired", 7),
    leg("open", "clawed_back", 11),
    leg("open", "absorbed", 13),
    leg("open", "moved_out", 5),
)


def by_measure(found: tuple[RollForward, ...], issuer: str = "a") -> dict[str, RollForward]:
    return {row.measure: row for row in found if row.issuer_id == issuer}


def test_every_movement_is_counted_once_and_the_roll_forward_closes() -> None:
    after = roll_forward(BEFORE, EVERY_LEG)

    rows = by_measure(roll_forwards(BEFORE, EVERY_LEG, after))

    assert rows["points"].opening == 900
    assert rows["points"].moved == {
        "issued": 70,
        "burned": 230,
        "refunded": 60,
        "expired": 7,
        "clawed_back": 11,
        "absorbed": 13,
        "moved_in": 5,
        "moved_out": 5,
    }
    assert rows["points"].closing == 769
    assert [row.difference for row in rows.values()] == [0, 0, 0]


def test_money_moves_at_the_f_and_p_of_each_lot() -> None:
    after = roll_forward(BEFORE, EVERY_LEG)

    rows = by_measure(roll_forwards(BEFORE, EVERY_LEG, after))

    assert rows["liability"].moved["issued"] == 70 * 10_500
    assert rows["liability"].moved["burned"] == 230 * 10_000
    assert rows["escrow"].moved["issued"] == 0
    assert rows["escrow"].moved["refunded"] == 60 * 4_000
    assert rows["escrow"].closing == after[0].escrow_micros


@pytest.mark.parametrize("field", ["open", "liability_micros", "escrow_micros"])
def test_a_closing_that_does_not_follow_is_told_by_its_difference(field: str) -> None:
    after = roll_forward(BEFORE, EVERY_LEG)
    wrong = (replace(after[0], **{field: getattr(after[0], field) + 3}),)

    rows = roll_forwards(BEFORE, EVERY_LEG, wrong)

    assert sorted(row.difference for row in rows) == [0, 0, 3]


def test_an_issuer_that_begins_and_one_that_does_nothing_have_roll_forwards_too() -> None:
    quiet = IssuerPoints("b", issued=10, open=10, liability_micros=100, escrow_micros=0)
    legs = [leg("issued", "open", 5, issuer="c")]
    after = roll_forward((quiet,), legs)

    found = roll_forwards((quiet,), legs, after)

    assert [row.issuer_id for row in found] == ["b"] * 3 + ["c"] * 3
    assert by_measure(found, "b")["points"].opening == by_measure(found, "b")["points"].closing == 10
    assert by_measure(found, "c")["points"].moved["issued"] == 5
    assert totals(found, "points", "all").closing == 15


def test_every_movement_a_leg_can_make_between_outstanding_points_and_elsewhere_has_a_name() -> None:
    sources, sinks = ("issued", "moved_in", "burned"), SINKS

    named = set(MOVEMENTS)

    assert named == {*sinks, "issued", "moved_in", "refunded"}
    assert {*sources, *sinks, *STANDING} == set(ACCOUNTS)


def test_windows_put_together_roll_forward_like_one() -> None:
    middle = roll_forward(BEFORE, EVERY_LEG[:5])
    after = roll_forward(middle, EVERY_LEG[5:])

    apart = [
        by_measure(roll_forwards(BEFORE, EVERY_LEG[:5], middle)),
        by_measure(roll_forwards(middle, EVERY_LEG[5:], after)),
    ]
    together = by_measure(roll_forwards(BEFORE, EVERY_LEG, after))

    for measure, row in together.items():
        assert row.opening == apart[0][measure].opening
        assert apart[0][measure].closing == apart[1][measure].opening
        assert row.moved == {name: sum(one[measure].moved[name] for one in apart) for name in MOVEMENTS}


def test_exposure_adds_windows_that_are_not_settled_to_what_is_posted_since() -> None:
    windows = [
        WindowPosition(DAY, "a", 5, 20),
        WindowPosition(DAY + timedelta(1), "a", 0, 1),
        WindowPosition(DAY, "POOL", 16, 0),
    ]
    posted = [PostedPosition("a", 0, 5_000), PostedPosition("b", 5_000, 0)]

    found = exposures(windows, posted, 10_000)

    assert found == (
        Exposure("a", 2, 5, 21, 0, 5_000, -165_000),
        Exposure("b", 0, 0, 0, 5_000, 0, 5_000),
        Exposure("POOL", 1, 16, 0, 0, 0, 160_000),
    )
    assert sum(row.net_micros for row in found) == 0


@pytest.mark.parametrize(
    ("age", "bucket"),
    [
        (-1, "0-1"),
        (0, "0-1"),
        (1, "0-1"),
        (2, "2-3"),
        (3, "2-3"),
        (4, "4-7"),
        (7, "4-7"),
        (8, "8-30"),
        (30, "8-30"),
        (31, "over 30"),
        (4_000, "over 30"),
    ],
)
def test_ages_fall_into_their_buckets(age: int, bucket: str) -> None:
    assert BUCKETS[bucket_index(age)][0] == bucket


def test_an_ageing_list_adds_up() -> None:
    amounts = [("a", DAY, -5), ("a", DAY - timedelta(9), 7), ("b", DAY - timedelta(9), 1), ("a", DAY, 1)]

    first, second = aged(amounts, DAY)

    assert (first.amounts, first.total) == ((-4, 0, 0, 7, 0), 3)
    assert (second.party_id, second.total) == ("b", 1)
