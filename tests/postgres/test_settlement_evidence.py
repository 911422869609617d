"""A bundle of evidence proves its window offline, and one flipped byte anywhere in it is found and located."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from settlement.__main__ import main
from settlement.command_line.bundle import (
    MANIFEST,
    ROWS_SUFFIX,
)
from settlement.core.certificate import canonical_json, split_document
from settlement.rpc.keys import PrivateKey
from tests.conftest import Databases
from tests.settled_days import SETTLEMENT_KEY, SIGNER, SettledDays, listed_anew, settled_days, sign_anew
from tests.settlement_hub import prepare

FILES = (
    *(
        "certificate.json",
        "previous_certificate.json",
        "previous_statement_lines.jsonl",
        "statement_lines.jsonl",
    ),
    *("statements.jsonl", "parties.jsonl", "rates.jsonl", "batches.jsonl", "entries.jsonl", "legs.jsonl"),
    "lines.jsonl",
)
Complaint = Callable[[], str]


@pytest.fixture(scope="module")
def prepared(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        prepare(url)
        yield url


@pytest.fixture
def days(prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SettledDays]:
    """Two settled days of a test's own, to be damaged in the database."""
    with settled_days(prepared, tmp_path, monkeypatch, through=2) as made:
        yield made


@pytest.fixture(scope="module")
def settled(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SettledDays]:
    with databases.fresh() as url, pytest.MonkeyPatch.context() as monkeypatch:
        prepare(url)
        with settled_days(url, tmp_path_factory.mktemp("days"), monkeypatch) as made:
            for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
                assert main(["evidence", "--date", day, "--out", str(made.directory / day)]) == 0
            yield made


@pytest.fixture
def bundle(settled: SettledDays, tmp_path: Path) -> Path:
    """The evidence of day 2, which follows another day, to be damaged."""
    return Path(shutil.copytree(settled.directory / "2026-01-02", tmp_path / "bundle"))


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Complaint:
    return lambda: capsys.readouterr().err


def verify(directory: Path, *options: str) -> int:
    return main(["verify", str(directory), "--settlement-key", SETTLEMENT_KEY, *options])


def change_record(bundle: Path, name: str, line: int, **changes: Any) -> None:
    lines = (bundle / name).read_bytes().splitlines(keepends=True)
    record = json.loads(lines[line - 1]) | changes
    lines[line - 1] = canonical_json(record) + b"\n"
    (bundle / name).write_bytes(b"".join(lines))
    listed_anew(bundle)


@pytest.mark.parametrize("day", ["2026-01-01", "2026-01-02", "2026-01-03"])
def test_the_evidence_of_a_window_holds_without_any_database(
    settled: SettledDays, day: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql:///nowhere?host=/nowhere")

    assert verify(settled.directory / day, "--json") == 0

    (found,) = json.loads(capsys.readouterr().out)["checked"]
    assert found["window_date"] == day
    assert found["entry_count"] == {"2026-01-01": 6, "2026-01-02": 3, "2026-01-03": 0}[day]


def test_the_first_thing_wrong_is_told_as_json_too(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_record(bundle, "legs.jsonl", 2, points=1_251)

    assert verify(bundle, "--json") == 1

    told = json.loads(capsys.readouterr().out)
    assert told["holds"] is False
    assert (told["fault"]["file"], told["fault"]["line"], told["fault"]["batch_sequence"]) == (
        "batches.jsonl",
        2,
        8,
    )


def test_a_bundle_has_what_the_handbook_lists(bundle: Path) -> None:
    found = {path.name for path in bundle.iterdir()}

    assert found == {MANIFEST, *FILES, *(name + ROWS_SUFFIX for name in FILES)}


@pytest.mark.parametrize("name", [MANIFEST, *FILES, "lines.jsonl.rows", "certificate.json.rows"])
def test_one_flipped_byte_is_found_and_its_file_and_line_named(
    bundle: Path, name: str, complaint: Complaint
) -> None:
    random = Random(name)
    whole = (bundle / name).read_bytes()
    for _ in range(3):
        at, bit = random.randrange(len(whole)), 1 << random.randrange(8)
        (bundle / name).write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])

        assert verify(bundle) == 1

        said = complaint()
        assert said.startswith(f"tongdui-settle: {name}")
        if name.endswith(".jsonl"):
            # A line that lost its end is told from its beginning on.
            line = whole[:at].count(b"\n") + 1
            assert f"{name}, line {line}" in said
        elif name.startswith(("certificate", "previous")) and not name.endswith(ROWS_SUFFIX):
            assert f"bytes {at // 64 * 64} to " in said


