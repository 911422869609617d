"""`serve`: the sidecar."""

import argparse
import asyncio
import logging
import signal
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from merchant_adapter.cli.arguments import Subparsers, add_note, hub_arguments, open_hub, policy_of
from merchant_adapter.cli.report import Report
from merchant_adapter.json_object import Unreadable
from merchant_adapter.outbox import Limits, Outbox

if TYPE_CHECKING:
    from merchant_adapter.sidecar.context import Context, Mounted

DEFAULT_ADDRESS = "127.0.0.1:7480"
DEFAULT_LIMITS = Limits()


def add(subparsers: "Subparsers[argparse.ArgumentParser]", shown: argparse.ArgumentParser) -> None:
    """Adds the command."""
    serve = subparsers.add_parser(
        "serve",
        parents=[shown, hub_arguments()],
        help="local HTTP/JSON for a mall written in anything, with the outbox behind it",
        description="Takes commands over local HTTP, stores and sends them, until it gets SIGTERM. The page at its"
        " address lists all routes.",
    )
    serve.add_argument(
        "--outbox",
        required=True,
        metavar="FILE|URL",
        help="a SQLite file or postgresql://...; made if not there",
    )
    serve.add_argument(
        "--most-commands",
        type=int,
        default=DEFAULT_LIMITS.most_commands,
        metavar="N",
        help="refuse sales aloud when so many wait; default %(default)s",
    )
    where = serve.add_mutually_exclusive_group()
    where.add_argument(
        "--listen",
        default=DEFAULT_ADDRESS,
        metavar="HOST:PORT",
        help="default %(default)s; with --token-file",
    )
    where.add_argument(
        "--socket", type=Path, metavar="PATH", help="a unix socket of mode 0600, without a token"
    )
    serve.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="what callers show (Bearer); made if not there, mode 0600",
    )
    serve.add_argument(
        "--webhooks",
        type=Path,
        metavar="FILE",
        help="take orders from a shop platform; TOML with the policy and the file of the shared secrets",
    )
    serve.add_argument(
        "--allow-remote", action="store_true", help="listen on an address that others can reach"
    )
    add_note(serve)
    serve.set_defaults(run=run_serve)


def run_serve(arguments: argparse.Namespace) -> Report:
    """Serves until it is told to stop."""
    try:
        # What the extra brings is missed before anything is opened.
        import_module("merchant_adapter.sidecar.process")
    except ImportError as missing:
        raise Unreadable(
            f"{missing.name} is not installed: pip install 'tongdui[adapter,sidecar]'"
        ) from missing
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    listening, token = _listening(arguments)
    try:
        with Outbox.open(arguments.outbox, limits=Limits(most_commands=arguments.most_commands)) as outbox:
            asyncio.run(_serve(arguments, outbox, listening, token))
    finally:
        listening.close()
        if arguments.socket is not None:
            arguments.socket.unlink(missing_ok=True)
    return Report({"outcome": "stopped"})


async def _serve(arguments: argparse.Namespace, outbox: Outbox, listening: socket.socket, token: str) -> None:
    from merchant_adapter.sidecar.context import Context
    from merchant_adapter.sidecar.process import run
    from merchant_adapter.till import Till

    async with open_hub(arguments, arguments.key) as hub:
        context = Context(hub, outbox, Till(hub, outbox))
        mounts = _mounts(arguments, context)
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, context.stopping.set)
        _say_where(listening, arguments)
        await run(context, listening, token=token, mounts=mounts, policy=policy_of(arguments))


def _mounts(arguments: argparse.Namespace, context: "Context") -> "list[Mounted]":
    """The further parts, with those that the arguments ask for."""
    from merchant_adapter.sidecar import imports, webhooks
    from merchant_adapter.webhooks.platform import GenericPlatform
    from merchant_adapter.webhooks.settings import WebhookSettings

    mounts = [imports.mounted(context)]
    if arguments.webhooks is not None:
        settings = WebhookSettings.load(arguments.webhooks)
        platform = GenericPlatform(settings.secrets)
        mounts.append(webhooks.mounted(context, settings.policy, platform))
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGHUP, webhooks.read_secrets_again, platform, arguments.webhooks
        )
    return mounts


def _listening(arguments: argparse.Namespace) -> tuple[socket.socket, str]:
    """The socket, and the token that callers have to show; empty for a unix socket."""
    from merchant_adapter.sidecar.listening import open_tcp, open_unix, token_of

    if arguments.socket is not None:
        return open_unix(arguments.socket), ""
    if arguments.token_file is None:
        raise Unreadable("--token-file is missing: over TCP every program of this machine could call")
    token = token_of(arguments.token_file)
    return open_tcp(arguments.listen, allow_remote=arguments.allow_remote), token


def _say_where(listening: socket.socket, arguments: argparse.Namespace) -> None:
    if arguments.socket is not None:
        logging.getLogger(__name__).info("listening on unix:%s", arguments.socket)
        return
    host, port, *_ = listening.getsockname()
    shown = f"[{host}]" if ":" in host else host
    logging.getLogger(__name__).info("listening on http://%s:%s", shown, port)
