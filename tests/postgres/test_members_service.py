"""MembersService from bytes to bytes: contacts, pay codes, the history of consents, export and erasure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message

from exchange.core.ids import OPERATOR
from exchange.registrar import Actor
from exchange.rpc.calls import Incoming, Method
from exchange.rpc.errors import CallError, InvalidField
from exchange.rpc.lanes import Lane, Lanes
from exchange.rpc.members import MembersService
from exchange.rpc.signatures import Caller
from exchange.store.reads.snapshots import Snapshots
from tests.builders import earn
from tests.postgres.ledger_at_work import CHEN, Office, new_card
from tests.postgres.members_at_work import Counter, open_counter
from tongdui.exchange.v1 import members_service_pb2 as members
from tongdui.signing import SignedRequest

_M = TypeVar("_M", bound=Message)
PHONE = "+86 138-0013-8000"


@dataclass
class Desk:
    """The service's methods, called as the gate calls them."""

    counter: Counter
    methods: dict[str, Method]
    numbers: count[int] = field(default_factory=lambda: count(1))

    def call(self, who: Actor, kind: type[_M], name: str, **values: Any) -> _M:
        """The answer to a request of this name, with a request id where it takes one."""
        request = getattr(members, f"{name}Request")(**values)
        if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:
            request.request_id = f"rpc-{next(self.numbers)}"
        is_staff = who.partner_id == OPERATOR
        holder, role = (who.person, "operator") if is_staff else ("", "partner")
        caller = Caller(f"{who.owner}.key", who.owner, who.partner_id, holder, frozenset({role}))
        method = self.methods[name]
        assert role in method.roles, "the gate would answer ROLE_REQUIRED"
        signed = SignedRequest("", "hub.example/test", "params", 0, 0, caller.key_id, bytes(64))
        incoming = Incoming(caller, f"/{name}", signed, request.SerializeToString(), [])

        async def answer() -> bytes:
            return await method.handler(incoming)

        return kind.FromString(asyncio.run(answer()))

    def refusal(self, who: Actor, name: str, **values: Any) -> str:
        """The reason of the refusal that comes."""
        with pytest.raises(CallError) as refused:
            self.call(who, members.SetConsentResponse, name, **values)
        return refused.value.reason

    def start(self, who: Actor, **contact: str) -> members.ContactProof:
        """A proof with its code."""
        started = self.call(
            who, members.StartContactProofResponse, "StartContactProof", contact=members.Contact(**contact)
        )
        return members.ContactProof(proof_id=started.proof_id, code=self.counter.mailbox.codes[-1][1])

    def enroll(self, who: Actor, customer_id: str, **values: Any) -> str:
        """The member's id."""
        return self.call(
            who, members.EnrollMemberResponse, "EnrollMember", customer_id=customer_id, **values
        ).member_id


@pytest.fixture
def desk(office: Office) -> Iterator[Desk]:
    counter = open_counter(office)
    lanes, codes = Lanes(Lane("read", 1, 1), Lane("write", 1, 1)), Lane("codes", 1, 1)
    service = MembersService(office.registrar, counter.membership, Snapshots(office.engine), lanes, codes)
    yield Desk(counter, {method.name: method for method in service.methods()})
    for lane in (*lanes, codes):
        lane.close()


def test_a_customer_proves_a_phone_at_two_partners_and_is_one_member(desk: Desk) -> None:
    cafe = desk.counter.office.partner("cafe", attests=False)
    tea = desk.counter.office.partner("tea", attests=False)
    member = desk.enroll(cafe, "c-1", proof=desk.start(cafe, phone=PHONE))

    linked = desk.call(
        tea,
        members.LinkAliasResponse,
        "LinkAlias",
        customer_id="t-1",
        proof=desk.start(tea, phone="+8613800138000"),
    )

    assert linked.member_id == member


@pytest.mark.parametrize(
    ("contact", "field_name"),
    [
        (members.Contact(), "contact"),
        (members.Contact(phone="138 0013 8000"), "contact.phone"),
        (members.Contact(email="li.na"), "contact.email"),
    ],
)
def test_what_is_no_contact_is_refused_without_being_repeated(
    desk: Desk, contact: members.Contact, field_name: str
) -> None:
    cafe = desk.counter.office.partner("cafe")

    with pytest.raises(InvalidField) as refused:
        desk.call(cafe, members.StartContactProofResponse, "StartContactProof", contact=contact)

    assert refused.value.field == field_name
    assert "0013" not in str(refused.value)
    assert "li.na" not in str(refused.value)