def test_a_flipped_byte_in_a_journal_row_names_its_batch(bundle: Path, complaint: Complaint) -> None:
    raw = (bundle / "legs.jsonl").read_bytes()
    (bundle / "legs.jsonl").write_bytes(raw.replace(b'"points":1250', b'"points":1251'))

    assert verify(bundle) == 1

    assert "legs.jsonl, line 2, batch 8:" in complaint()


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_or_cut_is_named(bundle: Path, name: str, complaint: Complaint) -> None:
    raw = (bundle / name).read_bytes()
    (bundle / name).write_bytes(raw[:-1])
    assert verify(bundle) == 1
    cut = complaint()
    (bundle / name).unlink()

    assert verify(bundle) == 1

    assert name in cut
    assert f"{name}: is missing" in complaint()


@pytest.mark.parametrize("name", FILES)
def test_whatever_byte_is_changed_under_a_new_manifest_nothing_but_a_fault_comes_of_it(
    bundle: Path, name: str, complaint: Complaint
) -> None:
    random, whole = Random(f"again {name}"), (bundle / name).read_bytes()
    for _ in range(4):
        at, bit = random.randrange(len(whole)), 1 << random.randrange(8)
        (bundle / name).write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        listed_anew(bundle)

        assert verify(bundle) == 1, (at, bit)

        assert complaint().startswith("tongdui-settle: ")


FORGERIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "points of a leg": (
        lambda it: change_record(it, "legs.jsonl", 2, points=1_251),
        "batches.jsonl, line 2, batch 8, digest: its rows do not hash to it (entries.jsonl line 2, legs.jsonl line 2, "
        "lines.jsonl lines 3 to 4)",
    ),
    "a reference": (
        lambda it: change_record(it, "entries.jsonl", 3, reference="other"),
        "batches.jsonl, line 3, batch 9, digest",
    ),
    "a payee": (
        lambda it: change_record(it, "lines.jsonl", 3, payee_id=2),
        "batches.jsonl, line 2, batch 8, digest",
    ),
    "a time": (
        lambda it: change_record(it, "entries.jsonl", 1, event_time="2026-01-02T12:00:00.000001Z"),
        "batches.jsonl, line 1, batch 7, digest",
    ),
    "a field too many": (
        lambda it: change_record(it, "entries.jsonl", 1, note="x"),
        "entries.jsonl, line 1, batch 7, note",
    ),
    "a number that is a text": (
        lambda it: change_record(it, "lines.jsonl", 2, micros="1"),
        "lines.jsonl, line 2, batch 7, micros",
    ),
    "a party nobody knows": (
        lambda it: change_record(it, "lines.jsonl", 2, payer_id=99),
        "lines.jsonl, line 2, batch 7, payer_id",
    ),
    "a row of another batch": (
        lambda it: change_record(it, "legs.jsonl", 1, batch_sequence=6),
        "legs.jsonl, line 1, batch_sequence",
    ),
    "a digest": (
        lambda it: change_record(it, "batches.jsonl", 2, digest="00" * 32),
        "line 2, batch 8, digest",
    ),
    "a hash": (lambda it: change_record(it, "batches.jsonl", 2, hash="00" * 32), "line 2, batch 8, hash"),
    "a count": (
        lambda it: change_record(it, "batches.jsonl", 2, entry_count=2),
        "line 2, batch 8, entry_count",
    ),
    "a day": (
        lambda it: change_record(it, "batches.jsonl", 1, window_date="2026-01-01"),
        "batch 7, window_date",
    ),
    "a sequence": (lambda it: change_record(it, "batches.jsonl", 1, sequence=8), "batch 7, sequence"),
    "a party's name": (
        lambda it: change_record(it, "parties.jsonl", 5, party_id="c"),
        "parties.jsonl, line 6, party_id",
    ),
    "F of a card": (
        lambda it: change_record(it, "rates.jsonl", 1, funding_micros=9_999),
        "certificate.json, issuers[a]",
    ),
    "P of a card": (
        lambda it: change_record(it, "rates.jsonl", 1, prefunded_micros=0),
        "checks.escrow_proof",
    ),
    "a statement line": (
        lambda it: change_record(it, "statement_lines.jsonl", 2, amount_minor=1),
        "statement_lines.jsonl, line 2, amount_minor: says 1, by the evidence",
    ),
    "a line before": (
        lambda it: change_record(it, "previous_statement_lines.jsonl", 2, amount_to_date_minor=-1),
        "previous_statement_lines.jsonl: not the lines whose lines_sha256",
    ),
    "a statement": (
        lambda it: change_record(it, "statements.jsonl", 1, closing_minor=0),
        "statements.jsonl, line 1, closing_minor: says 0, by the evidence",
    ),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_change_under_a_new_manifest_is_found_by_what_the_hub_and_settlement_signed(
    bundle: Path, what: str, complaint: Complaint
) -> None:
    forge, words = FORGERIES[what]
    forge(bundle)

    assert verify(bundle) == 1

    assert words in complaint()


