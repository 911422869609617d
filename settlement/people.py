"""People at work: every act is checked against the hub's keys, signed, and kept in the same transaction.

    actor.check(connection, Act.APPROVE)            # who it is; refuses before anything is done
    actor.do(connection, Act.APPROVE, "window", "2026-01-01", "figures agree with the bank", before, after)

`do` checks again, so `check` is only for those who need the name, or want to refuse early.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from sqlalchemy import Connection

from settlement.core.deed import FORMAT, SETTLEMENT, Content, Deed, Person, deed_text
from settlement.core.roles import Act, PersonUnknown, Role, RoleMissing, SamePerson, known_roles, role_for
from settlement.store.audit import record
from settlement.store.keys import RegisteredKey, read_audience, read_key

MAX_REASON: Final = 1_000
"""Characters of a reason."""


class Signer(Protocol):
    """A person's key, or settlement's own."""

    @property
    def key_id(self) -> str:
        """Its id."""

    @property
    def public_key_text(self) -> str:
        """Its public half, base64url without padding."""

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of Ed25519 over the message."""


def _system_time() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody with a key, or settlement itself.

    Attributes:
        signer: the key; None only for settlement where it has none at hand.
        unattended: settlement itself acts, and its key need not be registered.
        now: the system's time, which keys' validity is judged by as the hub judges it.
    """

    signer: Signer | None
    unattended: bool = False
    now: Callable[[], datetime] = _system_time

    def check(self, connection: Connection, act: Act, partner_id: str | None = None) -> Person:
        """Who acts, if they may. `partner_id` is whose item it is, where partners may act on their own.

        Raises PersonUnknown, RoleMissing.
        """
        person = self._person(connection)
        self._role(person, act, partner_id)
        return person

    def do(
        self,
        connection: Connection,
        act: Act,
        item_kind: str,
        item_id: str,
        reason: str = "",
        before: Content | None = None,
        after: Content | None = None,
        partner_id: str | None = None,
    ) -> Deed:
        """Signs the act and records it in the caller's transaction; do it last there.

        Raises PersonUnknown, RoleMissing, ValueError for a reason longer than `MAX_REASON`.
        """
        if len(reason) > MAX_REASON:
            raise ValueError(f"reason: {len(reason)} characters, at most {MAX_REASON}")
        person = self._person(connection)
        role = self._role(person, act, partner_id)
        text = deed_text(
            audience=read_audience(connection),
            person=person,
            role=role,
            act=act,
            item_kind=item_kind,
            item_id=item_id,
            reason=reason,
            before=before,
            after=after,
            public_key=self.signer.public_key_text if self.signer else "",
            signed_time=self.now(),
        )
        text = self._kept_text(text)
        signature = self.signer.sign(FORMAT + text) if self.signer else b""
        deed = Deed(person, role, act, item_kind, item_id, reason, before, after, text, signature)
        record(connection, deed)
        return deed

    def _kept_text(self, text: bytes) -> bytes:
        """The deed's text as it is kept."""
        return text

    def _person(self, connection: Connection) -> Person:
        if self.unattended:
            key_id = self.signer.key_id if self.signer else ""
            return Person(SETTLEMENT, key_id, "operator", frozenset({Role.SETTLEMENT}))
        assert self.signer is not None, "only settlement itself acts without a key"
        return _known_person(read_key(connection, self.signer.key_id), self.signer.key_id, self.now())

    def _role(self, person: Person, act: Act, partner_id: str | None) -> Role:
        role = role_for(person.roles, act)
        if role is None:
            roles = " or ".join(one.value for one in act.roles if one is not Role.SETTLEMENT)
            raise RoleMissing(
                f"{person.name} may not {_words(act)}: needs the role {roles or 'of settlement itself'}"
            )
        if role is Role.PARTNER and partner_id != person.owner:
            raise RoleMissing(f"{person.name} may not {_words(act)}: it is not {person.owner}'s own")
        return role


def _known_person(key: RegisteredKey | None, key_id: str, now: datetime) -> Person:
    if key is None:
        raise PersonUnknown(f"{key_id}: the hub has no such key; have it registered and approved")
    if key.state != "active":
        raise PersonUnknown(f"{key_id}: the key is {key.state}, not active")
    if not key.valid_from <= now <= key.valid_until:
        raise PersonUnknown(f"{key_id}: the key is valid from {key.valid_from} until {key.valid_until}")
    name = key.holder or key.owner
    if folded(name) == SETTLEMENT:
        raise PersonUnknown(f"{key_id}: its holder is called {SETTLEMENT}, which is the program's own name")
    return Person(name, key.key_id, key.owner, known_roles(key.roles))


def folded(name: str) -> str:
    """A name without what people spell in several ways: capitals, widths, runs of blanks."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def refuse_same_person(first: str, second: str, item: str) -> None:
    """Raises SamePerson where one person, however spelled, is to do both halves. The database refuses it again."""
    if folded(first) == folded(second):
        raise SamePerson(f"{item}: {first} did the first half; another person has to do the second")


def _words(act: Act) -> str:
    return act.label.replace("_", " ")
