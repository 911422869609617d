"""Settlement's configuration: the only reader of the environment. Options on the command line go before it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


class SettingMissing(Exception):
    """A setting this command needs is not given; `str()` names its variable and its option."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its environment variable, its option, and what it is."""

    variable: str
    option: str
    meaning: str
    default: str = ""


SETTINGS: Final[Mapping[str, Setting]] = {
    "database_url": Setting(
        "DATABASE_URL",
        "--database",
        "the hub's PostgreSQL: a postgresql:// URL or a libpq string such as service=tongdui",
    ),
    "hub_address": Setting("TONGDUI_HUB_ADDRESS", "--hub", "the hub, host:port or unix:path"),
    "hub_keys_file": Setting("TONGDUI_HUB_KEYS", "--hub-keys", "file with the hub's public keys, pinned"),
    "hub_ca_file": Setting(
        "TONGDUI_HUB_CA", "--hub-ca", "PEM file to trust for TLS instead of the system's roots"
    ),
    "audience": Setting("TONGDUI_AUDIENCE", "--audience", "the hub's name that requests are signed for"),
    "key_file": Setting("TONGDUI_SETTLEMENT_KEY", "--key", "settlement's own key file, signs certificates"),
    "finance_key_file": Setting(
        "TONGDUI_FINANCE_KEY",
        "--finance-key",
        "key file that signs CloseWindow, registered at the hub; settlement's own key when not set",
    ),
    "key_id": Setting(
        "TONGDUI_SETTLEMENT_KEY_ID",
        "--key-id",
        "the id under which the hub knows the key that signs CloseWindow; the file's own when not set",
    ),
    "person_key_file": Setting(
        "TONGDUI_PERSON_KEY",
        "--as",
        "key file of the person who acts; registered at the hub with the role the act needs",
    ),
    "listen_address": Setting(
        "TONGDUI_SETTLEMENT_LISTEN",
        "--listen",
        "where `serve` listens, host:port or unix:path",
        "127.0.0.1:7402",
    ),
    "tls_certificate_file": Setting(
        "TONGDUI_SETTLEMENT_TLS_CERTIFICATE",
        "--tls-certificate",
        "PEM chain for `serve`; needed wherever others can connect",
    ),
    "tls_key_file": Setting(
        "TONGDUI_SETTLEMENT_TLS_KEY", "--tls-key", "PEM private key that belongs to --tls-certificate"
    ),
}
"""All settings by the name they have here."""


class Settings:
    """The values of this process: what the command line gave, else the environment, else the default."""

    def __init__(
        self, options: Mapping[str, str | None], environment: Mapping[str, str] | None = None
    ) -> None:
        """`options` by the names of SETTINGS; None where one was not given."""
        variables = os.environ if environment is None else environment
        self._values = {
            name: options.get(name) or variables.get(setting.variable) or setting.default
            for name, setting in SETTINGS.items()
        }

    def get(self, name: str) -> str:
        """The value; empty where there is none."""
        return self._values[name]

    def require(self, name: str) -> str:
        """The value. Raises SettingMissing."""
        if not self._values[name]:
            setting = SETTINGS[name]
            raise SettingMissing(f"set {setting.variable} or give {setting.option}: {setting.meaning}")
        return self._values[name]