def test_a_link_without_member_and_proof_is_malformed(desk: Desk) -> None:
    cafe = desk.counter.office.partner("cafe")

    with pytest.raises(InvalidField, match="member_id"):
        desk.call(cafe, members.LinkAliasResponse, "LinkAlias", customer_id="c-1")


def test_a_batch_tells_a_wrong_code_at_its_place(desk: Desk) -> None:
    cafe = desk.counter.office.partner("cafe")
    good = desk.start(cafe, phone=PHONE)
    bad = members.ContactProof(proof_id="no such proof", code="123456")
    requests = [
        members.EnrollMemberRequest(request_id=f"e-{index}", customer_id=f"c-{index}", proof=proof)
        for index, proof in enumerate((good, bad, None))
    ]

    made = desk.call(
        cafe, members.BatchEnrollMembersResponse, "BatchEnrollMembers", requests=requests
    ).results

    assert [it.WhichOneof("result") for it in made] == ["member", "error", "member"]
    assert made[1].error.code == 7  # PERMISSION_DENIED


def test_a_pay_code_comes_with_what_its_qr_holds_and_again_at_a_repeat(desk: Desk) -> None:
    cafe = desk.counter.office.partner("cafe")
    member = desk.enroll(cafe, "c-1")
    asked = {"request_id": "p-1", "member_id": member, "max_points": 100}

    first = desk.call(cafe, members.IssuePayCodeResponse, "IssuePayCode", **asked)
    again = desk.call(cafe, members.IssuePayCodeResponse, "IssuePayCode", **asked)

    assert len(first.code) == 20
    assert first.qr_text == "TONGDUI:" + first.code
    assert first.expire_time.seconds - first.issue_time.seconds == 60
    assert again == first
    assert desk.refusal(cafe, "IssuePayCode", **asked, partner_id="cafe") == "REQUEST_ID_REUSED"


@pytest.mark.parametrize("points", [0, -1, 10**9 + 1])
def test_a_pay_code_needs_a_sensible_maximum(desk: Desk, points: int) -> None:
    cafe = desk.counter.office.partner("cafe")
    member = desk.enroll(cafe, "c-1")

    with pytest.raises(InvalidField, match="max_points"):
        desk.call(cafe, members.IssuePayCodeResponse, "IssuePayCode", member_id=member, max_points=points)


def test_a_partner_sees_the_history_of_its_own_consents_and_an_operator_all(desk: Desk) -> None:
    cafe, tea = desk.counter.office.partner("cafe"), desk.counter.office.partner("tea")
    consent = members.Consent(per_burn_limit_points=1, per_day_limit_points=2)
    member = desk.enroll(cafe, "c-1", consent=consent)
    desk.call(
        tea, members.LinkAliasResponse, "LinkAlias", member_id=member, customer_id="t-1", consent=consent
    )

    def listed(who: Actor, **values: Any) -> list[str]:
        page = desk.call(
            who, members.ListConsentHistoryResponse, "ListConsentHistory", member_id=member, **values
        )
        return [it.partner_id for it in page.changes]

    assert listed(tea) == ["tea"]
    assert listed(CHEN) == ["tea", "cafe"]
    assert listed(CHEN, partner_id="cafe") == ["cafe"]
    assert desk.refusal(tea, "ListConsentHistory", member_id=member, partner_id="cafe") == "ROLE_REQUIRED"
    assert desk.refusal(CHEN, "ListConsentHistory", member_id="m-nobody") == "MEMBER_UNKNOWN"


def test_the_history_comes_by_page(desk: Desk) -> None:
    cafe = desk.counter.office.partner("cafe")
    member = desk.enroll(cafe, "c-1")
    for points in (1, 2, 3):
        consent = members.Consent(per_burn_limit_points=points, per_day_limit_points=points)
        desk.call(cafe, members.SetConsentResponse, "SetConsent", member_id=member, consent=consent)

    kind = members.ListConsentHistoryResponse
    first = desk.call(CHEN, kind, "ListConsentHistory", member_id=member, page_size=2)
    rest = desk.call(CHEN, kind, "ListConsentHistory", member_id=member, page_token=first.next_page_token)

    assert [it.consent.per_day_limit_points for it in [*first.changes, *rest.changes]] == [3, 2, 1]
    assert rest.next_page_token == ""
    assert {it.changed_by for it in first.changes} == {"cafe"}


