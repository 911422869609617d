"""A faithful file damaged in every way at once, through the database: what is found is what was planted."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from random import Random

import pytest
from sqlalchemy import Engine

from exchange.core.ids import member_text
from settlement.core.break_types import NOTHING
from settlement.partner_files import Declared
from settlement.people import Actor
from settlement.reconciliation import Outcome, dry_run
from settlement.store.engine import open_engine
from settlement.store.feed import read_ledger
from tests.conftest import Databases
from tests.postgres.journal_rows import Deal, Journal, partner_file, prepare_hub, yuan

DAY, EARLIER = date(2026, 1, 2), date(2026, 1, 1)
LATE = "2026-01-02T23:45:00+08:00"

Damage = Callable[[Deal], list[str]]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "omitted": (lambda _: [], "MISSING_AT_PARTNER"),
    "doubled": (lambda it: [it.line(), it.line()], "DUPLICATE"),
    "doubled anew": (lambda it: [it.line(), it.line(request_id=f"again-{it.request_id}")], "DUPLICATE"),
    "unknown": (lambda it: [it.line(), anew(it, kind="earn")], "MISSING_AT_HUB"),
    "unknown twice": (lambda it: [it.line(), anew(it), anew(it, request_id="y")], "MISSING_AT_HUB DUPLICATE"),
    "late": (lambda it: [it.line(), anew(it, event_time=LATE)], "TIMING"),
    "orphan": (lambda it: [it.line(), anew(it, kind="refund_burn")], "REFUND_UNLINKED"),
    "points": (lambda it: [it.line(points=it.points - 1)], "AMOUNT_MISMATCH"),
    "unit": (
        lambda it: [it.line(claimed=yuan(it.claimed * 100), owed=yuan(it.owed * 100))],
        "AMOUNT_MISMATCH",
    ),
    "version": (lambda it: [it.line(rate_version=2)], "RATE_VERSION_MISMATCH"),
    "rounding": (lambda it: [it.line(owed=yuan(it.owed + 10_000))], "ROUNDING"),
    "voided": (lambda it: [it.line(state="voided")], "STATE_MISMATCH"),
    "member": (lambda it: [it.line(member_id=member_text(8))], "WRONG_MEMBER"),
    "store": (lambda it: [it.line(store_id="s-2")], "WRONG_STORE"),
    "none": (lambda it: [it.line()], ""),
    "bare": (lambda it: [it.line(member_id="", store_id="", rate_version="", state="")], ""),
}


def anew(deal: Deal, **changed: object) -> str:
    """The same deal under names that nobody knows."""
    return deal.line(**({"request_id": f"x-{deal.request_id}", "reference": f"x-{deal.reference}"} | changed))


@pytest.fixture(scope="module")
def journal(databases: Databases) -> Iterator[tuple[Journal, Engine]]:
    """Each damage has an earn and a burn; the day before has one that the file brings again."""
    with databases.fresh() as url:
        prepare_hub(url)
        opened = Journal.open(url)
        opened.earn(EARLIER, "a", 500, request_id="before", reference="order-before")
        opened.close(EARLIER)
        for number in range(2 * len(DAMAGES)):
            (opened.earn if number % 2 else opened.burn)(DAY, "a", 300 + number)
        opened.close(DAY)
        engine = open_engine(url)
        with opened.connection:
            yield opened, engine
        engine.dispose()


def tried(engine: Engine, lines: list[str]) -> Outcome:
    with engine.begin() as connection:
        _, outcome = dry_run(
            connection,
            read_ledger(connection),
            Actor(None, unattended=True),
            Declared("a", DAY),
            [partner_file("a", DAY, lines)],
        )
    assert outcome is not None
    return outcome


@pytest.mark.parametrize("seed", range(3))
def test_every_damage_is_found_by_its_name_and_explained_whatever_the_order(
    journal: tuple[Journal, Engine], seed: int
) -> None:
    posted, engine = journal
    deals = [deal for day, deal in posted.posted if day == DAY]
    damages = [damage for damage in DAMAGES.values() for _ in range(2)]
    Random(seed).shuffle(damages)
    pairs = list(zip(deals, damages, strict=True))
    lines = [line for deal, (damage, _) in pairs for line in damage(deal)]
    Random(seed).shuffle(lines)

    outcome = tried(engine, lines)

    planted = Counter(name for _, (_, names) in pairs for name in names.split())
    assert Counter(one.type.value for one in outcome.found) == planted
    assert outcome.controls.unexplained == NOTHING


def test_a_deal_of_the_day_before_is_timing_until_that_day_is_reconciled(
    journal: tuple[Journal, Engine],
) -> None:
    posted, engine = journal
    lines = [deal.line() for _, deal in posted.posted]

    outcome = tried(engine, lines)

    assert [(one.type.value, one.detail) for one in outcome.found] == [
        ("TIMING", "the hub has it on 2026-01-01")
    ]
    assert outcome.matched_count == 2 * len(DAMAGES)


def test_files_without_request_ids_find_the_same(journal: tuple[Journal, Engine]) -> None:
    posted, engine = journal
    deals = [deal for day, deal in posted.posted if day == DAY]
    lines = [deal.line(request_id="") for deal in deals[2:]]

    outcome = tried(engine, [*lines, lines[0], deals[3].line(request_id="", reference="order-of-nobody")])

    assert Counter(one.type.value for one in outcome.found) == {
        "MISSING_AT_PARTNER": 2,
        "DUPLICATE": 1,
        "MISSING_AT_HUB": 1,
    }
    assert outcome.controls.unexplained == NOTHING
