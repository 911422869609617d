"""`tongdui-settle daily`: everything that is due, up to where people decide; killed anywhere, run again, the same."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from settlement.__main__ import main
from settlement.command_line import daily as daily_command
from settlement.rpc.keys import PrivateKey, save_private_key
from tests.conftest import Databases
from tests.postgres.breaks import plant_break
from tests.postgres.journal_rows import partner_file, sealed
from tests.settlement_hub import (
    AUDIENCE,
    DAY_1,
    DAY_2,
    DAY_3,
    FINANCE_KEY,
    HUB_KEY,
    HUB_KEY_ID,
    PeerHub,
    PostedLedger,
    listening,
    prepare,
    register,
)
from tongdui.signing import public_key_text

MEI, BOSS, EYES = (PrivateKey("operator", name.ljust(32, b"=")) for name in (b"mei", b"boss", b"eyes"))


@dataclass(frozen=True, slots=True)
class Office:
    """A finance office whose hub lets the first two days close."""

    ledger: PostedLedger
    hub: PeerHub
    directory: Path
    mei: tuple[str, str]
    boss: tuple[str, str]
    eyes: tuple[str, str]

    @property
    def inbox(self) -> Path:
        made = self.directory / "inbox"
        made.mkdir(exist_ok=True)
        return made


Output = Callable[[], Any]


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as prepared:
        prepare(prepared)
        register(prepared, MEI, "Mei", "finance_maker")
        register(prepared, BOSS, "Boss", "finance_checker")
        register(prepared, EYES, "Eyes", "auditor")
        yield prepared


@pytest.fixture
def office(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    ledger = PostedLedger.open(url)
    hub = PeerHub(ledger, open_from=DAY_3)
    hub_keys = tmp_path / "hub-keys.json"
    hub_keys.write_text(json.dumps({HUB_KEY_ID: public_key_text(bytes(HUB_KEY.verify_key))}))
    mei, boss, eyes = (str(save_private_key(key, tmp_path / "keys")) for key in (MEI, BOSS, EYES))
    with ledger.connection, listening(hub, tmp_path) as address:
        empty(ledger.connection)
        ledger.first_day_of_the_example()
        ledger.earn(DAY_2, "b", 100)
        for name, value in {
            "DATABASE_URL": url,
            "TONGDUI_HUB_ADDRESS": address,
            "TONGDUI_HUB_KEYS": str(hub_keys),
            "TONGDUI_AUDIENCE": AUDIENCE,
            "TONGDUI_SETTLEMENT_KEY": str(save_private_key(FINANCE_KEY, tmp_path / "keys")),
        }.items():
            monkeypatch.setenv(name, value)
        yield Office(ledger, hub, tmp_path, ("--as", mei), ("--as", boss), ("--as", eyes))


def empty(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "TRUNCATE settlement.audit_log, settlement.breaks, settlement.partner_files, settlement.profiles,"
        " settlement.waivers CASCADE"
    )


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Output:
    return lambda: json.loads(capsys.readouterr().out)


def expect_file_of_c(office: Office) -> None:
    profile = office.directory / "profile.json"
    profile.write_text(json.dumps({"file_expected": True}))
    setting = ("profile", "set", str(profile), "--partner", "c", "--from", str(DAY_1))
    assert main([*setting, *office.mei]) == 0


def test_days_go_from_the_hub_to_approval_and_from_there_to_settled(
    office: Office, printed: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["daily", "--json"]) == 7
    certified = printed()
    assert main(["daily", "--json"]) == 7
    again = printed()
    for day in (DAY_1, DAY_2):
        assert main(["approve", "--date", str(day), *office.boss]) == 0
    capsys.readouterr()
    assert main(["daily", "--json"]) == 7
    exported = printed()
    confirm_payments(office, capsys)
    assert main(["daily", "--json"]) == 0
    settled = printed()
    assert main(["daily", "--json"]) == 0
    nothing = printed()
    assert main(["daily", "--date", str(DAY_3), "--json"]) == 3
    still_open = printed()

    steps = ["close", "net", "certify", "audit-journal"]
    assert certified["days"] == [
        {"window_date": str(day), "state": "CERTIFIED", "steps": steps} for day in (DAY_1, DAY_2)
    ]
    assert [(one["role"], one["command"]) for one in certified["decisions"]] == [
        ("finance_checker", f"tongdui-settle approve --date {day}") for day in (DAY_1, DAY_2)
    ]
    assert again["decisions"] == certified["decisions"]
    assert [one["steps"] for one in again["days"]] == [[], []]
    assert [(one["state"], one["steps"]) for one in exported["days"]] == [("EXPORTED", ["export"])] * 2
    assert {one["role"] for one in exported["decisions"]} == {"finance_maker"}
    assert [(one["state"], one["steps"]) for one in settled["days"]] == [("SETTLED", ["settle"])] * 2
    assert sorted(office.hub.settled) == [DAY_1, DAY_2]
    assert (nothing["days"], nothing["decisions"], nothing["open_from"]) == ([], [], None)
    assert still_open["open_from"] == str(DAY_3)


def test_a_proposed_default_waits_for_a_checker(
    office: Office, printed: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["daily", "--date", str(DAY_1)]) == 7
    assert main(["approve", "--date", str(DAY_1), *office.boss]) == 0
    assert main(["daily", "--date", str(DAY_1)]) == 7
    mark = ["payment", "mark", f"{DAY_1}-a", "--state", "defaulted", "--reference", "D-1"]
    assert main([*mark, "--reason", "insolvent", *office.mei]) == 0
    capsys.readouterr()

    assert main(["daily", "--date", str(DAY_1)]) == 7
    shown = capsys.readouterr().out
    assert main(["daily", "--date", str(DAY_1), "--json"]) == 7
    default, others = printed()["decisions"]
    assert main(["payment", "default", f"{DAY_1}-a", *office.boss]) == 0
    capsys.readouterr()
    assert main(["daily", "--date", str(DAY_1), "--json"]) == 7
    (left,) = printed()["decisions"]

    assert "waits for approval" in " ".join(shown.split())
    assert (default["role"], default["window_date"]) == ("finance_checker", str(DAY_1))
    assert default["command"] == f"tongdui-settle payment default {DAY_1}-a"
    assert (others["role"], left) == ("finance_maker", others)


def test_a_correction_of_a_break_that_cleared_itself_waits_for_a_checker(
    office: Office, printed: Output
) -> None:
    connection = office.ledger.connection
    cleared = plant_break(connection, "TIMING", state="RESOLVED", resolution="AUTO_CLEARED")
    for number, state in ((1, "withdrawn"), (2, "proposed"), (3, "posted")):
        connection.execute(
            "INSERT INTO exchange.adjustments_v1 VALUES (%s, %s, %s)",
            (number, f"break-{cleared}-adjustment" + (f"-{number}" if number > 1 else ""), state),
        )
    connection.execute("INSERT INTO exchange.adjustments_v1 VALUES (4, 'by hand', 'proposed')")

    assert main(["daily", "--date", str(DAY_1), "--json"]) == 7

    told = [one for one in printed()["decisions"] if "can still be posted" in one["what"]]
    assert [(one["role"], one["command"]) for one in told] == [
        ("finance_checker", f"tongdui-settle break withdraw {cleared} --reason TEXT")
    ]
    assert "adjustment 2" in told[0]["what"]


def confirm_payments(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["payments", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["payments"]
    for one in listed:
        mark = ["payment", "mark", one["payment_id"], "--reference", f"bank-{one['payment_id']}"]
        for state in ("sent", "received"):
            assert main([*mark, "--state", state, *office.mei]) == 0
    capsys.readouterr()


def test_whoever_has_a_key_at_hand_the_unattended_day_is_settlements_own(
    office: Office, monkeypatch: pytest.MonkeyPatch, printed: Output
) -> None:
    monkeypatch.setenv("TONGDUI_PERSON_KEY", office.boss[1])

    assert main(["daily", "--json"]) == 7
    printed()

    assert main(["audit", "--json"]) == 0
    assert {row["person"] for row in printed()["audit"]} == {"settlement"}


def test_a_missing_file_keeps_its_day_and_later_ones_from_being_certified(
    office: Office, printed: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_file_of_c(office)
    capsys.readouterr()

    assert main(["daily", "--json"]) == 7
    waiting = printed()
    (office.inbox / f"c.{DAY_1}.csv").write_bytes(partner_file("c", DAY_1, []))
    assert main(["daily", "--inbox", str(office.inbox), "--json"]) == 7
    loaded = printed()
    (office.inbox / f"c.{DAY_2}.csv").write_bytes(partner_file("c", DAY_2, []))
    assert main(["daily", "--inbox", str(office.inbox), "--json"]) == 7
    both = printed()

    assert [(one["state"], one["steps"]) for one in waiting["days"]] == [("COMPUTED", ["close", "net"])] * 2
    assert [one["what"] for one in waiting["decisions"]] == ["the file of c is missing"] * 2
    assert [(one["state"], one["steps"]) for one in loaded["days"]] == [
        ("CERTIFIED", ["reconcile", "certify", "audit-journal"]),
        ("COMPUTED", []),
    ]
    assert [one["is_repeat"] for one in both["files"]] == [True, False]
    assert [one["state"] for one in both["days"]] == ["CERTIFIED", "CERTIFIED"]


def test_a_day_is_certified_without_a_file_when_two_people_say_so(
    office: Office, printed: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_file_of_c(office)
    assert main(["daily", "--date", str(DAY_1)]) == 7
    waive = ["waive", "--date", str(DAY_1), "--partner", "c"]
    assert main([*waive, "--reason", "c was closed", *office.mei]) == 0
    capsys.readouterr()

    assert main(["daily", "--date", str(DAY_1), "--json"]) == 7
    proposed = printed()
    assert main([*waive, "--approve", *office.boss]) == 0
    capsys.readouterr()
    assert main(["daily", "--date", str(DAY_1), "--json"]) == 7

    assert [one["role"] for one in proposed["decisions"]] == ["finance_maker", "finance_checker"]
    assert [one["state"] for one in printed()["days"]] == ["CERTIFIED"]


def test_a_proposal_that_was_refused_or_whose_file_came_is_in_nobodys_way(
    office: Office, printed: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_file_of_c(office)
    assert main(["daily", "--date", str(DAY_1)]) == 7
    waive = ["waive", "--date", str(DAY_1), "--partner", "c"]
    assert main([*waive, "--reason", "c was closed", *office.mei]) == 0
    assert main([*waive, "--reject", *office.boss]) == 0
    capsys.readouterr()

    assert main(["daily", "--date", str(DAY_1), "--json"]) == 7
    refused = printed()
    assert main([*waive, "--reason", "c burned down", *office.mei]) == 0
    (office.inbox / f"c.{DAY_1}.csv").write_bytes(partner_file("c", DAY_1, []))
    capsys.readouterr()
    assert main(["daily", "--date", str(DAY_1), "--inbox", str(office.inbox), "--json"]) == 7

    assert [one["what"] for one in refused["decisions"]] == ["the file of c is missing"]
    assert [one["state"] for one in printed()["days"]] == ["CERTIFIED"]


def test_a_file_that_stays_in_the_inbox_does_not_take_its_place_back(
    office: Office, printed: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    first = partner_file("c", DAY_3, [])
    (office.inbox / f"c.{DAY_3}.csv").write_bytes(first)
    newer = office.directory / "newer.csv"
    newer.write_bytes(sealed(first.decode().splitlines()[0] + "\r\n"))
    assert main(["daily", "--inbox", str(office.inbox)]) == 7
    assert main(["load", str(newer), "--partner", "c", "--date", str(DAY_3), *office.mei]) == 0
    capsys.readouterr()

    assert main(["daily", "--inbox", str(office.inbox), "--json"]) == 7

    assert [one["is_repeat"] for one in printed()["files"]] == [True]
    counts = office.ledger.connection.execute(
        "SELECT sha256 FROM settlement.partner_files WHERE state = 'ACCEPTED'"
    )
    assert counts.fetchall() == [(hashlib.sha256(newer.read_bytes()).hexdigest(),)]


def test_files_that_cannot_be_taken_in_are_somebodys_to_look_at(office: Office, printed: Output) -> None:
    faults = {
        f"c.{DAY_1}.csv": "line 1",
        f"c.{DAY_1}.mapped": "control record",
        "c.2026-13-01.csv": "'2026-13-01' where a day belongs",
        f"nobody.{DAY_1}.csv": "'nobody'",
        "notes.txt": "its name is not PARTNER.YYYY-MM-DD",
    }
    for name in (*faults, ".hidden.csv", f"b.{DAY_1}.csv.part"):
        (office.inbox / name).write_bytes(b"this is no partner file\n")

    assert main(["daily", "--inbox", str(office.inbox), "--json"]) == 7

    content = printed()
    assert [one["file"] for one in content["files"]] == list(faults)
    for one, told, decision in zip(content["files"], faults.values(), content["decisions"], strict=False):
        assert told in one["refused"]
        assert decision["role"] == "finance_maker"
        assert decision["what"].startswith(one["file"])
    assert [one["state"] for one in content["days"]] == ["CERTIFIED", "CERTIFIED"]


def test_an_export_without_a_profile_or_that_cannot_be_read_stops_no_other_file(
    office: Office, printed: Output
) -> None:
    (office.inbox / f"a.{DAY_1}.mapped").write_bytes(b"order;points\n")
    (office.inbox / f"a.{DAY_1}.mapped.control").write_bytes(b"{}")
    (office.inbox / f"c.{DAY_1}.csv").write_bytes(partner_file("c", DAY_1, []))

    assert main(["daily", "--inbox", str(office.inbox), "--json"]) == 7

    content = printed()
    mapped, good = content["files"]
    assert "no column mapping" in mapped["refused"]
    assert good["line_count"] == 0
    assert content["decisions"][0]["what"].startswith(mapped["file"])
    assert [one["state"] for one in content["days"]] == ["CERTIFIED", "CERTIFIED"]


def test_a_dispute_that_cannot_expire_is_reported_and_the_others_go_on(
    office: Office, printed: Output
) -> None:
    connection = office.ledger.connection
    stuck = plant_break(connection, "TIMING", state="RESOLVED", resolution="AUTO_CLEARED")
    late = plant_break(connection, "DUPLICATE")
    for number in (stuck, late):
        connection.execute(
            "INSERT INTO settlement.disputes (break_id, opened_by, against, claim, opened_person, open_time,"
            " deadline, state) VALUES (%s, 'a', 'b', 'theirs', 'a', '2025-01-01', '2025-01-08', 'OPEN')",
            (number,),
        )

    assert main(["daily", "--json"]) == 7

    told = [one["what"] for one in printed()["decisions"] if "could not expire" in one["what"]]
    assert len(told) == 1
    assert "the break is RESOLVED" in told[0]
    states = connection.execute("SELECT state FROM settlement.disputes ORDER BY dispute_id").fetchall()
    assert states == [("OPEN",), ("EXPIRED",)]


def test_a_check_that_fails_stops_its_day_and_says_which(office: Office, printed: Output) -> None:
    office.ledger.connection.execute(
        "UPDATE exchange.chained_lines_v1 SET micros = micros + 1 WHERE batch_sequence = 1 AND payee_id = -1"
    )

    assert main(["daily", "--json"]) == 7

    content = printed()
    assert [one["state"] for one in content["days"]] == ["COMPUTED", "COMPUTED"]
    (decision,) = content["decisions"]
    assert "escrow_proof" in decision["what"]
    assert decision["command"] == f"tongdui-settle certify --date {DAY_1}"


def test_a_journal_that_is_not_what_the_hub_signed_is_not_up_for_approval(
    office: Office, printed: Output
) -> None:
    office.ledger.connection.execute(
        "UPDATE exchange.chained_entries_v1 SET reference = 'another' WHERE batch_sequence = 2"
    )

    assert main(["daily", "--json"]) == 7

    first, second = printed()["decisions"]
    assert (first["role"], first["command"]) == ("operator", f"tongdui-settle audit-journal --date {DAY_1}")
    assert second["command"] == f"tongdui-settle approve --date {DAY_2}"


def test_breaks_and_disputes_that_wait_are_on_the_list(
    office: Office, printed: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = office.ledger.connection
    later = datetime(2030, 1, 1, tzinfo=UTC)
    overdue = plant_break(connection, due_time=datetime(2025, 1, 1, tzinfo=UTC))
    critical = plant_break(connection, "DUPLICATE", severity="CRITICAL", due_time=later)
    pending = plant_break(connection, "ROUNDING", due_time=later)
    plant_break(connection, "WRONG_STORE", due_time=later)
    disputed = plant_break(connection, "WRONG_MEMBER", due_time=later)
    resolve = ["break", "resolve", str(pending), "--kind", "no-action", "--reason", "a fen"]
    assert main([*resolve, *office.mei]) == 0
    claim = ["dispute", "open", str(disputed), "--against", "b", "--claim", "theirs", *office.mei, "--json"]
    capsys.readouterr()
    assert main(claim) == 0
    dispute = printed()["disputes"][0]["dispute_id"]
    assert main(["dispute", "answer", str(dispute), "--text", "no", *office.mei]) == 0
    capsys.readouterr()

    assert main(["daily", "--json"]) == 7

    listed = [one["command"] for one in printed()["decisions"] if one["window_date"] is None]
    assert listed == [
        f"tongdui-settle break approve {pending}",
        f"tongdui-settle break show {overdue}",
        f"tongdui-settle break show {critical}",
        f"tongdui-settle dispute decide {dispute} --for PARTNER --decision TEXT",
    ]


def test_killed_around_every_step_it_goes_on_to_the_same_end(
    office: Office, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    take = daily_command.UnattendedDay._take
    calls = 0

    def killed(self: Any, *arguments: Any) -> Any:
        """Every step is tried three times: killed before it, killed after it committed, and let through."""
        nonlocal calls
        calls += 1
        if calls % 3 == 1:
            raise KeyboardInterrupt
        done = take(self, *arguments)
        if calls % 3 == 2:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(daily_command.UnattendedDay, "_take", killed)
    codes = []
    while (code := main(["daily"])) == 130:
        codes.append(code)
    capsys.readouterr()

    assert (code, len(codes)) == (7, calls - calls // 3)
    assert main(["audit", "--json"]) == 0
    log = [(row["act"], row["item_id"]) for row in json.loads(capsys.readouterr().out)["audit"]]
    acts = ("audit_journal", "certify", "close", "net")
    assert sorted(log) == [(act, str(day)) for act in acts for day in (DAY_1, DAY_2)]
    for day in (DAY_1, DAY_2):
        assert main(["net", "--date", str(day)]) == 0
        assert main(["certify", "--date", str(day)]) == 0


def test_the_list_on_the_screen_says_who_does_what(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["daily"]) == 7

    captured = capsys.readouterr()
    assert "Waits for people" in captured.out
    assert f"tongdui-settle approve --date {DAY_1}" in captured.out
    assert "2 decisions to be made by people" in captured.err


def test_no_command_lets_an_auditor_change_anything(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = office.ledger.connection
    expect_file_of_c(office)
    (office.inbox / f"c.{DAY_1}.csv").write_bytes(partner_file("c", DAY_1, []))
    (office.inbox / f"c.{DAY_2}.csv").write_bytes(partner_file("c", DAY_2, []))
    assert main(["daily", "--inbox", str(office.inbox)]) == 7
    assert main(["approve", "--date", str(DAY_1), *office.boss]) == 0
    assert main(["daily"]) == 7
    resolved = plant_break(connection, "TIMING", state="RESOLVED", resolution="AUTO_CLEARED")
    pending, disputed, free = (
        str(plant_break(connection, kind)) for kind in ("ROUNDING", "DUPLICATE", "TIMING")
    )
    propose = ("--kind", "no-action", "--reason", "a fen")
    claim = ("--against", "b", "--claim", "theirs")
    assert main(["break", "resolve", pending, *propose, *office.mei]) == 0
    assert main(["dispute", "open", disputed, *claim, *office.mei]) == 0
    profile, another = str(office.directory / "profile.json"), office.directory / "another.csv"
    another.write_bytes(partner_file("b", DAY_3, []))
    payment = f"{DAY_1}-a"
    dispute = str(connection.execute("SELECT dispute_id FROM settlement.disputes").fetchall()[0][0])
    before = connection.execute("SELECT count(*) FROM settlement.audit_log").fetchone()
    commands = (
        ("approve", "--date", str(DAY_2)),
        ("abort", "--date", str(DAY_2), "--reason", "no"),
        ("payment", "mark", payment, "--state", "sent", "--reference", "r"),
        ("contract", "set", "gross", "--partner", "a", "--from", "2026-02-01"),
        ("load", str(another), "--partner", "b", "--date", str(DAY_3)),
        ("profile", "set", profile, "--partner", "c", "--from", str(DAY_3)),
        ("reconcile", "--date", str(DAY_1)),
        ("waive", "--date", str(DAY_3), "--partner", "c", "--reason", "no"),
        ("waive", "--date", str(DAY_3), "--partner", "c", "--approve"),
        ("waive", "--date", str(DAY_3), "--partner", "c", "--reject"),
        ("break", "assign", free, "Mei"),
        ("break", "comment", free, "hm"),
        ("break", "resolve", free, *propose),
        ("break", "approve", pending),
        ("break", "reject", pending, "--reason", "no"),
        ("break", "reopen", str(resolved), "--reason", "no"),
        ("dispute", "open", free, *claim),
        ("dispute", "answer", dispute, "--text", "no"),
        ("dispute", "decide", dispute, "--for", "b", "--decision", "no"),
    )

    capsys.readouterr()
    for command in commands:
        assert (command, main([*command, *office.eyes])) == (command, 5)
        assert "needs the role" in capsys.readouterr().err

    assert connection.execute("SELECT count(*) FROM settlement.audit_log").fetchone() == before
