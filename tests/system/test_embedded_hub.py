"""A hub on its own embedded PostgreSQL, whose postmaster is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from psycopg.conninfo import make_conninfo

from examples.coalition import CardTerms
from tests.live_hub import EARN, Coalition, is_serving, new_site, running
from tests.waiting import eventually


@pytest.fixture
def embedded_hub(tmp_path: Path) -> Iterator[Coalition]:
    site, people = new_site(tmp_path, {"DATABASE_URL": ""})
    with running(site, people, "") as coalition:
        service = (tmp_path / "postgres" / "pg_service.conf").read_text().splitlines()
        coalition.database_url = make_conninfo(**dict(line.split("=", 1) for line in service[2:] if line))
        coalition.add_partner("cafe", cards=[CardTerms()])
        yield coalition


def kill_postmaster(data_dir: Path) -> None:
    (pid_file,) = (data_dir / "postgres").rglob("postmaster.pid")
    os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)


def test_a_hub_starts_its_own_server_again_and_loses_nothing_it_answered(embedded_hub: Coalition) -> None:
    hub, wire, cafe = embedded_hub.hub, embedded_hub.wire, embedded_hub.keys["cafe"]
    member_id = embedded_hub.member("cafe")
    before = [wire.call(cafe, EARN, embedded_hub.earn(member_id)) for _ in range(20)]

    kill_postmaster(embedded_hub.site.data_dir)
    reasons: list[str] = []  # a backend may outlive its postmaster by a call or two: those count as well

    def is_back() -> bool:
        was_started_again = "PostgreSQL runs again" in hub.log.read_text()
        reasons.append(wire.call(cafe, EARN, embedded_hub.earn(member_id)).reason)
        return was_started_again and not reasons[-1]

    eventually(is_back)
    assert {answer.code for answer in before} == {grpc.StatusCode.OK}
    assert set(reasons) <= {"HUB_UNAVAILABLE", ""}  # the first only where a call came while it was away
    eventually(lambda: is_serving(hub.address))
    ((kept,),) = embedded_hub.rows("SELECT count(*) FROM exchange.entries")
    assert 20 + reasons.count("") <= kept <= 20 + len(reasons)  # one may be kept whose answer died on the way
    assert hub.process.poll() is None
