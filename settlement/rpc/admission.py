"""Who calls: admission by signature, over the bytes received and before anything is parsed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from settlement.rpc.errors import CallError
from settlement.rpc.keys import verifies
from settlement.store.reads import DatabaseUnavailable, KnownKey
from tongdui.signing import (
    REQUEST_ENTRY_NAMES,
    SignatureMalformed,
    SignatureStale,
    SignedRequest,
    content_digest,
    parse_request,
)

ROLES_THAT_SEE_ALL: Final = frozenset({"operator", "finance_maker", "finance_checker", "auditor"})
ROLE_PARTNER: Final = "partner"
KEY_SECONDS: Final = 1.0
"""For how long keys are believed: the longest a revoked key goes on, and the shortest between two reads."""


Entries = tuple[tuple[str, str], ...]


class KeyBook:
    """All registered keys, read at most once a second however many calls ask, and whatever ids they name."""

    def __init__(
        self,
        read: Callable[[], Mapping[str, KnownKey]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read` gives all keys by id; `clock` gives seconds."""
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._keys: Mapping[str, KnownKey] | None = None

    def find(self, key_id: str) -> KnownKey | None:
        """A registered key in whatever state. Raises DatabaseUnavailable, and what `read` raises."""
        with self._lock:
            if self._clock() - self._read_at >= KEY_SECONDS:
                # Forgotten first: a read that fails must neither leave old keys in use nor be tried by every call.
                self._keys, self._read_at = None, self._clock()
                self._keys = self._read()
            if self._keys is None:
                raise DatabaseUnavailable("the keys could not be read a moment ago")
            return self._keys.get(key_id)


@dataclass(frozen=True, slots=True)
class Caller:
    """The key that signed: its owner, and what it may see."""

    key_id: str
    owner: str
    roles: frozenset[str]
    public_key: bytes

    @property
    def sees_all(self) -> bool:
        """Whether every partner's statements are the caller's to see."""
        return bool(self.roles & ROLES_THAT_SEE_ALL)


@dataclass(frozen=True, slots=True)
class Incoming:
    """An admitted call: who asks, and what they signed."""

    caller: Caller
    path: str
    body: bytes
    signed: SignedRequest
    entries: Entries


@dataclass(frozen=True, slots=True)
class Admission:
    """Checks every call, cheapest first: entries, grammar, audience, time, key, digest, signature.

    Attributes:
        audience: the hub's name that requests must be signed for.
        find_key: a registered key in whatever state, no older than `KEY_SECONDS`.
        now: Unix seconds.
    """

    audience: str
    find_key: Callable[[str], KnownKey | None]
    now: Callable[[], float] = time.time

    def admit(self, path: str, metadata: Iterable[tuple[str, str | bytes]], body: bytes) -> Incoming:
        """The call, admitted. Raises CallError: SIGNATURE_STALE, or SIGNATURE_INVALID for all else."""
        now = self.now()
        entries = tuple(metadata)
        try:
            signed = parse_request(entries)
            if signed.audience != self.audience:
                raise CallError("SIGNATURE_INVALID")
            signed.check_times(int(now))
        except SignatureStale as stale:
            raise CallError("SIGNATURE_STALE", hub_time=str(int(now))) from stale
        except SignatureMalformed as malformed:
            raise CallError("SIGNATURE_INVALID") from malformed
        key = self.find_key(signed.key_id)
        if key is None or not _may_sign(key, now) or not _is_signed(signed, key, path, body):
            raise CallError("SIGNATURE_INVALID")
        caller = Caller(key.key_id, key.owner, key.roles, key.public_key)
        return Incoming(caller, path, body, signed, _signature_entries(entries))

    def still_admits(self, caller: Caller) -> bool:
        """Whether the key of a call that took its time may still sign."""
        key = self.find_key(caller.key_id)
        return key is not None and _may_sign(key, self.now())


def _signature_entries(entries: Iterable[tuple[str, str | bytes]]) -> Entries:
    return tuple(
        (name, value) for name, value in entries if name in REQUEST_ENTRY_NAMES and isinstance(value, str)
    )


def _may_sign(key: KnownKey, now: float) -> bool:
    moment = datetime.fromtimestamp(now, UTC)
    return key.state == "active" and bool(key.roles) and key.valid_from <= moment <= key.valid_until


def _is_signed(signed: SignedRequest, key: KnownKey, path: str, body: bytes) -> bool:
    if signed.digest_text != content_digest(body):
        return False
    return verifies(key.public_key, signed.signature, signed.base(path))
