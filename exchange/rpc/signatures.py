"""Who calls: admission by signature, over the bytes received and before anything is parsed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from exchange.rpc.errors import error
from tongdui.signing import SignatureMalformed, SignatureStale, SignedRequest, content_digest, parse_request


class Caller(NamedTuple):
    """Whose key signed: its owner (a partner's id or `operator`), the owner's integer, and what it may do.

    `partner_id` is `OPERATOR` for people of the operator; `holder` names them.
    """

    key_id: str
    owner: str
    partner_id: int
    holder: str
    roles: frozenset[str]

    def person(self) -> str:
        """Who acts, for the rule of two people: the holder, or the partner itself."""
        return self.holder or self.owner


class AdmissibleKey(NamedTuple):
    """An active key, its 32 bytes, and the Unix seconds between which it is accepted."""

    caller: Caller
    public_key: bytes
    valid_from: float
    valid_until: float


class KeyFinder(Protocol):
    """Finds active keys by id."""

    async def find(self, key_id: str) -> AdmissibleKey | None:
        """The key, or None where it is not active."""


class Admission:
    """Checks every call, cheapest first: entries, grammar, audience, time, key, digest, signature."""

    def __init__(self, audience: str, keys: KeyFinder, wall_clock: Callable[[], float] = time.time) -> None:
        """Takes the hub's name that requests must be signed for."""
        self._audience = audience
        self._keys = keys
        self._wall_clock = wall_clock

    async def admit(
        self, path: str, metadata: Iterable[tuple[str, str | bytes]], body: bytes
    ) -> tuple[Caller, SignedRequest]:
        """The caller and its signature. Raises `CallError`: SIGNATURE_STALE, or SIGNATURE_INVALID for all else."""
        now = self._wall_clock()
        try:
            signed = parse_request(metadata)
            if signed.audience != self._audience:
                raise error("SIGNATURE_INVALID")
            signed.check_times(int(now))
            key = await self._keys.find(signed.key_id)
            if key is None or not key.valid_from <= now <= key.valid_until:
                raise error("SIGNATURE_INVALID")
            if signed.digest_text != content_digest(body):
                raise error("SIGNATURE_INVALID")
            crypto_sign_open(signed.signature + signed.base(path), key.public_key)
        except SignatureStale as stale:
            raise error("SIGNATURE_STALE", hub_time=str(int(now))) from stale
        except (SignatureMalformed, BadSignatureError) as invalid:
            raise error("SIGNATURE_INVALID") from invalid
        return key.caller, signed

    async def check_still(self, caller: Caller) -> None:
        """Raises SIGNATURE_INVALID once the key of an admitted caller is revoked or past its time.

        Raises `StoreUnavailable` where the key is not known and nobody can say whether there is one.
        """
        key = await self._keys.find(caller.key_id)
        if key is None or key.caller != caller or self._wall_clock() > key.valid_until:
            raise error("SIGNATURE_INVALID")
