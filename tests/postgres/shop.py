"""A ledger with two partners and their members, and batchers at work on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import psycopg
from google.rpc import error_details_pb2, status_pb2

from exchange.batch import Answer
from exchange.batcher import Batcher
from exchange.core.evidence import Call
from exchange.registrar import Actor
from exchange.rpc.answers import encode
from exchange.store.engine import open_connection
from tests.builders import TERMS
from tests.postgres.ledger_at_work import WIDE, Office, new_card
from tongdui.exchange.v1 import commands_pb2

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Shop:
    """A ledger with partners a and b, their cards, and members of both with wide consent."""

    office: Office
    a: Actor
    b: Actor
    members: list[int]

    @property
    def url(self) -> str:
        return self.office.url


def open_shop(office: Office, member_count: int) -> Shop:
    a, b = office.partner("a"), office.partner("b")
    for code in ("a", "b"):
        office.approve_card(office.propose(new_card(code)))
    members = [office.enroll(a, f"c-{number}", WIDE) for number in range(member_count)]
    for number, member_id in enumerate(members):
        office.link(b, member_id, f"c-{number}", WIDE)
    return Shop(office, a, b, members)


def new_batcher(url: str, connections: int = 3) -> Batcher:
    return Batcher(lambda: open_connection(url), TERMS, encode, lambda _: None, connections)


@contextmanager
def defect(url: str, at: str) -> Iterator[None]:
    """While it lasts, an entry of which `at` is true is one that nobody has an answer to."""
    with psycopg.connect(url) as owner:
        owner.execute(
            f"ALTER TABLE exchange.entries ADD CONSTRAINT defect CHECK (NOT ({at})) NOT VALID".encode()
        )
    try:
        yield
    finally:
        with psycopg.connect(url) as owner:
            owner.execute("ALTER TABLE exchange.entries DROP CONSTRAINT defect")


@asynccontextmanager
async def at_work(*batchers: Batcher) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for batcher in batchers:
            await batcher.stop()


def posting(shop: Shop, work: Callable[[Batcher], Awaitable[_T]], connections: int = 3) -> _T:
    """What `work` does with a batcher of its own."""

    async def run() -> _T:
        batcher = new_batcher(shop.url, connections)
        async with at_work(batcher):
            return await work(batcher)

    return asyncio.run(run())


def reason(answer: Answer) -> str:
    """Empty for a yes."""
    if answer.accepted:
        return ""
    status = status_pb2.Status.FromString(answer.body)
    info = error_details_pb2.ErrorInfo.FromString(status.details[0].value)
    return info.reason


def entry_id(answer: Answer) -> str:
    assert answer.accepted
    return commands_pb2.EarnResponse.FromString(answer.body).entry_id  # field 1 of a burn's answer too


def call(shop: Shop, body: str = "body") -> Call:
    return Call(shop.a.partner_id, "a.key", "/test", "params", b"s" * 64, body.encode())
