"""`tongdui-settle load`, `reconcile`, `profile` and `waive` as finance uses them, with exit codes and the audit log."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection

from settlement.__main__ import main
from settlement.core.reconciled import record_faults
from settlement.core.window import Ledger
from settlement.partner_files import Declared, load_file
from settlement.people import Actor
from settlement.profiles import Profile, set_profile
from settlement.rpc.keys import PrivateKey, save_private_key
from settlement.store.engine import open_engine
from settlement.store.feed import read_ledger
from settlement.store.load import load_window
from settlement.store.reconciliation_reads import read_records
from settlement.store.window_locks import lock_window
from settlement.waivers import propose_waiver
from tests.conftest import Databases
from tests.postgres.journal_rows import Journal, partner_file, prepare_hub
from tests.waiting import somebody_waits

DAY = date(2026, 1, 1)
PEOPLE = {"mia": "finance_maker", "carl": "finance_checker", "otto": "operator", "anna": "auditor"}
PROFILE = {"rules": {"compared": []}, "file_expected": True}
MAPPING = {
    "columns": {name: name for name in ("reference", "kind", "event_time", "points", "claimed", "owed")},
    "utc_offset": "+08:00",
}


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

    def hold_window(self, state: str) -> None:
        """As if settlement had brought the day so far."""
        self.journal.connection.execute(
            "INSERT INTO settlement.windows (window_date, state, first_sequence, last_sequence, last_hash,"
            " entry_count, close_time) VALUES (%s, %s, 1, 2, %s, 2, now())",
            (DAY, state, bytes(32)),
        )

    @contextmanager
    def office(self) -> Iterator[tuple[Connection, Ledger]]:
        """A connection of settlement's own, for what is not committed at once."""
        engine = open_engine(self.url)
        try:
            with engine.connect() as connection:
                yield connection, read_ledger(connection)
        finally:
            engine.dispose()

    def locked_state(self) -> str:
        """How far the window has come for who locks it to certify it."""
        with self.office() as (connection, _):
            lock_window(connection, DAY)
            stored = load_window(connection, DAY)
        assert stored is not None
        return stored.state.value

    def faults(self) -> tuple[str, ...]:
        with self.office() as (connection, _):
            return record_faults(read_records(connection, DAY))


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
    assert desk.run("waive", *LOAD, "--reason", "x" * 1_001) == 2
    assert desk.run("waive", *LOAD, "--reason", "their till burned down") == 0
    assert desk.faults() == ("a: its file is missing",)
    assert desk.run("waive", *LOAD, "--approve") == 5
    assert desk.run("waive", *LOAD, "--approve", person="carl") == 0

    assert desk.faults() == ()


def test_one_person_with_both_roles_cannot_waive_alone(desk: Desk) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="waivers_two_people"):
        desk.journal.connection.execute(
            "INSERT INTO settlement.waivers (window_date, partner_id, proposed_by, approved_by, reason,"
            " propose_time) VALUES (%s, 'a', 'mia', 'mia', 'x', now())",
            (DAY,),
        )


def test_a_waiver_wants_a_reason_and_a_partner_the_hub_has(desk: Desk) -> None:
    assert desk.run("waive", *LOAD, "--reason", " ") == 2
    assert "reason: a waiver needs one" in desk.capture.readouterr().err
    assert desk.run("waive", "--partner", "zz", "--date", str(DAY), "--reason", "x") == 2
    assert "partner: the hub has no 'zz'" in desk.capture.readouterr().err


def test_nothing_of_a_certified_window_can_be_waived(desk: Desk) -> None:
    assert desk.run("waive", *LOAD, "--reason", "no till") == 0
    desk.hold_window("CERTIFIED")

    assert desk.run("waive", *LOAD, "--approve", person="carl") == 3
    assert desk.run("waive", "--partner", "b", "--date", str(DAY), "--reason", "no till") == 3

    assert "the window is CERTIFIED, nothing can be waived" in desk.capture.readouterr().err


def test_a_waiver_excuses_no_file_that_is_there(desk: Desk) -> None:
    profile = desk.file(json.dumps(PROFILE).encode(), "profile.json")
    desk.run("profile", "set", profile, "--partner", "a", "--from", str(DAY))
    desk.run("waive", *LOAD, "--reason", "no till")
    desk.run("waive", *LOAD, "--approve", person="carl")
    waived = desk.faults()
    lines = [deal.line() for _, deal in desk.journal.posted]

    assert desk.run("load", desk.file(partner_file("a", DAY, lines)), *LOAD) == 0
    assert desk.run("waive", "--partner", "a", "--date", str(DAY), "--reason", "again") == 3

    assert "the file of a is there" in desk.capture.readouterr().err
    assert (waived, desk.faults()) == ((), ("a: its file is not reconciled",))


@pytest.mark.parametrize("person", ["mia", "carl"])
def test_a_proposal_can_be_given_up_or_refused_and_made_again(desk: Desk, person: str) -> None:
    assert desk.run("waive", *LOAD, "--reject", person=person) == 3
    assert desk.run("waive", *LOAD, "--reason", "no till") == 0
    assert desk.run("waive", *LOAD, "--reject", person=person) == 0
    assert desk.run("waive", *LOAD, "--approve", person="carl") == 3
    assert desk.run("waive", *LOAD, "--reason", "no till at all") == 0
    assert desk.run("waive", *LOAD, "--approve", person="carl") == 0
    assert desk.run("waive", *LOAD, "--reject", person=person) == 3

    kept = desk.journal.connection.execute(
        "SELECT reason, approved_by, rejected_by FROM settlement.waivers ORDER BY waiver_id"
    )
    assert kept.fetchall() == [("no till", None, person), ("no till at all", "carl", None)]


