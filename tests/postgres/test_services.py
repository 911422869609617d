"""The registrar's and readers' services behind the gate, from bytes to bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC
from fractions import Fraction
from typing import Any, TypeVar

import psycopg
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from google.type import date_pb2
from nacl.signing import SigningKey

from exchange.batcher import QueueFull
from exchange.core.ids import OPERATOR, member_text
from exchange.registrar import Actor
from exchange.rpc.calls import Incoming, Method
from exchange.rpc.directory import Directory
from exchange.rpc.errors import CallError, InvalidField
from exchange.rpc.journal import JournalService
from exchange.rpc.lanes import Lane, Lanes
from exchange.rpc.members import MembersService
from exchange.rpc.partners import PartnersService
from exchange.rpc.rate_cards import RateCardsService
from exchange.rpc.reading import WalletReader
from exchange.rpc.signatures import Caller
from exchange.store.reads import RegistryRow, read_registry
from exchange.store.reads.snapshots import Snapshots
from tests.builders import NOON, earn
from tests.postgres.ledger_at_work import AUDIENCE, CHEN, LI, WIDE, Office, days_on, new_card, public
from tests.postgres.members_at_work import open_counter
from tongdui.exchange.v1 import journal_service_pb2 as journal
from tongdui.exchange.v1 import members_service_pb2 as members
from tongdui.exchange.v1 import partners_service_pb2 as partners
from tongdui.exchange.v1 import points_service_pb2 as points
from tongdui.exchange.v1 import rate_cards_service_pb2 as rate_cards
from tongdui.signing import SignedRequest, registration_text

_M = TypeVar("_M", bound=Message)
FIRST = date_pb2.Date(year=2026, month=1, day=1)


@dataclass
class Hub:
    """Every rpc of the services under test, by name."""

    office: Office
    directory: Directory
    methods: dict[str, Method]
    woken: int = 0
    is_full: bool = False
    hints: list[tuple[str, str]] = field(default_factory=list)

    def call(self, who: Actor, name: str, request: Message, kind: type[_M]) -> _M:
        """The answer. Raises `CallError` or `InvalidField`, which the gate turns into a status."""
        allowed = frozenset({"operator" if who.partner_id == OPERATOR else "partner"})
        holder = who.person if who.partner_id == OPERATOR else ""
        caller = Caller(f"{who.owner}.key", who.owner, who.partner_id, holder, allowed)
        method = self.methods[name]
        assert allowed & method.roles, "the gate would answer ROLE_REQUIRED"
        body = request.SerializeToString()
        signed = SignedRequest("", AUDIENCE, "params", 0, 0, caller.key_id, bytes(64))
        incoming = Incoming(caller, f"/{name}", signed, body, [])

        async def answer() -> bytes:
            return await method.handler(incoming)

        made = asyncio.run(answer())
        self.hints = incoming.hints
        return kind.FromString(made)

    def refusal(self, who: Actor, name: str, request: Message) -> tuple[str, dict[str, str]]:
        """Reason and metadata of the refusal that comes."""
        with pytest.raises(CallError) as refused:
            self.call(who, name, request, journal.GetLedgerRequest)
        return refused.value.reason, dict(info_of(refused.value.status).metadata)


def info_of(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


@pytest.fixture
def hub(office: Office) -> Iterator[Hub]:
    snapshots = Snapshots(office.engine)
    connection = psycopg.connect(office.url, autocommit=True)

    async def registry(version: int) -> RegistryRow | None:
        return read_registry(connection, version)

    directory = Directory(registry)
    lanes = Lanes(Lane("read", 1, 1), Lane("write", 1, 1))
    made = Hub(office, directory, {})

    async def sweep() -> int:
        if made.is_full:
            raise QueueFull
        return made.woken

    @asynccontextmanager
    async def sweeping() -> AsyncGenerator[Callable[[], Awaitable[int]], None]:
        yield sweep

    registrar = office.registrar
    reader = WalletReader(snapshots, lanes)
    read: dict[str, Callable[[Incoming], Awaitable[bytes]]] = {
        "GetWallet": reader.get_wallet,
        "ListEntries": reader.list_entries,
    }
    readers = frozenset({"partner", "operator", "auditor"})
    for method in (
        *PartnersService(registrar, snapshots, directory, lanes).methods(),
        *RateCardsService(registrar, snapshots, lanes).methods(),
        *MembersService(
            registrar, open_counter(office).membership, snapshots, lanes, Lane("codes", 1, 1)
        ).methods(),
        *JournalService(AUDIENCE, registrar, snapshots, lanes, sweeping).methods(),
        *(Method(name, readers, handler, is_write=False) for name, handler in read.items()),
    ):
        made.methods[method.name] = method
    yield made
    connection.close()
    for lane in lanes:
        lane.close()


def test_a_partner_with_a_key_and_a_card_is_set_up_over_the_wire(hub: Hub) -> None:
    key = SigningKey.generate()
    partner = partners.Partner(partner_id="cafe", display_name="Café", attestation_allowed=True)

    created = hub.call(
        CHEN,
        "CreatePartner",
        partners.CreatePartnerRequest(request_id="r-1", partner=partner),
        partners.CreatePartnerResponse,
    )
    challenge = hub.call(
        CHEN,
        "CreateKeyChallenge",
        partners.CreateKeyChallengeRequest(request_id="r-2", owner="cafe"),
        partners.CreateKeyChallengeResponse,
    ).challenge
    proof = key.sign(registration_text(AUDIENCE, "cafe", "", public(key), challenge)).signature
    registered = hub.call(
        CHEN,
        "RegisterKey",
        partners.RegisterKeyRequest(
            request_id="r-3", owner="cafe", public_key=public(key), challenge=challenge, proof=proof
        ),
        partners.RegisterKeyResponse,
    ).key
    approved = hub.call(
        LI,
        "ApproveKey",
        partners.ApproveKeyRequest(request_id="r-4", key_id=registered.key_id),
        partners.ApproveKeyResponse,
    ).key

    assert created.partner.partner_id == "cafe"
    assert created.partner.create_time.seconds > 0
    assert registered.state == partners.Key.STATE_REGISTERED
    assert approved.state == partners.Key.STATE_ACTIVE
    found = asyncio.run(hub.directory.find(approved.key_id))  # at once, in this process
    assert found is not None
    assert found.caller.owner == "cafe"
    hub.call(
        CHEN,
        "RevokeKey",
        partners.RevokeKeyRequest(request_id="r-5", key_id=approved.key_id, reason="lost"),
        partners.RevokeKeyResponse,
    )
    assert asyncio.run(hub.directory.find(approved.key_id)) is None


def test_refusals_of_the_registrar_become_errors_with_their_metadata(hub: Hub) -> None:
    hub.office.partner("cafe")
    partner = partners.Partner(partner_id="cafe", display_name="Café")

    assert hub.refusal(
        CHEN, "CreatePartner", partners.CreatePartnerRequest(request_id="r-1", partner=partner)
    ) == ("PARTNER_EXISTS", {})
    assert hub.refusal(
        CHEN, "CloseWindow", journal.CloseWindowRequest(request_id="r-2", window_date=FIRST)
    ) == ("WINDOW_STILL_OPEN", {"ledger_time": "2026-01-01T04:00:00+00:00"})


def test_a_repeat_gets_the_same_bytes_and_a_hint(hub: Hub) -> None:
    cafe = hub.office.partner("cafe")
    request = members.EnrollMemberRequest(request_id="r-1", customer_id="c-1")

    first = hub.call(cafe, "EnrollMember", request, members.EnrollMemberResponse)
    first_hints = hub.hints
    again = hub.call(cafe, "EnrollMember", request, members.EnrollMemberResponse)

    assert first == again
    assert (first_hints, hub.hints) == ([], [("tongdui-replayed", "1")])
    changed = members.EnrollMemberRequest(request_id="r-1", customer_id="c-2")
    assert hub.refusal(cafe, "EnrollMember", changed) == ("REQUEST_ID_REUSED", {})


def test_a_partner_sees_names_and_its_own_and_the_hubs_keys(hub: Hub) -> None:
    cafe, tea = hub.office.partner("cafe"), hub.office.partner("tea")
    for actor in (cafe, tea):
        hub.office.register(actor, SigningKey.generate(), CHEN)

    names = hub.call(cafe, "ListPartners", partners.ListPartnersRequest(), partners.ListPartnersResponse)
    keys = hub.call(cafe, "ListKeys", partners.ListKeysRequest(), partners.ListKeysResponse)
    all_keys = hub.call(CHEN, "ListKeys", partners.ListKeysRequest(), partners.ListKeysResponse)

    assert [(it.partner_id, it.display_name, it.attestation_allowed) for it in names.partners] == [
        ("cafe", "CAFE", False),
        ("tea", "TEA", False),
    ]
    assert not any(it.HasField("create_time") for it in names.partners)
    assert [key.owner for key in keys.keys] == ["cafe", "hub"]
    assert [key.owner for key in all_keys.keys] == ["cafe", "hub", "operator", "operator", "tea"]
    assert hub.refusal(cafe, "ListKeys", partners.ListKeysRequest(owner="tea")) == ("ROLE_REQUIRED", {})


def test_lists_go_from_page_to_page(hub: Hub) -> None:
    for code in ("a", "b", "c"):
        hub.office.partner(code)

    first = hub.call(
        CHEN, "ListPartners", partners.ListPartnersRequest(page_size=2), partners.ListPartnersResponse
    )
    second = hub.call(
        CHEN,
        "ListPartners",
        partners.ListPartnersRequest(page_size=2, page_token=first.next_page_token),
        partners.ListPartnersResponse,
    )

    assert [it.partner_id for it in first.partners] == ["a", "b"]
    assert [it.partner_id for it in second.partners] == ["c"]
    assert second.next_page_token == ""


def test_cards_are_listed_newest_first_for_their_partner(hub: Hub) -> None:
    cafe, _ = hub.office.partner("cafe"), hub.office.partner("tea")
    for _ in range(3):
        hub.office.propose(new_card("cafe"))
    request = rate_cards.ListRateCardsRequest(page_size=2)

    first = hub.call(cafe, "ListRateCards", request, rate_cards.ListRateCardsResponse)
    request.page_token = first.next_page_token
    second = hub.call(cafe, "ListRateCards", request, rate_cards.ListRateCardsResponse)

    assert [card.version for card in (*first.rate_cards, *second.rate_cards)] == [3, 2, 1]
    of_tea = rate_cards.ListRateCardsRequest(partner_id="tea")
    assert hub.refusal(cafe, "ListRateCards", of_tea) == ("ROLE_REQUIRED", {})
    of_pool = rate_cards.ListRateCardsRequest(partner_id="POOL")
    assert hub.refusal(CHEN, "ListRateCards", of_pool) == ("PARTNER_UNKNOWN", {})


def test_a_card_is_withdrawn_and_listed_by_its_state(hub: Hub) -> None:
    cafe = hub.office.partner("cafe")
    for _ in range(2):
        hub.office.propose(new_card("cafe"))
    request = rate_cards.WithdrawRateCardRequest(request_id="w-1", partner_id="cafe", version=1)

    gone = hub.call(LI, "WithdrawRateCard", request, rate_cards.WithdrawRateCardResponse)
    again = hub.call(LI, "WithdrawRateCard", request, rate_cards.WithdrawRateCardResponse)

    assert again == gone
    assert hub.hints == [("tongdui-replayed", "1")]
    shown = gone.rate_card
    assert (shown.state, shown.withdrawn_by) == (rate_cards.RateCard.STATE_WITHDRAWN, "li.na")
    assert shown.withdraw_time.ToDatetime(UTC) == NOON
    for state, versions in ((rate_cards.RateCard.STATE_PROPOSED, [2]), (shown.state, [1])):
        page = hub.call(
            cafe,
            "ListRateCards",
            rate_cards.ListRateCardsRequest(state=state),
            rate_cards.ListRateCardsResponse,
        )
        assert [card.version for card in page.rate_cards] == versions
    approval = rate_cards.ApproveRateCardRequest(request_id="a-1", partner_id="cafe", version=1)
    assert hub.refusal(LI, "ApproveRateCard", approval) == ("RATE_CARD_STATE", {"state": "withdrawn"})


def test_a_card_is_read_by_version_as_of_a_time_or_as_of_now(hub: Hub) -> None:
    cafe, tea = hub.office.partner("cafe"), hub.office.partner("tea")
    for begins in (NOON, days_on(1)):
        hub.office.approve_card(hub.office.propose(new_card("cafe", valid_from=begins)))
    hub.office.propose(new_card("cafe"))

    def version_of(**which: Any) -> int:
        request = rate_cards.GetRateCardRequest(**which)
        return hub.call(cafe, "GetRateCard", request, rate_cards.GetRateCardResponse).rate_card.version

    in_two_days = Timestamp(seconds=int(days_on(2).timestamp()))
    assert (version_of(), version_of(version=3), version_of(in_force_at=in_two_days)) == (1, 3, 2)
    before = rate_cards.GetRateCardRequest(in_force_at=Timestamp(seconds=int(NOON.timestamp()) - 1))
    assert hub.refusal(cafe, "GetRateCard", before) == ("RATE_CARD_UNKNOWN", {})
    assert hub.refusal(tea, "GetRateCard", rate_cards.GetRateCardRequest()) == ("RATE_CARD_UNKNOWN", {})
    of_cafe = rate_cards.GetRateCardRequest(partner_id="cafe")
    assert hub.refusal(tea, "GetRateCard", of_cafe) == ("ROLE_REQUIRED", {})
    with pytest.raises(InvalidField, match="version"):
        version_of(version=0)


def test_a_preview_tells_a_partner_no_figure_of_anothers_card(hub: Hub) -> None:
    cafe, _ = hub.office.partner("cafe"), hub.office.partner("tea")
    hub.office.approve_card(hub.office.propose(new_card("tea")))
    rich = new_card(
        "cafe",
        reimbursement_micros=10_001,
        funding_micros=20_000,
        native_rate_in=Fraction(2),
        native_rate_out=Fraction(1),
    )
    hub.office.propose(rich)
    request = rate_cards.PreviewRateCardRequest(partner_id="cafe", version=1)

    for_operator = hub.call(CHEN, "PreviewRateCard", request, rate_cards.PreviewRateCardResponse)
    for_cafe = hub.call(cafe, "PreviewRateCard", request, rate_cards.PreviewRateCardResponse)

    told = [info_of(it) for it in for_operator.objections]
    assert [info.reason for info in told] == ["RATE_CARD_UNFUNDED", "RATE_CARD_ARBITRAGE"]
    assert told[0].metadata["issuer_id"] == "tea"
    assert told[1].metadata["product"] == "2"
    told_cafe = [info_of(it) for it in for_cafe.objections]
    assert [info.reason for info in told_cafe] == ["RATE_CARD_UNFUNDED", "RATE_CARD_ARBITRAGE"]
    assert not told_cafe[0].metadata
    assert told_cafe[1] == told[1]
    assert (for_cafe.rate_card.version, for_cafe.HasField("before")) == (1, False)
    unknown = rate_cards.PreviewRateCardRequest(version=7)
    assert hub.refusal(cafe, "PreviewRateCard", unknown) == ("RATE_CARD_UNKNOWN", {})


def test_amounts_beyond_63_bits_are_given_as_the_greatest(hub: Hub) -> None:
    cafe = hub.office.partner("cafe")
    dear = dict.fromkeys(("face_value_micros", "funding_micros", "prefunded_micros"), 10**9)
    hub.office.approve_card(hub.office.propose(new_card("cafe", **dear)))
    member = hub.office.enroll(cafe, "c-1", WIDE)
    hub.office.post(
        *(earn(f"e-{it}", points=10**9, partner_id=cafe.partner_id, member_id=member) for it in range(10))
    )
    hub.office.propose(new_card("cafe", valid_from=days_on(1), **dear))

    seen = hub.call(
        cafe,
        "PreviewRateCard",
        rate_cards.PreviewRateCardRequest(version=2),
        rate_cards.PreviewRateCardResponse,
    )

    assert seen.outstanding_points == seen.spendable_points == 10**10
    assert seen.liability_micros == seen.outstanding[0].liability_micros == 2**63 - 1
    assert seen.after.member_value_micros == 2**63 - 1
    assert seen.after.reimbursement_micros == 0


def test_a_batch_answers_every_item_by_itself(hub: Hub) -> None:
    plain = hub.office.partner("plain", attests=False)
    unknown_field = members.EnrollMemberRequest.FromString(
        members.EnrollMemberRequest(request_id="r-3", customer_id="c-3").SerializeToString() + b"\x7a\x01x"
    )
    request = members.BatchEnrollMembersRequest(
        requests=[
            members.EnrollMemberRequest(request_id="r-1", customer_id="c-1"),
            members.EnrollMemberRequest(request_id="r-2", customer_id=""),
            unknown_field,
            members.EnrollMemberRequest(
                request_id="r-4",
                customer_id="c-4",
                consent=members.Consent(per_burn_limit_points=1, per_day_limit_points=1),
            ),
            members.EnrollMemberRequest(request_id="r-5", customer_id="c-5"),
        ]
    )

    response = hub.call(plain, "BatchEnrollMembers", request, members.BatchEnrollMembersResponse)

    assert [it.WhichOneof("result") for it in response.results] == [
        "member",
        "error",
        "error",
        "error",
        "member",
    ]
    infos = [info_of(it.error) for it in response.results[1:4]]
    assert [(info.reason, dict(info.metadata)) for info in infos] == [
        ("INVALID_FIELD", {"field": "customer_id"}),
        ("INVALID_FIELD", {"field": "message"}),
        ("ATTESTATION_NOT_ALLOWED", {}),
    ]


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_holds_one_to_a_thousand_requests(hub: Hub, count: int) -> None:
    cafe = hub.office.partner("cafe")
    one = members.LinkAliasRequest(request_id="r", member_id="m", customer_id="c")

    with pytest.raises(InvalidField, match="requests: must be 1 to 1000"):
        hub.call(
            cafe,
            "BatchLinkAliases",
            members.BatchLinkAliasesRequest(requests=[one] * count),
            members.BatchLinkAliasesResponse,
        )


def test_a_batch_of_links_names_the_members(hub: Hub) -> None:
    cafe, tea = hub.office.partner("cafe"), hub.office.partner("tea")
    member = member_text(hub.office.enroll(cafe, "c-1"))
    request = members.BatchLinkAliasesRequest(
        requests=[
            members.LinkAliasRequest(request_id="r-1", member_id=member, customer_id="t-1"),
            members.LinkAliasRequest(request_id="r-2", member_id="m-nobody", customer_id="t-2"),
        ]
    )

    linked, refused = hub.call(tea, "BatchLinkAliases", request, members.BatchLinkAliasesResponse).results

    assert linked.link.member_id == member
    assert info_of(refused.error).reason == "MEMBER_UNKNOWN"


def test_a_consent_is_set_by_who_may(hub: Hub) -> None:
    cafe = hub.office.partner("cafe")
    member = member_text(hub.office.enroll(cafe, "c-1"))
    consent = members.Consent(per_burn_limit_points=5, per_day_limit_points=50)

    def asked(request_id: str, partner_id: str = "") -> members.SetConsentRequest:
        return members.SetConsentRequest(
            request_id=request_id, member_id=member, partner_id=partner_id, consent=consent
        )

    by_partner = hub.call(cafe, "SetConsent", asked("r-1"), members.SetConsentResponse)
    by_operator = hub.call(CHEN, "SetConsent", asked("r-1", "cafe"), members.SetConsentResponse)

    assert by_partner.consent == by_operator.consent == consent
    with pytest.raises(InvalidField, match="partner_id"):
        hub.call(CHEN, "SetConsent", asked("r-2"), members.SetConsentResponse)
    unset = members.SetConsentRequest(request_id="r-3", member_id=member)
    with pytest.raises(InvalidField, match="consent"):
        hub.call(cafe, "SetConsent", unset, members.SetConsentResponse)


def test_the_clock_answers_with_who_was_woken_and_says_so_again(hub: Hub) -> None:
    moment = Timestamp(seconds=int(days_on(1).timestamp()))
    request = journal.SetLedgerTimeRequest(request_id="r-1", ledger_time=moment)
    hub.woken = 3
    first = hub.call(CHEN, "SetLedgerTime", request, journal.SetLedgerTimeResponse)
    hub.woken = 0

    again = hub.call(CHEN, "SetLedgerTime", request, journal.SetLedgerTimeResponse)

    assert (first.ledger_time, first.woken_member_count) == (moment, 3)
    assert again == first
    ledger = hub.call(CHEN, "GetLedger", journal.GetLedgerRequest(), journal.GetLedgerResponse)
    assert ledger.ledger_time == moment
    assert (ledger.audience, ledger.clock) == (AUDIENCE, journal.GetLedgerResponse.CLOCK_MANUAL)


def test_a_full_queue_after_the_clock_moved_leaves_the_outcome_unknown_to_the_same_request(hub: Hub) -> None:
    request = journal.SetLedgerTimeRequest(
        request_id="r-1", ledger_time=Timestamp(seconds=int(days_on(1).timestamp()))
    )
    hub.is_full = True

    reason, _ = hub.refusal(CHEN, "SetLedgerTime", request)

    assert reason == "HUB_UNAVAILABLE"
    hub.is_full, hub.woken = False, 2
    again = hub.call(CHEN, "SetLedgerTime", request, journal.SetLedgerTimeResponse)
    assert again.woken_member_count == 2


def test_windows_and_batches_are_shown_as_they_are_chained(hub: Hub) -> None:
    office = hub.office
    cafe = office.partner("cafe")
    office.approve_card(office.propose(new_card("cafe")))
    member = office.enroll(cafe, "c-1", WIDE)
    for index in range(3):
        office.post(earn(f"e-{index}", partner_id=cafe.partner_id, member_id=member))
    office.set_time(days_on(1))
    closing = journal.CloseWindowRequest(request_id="r-1", window_date=FIRST)

    closed = hub.call(CHEN, "CloseWindow", closing, journal.CloseWindowResponse).window
    windows = hub.call(CHEN, "ListWindows", journal.ListWindowsRequest(), journal.ListWindowsResponse)
    wanted = journal.ListBatchesRequest(first_sequence=2, page_size=1)
    second = hub.call(CHEN, "ListBatches", wanted, journal.ListBatchesResponse)
    wanted.page_token = second.next_page_token
    third = hub.call(CHEN, "ListBatches", wanted, journal.ListBatchesResponse)

    assert (closed.first_sequence, closed.last_sequence, closed.entry_count) == (1, 3, 3)
    assert closed.audience == AUDIENCE
    assert list(windows.windows) == [closed]
    assert [it.sequence for it in (*second.batches, *third.batches)] == [2, 3]
    assert third.batches[0].hash == closed.last_hash
    assert third.next_page_token == ""


def test_a_settled_window_says_when_and_by_which_certificate_and_is_closed_as_it_was(hub: Hub) -> None:
    closing = journal.CloseWindowRequest(request_id="r-1", window_date=FIRST)
    settling = journal.SettleWindowRequest(request_id="s-1", window_date=FIRST, certificate_sha256=bytes(32))
    assert hub.refusal(CHEN, "SettleWindow", settling) == ("WINDOW_NOT_CLOSED", {})
    hub.office.set_time(days_on(1))
    closed = hub.call(CHEN, "CloseWindow", closing, journal.CloseWindowResponse)

    settled = hub.call(CHEN, "SettleWindow", settling, journal.SettleWindowResponse).window

    other = journal.SettleWindowRequest(request_id="s-2", window_date=FIRST, certificate_sha256=b"\x01" * 32)
    later = journal.CloseWindowRequest(request_id="r-2", window_date=FIRST)
    shown = hub.call(CHEN, "ListWindows", journal.ListWindowsRequest(), journal.ListWindowsResponse).windows
    assert (settled.settled_time.ToDatetime(UTC), settled.certificate_sha256) == (days_on(1), bytes(32))
    assert list(shown) == [settled]
    assert hub.call(CHEN, "SettleWindow", settling, journal.SettleWindowResponse).window == settled
    assert hub.call(CHEN, "SettleWindow", other, journal.SettleWindowResponse).window == settled
    assert hub.call(CHEN, "CloseWindow", later, journal.CloseWindowResponse) == closed


def test_a_certificate_that_is_no_sha256_settles_nothing(hub: Hub) -> None:
    settling = journal.SettleWindowRequest(request_id="s-1", window_date=FIRST, certificate_sha256=b"short")

    with pytest.raises(InvalidField, match="certificate_sha256"):
        hub.call(CHEN, "SettleWindow", settling, journal.SettleWindowResponse)


@pytest.mark.parametrize(
    "entry_id",
    ["1", "x-1", "1-", "-1-0", "01-0", "9223372036854775808-0", "1-2147483648", "1-0 ", "\uff11-0", "7-0"],
)
def test_an_entry_id_that_names_nothing_is_unknown(hub: Hub, entry_id: str) -> None:
    assert hub.refusal(CHEN, "GetEntry", journal.GetEntryRequest(entry_id=entry_id)) == ("ENTRY_UNKNOWN", {})


def test_a_partner_reads_its_members_and_entries_and_nobody_elses(hub: Hub) -> None:
    office = hub.office
    cafe, tea = office.partner("cafe"), office.partner("tea")
    office.approve_card(office.propose(new_card("cafe")))
    member = office.enroll(cafe, "c-1", WIDE)
    office.post(earn("e-1", points=70, partner_id=cafe.partner_id, member_id=member))
    wanted = points.GetWalletRequest(member_id=member_text(member))
    all_entries = points.ListEntriesRequest()
    of_member = points.ListEntriesRequest(member_id=member_text(member))

    wallet = hub.call(cafe, "GetWallet", wanted, points.GetWalletResponse)
    listed = hub.call(cafe, "ListEntries", of_member, points.ListEntriesResponse).entries
    entry_id = journal.GetEntryRequest(entry_id=listed[0].entry_id)

    assert wallet.available_points == 70
    assert wallet.read_time.ToDatetime(NOON.tzinfo) == NOON
    assert wallet.value_micros == 70 * 10_000
    wallet.ClearField("value_micros")  # an operator has no checkout
    assert hub.call(CHEN, "GetWallet", wanted, points.GetWalletResponse) == wallet
    assert hub.call(cafe, "GetEntry", entry_id, journal.GetEntryResponse).entry == listed[0]
    assert hub.refusal(tea, "GetWallet", wanted) == ("MEMBER_UNKNOWN", {})
    assert hub.refusal(tea, "ListEntries", of_member) == ("MEMBER_UNKNOWN", {})
    assert not hub.call(tea, "ListEntries", all_entries, points.ListEntriesResponse).entries
    assert hub.refusal(tea, "GetEntry", entry_id) == ("ENTRY_UNKNOWN", {})
    assert hub.refusal(CHEN, "GetWallet", points.GetWalletRequest(member_id="m-nobody")) == (
        "MEMBER_UNKNOWN",
        {},
    )