def exported(desk: Desk, who: Actor, member: str) -> dict[str, Any]:
    page = desk.call(who, members.GetMemberExportResponse, "GetMemberExport", member_id=member)
    made: dict[str, Any] = json.loads(page.json)
    return made


def test_an_export_holds_all_for_an_operator_and_its_own_for_a_partner(desk: Desk) -> None:
    office = desk.counter.office
    cafe, tea = office.partner("cafe"), office.partner("tea")
    for code in ("cafe", "tea"):
        office.approve_card(office.propose(new_card(code)))
    member = desk.enroll(cafe, "c-1", proof=desk.start(cafe, phone=PHONE))
    desk.enroll(tea, "t-1", proof=desk.start(tea, phone=PHONE))
    desk.enroll(tea, "t-1", proof=desk.start(tea, email="Li.Na@example.com"))
    ((number,),) = office.rows("SELECT member_id FROM exchange.wallets")
    for partner in (cafe, tea):
        office.post(earn(f"e-{partner.owner}", points=10, partner_id=partner.partner_id, member_id=number))

    whole, own = exported(desk, CHEN, member), exported(desk, tea, member)

    assert {it["value"] for it in whole["contacts"]} == {"+8613800138000", "li.na@example.com"}
    assert {it["customer_id"] for it in whole["links"]} == {"c-1", "t-1"}
    assert {it["partner_id"] for it in whole["entries"]} == {"cafe", "tea"}
    assert whole["wallet"]["available_points"] == "20"
    assert [it["value"] for it in own["contacts"]] == ["li.na@example.com"]
    assert [it["customer_id"] for it in own["links"]] == ["t-1"]
    assert [it["partner_id"] for it in own["entries"]] == ["tea"]


def test_an_export_is_for_those_who_may_speak_for_the_member(desk: Desk) -> None:
    cafe, tea = desk.counter.office.partner("cafe"), desk.counter.office.partner("tea")
    plain = desk.counter.office.partner("plain", attests=False)
    member, own = desk.enroll(cafe, "c-1"), desk.enroll(plain, "p-1")

    assert desk.refusal(tea, "GetMemberExport", member_id=member) == "MEMBER_UNKNOWN"
    assert desk.refusal(plain, "GetMemberExport", member_id=own) == "ATTESTATION_NOT_ALLOWED"


def test_an_erased_member_is_exported_without_whom_it_was(desk: Desk) -> None:
    cafe = desk.counter.office.partner("cafe")
    member = desk.enroll(cafe, "c-1", proof=desk.start(cafe, phone=PHONE))
    assert desk.refusal(CHEN, "EraseMember", member_id=member) == "MEMBER_NOT_CLOSED"
    desk.counter.office.rows("UPDATE exchange.wallets SET state = 'closed' RETURNING 1")

    erased = desk.call(CHEN, members.EraseMemberResponse, "EraseMember", member_id=member)

    left = exported(desk, CHEN, member)
    assert list(erased.member_ids) == [member]
    assert left["contacts"] == []
    assert [it["customer_id"] for it in left["links"]] == [""]
    assert desk.refusal(cafe, "GetMemberExport", member_id=member) == "MEMBER_UNKNOWN"


def test_a_partner_undoes_its_own_link_and_an_operator_anybodys(desk: Desk) -> None:
    cafe, tea = desk.counter.office.partner("cafe"), desk.counter.office.partner("tea")
    member = desk.enroll(cafe, "c-1")
    desk.call(tea, members.LinkAliasResponse, "LinkAlias", member_id=member, customer_id="t-1")

    assert desk.refusal(cafe, "UnlinkAlias", member_id=member, partner_id="tea") == "ROLE_REQUIRED"
    desk.call(cafe, members.UnlinkAliasResponse, "UnlinkAlias", member_id=member)
    desk.call(CHEN, members.UnlinkAliasResponse, "UnlinkAlias", member_id=member, partner_id="tea")

    assert desk.counter.office.rows("SELECT 1 FROM exchange.aliases") == []
