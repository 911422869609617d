"""How settlement talks over gRPC: TLS everywhere but on one machine, and nothing of gRPC that acts by itself."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import grpc
import grpc.aio

OPTIONS: tuple[tuple[str, int], ...] = (
    # A retry inside gRPC would send an old signature again, and a DNS record could switch it on.
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # Bit 0 alone: identity. The digest is over uncompressed bytes.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.max_send_message_length", 64 * 1024),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
)

MAX_MESSAGE = 64 * 1024
"""Bytes of a request, unless it carries a part of a file or evidence."""

MAX_PART_MESSAGE = 1024 * 1024 + MAX_MESSAGE
"""Bytes of a request that does."""

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),  # a second server on the same address is a mistake, not a helper
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.max_send_message_length", 4 * 1024 * 1024),
    (
        "grpc.max_receive_message_length",
        MAX_PART_MESSAGE,
    ),  # every method but uploads has a lower limit of its own
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 100),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)

_ONE_MACHINE_NAMES = ("localhost", "ip6-localhost")
_UNIX_SCHEMES = ("unix:", "unix-abstract:")


def open_channel(address: str, root_certificates: bytes | None) -> grpc.Channel:
    """A channel that connects when first used; plain text only where nothing leaves this machine.

    `root_certificates` (PEM) are trusted instead of the system's, and ask for TLS here too.
    """
    here = is_this_machine(address)
    # A proxy from the environment is for the way out, never for a neighbour on the same machine.
    options = (*OPTIONS, ("grpc.enable_http_proxy", 0)) if here else OPTIONS
    if here and root_certificates is None:
        return grpc.insecure_channel(address, options=options)
    credentials = grpc.ssl_channel_credentials(root_certificates)
    return grpc.secure_channel(address, credentials, options=options)


def is_this_machine(address: str) -> bool:
    """Whether `address` is a Unix socket or a loopback address."""
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


class CannotListen(Exception):
    """The address is taken, malformed, or open to others without TLS; `str()` says which."""


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """A TLS certificate chain and its private key, both PEM."""

    chain: bytes
    private_key: bytes


def bind(server: grpc.aio.Server | grpc.Server, address: str, certificate: ServerCertificate | None) -> int:
    """Lets a server listen at an address; without a certificate only where this machine alone can connect.

    Returns the port, which matters where port 0 asked for a free one. Raises CannotListen.
    """
    if certificate is None and not is_this_machine(address):
        raise CannotListen(f"{address}: others can connect there; give --tls-certificate and --tls-key")
    try:
        if certificate is None:
            return server.add_insecure_port(address)
        pair = (certificate.private_key, certificate.chain)
        return server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    except RuntimeError as error:
        raise CannotListen(f"{address}: cannot listen there") from error
