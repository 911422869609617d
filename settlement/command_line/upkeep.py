"""The commands around settling: migrate, keygen, serve."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from settlement.command_line.session import (
    Misconfigured,
    Session,
    open_reads,
)
from settlement.rpc.keys import PrivateKey, save_private_key
from settlement.rpc.transport import ServerCertificate
from settlement.store.engine import migrate


def migrate_database(session: Session, arguments: argparse.Namespace) -> None:  # noqa: ARG001 - as every command
    """Prepares settlement's schema."""
    migrate(session.settings.require("database_url"))
    session.show({"schema": "settlement"}, lambda: "schema settlement is ready")


def keygen(session: Session, arguments: argparse.Namespace) -> None:
    """Makes settlement's own key."""
    key = PrivateKey.generate(arguments.owner)
    path = save_private_key(key, Path(arguments.out))
    content = {"key_id": key.key_id, "key_file": str(path), "public_key": key.public_key_text}
    text = f"{path}\nkey id {key.key_id}\npublic key {key.public_key_text}"
    session.show(content, lambda: text)


def serve(session: Session, arguments: argparse.Namespace) -> None:  # noqa: ARG001 - as every command
    """Answers partners and finance until it is told to stop."""
    settings = session.settings
    chain, key = settings.get("tls_certificate_file"), settings.get("tls_key_file")
    if bool(chain) != bool(key):
        raise Misconfigured("--tls-certificate and --tls-key go together")
    certificate = ServerCertificate(Path(chain).read_bytes(), Path(key).read_bytes()) if chain else None
    address = settings.require("listen_address")
    settings.require("audience")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(_serve(session, address, certificate))


async def _serve(session: Session, address: str, certificate: ServerCertificate | None) -> None:
    # Loaded here, because no other command needs health and reflection.
    from settlement.server import serve, stop_on_signals

    def ready(port: int) -> None:
        content = {"listening": address, "port": port}
        session.show(content, lambda: f"listening on {address}")
        sys.stdout.flush()

    stop = stop_on_signals()
    with open_reads(session.settings) as reads:
        await serve(reads, session.settings.require("audience"), address, certificate, stop, ready)
