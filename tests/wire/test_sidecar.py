"""The sidecar over a real socket: what a mall in any language sees of it."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import re
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from merchant_adapter import Hub, Receipt, Unreadable, verify_receipt
from merchant_adapter.__main__ import main
from merchant_adapter.outbox import Limits, Outbox, OutboxDamaged, OutboxInUse
from merchant_adapter.sidecar.context import Context
from merchant_adapter.sidecar.failures import of_outbox
from merchant_adapter.sidecar.listening import open_tcp, open_unix
from merchant_adapter.sidecar.process import run as run_sidecar
from merchant_adapter.till import Till
from tests.waiting import eventually
from tests.wire.adapter_fake_hub import AUDIENCE, CAFE_KEY, HUB_KEYS, fake_hub
from tests.wire.sidecar_served import SALE, Caller, Heard, SilentLedger, sidecar


@dataclass(frozen=True, slots=True)
class Mall:
    caller: Caller
    ledger: SilentLedger

    def post(self, path: str, body: Any, **headers: str) -> Heard:
        return self.caller.post(path, body, **headers)

    def get(self, path: str, **headers: str) -> Heard:
        return self.caller.get(path, **headers)


@pytest.fixture(scope="module")
def mall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mall]:
    ledger = SilentLedger()
    with (
        fake_hub(ledger.reply) as hub,
        sidecar(hub.address, tmp_path_factory.mktemp("mall") / "o.db") as caller,
    ):
        yield Mall(caller, ledger)


def sale(**changes: Any) -> dict[str, Any]:
    return SALE | {"request_id": str(uuid4())} | changes


def problem_of(heard: Heard, status: int) -> Any:
    assert heard.headers["Content-Type"] == "application/problem+json"
    assert (heard.status, heard.body["status"]) == (status, status)
    return heard.body


def test_an_accepted_earn_is_answered_and_its_receipt_verifies_offline(mall: Mall) -> None:
    asked = sale()

    heard = mall.post("/v1/earn", asked, Prefer="wait=30")
    found = mall.get(f"/v1/requests/{asked['request_id']}")
    receipt = mall.get(f"/v1/requests/{asked['request_id']}/receipt")

    assert (heard.status, heard.body["request_id"], heard.body["points"]) == (200, asked["request_id"], 5)
    assert heard.headers["Preference-Applied"] == "wait=30"
    assert (found.body["state"], found.body["command"]) == ("accepted", "earn")
    assert found.body["answer"] == heard.body
    verify_receipt(Receipt.from_json(receipt.raw), HUB_KEYS)


def test_without_a_request_id_or_a_time_to_wait_one_is_made_and_told(mall: Mall) -> None:
    heard = mall.post("/v1/earn", SALE)

    assert heard.headers["Preference-Applied"] == "wait=3"
    eventually(lambda: mall.get(f"/v1/requests/{heard.body['request_id']}").body["state"] == "accepted")


def test_a_command_that_the_rules_refuse_is_a_recorded_problem(mall: Mall) -> None:
    asked = sale(points=101)

    body = problem_of(mall.post("/v1/burn", asked, Prefer="wait=30"), 409)
    found = mall.get(f"/v1/requests/{asked['request_id']}").body

    assert body["recorded"] is True
    assert (body["reason"], body["request_id"]) == ("INSUFFICIENT_POINTS", asked["request_id"])
    assert (found["state"], found["why_not"]["reason"]) == ("refused", "INSUFFICIENT_POINTS")


def test_a_lost_answer_is_resolving_and_then_the_one_posting(mall: Mall) -> None:
    asked = sale()
    mall.ledger.is_silent = True

    try:
        heard = mall.post("/v1/earn", asked, Prefer="wait=1")
        meanwhile = mall.get(heard.headers["Location"]).body
        unproven = mall.get(heard.headers["Location"] + "/receipt")
    finally:
        mall.ledger.is_silent = False
    eventually(lambda: mall.get(heard.headers["Location"]).body["state"] == "accepted")
    again = mall.post("/v1/earn", asked)

    assert (heard.status, heard.body["state"]) == (202, "resolving")
    assert heard.headers["Preference-Applied"] == "wait=1"
    assert (meanwhile["state"], meanwhile["answer"]) == ("resolving", None)
    assert problem_of(unproven, 404)["reason"] == "RECEIPT_UNKNOWN"
    assert again.status == 200
    assert mall.ledger.decided[asked["request_id"]].earn.entry_id == again.body["entry_id"]


def test_the_place_to_look_at_is_a_path_whatever_the_request_id_is(mall: Mall) -> None:
    heard = mall.post("/v1/earn", sale(request_id="a?b%41#c"), Prefer="respond-async")
    found = mall.get(heard.headers["Location"])

    assert (heard.status, found.status, found.body["request_id"]) == (202, 200, "a?b%41#c")


def test_respond_async_stores_and_does_not_wait(mall: Mall) -> None:
    asked = sale()

    heard = mall.post("/v1/earn", asked, Prefer="respond-async")
    eventually(lambda: mall.get(heard.headers["Location"]).body["state"] == "accepted")
    again = mall.post("/v1/earn", asked, Prefer="respond-async")

    assert (heard.status, heard.headers["Preference-Applied"]) == (202, "respond-async")
    assert (again.status, again.body["request_id"]) == (200, asked["request_id"])


def test_the_same_id_with_other_content_is_a_conflict_that_decides_nothing(mall: Mall) -> None:
    asked = sale()
    mall.post("/v1/earn", asked)

    body = problem_of(mall.post("/v1/earn", asked | {"points": 6}), 409)

    assert (body["reason"], body["recorded"]) == ("REQUEST_ID_TAKEN", False)
    assert body["request_id"] == asked["request_id"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"pointz": 5}, "pointz"),
        ({"points": "5"}, "points"),
        ({"points": True}, "points"),
        ({"points": 5.0}, "points"),
        ({"points": 0}, "points"),
        ({"points": 10**10}, "points"),
        ({"member_id": ""}, "member_id"),
        ({"store_id": None}, "store_id"),
        ({"event_time": "2026-01-01T20:00:00"}, "event_time"),
        ({"event_time": 1_767_268_800}, "event_time"),
        ({"event_time": "0001-01-01T00:00:00+23:59"}, "event_time"),
        ({"expiry_date": "2026-1-1"}, "expiry_date"),
        ({"quote": "=!"}, "quote"),
        ({"request_id": "a/b"}, "request_id"),
        ({"reason": "x" * 201}, "reason"),
        ({"native_points": 5}, "basis"),
    ],
)
def test_what_makes_no_sense_is_refused_by_field_and_not_stored(
    mall: Mall, changes: dict[str, Any], field: str
) -> None:
    asked = sale(**changes)

    body = problem_of(mall.post("/v1/earn", asked), 422)

    assert (body["reason"], body["recorded"]) == ("INVALID_FIELD", False)
    assert field in [one["field"] for one in body["fields"]]
    assert mall.get(f"/v1/requests/{asked['request_id'].replace('/', '%2F')}").status == 404


@pytest.mark.parametrize("path", ["/v1/outbox/dead?mos=1", "/v1/outbox?mos=1", "/v1/outbox/dead?most=1&mos="])
def test_a_misspelt_parameter_is_refused_by_name(mall: Mall, path: str) -> None:
    body = problem_of(mall.get(path), 422)

    assert [one["field"] for one in body["fields"]] == ["mos"]


@pytest.mark.parametrize(
    "raw",
    [b"{", b"[]", b"\xff", b"[" * 60_000, b'{"points": NaN}'],
    ids=["cut", "list", "bytes", "deep", "nan"],
)
def test_what_is_no_json_object_is_refused(mall: Mall, raw: bytes) -> None:
    heard = mall.caller.ask("POST", "/v1/earn", raw)

    problem_of(heard, 422)


@pytest.mark.parametrize(
    "shown", ["", "Bearer", "Bearer x", "Bearer token-of-the-tests-and-nobody-els\xe9", "Basic eDp5"]
)
def test_nobody_calls_without_the_token(mall: Mall, shown: str) -> None:
    heard = mall.get("/v1/outbox", Authorization=shown)

    assert problem_of(heard, 401)["reason"] == "TOKEN_REQUIRED"
    assert heard.headers["WWW-Authenticate"] == "Bearer"


def test_health_and_the_page_need_no_token_and_figures_do(mall: Mall) -> None:
    stranger = replace(mall.caller, token="")

    found = {
        path: stranger.get(path).status for path in ("/healthz", "/readyz", "/", "/openapi.json", "/metrics")
    }

    assert found == {"/healthz": 200, "/readyz": 200, "/": 200, "/openapi.json": 200, "/metrics": 401}


def test_bodies_that_are_too_long_or_of_another_kind_are_not_taken(mall: Mall) -> None:
    long = mall.post("/v1/earn", sale(reason="x" * 65_536))
    formed = mall.caller.ask(
        "POST", "/v1/earn", b"points=5", Content_Type="application/x-www-form-urlencoded"
    )
    zipped = mall.caller.ask("POST", "/v1/earn", b"{}", Content_Encoding="gzip")

    assert problem_of(long, 413)["reason"] == "BODY_TOO_LONG"
    assert problem_of(formed, 415)["reason"] == problem_of(zipped, 415)["reason"] == "MEDIA_TYPE_UNSUPPORTED"


def test_other_routes_and_methods_are_problems_too(mall: Mall) -> None:
    assert problem_of(mall.get("/v1/ern"), 404)["reason"] == "ROUTE_UNKNOWN"
    heard = mall.get("/v1/earn")
    assert problem_of(heard, 405)["reason"] == "METHOD_NOT_ALLOWED"
    assert heard.headers["Allow"] == "POST"
    assert problem_of(mall.get("/v1/requests/nobody"), 404)["reason"] == "REQUEST_UNKNOWN"


def test_a_batch_is_stored_as_a_whole(mall: Mall) -> None:
    good = [sale(command="earn"), sale(command="burn", points=1)]

    heard = mall.post("/v1/batches", {"commands": good})
    ids = [one["request_id"] for one in heard.body["commands"]]
    eventually(lambda: all(mall.get(f"/v1/requests/{one}").body["state"] == "accepted" for one in ids))

    assert (heard.status, ids) == (202, [one["request_id"] for one in good])


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"command": "earn", "points": "5"}, "commands[1].points"),
        ({"command": "earn", "native_points": 5}, "commands[1].basis"),
        ({"command": "urn"}, "commands[1]"),
    ],
)
def test_a_batch_with_one_bad_command_is_not_stored_at_all(
    mall: Mall, bad: dict[str, Any], field: str
) -> None:
    good = sale(command="earn")

    body = problem_of(mall.post("/v1/batches", {"commands": [good, sale(**bad)]}), 422)

    assert [one["field"] for one in body["fields"]] == [field]
    assert mall.get(f"/v1/requests/{good['request_id']}").status == 404


def test_members_go_straight_through_to_the_hub(mall: Mall) -> None:
    consent = {"per_burn_limit_points": 1, "per_day_limit_points": 2}
    enrolled = mall.post("/v1/enroll", {"customer_id": "c-1", "consent": consent}, Prefer="wait=30")
    code = mall.post("/v1/issue_pay_code", {"member_id": "m-1", "max_points": 5}, Prefer="wait=30")
    quote = mall.post("/v1/quote", {"member_id": "m-1", "burn_points": 5}, Prefer="wait=30")
    unknown = mall.get("/v1/members/m-2/wallet")

    assert (enrolled.status, enrolled.body["member_id"]) == (200, "m-1")
    assert code.body["code"] == "12345678901234567890"
    assert base64.urlsafe_b64decode(quote.body["quote"] + "==") == b"\xfb\xff"
    assert problem_of(unknown, 404)["reason"] == "MEMBER_UNKNOWN"
    assert mall.post("/v1/burn", sale(quote=quote.body["quote"]), Prefer="wait=30").status == 200


def test_an_unknown_outcome_of_an_enrolment_is_said_with_the_id_to_repeat(mall: Mall) -> None:
    mall.ledger.is_silent = True

    try:
        heard = mall.post("/v1/enroll", {"customer_id": "c-1", "request_id": "enrol-1"})
    finally:
        mall.ledger.is_silent = False

    body = problem_of(heard, 504)
    assert (body["reason"], body["request_id"], body["recorded"]) == ("OUTCOME_UNKNOWN", "enrol-1", False)


def test_figures_are_there_for_prometheus_without_anybodys_ids(mall: Mall) -> None:
    asked = sale(command="earn")
    mall.post("/v1/batches", {"commands": [asked]})
    eventually(lambda: mall.get(f"/v1/requests/{asked['request_id']}").body["state"] == "accepted")

    # Another test's silent hub may be what it was when it was asked last.
    eventually(lambda: mall.get("/readyz").body["hub"] == "reachable")

    text = mall.get("/metrics").raw.decode()

    assert re.search(r'^tongdui_outbox_settled_total\{outcome="accepted"\} [1-9]', text, re.MULTILINE)
    assert re.search(r"^tongdui_hub_reachable 1\.0$", text, re.MULTILINE)
    assert 'route="/v1/requests/{request_id}"' in text
    assert asked["request_id"] not in text
    assert SALE["member_id"] not in text


def test_the_page_shows_every_route_and_loads_nothing(mall: Mall) -> None:
    heard = mall.get("/")
    page, document = heard.raw.decode(), mall.get("/openapi.json").body

    assert "default-src 'none'" in heard.headers["Content-Security-Policy"]
    assert all(f" {path}</code>" in page for path in document["paths"])
    assert not re.search(r"<script|<link|src=|https?://(?!127\.0\.0\.1)", page)


def test_each_example_on_the_page_has_the_form_that_its_route_takes(mall: Mall) -> None:
    page = html.unescape(mall.get("/").raw.decode())
    examples = re.findall(r"<pre>curl -X POST http://[^/]+(/v1/[a-z_]+) .*?-d '(.*?)'</pre>", page, re.DOTALL)

    answers = {path: mall.post(path, json.loads(body)) for path, body in examples}

    assert len(answers) > 20
    assert [path for path, heard in answers.items() if heard.status == 422] == []


def test_an_amount_with_a_fraction_is_told_what_minor_units_are(mall: Mall) -> None:
    heard = mall.post("/v1/earn", {**SALE, "eligible_spend_minor": 128.5})

    said = "must be a whole number, in digits alone, without quotes: minor units, so that 128.00 is 12800"
    assert heard.body["fields"] == [{"field": "eligible_spend_minor", "description": said}]


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_first_half() -> None:
    with open_tcp("127.0.0.1:0", allow_remote=False) as listening:
        # What asyncio goes by when it turns Nagle's algorithm off, which costs 40 ms a request.
        assert listening.proto == socket.IPPROTO_TCP


def test_a_unix_socket_is_for_its_user_and_asks_for_no_token(tmp_path: Path) -> None:
    path = tmp_path / "s"
    open_unix(path).close()  # a killed sidecar leaves its socket behind

    with sidecar("127.0.0.1:1", tmp_path / "o.db", listening=open_unix(path), token="") as caller:
        heard = caller.get("/v1/outbox")

        assert (path.stat().st_mode & 0o777, caller.address, caller.token) == (0o600, str(path), "")
        assert (heard.status, heard.body["waiting"]) == (200, 0)
        assert "security" not in caller.get("/openapi.json").body["paths"]["/v1/earn"]["post"]
        with pytest.raises(Unreadable, match="another process listens there"):
            open_unix(path)


def test_sales_are_taken_while_the_hub_is_away(tmp_path: Path) -> None:
    with sidecar("127.0.0.1:1", tmp_path / "o.db") as caller:
        heard = caller.post("/v1/earn", SALE, Prefer="wait=1")
        eventually(lambda: caller.get("/readyz").body["hub"] == "unreachable")
        eventually(lambda: caller.get("/v1/outbox").body["troubles"])
        ready = caller.get("/readyz")
        status = caller.get("/v1/outbox").body
        quoted = caller.post("/v1/quote", {"member_id": "m-1", "burn_points": 5}, Prefer="wait=1")

    assert (heard.status, heard.body["state"]) == (202, "resolving")
    assert (ready.status, ready.body["ready"]) == (200, True)
    assert (status["waiting"], status["troubles"][0]["reason"]) == (1, "NO_ANSWER")
    assert problem_of(quoted, 504)["reason"] == "OUTCOME_UNKNOWN"


def test_a_damaged_outbox_refuses_without_naming_its_files() -> None:
    heard = of_outbox(OutboxDamaged("/var/lib/outbox.db: damaged"), "r-1")

    assert (heard.status_code, heard.headers["Retry-After"]) == (503, "5")
    body = json.loads(bytes(heard.body))
    assert (body["reason"], body["request_id"]) == ("OUTBOX_DAMAGED", "r-1")
    assert "/var" not in body["detail"]


def test_a_full_outbox_refuses_aloud_and_is_not_ready(tmp_path: Path) -> None:
    with sidecar("127.0.0.1:1", tmp_path / "o.db", Limits(most_commands=1)) as caller:
        first = caller.post("/v1/earn", sale(), Prefer="respond-async")
        second = caller.post("/v1/earn", sale(request_id="second"))
        ready = caller.get("/readyz")

    assert first.status == 202
    body = problem_of(second, 507)
    assert (body["reason"], body["request_id"]) == ("OUTBOX_FULL", "second")
    assert second.headers["Retry-After"]
    assert (ready.status, ready.body["outbox"]) == (503, "full")
    assert str(tmp_path) not in json.dumps(body)


def serve_alone(file: Path) -> None:
    """Serves an outbox until that ends by itself."""

    async def run(outbox: Outbox) -> None:
        async with Hub.connect("127.0.0.1:1", AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS) as hub:
            context = Context(hub, outbox, Till(hub, outbox))
            await run_sidecar(context, listening, take_over_seconds=0)

    with open_tcp("127.0.0.1:0", allow_remote=False) as listening, Outbox.open(file) as outbox:
        asyncio.run(run(outbox))


def test_a_second_sidecar_on_one_outbox_ends_and_says_why(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as first:
        first.writer.do(lambda: first.store.begin_draining("cafe", AUDIENCE)).result()

        with pytest.raises(OutboxInUse, match="another process drains this outbox"):
            serve_alone(tmp_path / "o.db")


def test_a_sidecar_whose_stored_sales_are_not_those_it_took_ends_and_says_how_to_recover(
    tmp_path: Path,
) -> None:
    file = tmp_path / "o.db"
    with sidecar("127.0.0.1:1", file) as caller:
        caller.post("/v1/earn", SALE, Prefer="respond-async")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE queue SET message = CAST(message || x'00' AS BLOB)")

    with pytest.raises(OutboxDamaged, match="tongdui-adapter outbox recover"):
        serve_alone(file)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        (["--listen=0.0.0.0:0", "--token-file=t"], "--allow-remote"),
        (["--listen=127.0.0.1:0"], "--token-file is missing"),
        (["--listen=localhost:0", "--token-file=t"], "in figures"),
        (["--listen=127.0.0.1", "--token-file=t"], "host:port"),
        (["--listen=127.0.0.1:0", "--token-file=open"], "chmod 600"),
        (["--socket=open"], "is no socket"),
    ],
)
def test_an_address_or_token_that_is_not_safe_is_not_served(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("open").write_text("x" * 40)
    Path("open").chmod(0o644)
    hub = ["--key=k", "--hub=127.0.0.1:1", "--audience=a", "--hub-keys=h", "--outbox=o.db", "--json"]

    code = main(["serve", *where, *hub])

    assert code == 2
    assert says in capsys.readouterr().out
