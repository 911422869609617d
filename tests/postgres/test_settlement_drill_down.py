"""From statement lines down to entries, and across windows: what is shown adds up to what is settled."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from settlement.__main__ import main
from settlement.core.rounding import ROUNDING
from settlement.store.drill import BEGINNING, load_line_entries, load_party_entries
from settlement.store.engine import open_engine
from settlement.store.load import load_computed
from settlement.store.positions import load_roll_forwards
from tests.conftest import Databases
from tests.settled_days import SettledDays, settled_days
from tests.settlement_hub import DAY_1, DAY_2, DAY_3, prepare

Printed = Callable[..., Any]


@pytest.fixture(scope="module")
def days(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SettledDays]:
    """Two settled days; on the third something is posted and nothing computed."""
    with databases.fresh() as url, pytest.MonkeyPatch.context() as monkeypatch:
        prepare(url)
        with settled_days(url, tmp_path_factory.mktemp("days"), monkeypatch, through=2) as made:
            made.ledger.earn(DAY_3, "a", 1_000)
            made.ledger.connection.execute(
                "INSERT INTO exchange.deficits_v1 VALUES ('a', 'm-1', '2026-01-01T12:00Z', 10000, 33),"
                " ('a', 'm-2', '2025-12-30T15:59Z', 10000, 7), ('b', 'm-1', '2025-11-01T00:00Z', 10500, 2)"
            )
            yield made


@pytest.fixture
def shown(days: SettledDays, capsys: pytest.CaptureFixture[str]) -> Printed:
    """What a command prints as JSON."""

    def run(*arguments: str) -> Any:
        capsys.readouterr()
        assert main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize("day", [DAY_1, DAY_2])
def test_the_entries_behind_every_line_sum_to_its_exact_amount(days: SettledDays, day: Any) -> None:
    engine = open_engine(days.url)
    with engine.connect() as connection:
        for line in load_computed(connection, day).lines:
            entries = load_line_entries(connection, day, line.party_id, line.component, BEGINNING, 100)

            assert sum(entry.micros for entry in entries) == line.exact_micros
            assert sum(entry.line_count for entry in entries) == line.line_count
            assert bool(entries) == (line.line_count > 0 and line.component != ROUNDING)
    engine.dispose()


def test_pages_have_every_entry_once_and_in_the_ledgers_order(days: SettledDays) -> None:
    engine = open_engine(days.url)
    with engine.connect() as connection:
        whole = load_party_entries(connection, DAY_1, "OPERATOR", BEGINNING, 100)
        paged, after = [], BEGINNING
        while page := load_party_entries(connection, DAY_1, "OPERATOR", after, 2):
            paged += page
            after = page[-1].place
    engine.dispose()

    assert paged == whole
    assert [entry.place for entry in whole] == sorted(entry.place for entry in whole)
    assert len(whole) == 6


def test_a_page_says_where_the_next_one_begins(shown: Printed) -> None:
    line = ("lines", "--date", "2026-01-01", "--partner", "b", "--component", "BURN_REIMBURSE")

    first = shown(*line, "--limit", "1")
    second = shown(*line, "--limit", "1", "--after", first["next_after"])

    assert (first["exact_micros"], first["line_count"]) == (38_313_500, 2)
    assert [one["micros"] for page in (first, second) for one in page["entries"]] == [31_663_500, 6_650_000]
    assert first["entries"][0]["request_id"] == "r4"
    assert second["next_after"] == ""


def test_all_entries_of_a_line_come_as_csv_that_no_spreadsheet_calculates(
    days: SettledDays, capsys: pytest.CaptureFixture[str]
) -> None:
    days.ledger.connection.execute(
        "UPDATE exchange.posted_entries_v1 SET reference = '=1+1' WHERE batch_sequence = 4"
    )
    capsys.readouterr()

    assert (
        main(["lines", "--date", "2026-01-01", "--partner", "POOL", "--component", "ESCROW", "--csv", "-"])
        == 0
    )

    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert sum(int(row["exact"].replace(".", "")) for row in rows) == 114_830_000
    assert [row["reference"] for row in rows if row["entry_id"] == "104-0"] == ["'=1+1"]


def test_a_line_that_is_not_there_is_exit_code_2_and_says_which_are(
    days: SettledDays, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["lines", "--date", "2026-01-01", "--partner", "b", "--component", "SPREAD"]

    assert main(arguments) == 2
    assert "there are: BURN_REIMBURSE, ISSUE_FEE, ISSUE_FUNDING" in capsys.readouterr().err
    assert main(["lines", "--date", "2026-02-01", "--partner", "b", "--component", "X"]) == 3


@pytest.mark.parametrize("option", [("--after", "x"), ("--limit", "0"), ("--limit", "x")])
def test_a_malformed_place_or_page_is_refused_by_name(
    days: SettledDays, option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["lines", "--date", "2026-01-01", "--partner", "b", "--component", "X", *option])

    assert option[0] in capsys.readouterr().err


def test_an_entry_shows_its_legs_its_lines_and_its_place_in_the_chain(
    days: SettledDays, shown: Printed
) -> None:
    entry = shown("entry", "104-0")

    assert (entry["kind"], entry["partner_id"], entry["request_id"], entry["points"]) == (
        "burn",
        "b",
        "r4",
        3_333,
    )
    assert (entry["window_date"], entry["window_state"], entry["place"]) == ("2026-01-01", "CERTIFIED", "4.0")
    assert [(leg["issuer_id"], leg["from_account"], leg["to_account"]) for leg in entry["legs"]] == [
        ("a", "open", "burned")
    ]
    assert [(line["payer_id"], line["payee_id"], line["micros"]) for line in entry["lines"]] == [
        ("POOL", "b", 31_663_500),
        ("POOL", "OPERATOR", 1_666_500),
    ]
    assert len(entry["digest"]) == len(entry["chain_hash"]) == 64


@pytest.mark.parametrize("entry_id", ["999-0", "104-9", "x", "-", "104"])
def test_an_entry_that_is_not_there_is_exit_code_3(days: SettledDays, entry_id: str) -> None:
    assert main(["entry", "--", entry_id]) == 3


def test_tables_are_shown_for_people(days: SettledDays, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (
            ["lines", "--date", "2026-01-01", "--partner", "b", "--component", "BURN_REIMBURSE"],
            "the whole line: 38.3135",
        ),
        (["entry", "104-0"], "the hub's receipt for it is with b"),
        (["rollforward", "--date", "2026-01-02"], "liability, points x F"),
        (["exposure"], "all parties"),
        (["ageing"], "Ages in days as of 2026-01-03"),
    ):
        assert main(arguments) == 0
        assert words in capsys.readouterr().out


def test_roll_forwards_close_window_by_window_and_over_all_of_them(days: SettledDays) -> None:
    engine = open_engine(days.url)
    with engine.connect() as connection:
        first = load_roll_forwards(connection, DAY_1, DAY_1)
        second = load_roll_forwards(connection, DAY_2, DAY_2)
        both = load_roll_forwards(connection, DAY_1, DAY_2)
    engine.dispose()

    assert all(row.difference == 0 for row in (*first, *second, *both))
    by_issuer = {(row.issuer_id, row.measure): row for row in both}
    assert by_issuer["a", "points"].moved["refunded"] == 300
    assert by_issuer["a", "liability"].closing == 117_670_000
    assert {row.issuer_id: row.closing for row in second if row.measure == "points"} == {
        "a": 11_767,
        "b": 16,
        "c": 750,
    }


def test_a_roll_forward_over_windows_that_are_not_computed_is_exit_code_3(days: SettledDays) -> None:
    assert main(["rollforward", "--date", "2026-01-03"]) == 3
    assert main(["rollforward", "--date", "2026-01-01", "--through", "2026-01-03"]) == 3


def test_a_roll_forward_that_does_not_close_is_exit_code_1(
    days: SettledDays, capsys: pytest.CaptureFixture[str]
) -> None:
    change = "UPDATE settlement.issuer_points SET open = open {} 1 WHERE issuer_id = 'b' AND window_date = '2026-01-02'"
    days.ledger.connection.execute(change.format("+").encode())

    assert main(["rollforward", "--date", "2026-01-02", "--json"]) == 1

    assert "b: points does not close, by 1" in capsys.readouterr().err
    days.ledger.connection.execute(change.format("-").encode())


def test_exposure_is_what_is_not_settled_and_what_is_posted_since(shown: Printed) -> None:
    rows = {row["party_id"]: row for row in shown("exposure")["exposures"]}

    assert (rows["a"]["window_count"], rows["a"]["receives_minor"], rows["a"]["pays_minor"]) == (
        2,
        1_188,
        15_810,
    )
    assert (rows["a"]["posted_receives_micros"], rows["a"]["posted_pays_micros"]) == (0, 10_200_000)
    assert rows["a"]["net_micros"] == -156_420_000
    assert rows["POOL"]["posted_receives_micros"] == 10_000_000
    assert sum(row["net_micros"] for row in rows.values()) == 0


def test_a_settled_window_is_no_exposure(days: SettledDays, shown: Printed) -> None:
    states = "UPDATE settlement.windows SET state = '{}' WHERE window_date = '2026-01-01'"
    days.ledger.connection.execute(states.format("SETTLED").encode())

    rows = {row["party_id"]: row for row in shown("exposure")["exposures"]}

    assert (rows["a"]["window_count"], rows["a"]["pays_minor"]) == (1, 0)
    days.ledger.connection.execute(states.format("CERTIFIED").encode())


def test_of_an_exported_window_only_what_was_not_paid_is_exposure(days: SettledDays, shown: Printed) -> None:
    connection = days.ledger.connection
    connection.execute("UPDATE settlement.windows SET state = 'EXPORTED' WHERE window_date = '2026-01-01'")
    for party, direction, amount, state, moved in (
        ("a", "COLLECT", 15_810, "SENT", 10_000),
        ("b", "PAY", 3_815, "RECEIVED", 3_815),
        ("POOL", "PAY", 11_483, "DUE", 0),
    ):
        connection.execute(
            "INSERT INTO settlement.payments (payment_id, window_date, run_number, party_id, direction, amount_minor,"
            " exported_by, approved_by, state, moved_minor)"
            " VALUES (%s, '2026-01-01', 1, %s, %s, %s, 'm', 'c', %s, %s)",
            (f"2026-01-01-{party}", party, direction, amount, state, moved),
        )

    rows = {row["party_id"]: row for row in shown("exposure")["exposures"]}

    assert (rows["a"]["receives_minor"], rows["a"]["pays_minor"]) == (1_188, 5_810)
    assert rows["b"]["receives_minor"] == 0
    assert sum(row["net_micros"] for row in rows.values()) == 0
    connection.execute("DELETE FROM settlement.payments")
    connection.execute("UPDATE settlement.windows SET state = 'CERTIFIED' WHERE window_date = '2026-01-01'")


def test_ages_count_from_the_open_day_or_from_the_one_asked_for(shown: Printed) -> None:
    today = {row["party_id"]: row["ages"] for row in shown("ageing")["positions_minor"]}
    later = {
        row["party_id"]: row["ages"] for row in shown("ageing", "--as-of", "2026-01-09")["positions_minor"]
    }

    assert (today["a"]["0-1"], today["a"]["2-3"]) == (1_188, -15_810)
    assert (later["a"]["4-7"], later["a"]["8-30"]) == (1_188, -15_810)


def test_deficits_are_aged_by_issuer_in_points_and_money(shown: Printed) -> None:
    found = shown("ageing")

    points = {row["party_id"]: row["ages"] for row in found["deficit_points"]}
    assert points == {
        "a": {"0-1": 0, "2-3": 33, "4-7": 7, "8-30": 0, "over 30": 0},
        "b": {"0-1": 0, "2-3": 0, "4-7": 0, "8-30": 0, "over 30": 2},
    }
    assert {row["party_id"]: row["total"] for row in found["deficit_micros"]} == {"a": 400_000, "b": 21_000}


@pytest.mark.parametrize("arguments", [["rollforward", "--date", "2026-01-02"], ["exposure"], ["ageing"]])
def test_lists_come_as_csv(
    days: SettledDays, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = days.directory / "list.csv"

    assert main([*arguments, "--csv", str(path)]) == 0
    assert main([*arguments, "--csv", "-"]) == 0

    assert capsys.readouterr().out == path.read_text()
    assert len({len(row) for row in csv.reader(io.StringIO(path.read_text()))}) == 1