def test_of_a_closed_window_one_person_changes_the_mapping_and_nothing_else(desk: Desk) -> None:
    profile = desk.file(json.dumps(PROFILE).encode(), "profile.json")
    unexpected = desk.file(json.dumps(PROFILE | {"file_expected": False}).encode(), "unexpected.json")
    lax = desk.file(json.dumps({"rules": {"compared": ["state"]}}).encode(), "lax.json")
    remapped = desk.file(json.dumps(PROFILE | {"mapping": MAPPING}).encode(), "remapped.json")
    setting = ("--partner", "a", "--from")
    desk.run("profile", "set", profile, *setting, str(DAY))
    desk.hold_window("COMPUTED")

    assert desk.run("profile", "set", unexpected, *setting, str(DAY)) == 3
    assert "windows up to 2026-01-01 are closed" in desk.capture.readouterr().err
    assert desk.run("profile", "set", unexpected, *setting, "2025-12-01") == 3
    assert desk.run("profile", "set", lax, *setting, str(DAY)) == 3
    assert desk.run("profile", "set", remapped, *setting, str(DAY)) == 0
    assert desk.run("profile", "set", unexpected, *setting, str(DAY + timedelta(days=1))) == 0

    assert desk.faults() == ("a: its file is missing",)


def test_no_profile_lets_more_than_a_fen_resolve_itself(desk: Desk) -> None:
    rules = [
        desk.file(json.dumps({"rules": {"rounding_micros": it}}).encode(), str(it)) for it in (10_000, 10_001)
    ]
    setting = ("--partner", "a", "--from", str(DAY))

    codes = [desk.run("profile", "set", file, *setting) for file in rules]

    assert codes == [0, 2]
    assert "rules.rounding_micros: must be a whole number of 0 to 10,000" in desk.capture.readouterr().err


@pytest.mark.parametrize("command", ["load", "reconcile", "waive", "profile"])
def test_what_a_certificate_would_have_to_say_waits_for_it_and_is_then_refused(
    desk: Desk, command: str
) -> None:
    good = desk.file(json.dumps({"mapping": MAPPING, "file_expected": False}).encode(), "profile.json")
    file = desk.file(partner_file("a", DAY, []))
    if command == "reconcile":
        desk.run("load", file, *LOAD)
    desk.hold_window("COMPUTED")
    argv = {
        "load": ("load", file, *LOAD),
        "reconcile": ("reconcile", *LOAD),
        "waive": ("waive", *LOAD, "--reason", "no till"),
        "profile": ("profile", "set", good, "--partner", "a", "--from", str(DAY)),
    }[command]

    with psycopg.connect(desk.url) as certifying, ThreadPoolExecutor(1) as threads:
        certifying.execute("SELECT FROM settlement.windows FOR UPDATE")
        certifying.execute("UPDATE settlement.windows SET state = 'CERTIFIED'")
        running = threads.submit(desk.run, *argv)
        waited = somebody_waits(desk.journal.connection)
        certifying.commit()
        code = running.result()

    assert (waited, code) == (True, 1 if command == "load" else 3)


@pytest.mark.parametrize("command", ["load", "waive", "profile"])
def test_what_comes_in_for_a_day_of_which_nothing_is_held_yet_is_waited_for_by_its_certificate(
    desk: Desk, command: str
) -> None:
    with desk.office() as (connection, ledger), ThreadPoolExecutor(1) as threads:
        mia = Actor(key_of("mia"))
        match command:
            case "load":
                load_file(connection, ledger, mia, Declared("a", DAY), [partner_file("a", DAY, [])])
            case "waive":
                propose_waiver(connection, mia, DAY, "a", "no till")
            case _:
                set_profile(connection, mia, "a", Profile(None, {}, file_expected=True), DAY)
        desk.hold_window("COMPUTED")
        certifying = threads.submit(desk.locked_state)
        waited = somebody_waits(desk.journal.connection)
        connection.commit()

        assert (waited, certifying.result()) == (True, "COMPUTED")


@pytest.mark.parametrize("command", ["load", "waive", "profile"])
def test_what_comes_in_for_a_day_that_is_just_certified_waits_though_it_saw_no_window(
    desk: Desk, command: str
) -> None:
    good = desk.file(json.dumps({"mapping": MAPPING, "file_expected": False}).encode(), "profile.json")
    argv = {
        "load": ("load", desk.file(partner_file("a", DAY, [])), *LOAD),
        "waive": ("waive", *LOAD, "--reason", "no till"),
        "profile": ("profile", "set", good, "--partner", "a", "--from", str(DAY)),
    }[command]

    with desk.office() as (connection, _), ThreadPoolExecutor(1) as threads:
        lock_window(connection, DAY)
        running = threads.submit(desk.run, *argv)
        waited = somebody_waits(desk.journal.connection)
        desk.hold_window("CERTIFIED")
        connection.commit()
        code = running.result()

    assert (waited, code) == (True, 1 if command == "load" else 3)


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
