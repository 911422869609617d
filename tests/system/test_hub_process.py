"""`tongdui-hub` as an operator meets it: starting, refusing to start, telling how it is, stopping."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import grpc
import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2
from psycopg.rows import TupleRow

from examples.coalition import Site
from exchange.store.embedded import start
from merchant_adapter import Hub, Key, OutcomeUnknown, Tls
from tests.live_hub import BURN, EARN, POINTS, Coalition, health, is_serving, kept_port
from tests.waiting import WAIT_SECONDS, eventually, lock_waits
from tongdui.exchange.v1 import points_service_pb2
from tongdui.signing import public_key_text

SERVICES: Final = {
    f"tongdui.exchange.v1.{name}Service"
    for name in ("Points", "Members", "Partners", "RateCards", "Journal", "Accounts")
}
SECRET: Final = "tell-nobody"


# --- how it is


def test_health_is_serving_for_the_hub_and_for_each_of_its_services(coalition: Coalition) -> None:
    names = ("", *SERVICES)

    # A database that once does not answer the hub in time is said to be away, until it is asked again.
    eventually(lambda: {health(coalition.hub.address, name) for name in names} == {"SERVING"})


def test_reflection_lists_the_services_and_gives_their_contract(coalition: Coalition) -> None:
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="tongdui.exchange.v1.PointsService"),
    ]

    with grpc.insecure_channel(coalition.hub.address) as channel:
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        )
        listed, found = (
            reflection_pb2.ServerReflectionResponse.FromString(answer)
            for answer in method(
                iter([request.SerializeToString() for request in asked]), timeout=WAIT_SECONDS
            )
        )

    names = {service.name for service in listed.list_services_response.service}
    assert names == SERVICES | {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    files = [
        FileDescriptorProto.FromString(octets)
        for octets in found.file_descriptor_response.file_descriptor_proto
    ]
    assert points_service_pb2.DESCRIPTOR.name in {file.name for file in files}


def test_log_lines_are_json_and_show_nothing_of_what_was_sent(coalition: Coalition) -> None:
    member_id = coalition.member("cafe")
    told = {"reference": f"{SECRET}-1", "reason": f"{SECRET}-2", "store_id": f"{SECRET}-3"}
    cafe, wire = coalition.keys["cafe"], coalition.wire

    wire.call(cafe, EARN, coalition.earn(member_id, **told))
    wire.call(cafe, EARN, coalition.earn(f"m-{SECRET}"))
    wire.call(cafe, EARN, coalition.earn(member_id, **told, terminal_id="\0"))
    wire.call(cafe, EARN, f"{SECRET} is no message".encode())
    wire.call(Key.generate(SECRET), EARN, b"")
    with psycopg.connect(coalition.database_url) as holding, ThreadPoolExecutor(1) as threads:
        holding.execute("SELECT FROM exchange.wallets FOR UPDATE")
        waiting = threads.submit(wire.call, cafe, EARN, coalition.earn(member_id, **told))

        def is_cut_off() -> bool:
            # Again where it had just given the lock up, to try it anew: then it did not notice.
            if lock_waits(holding):
                end_other_connections(holding)
            return waiting.done()

        eventually(is_cut_off)
        unavailable = waiting.result()
    eventually(lambda: wire.call(cafe, EARN, coalition.earn(member_id)).code is grpc.StatusCode.OK)

    assert unavailable.reason == "HUB_UNAVAILABLE"  # so at least one line was written
    lines = coalition.hub.log.read_text().splitlines()
    assert lines
    for line in map(json.loads, lines):
        assert line.keys() >= {"time", "level", "logger", "message"}
        assert datetime.fromisoformat(line["time"]).tzinfo is not None
    log = "\n".join(lines)
    for word in (SECRET, member_id, cafe.key_id):
        assert word not in log


def test_a_database_connection_that_is_lost_between_two_calls_costs_no_answer(coalition: Coalition) -> None:
    member_id = coalition.member("cafe", points=1)
    wallet = points_service_pb2.GetWalletRequest(member_id=member_id)
    with psycopg.connect(coalition.database_url) as connection:
        end_other_connections(connection)

    answers = [
        coalition.wire.call(coalition.keys["cafe"], EARN, coalition.earn(member_id)),
        coalition.wire.call(coalition.keys["cafe"], POINTS + "GetWallet", wallet),
    ]

    assert [answer.code for answer in answers] == [grpc.StatusCode.OK] * 2


def end_other_connections(connection: psycopg.Connection[TupleRow]) -> None:
    """Ends every other connection to the database, and waits until it has."""
    connection.execute(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = current_user"
        " AND datname = current_database() AND pid <> pg_backend_pid()"
    )


# --- stopping


@pytest.fixture
def spare_hub(coalition: Coalition) -> Iterator[Coalition]:
    """A second hub of the coalition for one test to stop, with metrics."""
    with kept_port() as port:
        metrics = {"TONGDUI_METRICS_LISTEN": f"127.0.0.1:{port}"}
        site = replace(coalition.site, environment={**coalition.site.environment, **metrics})
        hub = site.serve(name="spare")
        spare = replace(coalition, site=site, hub=hub, _wire=None)
        yield spare
        spare.close()
        hub.stop()


def test_a_hub_that_is_told_to_stop_finishes_the_running_calls_first(spare_hub: Coalition) -> None:
    member_id = spare_hub.member("cafe", points=10)
    request = spare_hub.burn(member_id)

    with psycopg.connect(spare_hub.database_url) as holding, ThreadPoolExecutor(1) as threads:
        holding.execute("SELECT FROM exchange.wallets FOR UPDATE")  # so the call can't end before we want
        call = threads.submit(spare_hub.wire.call, spare_hub.keys["cafe"], BURN, request)
        eventually(lambda: lock_waits(holding))
        spare_hub.hub.process.send_signal(signal.SIGTERM)
        eventually(lambda: '"message": "stopping"' in spare_hub.hub.log.read_text())
        assert not call.done()
        holding.rollback()
        answer = call.result(WAIT_SECONDS)

    assert answer.code is grpc.StatusCode.OK
    answer.receipt(spare_hub.hub_keys)
    assert spare_hub.hub.wait() == 0
    posted = "SELECT kind FROM exchange.posted_entries_v1 WHERE request_id = %s"
    assert spare_hub.rows(posted, request.request_id) == [("burn",)]


def test_metrics_count_calls_by_outcome_and_commands_and_name_nobody(spare_hub: Coalition) -> None:
    member_id = spare_hub.member("cafe", points=10)
    for _ in range(3):
        spare_hub.wire.call(spare_hub.keys["cafe"], BURN, spare_hub.burn(member_id, points=4))

    address = spare_hub.site.environment["TONGDUI_METRICS_LISTEN"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=WAIT_SECONDS) as page:
        text = page.read().decode()

    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert figures[f'tongdui_calls_total{{method="{BURN}",outcome="OK"}}'] == "2.0"
    assert figures[f'tongdui_calls_total{{method="{BURN}",outcome="INSUFFICIENT_POINTS"}}'] == "1.0"
    assert float(figures["tongdui_commands_total"]) == 4
    assert float(figures["tongdui_entries_total"]) == 3
    assert "tongdui_batch_seconds_bucket" in text
    assert member_id not in text


# --- refusing to start

MANY_RUNS: Final = """
import json, os, sys
from exchange.__main__ import main
for arguments, environment in json.load(sys.stdin):
    os.environ.update(environment)
    code = main(arguments)
    print(f"\\x1e{code}", file=sys.stderr, flush=True)
