"""The service over a real connection: who sees what, what a bad request is told, and that nothing leaks."""

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from google.type.date_pb2 import Date
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from settlement.core.certificate import content_sha256, split_document
from settlement.rpc.keys import PrivateKey
from settlement.rpc.service import SERVICE_NAME
from settlement.store.engine import migrate, open_engine
from tests.conftest import Databases
from tests.postgres.settlement_served import (
    AUDITOR,
    EXPIRED,
    PARTNER_A,
    PARTNER_B,
    REGISTERED,
    REVOKED,
    ROLELESS,
    STRANGER,
    Service,
    refusal,
    register_keys,
    serving,
    settle,
    to_date,
)
from tests.settlement_hub import DAY_1, DAY_2, DAY_3, PostedLedger, prepare
from tests.waiting import WAIT_SECONDS
from tongdui.settlement.v1 import settlement_service_pb2 as wire


@pytest.fixture(scope="module")
def service(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with databases.fresh() as url:
        prepare(url)
        ledger = PostedLedger.open(url)
        ledger.first_day_of_the_example()
        ledger.earn(DAY_2, "a", 100)
        register_keys(ledger)
        engine = open_engine(url)
        settle(engine, ledger)
        ledger.connection.close()
        address = f"unix:{tmp_path_factory.mktemp('settlement') / 's.sock'}"
        with serving(engine, address), grpc.insecure_channel(address) as channel:
            yield Service(address, channel)
        engine.dispose()


def statement_of(partner_id: str, day: date = DAY_1) -> wire.GetStatementRequest:
    return wire.GetStatementRequest(window_date=to_date(day), partner_id=partner_id)


def test_a_partner_sees_its_own_statement(service: Service) -> None:
    answer = wire.GetStatementResponse.FromString(service.call(PARTNER_B, "GetStatement", statement_of("")))

    assert (answer.partner_id, answer.opening_minor, answer.net_minor, answer.closing_minor) == (
        "b",
        0,
        3_815,
        3_815,
    )
    assert [(line.component, line.exact_micros, line.amount_minor) for line in answer.lines] == [
        ("BURN_REIMBURSE", 38_313_500, 3_831),
        ("ISSUE_FEE", -3_200, 0),
        ("ISSUE_FUNDING", -160_000, -16),
    ]


def test_a_statement_is_whole_enough_to_hash_and_names_its_certificate(service: Service) -> None:
    answer = wire.GetStatementResponse.FromString(service.call(PARTNER_B, "GetStatement", statement_of("")))
    request = wire.GetCertificateRequest(window_date=to_date(DAY_1))
    document = wire.GetCertificateResponse.FromString(
        service.call(AUDITOR, "GetCertificate", request)
    ).certificate

    of_b = {
        "window_date": DAY_1.isoformat(),
        "party_id": answer.partner_id,
        "opening_minor": answer.opening_minor,
        "lines": [
            {field.name: getattr(line, field.name) for field in line.DESCRIPTOR.fields}
            for line in answer.lines
        ],
        "exact_micros": answer.exact_micros,
        "net_minor": answer.net_minor,
        "closing_minor": answer.closing_minor,
    }
    certified = {one["party_id"]: one for one in json.loads(split_document(document)[0])["statements"]}
    assert answer.certificate_sha256 == hashlib.sha256(document).digest()
    assert content_sha256(of_b) == certified["b"]["statement_sha256"]


def test_a_partner_may_name_itself(service: Service) -> None:
    by_name = service.call(PARTNER_B, "GetStatement", statement_of("b"))

    assert by_name == service.call(PARTNER_B, "GetStatement", statement_of(""))


@pytest.mark.parametrize("other", ["a", "c", "nobody", "POOL", "B", " a"])
def test_a_partner_is_told_nothing_of_others_not_even_whether_they_exist(
    service: Service, other: str
) -> None:
    code, info, _ = refusal(lambda: service.call(PARTNER_B, "GetStatement", statement_of(other)))

    assert (code, info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED")


@pytest.mark.parametrize(("partner", "net"), [("a", -15_810), ("b", 3_815), ("c", 0)])
def test_an_auditor_sees_every_statement(service: Service, partner: str, net: int) -> None:
    answer = service.call(AUDITOR, "GetStatement", statement_of(partner))

    assert wire.GetStatementResponse.FromString(answer).net_minor == net


def test_a_statement_that_is_not_there_is_unknown(service: Service) -> None:
    for request in (statement_of("nobody"), statement_of("a", DAY_3), statement_of("a", date(2020, 1, 1))):
        code, info, _ = refusal(partial(service.call, AUDITOR, "GetStatement", request))

        assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "SETTLEMENT_UNKNOWN")


def test_an_auditor_reads_a_certificate_byte_for_byte(service: Service) -> None:
    request = wire.GetCertificateRequest(window_date=to_date(DAY_1))

    answer = wire.GetCertificateResponse.FromString(service.call(AUDITOR, "GetCertificate", request))

    assert split_document(answer.certificate)[1]["key_id"] == AUDITOR.key_id


@pytest.mark.parametrize("day", [DAY_1, DAY_3, date(2020, 1, 1)])
def test_a_certificate_states_every_partys_figures_so_no_partner_reads_it(
    service: Service, day: date
) -> None:
    request = wire.GetCertificateRequest(window_date=to_date(day))

    code, info, _ = refusal(lambda: service.call(PARTNER_A, "GetCertificate", request))

    assert (code, info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED")


def test_a_certificate_that_is_not_there_is_unknown(service: Service) -> None:
    request = wire.GetCertificateRequest(window_date=to_date(DAY_3))

    code, info, _ = refusal(lambda: service.call(AUDITOR, "GetCertificate", request))

    assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "SETTLEMENT_UNKNOWN")


def listed(service: Service, key: PrivateKey) -> list[tuple[int, int, int]]:
    shown: list[tuple[int, int, int]] = []
    token = ""
    while True:
        request = wire.ListSettlementsRequest(page_size=2, page_token=token)
        page = wire.ListSettlementsResponse.FromString(service.call(key, "ListSettlements", request))
        shown += [(row.window_date.day, row.state, row.payable_minor) for row in page.settlements]
        token = page.next_page_token
        if not token:
            return shown


def test_settlements_are_listed_newest_first_page_by_page(service: Service) -> None:
    assert listed(service, AUDITOR) == [
        (3, wire.Settlement.STATE_CLOSED, 0),
        (2, wire.Settlement.STATE_CERTIFIED, 102),
        (1, wire.Settlement.STATE_CERTIFIED, 15_810),
    ]


def test_a_partner_sees_the_days_but_not_what_all_partners_pay(service: Service) -> None:
    assert listed(service, PARTNER_A) == [
        (3, wire.Settlement.STATE_CLOSED, 0),
        (2, wire.Settlement.STATE_CERTIFIED, 0),
        (1, wire.Settlement.STATE_CERTIFIED, 0),
    ]


@pytest.mark.parametrize("key", [REVOKED, REGISTERED, EXPIRED, ROLELESS, STRANGER], ids=range(5))
def test_a_key_that_may_not_sign_is_refused_without_saying_why(service: Service, key: PrivateKey) -> None:
    code, info, status = refusal(lambda: service.call(key, "GetStatement", statement_of("")))

    assert (code, info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "SIGNATURE_INVALID")
    assert status.message == "the request's signature, key or audience is not acceptable"


@pytest.mark.parametrize(
    "changes",
    [{"audience": "hub.example/other"}, {"signed_body": b"other"}, {"signed_method": "GetCertificate"}],
    ids=["audience", "body", "method"],
)
def test_a_signature_over_something_else_is_refused(service: Service, changes: dict[str, Any]) -> None:
    _, info, _ = refusal(lambda: service.call(PARTNER_B, "GetStatement", statement_of(""), **changes))

    assert info.reason == "SIGNATURE_INVALID"


def test_a_call_without_a_signature_is_refused_before_it_is_parsed(service: Service) -> None:
    _, info, _ = refusal(lambda: service.send("GetStatement", b"\xff\xff", ()))

    assert info.reason == "SIGNATURE_INVALID"


@pytest.mark.parametrize("created_ago", [-3_600, 3_600])
def test_a_stale_signature_is_told_the_time(service: Service, created_ago: int) -> None:
    created = int(time.time()) - created_ago

    _, info, _ = refusal(lambda: service.call(PARTNER_B, "GetStatement", statement_of(""), created=created))

    assert info.reason == "SIGNATURE_STALE"
    assert abs(int(info.metadata["hub_time"]) - time.time()) < 60


def field_named(status: Status) -> str:
    for detail in status.details:
        bad = BadRequest()
        if detail.Unpack(bad):
            (violation,) = bad.field_violations
            return violation.field
    raise AssertionError("no BadRequest")


@pytest.mark.parametrize(
    ("method", "body", "field"),
    [
        ("GetStatement", b"\xff\xff", "request"),
        ("GetStatement", statement_of("a").SerializeToString() + b"\x98\x06\x01", "request"),
        ("GetStatement", wire.GetStatementRequest(partner_id="a").SerializeToString(), "window_date"),
        (
            "GetStatement",
            wire.GetStatementRequest(window_date=Date(year=2026, month=2, day=30)).SerializeToString(),
            "window_date",
        ),
        ("GetStatement", statement_of("").SerializeToString(), "partner_id"),
        ("GetStatement", statement_of("x" * 10_000).SerializeToString(), "partner_id"),
        ("GetCertificate", b"", "window_date"),
        ("ListSettlements", wire.ListSettlementsRequest(page_size=-1).SerializeToString(), "page_size"),
        ("ListSettlements", wire.ListSettlementsRequest(page_size=1_001).SerializeToString(), "page_size"),
        (
            "ListSettlements",
            wire.ListSettlementsRequest(page_token="';--").SerializeToString(),
            "page_token",
        ),
    ],
    ids=range(10),
)
def test_a_request_that_makes_no_sense_is_told_the_field(
    service: Service, method: str, body: bytes, field: str
) -> None:
    code, info, status = refusal(lambda: service.send(method, body, service.signed(AUDITOR, method, body)))

    assert (code, info.reason, info.metadata["field"]) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        field,
    )
    assert field_named(status) == field


