"""Payments on a real database and at the command line: listed once, reported, broken off, settled, told to the hub."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from settlement.__main__ import main
from settlement.daily_run import DailyRun
from settlement.payments import Payments
from settlement.people import Actor
from settlement.rpc.keys import PrivateKey, save_private_key
from settlement.rpc.receipts import verify_close
from settlement.store import feed
from settlement.store.audit import first_broken
from settlement.store.engine import exclusive_run, open_engine
from tests.conftest import Databases
from tests.settlement_hub import (
    AUDIENCE,
    DAY_1,
    FINANCE_KEY,
    HUB_KEY,
    HUB_KEY_ID,
    HUB_KEYS,
    PeerHub,
    PostedLedger,
    listening,
    prepare,
    register,
)
from tongdui.exchange.v1.journal_service_pb2 import SettleWindowResponse
from tongdui.signing import public_key_text

MEI, BO, BOTH, AUDITOR = (
    PrivateKey("operator", name.ljust(32, b"-")) for name in (b"mei", b"bo", b"both", b"auditor")
)
STAFF = (
    (MEI, "Mei", ["finance_maker"]),
    (BO, "Bo", ["finance_checker"]),
    (BOTH, "Both", ["finance_maker", "finance_checker"]),
    (AUDITOR, "Auditor", ["auditor"]),
)
A, B, POOL = "2026-01-01-a", "2026-01-01-b", "2026-01-01-POOL"
D1 = ("--date", "2026-01-01")


@dataclass(frozen=True, slots=True)
class Office:
    """A finance office with the first day of the example settled as far as a test asks for."""

    ledger: PostedLedger
    hub: PeerHub
    people: dict[str, str]
    directory: Path

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.ledger.connection.execute(query.encode()).fetchall()

    def exported(self) -> None:
        """Runs the day as far as its payment list."""
        verify = partial(verify_close, hub_keys=HUB_KEYS, audience=AUDIENCE)
        engine = open_engine(os.environ["DATABASE_URL"])
        with exclusive_run(engine) as connection:
            with connection.begin():
                ledger = feed.read_ledger(connection)
            run = DailyRun(connection, ledger, Actor(FINANCE_KEY, unattended=True))
            run.close(DAY_1, self.hub, verify)
            run.net(DAY_1)
            run.audit_journal(DAY_1, lambda _: None)
            run.certify(DAY_1, FINANCE_KEY, verify)
            DailyRun(connection, ledger, Actor(BO)).approve(DAY_1)
            Payments(connection, ledger, Actor(MEI)).export(DAY_1)
        engine.dispose()

    def mark(self, payment_id: str, state: str, reference: str, *more: str) -> int:
        common = ("--state", state, "--reference", reference, "--as", self.people["Mei"], "--json")
        return main(["payment", "mark", payment_id, *common, *more])

    def results(self, *rows: str) -> int:
        path = self.directory / "results.csv"
        path.write_text("".join(f"{row}\n" for row in ("payment_id,state,amount,reference", *rows)))
        return main(["payment", "import", str(path), "--as", self.people["Mei"], "--json"])

    def states(self) -> dict[str, str]:
        return dict(self.rows("SELECT payment_id, state FROM settlement.payments"))


@pytest.fixture(scope="module")
def prepared(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        prepare(url)
        for key, holder, roles in STAFF:
            register(url, key, holder, *roles)
        yield url


@pytest.fixture
def office(prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    ledger = PostedLedger.open(prepared)
    ledger.connection.execute("TRUNCATE settlement.audit_log, settlement.breaks CASCADE")
    ledger.first_day_of_the_example()
    key_file = save_private_key(FINANCE_KEY, tmp_path / "keys")
    hub_keys = tmp_path / "hub-keys.json"
    hub_keys.write_text(json.dumps({HUB_KEY_ID: public_key_text(bytes(HUB_KEY.verify_key))}))
    people = {holder: str(save_private_key(key, tmp_path / holder)) for key, holder, _ in STAFF}
    hub = PeerHub(ledger)
    with ledger.connection, listening(hub, tmp_path) as address:
        for name, value in {
            "DATABASE_URL": prepared,
            "TONGDUI_HUB_ADDRESS": address,
            "TONGDUI_HUB_KEYS": str(hub_keys),
            "TONGDUI_AUDIENCE": AUDIENCE,
            "TONGDUI_SETTLEMENT_KEY": str(key_file),
        }.items():
            monkeypatch.setenv(name, value)
        yield Office(ledger, hub, people, tmp_path)


Output = Callable[[], Any]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Output:
    """What the last command printed as JSON; anything before it is dropped by `exported`'s caller."""
    return lambda: json.loads(capsys.readouterr().out)


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: capsys.readouterr().err


