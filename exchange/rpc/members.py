"""MembersService: members, their links to partners' customer ids, their consent. The rest is in `rpc.contacts`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from google.protobuf.unknown_fields import UnknownFieldSet
from google.rpc import status_pb2

from exchange.core.ids import member_number, member_text
from exchange.core.points import MAX_POINTS
from exchange.registrar import (
    ANY_MEMBER,
    Answered,
    Consent,
    Enrolment,
    LinkRequest,
    Membership,
    Outcome,
    Proof,
    Registrar,
    RegistrarRefusal,
)
from exchange.rpc.calls import MAX_BATCH_MESSAGE, Incoming, Method
from exchange.rpc.contacts import ContactMethods
from exchange.rpc.errors import InvalidField, invalid_field_status
from exchange.rpc.lanes import Lane, Lanes
from exchange.rpc.registering import (
    answered,
    in_thread,
    noted,
    own_partner,
    refusal_error,
    to_actor,
    to_asked,
    to_write,
)
from exchange.rpc.translate import (
    check_optional_text,
    check_range,
    check_text,
    has_unknown,
    parse,
    parse_lenient,
    refuse_unknown,
)
from exchange.store.reads.snapshots import Snapshots
from tongdui.exchange.v1 import members_service_pb2 as messages

SERVICE: Final = "tongdui.exchange.v1.MembersService"
MAX_REQUESTS: Final = 1000
MAX_CODE: Final = 16
"""Characters of what is taken for a code; a longer one is malformed, a wrong one costs a try."""

_PARTNER: Final = frozenset({"partner"})
_OWNERS: Final = frozenset({"operator", "partner"})

_Request = TypeVar("_Request", messages.EnrollMemberRequest, messages.LinkAliasRequest)
_Batch = TypeVar("_Batch", messages.BatchEnrollMembersRequest, messages.BatchLinkAliasesRequest)
_Item = TypeVar("_Item")


class MembersService:
    """Turns calls into writes of the registrar."""

    def __init__(
        self, registrar: Registrar, membership: Membership, snapshots: Snapshots, lanes: Lanes, codes: Lane
    ) -> None:
        """Takes who writes, who has the contact key, who reads, where, and where codes wait for their sender."""
        self._registrar = registrar
        self._membership = membership
        self._writes = lanes.writes
        self._contacts = ContactMethods(membership, snapshots, lanes, codes)

    def methods(self) -> tuple[Method, ...]:
        """The rpcs of the service."""
        large = MAX_BATCH_MESSAGE
        return (
            Method("EnrollMember", _PARTNER, self._enroll, is_write=True),
            Method("BatchEnrollMembers", _PARTNER, self._enroll_batch, is_write=True, max_bytes=large),
            Method("LinkAlias", _PARTNER, self._link, is_write=True),
            Method("BatchLinkAliases", _PARTNER, self._link_batch, is_write=True, max_bytes=large),
            Method("UnlinkAlias", _OWNERS, self._unlink, is_write=True),
            Method("SetConsent", _OWNERS, self._set_consent, is_write=True),
            *self._contacts.methods(),
        )

    async def _enroll(self, incoming: Incoming) -> bytes:
        item = to_enrolment(parse(messages.EnrollMemberRequest, incoming.body))
        return _only(incoming, await self._enroll_all(incoming, [item]))

    async def _enroll_batch(self, incoming: Incoming) -> bytes:
        request = _parse_batch(messages.BatchEnrollMembersRequest, incoming.body)
        items, outcomes = _translate(request.requests, to_enrolment)
        decided = iter(await self._enroll_all(incoming, items) if items else ())
        results = [_enrolled_result(next(decided) if it is None else it) for it in outcomes]
        return messages.BatchEnrollMembersResponse(results=results).SerializeToString(deterministic=True)

    async def _enroll_all(self, incoming: Incoming, items: Sequence[Enrolment]) -> list[Outcome]:
        call = incoming.evidence()

        def work() -> list[Outcome]:
            vault = self._membership.try_proofs(call, items)
            return self._registrar.enroll_members(call, items, _enrolled, vault)

        return await in_thread(self._writes, work)

    async def _link(self, incoming: Incoming) -> bytes:
        item = to_link(parse(messages.LinkAliasRequest, incoming.body))
        return _only(incoming, await self._link_all(incoming, [item]))

    async def _link_batch(self, incoming: Incoming) -> bytes:
        request = _parse_batch(messages.BatchLinkAliasesRequest, incoming.body)
        items, outcomes = _translate(request.requests, to_link)
        decided = iter(await self._link_all(incoming, items) if items else ())
        results = [_linked_result(next(decided) if it is None else it) for it in outcomes]
        return messages.BatchLinkAliasesResponse(results=results).SerializeToString(deterministic=True)

    async def _link_all(self, incoming: Incoming, items: Sequence[LinkRequest]) -> list[Outcome]:
        call = incoming.evidence()

        def work() -> list[Outcome]:
            vault = self._membership.try_proofs(call, items)
            return self._registrar.link_aliases(call, items, _linked, vault)

        return await in_thread(self._writes, work)

    async def _unlink(self, incoming: Incoming) -> bytes:
        request = parse(messages.UnlinkAliasRequest, incoming.body)
        write = to_write("unlink_alias", request.request_id, request, incoming)
        member_id = member_number(check_text("member_id", request.member_id))
        code = own_partner("partner_id", request.partner_id, incoming.caller)
        return await answered(
            self._writes,
            incoming,
            lambda: self._registrar.unlink_alias(write, code, member_id, _unlinked),
        )

    async def _set_consent(self, incoming: Incoming) -> bytes:
        request = parse(messages.SetConsentRequest, incoming.body)
        write = to_write("set_consent", request.request_id, request, incoming)
        member_id = member_number(check_text("member_id", request.member_id))
        code = own_partner("partner_id", request.partner_id, incoming.caller)
        if not request.HasField("consent"):
            raise InvalidField("consent", "must be set")
        consent = to_consent(request.consent)
        actor = to_actor(incoming.caller)
        return await answered(
            self._writes,
            incoming,
            lambda: self._registrar.set_consent(write, actor, code, member_id, consent, _consented),
        )


def to_enrolment(request: messages.EnrollMemberRequest) -> Enrolment:
    """A customer to enrol. Raises `InvalidField`."""
    return Enrolment(
        to_asked("enroll_member", request.request_id, request),
        check_text("customer_id", request.customer_id),
        to_consent(request.consent) if request.HasField("consent") else None,
        to_proof(request.proof) if request.HasField("proof") else None,
    )


def to_link(request: messages.LinkAliasRequest) -> LinkRequest:
    """A customer to link. Raises `InvalidField`."""
    proof = to_proof(request.proof) if request.HasField("proof") else None
    is_found = proof is not None and not request.member_id
    return LinkRequest(
        to_asked("link_alias", request.request_id, request),
        ANY_MEMBER if is_found else member_number(check_text("member_id", request.member_id)),
        check_text("customer_id", request.customer_id),
        to_consent(request.consent) if request.HasField("consent") else None,
        proof,
    )


def to_proof(proof: messages.ContactProof) -> Proof:
    """A proof and its code. Raises `InvalidField`."""
    return Proof(
        check_text("proof.proof_id", proof.proof_id), check_optional_text("proof.code", proof.code, MAX_CODE)
    )


def to_consent(consent: messages.Consent) -> Consent:
    """Limits that are both above 0, or both 0. Raises `InvalidField`."""
    per_burn = check_range("consent.per_burn_limit_points", consent.per_burn_limit_points, 0, MAX_POINTS)
    per_day = check_range("consent.per_day_limit_points", consent.per_day_limit_points, 0, MAX_POINTS)
    if (per_burn > 0) != (per_day > 0):
        raise InvalidField("consent", "both limits must be above 0, or both 0 to withdraw it")
    return Consent(per_burn, per_day)


def _parse_batch(kind: type[_Batch], body: bytes) -> _Batch:
    request = parse_lenient(kind, body)
    if not 1 <= len(request.requests) <= MAX_REQUESTS:
        raise InvalidField("requests", f"must be 1 to {MAX_REQUESTS} requests")
    if len(UnknownFieldSet(request)):  # on the batch itself, not in a request
        refuse_unknown(request)
    return request


def _translate(
    requests: Sequence[_Request], translate: Callable[[_Request], _Item]
) -> tuple[list[_Item], list[InvalidField | None]]:
    """The well-formed items, and per request what is wrong with it, or None."""
    items: list[_Item] = []
    outcomes: list[InvalidField | None] = []
    for request in requests:
        try:
            if has_unknown(request):
                refuse_unknown(request)
            items.append(translate(request))
            outcomes.append(None)
        except InvalidField as problem:
            outcomes.append(problem)
    return items, outcomes


def _only(incoming: Incoming, outcomes: Sequence[Outcome]) -> bytes:
    (outcome,) = outcomes
    if isinstance(outcome, RegistrarRefusal):
        raise refusal_error(outcome) from outcome
    return noted(incoming, outcome)


def _status(outcome: RegistrarRefusal | InvalidField) -> status_pb2.Status:
    if isinstance(outcome, InvalidField):
        return invalid_field_status(outcome)
    return refusal_error(outcome).status


def _enrolled_result(outcome: Outcome | InvalidField) -> messages.EnrollMemberResult:
    if isinstance(outcome, Answered):
        return messages.EnrollMemberResult(member=messages.EnrollMemberResponse.FromString(outcome.answer))
    return messages.EnrollMemberResult(error=_status(outcome))


def _linked_result(outcome: Outcome | InvalidField) -> messages.LinkAliasResult:
    if isinstance(outcome, Answered):
        return messages.LinkAliasResult(link=messages.LinkAliasResponse.FromString(outcome.answer))
    return messages.LinkAliasResult(error=_status(outcome))


def _enrolled(member_id: int) -> bytes:
    return messages.EnrollMemberResponse(member_id=member_text(member_id)).SerializeToString(
        deterministic=True
    )


def _linked(member_id: int) -> bytes:
    return messages.LinkAliasResponse(member_id=member_text(member_id)).SerializeToString(deterministic=True)


def _unlinked(member_id: int) -> bytes:
    return messages.UnlinkAliasResponse(member_id=member_text(member_id)).SerializeToString(
        deterministic=True
    )


def _consented(consent: Consent) -> bytes:
    return messages.SetConsentResponse(consent=messages.Consent(**consent._asdict())).SerializeToString(
        deterministic=True
    )
