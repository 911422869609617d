"""The methods of MembersService that deal with contacts and what a member can be shown: codes, history, export."""

from __future__ import annotations

from typing import Final

from exchange.core.ids import member_number, member_text
from exchange.core.points import MAX_POINTS
from exchange.registrar import Contact, Membership
from exchange.registrar.codes import Started
from exchange.registrar.contacts import MAX_EMAIL, normalised
from exchange.registrar.erasure import Erased
from exchange.registrar.pay_codes import IssuedPayCode, NewPayCode
from exchange.rpc.calls import Incoming, Method
from exchange.rpc.errors import InvalidField, error
from exchange.rpc.exporting import Exporter
from exchange.rpc.lanes import Lane, Lanes
from exchange.rpc.paging import number_in, page_limit, split_page, to_token
from exchange.rpc.reading import seen_by
from exchange.rpc.registering import (
    answered,
    in_thread,
    is_staff,
    noted,
    own_partner,
    to_actor,
    to_asked,
    to_write,
)
from exchange.rpc.translate import check_optional_text, check_range, check_text, parse, to_timestamp
from exchange.store.reads.accounts import is_member
from exchange.store.reads.members import ConsentChange, list_consent_changes
from exchange.store.reads.snapshots import Snapshots
from tongdui.exchange.v1 import members_service_pb2 as messages

QR_PREFIX: Final = "TONGDUI:"

_PARTNER: Final = frozenset({"partner"})
_OPERATOR: Final = frozenset({"operator"})
_OWNERS: Final = frozenset({"operator", "partner"})
_READERS: Final = frozenset({"partner", "operator", "auditor"})


class ContactMethods:
    """Turns calls into what the registrar's keeper of the contact key does, and into reads."""

    def __init__(self, membership: Membership, snapshots: Snapshots, lanes: Lanes, codes: Lane) -> None:
        """Takes who has the contact key, who reads, where, and where codes wait for their sender."""
        self._membership = membership
        self._snapshots = snapshots
        self._lanes = lanes
        self._codes = codes
        self._exporter = Exporter(membership, snapshots)

    def methods(self) -> tuple[Method, ...]:
        """The rpcs."""
        return (
            Method("StartContactProof", _PARTNER, self._start_proof, is_write=True),
            Method("ListConsentHistory", _READERS, self._list_consents, is_write=False),
            Method("IssuePayCode", _OWNERS, self._issue_pay_code, is_write=True),
            Method("GetMemberExport", _OWNERS, self._export, is_write=False),
            Method("EraseMember", _OPERATOR, self._erase, is_write=True),
        )

    async def _start_proof(self, incoming: Incoming) -> bytes:
        request = parse(messages.StartContactProofRequest, incoming.body)
        asked = to_asked("start_contact_proof", request.request_id, request)
        contact = to_contact(request.contact)
        partner_id = incoming.caller.partner_id
        started = await in_thread(
            self._lanes.writes,
            lambda: self._membership.start_proof(partner_id, asked, contact, attested=request.attested),
        )
        if started.code is not None:
            # In a lane of its own: a sender that takes its time must not keep others from enrolling.
            await in_thread(self._codes, lambda: self._membership.send_code(contact, started))
        return _started(started)

    async def _list_consents(self, incoming: Incoming) -> bytes:
        request = parse(messages.ListConsentHistoryRequest, incoming.body)
        before, limit = number_in(request.page_token), page_limit(request.page_size)
        member_id = member_number(check_text("member_id", request.member_id))
        linked_to = seen_by(incoming.caller)
        code = request.partner_id
        if not is_staff(incoming.caller) or code:
            code = own_partner("partner_id", code, incoming.caller)
        return await self._lanes.reads.run(
            lambda: self._consents_page(member_id, linked_to, code, before, limit)
        )

    def _consents_page(
        self, member_id: int, linked_to: int | None, code: str, before: int | None, limit: int
    ) -> bytes:
        if not self._snapshots.read(lambda it: is_member(it, member_id, linked_to)):
            raise error("MEMBER_UNKNOWN")
        rows = self._snapshots.read(lambda it: list_consent_changes(it, member_id, code, before, limit + 1))
        page, last = split_page(rows, limit)
        return messages.ListConsentHistoryResponse(
            changes=[from_change(row) for row in page],
            next_page_token=to_token(last.change_id) if last else "",
        ).SerializeToString()

    async def _issue_pay_code(self, incoming: Incoming) -> bytes:
        request = parse(messages.IssuePayCodeRequest, incoming.body)
        write = to_write("issue_pay_code", request.request_id, request, incoming)
        new = NewPayCode(
            member_number(check_text("member_id", request.member_id)),
            check_range("max_points", request.max_points, 1, MAX_POINTS),
            check_optional_text("partner_id", request.partner_id),
        )
        actor = to_actor(incoming.caller)
        made, code = await in_thread(
            self._lanes.writes, lambda: self._membership.issue_pay_code(write, actor, new, _issued)
        )
        response = messages.IssuePayCodeResponse.FromString(noted(incoming, made))
        response.code, response.qr_text = code, QR_PREFIX + code
        return response.SerializeToString(deterministic=True)

    async def _export(self, incoming: Incoming) -> bytes:
        request = parse(messages.GetMemberExportRequest, incoming.body)
        member_id = member_number(check_text("member_id", request.member_id))
        reader_id = seen_by(incoming.caller)
        return await self._lanes.reads.run(
            lambda: self._exporter.export(member_id, reader_id, request.page_token)
        )

    async def _erase(self, incoming: Incoming) -> bytes:
        request = parse(messages.EraseMemberRequest, incoming.body)
        write = to_write("erase_member", request.request_id, request, incoming)
        member_id = member_number(check_text("member_id", request.member_id))
        actor = to_actor(incoming.caller)
        return await answered(
            self._lanes.writes,
            incoming,
            lambda: self._membership.erase_member(write, actor, member_id, _erased),
        )


def to_contact(contact: messages.Contact) -> Contact:
    """A contact in the one form under which it is found. Raises `InvalidField`, which never shows it."""
    which = contact.WhichOneof("contact")
    if which is None:
        raise InvalidField("contact", "exactly one of phone and email must be set")
    made = normalised(which, contact.phone if which == "phone" else contact.email)
    if made is None:
        must = "+, country code and number, at most 15 digits" if which == "phone" else "an e-mail address"
        raise InvalidField(f"contact.{which}", f"must be {must}, in at most {MAX_EMAIL} characters")
    return made


def from_change(change: ConsentChange) -> messages.ConsentChange:
    """A change of a consent for the wire."""
    return messages.ConsentChange(
        partner_id=change.partner_code,
        consent=messages.Consent(
            per_burn_limit_points=change.per_burn_limit_points,
            per_day_limit_points=change.per_day_limit_points,
        ),
        changed_by=change.changed_by,
        holder=change.holder,
        change_time=to_timestamp(change.change_time),
    )


def _started(started: Started) -> bytes:
    return messages.StartContactProofResponse(
        proof_id=started.proof_id, expire_time=to_timestamp(started.expire_time)
    ).SerializeToString(deterministic=True)


def _issued(issued: IssuedPayCode) -> bytes:
    """As recorded: without the code."""
    return messages.IssuePayCodeResponse(
        issue_time=to_timestamp(issued.issue_time), expire_time=to_timestamp(issued.expire_time)
    ).SerializeToString(deterministic=True)


def _erased(erased: Erased) -> bytes:
    return messages.EraseMemberResponse(
        member_ids=[member_text(it) for it in erased.member_ids]
    ).SerializeToString(deterministic=True)
