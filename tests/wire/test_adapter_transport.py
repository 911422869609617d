"""Where a connection may be in plain text, and TLS 1.3 everywhere else."""

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from merchant_adapter import OutcomeUnknown, SyncHub, Tls
from merchant_adapter.transport import is_this_machine
from tests.waiting import WAIT_SECONDS
from tests.wire.adapter_fake_hub import AUDIENCE, CAFE_KEY, HUB_KEYS, Reply, fake_hub
from tongdui.exchange.v1.points_service_pb2 import GetWalletResponse

ONLY_TLS_1_3 = {"GRPC_SSL_CIPHER_SUITES": "ECDHE-PSK-AES128-CBC-SHA"}
WALLET = Reply(GetWalletResponse(member_id="m-1").SerializeToString(), has_receipt=False)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate for `localhost`, PEM."""

    certificate: bytes
    key: bytes


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Certificate(made.public_bytes(pem), private)


@contextlib.contextmanager
def tls_endpoint(
    certificate: Certificate, folder: Path, versions: tuple[ssl.TLSVersion, ssl.TLSVersion]
) -> Iterator[tuple[int, list[str]]]:
    """Takes one TLS handshake of these versions (lowest, highest); yields its port and how it will have ended."""
    (folder / "c.pem").write_bytes(certificate.certificate + certificate.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "c.pem")
    context.set_alpn_protocols(["h2"])
    context.minimum_version, context.maximum_version = versions
    ended: list[str] = []

    def handshake(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        try:
            with context.wrap_socket(connection, server_side=True) as agreed:
                ended.append(agreed.version() or "none")
        except ssl.SSLError as error:
            ended.append(error.reason)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT_SECONDS)
        thread = threading.Thread(target=handshake, args=(listener,))
        thread.start()
        yield listener.getsockname()[1], ended
        thread.join()


@pytest.mark.parametrize(
    "address",
    [
        "localhost:443",
        "127.0.0.1:443",
        "127.8.9.10:443",
        "[::1]:443",
        "ipv4:127.0.0.1:443",
        "ipv6:[::1]:443",
        "dns:///localhost:443",
        "unix:/run/hub.sock",
        "unix:hub.sock",
        "unix-abstract:hub",
        "localhost",
    ],
)
def test_these_addresses_are_this_machine(address: str) -> None:
    assert is_this_machine(address)


@pytest.mark.parametrize(
    "address",
    [
        "hub.example:443",
        "10.0.0.1:443",
        "0.0.0.0:443",
        "localhost.example:443",
        "127.0.0.1.example:443",
        "[2001:db8::1]:443",
        "ipv4:192.0.2.1:443",
        "dns:///hub.example:443",
        "dns://localhost/hub.example:443",
        "",
    ],
)
def test_all_other_addresses_get_tls(address: str) -> None:
    assert not is_this_machine(address)


def test_a_call_over_tls_to_a_hub_with_the_trusted_certificate_is_answered(certificate: Certificate) -> None:
    credentials = grpc.ssl_server_credentials([(certificate.key, certificate.certificate)])

    with fake_hub(WALLET, credentials) as hub:
        address = hub.address.replace("127.0.0.1", "localhost")
        tls = Tls(root_certificates=certificate.certificate)
        with SyncHub.connect(address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS, tls=tls) as client:
            wallet = client.wallet("m-1")

    assert wallet.member_id == "m-1"


def test_a_hub_with_another_certificate_is_not_talked_to(certificate: Certificate) -> None:
    credentials = grpc.ssl_server_credentials([(certificate.key, certificate.certificate)])

    with fake_hub(WALLET, credentials) as hub:
        address = hub.address.replace("127.0.0.1", "localhost")
        with (
            SyncHub.connect(address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS, tls=Tls()) as client,
            pytest.raises(OutcomeUnknown) as error,
        ):
            client.wallet("m-1")

    assert error.value.code == "UNAVAILABLE"
    assert hub.calls == []


def test_a_hub_that_asks_for_a_client_certificate_gets_it(certificate: Certificate) -> None:
    credentials = grpc.ssl_server_credentials(
        [(certificate.key, certificate.certificate)], certificate.certificate, require_client_auth=True
    )
    tls = Tls(certificate.certificate, certificate.certificate, certificate.key)

    with fake_hub(WALLET, credentials) as hub:
        address = hub.address.replace("127.0.0.1", "localhost")
        with SyncHub.connect(address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS, tls=tls) as client:
            wallet = client.wallet("m-1")

    assert wallet.member_id == "m-1"


def test_half_a_client_certificate_is_refused(certificate: Certificate) -> None:
    tls = Tls(client_certificate=certificate.certificate)

    with pytest.raises(ValueError, match="client_certificate and client_key"):
        SyncHub.connect("localhost:1", AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS, tls=tls)


def test_a_unix_socket_needs_no_tls(tmp_path: Path) -> None:
    with (
        fake_hub(WALLET, path=tmp_path / "hub.sock") as hub,
        SyncHub.connect(hub.address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS) as client,
    ):
        wallet = client.wallet("m-1")

    assert hub.address == f"unix:{tmp_path}/hub.sock"
    assert wallet.member_id == "m-1"


@pytest.mark.parametrize(
    ("versions", "environment", "ended"),
    [
        ((ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3), {}, "TLSv1.3"),
        ((ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3), ONLY_TLS_1_3, "TLSv1.3"),
        ((ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2), ONLY_TLS_1_3, "NO_SHARED_CIPHER"),
    ],
    ids=["1.3 where the hub has it", "1.3 is all that is left", "1.2 can be forbidden"],
)
def test_tls_1_3_is_agreed_on(
    certificate: Certificate,
    tmp_path: Path,
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion],
    environment: dict[str, str],
    ended: str,
) -> None:
    (tmp_path / "ca.pem").write_bytes(certificate.certificate)
    (tmp_path / "hub.jwks").write_text(HUB_KEYS.to_json())
    key = CAFE_KEY.save(tmp_path / "keys")
    files = ["--ca", "ca.pem", "--hub-keys", "hub.jwks", "--key", str(key)]
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}

    # A process of its own: gRPC reads the setting once, when it is imported.
    with tls_endpoint(certificate, tmp_path, versions) as (port, how):
        address = ["--hub", f"localhost:{port}", "--audience", AUDIENCE, "--timeout", "30"]
        run = subprocess.run(
            [sys.executable, "-m", "merchant_adapter", "ping", *address, *files],
            env=os.environ | environment | paths,
            cwd=tmp_path,
            capture_output=True,
            timeout=2 * WAIT_SECONDS,
            check=False,
        )

    assert run.returncode == 3
    assert how == [ended]
