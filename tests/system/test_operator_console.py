"""`tongdui-hub partner`, `key`, `card`, `member`, `adjust`, `clock` and `expire` at a hub that serves.

Alice proposes and Bob approves, each with a key file of her own, on the command line as they would.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.type import date_pb2

from examples.coalition import CardTerms, Operators, timestamp
from exchange.__main__ import main
from merchant_adapter import Key, Registration, new_request_id
from merchant_adapter.json_object import from_base64url
from tests.conftest import Databases
from tests.live_hub import BURN, EARN, Coalition, new_site, running
from tongdui.exchange.v1 import commands_pb2, partners_service_pb2

NUMBERS = count(1)


class Terminal(io.StringIO):
    """A keyboard, and what is typed on it."""

    def isatty(self) -> bool:
        return True


@dataclass
class Console:
    """One of the operator's people at her command line."""

    coalition: Coalition
    folder: Path
    key_file: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def run(self, *words: str, typed: str | None = None) -> tuple[int, str, str]:
        """Exit code, standard output and standard error; `typed` at a terminal, else there is none."""
        self.monkeypatch.setattr(sys, "stdin", io.StringIO() if typed is None else Terminal(typed))
        where = ["--hub", self.coalition.hub.address, "--audience", self.coalition.site.audience]
        trust = ["--hub-keys", str(self.coalition.site.hub_keys_file), "--key", str(self.key_file)]
        code = main([*words, *where, *trust])
        printed = self.capsys.readouterr()
        return code, printed.out, printed.err

    def answer(self, *words: str, code: int = 0) -> dict[str, Any]:
        """The JSON document of a command that ends so."""
        ended, out, err = self.run(*words, "--json")
        assert ended == code, out + err
        found: dict[str, Any] = json.loads(out)
        return found


@pytest.fixture
def sit_down(
    coalition: Coalition,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Key], Console]:
    def sit(key: Key) -> Console:
        key_file = key.save(tmp_path / f"keys-{next(NUMBERS)}")
        return Console(coalition, tmp_path, key_file, capsys, monkeypatch)

    return sit


@pytest.fixture
def alice(coalition: Coalition, sit_down: Callable[[Key], Console]) -> Console:
    return sit_down(coalition.people[0])


@pytest.fixture
def bob(coalition: Coalition, sit_down: Callable[[Key], Console]) -> Console:
    return sit_down(coalition.people[1])


def new_name() -> str:
    return f"shop-{next(NUMBERS)}"


CARD = (
    *("--valid-from", "2025-01-01T00:00:00+08:00", "--earn-rate", "3/2", "--face-value", "10000"),
    *("--funding", "10000", "--reimbursement", "9500", "--prefunded", "0", "--expiry", "days:7"),
)


def test_a_partner_is_brought_in_by_two_people(alice: Console, bob: Console) -> None:
    name = new_name()
    key = Key.generate(name)

    created = alice.answer("partner", "create", name, "--name", "Shop", "--attestation")
    challenge = alice.answer("key", "challenge", name)["challenge"]
    file = alice.folder / "registration.json"
    proof = Registration.of(key, alice.coalition.site.audience, from_base64url(challenge))
    file.write_text(proof.to_json())
    registered = alice.answer("key", "register", str(file), "--validity-days", "30")
    refused = alice.answer("key", "approve", key.key_id, code=1)
    approved = bob.answer("key", "approve", key.key_id)
    listed = alice.answer("key", "list", "--owner", name)

    assert created["partner"]["attestation_allowed"]
    assert registered["key"]["state"] == "registered"
    assert refused["reason"] == "SAME_PERSON"
    assert refused["what_to_do"].endswith("another person must.")
    assert approved["key"]["state"] == "active"
    assert [it["key_id"] for it in listed["keys"]] == [key.key_id]
    assert name in {it["partner_id"] for it in bob.answer("partner", "list")["partners"]}


