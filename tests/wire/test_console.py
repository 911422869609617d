"""The operator's console: what it sends, what it believes, and how it shows it."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.type.date_pb2 import Date
from rich.console import Console

from exchange.__main__ import main
from operator_console import NOUNS
from operator_console.advice import advice
from operator_console.arguments import count, day, expiry, fraction, moment, small
from operator_console.plain import to_plain
from operator_console.screen import columns, details, money, table
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
)
from tongdui.exchange.v1 import accounts_service_pb2, journal_service_pb2, partners_service_pb2
from tongdui.exchange.v1.rate_cards_service_pb2 import ExpiryPolicy, PreviewRateCardResponse, RateCard
from tongdui.type.v1 import error_reason_pb2
from tongdui.type.v1.fraction_pb2 import Fraction

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FROZEN = accounts_service_pb2.FreezeMemberResponse(entry_id="1-0", available_points=5)
FREEZE = ("member", "freeze", "m-1", "--reason", "x", "--request-id", "id-1")


def ledger_answer() -> Reply:
    message = journal_service_pb2.GetLedgerResponse(audience=AUDIENCE)
    message.ledger_time.FromDatetime(NOON)
    return Reply(message.SerializeToString(), has_receipt=False)


@dataclass(frozen=True, slots=True)
class Desk:
    """Runs commands with a key and the hub's keys, and nobody at a terminal."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, hub: FakeHub, *words: str) -> tuple[int, str, str]:
        where = ["--hub", hub.address, "--audience", AUDIENCE, "--timeout", "30"]
        files = ["--key", str(self.folder / "keys" / f"{CAFE_KEY.key_id}.jwk")]
        code = main([*words, *where, *files, "--hub-keys", str(self.folder / "hub.jwks")])
        printed = self.capsys.readouterr()
        return code, printed.out, printed.err

    def run_json(self, hub: FakeHub, *words: str) -> tuple[int, dict[str, Any]]:
        code, out, _ = self.run(hub, *words, "--json")
        found: dict[str, Any] = json.loads(out)
        return code, found


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    (tmp_path / "hub.jwks").write_text(HUB_KEYS.to_json())
    CAFE_KEY.save(tmp_path / "keys")
    return Desk(tmp_path, capsys)


def answering(write: Reply) -> Callable[[Call], Reply]:
    """The ledger to who asks for it, and `write` to the rest."""
    return lambda call: ledger_answer() if call.path.endswith("GetLedger") else write


def test_a_decision_is_of_now_on_the_ledger_clock_unless_told_otherwise(desk: Desk) -> None:
    with fake_hub(answering(accepted(FROZEN))) as hub:
        code, found = desk.run_json(hub, *FREEZE)

    sent = accounts_service_pb2.FreezeMemberRequest.FromString(hub.calls[-1].body)
    assert (code, found["entry_id"]) == (0, "1-0")
    assert (sent.request_id, sent.member_id, sent.reason) == ("id-1", "m-1", "x")
    assert sent.event_time.ToDatetime(UTC) == NOON


@pytest.mark.parametrize(
    "reply",
    [
        replace(accepted(FROZEN), has_receipt=False),
        replace(
            accepted(FROZEN),
            spoil=lambda entries: tuple((name, f"{value!s}x") for name, value in entries),
        ),
        refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "HUB_BUSY"),
        refused(grpc.StatusCode.UNAVAILABLE, "HUB_UNAVAILABLE"),
    ],
    ids=["no receipt", "spoilt receipt", "busy", "unavailable"],
)
def test_an_answer_that_settles_nothing_says_how_to_repeat_the_request(desk: Desk, reply: Reply) -> None:
    with fake_hub(answering(reply)) as hub:
        code, found = desk.run_json(hub, *FREEZE)
        repeat = found["repeat_with"].split()
        desk.run(hub, *FREEZE[:5], *repeat)

    assert code == 3
    assert "entry_id" not in found
    assert hub.calls[-1].body == hub.calls[1].body


def test_a_refusal_says_why_and_what_to_do(desk: Desk) -> None:
    with fake_hub(answering(refused(grpc.StatusCode.NOT_FOUND, "MEMBER_UNKNOWN"))) as hub:
        code, out, err = desk.run(hub, *FREEZE)

    assert (code, out) == (1, "")
    assert "MEMBER_UNKNOWN" in err
    assert "Enrol or link the customer." in err


def test_a_list_is_all_its_pages(desk: Desk) -> None:
    def reply(call: Call) -> Reply:
        asked = partners_service_pb2.ListPartnersRequest.FromString(call.body)
        page = partners_service_pb2.ListPartnersResponse(next_page_token="" if asked.page_token else "more")
        page.partners.add(partner_id="b" if asked.page_token else "a", display_name="[b]tea[/b]")
        return Reply(page.SerializeToString(), has_receipt=False)

    with fake_hub(reply) as hub:
        _, found = desk.run_json(hub, "partner", "list")
        _, shown, _ = desk.run(hub, "partner", "list")

    assert [it["partner_id"] for it in found["partners"]] == ["a", "b"]
    assert "[b]tea[/b]" in shown  # as it is, never as markup