"""


class Run(NamedTuple):
    """`tongdui-hub` with these arguments and settings."""

    arguments: Sequence[str]
    settings: dict[str, str]


class Refused(NamedTuple):
    """How it ended: its exit code and what it said."""

    code: int
    said: str


def refusals(runs: Sequence[Run], data_dir: Path) -> list[Refused]:
    """How each of these ends, one after the other in one process: an interpreter takes longer to start than they."""
    usual = {
        "TONGDUI_DATA_DIR": str(data_dir),
        "TONGDUI_LISTEN": "127.0.0.1:0",
        "DATABASE_URL": "",
        "TONGDUI_TLS_CERTIFICATE": "",
        "TONGDUI_CONNECTIONS": "1",
        "TONGDUI_LOG_LEVEL": "INFO",
    }
    asked = [(list(run.arguments), usual | run.settings) for run in runs]
    done = subprocess.run(
        [sys.executable, "-c", MANY_RUNS],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * WAIT_SECONDS,
    )
    assert "Traceback" not in done.stderr
    found = re.findall(r"(.*?)\x1e(\d+)\n", done.stderr, re.DOTALL)
    assert len(found) == len(runs), done.stderr
    return [Refused(int(code), said) for said, code in found]


BAD_SETTINGS: Final = [
    ("TONGDUI_LISTEN", "0.0.0.0:7400", "TONGDUI_TLS_CERTIFICATE"),
    ("TONGDUI_LISTEN", "127.example.com:7400", "TONGDUI_TLS_CERTIFICATE"),
    ("TONGDUI_LISTEN", "7400", "TONGDUI_LISTEN"),
    ("TONGDUI_TLS_CERTIFICATE", "hub.pem", "TONGDUI_TLS_KEY"),
    ("TONGDUI_CONNECTIONS", "0", "TONGDUI_CONNECTIONS"),
    ("TONGDUI_LOG_LEVEL", "LOUD", "TONGDUI_LOG_LEVEL"),
    ("DATABASE_URL", "mysql://hub@localhost/tongdui", "DATABASE_URL"),
]


def test_a_bad_setting_ends_the_hub_with_its_name(tmp_path: Path) -> None:
    runs = [Run(["serve"], {name: value}) for name, value, _ in BAD_SETTINGS]

    ended = refusals(runs, tmp_path)

    assert [refused.code for refused in ended] == [2] * len(runs)
    for refused, (_, _, named) in zip(ended, BAD_SETTINGS, strict=True):
        assert named in refused.said


def test_a_hub_does_not_run_without_a_ledger_or_on_a_server_that_may_forget(
    database_url: str, tmp_path: Path
) -> None:
    with start(tmp_path / "pg", settings={"fsync": "off", "shared_buffers": "16MB"}) as server:
        runs = [
            Run(["serve"], {"DATABASE_URL": database_url}),
            Run(["serve"], {"DATABASE_URL": f"{database_url}&options=-csynchronous_commit%3Doff"}),
            Run(["serve"], {"DATABASE_URL": server.url}),
        ]

        empty, asynchronous, without_fsync = refusals(runs, tmp_path)

    assert {empty.code, asynchronous.code, without_fsync.code} == {1}
    assert "tongdui-hub init" in empty.said
    assert "synchronous_commit = off" in asynchronous.said
    assert "fsync = off" in without_fsync.said


def test_a_hub_that_can_not_go_on_says_why_in_one_line(coalition: Coalition, tmp_path: Path) -> None:
    for name, mode in (("open", 0o644), ("closed", 0o600)):
        (tmp_path / name).mkdir()
        for file in ("hub-key.pem", "contact-key"):
            copy = tmp_path / name / file
            copy.write_bytes((coalition.site.data_dir / file).read_bytes())
            copy.chmod(mode)
    there = {"DATABASE_URL": coalition.database_url}
    opened, closed = ({"TONGDUI_DATA_DIR": str(tmp_path / name)} for name in ("open", "closed"))
    runs = {
        "chmod 600": Run(["serve"], there | opened),
        coalition.hub.address: Run(["serve"], there | closed | {"TONGDUI_LISTEN": coalition.hub.address}),
        "can not be reached": Run(["serve"], closed | {"DATABASE_URL": "postgresql://h@127.0.0.1:1/none"}),
        "already": Run(["init", "--audience=hub.example/x", *two_people()], there),
        "not a key of the ledger": Run(["serve"], there),  # but the one that init had just made
    }

    ended = refusals(list(runs.values()), tmp_path)

    assert [refused.code for refused in ended] == [1] * len(runs)
    for word, refused in zip(runs, ended, strict=True):
        assert word in refused.said
        assert len(refused.said.splitlines()) <= 2  # gRPC adds a line of its own where a port is taken


def two_people(*more: str) -> list[str]:
    """The arguments that name two operators."""
    keys = [Key.generate("operator", name) for name in ("alice", "bob")]
    return [*(f"--operator={key.holder}={public_key_text(key.public_key)}" for key in keys), *more]


def bad_inits() -> dict[str, list[str]]:
    alice, _ = two_people()
    return {
        "one person": [alice],
        "one person twice": [alice, alice],
        "one key for two people": [alice, alice.replace("=alice=", "=bob=")],
        "no key": ["--operator=alice=x", "--operator=bob=y"],
        "no currency": two_people("--currency=yuan"),
        "no minor unit": two_people("--minor-unit-digits=9"),
        "no zone": two_people("--zone=Mars/Olympus"),
        "a cut-off on another day": two_people("--cut-off-seconds=86400"),
        "nothing may be late": two_people("--late-limit-seconds=0"),
        "no time": two_people("--manual-clock=yesterday"),
        "no audience": two_people("--audience=Hub Example"),
    }


def test_init_refuses_what_makes_no_ledger_and_makes_nothing(tmp_path: Path) -> None:
    cases = bad_inits()
    runs = [Run(["init", "--audience=hub.example/x", *arguments], {}) for arguments in cases.values()]

    ended = refusals(runs, tmp_path / "data")

    assert dict(zip(cases, [refused.code for refused in ended], strict=True)) == dict.fromkeys(cases, 2)
    assert not (tmp_path / "data").exists()


# --- TLS


class Certificates(NamedTuple):
    """A certificate for 127.0.0.1 that signs itself, as PEM files."""

    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub.example")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificates(directory / "hub.pem", directory / "hub-key.pem")
    made.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


@pytest.fixture(scope="module")
def tls_hub(coalition: Coalition, certificates: Certificates) -> Iterator[str]:
    """The address of a second hub of the coalition that speaks TLS and wants to see a client certificate."""
    environment = {
        **coalition.site.environment,
        "TONGDUI_TLS_CERTIFICATE": str(certificates.certificate),
        "TONGDUI_TLS_KEY": str(certificates.key),
        "TONGDUI_TLS_CLIENT_AUTHORITY": str(certificates.certificate),
    }
    hub = Site(coalition.site.data_dir, environment=environment).serve(name="tls")
    yield hub.address
    hub.stop()


def ledger_over(coalition: Coalition, address: str, tls: Tls | None) -> str:
    """The audience that the ledger at the address gives."""

    async def read() -> str:
        keys = coalition.hub_keys
        key = coalition.keys["cafe"]
        hub = Hub.connect(
            address, coalition.site.audience, key=key, hub_keys=keys, tls=tls, timeout_seconds=30
        )
        async with hub:
            return (await hub.ledger()).audience

    return asyncio.run(read())


def test_the_adapter_talks_to_a_tls_hub_with_a_certificate_of_its_own(
    coalition: Coalition, tls_hub: str, certificates: Certificates
) -> None:
    pem, key = certificates.certificate.read_bytes(), certificates.key.read_bytes()

    audience = ledger_over(coalition, tls_hub, Tls(pem, pem, key))

    assert audience == coalition.site.audience


def test_a_tls_hub_talks_to_nobody_without_tls_without_trust_or_without_a_certificate(
    coalition: Coalition, tls_hub: str, certificates: Certificates
) -> None:
    pem = certificates.certificate.read_bytes()

    for tls in (None, Tls(), Tls(root_certificates=pem)):
        with pytest.raises(OutcomeUnknown):
            ledger_over(coalition, tls_hub, tls)

    eventually(lambda: is_serving(coalition.hub.address))


def test_a_tls_hub_speaks_tls_1_3_only(tls_hub: str, certificates: Certificates) -> None:
    host, _, port = tls_hub.rpartition(":")

    def agreed(version: ssl.TLSVersion) -> str | None:
        context = ssl.create_default_context(cafile=str(certificates.certificate))
        context.load_cert_chain(certificates.certificate, certificates.key)
        context.set_alpn_protocols(["h2"])
        context.minimum_version = context.maximum_version = version
        with (
            socket.create_connection((host, int(port)), WAIT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            return secure.version()

    assert agreed(ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        agreed(ssl.TLSVersion.TLSv1_2)