def test_an_approved_day_asks_for_one_payment_of_each_party_but_the_operator(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    office.exported()
    capsys.readouterr()

    assert main(["payments", "--state", "sent", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["payments"] == []
    assert main(["payments", *D1, "--state", "due"]) == 0

    shown = capsys.readouterr().out
    assert office.rows(
        "SELECT payment_id, direction, amount_minor, state FROM settlement.payments ORDER BY 1"
    ) == [
        (POOL, "PAY", 11_483, "DUE"),
        (A, "COLLECT", 15_810, "DUE"),
        (B, "PAY", 3_815, "DUE"),
    ]
    totals = [line for line in shown.splitlines() if "stays with the operator" in line]
    assert "5.12" in totals[0]


def test_the_payment_list_is_the_same_bytes_however_often_and_late_it_is_written(office: Office) -> None:
    office.exported()
    first, second = office.directory / "1.csv", office.directory / "2.csv"

    assert main(["export", "--payments", *D1, "--csv", str(first)]) == 0
    office.mark(A, "received", "TRX-1")
    assert main(["export", "--payments", *D1, "--csv", str(second), "--json"]) == 0

    assert first.read_bytes() == second.read_bytes()
    rows = list(csv.DictReader(io.StringIO(first.read_text())))
    assert [(row["payment_id"], row["direction"], row["amount"], row["currency"]) for row in rows] == [
        (A, "COLLECT", "158.10", "CNY"),
        (B, "PAY", "38.15", "CNY"),
        (POOL, "PAY", "114.83", "CNY"),
    ]
    ((certificate,),) = office.rows("SELECT document_sha256 FROM settlement.certificates")
    assert {row["certificate_sha256"] for row in rows} == {certificate}


def test_payments_are_listed_only_of_an_approved_day_and_not_by_who_approved(
    office: Office, complaint: Callable[[], str]
) -> None:
    assert main(["run", *D1, "--json"]) == 0
    assert main(["audit-journal", *D1, "--json"]) == 0
    export = ["export", "--payments", *D1, "--as"]
    complaint()
    assert main([*export, office.people["Mei"]]) == 3
    assert "run `approve --date 2026-01-01` first" in complaint()
    assert main(["approve", *D1, "--as", office.people["Both"]]) == 0

    assert main([*export, office.people["Both"]]) == 5
    assert "Both did the first half" in complaint()
    assert main([*export, office.people["Auditor"]]) == 5
    assert main(["export", "--payments", *D1]) == 0

    assert {row[0] for row in office.rows("SELECT exported_by FROM settlement.payments")} == {"settlement"}


def test_a_gross_partner_and_a_pair_are_paid_by_their_contracts(office: Office) -> None:
    office.ledger.prefunded_micros = 0
    office.ledger.earn(DAY_1, "c", 1_000)
    office.ledger.burn(DAY_1, "b", "c", 1_000)
    for arguments in (["gross", "--partner", "a"], ["bilateral", "--partner", "c", "--with", "b"]):
        command = [
            "contract",
            "set",
            *arguments,
            "--from",
            "2026-01-01",
            "--as",
            office.people["Mei"],
            "--json",
        ]
        assert main(command) == 0
    assert main(["contract", "list", *D1]) == 0

    office.exported()

    payments = {
        row[0]: row[1:]
        for row in office.rows("SELECT payment_id, direction, amount_minor FROM settlement.payments")
    }
    assert payments == {
        f"{A}/COLLECT": ("COLLECT", 15_810),
        B: ("PAY", 3_815),
        f"{B}/c": ("PAY", 950),
        "2026-01-01-c": ("COLLECT", 70),
        "2026-01-01-c/b": ("COLLECT", 950),
        POOL: ("PAY", 11_483),
    }


def test_a_payment_goes_through_its_states_by_hand_and_keeps_its_history(
    office: Office, printed: Output
) -> None:
    office.exported()

    assert office.mark(B, "received", "TRX-0") == 3
    for state, reference in (("sent", "T-1"), ("rejected", "T-2"), ("sent", "T-3"), ("received", "T-4")):
        assert office.mark(B, state, reference) == 0
        assert office.mark(B, state, reference) == 0  # told twice, done once
    printed_lines = office.rows(
        "SELECT reported, attempt, reference, person FROM settlement.payment_events ORDER BY event_id"
    )

    assert office.mark(B, "rejected", "T-5") == 3
    assert office.states()[B] == "RECEIVED"
    assert printed_lines == [
        ("SENT", 1, "T-1", "Mei"),
        ("REJECTED", 1, "T-2", "Mei"),
        ("SENT", 2, "T-3", "Mei"),
        ("RECEIVED", 2, "T-4", "Mei"),
    ]


def test_one_payment_shows_all_that_was_reported_of_it(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    office.exported()
    office.mark(A, "sent", "T-1")
    capsys.readouterr()

    assert main(["payment", "show", A, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert main(["payment", "show", A]) == 0
    assert main(["payment", "show", "2026-01-01-nobody"]) == 3

    assert (shown["state"], [event["reference"] for event in shown["events"]]) == ("SENT", ["T-1"])
    assert "T-1" in capsys.readouterr().out


def test_a_default_needs_a_reason_and_two_people_is_final_and_names_who_bears_it(
    office: Office, complaint: Callable[[], str]
) -> None:
    office.exported()
    approve = ["payment", "default", A, "--json", "--as"]

    assert main([*approve, office.people["Bo"]]) == 3
    assert office.mark(A, "defaulted", "D-1") == 2
    assert office.mark(A, "defaulted", "D-1", "--reason", "insolvent", "--as", office.people["Both"]) == 0
    assert office.mark(A, "defaulted", "D-1", "--reason", "insolvent") == 0  # told twice, proposed once
    assert office.mark(B, "defaulted", "D-2", "--reason", "why") == 3
    assert office.states()[A] == "DUE"
    assert main([*approve, office.people["Mei"]]) == 5
    complaint()
    assert main([*approve, office.people["Both"]]) == 5
    assert "Both did the first half" in complaint()
    for _ in range(2):
        assert main([*approve, office.people["Bo"]]) == 0

    assert office.mark(A, "sent", "T-1") == 3
    assert office.rows(
        "SELECT state, borne_by, default_proposed_by, default_approved_by FROM settlement.payments"
        " WHERE party_id = 'a'"
    ) == [("DEFAULTED", "OPERATOR", "Both", "Bo")]
    assert office.rows(
        "SELECT reported, state_after, person, reason FROM settlement.payment_events ORDER BY event_id"
    ) == [
        ("DEFAULT_PROPOSED", "DUE", "Both", "insolvent"),
        ("DEFAULTED", "DEFAULTED", "Bo", "insolvent"),
    ]


@pytest.mark.parametrize("approver", ["'both'", "' Both '", "NULL"])
def test_the_database_refuses_a_default_of_one_person_however_spelled(office: Office, approver: str) -> None:
    office.exported()

    with pytest.raises(psycopg.errors.CheckViolation, match="payments_default"):
        office.rows(
            "UPDATE settlement.payments SET state = 'DEFAULTED', borne_by = 'OPERATOR',"
            f" default_proposed_by = 'Both', default_approved_by = {approver} RETURNING 1"
        )


def test_money_that_arrives_after_a_default_is_taken_with_its_whole_file(
    office: Office, printed: Output
) -> None:
    office.exported()
    office.mark(A, "defaulted", "D-1", "--reason", "insolvent")
    assert main(["payment", "default", A, "--as", office.people["Bo"], "--json"]) == 0

    assert office.results(f"{B},sent,,TRX-1", f"{A},received,58.10,TRX-2") == 0

    assert office.states() == {A: "DEFAULTED", B: "SENT", POOL: "DUE"}
    assert office.rows("SELECT moved_minor FROM settlement.payments WHERE party_id = 'a'") == [(5_810,)]
    assert office.rows("SELECT count(*) FROM settlement.breaks") == [(0,)]


def test_what_a_pair_did_not_collect_is_not_paid(office: Office) -> None:
    office.ledger.prefunded_micros = 0
    office.ledger.earn(DAY_1, "c", 1_000)
    office.ledger.burn(DAY_1, "b", "c", 1_000)
    contract = ["bilateral", "--partner", "c", "--with", "b", "--from", "2026-01-01"]
    assert main(["contract", "set", *contract, "--as", office.people["Mei"], "--json"]) == 0
    office.exported()
    collected, paid = "2026-01-01-c/b", f"{B}/c"
    assert office.mark(paid, "sent", "T-1") == 0

    assert office.mark(collected, "defaulted", "D-1", "--reason", "insolvent") == 0
    assert main(["payment", "default", collected, "--as", office.people["Bo"], "--json"]) == 0

    assert office.rows(
        "SELECT payment_id, state, borne_by, default_approved_by FROM settlement.payments"
        " WHERE counterparty_id IS NOT NULL ORDER BY payment_id"
    ) == [(paid, "DEFAULTED", "b", "Bo"), (collected, "DEFAULTED", "b", "Bo")]
    assert office.rows(
        "SELECT item_id FROM settlement.audit_log WHERE act = 'approve_default' ORDER BY audit_id"
    ) == [(collected,), (paid,)]


def test_who_approved_a_window_does_not_mark_its_payments(
    office: Office, complaint: Callable[[], str]
) -> None:
    assert main(["run", *D1, "--json"]) == 0
    assert main(["audit-journal", *D1, "--json"]) == 0
    assert main(["approve", *D1, "--as", office.people["Both"]]) == 0
    assert main(["export", "--payments", *D1, "--json"]) == 0
    results = office.directory / "results.csv"
    results.write_text(f"payment_id,state,amount,reference\n{A},sent,,T-1\n")

    for command in (
        ["payment", "mark", A, "--state", "sent", "--reference", "T-1"],
        ["payment", "mark", A, "--state", "defaulted", "--reference", "D-1", "--reason", "insolvent"],
        ["payment", "import", str(results)],
    ):
        complaint()
        assert main([*command, "--as", office.people["Both"]]) == 5
        assert "Both did the first half" in complaint()

    assert office.states()[A] == "DUE"


def test_a_payments_break_is_opened_on_the_ledgers_day_and_not_the_systems(office: Office) -> None:
    office.exported()
    office.rows("UPDATE exchange.ledger_v1 SET clock = 'manual' RETURNING 1")

    try:
        assert office.results(f"{A},received,158.00,TRX-1") == 0
    finally:
        office.rows("UPDATE exchange.ledger_v1 SET clock = 'system' RETURNING 1")

    assert office.rows(
        "SELECT breaks.opened_time = max(close_time), due_time > opened_time FROM settlement.breaks,"
        " settlement.windows GROUP BY breaks.break_id"
    ) == [(True, True)]


def test_closing_is_refused_before_the_hub_is_asked(office: Office) -> None:
    for command in ("close", "run"):
        assert main([command, *D1, "--as", office.people["Auditor"]]) == 5

    assert office.ledger.closed_through == 0
    assert office.rows("SELECT count(*) FROM exchange.windows_v1") == [(0,)]
    assert office.rows("SELECT count(*) FROM settlement.audit_log") == [(0,)]


def test_bank_results_move_payments_on_and_what_differs_becomes_a_break(
    office: Office, printed: Output
) -> None:
    office.exported()
    printed_before = office.rows("SELECT count(*) FROM settlement.breaks")

    done = office.results(
        f"{A},received,158.00,TRX-1",
        f"{B},sent,,TRX-2",
        f"{B},rejected,38.15,TRX-3",
        f"{POOL},sent,114.83,TRX-4",
        f"{POOL},received,115.00,TRX-5",
    )

    breaks = office.rows(
        "SELECT partner_id, type, state, amount_at_stake_micros, due_time > opened_time"
        " FROM settlement.breaks ORDER BY 1, 2"
    )
    assert (printed_before, done) == ([(0,)], 0)
    assert office.states() == {A: "DUE", B: "REJECTED", POOL: "RECEIVED"}
    assert breaks == [
        ("POOL", "SETTLEMENT_OVER", "OPEN", 170_000, True),
        ("a", "SETTLEMENT_SHORT", "OPEN", 100_000, True),
        ("b", "SETTLEMENT_REJECTED", "OPEN", 38_150_000, True),
    ]


def test_results_imported_twice_count_once_and_the_rest_of_a_short_payment_completes_it(
    office: Office,
) -> None:
    office.exported()
    short, rest = f"{A},received,158.00,TRX-1", f"{A},received,0.10,TRX-2"

    for rows in ((short,), (short,), (short, rest)):
        assert office.results(*rows) == 0

    assert office.rows("SELECT moved_minor, state FROM settlement.payments WHERE party_id = 'a'") == [
        (15_810, "RECEIVED")
    ]
    assert office.rows("SELECT count(*) FROM settlement.payment_events") == [(2,)]
    assert office.rows("SELECT type FROM settlement.breaks") == [("SETTLEMENT_SHORT",)]


REFUSED_ROWS = {
    "2026-01-01-nobody,sent,,R": "line 3, payment_id",
    f"{B},received,38.15,R": "line 3, state",
    f"{B},sent,38.16,R": "line 3, amount",
    f"{B},sent,38.1,R": "line 3, amount",
    f"{A},received,158.10,TRX-0": "line 3, amount",
    f"{B},sent": "line 3, row",
}


def test_a_file_with_one_bad_line_is_refused_whole_with_line_and_field(
    office: Office, complaint: Callable[[], str]
) -> None:
    office.exported()
    assert office.results(f"{A},received,1.00,TRX-0") == 0
    everything = (
        "SELECT to_jsonb(payments) FROM settlement.payments ORDER BY payment_id",
        "SELECT count(*) FROM settlement.payment_events",
        "SELECT count(*) FROM settlement.audit_log",
        "SELECT count(*) FROM settlement.breaks",
    )
    before = [office.rows(query) for query in everything]

    for row, said in REFUSED_ROWS.items():
        complaint()
        assert office.results(f"{POOL},sent,,TRX-9", row) == 1
        assert said in complaint()
        assert [office.rows(query) for query in everything] == before


def test_a_day_whose_payments_are_final_is_settled_and_the_hub_told_once(
    office: Office, complaint: Callable[[], str]
) -> None:
    office.exported()
    office.mark(A, "received", "T-1")
    office.mark(POOL, "sent", "T-2")
    complaint()
    assert main(["settle", *D1]) == 3
    assert f"payments are not final: {B}, {POOL}" in complaint()
    for payment_id in (B, POOL):
        office.mark(payment_id, "sent", "T-3")
        office.mark(payment_id, "received", "T-4")

    assert main(["settle", *D1, "--json"]) == 0
    assert main(["settle", *D1]) == 0

    ((certificate, response),) = office.rows(
        "SELECT document_sha256, response FROM settlement.certificates"
        " JOIN settlement.settle_receipts USING (window_date)"
    )
    assert office.rows("SELECT state FROM settlement.windows") == [("SETTLED",)]
    assert office.hub.settled[DAY_1].hex() == certificate
    assert SettleWindowResponse.FromString(response).window.HasField("settled_time")
    engine = open_engine(os.environ["DATABASE_URL"])
    with engine.connect() as connection:
        assert first_broken(connection) is None
    engine.dispose()
    assert office.rows("SELECT act, person FROM settlement.audit_log ORDER BY audit_id DESC LIMIT 1") == [
        ("settle", "settlement")
    ]


def test_a_day_that_was_settled_at_the_hub_before_settlement_could_keep_its_answer_is_settled(
    office: Office,
) -> None:
    office.exported()
    for payment_id in (A, B, POOL):
        office.mark(payment_id, "sent", "T-1")
        office.mark(payment_id, "received", "T-2")
    ((certificate,),) = office.rows("SELECT document_sha256 FROM settlement.certificates")
    office.hub.settle_window(DAY_1, certificate)

    assert main(["settle", *D1]) == 0

    assert office.rows("SELECT state FROM settlement.windows") == [("SETTLED",)]


def test_a_day_that_the_hub_has_settled_by_another_certificate_is_not_settled(
    office: Office, complaint: Callable[[], str]
) -> None:
    office.exported()
    for payment_id in (A, B, POOL):
        office.mark(payment_id, "sent", "T-1")
        office.mark(payment_id, "received", "T-2")
    office.hub.settled[DAY_1] = b"\x01" * 32
    complaint()

    assert main(["settle", *D1]) == 5

    assert "another certificate" in complaint()
    assert office.rows("SELECT state FROM settlement.windows") == [("EXPORTED",)]


def test_a_day_goes_from_open_to_settled_at_the_command_line_and_at_once_where_it_has_no_payments(
    office: Office,
) -> None:
    approve, export = (
        ["approve", "--as", office.people["Bo"]],
        ["export", "--payments", "--as", office.people["Mei"]],
    )
    for day in ("2026-01-01", "2026-01-02"):
        for command in (["run"], ["audit-journal"], approve, export):
            assert main([*command, "--date", day, "--json"]) == 0

    assert main(["settle", "--date", "2026-01-02"]) == 0

    assert office.rows("SELECT state FROM settlement.windows ORDER BY window_date") == [
        ("EXPORTED",),
        ("SETTLED",),
    ]


def test_only_makers_report_payments(office: Office) -> None:
    office.exported()

    for person in ("Bo", "Auditor"):
        command = ["payment", "mark", A, "--state", "sent", "--reference", "T", "--as", office.people[person]]
        assert main(command) == 5

    assert office.states()[A] == "DUE"


def test_an_act_of_a_person_needs_a_person(office: Office, complaint: Callable[[], str]) -> None:
    for command in (
        ["approve", *D1],
        ["abort", *D1, "--reason", "why"],
        ["payment", "mark", A, "--state", "sent", "--reference", "T"],
        ["contract", "set", "gross", "--partner", "a", "--from", "2026-01-01"],
    ):
        assert main(command) == 2
        assert "TONGDUI_PERSON_KEY" in complaint()


def test_a_run_is_aborted_at_the_command_line_and_stays_in_the_list(
    office: Office, printed: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *D1, "--json"]) == 0
    printed()

    assert main(["abort", *D1, "--reason", "again", "--as", office.people["Mei"], "--json"]) == 0

    assert printed() == {"window_date": "2026-01-01", "state": "CLOSED", "run_number": 2}
    assert main(["net", *D1, "--json"]) == 0
    printed()
    assert main(["runs", *D1]) == 0
    assert main(["runs", *D1, "--json"]) == 0
    shown = capsys.readouterr().out
    runs = json.loads(shown[shown.index("{") :])["runs"]
    assert [(run["state"], run["certified_by"], run["aborted_by"], run["reason"]) for run in runs] == [
        ("ABORTED", "settlement", "Mei", "again"),
        ("RUNNING", "", "", ""),
    ]
    assert runs[0]["certificate_sha256"]
    assert main(["runs", "--date", "2026-01-02"]) == 3


def test_a_restatement_is_shown_with_nets_that_are_zero(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *D1, "--json"]) == 0
    office.ledger.event_day = DAY_1
    office.ledger.earn(DAY_1.replace(day=3), "a", 250)
    capsys.readouterr()

    assert main(["restate", *D1]) == 0
    shown = capsys.readouterr().out
    assert main(["restate", *D1, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert main(["restate", "--date", "2026-01-09"]) == 3

    (a,) = [net for net in content["nets"] if net["party_id"] == "a"]
    assert (a["was_minor"], a["would_be_minor"], a["difference_minor"]) == (-15_810, -16_065, -255)
    assert sum(net["would_be_minor"] for net in content["nets"]) == 0
    assert "-160.65" in shown
