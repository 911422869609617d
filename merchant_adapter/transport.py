"""The connection to a hub: TLS everywhere but on one machine, and nothing of gRPC that acts by itself.

gRPC agrees on TLS 1.3 with every hub that has it, and a tampered offer does not survive the handshake (RFC 8446,
4.1.3). It has no setting for a lowest version. A process that must not speak TLS 1.2 to anybody is started with
`GRPC_SSL_CIPHER_SUITES=ECDHE-PSK-AES128-CBC-SHA`: that suite needs a pre-shared key nobody has, so no TLS 1.2
can be agreed on. gRPC reads it when it is imported, so a library cannot set it.
"""

import ipaddress
from dataclasses import dataclass

import grpc
import grpc.aio

MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""What a hub accepts at most in one message: the limit of `PostBatch`; other methods take 64 KiB."""

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Room for a full page of entries with many legs each."""

_ONE_MACHINE_NAMES = ("localhost", "ip6-localhost")
_UNIX_SCHEMES = ("unix:", "unix-abstract:")

_OPTIONS: tuple[tuple[str, int], ...] = (
    # A retry inside gRPC would send an old signature again, and a DNS record could switch it on.
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # Bit 0 alone: identity. The digest is over uncompressed bytes.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.max_send_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
    # A connection that died silently is noticed within 30 s while calls wait on it.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A hub that restarts is found again quickly; a till waits behind this.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS settings, all PEM. Without `root_certificates` the system's are trusted.

    `client_certificate` (with its chain) and `client_key` go together, for hubs that ask for mutual TLS.
    """

    root_certificates: bytes | None = None
    client_certificate: bytes | None = None
    client_key: bytes | None = None


def open_channel(address: str, tls: Tls | None = None) -> grpc.aio.Channel:
    """A channel to `host:port`, `ipv4:`, `ipv6:`, `dns:` or `unix:` address; it connects when first used.

    Plain text where the address can only be this machine and `tls` is None; else TLS.
    Must be called where an event loop runs. Raises ValueError for half a client certificate.
    """
    here = is_this_machine(address)
    # A proxy from the environment is for the way out, never for a neighbour on the same machine.
    options = (*_OPTIONS, ("grpc.enable_http_proxy", 0)) if here else _OPTIONS
    if here and tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    tls = tls or Tls()
    if (tls.client_certificate is None) != (tls.client_key is None):
        raise ValueError("tls: client_certificate and client_key go together")
    credentials = grpc.ssl_channel_credentials(tls.root_certificates, tls.client_key, tls.client_certificate)
    return grpc.aio.secure_channel(address, credentials, options=options)


def is_this_machine(address: str) -> bool:
    """Whether `address` is a unix socket or a loopback address, so that nothing leaves this machine."""
    if address.startswith(_UNIX_SCHEMES):
        return True
    host = _host(address)
    if host in _ONE_MACHINE_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(address: str) -> str:
    for scheme in ("ipv4:", "ipv6:", "dns:"):
        if address.startswith(scheme):
            address = address.removeprefix(scheme).rpartition("/")[2]
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, _, port = address.rpartition(":")
    return host if port.isdecimal() and host else address
