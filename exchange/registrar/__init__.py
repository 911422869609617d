"""The other write path: partners, keys, rate cards, links, the ledger clock and windows; one transaction each.

Every method takes a `Write` (request id, fingerprint, evidence) and what turns the outcome into answer bytes,
and gives an `Answered`: the first decision's bytes where the request came before. A refusal is raised and not recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime

from sqlalchemy import Connection, Engine

from exchange.core.evidence import Call
from exchange.registrar import (
    adjustments,
    cards,
    clock,
    consents,
    keys,
    members,
    partners,
    terminals,
    windows,
)
from exchange.registrar.adjustments import Withdrawal
from exchange.registrar.card_preview import Impact, Preview, preview_rate_card
from exchange.registrar.cards import NewCard
from exchange.registrar.codes import Proof
from exchange.registrar.consents import Consent
from exchange.registrar.envelope import Contact, Envelope
from exchange.registrar.initialise import AlreadyInitialised, FirstPerson, NewLedger, Rules, initialise
from exchange.registrar.keys import Challenge, NewKey
from exchange.registrar.links import Vault
from exchange.registrar.members import ANY_MEMBER, Enrolment, LinkRequest, Outcome
from exchange.registrar.membership import Membership
from exchange.registrar.partners import Actor, NewPartner, is_same_person
from exchange.registrar.writes import Answered, Asked, RegistrarRefusal, Write, read_answer, write_once
from exchange.store.reads.pages import Card, Key, Partner, Window
from exchange.store.transactions import run_transaction

__all__ = [
    "ANY_MEMBER",
    "Actor",
    "AlreadyInitialised",
    "Answered",
    "Asked",
    "Challenge",
    "Consent",
    "Contact",
    "Enrolment",
    "Envelope",
    "FirstPerson",
    "Impact",
    "LinkRequest",
    "Membership",
    "NewCard",
    "NewKey",
    "NewLedger",
    "NewPartner",
    "Outcome",
    "Preview",
    "Proof",
    "Registrar",
    "RegistrarRefusal",
    "Rules",
    "Vault",
    "Withdrawal",
    "Write",
    "is_same_person",
    "preview_rate_card",
]


class Registrar:
    """One method per rpc. Raises `RegistrarRefusal`, or `StoreUnavailable` with the outcome unknown."""

    def __init__(self, engine: Engine) -> None:
        """Takes the pool of connections; any number of hubs may write to one database."""
        self._engine = engine

    def initialise(self, new: NewLedger, hub_public_key: bytes, people: Sequence[FirstPerson]) -> None:
        """Makes the ledger, once. See `exchange.registrar.initialise`."""
        run_transaction(self._engine, lambda it: initialise(it, new, hub_public_key, people))

    def propose_adjustment(
        self, write: Write, proposal: bytes, actor: Actor, encode: Callable[[int], bytes]
    ) -> Answered:
        """Keeps a correction until another person has it posted."""
        return write_once(
            self._engine,
            write,
            lambda it: adjustments.propose_adjustment(it, proposal, write.asked.request_id, actor),
            encode,
        )

    def withdraw_adjustment(
        self, write: Write, withdrawal: Withdrawal, actor: Actor, encode: Callable[[int], bytes]
    ) -> Answered:
        """Takes a proposed correction back."""
        return write_once(
            self._engine, write, lambda it: adjustments.withdraw_adjustment(it, withdrawal, actor), encode
        )

    def unlock_terminal(
        self, write: Write, till: tuple[int, str, str], encode: Callable[[int], bytes]
    ) -> Answered:
        """Lets a till, (partner, store, terminal), take pay codes again."""
        return write_once(self._engine, write, lambda it: terminals.unlock_terminal(it, *till), encode)

    def create_partner(self, write: Write, new: NewPartner, encode: Callable[[Partner], bytes]) -> Answered:
        """Creates a partner."""
        return write_once(self._engine, write, lambda it: partners.create_partner(it, new), encode)

    def create_key_challenge(
        self, write: Write, owner: str, holder: str, encode: Callable[[Challenge], bytes]
    ) -> Answered:
        """Makes a challenge for a new key."""
        return write_once(
            self._engine, write, lambda it: keys.create_key_challenge(it, owner, holder), encode
        )

    def register_key(
        self, write: Write, actor: Actor, new: NewKey, encode: Callable[[Key], bytes]
    ) -> Answered:
        """Registers a key that waits for approval."""
        return write_once(self._engine, write, lambda it: keys.register_key(it, actor, new), encode)

    def approve_key(
        self, write: Write, actor: Actor, key_id: str, encode: Callable[[Key], bytes]
    ) -> Answered:
        """Activates a key."""
        return write_once(self._engine, write, lambda it: keys.approve_key(it, actor, key_id), encode)

    def revoke_key(
        self, write: Write, actor: Actor, key_id: str, reason: str, encode: Callable[[Key], bytes]
    ) -> Answered:
        """Revokes a key."""
        return write_once(self._engine, write, lambda it: keys.revoke_key(it, actor, key_id, reason), encode)

    def propose_rate_card(
        self, write: Write, actor: Actor, new: NewCard, encode: Callable[[Card], bytes]
    ) -> Answered:
        """Proposes a card."""
        return write_once(self._engine, write, lambda it: cards.propose_rate_card(it, actor, new), encode)

    def approve_rate_card(
        self, write: Write, actor: Actor, partner_code: str, version: int, encode: Callable[[Card], bytes]
    ) -> Answered:
        """Approves a card."""
        return write_once(
            self._engine, write, lambda it: cards.approve_rate_card(it, actor, partner_code, version), encode
        )

    def withdraw_rate_card(
        self, write: Write, actor: Actor, partner_code: str, version: int, encode: Callable[[Card], bytes]
    ) -> Answered:
        """Withdraws a proposed card."""
        return write_once(
            self._engine, write, lambda it: cards.withdraw_rate_card(it, actor, partner_code, version), encode
        )

    def enroll_members(
        self,
        call: Call,
        items: Sequence[Enrolment],
        encode: Callable[[int], bytes],
        vault: Vault | None = None,
    ) -> list[Outcome]:
        """Enrols members in one transaction; one outcome an item, in order. Proofs need a `vault` of them."""
        return run_transaction(
            self._engine, lambda it: members.enroll_members(it, call, items, encode, vault)
        )

    def link_aliases(
        self,
        call: Call,
        items: Sequence[LinkRequest],
        encode: Callable[[int], bytes],
        vault: Vault | None = None,
    ) -> list[Outcome]:
        """Links customer ids in one transaction; one outcome an item, in order. Proofs need a `vault` of them."""
        return run_transaction(self._engine, lambda it: members.link_aliases(it, call, items, encode, vault))

    def unlink_alias(
        self, write: Write, partner_code: str, member_id: int, encode: Callable[[int], bytes]
    ) -> Answered:
        """Undoes a link."""
        return write_once(
            self._engine,
            write,
            lambda it: members.unlink_alias(it, write.call, partner_code, member_id),
            encode,
        )

    def set_consent(
        self,
        write: Write,
        actor: Actor,
        partner_code: str,
        member_id: int,
        consent: Consent,
        encode: Callable[[Consent], bytes],
    ) -> Answered:
        """Sets the limits of a link."""
        return write_once(
            self._engine,
            write,
            lambda it: consents.set_consent(it, write.call, actor, partner_code, member_id, consent),
            encode,
        )

    def move_clock(self, write: Write, ledger_time: datetime) -> Answered | None:
        """Moves a manual ledger clock, or gives the answer that this request was given before.

        The answer is to count what the move made due, so it is recorded by `record_clock_move`, after the caller
        has swept. A hub that dies between the two loses nothing: the repeat moves the clock to where it
        stands, sweeps what is left and records that answer.
        """

        def attempt(connection: Connection) -> Answered | None:
            known = read_answer(connection, write)
            if known is None:
                clock.move_clock(connection, ledger_time)
            return known

        return run_transaction(self._engine, attempt)

    def record_clock_move(self, write: Write, answer: bytes) -> Answered:
        """Records the answer to a move of the clock; where a repeat came first, gives that one's answer."""
        return write_once(self._engine, write, lambda _: answer, bytes)

    def close_window(self, write: Write, window_date: date, encode: Callable[[Window], bytes]) -> Answered:
        """Closes a window."""
        return write_once(self._engine, write, lambda it: windows.close_window(it, window_date), encode)

    def settle_window(
        self, write: Write, window_date: date, certificate_sha256: bytes, encode: Callable[[Window], bytes]
    ) -> Answered:
        """Records that a window's payments are final."""
        return write_once(
            self._engine,
            write,
            lambda it: windows.settle_window(it, window_date, certificate_sha256),
            encode,
        )
