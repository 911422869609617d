"""`tongdui-settle load`, `reconcile`, `profile` and `waive` as finance uses them, with exit codes and the audit log."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from settlement.__main__ import main
from settlement.core.reconciled import record_faults
from settlement.rpc.keys import PrivateKey, save_private_key
from settlement.store.engine import open_engine
from settlement.store.reconciliation_reads import read_records
from tests.conftest import Databases
from tests.postgres.journal_rows import Journal, partner_file, prepare_hub

DAY = date(2026, 1, 1)
PEOPLE = {"mia": "finance_maker", "carl": "finance_checker", "otto": "operator", "anna": "auditor"}
PROFILE = {"rules": {"compared": []}, "file_expected": True}


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as made:
        prepare_hub(made)
        with psycopg.connect(made, autocommit=True) as connection:
            for name, role in PEOPLE.items():
                key = key_of(name)
                connection.execute(
                    "INSERT INTO exchange.keys (key_id, owner, holder, public_key, roles, state, valid_from,"
                    " valid_until, registered_by) VALUES (%s, 'operator', %s, %s, %s, 'active', '2020-01-01',"
                    " '2999-01-01', 'test')",
                    (key.key_id, name, key.public_key, [role]),
                )
        yield made


def key_of(name: str) -> PrivateKey:
    return PrivateKey("operator", name.encode().ljust(32, b"."))


@dataclass(frozen=True, slots=True)
class Desk:
    journal: Journal
    folder: Path
    capture: pytest.CaptureFixture[str]
    url: str

    def run(self, *argv: str, person: str = "mia") -> int:
        key_file = self.folder / person
        if not key_file.exists():
            save_private_key(key_of(person), key_file)
        (path,) = key_file.iterdir()
        acting = [] if argv[:2] == ("profile", "show") else ["--as", str(path)]
        return main([*argv, *acting])

    def shown(self, *argv: str, person: str = "mia") -> Any:
        assert self.run(*argv, "--json", person=person) == 0
        return json.loads(self.capture.readouterr().out)

    def file(self, content: bytes, name: str = "file.csv") -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def faults(self) -> tuple[str, ...]:
        engine = open_engine(self.url)
        with engine.connect() as connection:
            faults = record_faults(read_records(connection, DAY))
        engine.dispose()
        return faults


@pytest.fixture
def desk(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    monkeypatch.setenv("DATABASE_URL", url)
    journal = Journal.open(url)
    journal.earn(DAY, "a", 100, request_id="E1", reference="order-1")
    journal.burn(DAY, "a", 30, request_id="E2", reference="order-2")
    journal.close(DAY)
    with journal.connection:
        yield Desk(journal, tmp_path, capsys, url)


LOAD = ("--partner", "a", "--date", str(DAY))


def test_a_file_is_loaded_and_reconciled_and_both_acts_are_in_the_audit_log(desk: Desk) -> None:
    lines = [deal.line() for _, deal in desk.journal.posted]

    loaded = desk.shown("load", desk.file(partner_file("a", DAY, lines[:1])), *LOAD)
    content = desk.shown("reconcile", "--date", str(DAY))

    (partner,) = content["partners"]
    assert loaded["line_count"] == 1
    assert partner["breaks"] == {"MISSING_AT_PARTNER": 1}
    assert partner["controls"]["difference"]["burned_points"] == -30
    assert set(partner["controls"]["unexplained"].values()) == {0}
    acts = desk.journal.connection.execute("SELECT person, act FROM settlement.audit_log ORDER BY 1, 2")
    assert acts.fetchall() == [("mia", "load_file"), ("mia", "reconcile")]


def test_the_screen_shows_the_four_controls_and_each_break(desk: Desk) -> None:
    file = desk.file(partner_file("a", DAY, [desk.journal.posted[0][1].line()]))

    assert desk.run("load", file, *LOAD) == 0
    assert desk.run("reconcile", "--date", str(DAY)) == 0

    shown = desk.capture.readouterr().out
    for words in (
        "points earned",
        "points burned",
        "money claimed",
        "money owed",
        "MISSING_AT_PARTNER",
        "0.285",
    ):
        assert words in shown


def test_a_damaged_file_ends_with_1_and_says_where(desk: Desk) -> None:
    lines = [deal.line() for _, deal in desk.journal.posted]

    code = desk.run("load", desk.file(partner_file("a", DAY, lines, burned_points=31)), *LOAD)

    assert code == 1
    assert "CONTROL_TOTAL: line 1, burned_points: states 31, found 30" in desk.capture.readouterr().err


@pytest.mark.parametrize("person", ["carl", "anna"])
def test_who_may_not_load_is_refused_and_nothing_is_kept(desk: Desk, person: str) -> None:
    lines = [deal.line() for _, deal in desk.journal.posted]

    code = desk.run("load", desk.file(partner_file("a", DAY, lines)), *LOAD, person=person)

    assert code == 5
    files = desk.journal.connection.execute("SELECT count(*) FROM settlement.partner_files").fetchone()
    assert files == (0,)


def test_a_day_that_is_open_or_has_no_file_is_not_yet_reconciled(desk: Desk) -> None:
    tomorrow = DAY + timedelta(days=1)
    file = desk.file(partner_file("a", tomorrow, []))

    assert desk.run("reconcile", *LOAD) == 3
    assert desk.run("load", file, "--partner", "a", "--date", str(tomorrow)) == 0
    assert desk.run("reconcile", "--date", str(tomorrow)) == 3


def test_a_file_that_is_expected_keeps_a_certificate_waiting_until_it_is_reconciled_or_waived(
    desk: Desk,
) -> None:
    profile = desk.file(json.dumps(PROFILE).encode(), "profile.json")
    lines = [deal.line() for _, deal in desk.journal.posted]
    seen = []

    assert desk.run("profile", "set", profile, "--partner", "a", "--from", str(DAY)) == 0
    seen.append(desk.faults())
    assert desk.run("load", desk.file(partner_file("a", DAY, lines)), *LOAD) == 0
    seen.append(desk.faults())
    assert desk.run("reconcile", "--date", str(DAY)) == 0
    seen.append(desk.faults())

    assert seen == [("a: its file is missing",), ("a: its file is not reconciled",), ()]


def test_a_waiver_takes_two_people(desk: Desk) -> None:
    profile = desk.file(json.dumps(PROFILE).encode(), "profile.json")
    desk.run("profile", "set", profile, "--partner", "a", "--from", str(DAY))

    assert desk.run("waive", *LOAD, "--approve", person="carl") == 3
    assert desk.run("waive", *LOAD, "--reason", "their till burned down") == 0
    assert desk.faults() == ("a: its file is missing",)
    assert desk.run("waive", *LOAD, "--approve") == 5
    assert desk.run("waive", *LOAD, "--approve", person="carl") == 0

    assert desk.faults() == ()


def test_one_person_with_both_roles_cannot_waive_alone(desk: Desk) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="waivers_two_people"):
        desk.journal.connection.execute(
            "INSERT INTO settlement.waivers VALUES (%s, 'a', 'mia', 'mia', 'x', now(), now())", (DAY,)
        )


def test_a_profile_is_versioned_shown_and_refused_where_it_makes_no_sense(desk: Desk) -> None:
    good = desk.file(json.dumps(PROFILE).encode(), "good.json")
    bad = desk.file(b'{"rules": {"time_tolerance_minutes": -1}}', "bad.json")

    for _ in range(2):
        assert desk.run("profile", "set", good, "--partner", "a", "--from", str(DAY)) == 0
    desk.capture.readouterr()
    assert desk.run("profile", "set", bad, "--partner", "a", "--from", str(DAY)) == 2
    assert "rules.time_tolerance_minutes" in desk.capture.readouterr().err
    shown = desk.shown("profile", "show", "--partner", "a")

    assert [one["version"] for one in shown["profiles"]] == [2, 1]
    assert shown["profiles"][0]["set_by"] == "mia"


def test_rules_of_the_profile_decide_what_is_compared(desk: Desk) -> None:
    profile = desk.file(json.dumps(PROFILE).encode(), "profile.json")
    lines = [deal.line(store_id="elsewhere") for _, deal in desk.journal.posted]
    file = desk.file(partner_file("a", DAY, lines))

    strict = desk.shown("load", file, *LOAD, "--dry-run")
    tried = desk.shown("load", file, *LOAD, "--dry-run", "--profile", profile)

    assert strict["reconciliation"]["breaks"] == {"WRONG_STORE": 2}
    assert tried["reconciliation"]["breaks"] == {}
    kept = desk.journal.connection.execute("SELECT count(*) FROM settlement.partner_file_lines").fetchone()
    assert kept == (0,)


def test_a_file_of_another_days_deals_is_not_taken_apart_into_breaks(desk: Desk) -> None:
    profile = desk.file(json.dumps({"rules": {"break_limit": 1}}).encode(), "profile.json")
    lines = [deal.line(request_id="x" + deal.request_id, reference="x") for _, deal in desk.journal.posted]
    desk.run("profile", "set", profile, "--partner", "a", "--from", str(DAY))
    desk.run("load", desk.file(partner_file("a", DAY, lines)), *LOAD)

    assert desk.run("reconcile", "--date", str(DAY)) == 1

    assert "is it the right file?" in desk.capture.readouterr().err
