"""The commands around settling: migrate, keygen, public-key, serve."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path

from settlement.command_line.session import (
    Misconfigured,
    Session,
    own_key,
)
from settlement.rpc.keys import PrivateKey, public_key_set, save_private_key
from settlement.rpc.transport import ServerCertificate
from settlement.store.engine import migrate, open_engine


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


def public_key(session: Session, arguments: argparse.Namespace) -> None:
    """Prints, or writes, settlement's public key for those who check its receipts: a JSON Web Key Set."""
    text = json.dumps(public_key_set(own_key(session.settings)), indent=2) + "\n"
    if arguments.out is None:
        sys.stdout.write(text)
        return
    Path(arguments.out).write_text(text, encoding="ascii")
    session.show({"file": arguments.out}, lambda: arguments.out)


def serve(session: Session, arguments: argparse.Namespace) -> None:  # noqa: ARG001 - as every command
    """Answers partners and finance until it is told to stop."""
    settings = session.settings
    chain, tls_key = settings.get("tls_certificate_file"), settings.get("tls_key_file")
    if bool(chain) != bool(tls_key):
        raise Misconfigured("--tls-certificate and --tls-key go together")
    certificate = ServerCertificate(Path(chain).read_bytes(), Path(tls_key).read_bytes()) if chain else None
    address = settings.require("listen_address")
    settings.require("audience")
    key = own_key(settings)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(_serve(session, key, address, certificate))


async def _serve(
    session: Session, key: PrivateKey, address: str, certificate: ServerCertificate | None
) -> None:
    # Loaded here, because no other command needs health and reflection.
    from settlement.server import Office, serve, stop_on_signals

    def ready(port: int) -> None:
        content = {"listening": address, "port": port}
        session.show(content, lambda: f"listening on {address}")
        sys.stdout.flush()

    stop = stop_on_signals()
    engine = open_engine(session.settings.require("database_url"))
    try:
        office = Office(engine, session.settings.require("audience"), key)
        await serve(office, address, certificate, stop, ready)
    finally:
        engine.dispose()
