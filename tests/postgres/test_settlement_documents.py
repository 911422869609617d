"""Statements and certificates on their own: one flipped byte is found and located, with and without a database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from settlement.__main__ import main
from tests.conftest import Databases
from tests.settled_days import SETTLEMENT_KEY, SettledDays, settled_days
from tests.settlement_hub import prepare

DAY = "2026-01-02"
Complaint = Callable[[], str]


@pytest.fixture(scope="module")
def days(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SettledDays]:
    """Two settled days, the second of them as documents and as a bundle of evidence."""
    with databases.fresh() as url, pytest.MonkeyPatch.context() as monkeypatch:
        prepare(url)
        with settled_days(url, tmp_path_factory.mktemp("days"), monkeypatch, through=2) as made:
            folder = made.directory
            assert main(["evidence", "--date", DAY, "--out", str(folder / "bundle")]) == 0
            (folder / "certificate.json").write_bytes((folder / "bundle" / "certificate.json").read_bytes())
            for name, options in (("all", ()), ("b", ("--partner", "b"))):
                target = str(folder / f"{name}.csv")
                assert main(["statement", "--date", DAY, "--csv", target, *options]) == 0
            yield made


@pytest.fixture
def documents(days: SettledDays, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with the second day's documents: all.csv, b.csv, all.json, b.json, certificate.json."""
    for name, options in (("all", ()), ("b", ("--partner", "b"))):
        capsys.readouterr()
        assert main(["statement", "--date", DAY, "--json", *options]) == 0
        (days.directory / f"{name}.json").write_text(capsys.readouterr().out)
    return days.directory


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Complaint:
    return lambda: capsys.readouterr().err


def sources(folder: Path) -> dict[str, list[str]]:
    return {
        "a bundle": [str(folder / "bundle")],
        "the database": ["--date", DAY],
        "the certificate": ["--certificate", str(folder / "certificate.json")],
    }


def check(folder: Path, source: str, file: Path) -> int:
    return main(["verify", *sources(folder)[source], "--settlement-key", SETTLEMENT_KEY, "--file", str(file)])


@pytest.mark.parametrize("source", ["a bundle", "the database", "the certificate"])
def test_documents_as_they_were_certified_hold(documents: Path, source: str) -> None:
    for name in ("all.csv", "b.csv", "all.json", "b.json", "certificate.json"):
        assert check(documents, source, documents / name) == 0


@pytest.mark.parametrize("name", ["all.csv", "b.csv", "all.json", "b.json", "certificate.json"])
def test_one_flipped_byte_in_a_document_is_found_and_located(
    documents: Path, tmp_path: Path, name: str, complaint: Complaint
) -> None:
    random, whole = Random(name), (documents / name).read_bytes()
    damaged = tmp_path / name
    for _ in range(6):
        at = random.choice([i for i, byte in enumerate(whole) if name.endswith(".csv") or byte not in b" \n"])
        damaged.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << random.randrange(7))]) + whole[at + 1 :])

        assert check(documents, "a bundle", damaged) == 1

        said = complaint()
        assert name in said
        if name.endswith(".csv"):
            assert f"line {whole[:at].count(b'%c' % 10) + 1}" in said
        elif name == "certificate.json":
            assert f"byte {at} " in said


@pytest.mark.parametrize("source", ["a bundle", "the database", "the certificate"])
@pytest.mark.parametrize(
    ("name", "old", "new", "place"),
    [
        (
            "b.csv",
            ",REIMBURSE_REVERSAL,1,-2.850000,-2.85,",
            ",REIMBURSE_REVERSAL,1,-2.850000,-2.86,",
            "line 3",
        ),
        ("b.csv", ",net,,,-2.850000,-2.85,", ",net,,,-2.850000,-2.75,", "amount"),
        ("b.json", '"closing_minor": 3530', '"closing_minor": 3531', "b.closing_minor"),
        ("b.json", '"currency_code": "CNY"', '"currency_code": "CNX"', "currency_code"),
        ("b.json", '"party_id": "b"', '"party_id": "x"', "x: no statement of this party"),
    ],
)
def test_a_changed_figure_is_named_with_what_was_certified(
    documents: Path,
    tmp_path: Path,
    source: str,
    name: str,
    old: str,
    new: str,
    place: str,
    complaint: Complaint,
) -> None:
    text = (documents / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new))

    assert check(documents, source, tmp_path / name) == 1

    said = complaint()
    assert name in said
    if source != "the certificate" or name.endswith(".json"):
        assert place in said


def test_a_line_of_a_statement_in_json_is_found_by_the_certificate_alone(
    documents: Path, tmp_path: Path, complaint: Complaint
) -> None:
    content = json.loads((documents / "b.json").read_text())
    content["statements"][0]["lines"][0]["line_count"] += 1
    (tmp_path / "b.json").write_text(json.dumps(content))

    assert check(documents, "the certificate", tmp_path / "b.json") == 1

    assert "not the statement whose SHA-256 was certified" in complaint()


def test_a_field_of_a_certificate_that_differs_is_named(
    documents: Path, tmp_path: Path, complaint: Complaint
) -> None:
    text = (documents / "certificate.json").read_text()
    (tmp_path / "certificate.json").write_text(text.replace('"net_minor":-285', '"net_minor":-286'))

    assert check(documents, "a bundle", tmp_path / "certificate.json") == 1

    assert "statements[b].net_minor" in complaint()


def test_something_else_is_no_document(documents: Path, tmp_path: Path, complaint: Complaint) -> None:
    (tmp_path / "note.txt").write_text("hello")

    assert check(documents, "a bundle", tmp_path / "note.txt") == 1
    assert "note.txt" in complaint()
    assert main(["verify", "--settlement-key", SETTLEMENT_KEY]) == 2
    assert "give a directory of evidence" in complaint()
