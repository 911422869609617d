"""The PostgreSQL parameters the embedded server runs with."""

import re
from collections.abc import Mapping
from types import MappingProxyType

DEFAULT_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        # An answer with a receipt survives kill -9 and power cuts: the hub does not run without these three.
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "shared_buffers": "512MB",
        "max_wal_size": "4GB",
        "min_wal_size": "512MB",  # segments kept for reuse: making a new one stalls every commit for a moment
        "max_connections": "60",
        "jit": "off",  # statements are short; compiling them costs more than it saves
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_error_verbosity": "terse",  # details and contexts quote rows, which are personal data
        "log_min_error_statement": "panic",  # likewise the statements
    }
)
_RESERVED_SETTINGS = frozenset(
    {
        "config_file",
        "data_directory",
        "external_pid_file",
        "hba_file",
        "ident_file",
        "listen_addresses",
        "logging_collector",
        "port",
        "unix_socket_directories",
        "unix_socket_group",
        "unix_socket_permissions",
    }
)
_SETTING_NAME = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?", re.ASCII)


def complete_settings(chosen: Mapping[str, str]) -> dict[str, str]:
    """The defaults with `chosen` on top; `ValueError` names a parameter that is not the caller's choice."""
    for name in chosen:
        if not _SETTING_NAME.fullmatch(name):
            raise ValueError(f"settings: {name!r} is not the name of a PostgreSQL parameter")
        if name in _RESERVED_SETTINGS:
            raise ValueError(f"settings: {name} keeps the embedded PostgreSQL private and cannot be chosen")
    return {**DEFAULT_SETTINGS, **chosen}