def test_a_revoked_key_is_refused(alice: Console, bob: Console) -> None:
    name = new_name()
    key = alice.coalition.add_partner(name)

    revoked = bob.answer("key", "revoke", key.key_id, "--reason", "lost")

    assert revoked["key"]["state"] == "revoked"
    assert alice.answer("key", "list", "--owner", name)["keys"][0]["state"] == "revoked"


def test_a_card_is_proposed_previewed_and_approved_by_another_person(alice: Console, bob: Console) -> None:
    name = new_name()
    alice.coalition.add_partner(name)

    proposed = alice.answer("card", "propose", name, *CARD)["rate_card"]
    preview = alice.answer("card", "preview", name, "1")
    code, out, err = bob.run("card", "approve", name, "1", typed="y\n")
    shown = alice.answer("card", "show", name, "--at", "2026-01-01T00:00:00+08:00")["rate_card"]

    assert (proposed["state"], proposed["earn_rate"], proposed["expiry_policy"]) == (
        "proposed",
        "3/2",
        {"days": 7},
    )
    assert (preview["objections"], preview["replaced_version"]) == ([], 0)
    assert code == 0
    assert "nothing speaks against it" in err
    assert f"Approve version 1 of {name}?" in err
    assert "approved" in out
    assert (shown["version"], shown["approved_by"]) == (1, "bob")


def test_a_card_that_the_hub_would_refuse_is_shown_with_the_reason(alice: Console, bob: Console) -> None:
    name = new_name()
    alice.coalition.add_partner(name)
    dear = ["20000" if word == "9500" else word for word in CARD]
    alice.answer("card", "propose", name, *dear)

    _, out, _ = alice.run("card", "preview", name, "1")
    refused = bob.answer("card", "approve", name, "1", "--yes", code=1)
    withdrawn = bob.answer("card", "withdraw", name, "1")
    listed = alice.answer("card", "list", name, "--state", "withdrawn")

    assert "RATE_CARD_UNFUNDED" in out
    assert refused["reason"] == "RATE_CARD_UNFUNDED"
    assert refused["metadata"]["reimbursement_micros"] == "20000"
    assert withdrawn["rate_card"]["state"] == "withdrawn"
    assert [it["version"] for it in listed["rate_cards"]] == [1]


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "yess\n"])
def test_nothing_is_sent_without_a_yes(alice: Console, bob: Console, typed: str) -> None:
    member = alice.coalition.member("cafe", points=5)

    code, out, err = alice.run("member", "close", member, "--reason", "asked", typed=typed)

    assert (code, out) == (5, "")
    assert "nothing was sent" in err
    assert bob.answer("member", "show", member)["available_points"] == 5


