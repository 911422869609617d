"""`tongdui-adapter outbox ...`: what it shows, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from merchant_adapter import EarnCommand, Receipt, verify_receipt
from merchant_adapter.__main__ import main
from merchant_adapter.outbox import Outbox
from tests.waiting import WAIT_SECONDS, eventually
from tests.wire.adapter_fake_hub import (
    AUDIENCE,
    CAFE_KEY,
    HUB_KEYS,
    Call,
    FakeHub,
    Reply,
    accepted,
    fake_hub,
    refused,
    status,
)
from tongdui.exchange.v1.commands_pb2 import CommandResult, EarnResponse
from tongdui.exchange.v1.points_service_pb2 import PostBatchRequest, PostBatchResponse

WHEN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def sale(reference: str, member: str = "m-1") -> EarnCommand:
    return EarnCommand(
        member_id=member, points=5, event_time=WHEN, store_id="s", terminal_id="t", reference=reference
    )


def post(call: Call) -> Reply:
    """Accepts all but references that begin with `bad`."""
    malformed = status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    return accepted(
        PostBatchResponse(
            results=[
                CommandResult(error=malformed)
                if one.earn.reference.startswith("bad")
                else CommandResult(earn=EarnResponse(entry_id="1-0", points=5))
                for one in PostBatchRequest.FromString(call.body).commands
            ]
        )
    )


@dataclass(frozen=True, slots=True)
class Desk:
    """An outbox of two good sales and a malformed one, and the command line on it."""

    folder: Path
    key: Path
    commands: list[EarnCommand]
    capsys: pytest.CaptureFixture[str]

    @property
    def file(self) -> Path:
        return self.folder / "outbox.db"

    def run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        code = main(["outbox", *arguments, "--json"])
        found: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        return code, found

    def drain(self, hub: FakeHub, *options: str) -> tuple[int, dict[str, Any]]:
        return self.run(
            "drain",
            *("--outbox", str(self.file), "--hub", hub.address, "--audience", AUDIENCE),
            *("--key", str(self.key), "--hub-keys", str(self.folder / "hub-keys.json"), *options),
        )


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    (tmp_path / "hub-keys.json").write_text(HUB_KEYS.to_json())
    commands = [sale("r-1"), sale("bad"), sale("r-2", "m-2")]
    made = Desk(tmp_path, CAFE_KEY.save(tmp_path / "keys"), commands, capsys)
    with Outbox.open(made.file) as outbox:
        outbox.accept_all(commands)
    return made


def test_status_says_how_many_wait_and_drain_sends_them(desk: Desk) -> None:
    where = ("--outbox", str(desk.file))

    before = desk.run("status", *where)
    with fake_hub(post) as hub:
        drained = desk.drain(hub, "--wait")
    after = desk.run("status", *where)

    assert (before[0], before[1]["waiting"], before[1]["dead"]) == (0, 3, 0)
    assert before[1]["oldest_seconds"] >= 0
    assert drained == (
        0,
        {"outcome": "drained", "accepted": 2, "refused": 0, "dead": 1, "waiting": 0, "trouble": ""},
    )
    assert (after[1]["waiting"], after[1]["dead"], after[1]["final_last_minute"]) == (0, 1, 2)


def test_a_dead_letter_is_listed_resubmitted_and_dropped(desk: Desk) -> None:
    where, bad = ("--outbox", str(desk.file)), desk.commands[1].request_id
    with fake_hub(post) as hub:
        desk.drain(hub)
        listed = desk.run("dead", *where)
        resubmitted = desk.run("resubmit", bad, *where)
        desk.drain(hub)
        all_of_them = desk.run("resubmit", "--all", *where)
        desk.drain(hub)

    dropped = desk.run("drop", bad, "--reason", "posted by hand", *where)
    found = desk.run("archive", "find", bad, *where)
    again = desk.run("drop", bad, "--reason", "posted by hand", *where)

    assert [(one["request_id"], one["reason"]) for one in listed[1]["dead_letters"]] == [
        (bad, "INVALID_FIELD")
    ]
    assert resubmitted[1]["commands"] == all_of_them[1]["commands"] == 1
    assert dropped[0] == 0
    assert (found[1]["state"], found[1]["reason"]) == ("dropped", "posted by hand")
    assert (again[0], again[1]["outcome"]) == (2, "bad input")


def test_a_receipt_is_found_and_written_and_verifies_offline_and_is_pruned(desk: Desk) -> None:
    where, name = ("--outbox", str(desk.file)), desk.commands[0].request_id
    file = desk.folder / "receipt.json"
    with fake_hub(post) as hub:
        desk.drain(hub)

    code, found = desk.run("archive", "find", name, "--receipt", str(file), *where)
    verified = main(["verify", str(file), "--hub-keys", str(desk.folder / "hub-keys.json")])
    desk.capsys.readouterr()
    pruned = desk.run("archive", "prune", "--days", "-1", *where)
    gone = desk.run("archive", "find", name, *where)

    assert (code, found["state"], found["entry_id"], found["batch_index"]) == (0, "accepted", "1-0", 0)
    verify_receipt(Receipt.from_json(file.read_bytes()), HUB_KEYS)
    assert verified == 0
    assert (pruned[1]["commands"], gone[0]) == (2, 1)


@pytest.mark.parametrize(
    ("code", "reason", "ends_with"),
    [("UNAVAILABLE", "HUB_UNAVAILABLE", 3), ("UNAUTHENTICATED", "SIGNATURE_INVALID", 4)],
)
def test_a_drain_that_settles_nothing_says_why_in_its_exit_code(
    desk: Desk, code: str, reason: str, ends_with: int
) -> None:
    with fake_hub(refused(grpc.StatusCode[code], reason)) as hub:
        ended, shown = desk.drain(hub)

    troubles = desk.run("status", "--outbox", str(desk.file))[1]["troubles"]
    assert (ended, shown["trouble"], shown["waiting"]) == (ends_with, reason, 3)
    assert [(one["reason"], one["commands"]) for one in troubles] == [(reason, 2)]


def test_a_missing_outbox_is_not_made_by_looking_at_it(desk: Desk) -> None:
    code, shown = desk.run("status", "--outbox", str(desk.folder / "none.db"))

    assert (code, shown["outcome"]) == (2, "bad input")
    assert not (desk.folder / "none.db").exists()


def test_a_damaged_outbox_says_how_to_recover_it_and_is_recovered(desk: Desk) -> None:
    broken, mended = desk.folder / "broken.db", desk.folder / "mended.db"
    shutil.copy(desk.file, broken)
    page = broken.read_bytes().index(desk.commands[0].request_id.encode()) // 4096
    with broken.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\xa5" * 4096)

    code, shown = desk.run("status", "--outbox", str(broken))
    recovered = desk.run("recover", str(broken), "--into", str(mended))
    sound = desk.run("status", "--outbox", str(mended))

    assert code == 2
    assert "tongdui-adapter outbox recover" in shown["message"]
    assert recovered[0] == 0
    assert sound[1]["waiting"] == recovered[1]["commands"]


def test_a_process_that_follows_sends_what_another_accepts_until_it_is_told_to_stop(desk: Desk) -> None:
    ledger: list[str] = []

    def reply(call: Call) -> Reply:
        ledger.extend(one.earn.request_id for one in PostBatchRequest.FromString(call.body).commands)
        return post(call)

    more = [sale(f"later-{number}", f"m-{number % 5}") for number in range(50)]
    with fake_hub(reply) as hub, Outbox.open(desk.file) as outbox:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "merchant_adapter", "outbox", "drain", "--follow", "--json"),
                *("--outbox", desk.file, "--hub", hub.address, "--audience", AUDIENCE),
                *("--key", desk.key, "--hub-keys", desk.folder / "hub-keys.json"),
            ],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        )
        for command in more:
            outbox.accept(command)
        eventually(lambda: outbox.status().waiting == 0)
        process.terminate()
        output, _ = process.communicate(timeout=WAIT_SECONDS)

    assert process.returncode == 0
    assert json.loads(output)["accepted"] == 2 + len(more)
    assert sorted(ledger) == sorted(one.request_id for one in [*desk.commands, *more])
