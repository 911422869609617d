"""The keys a settlement service believes: fresh enough, and never a read for each call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from settlement.rpc.admission import KEY_SECONDS, KeyBook
from settlement.store.reads import DatabaseUnavailable, KnownKey

KEY = KnownKey(
    "a.1",
    "a",
    bytes(32),
    frozenset({"partner"}),
    "active",
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2027, 1, 1, tzinfo=UTC),
)


class Registry:
    """Keys that can go away, a clock that stands, and a count of reads."""

    def __init__(self) -> None:
        self.keys: Mapping[str, KnownKey] = {KEY.key_id: KEY}
        self.away = False
        self.reads = 0
        self.seconds = 0.0
        self.book = KeyBook(self.read, lambda: self.seconds)

    def read(self) -> Mapping[str, KnownKey]:
        self.reads += 1
        if self.away:
            raise DatabaseUnavailable("away")
        return self.keys


def test_a_thousand_calls_with_unknown_key_ids_cost_one_read_a_second() -> None:
    registry = Registry()

    found = [registry.book.find(f"nobody.{number}") for number in range(1_000)]

    assert found == [None] * 1_000
    assert registry.reads == 1


def test_a_key_that_is_gone_is_known_no_longer_than_a_second() -> None:
    registry = Registry()
    assert registry.book.find("a.1") is KEY

    registry.keys = {}
    registry.seconds += KEY_SECONDS

    assert registry.book.find("a.1") is None


def test_keys_that_cannot_be_read_are_neither_believed_on_nor_read_for_each_call() -> None:
    registry = Registry()
    registry.book.find("a.1")
    registry.away, registry.seconds = True, KEY_SECONDS

    for _ in range(100):
        with pytest.raises(DatabaseUnavailable):
            registry.book.find("a.1")
    assert registry.reads == 2

    registry.away, registry.seconds = False, 2 * KEY_SECONDS
    assert registry.book.find("a.1") is KEY
