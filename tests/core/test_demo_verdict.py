"""The demo ends well only where everything holds: what it refuses to call a success."""

from datetime import date
from typing import Any

import pytest

from examples.month.figures import check_agreement
from examples.month.settling import SettlementFailed, check_certificate, check_day
from examples.month.tills import Totals

DAY = date(2017, 11, 24)


def settled_day(window_date: str = "2017-11-24", **changed: Any) -> dict[str, Any]:
    parties = {"deli": -250, "POOL": 240, "OPERATOR": 10}
    good = {"window_date": window_date, "state": "CERTIFIED", "check_count": 11, "net_minor": 0}
    return good | {"parties": parties} | changed


def certificate(**holds: bool) -> dict[str, Any]:
    checks = [{"name": name, "holds": verdict} for name, verdict in holds.items()]
    return {"certificate": {"window": {"window_date": "2017-11-24"}, "checks": checks}}


def figures(earned: int = 900, burned: int = 100, days: tuple[str, ...] = ("2017-11-24",)) -> dict[str, Any]:
    return {"settled": [settled_day(day) for day in days], "points": {"earned": earned, "burned": burned}}


def test_a_certified_day_with_nets_of_zero_is_good() -> None:
    check_day(settled_day())


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "COMPUTED"},
        {"check_count": 0},
        {"net_minor": 1},
        {"parties": {"deli": -250, "POOL": 240}},
    ],
)
def test_a_day_that_is_not_certified_or_not_balanced_is_refused(changed: dict[str, Any]) -> None:
    day = settled_day(**changed)

    with pytest.raises(SettlementFailed, match="2017-11-24"):
        check_day(day)


def test_a_certificate_with_every_check_true_is_good() -> None:
    check_certificate(certificate(nets_zero=True, escrow_proof=True), DAY)


@pytest.mark.parametrize("holds", [{"nets_zero": True, "escrow_proof": False}, {}])
def test_a_certificate_with_a_false_check_or_none_is_refused(holds: dict[str, bool]) -> None:
    document = certificate(**holds)

    with pytest.raises(SettlementFailed, match=r"escrow_proof|anything"):
        check_certificate(document, DAY)


def test_the_certificate_of_another_day_is_refused() -> None:
    document = certificate(nets_zero=True)

    with pytest.raises(SettlementFailed, match="is for 2017-11-24"):
        check_certificate(document, date(2017, 11, 25))


def test_answers_that_agree_with_the_journal_are_good() -> None:
    check_agreement(figures(), Totals(earned_points=900, burned_points=100), DAY, DAY)


@pytest.mark.parametrize("totals", [Totals(earned_points=899, burned_points=100), Totals(earned_points=900)])
def test_answers_that_differ_from_the_journal_are_refused(totals: Totals) -> None:
    with pytest.raises(SettlementFailed, match="partners were answered"):
        check_agreement(figures(), totals, DAY, DAY)


@pytest.mark.parametrize(
    "days", [("2017-11-24",), ("2017-11-24", "2017-11-24"), ("2017-11-24", "2017-11-26")]
)
def test_a_day_that_is_missing_or_settled_twice_is_refused(days: tuple[str, ...]) -> None:
    totals = Totals(earned_points=900, burned_points=100)

    with pytest.raises(SettlementFailed, match="not every day"):
        check_agreement(figures(days=days), totals, DAY, date(2017, 11, 25))
