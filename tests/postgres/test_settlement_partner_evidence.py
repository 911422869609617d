"""Partner files that were kept: one flipped byte in the bytes or in a loaded line is found and located."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from settlement.__main__ import main
from settlement.core.certificate import split_document
from settlement.core.partner_file import FileFormat
from settlement.daily_run import DailyRun
from settlement.partner_files import Declared, load_file
from settlement.people import Actor
from settlement.profiles import Profile
from settlement.reconciliation import reconcile
from settlement.store import feed
from settlement.store.engine import exclusive_run, open_engine
from settlement.store.profiles import save_profile
from tests.conftest import Databases
from tests.settled_days import SETTLEMENT_KEY, SIGNER, VERIFY, settled_days, sign_anew
from tests.settlement_hub import DAY_2, DAY_3, PeerHub, prepare

HEADER = f"H,tongdui-partner-file,1,b,{DAY_3},CNY,major,3,46,700,6.65,0.4692\n"
DEALS = (
    "D,r1,earn,order-1,,2026-01-03T10:00:00Z,,s1,t1,30,0,0.3060,1,posted\n",
    "D,r2,burn,order-2,,2026-01-03T11:00:00Z,,s1,t1,700,6.65,0,1,\n",
    'D,r3,earn,"order, 3",,2026-01-03T12:00:00+08:00,,s1,t1,16,0,0.1632,1,\n',
)
Complaint = Callable[[], str]


def whole_file() -> bytes:
    text = (HEADER + "".join(DEALS)).encode()
    return text + f"T,{hashlib.sha256(text).hexdigest()}\n".encode()


@dataclass(frozen=True, slots=True)
class Kept:
    """A loaded file in a database."""

    url: str
    connection: psycopg.Connection[Any]
    file_id: int
    content: bytes

    def keep(self, content: bytes) -> None:
        """Puts other bytes in the place of those that were kept."""
        self.connection.execute(
            "UPDATE settlement.partner_file_parts SET content = %s WHERE file_id = %s",
            (content, self.file_id),
        )


@pytest.fixture(scope="module")
def kept(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with databases.fresh() as url, pytest.MonkeyPatch.context() as monkeypatch:
        prepare(url)
        with settled_days(url, tmp_path_factory.mktemp("days"), monkeypatch, through=1) as days:
            engine, content = open_engine(url), whole_file()
            with engine.begin() as connection:
                ledger = feed.read_ledger(connection)
                actor = Actor(None, unattended=True)
                loaded = load_file(
                    connection, ledger, actor, Declared("b", DAY_3), [content[:70], content[70:]]
                )
            engine.dispose()
            yield Kept(url, days.ledger.connection, loaded.file.file_id, content)


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Complaint:
    return lambda: capsys.readouterr().err


def verify() -> int:
    return main(["verify", "--partner-files", "--date", str(DAY_3)])


def test_a_file_as_it_came_holds(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify() == 0

    assert "of b, 2026-01-03: holds, 3 lines" in capsys.readouterr().out


def test_one_flipped_byte_in_kept_bytes_is_found_and_its_line_named(kept: Kept, complaint: Complaint) -> None:
    random = Random(7)
    for _ in range(24):
        at, bit = random.randrange(len(kept.content)), 1 << random.randrange(8)
        kept.keep(kept.content[:at] + bytes([kept.content[at] ^ bit]) + kept.content[at + 1 :])

        assert verify() == 1

        line = kept.content[:at].count(b"\n") + 1
        assert f"partner file {kept.file_id} of b, line {line}" in complaint(), (at, bit)
    kept.keep(kept.content)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (b",30,0,0.3060,", b",31,0,0.3060,", "line 2, points: kept bytes"),
        (b"r2,burn", b"r9,burn", "line 3, request_id: kept bytes"),
        (b",46,700,", b",47,700,", "line 1, earned_points: kept bytes"),
    ],
)
def test_a_changed_figure_in_kept_bytes_is_named(
    kept: Kept, old: bytes, new: bytes, place: str, complaint: Complaint
) -> None:
    kept.keep(kept.content.replace(old, new))

    assert verify() == 1

    assert place in complaint()
    kept.keep(kept.content)


@pytest.mark.parametrize(
    ("column", "value"), [("points", "points + 1"), ("owed_micros", "owed_micros + 1"), ("reference", "'x'")]
)
def test_a_loaded_line_that_was_changed_is_named(
    kept: Kept, column: str, value: str, complaint: Complaint
) -> None:
    was = kept.connection.execute(
        f"SELECT {column} FROM settlement.partner_file_lines WHERE line_number = 4".encode()
    ).fetchone()
    assert was is not None
    kept.connection.execute(
        f"UPDATE settlement.partner_file_lines SET {column} = {value} WHERE line_number = 4".encode()
    )

    assert verify() == 1

    assert f"line 4, {column}: loaded lines" in complaint()
    kept.connection.execute(
        f"UPDATE settlement.partner_file_lines SET {column} = %s WHERE line_number = 4".encode(), was
    )


def test_a_loaded_line_that_was_removed_is_named(kept: Kept, complaint: Complaint) -> None:
    kept.connection.execute(
        "CREATE TABLE public.aside AS SELECT * FROM settlement.partner_file_lines WHERE line_number = 3"
    )
    kept.connection.execute("DELETE FROM settlement.partner_file_lines WHERE line_number = 3")

    assert verify() == 1

    assert "line 3, request_id: loaded lines" in complaint()
    kept.connection.execute("INSERT INTO settlement.partner_file_lines SELECT * FROM public.aside")


MAPPING = {
    "columns": {
        "reference": "订单",
        "kind": "类型",
        "event_time": "time",
        "points": "分",
        "claimed": "in",
        "owed": "out",
    },
    "kinds": {"积分": "earn"},
    "encoding": "gb18030",
    "delimiter": ";",
    "decimal": ",",
}


def test_a_mapped_file_is_read_again_by_the_profile_it_came_with(kept: Kept, complaint: Complaint) -> None:
    engine, day = open_engine(kept.url), DAY_3.replace(day=4)
    content = "订单;类型;time;分;in;out\n甲-1;积分;2026-01-04T10:00:00Z;16;0;0,1632\n".encode("gb18030")
    control = {"format": "tongdui-partner-file", "version": "1", "partner_id": "a", "business_date": str(day)}
    control |= {"currency": "CNY", "unit": "major", "count": "1", "earned_points": "16", "burned_points": "0"}
    control |= {"claimed": "0", "owed": "0.1632"}
    with engine.begin() as connection:
        version = save_profile(connection, "a", MAPPING, {}, file_expected=False, valid_from=day, set_by="m")
        profile = Profile(MAPPING, {}, file_expected=False, version=version)
        declared = Declared(
            "a", day, FileFormat.MAPPED, control=json.dumps(control).encode(), profile=profile
        )
        ledger = feed.read_ledger(connection)
        load_file(connection, ledger, Actor(None, unattended=True), declared, [content])
        save_profile(
            connection, "a", MAPPING | {"decimal": "."}, {}, file_expected=False, valid_from=day, set_by="m"
        )
    engine.dispose()
    arguments = ["verify", "--partner-files", "--date", str(day)]

    assert main(arguments) == 0
    kept.connection.execute(
        "UPDATE settlement.partner_file_parts SET content = %s WHERE content = %s",
        (content.replace(b";16;", b";17;"), content),
    )
    assert main(arguments) == 1

    assert "of a, line 2, points: kept bytes" in complaint()


def test_a_day_without_files_is_exit_code_3(kept: Kept) -> None:
    assert main(["verify", "--partner-files", "--date", "2026-01-02"]) == 3


def test_the_hubs_side_of_a_reconciliation_is_added_up_again_from_the_evidence(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complaint: Complaint
) -> None:
    header = f"H,tongdui-partner-file,1,b,{DAY_2},CNY,major,1,0,-300,0,2.85\n"
    text = f"{header}D,r9,refund_burn,order,,2026-01-02T12:00:00Z,,s,t,300,0,2.85,1,\n".encode()
    content = text + f"T,{hashlib.sha256(text).hexdigest()}\n".encode()
    bundle, actor = tmp_path / "bundle", Actor(None, unattended=True)
    with databases.fresh() as url:
        prepare(url)
        with settled_days(url, tmp_path, monkeypatch, through=1) as days:
            engine = open_engine(url)
            with exclusive_run(engine) as connection:
                with connection.begin():
                    ledger = feed.read_ledger(connection)
                run = DailyRun(connection, ledger)
                run.close(DAY_2, PeerHub(days.ledger), VERIFY)
                with connection.begin():
                    loaded = load_file(connection, ledger, actor, Declared("b", DAY_2), [content])
                    reconcile(connection, ledger, actor, loaded.file)
                run.net(DAY_2)
                run.certify(DAY_2, SIGNER, VERIFY)
            engine.dispose()
            assert main(["evidence", "--date", str(DAY_2), "--out", str(bundle)]) == 0
    check = ["verify", str(bundle), "--settlement-key", SETTLEMENT_KEY]
    assert main(check) == 0
    certificate = json.loads(split_document((bundle / "certificate.json").read_bytes())[0])
    (record,) = certificate["reconciliations"]["partners"]
    assert record["hub"] == {
        "earned_points": 0,
        "burned_points": -300,
        "claimed_micros": 0,
        "owed_micros": 2_850_000,
    }
    for side in ("hub", "partner"):
        record[side]["owed_micros"] += 1

    sign_anew(bundle, certificate)

    assert main(check) == 1
    assert "certificate.json, reconciliations.partners[b].hub.owed_micros: says 2850001" in complaint()
