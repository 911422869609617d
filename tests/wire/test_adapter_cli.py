"""The command line: what it asks of a hub, what it prints, and how it ends."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from merchant_adapter import Key, Receipt, Registration, SettlementKeys
from merchant_adapter.__main__ import main
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
from tongdui.exchange.v1 import partners_service_pb2 as partners_pb2
from tongdui.exchange.v1.commands_pb2 import BurnRequest, BurnResponse, EarnRequest, EarnResponse
from tongdui.exchange.v1.journal_service_pb2 import GetLedgerResponse
from tongdui.exchange.v1.points_service_pb2 import GetWalletResponse

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CODE = grpc.StatusCode
CHALLENGE = bytes(range(32))
CHALLENGE_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
EARNED = EarnResponse(entry_id="1-0", points=5, available_points=12, rate_version=3)
EARNED.decided_time.FromDatetime(NOON)
SALE = shlex.split("--member m-1 --store s-1 --terminal t-1 --reference r-1 --points 5")


@dataclass(frozen=True, slots=True)
class Cli:
    """Runs commands in a directory that holds a key and the hub's keys."""

    folder: Path
    key: Path
    hub_keys: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> tuple[int, str]:
        """The exit code and all that was printed."""
        code = main(arguments)
        printed = self.capsys.readouterr()
        return code, printed.out + printed.err

    def run_json(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """The exit code and the JSON on standard output."""
        code = main([*arguments, "--json"])
        found: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        return code, found

    def hub(self, hub: FakeHub) -> list[str]:
        """The arguments that name the hub and the key."""
        where = ["--hub", hub.address, "--audience", AUDIENCE, "--timeout", "30"]
        return [*where, "--key", str(self.key), "--hub-keys", str(self.hub_keys)]


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    hub_keys = tmp_path / "hub.jwks"
    hub_keys.write_text(HUB_KEYS.to_json())
    return Cli(tmp_path, CAFE_KEY.save(tmp_path / "keys"), hub_keys, capsys)


def test_keygen_makes_a_key_that_can_be_loaded(cli: Cli) -> None:
    code, found = cli.run_json("keygen", "--partner", "bank", "--out", "new")

    key = Key.load(found["file"])
    assert code == 0
    assert (key.key_id, key.owner) == (found["key_id"], "bank")
    assert len(found["public_key"]) == 43


def test_keygen_refuses_a_name_out_of_form(cli: Cli) -> None:
    code, printed = cli.run("keygen", "--partner", "The Bank", "--out", "new")

    assert code == 2
    assert "owner" in printed


def test_register_writes_a_file_whose_proof_verifies(cli: Cli) -> None:
    code, found = cli.run_json(
        "register", "--key", str(cli.key), "--audience", AUDIENCE, "--challenge", CHALLENGE_TEXT
    )

    registration = Registration.from_json(Path(found["file"]).read_text())
    assert code == 0
    assert registration == Registration.of(CAFE_KEY, AUDIENCE, CHALLENGE)
    assert registration.proves()


def test_a_registration_changed_anywhere_is_refused(cli: Cli) -> None:
    cli.run("register", "--key", str(cli.key), "--audience", AUDIENCE, "--challenge", CHALLENGE_TEXT)
    fields = json.loads((cli.folder / "registration.json").read_text())
    other = json.loads(Registration.of(Key("bank", bytes(32)), "other", bytes(32)).to_json())
    changes = [{name: other[name]} for name in fields if name not in ("format", "holder")] + [{"holder": "x"}]

    for change in changes:
        with pytest.raises(ValueError, match=r"registration: (proof|key_id)"):
            Registration.from_json(json.dumps(fields | change))


@pytest.mark.parametrize("challenge", ["not base64url!", "AAAA", ""])
def test_register_refuses_a_challenge_out_of_form(cli: Cli, challenge: str) -> None:
    code, printed = cli.run(
        "register", "--key", str(cli.key), "--audience", AUDIENCE, f"--challenge={challenge}"
    )

    assert code == 2
    assert "challenge" in printed
    assert not (cli.folder / "registration.json").exists()


def test_register_needs_a_challenge_or_a_hub(cli: Cli) -> None:
    code, printed = cli.run("register", "--key", str(cli.key), "--audience", AUDIENCE)

    assert code == 2
    assert "--sign-with" in printed


def test_the_next_key_is_registered_at_the_hub_signed_by_the_current_one(cli: Cli) -> None:
    new = Key.generate("cafe")

    def reply(call: Call) -> Reply:
        if call.path.endswith("CreateKeyChallenge"):
            return accepted(partners_pb2.CreateKeyChallengeResponse(challenge=CHALLENGE))
        key = partners_pb2.Key(key_id=new.key_id, state=partners_pb2.Key.STATE_REGISTERED)
        return accepted(partners_pb2.RegisterKeyResponse(key=key))

    with fake_hub(reply) as hub:
        where = ["--hub", hub.address, "--audience", AUDIENCE, "--hub-keys", str(cli.hub_keys)]
        files = ["--key", str(new.save("new")), "--sign-with", str(cli.key)]
        code, found = cli.run_json("register", *where, *files)

    sent = partners_pb2.RegisterKeyRequest.FromString(hub.calls[1].body)
    assert (code, found["state"]) == (0, "registered")
    assert (sent.owner, sent.holder, sent.public_key) == ("cafe", "", new.public_key)
    assert Registration(AUDIENCE, "cafe", "", sent.public_key, sent.challenge, sent.proof).proves()
    assert list(sent.roles) == []


def test_ping_shows_the_ledger_and_how_far_the_clocks_are_apart(cli: Cli) -> None:
    def reply(_: Call) -> Reply:
        message = GetLedgerResponse(
            audience=AUDIENCE, currency_code="CNY", clock=GetLedgerResponse.CLOCK_SYSTEM
        )
        message.ledger_time.FromSeconds(int(datetime.now(UTC).timestamp()) + 30)
        return Reply(message.SerializeToString(), has_receipt=False)

    with fake_hub(reply) as hub:
        code, found = cli.run_json("ping", *cli.hub(hub))

    assert (code, found["audience"], found["currency_code"]) == (0, AUDIENCE, "CNY")
    assert 15 < found["hub_ahead_seconds"] < 35


def test_a_manual_ledger_clock_says_nothing_about_clocks(cli: Cli) -> None:
    message = GetLedgerResponse(audience=AUDIENCE, clock=GetLedgerResponse.CLOCK_MANUAL)

    with fake_hub(Reply(message.SerializeToString(), has_receipt=False)) as hub:
        code, found = cli.run_json("ping", *cli.hub(hub))

    assert (code, found["clock"]) == (0, "manual")
    assert "hub_ahead_seconds" not in found


def test_a_wallet_is_shown_to_people_with_its_lots(cli: Cli) -> None:
    message = GetWalletResponse(member_id="m-1", available_points=12)
    message.lots.add(lot_sequence=1, issuer_id="[b]tea", rate_version=2, open_points=12)

    with fake_hub(Reply(message.SerializeToString(), has_receipt=False)) as hub:
        code, printed = cli.run("wallet", "--member", "m-1", *cli.hub(hub))

    assert code == 0
    assert "available_points" in printed
    assert "[b]tea" in printed


def test_an_earn_is_posted_and_its_receipt_kept_and_verified(cli: Cli) -> None:
    event = ["--event-time", "2026-01-01T20:00:00+08:00", "--request-id", "id-1", "--receipt", "receipt.json"]

    with fake_hub(accepted(EARNED)) as hub:
        code, found = cli.run_json("earn", *SALE, *event, *cli.hub(hub))
    verified, evidence = cli.run_json("verify", "receipt.json", "--hub-keys", str(cli.hub_keys))

    sent = EarnRequest.FromString(hub.calls[0].body)
    assert (code, found["outcome"], found["points"], found["request_id"]) == (0, "accepted", 5, "id-1")
    assert (sent.request_id, sent.points, sent.event_time.ToDatetime(UTC)) == ("id-1", 5, NOON)
    (checked,) = evidence["files"]
    assert (verified, evidence["verified"], checked["outcome"]) == (0, True, "accepted")
    assert (checked["request"]["reference"], checked["answer"]["entry_id"]) == ("r-1", "1-0")


def test_an_earn_by_spend_is_posted(cli: Cli) -> None:
    sale = [*SALE[:-2], "--spend-minor", "12800", "--expiry-date", "2026-12-31"]

    with fake_hub(accepted(EARNED)) as hub:
        code, _ = cli.run("earn", *sale, *cli.hub(hub))

    sent = EarnRequest.FromString(hub.calls[0].body)
    assert (code, sent.eligible_spend_minor, sent.expiry_date.day) == (0, 12800, 31)


def test_a_burn_is_posted(cli: Cli) -> None:
    burned = BurnResponse(entry_id="1-1", points=5, value_micros=50_000)
    burned.decided_time.FromDatetime(NOON)

    with fake_hub(accepted(burned)) as hub:
        code, found = cli.run_json("burn", *SALE, *cli.hub(hub))

    sent = BurnRequest.FromString(hub.calls[0].body)
    assert (code, sent.points, found["value_micros"]) == (0, 5, 50_000)
    assert sent.request_id == found["request_id"]


def unanswered(_: Call) -> Reply:
    return Reply(code=CODE.UNAVAILABLE)


@pytest.mark.parametrize(
    ("reply", "code", "outcome"),
    [
        (lambda _: refused(CODE.NOT_FOUND, "MEMBER_UNKNOWN"), 1, "refused"),
        (lambda _: refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD"), 2, "invalid"),
        (unanswered, 3, "unknown: repeat with the same request id"),
        (lambda _: Reply(has_receipt=False), 3, "unknown: repeat with the same request id"),
        (
            lambda _: refused(CODE.RESOURCE_EXHAUSTED, "HUB_BUSY"),
            3,
            "nothing decided, hub busy: repeat with the same request id",
        ),
        (lambda _: refused(CODE.UNAUTHENTICATED, "SIGNATURE_INVALID"), 4, "not trusted"),
        (lambda _: refused(CODE.PERMISSION_DENIED, "ROLE_REQUIRED"), 4, "not trusted"),
    ],
    ids=["refused", "invalid", "unanswered", "no receipt", "busy", "untrusted", "forbidden"],
)
def test_each_outcome_has_its_exit_code(
    cli: Cli, reply: Callable[[Call], Reply], code: int, outcome: str
) -> None:
    with fake_hub(reply) as hub:
        ended, found = cli.run_json("earn", *SALE, "--request-id", "id-1", *cli.hub(hub))

    assert (ended, found["outcome"], found["request_id"]) == (code, outcome, "id-1")


def test_a_question_without_an_answer_is_not_called_a_decision_to_repeat(cli: Cli) -> None:
    with fake_hub(unanswered) as hub:
        ended, found = cli.run_json("ping", *cli.hub(hub))

    assert (ended, found["outcome"]) == (3, f"no answer: the hub at {hub.address} does not answer")
    assert found["message"] == "as the hub's gRPC library puts it"


@pytest.mark.parametrize(
    ("command", "who"),
    [
        ("ping", "the hub"),
        ("wallet --member m-1", "the hub"),
        ("statement --date 2026-01-01", "settlement"),
        ("certificate --date 2026-01-01 --out c.json", "settlement"),
        ("breaks", "settlement"),
        ("breaks --date 2026-01-01", "settlement"),
    ],
)
def test_a_question_to_nobody_says_where_nobody_answers_and_why(cli: Cli, command: str, who: str) -> None:
    option = "--hub" if who == "the hub" else "--settlement"
    signer = Key("operator", bytes(32))
    Path("settlement.jwks").write_text(SettlementKeys({signer.key_id: signer.public_key}).to_json())
    pinned = {"--hub": str(cli.hub_keys), "--settlement": "settlement.jwks"}[option]
    keys = [f"{option}-keys", pinned, "--key", str(cli.key)]

    ended, found = cli.run_json(*shlex.split(command), option, "127.0.0.1:1", "--audience", AUDIENCE, *keys)

    assert (ended, found["outcome"]) == (3, f"no answer: {who} at 127.0.0.1:1 does not answer")
    assert "127.0.0.1:1" in found["message"]
    assert "unknown" not in found["outcome"]


def test_a_question_whose_answer_must_not_be_believed_is_not_trusted(cli: Cli) -> None:
    half_a_receipt = replace(accepted(GetLedgerResponse()), spoil=lambda entries: entries[:1])

    with fake_hub(half_a_receipt) as hub:
        ended, found = cli.run_json("ping", *cli.hub(hub))

    assert (ended, found["outcome"]) == (4, "not trusted: the answer must not be believed")


@pytest.mark.parametrize(
    ("hub", "fault"),
    [
        ("http://127.0.0.1:7400", "give host:port or unix:PATH, without http://"),
        ("hub.example", "the port is missing; give host:port or unix:PATH"),
    ],
)
def test_an_address_that_would_never_connect_is_refused_with_the_form_to_give(
    hub: str, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["ping", "--hub", hub, "--audience", "a", "--hub-keys", "h", "--key", "k"])

    assert ended.value.code == 2
    assert f"argument --hub: {hub}: {fault}" in capsys.readouterr().err


def test_what_an_unsettled_command_prints_repeats_the_same_decision(cli: Cli) -> None:
    replies = iter([Reply(code=CODE.UNAVAILABLE), accepted(EARNED)])

    with fake_hub(lambda _: next(replies)) as hub:
        first, found = cli.run_json("earn", *SALE, *cli.hub(hub))
        second, _ = cli.run("earn", *SALE, *shlex.split(found["repeat_with"]), *cli.hub(hub))

    assert (first, second) == (3, 0)
    assert hub.calls[0].body == hub.calls[1].body


def test_a_stale_signature_shows_how_far_the_clocks_are_apart(cli: Cli) -> None:
    hub_time = str(int(datetime.now(UTC).timestamp()) + 600)

    with fake_hub(refused(CODE.UNAUTHENTICATED, "SIGNATURE_STALE", hub_time=hub_time)) as hub:
        code, found = cli.run_json("ping", *cli.hub(hub))

    assert code == 4
    assert 570 < found["hub_ahead_seconds"] < 610


def test_a_refusals_receipt_is_kept_and_verifies(cli: Cli) -> None:
    with fake_hub(refused(CODE.NOT_FOUND, "MEMBER_UNKNOWN")) as hub:
        code, _ = cli.run("earn", *SALE, "--receipt", "receipt.json", *cli.hub(hub))
    verified, evidence = cli.run_json("verify", "receipt.json", "--hub-keys", str(cli.hub_keys))

    (checked,) = evidence["files"]
    assert (code, verified) == (1, 0)
    assert (checked["outcome"], checked["refusal"]["reason"]) == ("refused", "MEMBER_UNKNOWN")


def test_a_receipt_file_in_the_way_stops_the_command_before_it_is_sent(cli: Cli) -> None:
    (cli.folder / "receipt.json").write_text("precious")

    with fake_hub(accepted(EARNED)) as hub:
        code, printed = cli.run("earn", *SALE, "--receipt", "receipt.json", *cli.hub(hub))

    assert (code, hub.calls) == (2, [])
    assert "nothing was sent" in printed
    assert (cli.folder / "receipt.json").read_text() == "precious"


def test_a_receipt_that_was_tampered_with_is_not_trusted(cli: Cli) -> None:
    with fake_hub(accepted(EARNED)) as hub:
        cli.run("earn", *SALE, "--receipt", "receipt.json", *cli.hub(hub))
    receipt = Receipt.from_json((cli.folder / "receipt.json").read_text())
    forged = EarnResponse.FromString(receipt.answer)
    forged.points = 500
    fields = json.loads(receipt.to_json())
    fields["answer"] = json.loads(Receipt(receipt.path, b"", (), forged.SerializeToString(), ()).to_json())[
        "answer"
    ]
    (cli.folder / "forged.json").write_text(json.dumps(fields))

    code, found = cli.run_json("verify", "forged.json", "--hub-keys", str(cli.hub_keys))

    assert (code, found["verified"]) == (4, False)


@pytest.mark.parametrize("content", [None, "", "{}", "[]"], ids=["missing", "empty", "object", "list"])
def test_what_is_no_receipt_is_bad_input(cli: Cli, content: str | None) -> None:
    if content is not None:
        (cli.folder / "receipt.json").write_text(content)

    code, found = cli.run_json("verify", "receipt.json", "--hub-keys", str(cli.hub_keys))

    assert (code, found["outcome"]) == (2, "bad input")


def test_a_key_file_open_to_others_is_bad_input(cli: Cli) -> None:
    cli.key.chmod(0o644)

    with fake_hub(accepted(EARNED)) as hub:
        code, printed = cli.run("earn", *SALE, *cli.hub(hub))

    assert (code, hub.calls) == (2, [])
    assert "chmod 600" in " ".join(printed.split())


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "earn",
        "earn --points x",
        "earn --points 5 --spend-minor 5",
        "earn --event-time 2026-01-01T12:00:00",
        "burn --event-time yesterday",
        "register --validity-days 400",
        "register --role partner",
    ],
)
def test_usage_errors_end_with_2(cli: Cli, arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(*shlex.split(arguments))

    assert ended.value.code == 2


def test_arguments_can_come_from_a_file(cli: Cli) -> None:
    with fake_hub(accepted(EARNED)) as hub:
        (cli.folder / "hub.args").write_text("\n".join(cli.hub(hub)))
        code, _ = cli.run("earn", *SALE, "@hub.args")

    assert code == 0
    assert len(hub.calls) == 1


def test_points_out_of_range_of_the_wire_are_named_and_not_sent(cli: Cli) -> None:
    sale = [*SALE[:-1], str(2**63)]

    with fake_hub(accepted(EARNED)) as hub:
        code, found = cli.run_json("burn", *sale, *cli.hub(hub))

    assert (code, hub.calls, found["fields"][0]["field"]) == (2, [], "points")
