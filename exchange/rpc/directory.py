"""The keys and partners of this moment, kept in memory and renewed within two seconds of any change."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from exchange.core.ids import OPERATOR
from exchange.rpc.signatures import AdmissibleKey, Caller
from exchange.store.failures import StoreUnavailable, without_values
from exchange.store.reads import KeyRow, RegistryRow

POLL_SECONDS: Final = 1.0
"""How often the registry's version is looked at; revocation must work in every process within 5 s."""

MISS_SECONDS: Final = 0.2
"""How often at most an unknown key makes the directory look again."""

OPERATOR_OWNER: Final = "operator"
"""The owner of the keys of the operator's people."""

_log = logging.getLogger(__name__)


class Directory:
    """Finds active keys by id and partners by code."""

    def __init__(self, read: Callable[[int], Awaitable[RegistryRow | None]]) -> None:
        """`read(version)` gives the whole registry, or None where it still has that version."""
        self._read = read
        self._version = 0
        self._keys: dict[str, AdmissibleKey] = {}
        self.partner_ids: dict[str, int] = {}
        self.partner_codes: dict[int, str] = {}
        self.attestors: frozenset[int] = frozenset()
        self._looked = 0.0
        self._is_away = False
        self._renewing = asyncio.Lock()

    async def find(self, key_id: str) -> AdmissibleKey | None:
        """The key if it is active. Raises `StoreUnavailable` for an unknown one while the database is away."""
        if key_id not in self._keys and self._may_look():
            async with self._renewing:
                # Whoever waited here finds what the one before it read: a crowd of unknown keys is one read.
                if key_id not in self._keys and self._may_look():
                    await self._look()
        key = self._keys.get(key_id)
        if key is None and self._is_away:
            raise StoreUnavailable("the registry can not be read")  # nobody can say that there is no such key
        return key

    def _may_look(self) -> bool:
        return time.monotonic() - self._looked > MISS_SECONDS

    async def renew(self) -> None:
        """Reads the registry again if it changed. Called after every change made in this process."""
        async with self._renewing:
            await self._look()

    async def _look(self) -> None:
        self._looked = time.monotonic()  # before the read, so that nobody queues behind it
        try:
            row = await self._read(self._version)
            self._is_away = False
        except StoreUnavailable:
            self._is_away = True
            raise
        finally:
            self._looked = time.monotonic()  # and after it, however long it took and however it ended
        if row is not None:
            self._replace(row)

    async def keep_current(self) -> None:
        """Renews for ever. While the database is away the old answers stand; a hub without one posts nothing."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.renew()
            except StoreUnavailable:
                _log.warning("the registry can not be read while the database is away")
            except Exception as failure:  # noqa: BLE001  # the poll must outlive any one failure; it is logged
                _log.error("the registry could not be read: %s", without_values(failure))

    def _replace(self, row: RegistryRow) -> None:
        partner_ids = {partner.code: partner.partner_id for partner in row.partners}
        keys = {key.key_id: _admissible(key, partner_ids) for key in row.active_keys}
        self._keys = {name: key for name, key in keys.items() if key is not None}
        self.partner_ids = partner_ids
        self.partner_codes = {partner.partner_id: partner.code for partner in row.partners}
        self.attestors = frozenset(it.partner_id for it in row.partners if it.attestation_allowed)
        self._version = row.version


def _admissible(key: KeyRow, partner_ids: dict[str, int]) -> AdmissibleKey | None:
    """The key, or None where its owner is nobody: such a key must open nothing, least of all the operator's door."""
    partner_id = OPERATOR if key.owner == OPERATOR_OWNER else partner_ids.get(key.owner, 0)
    if key.owner != OPERATOR_OWNER and partner_id <= 0:  # partners count from 1, reserved parties are below
        _log.error("key %s is left out: its owner is no partner", key.key_id)
        return None
    return AdmissibleKey(
        Caller(key.key_id, key.owner, partner_id, key.holder, frozenset(key.roles)),
        key.public_key,
        key.valid_from.timestamp(),
        key.valid_until.timestamp(),
    )
