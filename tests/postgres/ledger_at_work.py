"""A migrated, initialised ledger and its registrar, for tests of the database parts of the hub.

Defaults: manual clock at noon of 1 January 2026 in Shanghai; people Chen and Li; partners a, b and c, of which
a and b may attest; each partner has one approved card (R below F, all prefunded, 30 days).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from hashlib import sha256
from itertools import count
from typing import Any, Final

from nacl.signing import SigningKey
from sqlalchemy import Engine, delete, text

from exchange.batch import Answer
from exchange.batcher import Batcher
from exchange.core.commands import Command
from exchange.core.evidence import Call
from exchange.core.ids import OPERATOR
from exchange.core.rates import ExpiryKind, ExpiryPolicy
from exchange.registrar import (
    Actor,
    Answered,
    Asked,
    Challenge,
    Consent,
    Enrolment,
    FirstPerson,
    LinkRequest,
    NewCard,
    NewKey,
    NewLedger,
    NewPartner,
    Outcome,
    Registrar,
    Write,
)
from exchange.rpc.answers import encode as encode_answers
from exchange.store.contact_tables import CONTACTS_METADATA
from exchange.store.engine import open_connection, open_engine
from exchange.store.reads.pages import Card, Key, Partner, Window
from exchange.store.tables import METADATA, PARTNERS
from tests.builders import NOON, TERMS
from tongdui.signing import registration_text

AUDIENCE: Final = "hub.example/test"
CHEN: Final = Actor(OPERATOR, "operator", "chen.wei")
LI: Final = Actor(OPERATOR, "operator", "li.na")
PEOPLE: Final = {name: SigningKey(sha256(name.encode()).digest()) for name in ("chen.wei", "li.na")}
HUB_KEY: Final = SigningKey(sha256(b"hub").digest())
WIDE: Final = Consent(1_000_000, 1_000_000)


def new_ledger(**changes: Any) -> NewLedger:
    ledger = NewLedger(AUDIENCE, "CNY", 2, "Asia/Shanghai", 0, 7 * 86400, 0, NOON)
    return ledger._replace(**changes)


def public(key: SigningKey) -> bytes:
    return bytes(key.verify_key)


def new_card(partner_code: str, **changes: Any) -> NewCard:
    values = {
        "valid_from": datetime(2020, 1, 1, tzinfo=UTC),
        "earn_rate": Fraction(1),
        "native_rate_in": None,
        "native_rate_out": None,
        "exchange_spread": Fraction(0),
        "face_value_micros": 10_000,
        "funding_micros": 10_000,
        "reimbursement_micros": 9_500,
        "issue_fee_micros": 200,
        "prefunded_micros": 10_000,
        "expiry_policy": ExpiryPolicy(ExpiryKind.DAYS, 30),
        "breakage_issuer_share": Fraction(1, 3),
    }
    return NewCard(partner_code, **{**values, **changes})


@dataclass
class Office:
    """The registrar with what a caller of it does: numbers requests, signs calls, keeps the answers."""

    url: str
    engine: Engine
    registrar: Registrar
    numbers: count[int] = field(default_factory=lambda: count(1))

    def write(self, actor: Actor, request_id: str = "", fields: str = "") -> Write:
        """A write with a request id of its own, unless one is named; `fields` stands for what it says."""
        asked = self.asked(request_id, fields)
        return Write("test", asked, self.call(actor))

    def asked(self, request_id: str = "", fields: str = "") -> Asked:
        return Asked(request_id or f"auto-{next(self.numbers)}", sha256(fields.encode()).digest())

    def call(self, actor: Actor) -> Call:
        return Call(actor.partner_id, f"{actor.owner}.key", "/test", "params", b"s" * 64, b"body")

    def value(self, act: Callable[[Callable[[Any], bytes]], Answered]) -> Any:
        """What `act` made, seen through its encoder; an answer that was replayed makes nothing."""
        made: list[Any] = []

        def encode(value: Any) -> bytes:
            made.append(value)
            return repr(value).encode()

        act(encode)
        assert made, "a replay"
        return made[-1]

    def partner(self, code: str, *, attests: bool = True) -> Actor:
        """Creates a partner and gives it as an actor."""
        new = NewPartner(code, code.upper(), attests)
        made: Partner = self.value(
            lambda encode: self.registrar.create_partner(self.write(CHEN), new, encode)
        )
        return Actor(made.partner_id, code, code)

    def register(self, owner: Actor, key: SigningKey, by: Actor, **changes: Any) -> Key:
        """Takes a key through challenge and registration."""
        registrar = self.registrar
        holder = "" if owner.partner_id != OPERATOR else owner.person
        challenged: Challenge = self.value(
            lambda encode: registrar.create_key_challenge(self.write(by), owner.owner, holder, encode)
        )
        challenge = challenged.challenge
        signed = registration_text(AUDIENCE, owner.owner, holder, public(key), challenge)
        roles = ("partner",) if not holder else ("operator",)
        new = NewKey(owner.owner, holder, public(key), challenge, key.sign(signed).signature, roles, 366)
        new = new._replace(**changes)
        made: Key = self.value(lambda encode: registrar.register_key(self.write(by), by, new, encode))
        return made

    def approve(self, key_id: str, by: Actor) -> Key:
        key: Key = self.value(lambda encode: self.registrar.approve_key(self.write(by), by, key_id, encode))
        return key

    def revoke(self, key_id: str, by: Actor) -> Key:
        key: Key = self.value(
            lambda encode: self.registrar.revoke_key(self.write(by), by, key_id, "lost", encode)
        )
        return key

    def propose(self, new: NewCard, by: Actor = CHEN) -> Card:
        card: Card = self.value(
            lambda encode: self.registrar.propose_rate_card(self.write(by), by, new, encode)
        )
        return card

    def approve_card(self, card: Card, by: Actor = LI) -> Card:
        approved: Card = self.value(
            lambda encode: self.registrar.approve_rate_card(
                self.write(by), by, card.partner_code, card.version, encode
            )
        )
        return approved

    def enroll(self, partner: Actor, customer_id: str, consent: Consent | None = None) -> int:
        """The member, enrolled or not for the first time."""
        (outcome,) = self.enroll_all(partner, [Enrolment(self.asked(), customer_id, consent)])
        return number(outcome)

    def enroll_all(self, partner: Actor, items: Sequence[Enrolment]) -> list[Outcome]:
        return self.registrar.enroll_members(self.call(partner), items, member_answer)

    def link(
        self, partner: Actor, member_id: int, customer_id: str, consent: Consent | None = None
    ) -> Outcome:
        item = LinkRequest(self.asked(), member_id, customer_id, consent)
        (outcome,) = self.registrar.link_aliases(self.call(partner), [item], member_answer)
        return outcome

    def set_time(self, moment: datetime) -> None:
        assert self.registrar.move_clock(self.write(CHEN), moment) is None

    def close(self, day: date) -> Window:
        window: Window = self.value(lambda encode: self.registrar.close_window(self.write(CHEN), day, encode))
        return window

    def post(self, *commands: Command) -> list[Answer]:
        """Decides the commands in one batch, as the hub does."""
        return asyncio.run(self._post(commands))

    async def _post(self, commands: Sequence[Command]) -> list[Answer]:
        batcher = open_batcher(self.url)
        try:
            return await batcher.submit(commands, None)
        finally:
            await batcher.stop()

    def rows(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        with self.engine.begin() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]


def open_batcher(url: str) -> Batcher:
    return Batcher(lambda: open_connection(url), TERMS, encode_answers, lambda _: None)


def member_answer(member_id: int) -> bytes:
    return str(member_id).encode()


def number(outcome: Outcome) -> int:
    if isinstance(outcome, Answered):
        return int(outcome.answer)
    raise outcome


def begin_anew(url: str, ledger: NewLedger | None = None) -> None:
    """Empties a migrated database and makes the ledger: a tenth of the time of a database of its own."""
    owner = open_engine(url, role=None)
    with owner.begin() as connection:
        for table in CONTACTS_METADATA.sorted_tables:
            connection.execute(delete(table))
        for table in METADATA.sorted_tables:
            if table.name not in ("partners", "registry"):
                connection.execute(delete(table))
        connection.execute(delete(PARTNERS).where(PARTNERS.c.partner_id > 0))
        for name in ("batch_ids", "partner_ids"):
            connection.execute(text(f"ALTER SEQUENCE exchange.{name} RESTART"))
    people = [FirstPerson(name, public(key)) for name, key in PEOPLE.items()]
    Registrar(owner).initialise(ledger or new_ledger(), public(HUB_KEY), people)
    owner.dispose()


def open_office(url: str) -> Office:
    """The registrar of an initialised database. The caller disposes of the engine."""
    engine = open_engine(url)
    return Office(url, engine, Registrar(engine))


def days_on(days: float) -> datetime:
    """A moment that many days after noon of 1 January."""
    return NOON + timedelta(days=days)
