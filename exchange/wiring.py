"""Puts the hub's parts together: who keeps, decides, reads and answers. Wiring, no logic."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Final, NamedTuple, TypeVar

import psycopg
from sqlalchemy import Engine

from exchange.batcher import Batcher, BatchFigures
from exchange.housekeeper import Housekeeper
from exchange.keyfile import UnsafeKey, create_contact_key, load_contact_key, load_key
from exchange.metrics import Metrics
from exchange.registrar import Envelope, Membership, Registrar
from exchange.registrar.contacts import WrongContactKey
from exchange.registrar.membership import is_bound
from exchange.registrar.senders import CodeSender, ProgramSender, TerminalSender
from exchange.rpc import accounts, journal, members, partners, points, rate_cards
from exchange.rpc.answers import encode
from exchange.rpc.calls import Gate, Method, Stream
from exchange.rpc.directory import Directory
from exchange.rpc.lanes import HubLanes
from exchange.rpc.quotes import QuoteBook
from exchange.rpc.quoting import Quoter
from exchange.rpc.reading import WalletReader
from exchange.rpc.receipts import ReceiptSigner
from exchange.rpc.signatures import Admission
from exchange.rpc.watch import EntryWatch
from exchange.settings import NotInitialised, Settings
from exchange.store.embedded import Keeper
from exchange.store.engine import open_connection
from exchange.store.reads import read_due_members, read_registry
from exchange.store.reads.ledger import find_ledger
from exchange.store.reads.pages import list_keys
from exchange.store.reads.snapshots import Snapshots
from exchange.store.transactions import translated
from tongdui.signing import HUB_OWNER

MAX_HUB_KEYS: Final = 1000

_T = TypeVar("_T")


class Database(NamedTuple):
    """The database as the hub has it; `embedded` where it is the hub's own server."""

    url: str
    engine: Engine
    embedded: Keeper | None


class Hub(NamedTuple):
    """A hub's parts, ready to serve."""

    gate: Gate
    services: dict[str, tuple[Method | Stream, ...]]
    directory: Directory
    batcher: Batcher
    housekeeper: Housekeeper
    watch: EntryWatch
    probe: Callable[[], object]


def wire(database: Database, settings: Settings, lanes: HubLanes, metrics: Metrics) -> Hub:
    """Reads the ledger's constants and keys, and makes every part. Raises `NotInitialised` or `UnsafeKey`."""
    engine = database.engine
    snapshots = Snapshots(engine)
    ledger = snapshots.read(find_ledger)
    if ledger is None:
        raise NotInitialised("the database holds no ledger; run `tongdui-hub init` first")
    private_key = load_key(settings.hub_key)
    receipts = ReceiptSigner(private_key)
    quotes = QuoteBook(private_key, _hub_keys(snapshots, receipts, settings))
    directory = Directory(
        lambda version: lanes.directory.run(_reader(engine, lambda it: read_registry(it, version)))
    )
    admission = Admission(ledger.audience, directory)
    watch = EntryWatch(snapshots, lanes.streams, lanes.tail, admission.check_still)

    def observe(figures: BatchFigures) -> None:
        metrics.batch(figures)
        if figures.entry_count:
            watch.notice()

    batcher = Batcher(
        lambda: open_connection(database.url), ledger.terms(), encode, observe, settings.connections
    )
    housekeeper = Housekeeper(
        batcher,
        lambda limit: lanes.housekeeper.run(_reader(engine, lambda it: read_due_members(it, limit))),
    )
    registrar = Registrar(engine)
    services = lanes.services
    membership = _membership(engine, settings)
    desk = accounts.Desk(batcher, registrar, snapshots, directory, quotes, services)
    served: dict[str, tuple[Method | Stream, ...]] = {
        points.SERVICE: points.PointsService(
            batcher, WalletReader(snapshots, services), Quoter(snapshots, services, quotes), quotes
        ).methods(),
        members.SERVICE: members.MembersService(
            registrar, membership, snapshots, services, lanes.codes
        ).methods(),
        partners.SERVICE: partners.PartnersService(registrar, snapshots, directory, services).methods(),
        accounts.SERVICE: accounts.AccountsService(desk).methods(),
        rate_cards.SERVICE: rate_cards.RateCardsService(registrar, snapshots, services).methods(),
        journal.SERVICE: (
            *journal.JournalService(
                ledger.audience, registrar, snapshots, services, housekeeper.alone
            ).methods(),
            *watch.methods(),
        ),
    }
    gate = Gate(admission, receipts, metrics.call)
    probe = _reader(engine, lambda it: it.execute("SELECT 1").fetchone())
    return Hub(gate, served, directory, batcher, housekeeper, watch, probe)


def _hub_keys(snapshots: Snapshots, receipts: ReceiptSigner, settings: Settings) -> dict[str, bytes]:
    """The hub's public keys by id. Raises `UnsafeKey` where its own is not an active one of this ledger."""
    known = snapshots.read(lambda it: list_keys(it, (HUB_OWNER,), "", MAX_HUB_KEYS))
    if receipts.key_id not in {key.key_id for key in known if key.state == "active"}:
        # Its receipts would prove nothing: nobody could tell that they are this ledger's.
        raise UnsafeKey(f"{settings.hub_key} is not a key of the ledger in this database")
    return {key.key_id: key.public_key for key in known}


def _membership(engine: Engine, settings: Settings) -> Membership:
    """The keeper of members' contacts, bound to the database's contact key. Raises `UnsafeKey`."""
    path = settings.contact_key
    # Only where there is nothing to open yet: a new key would not open what another one sealed.
    is_new = not path.exists() and not is_bound(engine)
    envelope = Envelope(create_contact_key(path) if is_new else load_contact_key(path))
    membership = Membership(engine, envelope, _code_sender(settings))
    try:
        membership.bind()
    except WrongContactKey as wrong:
        raise UnsafeKey(f"{path}: {wrong}") from wrong
    return membership


def _code_sender(settings: Settings) -> CodeSender | None:
    if settings.code_program is not None:
        return ProgramSender(settings.code_program)
    return TerminalSender() if settings.code_sender == "print" else None


def _reader(engine: Engine, read: Callable[[psycopg.Connection[tuple[object, ...]]], _T]) -> Callable[[], _T]:
    """`read` on a connection of the pool, in one snapshot that is rolled back. Raises `StoreUnavailable`."""

    def run() -> _T:
        with translated(), closing(engine.raw_connection()) as connection:
            driver = connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return read(driver)

    return run
