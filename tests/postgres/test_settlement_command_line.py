"""`tongdui-settle` as finance uses it: every command, every exit code, against a peer hub on a socket."""

import csv
import hashlib
import io
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from google.type.date_pb2 import Date
from nacl.signing import VerifyKey
from rich.console import Console

from merchant_adapter import SettlementKeys
from settlement.__main__ import main
from settlement.command_line.screen import certificate_view
from settlement.core.certificate import split_document
from settlement.rpc.keys import PrivateKey, load_private_key, save_private_key
from settlement.settings import SETTINGS
from settlement.store.engine import exclusive_run, open_engine
from settlement.store.load import load_certificate
from tests.conftest import Databases
from tests.settlement_hub import (
    AUDIENCE,
    DAY_1,
    DAY_3,
    FINANCE_KEY,
    HUB_KEY,
    HUB_KEY_ID,
    PeerHub,
    PostedLedger,
    listening,
    prepare,
)
from tests.waiting import WAIT_SECONDS
from tongdui.exchange.v1.journal_service_pb2 import CloseWindowRequest
from tongdui.signing import public_key_text

FINANCE_VERIFY_KEY = VerifyKey(FINANCE_KEY.public_key)
CLOSE_REQUEST = CloseWindowRequest(
    request_id="close-2026-01-01", window_date=Date(year=2026, month=1, day=1)
).SerializeToString()


@dataclass(frozen=True, slots=True)
class Office:
    """A finance office with one day posted and the hub on a socket."""

    ledger: PostedLedger
    hub: PeerHub
    url: str
    directory: Path


