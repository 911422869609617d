"""The beginning of a ledger: its constants, the chain's first link, the hub's key and the first people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, insert, select

from exchange.core.book import Terms
from exchange.registrar.keys import MAX_VALIDITY_DAYS, OPERATOR_OWNER, check_suitable, insert_key
from exchange.registrar.partners import change_registry, folded
from exchange.registrar.windows import NO_HASH
from exchange.store.tables import CHAIN, LEDGER
from tongdui.signing import HUB_OWNER
from tongdui.signing.grammar import HOLDER, matched

REGISTERED_BY: Final = "init"
"""Who stands as registrar of the first keys: nobody could register or approve them yet."""

FIRST_PEOPLE: Final = 2
"""Operators to begin with at least, because every later key and card needs two."""


class AlreadyInitialised(RuntimeError):
    """The database holds a ledger already."""


class Rules(NamedTuple):
    """What a coalition may agree otherwise than most (docs/ledger.md, Terms). A limit of 0 is none."""

    claw_back: str = "deficit"
    refund: str = "lot_exact"
    grace_days: int = 0
    pending_days: int = 180
    member_daily_burns: int = 0
    member_daily_points: int = 0
    terminal_daily_burns: int = 0
    terminal_daily_points: int = 0
    transfer_limit_points: int = 0
    transfer_daily_points: int = 0


class NewLedger(NamedTuple):
    """What the coalition agrees once for all. `manual_time` None: the ledger clock follows the system."""

    audience: str
    currency_code: str
    minor_unit_digits: int
    time_zone: str
    cut_off_seconds: int
    late_limit_seconds: int
    card_notice_seconds: int
    manual_time: datetime | None
    rules: Rules = Rules()


class FirstPerson(NamedTuple):
    """One of the first operators, and the 32 bytes of her public key."""

    name: str
    public_key: bytes
    roles: tuple[str, ...] = ("operator",)


def initialise(
    connection: Connection, new: NewLedger, hub_public_key: bytes, people: Sequence[FirstPerson]
) -> None:
    """Makes the ledger. Raises `AlreadyInitialised`, or `RegistrarRefusal` KEY_UNSUITABLE.

    Needs the schema's owner: the hub's own role can't do this. `ValueError` where fewer than two people come,
    or where one has a name that no key could be registered under.
    """
    for person in people:
        matched(HOLDER, "holder", person.name)
    if len({folded(person.name) for person in people}) < max(FIRST_PEOPLE, len(people)):
        raise ValueError("two different people at least")
    change_registry(connection)
    if connection.execute(select(LEDGER.c.singleton)).first() is not None:
        raise AlreadyInitialised("the database holds a ledger already")
    now = connection.execute(select(func.now())).scalar_one()
    first_window_date = _window_of(new, new.manual_time or now)
    clock = "system" if new.manual_time is None else "manual"
    constants = new._asdict() | new.rules._asdict()
    del constants["rules"]
    connection.execute(
        insert(LEDGER).values(singleton=True, clock=clock, first_window_date=first_window_date, **constants)
    )
    connection.execute(
        insert(CHAIN).values(singleton=True, sequence=0, hash=NO_HASH, window_date=first_window_date)
    )
    _insert_active(connection, HUB_OWNER, "", hub_public_key, ())
    for person in people:
        check_suitable(person.public_key)
        _insert_active(connection, OPERATOR_OWNER, person.name, person.public_key, person.roles)


def _window_of(new: NewLedger, moment: datetime) -> date:
    terms = Terms(ZoneInfo(new.time_zone), cut_off=timedelta(seconds=new.cut_off_seconds))
    return terms.window_of(moment)


def _insert_active(
    connection: Connection, owner: str, holder: str, public_key: bytes, roles: tuple[str, ...]
) -> None:
    insert_key(
        connection,
        owner,
        holder,
        public_key,
        roles,
        MAX_VALIDITY_DAYS,
        state="active",
        registered_by=REGISTERED_BY,
    )
