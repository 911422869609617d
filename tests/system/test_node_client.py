"""The client of `examples/node`, written from the contract and docs/protocol.md alone, against a real hub.

It shares no line with our Python, so each checks the other's reading of the protocol.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from merchant_adapter import HubKeys, Key, Receipt, verify_receipt
from tests.live_hub import Coalition

CLIENT: Final = Path(__file__).parents[2] / "examples" / "node"
NODE: Final = shutil.which("node") or "node"
SECONDS: Final = 60.0

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node on this machine"),
    pytest.mark.skipif(
        not (CLIENT / "node_modules" / ".package-lock.json").is_file(),
        reason="examples/node/node_modules is missing: make node",
    ),
]


@pytest.fixture(scope="module")
def settings(coalition: Coalition, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a Node program is told, with a key that `tongdui-adapter keygen` made for cafe."""
    folder = tmp_path_factory.mktemp("cafe") / "keys"
    keygen = [sys.executable, "-m", "merchant_adapter", "keygen", "--partner", "cafe", "--out", str(folder)]
    subprocess.run(keygen, check=True, capture_output=True)
    (key_file,) = folder.glob("*.jwk")
    coalition.operate(lambda operators: operators.admit_key(Key.load(key_file)))
    return [
        f"--hub={coalition.hub.address}",
        f"--audience={coalition.site.audience}",
        f"--hub-keys={coalition.site.hub_keys_file}",
        f"--key={key_file}",
    ]


def test_its_own_tests_pass_the_worked_example_and_a_hub_that_lies() -> None:
    files = ("signing.test.mjs", "client.test.mjs")

    done = run("--test", *files)

    assert done.returncode == 0, done.stdout + done.stderr


def test_it_earns_burns_is_refused_replays_and_verifies_every_receipt(
    coalition: Coalition, settings: list[str], tmp_path: Path
) -> None:
    before = entry_kinds(coalition)

    done = run("example.mjs", *settings, f"--receipts={tmp_path}")

    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert said[1:8] == [
        "earned 128 available 128",
        "burned 100 available 28",
        "refused INSUFFICIENT_POINTS available 28",
        "replayed earned 128 refused INSUFFICIENT_POINTS",
        "wallet 28",
        "batch earned 5 refused INSUFFICIENT_POINTS",
        "watched earn burn earn",
    ]
    assert Counter(line.split()[-1] for line in said if line.startswith("verified")) == {
        "accepted": 5,
        "refused": 2,
    }
    # What was sent again was posted once.
    assert entry_kinds(coalition) - before == Counter(earn=2, burn=1)


def test_its_receipts_and_ours_are_the_same_evidence(
    coalition: Coalition, settings: list[str], tmp_path: Path
) -> None:
    ours = coalition.wire.call(
        coalition.keys["cafe"], "/tongdui.exchange.v1.PointsService/Burn", coalition.burn("m-unknown")
    )
    (tmp_path / "ours.json").write_text(ours.receipt(coalition.hub_keys).to_json())
    done = run("example.mjs", *settings, f"--receipts={tmp_path / 'theirs'}")
    assert done.returncode == 0, done.stderr

    theirs = sorted((tmp_path / "theirs").glob("*.json"))
    for file in theirs:
        verify_receipt(Receipt.from_json(file.read_bytes()), coalition.hub_keys)
    read_by_node = run("verify.mjs", settings[2], str(tmp_path / "ours.json"), *map(str, theirs))

    assert len(theirs) == 7
    assert read_by_node.returncode == 0, read_by_node.stderr
    assert "PointsService/Burn refused" in read_by_node.stdout.splitlines()[0]


def test_an_altered_receipt_is_named_by_its_verifier(
    coalition: Coalition, settings: list[str], tmp_path: Path
) -> None:
    ours = coalition.wire.call(
        coalition.keys["cafe"], "/tongdui.exchange.v1.PointsService/Burn", coalition.burn("m-unknown")
    )
    evidence = json.loads(ours.receipt(coalition.hub_keys).to_json())
    altered = evidence | {"path": "/tongdui.exchange.v1.PointsService/Earn"}
    (tmp_path / "altered.json").write_text(json.dumps(altered))

    done = run("verify.mjs", settings[2], str(tmp_path / "altered.json"))

    assert done.returncode == 1
    assert "not the hub's signature" in done.stderr


def test_a_client_that_drops_fields_is_told_invalid_argument_and_posts_nothing(
    coalition: Coalition, settings: list[str]
) -> None:
    before = entry_kinds(coalition), decisions(coalition)

    done = run("careless.mjs", *settings)

    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert len(said) == 10
    assert "EnrollMember 0 bytes INVALID_ARGUMENT INVALID_FIELD request_id" in said
    assert all("INVALID_ARGUMENT INVALID_FIELD" in line for line in said)
    assert (entry_kinds(coalition), decisions(coalition)) == before


def test_it_believes_no_answer_under_a_key_that_is_not_pinned(
    coalition: Coalition, settings: list[str], tmp_path: Path
) -> None:
    another = Key.generate("hub")
    pinned = tmp_path / "hub-keys.json"
    pinned.write_text(HubKeys({another.key_id: another.public_key}).to_json())

    done = run("example.mjs", *settings, f"--hub-keys={pinned}", f"--receipts={tmp_path / 'receipts'}")

    assert done.returncode == 1
    assert "NotSettled" in done.stderr
    assert "no hub key known here" in done.stderr
    assert not (tmp_path / "receipts").exists()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NODE, *arguments], cwd=CLIENT, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def entry_kinds(coalition: Coalition) -> Counter[str]:
    return Counter(dict(coalition.rows("SELECT kind, count(*) FROM exchange.entries GROUP BY kind")))


def decisions(coalition: Coalition) -> list[tuple[int, int]]:
    """How many commands, and how many calls about members and partners, the hub has on record."""
    return coalition.rows(
        "SELECT (SELECT count(*) FROM exchange.requests), (SELECT count(*) FROM exchange.calls)"
    )
