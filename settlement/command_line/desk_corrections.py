"""The desk's commands that concern corrections: `break adjust`, `approve`, `reject` and `withdraw`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from rich.console import RenderableType

from settlement.command_line.desk import acted, at_desk
from settlement.command_line.session import Misconfigured, Session, open_snapshot
from settlement.core.adjusting import Posting, Supplied, posting_content, posting_from, posting_words
from settlement.rpc.corrections import HubCorrections
from settlement.rpc.hub_client import HubClient
from settlement.rpc.keys import load_hub_keys, load_private_key
from settlement.store import desk as store
from settlement.store.corrections import PROPOSED, list_corrections


class Declined(Exception):
    """The person was shown what would be posted, and said no."""


def adjust(session: Session, arguments: argparse.Namespace) -> None:
    """Proposes a correction at the hub."""
    supplied = Supplied(arguments.member, arguments.store, arguments.terminal, arguments.original)
    with at_desk(session) as desk:
        posting = desk.posting(arguments.number, supplied)
    _confirm(session, arguments, posting, "propose")
    with _corrections(session) as hub, at_desk(session) as desk:
        made = desk.propose_adjustment(arguments.number, arguments.reason, hub, supplied)
    content = {
        "break_id": arguments.number,
        "number": made.number,
        "adjustment_id": made.adjustment_id,
        "posting": posting_content(posting),
    }
    text = f"correction {made.adjustment_id} proposed: {posting_words(posting)}"
    session.show(content, lambda: f"{text}\nanother person: break approve {arguments.number}")


def approve(session: Session, arguments: argparse.Namespace) -> None:
    """Agrees with what another person proposed; a correction is posted."""
    with open_snapshot(session.settings) as connection:
        pending = [
            one for one in store.load_resolutions(connection, arguments.number) if one.state == "PROPOSED"
        ]
    posting = posting_from(pending[0].posting) if pending and pending[0].posting else None
    if posting is None:
        with _hub_of_held(session, arguments.number) as held:
            acted(session, lambda desk: desk.approve(arguments.number, held, arguments.reason))
        return
    _confirm(session, arguments, posting, "post")
    with _corrections(session) as hub:
        acted(session, lambda desk: desk.approve(arguments.number, hub, arguments.reason))


def reject(session: Session, arguments: argparse.Namespace) -> None:
    """Disagrees with what another person proposed."""
    with _hub_of_held(session, arguments.number) as hub:
        acted(session, lambda desk: desk.reject(arguments.number, arguments.reason, hub))


def withdraw(session: Session, arguments: argparse.Namespace) -> None:
    """Withdraws what the hub holds of a break's corrections."""
    with _corrections(session) as hub:
        acted(session, lambda desk: desk.withdraw(arguments.number, arguments.reason, hub))


@contextmanager
def _corrections(session: Session) -> Iterator[HubCorrections]:
    """The hub, asked with the key of the person who acts."""
    settings = session.settings
    key = load_private_key(Path(settings.require("person_key_file")))
    audience, keys = settings.require("audience"), load_hub_keys(Path(settings.require("hub_keys_file")))
    ca_file = settings.get("hub_ca_file")
    roots = Path(ca_file).read_bytes() if ca_file else None
    with HubClient.open(settings.require("hub_address"), key, audience, roots) as hub:
        yield HubCorrections(hub, keys, audience)


@contextmanager
def _hub_of_held(session: Session, break_id: int) -> Iterator[HubCorrections | None]:
    """The hub, where it holds a correction of the break, which then has to be withdrawn; None where it does not."""
    with open_snapshot(session.settings) as connection:
        held = any(one.state == PROPOSED for one in list_corrections(connection, break_id))
    with _corrections(session) if held else nullcontext() as hub:
        yield hub


def _confirm(session: Session, arguments: argparse.Namespace, posting: Posting, verb: str) -> None:
    if arguments.yes:
        return
    if not sys.stdin.isatty():
        raise Misconfigured(f"--yes is needed where nobody can be asked: {posting_words(posting)}")
    shown: RenderableType = f"{verb}: {posting_words(posting)}"
    session.console.print(shown, markup=False)
    if input(f"{verb.capitalize()} this? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Declined("nothing was posted")