@pytest.mark.parametrize("missing", ["--hub", "--audience", "--hub-keys", "--key"])
def test_a_connection_option_that_is_missing_is_named(
    missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word for name in ("--hub", "--audience", "--hub-keys", "--key") for word in (name, "x")]
    at = given.index(missing)

    code = main(["partner", "list", *given[:at], *given[at + 2 :]])

    assert code == 2
    assert f"give {missing} or set TONGDUI_" in capsys.readouterr().err


def test_a_message_becomes_plain_values() -> None:
    card = RateCard(
        partner_id="cafe",
        earn_rate=Fraction(numerator=3, denominator=2),
        expiry_policy=ExpiryPolicy(fixed_date=Date(year=2027, month=2, day=1)),
        state=RateCard.STATE_APPROVED,
    )
    card.valid_from.FromDatetime(NOON)
    key = partners_service_pb2.Key.FromString(
        b"\x22\x02\xff\xfe\x2a\x02\x02\x63"
    )  # roles 2 and, of a later contract, 99

    found, found_key = to_plain(card), to_plain(key)

    assert found["valid_from"] == "2026-01-01T12:00:00+00:00"
    assert (found["earn_rate"], found["state"]) == ("3/2", "approved")
    assert found["expiry_policy"] == {"fixed_date": "2027-02-01"}
    assert "native_rate_in" not in found
    assert (found["funding_micros"], found["approved_by"]) == (0, "")
    assert (found_key["public_key"], found_key["roles"]) == ("__4", ["operator", "99"])


def test_an_objection_becomes_its_reason_message_and_figures() -> None:
    preview = PreviewRateCardResponse()
    status = preview.objections.add(code=9, message="too dear")
    packed = AnyMessage()
    packed.Pack(ErrorInfo(reason="RATE_CARD_UNFUNDED", domain="tongdui", metadata={"issuer_id": "a"}))
    status.details.append(packed)

    found = to_plain(preview)["objections"]

    assert found == [{"reason": "RATE_CARD_UNFUNDED", "message": "too dear", "metadata": {"issuer_id": "a"}}]


def test_advice_is_known_for_every_reason_that_the_document_has() -> None:
    prefix = "ERROR_REASON_"
    document = (Path(__file__).parents[2] / "docs/errors.md").read_text()
    reasons = {it.name.removeprefix(prefix) for it in error_reason_pb2.ErrorReason.DESCRIPTOR.values}
    described = {reason for reason in reasons if f"| `{reason}` |" in document}

    found = {reason: advice(reason) for reason in described}

    assert len(found) > 30
    assert all(found.values())
    assert not any(mark in text for text in found.values() for mark in ("`", "](", "|"))
    assert advice("NEVER_HEARD_OF") == ""


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("never", ExpiryPolicy(never=True)),
        ("days:365", ExpiryPolicy(days=365)),
        ("months:12", ExpiryPolicy(months_to_month_end=12)),
        ("date:2027-12-31", ExpiryPolicy(fixed_date=Date(year=2027, month=12, day=31))),
    ],
)
def test_an_expiry_policy_is_written_in_a_word(text: str, policy: ExpiryPolicy) -> None:
    assert expiry(text) == policy


@pytest.mark.parametrize(
    ("text", "numerator", "denominator"),
    [("3/2", 3, 2), ("2", 2, 1), ("0.015", 3, 200), ("0", 0, 1)],
)
def test_a_fraction_is_exact_however_it_is_written(text: str, numerator: int, denominator: int) -> None:
    assert fraction(text) == Fraction(numerator=numerator, denominator=denominator)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (expiry, "never:1"),
        (expiry, "days:"),
        (expiry, "weeks:2"),
        (expiry, "date:2027-02-30"),
        (fraction, "1/0"),
        (fraction, "-1"),
        (fraction, "half"),
        (fraction, f"1/{2**63}"),
        (count, "-1"),
        (count, "1.5"),
        (count, "٣"),
        (count, str(2**63)),
        (small, str(2**31)),
        (day, "2026-13-01"),
        (moment, "2026-01-01T00:00:00"),
        (moment, "noon"),
    ],
)
def test_a_value_out_of_form_is_refused(kind: Callable[[str], object], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        kind(text)


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0.00"),
        (10_000, "0.01"),
        (9_500, "0.0095"),
        (1_234_567_000_001, "1,234,567.000001"),
        (-5, "-0.000005"),
    ],
)
def test_money_is_shown_exactly(micros: int, text: str) -> None:
    assert money(micros) == text


def test_a_table_leaves_out_columns_that_say_nothing() -> None:
    rows = [{"name": "a", "points": 12_345, "note": ""}, {"name": "b", "points": 0, "note": None}]

    shown = printed(table(rows, columns("name", "points", "note"), "nothing"))

    assert "12,345" in shown
    assert "note" not in shown
    assert printed(table([], columns("name"), "nothing")).strip() == "nothing"


def test_details_show_objects_and_lists_below() -> None:
    shown = printed(details({"member_id": "m-1", "lots": [{"points": 1}], "policy": {"days": 7}, "none": []}))

    assert next(line.strip() for line in shown.splitlines() if line.strip()) == "member id  m-1"
    assert "days  7" in shown


def printed(view: Any) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_hubs_help_names_the_operators_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(f"  {noun} " in shown for noun in NOUNS)


def test_the_hubs_command_line_loads_grpc_only_when_it_is_told_how() -> None:
    program = "import exchange.__main__, sys; sys.exit('grpc' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], check=False)

    assert done.returncode == 0