@pytest.mark.parametrize(
    "words",
    [
        ("card", "approve", "cafe", "1"),
        ("member", "close", "m-000000000000", "--reason", "x"),
        ("member", "merge", "m-000000000000", "--into", "m-000000000001", "--reason", "x"),
        ("member", "unmerge", "m-000000000000", "--merge", "r", "--reason", "x"),
        ("adjust", "approve", "1"),
        ("clock", "set", "2030-01-01T00:00:00Z"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_what_moves_points_or_prices_is_not_sent_where_nobody_can_be_asked(
    alice: Console, words: tuple[str, ...]
) -> None:
    code, out, err = alice.run(*words)

    assert (code, out) == (2, "")
    assert "give --yes" in err


def test_an_account_is_frozen_and_unfrozen(alice: Console) -> None:
    member = alice.coalition.member("cafe", points=5)

    frozen = alice.answer("member", "freeze", member, "--reason", "stolen phone")
    again = alice.answer("member", "freeze", member, "--reason", "stolen phone", code=1)
    burned = alice.coalition.wire.call(alice.coalition.keys["cafe"], BURN, alice.coalition.burn(member))
    alice.answer("member", "unfreeze", member, "--reason", "found")
    entries = alice.answer("member", "entries", member)["entries"]

    assert frozen["available_points"] == 5
    assert again["reason"] == "MEMBER_STATE"
    assert burned.reason == "MEMBER_FROZEN"
    assert [it["kind"] for it in entries] == ["unfreeze", "freeze", "earn"]


def test_a_repeat_with_the_same_request_id_is_the_same_decision(alice: Console) -> None:
    member = alice.coalition.member("cafe")
    when = datetime.now(UTC).isoformat()
    same = ("--request-id", new_request_id(), "--event-time", when, "--reason", "x")

    first = alice.answer("member", "freeze", member, *same)
    second = alice.answer("member", "freeze", member, *same)

    assert second == first


def test_accounts_of_one_person_are_merged_and_taken_apart(alice: Console) -> None:
    one, other = alice.coalition.member("cafe", points=5), alice.coalition.member("cafe", points=7)

    code, _, asked = alice.run("member", "merge", one, "--into", other, "--reason", "same", typed="yes\n")
    merged = alice.answer("member", "show", other)
    (entry, *_) = alice.answer("member", "entries", one)["entries"]
    merge = entry["request_id"]
    apart = alice.answer("member", "unmerge", one, "--merge", merge, "--reason", "not the same", "--yes")

    assert code == 0
    assert one in asked
    assert other in asked
    assert merged["available_points"] == 12
    assert apart["points"] == 5
    assert alice.answer("member", "show", other)["available_points"] == 7


def test_a_closed_account_loses_its_points(alice: Console) -> None:
    member = alice.coalition.member("cafe", points=5)

    closed = alice.answer("member", "close", member, "--reason", "asked", "--yes")

    assert (closed["points"], closed["available_points"]) == (5, 0)


def test_a_consent_is_set_on_the_members_instruction(alice: Console) -> None:
    member = alice.coalition.member("cafe", points=5)
    burn = alice.coalition.burn

    alice.answer("member", "consent", member, "--partner", "cafe", "--per-burn", "2", "--per-day", "3")
    refused = alice.coalition.wire.call(alice.coalition.keys["cafe"], BURN, burn(member, points=3))
    accepted = alice.coalition.wire.call(alice.coalition.keys["cafe"], BURN, burn(member, points=2))

    assert refused.reason == "CONSENT_LIMIT_EXCEEDED"
    assert accepted.code is grpc.StatusCode.OK


def test_a_correction_is_posted_by_another_person_than_proposed_it(alice: Console, bob: Console) -> None:
    member = alice.coalition.member("cafe")
    long_ago = (datetime.now(UTC) - timedelta(days=60)).isoformat()
    sale = ("--partner", "cafe", "--member", member, "--store", "s-1", "--terminal", "t-1")
    order = ("--reference", f"lost-{next(NUMBERS)}", "--points", "40", "--event-time", long_ago)

    number = str(
        alice.answer("adjust", "propose", "earn", *sale, *order, "--reason", "lost upload")["adjustment_id"]
    )
    refused = alice.answer("adjust", "approve", number, "--yes", code=1)
    open_before = bob.answer("adjust", "list", "--open")["adjustments"]
    code, _, asked = bob.run("adjust", "approve", number, typed="y\n")
    posted = {str(it["adjustment_id"]): it for it in bob.answer("adjust", "list")["adjustments"]}

    assert refused["reason"] == "SAME_PERSON"
    assert number in {str(it["adjustment_id"]) for it in open_before}
    assert code == 0
    assert "lost upload" in asked
    assert posted[number]["entry_id"]
    assert bob.answer("member", "show", member)["available_points"] == 40


def propose_goodwill(console: Console) -> str:
    when = datetime.now(UTC).isoformat()
    money = ("--payer", "OPERATOR", "--payee", "books", "--micros", "2500000", "--event-time", when)
    made = console.answer("adjust", "propose", "money", *money, "--reason", "goodwill")
    return str(made["adjustment_id"])


def test_a_correction_is_withdrawn_once_and_for_ever_unless_it_is_posted(
    alice: Console, bob: Console
) -> None:
    number, posted = propose_goodwill(alice), propose_goodwill(alice)
    bob.answer("adjust", "approve", posted, "--yes")
    same = ("--reason", "posted by hand", "--request-id", new_request_id())

    withdrawn = alice.answer("adjust", "withdraw", number, *same)
    repeated = alice.answer("adjust", "withdraw", number, *same)
    again = bob.answer("adjust", "withdraw", number, "--reason", "again", code=1)
    approved = bob.answer("adjust", "approve", number, "--yes", code=1)
    too_late = alice.answer("adjust", "withdraw", posted, "--reason", "too late", code=1)
    unknown = alice.answer("adjust", "withdraw", "999999", "--reason", "which?", code=1)

    listed = {str(it["adjustment_id"]): it for it in alice.answer("adjust", "list")["adjustments"]}
    still_open = {str(it["adjustment_id"]) for it in alice.answer("adjust", "list", "--open")["adjustments"]}
    assert repeated == withdrawn
    assert (again["reason"], approved["reason"]) == ("ADJUSTMENT_WITHDRAWN", "ADJUSTMENT_WITHDRAWN")
    assert (too_late["reason"], unknown["reason"]) == ("ADJUSTMENT_POSTED", "ADJUSTMENT_UNKNOWN")
    assert too_late["metadata"]["entry_id"] == listed[posted]["entry_id"]
    assert not {number, posted} & still_open
    who, why = listed[number]["withdrawn_by"], listed[number]["withdraw_reason"]
    assert (who, why) == (listed[number]["proposed_by"], "posted by hand")
    assert not listed[number].get("entry_id")
    assert not listed[posted].get("withdrawn_by")


def test_a_correction_is_withdrawn_by_who_proposed_it_or_may_approve_it(
    coalition: Coalition, sit_down: Callable[[Key], Console]
) -> None:
    mei, bo, carl = (Key.generate("operator", name) for name in ("mei", "bo", "carl"))
    maker, checker = partners_service_pb2.ROLE_FINANCE_MAKER, partners_service_pb2.ROLE_FINANCE_CHECKER
    for key, role in ((mei, maker), (bo, maker), (carl, checker)):
        coalition.operate(partial(Operators.admit_key, key=key, roles=[role]))
    one, other = propose_goodwill(sit_down(mei)), propose_goodwill(sit_down(mei))

    not_hers = sit_down(bo).answer("adjust", "withdraw", one, "--reason", "not mine", code=4)
    sit_down(mei).answer("adjust", "withdraw", one, "--reason", "a mistake of mine")
    sit_down(carl).answer("adjust", "withdraw", other, "--reason", "I would not approve it")

    assert not_hers["reason"] == "ROLE_REQUIRED"
    rows = coalition.rows(
        "SELECT withdrawn_by FROM exchange.adjustments WHERE adjustment_id IN (%s, %s) ORDER BY adjustment_id",
        int(one),
        int(other),
    )
    assert rows == [("mei",), ("carl",)]


def test_money_is_corrected_between_partner_and_operator(alice: Console, bob: Console) -> None:
    when = datetime.now(UTC).isoformat()
    money = ("--payer", "OPERATOR", "--payee", "books", "--micros", "2500000", "--event-time", when)

    number = alice.answer("adjust", "propose", "money", *money, "--reason", "goodwill")["adjustment_id"]
    posted = bob.answer("adjust", "approve", str(number), "--yes")
    _, listed, _ = alice.run("adjust", "list")

    assert posted["points"] == 0
    assert "2,500,000 micros from OPERATOR to books" in listed


def test_what_expires_soon_is_shown_by_day_and_issuer(alice: Console) -> None:
    member = alice.coalition.member("cafe")
    today = alice.answer("expire", "--dry-run", "--days", "1")["today"]
    week = date.fromisoformat(today) + timedelta(days=7)
    earn = alice.coalition.earn(member, points=30)
    earn.expiry_date.CopyFrom(date_pb2.Date(year=week.year, month=week.month, day=week.day))
    alice.coalition.wire.accepted(alice.coalition.keys["cafe"], EARN, earn, commands_pb2.EarnResponse)

    found = alice.answer("expire", "--dry-run", "--days", "8")
    _, shown, _ = alice.run("expire", "--dry-run", "--days", "8")

    assert {"expiry_date": str(week), "issuer_id": "cafe", "points": 30, "member_count": 1} in found[
        "expiries"
    ]
    days_ahead = (week - date.fromisoformat(found["today"])).days  # 6 where midnight has passed meanwhile
    assert {
        "member_id": member,
        "expiry_date": str(week),
        "days_ahead": days_ahead,
        "points": 30,
    } in found["warnings"]
    assert member in shown


def test_the_system_clock_is_not_moved(alice: Console) -> None:
    refused = alice.answer("clock", "set", "2030-01-01T00:00:00Z", "--yes", code=1)

    assert refused["reason"] == "CLOCK_NOT_MANUAL"
    assert alice.answer("clock", "show")["clock"] == "system"


def test_a_hub_that_is_away_leaves_the_outcome_unknown_and_says_how_to_repeat(alice: Console) -> None:
    code = main(
        [
            *(
                "partner",
                "create",
                "gone",
                "--name",
                "Gone",
                "--json",
                "--timeout",
                "1",
                "--request-id",
                "r-77",
            ),
            *(
                "--hub",
                "127.0.0.1:1",
                "--audience",
                alice.coalition.site.audience,
                "--key",
                str(alice.key_file),
            ),
            *("--hub-keys", str(alice.coalition.site.hub_keys_file)),
        ]
    )

    found = json.loads(alice.capsys.readouterr().out)
    assert code == 3
    assert found["repeat_with"] == "--request-id r-77"


def test_a_key_of_another_person_is_refused_before_anything_is_sent(alice: Console) -> None:
    found = alice.answer("partner", "list", "--holder", "bob", code=2)

    assert "alice" in found["message"]


def test_a_stranger_is_not_trusted(alice: Console) -> None:
    stranger = Key.generate("operator", "mallory").save(alice.folder / "others")

    code, _, said = Console(alice.coalition, alice.folder, stranger, alice.capsys, alice.monkeypatch).run(
        "partner", "list"
    )

    assert code == 4
    assert "SIGNATURE_INVALID" in said


def test_connection_options_come_from_the_environment_too(alice: Console) -> None:
    for name, value in {
        "TONGDUI_HUB_ADDRESS": alice.coalition.hub.address,
        "TONGDUI_AUDIENCE": alice.coalition.site.audience,
        "TONGDUI_HUB_KEYS": str(alice.coalition.site.hub_keys_file),
        "TONGDUI_OPERATOR_KEY": str(alice.key_file),
    }.items():
        alice.monkeypatch.setenv(name, value)

    code = main(["clock", "show", "--json"])

    assert code == 0
    assert json.loads(alice.capsys.readouterr().out)["audience"] == alice.coalition.site.audience


def test_a_manual_clock_moves_after_showing_what_expires_on_the_way(
    databases: Databases,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noon = "2026-01-01T12:00:00+08:00"
    with databases.fresh() as url:
        site, people = new_site(tmp_path / "site", {"DATABASE_URL": url}, f"--manual-clock={noon}")
        with running(site, people, url) as coalition:
            coalition.add_partner("cafe", cards=[CardTerms()])
            key_file = people[0].save(tmp_path / "keys")
            alice = Console(coalition, tmp_path, key_file, capsys, monkeypatch)
            member = coalition.member("cafe")
            earn = coalition.earn(member, points=30, event_time=timestamp(datetime.fromisoformat(noon)))
            earn.expiry_date.CopyFrom(date_pb2.Date(year=2026, month=1, day=3))
            coalition.wire.accepted(coalition.keys["cafe"], EARN, earn, commands_pb2.EarnResponse)

            same_day = alice.run("clock", "set", "2026-01-03T23:59:59+08:00", typed="n\n")
            next_day = alice.run("clock", "set", "2026-01-04T00:00:00+08:00", "--json", typed="y\n")
            after = alice.answer("member", "show", member)

    assert same_day[0] == 5
    assert "no points expire on the way" in same_day[2]
    assert next_day[0] == 0
    assert "2026-01-03" in next_day[2]
    assert json.loads(next_day[1])["woken_member_count"] == 1
    assert after["available_points"] == 0
