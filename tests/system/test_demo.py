"""`make demo`, its first days only: it ends well, twice, and what it prints to look further works."""

import csv
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, str(ROOT / "examples" / "demo.py")]
PATIENCE_SECONDS = 300


def started(directory: Path, *arguments: str) -> "subprocess.Popen[str]":
    # This tree, whatever is installed.
    tree = os.pathsep.join(str(ROOT / folder) for folder in ("", "proto", "proto/gen"))
    return subprocess.Popen(
        [*DEMO, "--directory", str(directory), *arguments],
        env=os.environ | {"PYTHONPATH": tree},
        cwd=directory.parent,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finished(directory: Path, *arguments: str) -> str:
    process = started(directory, *arguments)
    output, complaint = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, complaint
    return output


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "demo-data"


@pytest.fixture(scope="module")
def shown(directory: Path) -> str:
    """What a person sees of two days."""
    return finished(directory, "--days", "2")


@pytest.fixture(scope="module")
def figures(directory: Path, shown: str) -> Any:
    return json.loads((directory / "figures.json").read_text())


@pytest.fixture(scope="module")
def statements(directory: Path, shown: str) -> Mapping[str, str]:
    return {file.name: file.read_text() for file in (directory / "statements").iterdir()}


@contextmanager
def serving(directory: Path) -> Iterator[None]:
    process = started(directory, "--serve")
    assert process.stdout is not None
    try:
        assert "The hub is running" in process.stdout.readline()
        yield
    finally:
        process.terminate()  # as Ctrl-C does; SIGINT is ignored where the tests run in the background
        _, complaint = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, complaint


def test_every_partner_has_statements_that_sum_to_zero_each_day(statements: Mapping[str, str]) -> None:
    nets: defaultdict[str, dict[str, Decimal]] = defaultdict(dict)

    for name, text in statements.items():
        for row in csv.DictReader(text.splitlines()):
            if row["row"] == "net":
                nets[name][row["party_id"]] = Decimal(row["amount"])

    assert sorted(nets) == ["2017-11-24.csv", "2017-11-25.csv"]
    assert all(len(parties) == 11 and any(parties.values()) for parties in nets.values())
    assert [sum(parties.values()) for parties in nets.values()] == [0, 0]


def test_the_last_day_is_shown_with_its_matrix_and_a_certificate_without_a_false_check(shown: str) -> None:
    summary = re.search(r"│ all parties .*│ +0\.00 │ +0\.00 │", shown)
    verdicts = re.findall(r"│ (true|FALSE) ", shown)

    assert summary is not None
    assert "Settlement of 2017-11-25, CNY, CERTIFIED" in shown
    assert "Who owed whom on 2017-11-25" in shown
    assert "Conservation certificate of 2017-11-25" in shown
    assert len(verdicts) >= 10
    assert set(verdicts) == {"true"}


def test_every_day_is_certified_and_every_purchase_is_posted(figures: Any) -> None:
    commands = figures["commands"]

    assert [day["state"] for day in figures["settled"]] == ["CERTIFIED", "CERTIFIED"]
    assert commands["earns"] + commands["refused"]["NOTHING_TO_EARN"] == 461 + 714
    assert list(commands["refused"]) == ["NOTHING_TO_EARN"]
    assert commands["burns"] > 0
    assert commands["posted"] == commands["accepted"] + sum(commands["refused"].values())


@pytest.mark.usefixtures("shown")
def test_a_served_run_answers_what_the_demo_says_to_try(directory: Path, shown: str) -> None:
    lines = shown.partition("in another terminal")[2].splitlines()
    commands = [line.strip() for line in lines if line.startswith("  ")]

    with serving(directory):
        done = subprocess.run(
            ["/bin/sh", "-euc", "\n".join(commands)],
            cwd=directory.parent,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    assert len(commands) == 7
    assert (done.returncode, done.stderr) == (0, "")


def test_a_second_run_starts_afresh_and_comes_to_the_same_money(
    directory: Path, statements: Mapping[str, str]
) -> None:
    figures = json.loads(finished(directory, "--days", "1", "--json"))

    again = {file.name: file.read_text() for file in (directory / "statements").iterdir()}

    assert figures["days"] == 1
    assert again == {"2017-11-24.csv": statements["2017-11-24.csv"]}
