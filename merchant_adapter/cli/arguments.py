"""Arguments that several commands share, and the hub they name."""

import argparse
import re
from datetime import date
from pathlib import Path

from merchant_adapter.channel import DEFAULT_TIMEOUT_SECONDS
from merchant_adapter.client import Hub
from merchant_adapter.json_object import Unreadable
from merchant_adapter.outbox.policy import RetryPolicy
from merchant_adapter.settlement_sync import SyncSettlement
from merchant_adapter.sync import SyncHub
from merchant_adapter.transport import Tls

Subparsers = argparse._SubParsersAction


def address(text: str) -> str:
    """`host:port` or `unix:PATH`; gRPC would take an URL for a name, and no port for 443."""
    if scheme := re.match("(http|grpc)s?://", text):
        raise argparse.ArgumentTypeError(f"{text}: give host:port or unix:PATH, without {scheme[0]}")
    if ":" not in text:
        raise argparse.ArgumentTypeError(f"{text}: the port is missing; give host:port or unix:PATH")
    return text


def day(text: str) -> date:
    """A day as YYYY-MM-DD."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: not a day; give YYYY-MM-DD") from error


def hub_arguments() -> argparse.ArgumentParser:
    """A parent parser with everything needed to call a hub."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--key", required=True, metavar="FILE", help="the key that signs")
    add_address(parent, required=True)
    return parent


def add_address(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Where the hub is and how to know that it is the hub."""
    group = parser.add_argument_group("hub")
    group.add_argument(
        "--hub", type=address, required=required, metavar="ADDRESS", help="host:port or unix:PATH"
    )
    group.add_argument("--audience", required=True, help="the hub's name, agreed at onboarding")
    group.add_argument(
        "--hub-keys", required=required, metavar="FILE", help="the hub's public keys, a JSON Web Key Set"
    )
    _add_transport(group)


def _add_transport(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--ca", metavar="FILE", help="root certificates (PEM) instead of the system's")
    group.add_argument("--client-cert", metavar="FILE", help="client certificate chain (PEM), mutual TLS")
    group.add_argument("--client-key", metavar="FILE", help="its private key (PEM)")
    group.add_argument(
        "--timeout",
        type=float,
        default=DEFAULT_TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="default %(default)s",
    )


def add_settlement() -> argparse.ArgumentParser:
    """A parent parser with everything needed to call settlement."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--key", required=True, metavar="FILE", help="the key that signs")
    group = parent.add_argument_group("settlement")
    group.add_argument(
        "--settlement", type=address, required=True, metavar="ADDRESS", help="host:port or unix:PATH"
    )
    group.add_argument("--audience", required=True, help="the hub's name, agreed at onboarding")
    group.add_argument(
        "--settlement-keys",
        required=True,
        metavar="FILE",
        help="settlement's public keys, a JSON Web Key Set",
    )
    _add_transport(group)
    return parent


def connect_settlement(arguments: argparse.Namespace) -> SyncSettlement:
    """The settlement the arguments name, seen by the owner of the key."""
    return SyncSettlement.connect(
        arguments.settlement,
        arguments.audience,
        key=arguments.key,
        settlement_keys=arguments.settlement_keys,
        tls=_tls(arguments),
        timeout_seconds=arguments.timeout,
    )


def add_note(parser: argparse.ArgumentParser) -> None:
    """Adds `--note`, for programs that send what nobody waits for any more."""
    parser.add_argument(
        "--note",
        action="append",
        default=[],
        metavar="REASON",
        help="show recorded refusals of this reason among the dead letters; may be repeated",
    )


def policy_of(arguments: argparse.Namespace) -> RetryPolicy:
    """How a dispatcher judges answers, by `--note`."""
    return RetryPolicy(noted_refusals=frozenset(arguments.note))


def connect(arguments: argparse.Namespace, key: str) -> SyncHub:
    """The hub the arguments name, seen by the owner of `key`."""
    return SyncHub.connect(
        arguments.hub,
        arguments.audience,
        key=key,
        hub_keys=arguments.hub_keys,
        tls=_tls(arguments),
        timeout_seconds=arguments.timeout,
    )


def open_hub(arguments: argparse.Namespace, key: str) -> Hub:
    """The same hub for asyncio; call it where an event loop runs."""
    return Hub.connect(
        arguments.hub,
        arguments.audience,
        key=key,
        hub_keys=arguments.hub_keys,
        tls=_tls(arguments),
        timeout_seconds=arguments.timeout,
    )


def _tls(arguments: argparse.Namespace) -> Tls | None:
    files = (arguments.ca, arguments.client_cert, arguments.client_key)
    if files == (None, None, None):
        return None
    if (arguments.client_cert is None) != (arguments.client_key is None):
        raise Unreadable("--client-cert and --client-key go together")
    return Tls(*(None if file is None else Path(file).read_bytes() for file in files))
