"""Settlement's call to the hub over a real connection: what it signs, what it keeps, how it reads a no."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from settlement.rpc.hub_client import HubClient, HubRefused, HubUnreachable
from settlement.rpc.keys import verifies
from settlement.rpc.receipts import CLOSE_WINDOW_PATH
from settlement.rpc.transport import CannotListen, ServerCertificate, bind, is_this_machine
from tests.settlement_hub import AUDIENCE, FINANCE_KEY, refusal_bytes
from tongdui.exchange.v1.journal_service_pb2 import CloseWindowRequest
from tongdui.signing import content_digest, parse_request

DAY = date(2026, 1, 1)
Answer = Callable[[bytes, grpc.ServicerContext], bytes]


def server_of(answer: Answer) -> grpc.Server:
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    service, method = CLOSE_WINDOW_PATH[1:].split("/")
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: handler})])
    return server


@contextmanager
def answering(answer: Answer, directory: Path) -> Iterator[HubClient]:
    server = server_of(answer)
    address = f"unix:{directory / 'hub.sock'}"
    server.add_insecure_port(address)
    server.start()
    try:
        with HubClient.open(address, FINANCE_KEY, AUDIENCE) as client:
            yield client
    finally:
        server.stop(grace=None).wait()


def refusing(code: grpc.StatusCode, details: bytes | None) -> Answer:
    def refuse(body: bytes, context: grpc.ServicerContext) -> bytes:
        if details is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", details),))
        context.abort(code, "no")

    return refuse


def test_a_call_is_signed_and_its_answer_kept_byte_for_byte(tmp_path: Path) -> None:
    received = []

    def answer(body: bytes, context: grpc.ServicerContext) -> bytes:
        received.append((body, tuple((name, value) for name, value in context.invocation_metadata())))
        context.set_trailing_metadata((("signature", "hub=:x:"), ("other", "entry")))
        return b"answer"

    with answering(answer, tmp_path) as client:
        receipt = client.close_window(DAY)

    ((body, metadata),) = received
    signed = parse_request(metadata)
    assert verifies(FINANCE_KEY.public_key, signed.signature, signed.base(CLOSE_WINDOW_PATH))
    assert (signed.audience, signed.digest_text) == (AUDIENCE, content_digest(body))
    assert CloseWindowRequest.FromString(body).request_id == "close-2026-01-01"
    assert (receipt.request, receipt.response) == (body, b"answer")
    assert receipt.receipt_metadata == (("signature", "hub=:x:"),)


def test_repeats_are_the_same_decision(tmp_path: Path) -> None:
    bodies = []

    def answer(body: bytes, context: grpc.ServicerContext) -> bytes:
        bodies.append(body)
        return b""

    with answering(answer, tmp_path) as client:
        client.close_window(DAY)
        client.close_window(DAY)

    assert bodies[0] == bodies[1]


def test_a_refusal_is_told_with_its_reason(tmp_path: Path) -> None:
    code = grpc.StatusCode.FAILED_PRECONDITION
    details = refusal_bytes(code, "WINDOW_STILL_OPEN", "no")

    with answering(refusing(code, details), tmp_path) as client, pytest.raises(HubRefused) as refusal:
        client.close_window(DAY)

    assert refusal.value.reason == "WINDOW_STILL_OPEN"


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (grpc.StatusCode.UNAVAILABLE, None),
        (grpc.StatusCode.FAILED_PRECONDITION, None),
        (grpc.StatusCode.FAILED_PRECONDITION, b"\xff\xff"),
        (
            grpc.StatusCode.UNAVAILABLE,
            refusal_bytes(grpc.StatusCode.UNAVAILABLE, "HUB_UNAVAILABLE", "no"),
        ),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            refusal_bytes(grpc.StatusCode.RESOURCE_EXHAUSTED, "HUB_BUSY", "no"),
        ),
        (grpc.StatusCode.INTERNAL, refusal_bytes(grpc.StatusCode.INTERNAL, "INTERNAL", "no")),
    ],
    ids=range(6),
)
def test_an_answer_that_decides_nothing_is_no_answer(
    tmp_path: Path, code: grpc.StatusCode, details: bytes | None
) -> None:
    with answering(refusing(code, details), tmp_path) as client, pytest.raises(HubUnreachable):
        client.close_window(DAY)


def self_signed() -> ServerCertificate:
    """A certificate for localhost, trusted only by who is given it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return ServerCertificate(certificate.public_bytes(Encoding.PEM), private)


def test_over_tls_only_a_trusted_hub_is_spoken_to() -> None:
    certificate, other = self_signed(), self_signed()
    server = server_of(lambda *_: b"answer")
    address = f"localhost:{bind(server, 'localhost:0', certificate)}"
    server.start()

    with HubClient.open(address, FINANCE_KEY, AUDIENCE, certificate.chain) as client:
        receipt = client.close_window(DAY)
    with HubClient.open(address, FINANCE_KEY, AUDIENCE, other.chain) as client, pytest.raises(HubUnreachable):
        client.close_window(DAY)
    server.stop(grace=None).wait()

    assert receipt.response == b"answer"


def test_nobody_at_the_address_is_no_answer(tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'none.sock'}"

    with HubClient.open(address, FINANCE_KEY, AUDIENCE) as client, pytest.raises(HubUnreachable):
        client.close_window(DAY)


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("127.0.0.1:7401", True),
        ("localhost:7401", True),
        ("[::1]:7401", True),
        ("ipv6:[::1]:7401", True),
        ("dns:///localhost:7401", True),
        ("unix:/run/hub.sock", True),
        ("0.0.0.0:7401", False),
        ("hub.example:7401", False),
        ("localhost.example:7401", False),
        ("10.0.0.1:7401", False),
    ],
)
def test_only_this_machine_is_spoken_to_without_tls(address: str, here: bool) -> None:
    assert is_this_machine(address) is here


def test_a_server_others_can_reach_needs_a_certificate() -> None:
    with pytest.raises(CannotListen, match="--tls-certificate"):
        bind(grpc.server(ThreadPoolExecutor(max_workers=1)), "0.0.0.0:0", None)
