"""What only the holder of the contact key can write: proofs of contacts, pay codes, erasure; and what it can read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Engine

from exchange.core.evidence import Call
from exchange.registrar.codes import Started, drop_proof, start_proof, try_proofs
from exchange.registrar.contacts import KnownContact, check_master_key, has_master_key, read_contacts
from exchange.registrar.envelope import Contact, Envelope
from exchange.registrar.erasure import Erased, erase_member
from exchange.registrar.links import Vault
from exchange.registrar.members import Enrolment, LinkRequest
from exchange.registrar.partners import Actor
from exchange.registrar.pay_codes import IssuedPayCode, NewPayCode, issue_pay_code
from exchange.registrar.senders import CodeNotSent, CodeSender
from exchange.registrar.writes import Answered, Asked, RegistrarRefusal, Write, write_once
from exchange.store.transactions import run_transaction


def is_bound(engine: Engine) -> bool:
    """Whether the database's contacts are sealed with some master key already."""
    return run_transaction(engine, has_master_key)


class Membership:
    """The registrar's methods that need the contact key. Raises as `Registrar` does."""

    def __init__(self, engine: Engine, envelope: Envelope, sender: CodeSender | None) -> None:
        """Takes the pool, what the master key can do, and who brings codes to members, if anybody does."""
        self._engine = engine
        self._envelope = envelope
        self._sender = sender

    def bind(self) -> None:
        """Binds the database to the master key at the first start. Raises `WrongContactKey`."""
        run_transaction(self._engine, lambda it: check_master_key(it, self._envelope))

    def start_proof(self, partner_id: int, asked: Asked, contact: Contact, *, attested: bool) -> Started:
        """Makes a proof. Its code is to be sent by `send_code`. Raises CODE_SENDER_MISSING too."""
        if self._sender is None and not attested:
            raise RegistrarRefusal("CODE_SENDER_MISSING")
        return run_transaction(
            self._engine,
            lambda it: start_proof(it, self._envelope, partner_id, asked, contact, attested=attested),
        )

    def send_code(self, contact: Contact, started: Started) -> None:
        """Sends the code, or forgets the proof and raises CODE_NOT_SENT. May take as long as the sender does."""
        assert self._sender is not None, "start_proof made no code without a sender"
        if started.code is None:
            return
        try:
            self._sender.send(contact, started.code)
        except CodeNotSent as failed:
            run_transaction(self._engine, lambda it: drop_proof(it, started.proof_id))
            raise RegistrarRefusal("CODE_NOT_SENT") from failed

    def try_proofs(self, call: Call, items: Sequence[Enrolment] | Sequence[LinkRequest]) -> Vault | None:
        """What the items' proofs prove; None where they bring none. A wrong code is counted whatever follows."""
        proofs = [item.proof for item in items if item.proof is not None]
        if not proofs:
            return None
        proven = run_transaction(
            self._engine, lambda it: try_proofs(it, self._envelope, call.partner_id, proofs)
        )
        return Vault(self._envelope, proven)

    def issue_pay_code(
        self, write: Write, actor: Actor, new: NewPayCode, encode: Callable[[IssuedPayCode], bytes]
    ) -> tuple[Answered, str]:
        """Issues a pay code: the answer as recorded, without the code, and the code, the same at each repeat."""
        asked = write.asked
        code = self._envelope.pay_code(write.call.partner_id, asked.request_id, asked.fingerprint)
        made = write_once(self._engine, write, lambda it: issue_pay_code(it, actor, new, code), encode)
        return made, code

    def erase_member(
        self, write: Write, actor: Actor, member_id: int, encode: Callable[[Erased], bytes]
    ) -> Answered:
        """Erases a member."""
        return write_once(
            self._engine, write, lambda it: erase_member(it, write.call, actor, member_id), encode
        )

    def read_contacts(self, member_id: int) -> list[KnownContact]:
        """A member's contacts in the clear."""
        return run_transaction(self._engine, lambda it: read_contacts(it, self._envelope, member_id))
