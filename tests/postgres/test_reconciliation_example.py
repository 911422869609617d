"""The reconciliation of the worked example, line by line: types, amounts at stake, controls, and what clears itself."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, text

from settlement.core.break_types import NOTHING, Controls
from settlement.core.window import Ledger
from settlement.partner_files import Declared, load_file
from settlement.people import Actor
from settlement.reconciliation import Outcome, reconcile
from settlement.store.audit import read_audit
from settlement.store.engine import open_engine
from settlement.store.feed import read_ledger
from tests.conftest import Databases
from tests.postgres.journal_rows import ZONE, Deal, Journal, partner_file, prepare_hub

DAY_1, DAY_2, DAY_3 = (date(2026, 1, number) for number in (1, 2, 3))
SETTLEMENT = Actor(None, unattended=True)


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as made:
        prepare_hub(made)
        yield made


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    """The first day of the example: A's E1, E2 and E3, B's E4, E5 and E6."""
    opened = Journal.open(url)
    for number, points in enumerate((10_000, 4_000, 1_500), 1):
        opened.earn(DAY_1, "a", points, request_id=f"E{number}", reference=f"order-{number}")
    opened.burn(DAY_1, "b", 3_333, request_id="E4", reference="order-4")
    opened.burn(DAY_1, "b", 700, request_id="E5", reference="order-5")
    opened.earn(DAY_1, "b", 16, request_id="E6", reference="order-6")
    opened.close(DAY_1)
    with opened.connection:
        yield opened


@pytest.fixture
def connection(url: str, journal: Journal) -> Iterator[Connection]:
    engine = open_engine(url)
    with engine.begin() as opened:
        yield opened
    engine.dispose()


def deals(journal: Journal) -> dict[str, Deal]:
    return {deal.request_id: deal for _, deal in journal.posted}


def submitted(connection: Connection, partner: str, day: date, lines: list[str]) -> Outcome:
    ledger: Ledger = read_ledger(connection)
    loaded = load_file(
        connection, ledger, SETTLEMENT, Declared(partner, day), [partner_file(partner, day, lines)]
    )
    return reconcile(connection, ledger, SETTLEMENT, loaded.file)


def file_of_a(journal: Journal) -> list[str]:
    """Without E3, and with an order the hub does not know."""
    known = deals(journal)
    unknown = known["E1"].line(request_id="X1", reference="order-x", points=250, owed="2.55")
    return [known["E1"].line(), known["E2"].line(), unknown]


def file_of_b(journal: Journal) -> list[str]:
    """With the 700 twice, and 17 points where the hub has 16."""
    known = deals(journal)
    return [
        known["E4"].line(),
        known["E5"].line(),
        known["E5"].line(request_id="E5-again"),
        known["E6"].line(points=17, owed="0.1734"),
    ]


def stakes(outcome: Outcome) -> dict[str, tuple[int, int]]:
    return {
        one.type.value: (one.at_stake.points_at_stake, one.at_stake.amount_at_stake_micros)
        for one in outcome.found
    }


def test_of_as_first_day_two_earns_match_one_is_missing_on_each_side(
    connection: Connection, journal: Journal
) -> None:
    outcome = submitted(connection, "a", DAY_1, file_of_a(journal))

    assert outcome.matched_count == 2
    assert stakes(outcome) == {"MISSING_AT_PARTNER": (1_500, 15_300_000), "MISSING_AT_HUB": (250, 2_550_000)}
    assert outcome.controls.partner.earned_points == 14_250
    assert outcome.controls.hub.earned_points == 15_500
    assert outcome.controls.difference == Controls(
        earned_points=250 - 1_500, owed_micros=2_550_000 - 15_300_000
    )
    assert outcome.controls.unexplained == NOTHING


def test_of_bs_first_day_two_burns_match_one_is_double_and_one_earn_differs(
    connection: Connection, journal: Journal
) -> None:
    outcome = submitted(connection, "b", DAY_1, file_of_b(journal))

    assert outcome.matched_count == 2
    assert stakes(outcome) == {"DUPLICATE": (700, 6_650_000), "AMOUNT_MISMATCH": (1, 10_200)}
    controls = outcome.controls
    assert (controls.partner.claimed_micros, controls.hub.claimed_micros) == (44_963_500, 38_313_500)
    assert controls.difference.claimed_micros == 6_650_000
    assert (controls.partner.owed_micros, controls.hub.owed_micros) == (173_400, 163_200)
    assert controls.difference.owed_micros == 10_200
    assert controls.unexplained == NOTHING


def test_the_700_under_the_same_request_id_is_a_duplicate_all_the_same(
    connection: Connection, journal: Journal
) -> None:
    known = deals(journal)

    outcome = submitted(connection, "b", DAY_1, [known[name].line() for name in ("E4", "E5", "E5", "E6")])

    assert stakes(outcome) == {"DUPLICATE": (700, 6_650_000)}
    assert outcome.matched_count == 3
    assert outcome.controls.unexplained == NOTHING


def test_a_burn_of_2350_that_the_hub_posts_the_next_day_is_timing_and_clears_itself_at_age_1(
    connection: Connection, journal: Journal
) -> None:
    late = {"request_id": "E18", "reference": "order-18", "at": datetime(2026, 1, 2, 23, 50, tzinfo=ZONE)}
    journal.close(DAY_2)
    e18 = journal.burn(DAY_3, "b", 100, **late)
    journal.close(DAY_3)
    submitted(connection, "b", DAY_1, file_of_b(journal))

    second = submitted(connection, "b", DAY_2, [e18.line()])
    waiting = row(connection, DAY_2)
    third = submitted(connection, "b", DAY_3, [])

    assert stakes(second) == {"TIMING": (100, 950_000)}
    assert (waiting["state"], waiting["resolution"]) == ("OPEN", None)
    cleared = row(connection, DAY_2)
    assert (cleared["state"], cleared["resolution"]) == ("RESOLVED", "AUTO_CLEARED")
    assert (cleared["resolved_date"] - cleared["opened_date"]).days == 1
    assert third.found == ()
    assert third.controls.difference == Controls(burned_points=-100, claimed_micros=-950_000)
    assert third.controls.unexplained == second.controls.unexplained == NOTHING


def test_a_burn_near_the_cut_off_is_timing_before_the_hub_has_it_anywhere(
    connection: Connection, journal: Journal
) -> None:
    journal.close(DAY_2)
    e5 = deals(journal)["E5"]
    late = e5.line(request_id="E18", reference="order-18", event_time="2026-01-02T23:50:00+08:00")

    second = submitted(connection, "b", DAY_2, [late])
    journal.burn(
        DAY_3,
        "b",
        700,
        request_id="E18",
        reference="order-18",
        at=datetime(2026, 1, 2, 23, 50, tzinfo=ZONE),
    )
    journal.close(DAY_3)
    third = submitted(connection, "b", DAY_3, [])

    assert stakes(second) == {"TIMING": (700, 6_650_000)}
    assert third.found == ()
    assert len(third.cleared) == 1
    assert row(connection, DAY_2)["resolution"] == "AUTO_CLEARED"


def test_timing_that_two_later_files_do_not_clear_is_urgent(connection: Connection, journal: Journal) -> None:
    for day in (DAY_2, DAY_3, date(2026, 1, 4)):
        journal.close(day)
    e5 = deals(journal)["E5"]
    late = e5.line(request_id="E18", reference="order-18", event_time="2026-01-02T23:50:00+08:00")

    severities = []
    for day, lines in ((DAY_2, [late]), (DAY_3, []), (date(2026, 1, 4), [])):
        submitted(connection, "b", day, lines)
        severities.append(row(connection, DAY_2)["severity"])

    assert severities == ["LOW", "LOW", "HIGH"]


def test_breaks_keep_their_numbers_when_the_same_file_is_reconciled_again(
    connection: Connection, journal: Journal
) -> None:
    submitted(connection, "b", DAY_1, file_of_b(journal))
    before = rows(connection)

    again = submitted(connection, "b", DAY_1, file_of_b(journal))

    after = rows(connection)
    assert [one["break_id"] for one in after] == [one["break_id"] for one in before]
    assert {one["seen_count"] for one in after} == {2}
    assert again.controls.unexplained == NOTHING


def test_a_corrected_file_takes_the_place_of_the_first_and_resolves_its_breaks(
    connection: Connection, journal: Journal
) -> None:
    known = deals(journal)
    submitted(connection, "b", DAY_1, file_of_b(journal))

    outcome = submitted(connection, "b", DAY_1, [known[name].line() for name in ("E4", "E5", "E6")])

    assert outcome.controls.difference == NOTHING
    assert {(one["state"], one["resolution"]) for one in rows(connection)} == {("RESOLVED", "PARTNER_FIXED")}
    states = connection.execute(text("SELECT state FROM settlement.partner_files ORDER BY file_id")).scalars()
    assert list(states) == ["SUPERSEDED", "ACCEPTED"]


def mismatch_of_b(connection: Connection) -> dict[str, Any]:
    (found,) = [one for one in rows(connection) if one["type"] == "AMOUNT_MISMATCH"]
    return found


def clean_file_of_b(journal: Journal) -> list[str]:
    return [deals(journal)[name].line() for name in ("E4", "E5", "E6")]


def test_a_corrected_break_whose_partner_changes_its_record_too_is_open_until_a_person_resolves_it(
    connection: Connection, journal: Journal
) -> None:
    submitted(connection, "b", DAY_1, file_of_b(journal))
    number = mismatch_of_b(connection)["break_id"]
    connection.execute(
        text(
            "INSERT INTO settlement.resolutions VALUES (:number, 1, 'ADJUSTED', 'APPROVED', 'a point', '{}', 1, '9-0',"
            " 'Mei', now(), 'Boss', now())"
        ),
        {"number": number},
    )
    connection.execute(
        text(
            "UPDATE settlement.breaks SET state = 'RESOLVED', resolution = 'ADJUSTED', resolved_time = now()"
            " WHERE break_id = :number"
        ),
        {"number": number},
    )

    seen = []
    for lines in (file_of_b(journal), clean_file_of_b(journal), clean_file_of_b(journal)):
        submitted(connection, "b", DAY_1, lines)
        seen.append(mismatch_of_b(connection)["state"])

    assert seen == ["RESOLVED", "OPEN", "OPEN"]
    assert "both sides are corrected" in mismatch_of_b(connection)["detail"]


def test_a_dispute_is_closed_when_its_break_clears_itself(connection: Connection, journal: Journal) -> None:
    submitted(connection, "b", DAY_1, file_of_b(journal))
    connection.execute(
        text(
            "INSERT INTO settlement.disputes (break_id, opened_by, against, claim, opened_person, open_time, deadline,"
            " state) VALUES (:number, 'b', 'a', 'theirs', 'b', now(), now(), 'OPEN')"
        ),
        {"number": mismatch_of_b(connection)["break_id"]},
    )

    submitted(connection, "b", DAY_1, clean_file_of_b(journal))

    dispute = connection.execute(text("SELECT * FROM settlement.disputes")).one()
    assert (dispute.state, dispute.decided_by, dispute.in_favour_of) == ("DECIDED", "settlement", None)
    assert dispute.decision == "the break cleared itself"


def test_a_deal_that_differs_otherwise_in_a_later_file_is_reclassified_and_not_fixed(
    connection: Connection, journal: Journal
) -> None:
    submitted(connection, "b", DAY_1, file_of_b(journal))
    known = deals(journal)

    another = [*clean_file_of_b(journal)[:2], known["E6"].line(points=18, owed="0.1836")]
    submitted(connection, "b", DAY_1, another)

    ended = {(one["type"], one["points_at_stake"]): one["resolution"] for one in rows(connection)}
    assert ended == {
        ("DUPLICATE", 700): "PARTNER_FIXED",
        ("AMOUNT_MISMATCH", 1): "RECLASSIFIED",
        ("AMOUNT_MISMATCH", 2): None,
    }


def test_what_the_program_does_to_breaks_is_in_their_history_and_in_the_audit_log(
    connection: Connection, journal: Journal
) -> None:
    rounded = [*clean_file_of_b(journal)[:2], deals(journal)["E6"].line(owed="0.1633")]

    for lines in (rounded, clean_file_of_b(journal), rounded):
        submitted(connection, "b", DAY_1, lines)

    (found,) = rows(connection)
    events = connection.execute(
        text("SELECT act, state_from, state_to FROM settlement.break_events ORDER BY event_id")
    ).all()
    assert [tuple(one) for one in events] == [("clear_break", "OPEN", "RESOLVED")]
    deeds = [one for one in read_audit(connection) if one.act in ("clear_break", "reopen_break")]
    number = found["break_id"]
    assert [(one.person, one.item_id) for one in deeds] == [("settlement", f"b/{DAY_1}")]
    assert deeds[0].before[str(number)]["state"] == "OPEN"
    assert (deeds[0].after["break_ids"], deeds[0].after["resolution"]) == ([number], "AUTO_CLEARED")


def test_a_break_that_is_found_again_is_reopened_with_a_row_in_its_history_and_in_the_log(
    connection: Connection, journal: Journal
) -> None:
    for lines in (file_of_b(journal), clean_file_of_b(journal), file_of_b(journal)):
        submitted(connection, "b", DAY_1, lines)

    number = mismatch_of_b(connection)["break_id"]
    events = connection.execute(
        text("SELECT act, state_to FROM settlement.break_events WHERE break_id = :number ORDER BY event_id"),
        {"number": number},
    ).all()
    assert [tuple(one) for one in events] == [("clear_break", "RESOLVED"), ("reopen_break", "OPEN")]
    reopened = next(one for one in read_audit(connection) if one.act == "reopen_break")
    assert reopened.before[str(number)]["resolution"] == "PARTNER_FIXED"
    assert (reopened.after["state"], number in reopened.after["break_ids"]) == ("OPEN", True)


def rows(connection: Connection) -> list[dict[str, Any]]:
    found = connection.execute(text("SELECT * FROM settlement.breaks ORDER BY break_id"))
    return [dict(one) for one in found.mappings()]


def row(connection: Connection, day: date) -> dict[str, Any]:
    (found,) = [one for one in rows(connection) if one["window_date"] == day]
    return found
