"""A CSV file into an outbox: over HTTP and from the command line, all of it or nothing, and once."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from merchant_adapter.__main__ import main
from merchant_adapter.outbox import Outbox
from merchant_adapter.sidecar import imports
from tests.waiting import eventually
from tests.wire.adapter_fake_hub import fake_hub
from tests.wire.sidecar_served import Caller, SilentLedger, sidecar

IMPORTS = "/v1/imports"
HEADER = b"command,member_id,event_time,store_id,terminal_id,reference,points\n"


def sales(count: int, points: int = 5) -> bytes:
    rows = [f"earn,m-{it},2026-01-01T12:00:00Z,s,t,r-{it},{points}\n" for it in range(count)]
    return HEADER + "".join(rows).encode()


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    silent = SilentLedger(is_silent=True)
    with (
        fake_hub(silent.reply) as hub,
        sidecar(hub.address, tmp_path / "outbox.db", mount=lambda it: [imports.mounted(it)]) as it,
    ):
        yield it


def send(caller: Caller, body: bytes, query: str = "") -> tuple[int, Any]:
    heard = caller.ask("POST", IMPORTS + query, body, Content_Type="text/csv")
    return heard.status, heard.body


def waiting(caller: Caller) -> int:
    found: int = caller.get("/v1/outbox").body["waiting"]
    return found


def test_a_file_is_stored_once_however_often_it_is_sent(caller: Caller) -> None:
    first = send(caller, sales(1_500))
    again = send(caller, sales(1_501))

    assert first == (202, {"rows": 1_500, "new": 1_500, "repeated": 0})
    assert again == (202, {"rows": 1_501, "new": 1, "repeated": 1_500})
    assert waiting(caller) == 1_501


def test_one_bad_row_keeps_the_whole_file_out(caller: Caller) -> None:
    status, problem = send(caller, sales(10) + b"earn,m-1,now,s,t,r-x,5\n")

    assert (status, [one["field"] for one in problem["fields"]]) == (422, ["rows[12].event_time"])
    assert waiting(caller) == 0


def test_a_row_whose_id_was_another_commands_is_named_and_nothing_is_stored(caller: Caller) -> None:
    send(caller, sales(1))

    status, problem = send(caller, sales(3, points=6))

    assert (status, [one["field"] for one in problem["fields"]]) == (422, ["rows[2].request_id"])
    assert waiting(caller) == 1


def test_a_file_whose_sender_goes_away_halfway_stores_nothing(caller: Caller) -> None:
    whole = sales(2, points=1_000)
    opened = socket.create_connection((caller.address[0], int(caller.address[1])))
    head = f"POST {IMPORTS} HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: {len(whole)}\r\n"
    opened.sendall(f"{head}Authorization: Bearer {caller.token}\r\n\r\n".encode() + whole[:-3])
    opened.close()
    eventually(lambda: 'route="unknown",status="0"' in caller.get("/metrics").raw.decode())

    assert waiting(caller) == 0


def test_a_dry_run_names_the_faults_and_stores_nothing(caller: Caller) -> None:
    assert send(caller, sales(3), "?dry_run=true") == (200, {"rows": 3, "new": 0, "repeated": 0})
    assert send(caller, sales(3) + b"earn\n", "?dry_run=true")[0] == 422
    assert waiting(caller) == 0


def test_a_file_is_text_csv_of_at_most_16_mib_and_wants_the_token(caller: Caller) -> None:
    stranger = Caller(caller.address, token="")

    assert caller.ask("POST", IMPORTS, sales(1)).status == 415
    assert send(caller, b"x" * ((16 << 20) + 1))[0] == 413
    assert stranger.ask("POST", IMPORTS, sales(1), Content_Type="text/csv").status == 401


# --- the command line


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["import", *arguments, "--json"])
    out: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, out


def test_the_command_stores_a_file_once_and_says_how_much_was_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, outbox = tmp_path / "sales.csv", tmp_path / "outbox.db"
    file.write_bytes(sales(20))

    dry = run(capsys, str(file), "--outbox", str(outbox), "--dry-run")
    made_by_dry_run = outbox.exists()
    first = run(capsys, str(file), "--outbox", str(outbox))
    again = run(capsys, str(file), "--outbox", str(outbox))

    assert (dry, made_by_dry_run) == ((0, {"outcome": "not stored: a dry run", "rows": 20}), False)
    assert first == (0, {"outcome": "stored", "rows": 20, "new": 20, "repeated": 0})
    assert again == (0, {"outcome": "stored", "rows": 20, "new": 0, "repeated": 20})
    with Outbox.open(outbox) as opened:
        assert opened.status().waiting == 20


def test_the_command_names_the_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sales.csv"
    file.write_bytes(sales(1) + b"earn\nburn\n")

    code, said = run(capsys, str(file), "--outbox", str(tmp_path / "outbox.db"))

    assert (code, said["outcome"]) == (2, "invalid")
    assert [one["field"] for one in said["fields"]] == ["rows[3].row", "rows[4].row"]
    assert not (tmp_path / "outbox.db").exists()


def test_the_command_shows_people_how_far_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sales.csv"
    file.write_bytes(sales(2_500))

    code = main(["import", str(file), "--outbox", str(tmp_path / "outbox.db")])

    shown = capsys.readouterr()
    assert code == 0
    assert "2500/2500" in shown.err
    assert "2500" in shown.out
