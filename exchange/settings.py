"""What the hub is told from outside. The only module that reads the environment."""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TLS_1_3_ONLY = "ECDHE-PSK-AES128-CBC-SHA"
"""A cipher of TLS 1.2 that needs a shared secret we never set: so only TLS 1.3 can be agreed on."""


class BadSetting(ValueError):
    """A setting that makes no sense; the message names it."""


class NotInitialised(RuntimeError):
    """The database holds no ledger yet."""


class CannotListen(RuntimeError):
    """The address is taken or not ours, or the certificate is none; the message names the address."""


def require_tls_1_3() -> None:
    """Has gRPC refuse older versions. It has no other switch, and reads this one when it is first imported."""
    os.environ["GRPC_SSL_CIPHER_SUITES"] = _TLS_1_3_ONLY


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen on."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:  # another name may lead anywhere, 127.example.com too
            return False

    def __str__(self) -> str:
        """As gRPC takes it."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are and how much of them.

    `database_url` None means the embedded PostgreSQL in `data_dir`. Without certificate the hub listens on
    loopback only. `code_sender` is `print`, `program` (then `code_program` is set), or empty for none.
    """

    data_dir: Path
    database_url: str | None
    listen: Address
    metrics_listen: Address | None
    connections: int
    certificate: Path | None
    certificate_key: Path | None
    client_authority: Path | None
    log_level: str
    contact_key: Path
    code_sender: str = ""
    code_program: Path | None = None

    @property
    def hub_key(self) -> Path:
        """The hub's private key."""
        return self.data_dir / "hub-key.pem"

    @property
    def hub_keys(self) -> Path:
        """The hub's public keys, for clients to pin."""
        return self.data_dir / "hub-keys.json"

    @property
    def cluster_dir(self) -> Path:
        """The embedded PostgreSQL."""
        return self.data_dir / "postgres"


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings; every name begins with TONGDUI_ except DATABASE_URL. Raises `BadSetting`."""
    certificate, key = _path(environment, "TLS_CERTIFICATE"), _path(environment, "TLS_KEY")
    if (certificate is None) != (key is None):
        raise BadSetting("TONGDUI_TLS_CERTIFICATE and TONGDUI_TLS_KEY come together")
    listen = _address("TONGDUI_LISTEN", environment.get("TONGDUI_LISTEN", "127.0.0.1:7400"))
    if certificate is None and not listen.is_loopback:
        raise BadSetting(f"TONGDUI_LISTEN={listen} is not loopback: TONGDUI_TLS_CERTIFICATE is needed")
    metrics = environment.get("TONGDUI_METRICS_LISTEN", "")
    data_dir = Path(environment.get("TONGDUI_DATA_DIR", "tongdui-data"))
    code_sender, code_program = _code_sender(environment.get("TONGDUI_CODE_SENDER", ""))
    return Settings(
        data_dir=data_dir,
        database_url=_database_url(environment.get("DATABASE_URL", "")),
        listen=listen,
        metrics_listen=_address("TONGDUI_METRICS_LISTEN", metrics) if metrics else None,
        connections=_number(environment, "CONNECTIONS", 3, 1, 32),
        certificate=certificate,
        certificate_key=key,
        client_authority=_path(environment, "TLS_CLIENT_AUTHORITY"),
        log_level=_log_level(environment.get("TONGDUI_LOG_LEVEL", "INFO")),
        contact_key=_path(environment, "CONTACT_KEY") or data_dir / "contact-key",
        code_sender=code_sender,
        code_program=code_program,
    )


def _database_url(value: str) -> str | None:
    is_url = value.startswith(("postgresql://", "postgres://"))
    if value and not is_url and ("://" in value or "=" not in value):
        # It may hold a password: not shown.
        raise BadSetting("DATABASE_URL must be a postgresql:// URL or a libpq connection string")
    return value or None


def _log_level(value: str) -> str:
    if value.upper() not in logging.getLevelNamesMapping():
        raise BadSetting(f"TONGDUI_LOG_LEVEL={value!r} must be DEBUG, INFO, WARNING or ERROR")
    return value.upper()


def _code_sender(value: str) -> tuple[str, Path | None]:
    if value in ("", "print"):
        return value, None
    program = Path(value)
    if not program.is_absolute():
        raise BadSetting(f"TONGDUI_CODE_SENDER={value!r} must be print, or a program's absolute path")
    return "program", program


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    value = environment.get(f"TONGDUI_{name}")
    return Path(value) if value else None


def _address(name: str, value: str) -> Address:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise BadSetting(f"{name}={value!r} must be host:port")
    return Address(host, int(port))


def _number(environment: Mapping[str, str], name: str, default: int, lowest: int, highest: int) -> int:
    value = environment.get(f"TONGDUI_{name}", str(default))
    if not value.isdecimal() or not lowest <= int(value) <= highest:
        raise BadSetting(f"TONGDUI_{name}={value!r} must be {lowest} to {highest}")
    return int(value)
