"""The keeper of the contact key at work, with a sender that keeps the codes for the test to read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from exchange.registrar import (
    ANY_MEMBER,
    Actor,
    Consent,
    Contact,
    Enrolment,
    Envelope,
    LinkRequest,
    Membership,
    Outcome,
    Proof,
)
from exchange.registrar.senders import CodeNotSent
from tests.postgres.ledger_at_work import Office, member_answer

MASTER = hashlib.sha256(b"contact key").digest()
PHONE = Contact("phone", "+8613800138000")
EMAIL = Contact("email", "li.na@example.com")


@dataclass
class Mailbox:
    """A sender that brings codes here, and none once it is broken."""

    codes: list[tuple[Contact, str]] = field(default_factory=list)
    broken: bool = False

    def send(self, contact: Contact, code: str) -> None:
        if self.broken:
            raise CodeNotSent("the line is dead")
        self.codes.append((contact, code))


@dataclass
class Counter:
    """Where customers are enrolled, linked and asked for their codes."""

    office: Office
    mailbox: Mailbox
    membership: Membership

    def start(self, partner: Actor, contact: Contact = PHONE, *, attested: bool = False) -> str:
        """The id of a proof whose code, if there is one, is in the mailbox."""
        started = self.membership.start_proof(
            partner.partner_id, self.office.asked(), contact, attested=attested
        )
        self.membership.send_code(contact, started)
        return started.proof_id

    def prove(self, partner: Actor, contact: Contact = PHONE) -> Proof:
        """A proof with the right code."""
        proof_id = self.start(partner, contact)
        return Proof(proof_id, self.mailbox.codes[-1][1])

    def enroll(
        self, partner: Actor, customer_id: str, proof: Proof | None, consent: Consent | None = None
    ) -> Outcome:
        (outcome,) = self.enroll_all(partner, [Enrolment(self.office.asked(), customer_id, consent, proof)])
        return outcome

    def enroll_all(self, partner: Actor, items: Sequence[Enrolment]) -> list[Outcome]:
        call = self.office.call(partner)
        vault = self.membership.try_proofs(call, items)
        return self.office.registrar.enroll_members(call, items, member_answer, vault)

    def link(
        self,
        partner: Actor,
        customer_id: str,
        proof: Proof,
        member_id: int = ANY_MEMBER,
        consent: Consent | None = None,
    ) -> Outcome:
        item = LinkRequest(self.office.asked(), member_id, customer_id, consent, proof)
        call = self.office.call(partner)
        vault = self.membership.try_proofs(call, [item])
        (outcome,) = self.office.registrar.link_aliases(call, [item], member_answer, vault)
        return outcome

    def unlink(self, partner: Actor, code: str, member_id: int) -> int:
        made: int = self.office.value(
            lambda encode: self.office.registrar.unlink_alias(
                self.office.write(partner), code, member_id, encode
            )
        )
        return made

    def as_owner(self, statement: str, **values: object) -> None:
        """Does what the hub's own role may not, such as letting time pass."""
        with psycopg.connect(self.office.url) as connection:
            connection.execute(statement.encode(), values)


def open_counter(office: Office) -> Counter:
    mailbox = Mailbox()
    membership = Membership(office.engine, Envelope(MASTER), mailbox)
    membership.bind()
    return Counter(office, mailbox, membership)
