"""`tongdui-settle breaks`, `break`, `dispute` and `audit` as people use them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from settlement.__main__ import main
from settlement.desk import Desk
from settlement.partner_calls import SignedCall, acting
from settlement.rpc.keys import PrivateKey, save_private_key
from settlement.store.engine import open_engine
from tests.conftest import Databases
from tests.postgres.breaks import NOW, TODAY, plant_break
from tests.settlement_hub import AUDIENCE, HUB_KEY, HUB_KEY_ID, prepare, register
from tongdui.signing import (
    content_digest,
    public_key_text,
    request_base,
    request_entries,
    request_params,
)

PARTNER_A = PrivateKey("a", b"a" * 32)
MEI, BOSS, OWN = (PrivateKey("operator", name.ljust(32, b"=")) for name in (b"mei", b"boss", b"own"))
Output = Callable[[], Any]


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as prepared:
        prepare(prepared)
        register(prepared, MEI, "Mei", "finance_maker")
        register(prepared, BOSS, "Boss", "finance_checker")
        register(prepared, PARTNER_A, "", "partner")
        yield prepared


@pytest.fixture
def owner(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "TRUNCATE settlement.audit_log, settlement.breaks, exchange.adjustments_v1 CASCADE"
        )
        yield connection


@pytest.fixture
def keys(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("TONGDUI_AUDIENCE", AUDIENCE)
    monkeypatch.delenv("TONGDUI_PERSON_KEY", raising=False)
    named = {"mei": MEI, "boss": BOSS, "own": OWN}
    return {name: str(save_private_key(key, tmp_path / "keys")) for name, key in named.items()}


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Output:
    return lambda: json.loads(capsys.readouterr().out)


def test_a_break_goes_from_the_list_to_its_resolution(
    owner: psycopg.Connection[Any],
    keys: dict[str, str],
    tmp_path: Path,
    printed: Output,
    capsys: pytest.CaptureFixture[str],
) -> None:
    number = str(plant_break(owner))
    photo = tmp_path / "receipt.jpg"
    photo.write_bytes(b"\xff\xd8photo")
    mei, boss = ["--as", keys["mei"]], ["--as", keys["boss"]]

    assert main(["breaks", "--json"]) == 0
    (listed,) = printed()["breaks"]
    assert main(["break", "assign", number, "Mei", *mei]) == 0
    assert main(["break", "comment", number, "seen it", "--evidence", str(photo), *mei]) == 0
    proposed = ["break", "resolve", number, "--kind", "partner-fixed", "--reason", "new file is due"]
    assert main([*proposed, *mei]) == 0
    assert main(["break", "approve", number, *boss]) == 0
    capsys.readouterr()
    assert main(["break", "show", number, "--json"]) == 0
    shown = printed()
    sha256 = shown["events"][1]["evidence"]["sha256"]
    copy = tmp_path / "copy.jpg"
    assert main(["break", "show", number, "--evidence", sha256, "--out", str(copy)]) == 0

    assert (listed["age"], listed["overdue"], listed["amount_at_stake_micros"]) == (
        "over 30",
        True,
        2_550_000,
    )
    assert (shown["state"], shown["resolution"], shown["owner"]) == ("RESOLVED", "PARTNER_FIXED", "Mei")
    assert [one["person"] for one in shown["events"]] == ["Mei", "Mei", "Mei", "Boss"]
    assert copy.read_bytes() == photo.read_bytes()
    capsys.readouterr()
    assert main(["breaks", "--json"]) == 0
    assert printed()["breaks"] == []


def test_a_rejection_says_that_the_hub_did_not_answer_and_has_rejected_nothing(
    owner: psycopg.Connection[Any],
    keys: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    number = plant_break(owner, state="PENDING_RESOLUTION")
    owner.execute(
        "INSERT INTO settlement.resolutions (break_id, number, kind, state, reason, posting, adjustment_id,"
        " proposed_by, propose_time) VALUES (%s, 1, 'ADJUSTED', 'PROPOSED', 'seen', '{}', 5, 'Mei', now())",
        (number,),
    )
    owner.execute(
        "INSERT INTO exchange.adjustments_v1 VALUES (5, %s, 'proposed')", (f"break-{number}-adjustment",)
    )
    monkeypatch.setenv("TONGDUI_HUB_ADDRESS", f"unix:{tmp_path}/nobody")
    hub_keys = tmp_path / "hub-keys.json"
    hub_keys.write_text(json.dumps({HUB_KEY_ID: public_key_text(bytes(HUB_KEY.verify_key))}))
    monkeypatch.setenv("TONGDUI_HUB_KEYS", str(hub_keys))
    reject = ["break", "reject", str(number), "--reason", "no", "--as", keys["boss"]]

    unanswered = main(reject)
    told = capsys.readouterr().err
    pending = owner.execute("SELECT state FROM settlement.breaks").fetchone()
    owner.execute("UPDATE exchange.adjustments_v1 SET state = 'withdrawn'")  # it did, and nobody heard
    again = main(reject)

    assert (unanswered, again) == (4, 0)
    assert "the hub did not answer" in told
    assert pending == ("PENDING_RESOLUTION",)
    assert owner.execute("SELECT state FROM settlement.breaks").fetchone() == ("OPEN",)


def test_refusals_have_their_exit_codes(
    owner: psycopg.Connection[Any], keys: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    number = str(plant_break(owner))
    mei, boss, own = (["--as", keys[name]] for name in ("mei", "boss", "own"))
    resolve = ["break", "resolve", number, "--kind", "no-action", "--reason", "fine"]

    for argv, code, told in (
        (["break", "show", "999"], 3, "no break 999"),
        (["break", "comment", "999", "hm", *mei], 3, "no break 999"),
        (["break", "comment", number, "hm"], 2, "--as"),
        (["break", "comment", number, " ", *mei], 2, "text: 1 to 2,000"),
        ([*resolve, *boss], 5, "needs the role finance_maker"),
        ([*resolve, *own], 5, "the hub has no such key"),
        (["break", "approve", number, *boss], 5, "nothing was proposed"),
        (["break", "reopen", number, "--reason", "why not", *mei], 5, "needs RESOLVED"),
        (["break", "adjust", number, "--reason", "seen", *mei], 2, "--yes is needed"),
        (["audit", "--item", "window"], 2, "KIND/ID"),
        (["audit", "--known", "00"], 2, "--verify"),
        (["audit", "--verify", "--known", "zz"], 2, "64 hexadecimal digits"),
    ):
        assert main(argv) == code, argv
        assert told in capsys.readouterr().err


def test_a_dispute_is_opened_answered_and_decided(
    owner: psycopg.Connection[Any], keys: dict[str, str], printed: Output
) -> None:
    number = str(plant_break(owner))
    mei, boss = ["--json", "--as", keys["mei"]], ["--json", "--as", keys["boss"]]

    assert main(["dispute", "open", number, "--against", "b", "--claim", "B sold it", *mei]) == 0
    opened = printed()["disputes"][0]
    dispute = str(opened["dispute_id"])
    assert main(["dispute", "answer", dispute, "--text", "A did", *mei]) == 0
    printed()
    assert main(["dispute", "list", "--json"]) == 0
    (waiting,) = printed()["disputes"]
    assert main(["dispute", "decide", dispute, "--for", "a", "--decision", "the order is B's", *boss]) == 0
    decided = printed()["disputes"][0]
    assert main(["dispute", "list", "--json"]) == 0

    assert (opened["opened_by"], opened["against"], waiting["state"]) == ("a", "b", "ANSWERED")
    assert (decided["state"], decided["in_favour_of"]) == ("DECIDED", "a")
    assert printed()["disputes"] == []


def test_the_log_tells_who_did_what_and_proves_it(
    owner: psycopg.Connection[Any],
    keys: dict[str, str],
    printed: Output,
    capsys: pytest.CaptureFixture[str],
) -> None:
    number = str(plant_break(owner))
    for text in ("one", "two", "three"):
        assert main(["break", "comment", number, text, "--as", keys["mei"]]) == 0
    capsys.readouterr()

    assert main(["audit", "--item", f"break/{number}", "--person", "Mei", "--json"]) == 0
    rows = printed()["audit"]
    assert main(["audit", "--verify", "--json"]) == 0
    whole = printed()
    assert main(["audit", "--verify", "--known", rows[0]["hash"]]) == 0
    capsys.readouterr()

    assert [row["reason"] for row in rows] == ["one", "two", "three"]
    assert whole == {"row_count": 3, "head": rows[-1]["hash"]}

    # A thief with the database makes the log hash again, without the middle row and without a key.
    owner.execute("DELETE FROM settlement.audit_log WHERE reason = 'two'")
    assert main(["audit", "--verify"]) == 1
    assert f"row {rows[2]['audit_id']} of the audit log: does not follow" in capsys.readouterr().err
    owner.execute("DELETE FROM settlement.audit_log WHERE reason = 'three'")
    assert main(["audit", "--verify"]) == 0
    assert main(["audit", "--verify", "--known", rows[2]["hash"]]) == 1
    assert "does not contain" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("holder = 'Somebody else'", "the key is Somebody else's"),
        ("key_id = 'operator.another'", "the hub knows no such key"),
    ],
)
def test_a_row_by_a_key_that_is_not_that_persons_is_found(
    owner: psycopg.Connection[Any],
    keys: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    change: str,
    told: str,
) -> None:
    number = str(plant_break(owner))
    assert main(["break", "comment", number, "one", "--as", keys["mei"]]) == 0

    owner.execute(f"UPDATE exchange.keys_v1 SET {change} WHERE holder = 'Mei'".encode())
    code = main(["audit", "--verify"])
    owner.execute(
        "UPDATE exchange.keys_v1 SET holder = 'Mei', key_id = %s WHERE public_key = %s",
        (MEI.key_id, MEI.public_key),
    )

    assert code == 1
    assert told in capsys.readouterr().err


def test_a_row_that_was_signed_for_another_ledger_is_found(
    owner: psycopg.Connection[Any], keys: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["break", "comment", str(plant_break(owner)), "one", "--as", keys["mei"]]) == 0
    ((here,),) = owner.execute("SELECT audience FROM exchange.ledger_v1").fetchall()

    owner.execute("UPDATE exchange.ledger_v1 SET audience = 'hub.example/another'")
    code = main(["audit", "--verify"])
    owner.execute("UPDATE exchange.ledger_v1 SET audience = %s", (here,))

    assert code == 1
    assert "it was signed for another ledger" in capsys.readouterr().err


@pytest.mark.parametrize(("signed_path", "code"), [("CommentOnBreak", 0), ("OpenDispute", 1)])
def test_a_partners_signed_call_stands_for_its_deed_and_is_checked_as_one(
    url: str,
    owner: psycopg.Connection[Any],
    keys: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    signed_path: str,
    code: int,
) -> None:
    number = plant_break(owner)
    call = signed_call(f"/tongdui.settlement.v1.ReconciliationService/{signed_path}")
    engine = open_engine(url)
    with engine.begin() as connection:
        Desk(connection, acting(call), NOW, TODAY).comment(number, "we have the receipt")
    engine.dispose()

    assert main(["audit", "--verify"]) == code
    assert ("its signature does not verify" in capsys.readouterr().err) is (code == 1)


def signed_call(signed_path: str) -> SignedCall:
    """A call to CommentOnBreak, signed as one to some path."""
    body = b"the message"
    params = request_params(1_767_225_600, 1_767_225_720, PARTNER_A.key_id)
    digest = content_digest(body)
    signature = PARTNER_A.sign(request_base(signed_path, digest, AUDIENCE, params))
    return SignedCall(
        key_id=PARTNER_A.key_id,
        owner="a",
        public_key_text=PARTNER_A.public_key_text,
        path="/tongdui.settlement.v1.ReconciliationService/CommentOnBreak",
        body=body,
        metadata=request_entries(digest, AUDIENCE, params, signature),
        signature=signature,
    )


def test_people_are_shown_with_what_they_may_do(
    keys: dict[str, str], printed: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["people", "--json"]) == 0
    shown = {one["name"]: one for one in printed()["people"]}
    assert main(["people"]) == 0

    assert sorted(shown) == ["Boss", "Mei"]
    assert shown["Boss"]["roles"] == ["finance_checker"]
    assert "approve" in shown["Boss"]["may"]
    assert "approve" not in shown["Mei"]["may"]
    assert "finance_checker" in capsys.readouterr().out


def test_tables_show_what_json_says(
    owner: psycopg.Connection[Any], keys: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    number = str(plant_break(owner, detail="=cmd|'/c calc'![red]x[/red]"))
    assert main(["break", "comment", number, "[bold]look[/bold]", "--as", keys["mei"]]) == 0
    capsys.readouterr()

    assert main(["breaks", "--age", "over 30", "--overdue", "--type", "missing-at-hub"]) == 0
    listed = capsys.readouterr().out
    assert main(["break", "show", number]) == 0
    shown = capsys.readouterr().out
    assert main(["audit"]) == 0
    log = capsys.readouterr().out
    assert main(["breaks", "--age", "0-1"]) == 0
    young = capsys.readouterr().out

    assert "MISSING_AT_HUB" in listed
    assert "2.55" in listed
    assert "[red]x[/red]" in shown
    assert "[bold]look[/bold]" in shown
    assert "comment_break" in log
    assert young.strip() == "no break"