def test_health_and_reflection_answer_without_a_signature(service: Service) -> None:
    health: Any = health_pb2_grpc.HealthStub(service.channel)
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(service.channel)

    state = health.Check(health_pb2.HealthCheckRequest(service=SERVICE_NAME)).status
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    (listed,) = list(reflection.ServerReflectionInfo(iter([asked])))

    assert state == health_pb2.HealthCheckResponse.SERVING
    assert SERVICE_NAME in [one.name for one in listed.list_services_response.service]


def test_streams_that_nobody_signed_hold_up_no_call(service: Service) -> None:
    with grpc.insecure_channel(service.address) as strangers:
        health: Any = health_pb2_grpc.HealthStub(strangers)
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(strangers)
        over = threading.Event()

        def questions() -> Iterator[reflection_pb2.ServerReflectionRequest]:
            yield reflection_pb2.ServerReflectionRequest(list_services="")
            over.wait(WAIT_SECONDS)  # and the stream stays open

        streams = [reflection.ServerReflectionInfo(questions(), timeout=WAIT_SECONDS) for _ in range(40)]
        streams += [health.Watch(health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS) for _ in range(40)]
        for stream in streams:
            next(stream)

        answer = service.call(PARTNER_B, "GetStatement", statement_of(""))

        over.set()
        for stream in streams:
            stream.cancel()
    assert wire.GetStatementResponse.FromString(answer).net_minor == 3_815


