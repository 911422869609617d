"""What a command works with: settings turned into connections, keys and a place to print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

from rich.console import Console, RenderableType
from sqlalchemy import Connection

from settlement.core.window import Ledger
from settlement.daily_run import DailyRun, Verify
from settlement.payments import VerifySettled
from settlement.people import Actor
from settlement.rpc.hub_client import HubClient
from settlement.rpc.keys import PrivateKey, load_hub_keys, load_private_key
from settlement.rpc.receipts import verify_close, verify_settle
from settlement.settings import Settings
from settlement.store import feed
from settlement.store.engine import exclusive_run, open_engine
from settlement.store.reads import DayOfStatements, Reads


class Misconfigured(Exception):
    """Two settings do not fit together; `str()` says which."""


class NotThere(Exception):
    """What was asked for does not exist for that day, or not yet."""


@dataclass(frozen=True, slots=True)
class Session:
    """What every command has: its settings, where it prints, and whether it prints JSON."""

    settings: Settings
    console: Console
    as_json: bool

    def show(self, content: object, table: Callable[[], RenderableType]) -> None:
        """Prints `content` as JSON, or the table."""
        if self.as_json:
            sys.stdout.write(json.dumps(content, indent=2) + "\n")
        else:
            self.console.print(table(), markup=False)


@contextmanager
def open_daily_run(settings: Settings) -> Iterator[DailyRun]:
    """The steps of a run that no other run can disturb, in the name of the person whose key file is given.

    Raises AnotherRun, LedgerMissing, Misconfigured, KeyFileError.
    """
    engine = open_engine(settings.require("database_url"))
    try:
        with exclusive_run(engine) as connection:
            with connection.begin():
                ledger = feed.read_ledger(connection)
            _check_audience(settings, ledger)
            yield DailyRun(connection, ledger, person_or_settlement(settings))
    finally:
        engine.dispose()


def _check_audience(settings: Settings, ledger: Ledger) -> None:
    """Refuses to settle one hub's ledger with another hub's settings; `net` may have none."""
    audience = settings.get("audience")
    if audience and audience != ledger.audience:
        raise Misconfigured(f"TONGDUI_AUDIENCE is {audience}, but the database is of {ledger.audience}")


@contextmanager
def open_hub(settings: Settings) -> Iterator[HubClient]:
    """The hub, called with the finance key. Raises KeyFileError, SettingMissing."""
    key_file = settings.get("finance_key_file") or settings.require("key_file")
    key = load_private_key(Path(key_file))
    wanted = settings.get("key_id")
    if wanted and wanted != key.key_id:
        key = key.known_as(wanted)
    ca_file = settings.get("hub_ca_file")
    roots = Path(ca_file).read_bytes() if ca_file else None
    with HubClient.open(settings.require("hub_address"), key, settings.require("audience"), roots) as hub:
        yield hub


def own_key(settings: Settings) -> PrivateKey:
    """Settlement's own key, which signs certificates. Raises KeyFileError, SettingMissing."""
    return load_private_key(Path(settings.require("key_file")))


def open_person(settings: Settings) -> Actor:
    """The person whose key file is named, to act in their name. Raises KeyFileError, SettingMissing."""
    return Actor(load_private_key(Path(settings.require("person_key_file"))))


def person_or_settlement(settings: Settings) -> Actor:
    """The person whose key file is named; where none is, settlement itself, with its own key if it has one.

    Raises KeyFileError.
    """
    if settings.get("person_key_file"):
        return open_person(settings)
    own = settings.get("key_file")
    return Actor(load_private_key(Path(own)) if own else None, unattended=True)


def make_verifier(settings: Settings) -> Verify:
    """What checks the hub's receipts, by the pinned keys. Raises KeyFileError, SettingMissing."""
    keys = load_hub_keys(Path(settings.require("hub_keys_file")))
    return partial(verify_close, hub_keys=keys, audience=settings.require("audience"))


def make_settled_verifier(settings: Settings) -> VerifySettled:
    """What checks the hub's receipts of settled windows. Raises KeyFileError, SettingMissing."""
    keys = load_hub_keys(Path(settings.require("hub_keys_file")))
    return partial(verify_settle, hub_keys=keys, audience=settings.require("audience"))


@contextmanager
def open_reads(settings: Settings) -> Iterator[Reads]:
    """What settlement has kept, for reading."""
    engine = open_engine(settings.require("database_url"))
    try:
        yield Reads(engine)
    finally:
        engine.dispose()


@contextmanager
def open_snapshot(settings: Settings) -> Iterator[Connection]:
    """One state of the database for several reads, whatever is committed meanwhile."""
    engine = open_engine(settings.require("database_url"))
    try:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            yield connection
    finally:
        engine.dispose()


def read_day(session: Session, window_date: date) -> DayOfStatements:
    """A computed day. Raises NotThere."""
    with open_reads(session.settings) as reads:
        day = reads.day(window_date)
    if day is None:
        raise NotThere(f"{window_date}: not computed; run `run --date {window_date}` first")
    return day