@pytest.mark.parametrize("name", ["batches.jsonl", "entries.jsonl", "legs.jsonl", "lines.jsonl"])
def test_a_row_left_out_or_written_twice_is_found(bundle: Path, name: str, complaint: Complaint) -> None:
    lines = (bundle / name).read_bytes().splitlines(keepends=True)
    for forged in (lines[1:], lines[:-1], lines[:1] + lines):
        (bundle / name).write_bytes(b"".join(forged))
        listed_anew(bundle)

        assert verify(bundle) == 1

        assert "batch" in complaint()


def certificate(bundle: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(split_document((bundle / "certificate.json").read_bytes())[0])
    return content


def changed_net(content: dict[str, Any]) -> None:
    content["statements"][0]["net_minor"] += 1


def changed_check(content: dict[str, Any]) -> None:
    content["checks"][0]["figures"]["last_sequence"] = 1


def changed_watermark(content: dict[str, Any]) -> None:
    content["window"]["entry_count"] += 1


def changed_receipt(content: dict[str, Any]) -> None:
    content["hub_receipt"]["receipt_metadata"][-1][1] = "hub=:" + "A" * 86 + "==:"


def changed_link(content: dict[str, Any]) -> None:
    content["previous_certificate_sha256"] = "0" * 64


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed_net, "certificate.json, statements[a].net_minor: says"),
        (changed_check, "certificate.json, checks[hub_receipt].figures.last_sequence"),
        (changed_watermark, "certificate.json, window: not the window that the hub's receipt proves"),
        (changed_receipt, "certificate.json, hub_receipt: receipt:"),
        (changed_link, "certificate.json, previous_certificate_sha256"),
    ],
)
def test_a_certificate_that_settlement_itself_signed_wrong_is_found_field_by_field(
    bundle: Path, complaint: Complaint, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    content = certificate(bundle)
    change(content)
    sign_anew(bundle, content, SIGNER)

    assert verify(bundle) == 1

    assert words in complaint()


def test_a_certificate_signed_by_another_key_does_not_hold(bundle: Path, complaint: Complaint) -> None:
    stranger = PrivateKey("operator", b"?" * 32)
    sign_anew(bundle, certificate(bundle), stranger)

    assert verify(bundle) == 1
    said = complaint()
    assert (
        main(["verify", str(bundle), "--settlement-key", f"{stranger.key_id}={stranger.public_key_text}"])
        == 0
    )

    assert "signature.key_id" in said


def test_settlement_keys_may_come_from_a_file(bundle: Path, tmp_path: Path, complaint: Complaint) -> None:
    keys = tmp_path / "settlement-keys.json"
    keys.write_text(json.dumps({SIGNER.key_id: SIGNER.public_key_text}))

    assert main(["verify", str(bundle), "--settlement-key", str(keys)]) == 0
    assert main(["verify", str(bundle), "--settlement-key", f"{SIGNER.key_id}=AAAA"]) == 2
    assert "32 bytes" in complaint()


def test_evidence_is_whole_or_not_there(settled: SettledDays, tmp_path: Path, complaint: Complaint) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "note").write_text("mine")

    assert main(["evidence", "--date", "2026-01-01", "--out", str(taken)]) == 2
    assert main(["evidence", "--date", "2026-02-01", "--out", str(tmp_path / "none")]) == 3

    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    assert "not certified" in complaint()


def test_a_directory_that_is_no_bundle_is_exit_code_2(tmp_path: Path, settled: SettledDays) -> None:
    assert verify(tmp_path) == 2


STORED = {
    "a leg": ("chained_legs_v1 SET points = points + 1 WHERE batch_sequence = 8", "batch 8"),
    "a batch": ("chained_batches_v1 SET hash = sha256(hash) WHERE sequence = 8", "batch 8, hash"),
    "a statement line": (
        "statement_lines SET amount_minor = amount_minor + 1 WHERE window_date = '2026-01-02' AND party_id = 'c'"
        " AND component = 'ISSUE_FEE'",
        "statement_lines.jsonl, line 8, amount_minor",
    ),
    "a line of the day before": (
        "statement_lines SET exact_to_date_micros = 0 WHERE window_date = '2026-01-01' AND party_id = 'a'"
        " AND component = 'ISSUE_FEE'",
        "previous_statement_lines.jsonl",
    ),
    "a certificate": (
        "certificates SET document = set_byte(document, 700, 65), document_sha256 ="
        " encode(sha256(set_byte(document, 700, 65)), 'hex') WHERE window_date = '2026-01-02'",
        "certificate.json",
    ),
}


@pytest.mark.parametrize("what", STORED)
def test_evidence_of_stored_rows_that_were_changed_does_not_hold(
    days: SettledDays, what: str, complaint: Complaint
) -> None:
    change, words = STORED[what]
    schema = "exchange" if change.startswith("chained") else "settlement"
    assert days.ledger.connection.execute(f"UPDATE {schema}.{change}".encode()).rowcount == 1
    assert main(["evidence", "--date", "2026-01-02", "--out", str(days.directory / "bundle")]) == 0

    assert verify(days.directory / "bundle") == 1

    assert words in complaint()
