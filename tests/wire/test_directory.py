"""The directory of keys: who is let in, and how often the database is asked."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from nacl.signing import SigningKey

from exchange.core.ids import OPERATOR
from exchange.rpc import directory as directory_module
from exchange.rpc.directory import Directory
from exchange.store.failures import StoreUnavailable
from exchange.store.reads import KeyRow, PartnerRow, RegistryRow

PUBLIC_KEY = bytes(SigningKey(bytes(32)).verify_key)
PARTNERS = [PartnerRow(0, "hub", False), PartnerRow(-1, "POOL", False), PartnerRow(7, "cafe", True)]


def key_of(owner: str) -> KeyRow:
    begin, end = datetime(2025, 1, 1, tzinfo=UTC), datetime(2035, 1, 1, tzinfo=UTC)
    return KeyRow(f"{owner}.key", owner, "", PUBLIC_KEY, ["partner"], begin, end)


class Registry:
    """Reads that take a while, on a clock that only they move, and are counted."""

    def __init__(self, *owners: str, seconds: float = 0.0, is_away: bool = False) -> None:
        self.row = RegistryRow(1, PARTNERS, [key_of(owner) for owner in owners])
        self.seconds = seconds
        self.is_away = is_away
        self.count = 0
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    async def read(self, known_version: int) -> RegistryRow | None:
        self.count += 1
        await asyncio.sleep(0)
        self.now += self.seconds
        if self.is_away:
            raise StoreUnavailable
        return None if known_version == self.row.version else self.row


def directory_of(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Directory:
    # On the registry's clock: the machine may take its time over a crowd.
    monkeypatch.setattr(directory_module, "time", registry)
    return Directory(registry.read)


@pytest.mark.parametrize("seconds", [0.0, 0.3], ids=["fast", "slower than the pause between reads"])
def test_a_thousand_unknown_keys_at_once_are_two_reads_at_most(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry("cafe", seconds=seconds)
    directory = directory_of(registry, monkeypatch)

    async def crowd() -> list[object]:
        return list(await asyncio.gather(*(directory.find(f"cafe.{number}") for number in range(1000))))

    found = asyncio.run(crowd())

    assert found == [None] * 1000
    assert registry.count <= 2


def test_while_the_database_is_away_an_unknown_key_is_unavailable_and_not_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = Registry(is_away=True)
    directory = directory_of(registry, monkeypatch)

    async def crowd() -> list[object]:
        calls = (directory.find(f"cafe.{number}") for number in range(100))
        return list(await asyncio.gather(*calls, return_exceptions=True))

    found = asyncio.run(crowd())

    assert {type(outcome) for outcome in found[:1]} == {StoreUnavailable}
    assert registry.count <= 2


@pytest.mark.parametrize("owner", ["nobody", "hub", "POOL"])
def test_a_key_whose_owner_is_no_partner_opens_nothing(owner: str) -> None:
    directory = Directory(Registry(owner, "cafe", "operator").read)

    async def look() -> list[int | None]:
        found = [await directory.find(f"{it}.key") for it in (owner, "cafe", "operator")]
        return [key and key.caller.partner_id for key in found]

    assert asyncio.run(look()) == [None, 7, OPERATOR]