@pytest.fixture(scope="module")
def prepared(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        prepare(url)
        yield url


@pytest.fixture
def office(prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    ledger = PostedLedger.open(prepared)
    ledger.first_day_of_the_example()
    key_file = save_private_key(FINANCE_KEY, tmp_path / "keys")
    hub_keys = tmp_path / "hub-keys.json"
    hub_keys.write_text(json.dumps({HUB_KEY_ID: public_key_text(bytes(HUB_KEY.verify_key))}))
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
        yield Office(ledger, hub, prepared, tmp_path)


Output = Callable[[], Any]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Output:
    return lambda: json.loads(capsys.readouterr().out)


def test_a_day_is_closed_netted_and_certified_step_by_step(office: Office, printed: Output) -> None:
    assert main(["close", "--date", "2026-01-01", "--json"]) == 0
    closed = printed()
    assert main(["net", "--date", "2026-01-01", "--json"]) == 0
    netted = printed()
    assert main(["certify", "--date", "2026-01-01", "--json"]) == 0
    certified = printed()

    assert (closed["entry_count"], closed["last_sequence"]) == (6, 6)
    assert netted["parties"] == {"a": -15_810, "b": 3_815, "POOL": 11_483, "OPERATOR": 512}
    assert netted["net_minor"] == 0
    assert all(check["holds"] for check in certified["checks"])


def test_one_run_settles_every_day_that_is_due_and_no_day_twice(office: Office, printed: Output) -> None:
    assert main(["run", "--through", "2026-01-03", "--from", "2026-01-01", "--json"]) == 0
    days = printed()["days"]
    assert main(["run", "--through", "2026-01-03", "--json"]) == 0
    again = printed()["days"]

    assert [day["window_date"] for day in days] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert [day["entry_count"] for day in days] == [6, 0, 0]
    assert again == []
    assert len(office.hub.asked) == 3


def test_a_first_run_begins_where_the_hub_says_its_ledger_began(office: Office, printed: Output) -> None:
    office.hub.began = DAY_1 - timedelta(days=2)
    office.ledger.last_day = DAY_1 - timedelta(days=3)

    assert main(["run", "--through", "2026-01-01", "--json"]) == 0

    assert [(day["window_date"], day["entry_count"]) for day in printed()["days"]] == [
        ("2025-12-30", 0),
        ("2025-12-31", 0),
        ("2026-01-01", 6),
    ]


def test_a_day_the_hub_does_not_close_next_is_exit_code_3_and_says_which_is(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["close", "--date", "2026-01-02"]) == 3

    assert "next window to close is 2026-01-01" in complaint(capsys)


def test_a_run_repeated_for_one_day_gives_the_same_certificate(office: Office, printed: Output) -> None:
    assert main(["run", "--date", "2026-01-01", "--json"]) == 0
    first = printed()
    assert main(["run", "--date", "2026-01-01", "--json"]) == 0

    assert printed() == first


def test_the_run_shows_a_table_in_which_nets_are_zero(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--date", "2026-01-01"]) == 0

    row = next(line for line in capsys.readouterr().out.splitlines() if "2026-01-01" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[:6] == ["2026-01-01", "6", "158.10", "0.00", "0.00", "12 true"]


def test_statements_show_all_parties_and_a_total_of_zero(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["run", "--date", "2026-01-01", "--json"])
    capsys.readouterr()

    assert main(["statement", "--date", "2026-01-01"]) == 0

    shown = capsys.readouterr().out
    total = next(line for line in shown.splitlines() if "all parties" in line)
    assert [cell.strip() for cell in total.strip("│").split("│")] == [
        *("all parties", "", "0.00", "158.26", "-158.26", "0.00", "0.00")
    ]
    for text in ("Bakery A", "Café B", "Escrow pool", "BURN_REIMBURSE", "38.3135", "-158.10"):
        assert text in shown


def test_one_partners_statement_shows_nobody_else(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--date", "2026-01-01", "--json"])
    capsys.readouterr()

    assert main(["statement", "--date", "2026-01-01", "--partner", "b"]) == 0

    shown = capsys.readouterr().out
    assert "Statement of b (Café B)" in shown
    assert "Bakery" not in shown


def test_a_partner_without_business_has_a_statement_of_zeros(office: Office, printed: Output) -> None:
    main(["run", "--date", "2026-01-01", "--json"])
    printed()

    assert main(["statement", "--date", "2026-01-01", "--partner", "c", "--json"]) == 0

    (statement,) = printed()["statements"]
    assert (statement["opening_minor"], statement["lines"], statement["closing_minor"]) == (0, [], 0)


def test_csv_adds_up(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--date", "2026-01-01", "--json"])
    capsys.readouterr()
    path = office.directory / "statements.csv"

    assert main(["statement", "--date", "2026-01-01", "--csv", str(path)]) == 0
    assert main(["statement", "--date", "2026-01-01", "--csv", "-"]) == 0

    assert capsys.readouterr().out == path.read_text()
    rows = list(csv.DictReader(io.StringIO(path.read_text())))

    def fen(kind: str, party: str | None = None) -> int:
        found = (r for r in rows if r["row"] == kind and party in (None, r["party_id"]))
        return sum(int(r["amount"].replace(".", "")) for r in found)

    assert fen("net") == fen("line") == 0
    for party in ("a", "b", "POOL", "OPERATOR"):
        assert fen("line", party) == fen("net", party)
        assert fen("opening", party) + fen("net", party) == fen("closing", party)
    assert {r["currency"] for r in rows} == {"CNY"}


def test_a_run_writes_each_certified_days_statements(office: Office, printed: Output) -> None:
    folder = office.directory / "statements"
    office.ledger.earn(DAY_3, "a", 5)
    office.ledger.connection.execute("DELETE FROM exchange.chained_legs_v1 WHERE window_date = '2026-01-03'")

    assert main(["run", "--through", "2026-01-03", "--csv", str(folder), "--json"]) == 1
    printed()

    assert sorted(path.name for path in folder.iterdir()) == ["2026-01-01.csv", "2026-01-02.csv"]
    again = office.directory / "again.csv"
    assert main(["statement", "--date", "2026-01-02", "--csv", str(again)]) == 0
    assert (folder / "2026-01-02.csv").read_text() == again.read_text()


def test_the_matrix_shows_who_owed_whom_exactly(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--date", "2026-01-01", "--json"])
    capsys.readouterr()

    assert main(["matrix", "--date", "2026-01-01"]) == 0

    shown = capsys.readouterr().out
    for amount in ("155.00", "38.3135", "2.0165", "0.0032"):
        assert amount in shown


def test_a_wide_matrix_is_shown_in_blocks_that_fit(
    office: Office, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    office.ledger.burn(DAY_1, "c", "a", 10)
    main(["run", "--date", "2026-01-01", "--json"])
    capsys.readouterr()
    monkeypatch.setattr("settlement.command_line.screen._PIPE_WIDTH", 55)

    assert main(["matrix", "--date", "2026-01-01"]) == 0

    shown = capsys.readouterr().out
    assert shown.count("pays \\ receives") > 1
    assert max(map(len, shown.splitlines())) <= 55
    assert "…" not in shown


def test_a_certificate_is_printed_byte_for_byte(
    office: Office, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    main(["run", "--date", "2026-01-01", "--json"])
    run = json.loads(capfdbinary.readouterr().out)

    assert main(["certificate", "--date", "2026-01-01", "--json"]) == 0

    document = capfdbinary.readouterr().out
    assert hashlib.sha256(document).hexdigest() == run["days"][0]["certificate_sha256"]
    assert split_document(document)[1]["key_id"] == FINANCE_KEY.key_id


def sha256_of(content: object) -> str:
    """By the spelling docs/settlement.md gives, without this program's own code."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def test_a_certificate_can_be_checked_by_hand_as_the_handbook_says(
    office: Office, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    def shown(*arguments: str) -> bytes:
        assert main([*arguments, "--date", "2026-01-01", "--json"]) == 0
        return capfdbinary.readouterr().out

    shown("run")
    document = shown("certificate")
    statements = json.loads(shown("statement"))["statements"]
    flows = json.loads(shown("matrix"))["flows"]

    start, end = len(b'{"certificate":'), document.rindex(b',"signature":{')
    certificate, signature = json.loads(document[start:end]), json.loads(document)["signature"]
    FINANCE_VERIFY_KEY.verify(
        b"tongdui-certificate-v1\n" + document[start:end], b64decode(signature["signature"])
    )
    assert [row["statement_sha256"] for row in certificate["statements"]] == list(map(sha256_of, statements))
    assert certificate["flows_sha256"] == sha256_of(flows)
    assert b64decode(certificate["hub_receipt"]["request"]) == CLOSE_REQUEST


def test_a_certificate_reads_well_on_screen(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--date", "2026-01-01", "--json"])
    capsys.readouterr()

    assert main(["certificate", "--date", "2026-01-01"]) == 0

    shown = capsys.readouterr().out
    for text in ("Conservation certificate of 2026-01-01", HUB_KEY_ID, "escrow_proof", "114,830,000"):
        assert text in shown
    assert "FALSE" not in shown


def test_hashes_are_folded_not_cut_on_a_narrow_screen(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["run", "--date", "2026-01-01", "--json"])
    document = json.loads(capsys.readouterr().out)["days"][0]["certificate_sha256"]
    engine = open_engine(office.url)
    with engine.connect() as connection:
        certificate = load_certificate(connection, DAY_1)
    engine.dispose()
    assert certificate is not None
    screen = Console(width=80, file=io.StringIO(), force_terminal=False)

    screen.print(certificate_view(certificate))

    assert isinstance(screen.file, io.StringIO)
    shown = "".join(screen.file.getvalue().split())
    assert document in shown
    assert office.ledger.last_hash.hex() in shown


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_a_failed_check_is_shown_and_nothing_is_signed(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    office.ledger.connection.execute(
        "UPDATE exchange.chained_lines_v1 SET micros = micros + 1 WHERE batch_sequence = 1 AND payee_id = -1"
    )

    assert main(["run", "--date", "2026-01-01"]) == 1

    captured = capsys.readouterr()
    assert "escrow_proof" in captured.err
    assert "FALSE" in captured.out
    assert main(["certify", "--date", "2026-01-01", "--json"]) == 1
    checks = {check["name"]: check["holds"] for check in json.loads(capsys.readouterr().out)["checks"]}
    assert [name for name, holds in checks.items() if not holds] == ["escrow_proof"]
    assert main(["certificate", "--date", "2026-01-01"]) == 3


def test_a_payee_changed_after_the_window_closed_is_exit_code_1_and_its_batch_is_named(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["close", "--date", "2026-01-01"]) == 0
    office.ledger.connection.execute(
        "UPDATE exchange.chained_lines_v1 SET payee_id = 3 WHERE batch_sequence = 4 AND line_number = 0"
    )
    assert main(["net", "--date", "2026-01-01"]) == 0
    capsys.readouterr()

    assert main(["audit-journal", "--date", "2026-01-01"]) == 1

    captured = capsys.readouterr()
    assert "2026-01-01: batch 4 (entries 104-0 to 104-0) its rows do not hash to its digest" in captured.err
    assert main(["audit-journal", "--through", "2026-01-01", "--json"]) == 1
    (audit,) = json.loads(capsys.readouterr().out)["audits"]
    assert (audit["holds"], audit["bad_batch"]) == (False, 4)


def test_every_day_that_is_not_audited_yet_is_audited_once(office: Office, printed: Output) -> None:
    assert main(["run", "--through", "2026-01-02", "--json"]) == 0
    printed()

    assert main(["audit-journal", "--through", "2026-01-02", "--json"]) == 0
    audits = printed()["audits"]
    assert main(["audit-journal", "--through", "2026-01-02", "--json"]) == 0

    assert [(one["window_date"], one["holds"]) for one in audits] == [
        ("2026-01-01", True),
        ("2026-01-02", True),
    ]
    assert sum(one["entries"] for one in audits) > 0
    assert printed()["audits"] == []


def test_all_statements_are_one_sum_over_the_journal_to_the_minor_unit(
    office: Office, printed: Output
) -> None:
    assert main(["check"]) == 3
    assert main(["run", "--through", "2026-01-02", "--json"]) == 0
    printed()

    assert main(["check", "--json"]) == 0

    content = printed()
    assert (content["through"], content["windows"], content["net_minor"]) == ("2026-01-02", 2, 0)
    assert content["money_lines"] > 0
    assert main(["check", "--through", "2026-01-03"]) == 3


def test_a_line_that_is_in_no_statement_is_named_by_its_party_and_component(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--date", "2026-01-01"]) == 0
    office.ledger.connection.execute("DELETE FROM exchange.posted_lines_v1 WHERE batch_sequence = 1")

    assert main(["check"]) == 1

    assert "OPERATOR ISSUE_FEE: the journal has" in capsys.readouterr().err


def test_a_run_stopped_by_a_check_shows_the_days_before_it(office: Office, printed: Output) -> None:
    office.ledger.earn(DAY_3, "a", 5)
    office.ledger.connection.execute("DELETE FROM exchange.chained_legs_v1 WHERE window_date = '2026-01-03'")

    assert main(["run", "--through", "2026-01-04", "--json"]) == 1

    content = printed()
    assert [day["window_date"] for day in content["days"]] == ["2026-01-01", "2026-01-02"]
    assert content["failed"]["window_date"] == "2026-01-03"


def test_a_journal_changed_after_settlement_is_exit_code_1(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["run", "--date", "2026-01-01"])
    office.ledger.connection.execute("UPDATE exchange.chained_lines_v1 SET micros = micros + 1")

    assert main(["run", "--date", "2026-01-01"]) == 1

    assert "money lines differ" in complaint(capsys)


def test_a_window_that_is_still_open_is_exit_code_3_and_says_when_it_ends(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    office.hub.open_from = DAY_1

    assert main(["close", "--date", "2026-01-01"]) == 3

    assert "ends at 2026-01-01T16:00:00.000000Z" in complaint(capsys)  # midnight in Shanghai


@pytest.mark.parametrize("command", ["net", "certify", "statement", "matrix", "certificate"])
def test_a_day_that_is_not_there_yet_is_exit_code_3(
    office: Office, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--date", "2026-01-01"]) == 3

    assert "2026-01-01" in complaint(capsys)


def test_a_hub_that_does_not_answer_is_exit_code_4(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"unix:{office.directory / 'nobody.sock'}"

    assert main(["close", "--date", "2026-01-01", "--hub", address]) == 4

    assert "did not answer" in complaint(capsys)


def test_a_database_that_does_not_answer_is_exit_code_4(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"postgresql:///tongdui?host={office.directory}"

    assert main(["net", "--date", "2026-01-01", "--database", url]) == 4
    assert main(["statement", "--date", "2026-01-01", "--database", url]) == 4

    assert "cannot be reached" in complaint(capsys)


def test_a_receipt_of_an_unknown_hub_key_is_exit_code_5(
    office: Office, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = PrivateKey("hub", b"?" * 32)
    pinned = office.directory / "other.json"
    pinned.write_text(json.dumps({stranger.key_id: stranger.public_key_text}))

    assert main(["close", "--date", "2026-01-01", "--hub-keys", str(pinned)]) == 5

    assert "not one of the hub's pinned keys" in complaint(capsys)


def test_another_run_at_work_is_exit_code_6(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    engine = open_engine(office.url)
    with exclusive_run(engine):
        assert main(["run", "--date", "2026-01-01"]) == 6
    engine.dispose()

    assert "another settlement run" in complaint(capsys)


@pytest.mark.parametrize(
    ("variable", "arguments"),
    [
        ("DATABASE_URL", ["net", "--date", "2026-01-01"]),
        ("TONGDUI_HUB_ADDRESS", ["close", "--date", "2026-01-01"]),
        ("TONGDUI_HUB_KEYS", ["close", "--date", "2026-01-01"]),
        ("TONGDUI_AUDIENCE", ["certify", "--date", "2026-01-01"]),
        ("TONGDUI_SETTLEMENT_KEY", ["run", "--date", "2026-01-01"]),
    ],
)
def test_a_missing_setting_is_exit_code_2_and_named(
    office: Office,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    arguments: list[str],
) -> None:
    monkeypatch.delenv(variable)

    assert main(arguments) == 2

    assert f"set {variable} or give --" in complaint(capsys)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["net", "--date", "2026-01-01", "--database", "nonsense"], "--database"),
        (["certify", "--date", "2026-01-01", "--key", "nowhere.jwk"], "nowhere.jwk"),
        (["run", "--date", "2026-01-01", "--audience", "hub.example/other"], "the database is of"),
        (["run", "--date", "2026-01-01", "--audience", "No Audience"], "the database is of"),
        (["run", "--date", "2026-01-01", "--key-id", "operator.short"], "keyid"),
        (["close", "--date", "2026-01-01", "--hub-ca", "nowhere.pem"], "nowhere.pem"),
        (["serve", "--listen", "0.0.0.0:0"], "--tls-certificate"),
        (["serve", "--tls-certificate", "only.pem"], "go together"),
    ],
    ids=range(8),
)
def test_wrong_configuration_is_exit_code_2(
    office: Office, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2

    assert words in complaint(capsys)


def test_an_unknown_partner_is_exit_code_2(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--date", "2026-01-01"])

    assert main(["statement", "--date", "2026-01-01", "--partner", "zz"]) == 2

    assert "no such partner" in complaint(capsys)


@pytest.mark.parametrize(
    "arguments", [[], ["run"], ["net", "--date", "soon"], ["net", "--dat", "2026-01-01"]]
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)

    assert exit_.value.code == 2


def test_an_unprepared_database_is_exit_code_2_and_says_what_to_run(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["statement", "--date", "2026-01-01", "--database", database_url]) == 2

    assert "tongdui-settle migrate" in complaint(capsys)


def test_migrate_prepares_a_database(database_url: str, printed: Output) -> None:
    assert main(["migrate", "--database", database_url, "--json"]) == 0

    assert printed() == {"schema": "settlement"}


def test_keygen_makes_a_key_that_signs(office: Office, printed: Output) -> None:
    assert main(["keygen", "--out", str(office.directory / "new"), "--json"]) == 0
    made = printed()

    assert main(["run", "--date", "2026-01-01", "--key", made["key_file"], "--json"]) == 0
    printed()
    assert main(["certify", "--date", "2026-01-01", "--json"]) == 0
    assert printed()["key_id"] == made["key_id"]


def test_the_public_key_is_written_in_the_form_that_partners_pin(office: Office, printed: Output) -> None:
    file = office.directory / "settlement-keys.json"

    assert main(["public-key", "--out", str(file), "--json"]) == 0
    assert printed() == {"file": str(file)}
    key = load_private_key(Path(os.environ["TONGDUI_SETTLEMENT_KEY"]))
    assert key.key_id in SettlementKeys.load(file)


def test_help_names_every_setting_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])

    shown = capsys.readouterr().out
    for setting in SETTINGS.values():
        assert setting.variable in shown
    for code in range(7):
        assert f"\n  {code}  " in shown


def test_serve_answers_until_it_is_told_to_stop(office: Office) -> None:
    address = f"unix:{office.directory / 'settle.sock'}"
    process = subprocess.Popen(
        [sys.executable, "-m", "settlement", "serve", "--listen", address, "--json"],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        shown = process.stdout.readline()
        shown += process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=WAIT_SECONDS)
    finally:
        process.kill()
        process.communicate()

    assert b"listening" in shown
    assert code == 0


@pytest.fixture
def tls_files(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "settlement.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "tls.pem", tmp_path / "tls-key.pem"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def agreed_version(port: int, version: ssl.TLSVersion) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as plain,
        context.wrap_socket(plain) as secure,
    ):
        return secure.version()


def test_serve_speaks_tls_1_3_only(office: Office, tls_files: tuple[Path, Path]) -> None:
    certificate, key = map(str, tls_files)
    command = [sys.executable, "-m", "settlement", "serve", "--listen", "127.0.0.1:0", "--json"]
    # The variable is this process's too, where settlement is imported; the program has to set it by itself.
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_SSL_CIPHER_SUITES"}
    process = subprocess.Popen(
        [*command, "--tls-certificate", certificate, "--tls-key", key],
        stdout=subprocess.PIPE,
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        shown = b"".join(process.stdout.readline() for _ in range(4))
        port = json.loads(shown)["port"]

        assert agreed_version(port, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
        with pytest.raises(ssl.SSLError):
            agreed_version(port, ssl.TLSVersion.TLSv1_2)
    finally:
        process.terminate()
        process.communicate(timeout=WAIT_SECONDS)
