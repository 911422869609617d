"""The keys and partners of this moment, kept in memory and renewed within two seconds of any change."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from nacl.signing import VerifyKey

from exchange.core.ids import OPERATOR
from exchange.rpc.signatures import AdmissibleKey, Caller
from exchange.store.failures import StoreUnavailable
from exchange.store.reads import RegistryRow

POLL_SECONDS: Final = 1.0
"""How often the registry's version is looked at; revocation must work in every process within 5 s."""

MISS_SECONDS: Final = 0.2
"""How often at most an unknown key makes the directory look again."""

_log = logging.getLogger(__name__)


class Directory:
    """Finds active keys by id and partners by code."""

    def __init__(self, read: Callable[[int], RegistryRow | None]) -> None:
        """`read(version)` gives the whole registry, or None where it still has that version."""
        self._read = read
        self._version = 0
        self._keys: dict[str, AdmissibleKey] = {}
        self.partner_ids: dict[str, int] = {}
        self.partner_codes: dict[int, str] = {}
        self.attestors: frozenset[int] = frozenset()
        self._looked = 0.0
        self._renewing = asyncio.Lock()

    async def find(self, key_id: str) -> AdmissibleKey | None:
        """The key if it is active."""
        key = self._keys.get(key_id)
        if key is None and time.monotonic() - self._looked > MISS_SECONDS:
            await self.renew()
            key = self._keys.get(key_id)
        return key

    async def renew(self) -> None:
        """Reads the registry again if it changed. Called after every change made in this process."""
        async with self._renewing:
            row = await asyncio.to_thread(self._read, self._version)
            self._looked = time.monotonic()
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
            except Exception:  # noqa: BLE001  # the poll must outlive any one failure; it is logged
                _log.exception("the registry could not be read")

    def _replace(self, row: RegistryRow) -> None:
        self.partner_ids = {partner.code: partner.partner_id for partner in row.partners}
        self.partner_codes = {partner.partner_id: partner.code for partner in row.partners}
        self.attestors = frozenset(it.partner_id for it in row.partners if it.attestation_allowed)
        self._keys = {
            key.key_id: AdmissibleKey(
                Caller(
                    key.key_id,
                    key.owner,
                    self.partner_ids.get(key.owner, OPERATOR),
                    key.holder,
                    frozenset(key.roles),
                ),
                VerifyKey(key.public_key),
                key.valid_from.timestamp(),
                key.valid_until.timestamp(),
            )
            for key in row.active_keys
        }
        self._version = row.version