def called_at(address: str, channel: grpc.Channel) -> Callable[[], object]:
    return partial(Service(address, channel).call, PARTNER_B, "GetStatement", statement_of(""))


def test_a_defect_is_an_incident_id_and_nothing_else(databases: Databases, tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 's.sock'}"
    with databases.fresh() as url:
        migrate(url)
        engine = open_engine(url)  # no hub has made its views here

        with serving(engine, address), grpc.insecure_channel(address) as channel:
            code, info, status = refusal(called_at(address, channel))
        engine.dispose()

    assert (code, info.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert len(info.metadata["incident_id"]) == 32
    assert status.message == "an internal error; tell the operator the incident id"
    assert b"exchange" not in status.SerializeToString()


def test_a_database_that_goes_away_makes_the_service_unavailable(
    databases: Databases, tmp_path: Path
) -> None:
    address = f"unix:{tmp_path / 's.sock'}"
    with contextlib.ExitStack() as database:
        url = database.enter_context(databases.fresh())
        migrate(url)
        engine = open_engine(url)
        with serving(engine, address), grpc.insecure_channel(address) as channel:
            database.close()
            code, info, status = refusal(called_at(address, channel))
            state = health_state_once_it_changes(channel)
        engine.dispose()

    assert (code, info.reason) == (grpc.StatusCode.UNAVAILABLE, "HUB_UNAVAILABLE")
    assert [detail.TypeName() for detail in status.details] == [
        "google.rpc.ErrorInfo",
        "google.rpc.RetryInfo",
    ]
    assert state == health_pb2.HealthCheckResponse.NOT_SERVING


def health_state_once_it_changes(channel: grpc.Channel) -> int:
    """The first state after SERVING, as the health service streams it; the deadline fails the test."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    watched = stub.Watch(health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS)
    for answer in watched:
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            watched.cancel()
            return int(answer.status)
    raise AssertionError("the health service ended its stream")
