"""Requests to the registrar's services: what comes of well-formed ones, and which field a bad one is told of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import date_pb2

from exchange.core.ids import OPERATOR, UNKNOWN_MEMBER, member_text
from exchange.core.rates import ExpiryKind, ExpiryPolicy
from exchange.registrar import Consent, RegistrarRefusal
from exchange.rpc.card_messages import from_card, to_new_card, to_state
from exchange.rpc.errors import CallError, InvalidField
from exchange.rpc.members import to_consent, to_enrolment, to_link
from exchange.rpc.partners import from_key, to_new_key, to_new_partner
from exchange.rpc.registering import own_partner, refusal_error
from exchange.rpc.signatures import Caller
from exchange.store.reads.pages import Card, Key
from tongdui.exchange.v1 import members_service_pb2 as members
from tongdui.exchange.v1 import partners_service_pb2 as partners
from tongdui.exchange.v1 import rate_cards_service_pb2 as rate_cards
from tongdui.type.v1.fraction_pb2 import Fraction as WireFraction

CHEN = Caller("operator.x", "operator", OPERATOR, "chen.wei", frozenset({"operator"}))
CAFE = Caller("cafe.x", "cafe", 1, "", frozenset({"partner"}))
MOMENT = datetime(2026, 1, 1, 4, tzinfo=UTC)


UNKNOWN_STATE: Any = 77
"""As a newer client may send it."""


def refused_field(translate: Callable[[], object]) -> str:
    with pytest.raises(InvalidField) as refused:
        translate()
    return refused.value.field


def partner_request(**changes: Any) -> partners.CreatePartnerRequest:
    partner = partners.Partner(partner_id="cafe", display_name="Café", attestation_allowed=True)
    for name, value in changes.items():
        setattr(partner, name, value)
    return partners.CreatePartnerRequest(request_id="r-1", partner=partner)


def key_request(**changes: Any) -> partners.RegisterKeyRequest:
    request = {
        "request_id": "r-1",
        "owner": "cafe",
        "public_key": bytes(32),
        "challenge": bytes(32),
        "proof": bytes(64),
    }
    return partners.RegisterKeyRequest(**{**request, **changes})


def card_message(**changes: Any) -> rate_cards.RateCard:
    card: dict[str, Any] = {
        "partner_id": "cafe",
        "valid_from": Timestamp(seconds=int(MOMENT.timestamp())),
        "earn_rate": WireFraction(numerator=6, denominator=4),
        "face_value_micros": 10_000,
        "funding_micros": 10_000,
        "reimbursement_micros": 9_500,
        "expiry_policy": rate_cards.ExpiryPolicy(never=True),
    }
    kept = {name: value for name, value in {**card, **changes}.items() if value is not None}
    return rate_cards.RateCard(**kept)


def card_request(**changes: Any) -> rate_cards.ProposeRateCardRequest:
    return rate_cards.ProposeRateCardRequest(request_id="r-1", rate_card=card_message(**changes))


def test_a_partner_is_created_with_its_name_and_contract() -> None:
    new = to_new_partner(partner_request())

    assert new == ("cafe", "Café", True)


@pytest.mark.parametrize("code", ["", "Cafe", "-cafe", "café", "c" * 33, "hub", "operator", "pool", "c\n"])
def test_a_partners_id_is_checked(code: str) -> None:
    assert refused_field(lambda: to_new_partner(partner_request(partner_id=code))) == "partner.partner_id"


@pytest.mark.parametrize("name", ["", "x" * 101, "a\tb", "a\x00"])
def test_a_partners_name_is_checked(name: str) -> None:
    field = refused_field(lambda: to_new_partner(partner_request(display_name=name)))

    assert field == "partner.display_name"


def test_when_a_partner_joined_is_not_for_the_caller_to_say() -> None:
    request = partner_request()
    request.partner.create_time.seconds = 1

    assert refused_field(lambda: to_new_partner(request)) == "partner.create_time"


def test_a_partners_key_is_a_partners_and_lasts_a_year_unless_told_otherwise() -> None:
    from_operator = to_new_key(key_request(), CHEN)
    from_partner = to_new_key(key_request(owner="", validity_days=30), CAFE)

    assert (from_operator.owner, from_operator.holder, from_operator.roles) == ("cafe", "", ("partner",))
    assert from_operator.validity_days == 366
    assert (from_partner.owner, from_partner.roles, from_partner.validity_days) == ("cafe", ("partner",), 30)


def test_a_persons_key_has_the_roles_asked_for() -> None:
    roles = [partners.ROLE_AUDITOR, partners.ROLE_FINANCE_MAKER]

    new = to_new_key(key_request(owner="operator", holder="li.na", roles=roles), CHEN)

    assert (new.owner, new.holder, new.roles) == ("operator", "li.na", ("finance_maker", "auditor"))


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("public_key", {"public_key": bytes(31)}),
        ("challenge", {"challenge": bytes(33)}),
        ("proof", {"proof": b""}),
        ("validity_days", {"validity_days": 367}),
        ("validity_days", {"validity_days": -1}),
        ("owner", {"owner": ""}),
        ("owner", {"owner": "hub"}),
        ("owner", {"owner": "POOL"}),
        ("holder", {"holder": "chen.wei"}),
        ("roles", {"roles": [partners.ROLE_PARTNER]}),
        ("holder", {"owner": "operator", "roles": [partners.ROLE_OPERATOR]}),
        ("holder", {"owner": "operator", "holder": " li", "roles": [partners.ROLE_OPERATOR]}),
        ("holder", {"owner": "operator", "holder": "李娜", "roles": [partners.ROLE_OPERATOR]}),
        ("roles", {"owner": "operator", "holder": "li.na"}),
        ("roles", {"owner": "operator", "holder": "li.na", "roles": [partners.ROLE_PARTNER]}),
        ("roles", {"owner": "operator", "holder": "li.na", "roles": [partners.ROLE_UNSPECIFIED]}),
        ("roles", {"owner": "operator", "holder": "li.na", "roles": [99]}),
        ("roles", {"owner": "operator", "holder": "li.na", "roles": [partners.ROLE_AUDITOR] * 2}),
    ],
)
def test_a_bad_key_registration_names_the_field(field: str, changes: dict[str, Any]) -> None:
    assert refused_field(lambda: to_new_key(key_request(**changes), CHEN)) == field


def test_a_partner_registers_no_key_for_another() -> None:
    with pytest.raises(CallError) as refused:
        to_new_key(key_request(owner="tea"), CAFE)

    assert refused.value.reason == "ROLE_REQUIRED"


def test_a_key_is_shown_with_all_it_is() -> None:
    key = Key("cafe.x", "cafe", "", bytes(32), ("partner",), "active", MOMENT, MOMENT)

    shown = from_key(key)

    assert (shown.key_id, shown.state, list(shown.roles)) == (
        "cafe.x",
        partners.Key.STATE_ACTIVE,
        [partners.ROLE_PARTNER],
    )


def test_a_partner_acts_for_itself_and_a_person_names_whom() -> None:
    assert own_partner("partner_id", "", CAFE) == own_partner("partner_id", "cafe", CAFE) == "cafe"
    assert own_partner("partner_id", "tea", CHEN) == "tea"
    assert refused_field(lambda: own_partner("partner_id", "", CHEN)) == "partner_id"
    with pytest.raises(CallError) as refused:
        own_partner("partner_id", "tea", CAFE)
    assert refused.value.reason == "ROLE_REQUIRED"


def test_a_card_is_proposed_in_lowest_terms_with_its_defaults() -> None:
    new = to_new_card(card_request())

    assert new.earn_rate == Fraction(3, 2)
    assert (new.native_rate_in, new.native_rate_out) == (None, None)
    assert (new.exchange_spread, new.breakage_issuer_share) == (Fraction(0), Fraction(0))
    assert (new.issue_fee_micros, new.prefunded_micros) == (0, 0)
    assert new.expiry_policy == ExpiryPolicy(ExpiryKind.NEVER)
    assert new.valid_from == MOMENT


@pytest.mark.parametrize(
    ("wire", "policy"),
    [
        ({"days": 36_500}, ExpiryPolicy(ExpiryKind.DAYS, 36_500)),
        ({"months_to_month_end": 12}, ExpiryPolicy(ExpiryKind.MONTHS_TO_MONTH_END, 12)),
        (
            {"fixed_date": date_pb2.Date(year=2027, month=2, day=28)},
            ExpiryPolicy(ExpiryKind.FIXED_DATE, fixed_date=date(2027, 2, 28)),
        ),
    ],
)
def test_an_expiry_policy_goes_in_and_out_unchanged(wire: dict[str, Any], policy: ExpiryPolicy) -> None:
    message = rate_cards.ExpiryPolicy(**wire)

    new = to_new_card(card_request(expiry_policy=message))

    assert new.expiry_policy == policy
    assert from_card(shown_card(expiry_policy=policy)).expiry_policy == message


def shown_card(**changes: Any) -> Card:
    card = Card(
        "cafe",
        2,
        MOMENT,
        Fraction(3, 2),
        Fraction(1, 10),
        None,
        Fraction(1, 50),
        10_000,
        10_000,
        9_500,
        200,
        5_000,
        ExpiryPolicy(ExpiryKind.NEVER),
        Fraction(1, 3),
        "approved",
        "chen.wei",
        "li.na",
        "",
        MOMENT,
        MOMENT + timedelta(days=1),
        None,
    )
    return card._replace(**changes)


def test_a_card_is_shown_with_all_it_says() -> None:
    shown = from_card(shown_card())

    assert shown == rate_cards.RateCard(
        partner_id="cafe",
        version=2,
        valid_from=Timestamp(seconds=int(MOMENT.timestamp())),
        earn_rate=WireFraction(numerator=3, denominator=2),
        native_rate_in=WireFraction(numerator=1, denominator=10),
        exchange_spread=WireFraction(numerator=1, denominator=50),
        face_value_micros=10_000,
        funding_micros=10_000,
        reimbursement_micros=9_500,
        issue_fee_micros=200,
        prefunded_micros=5_000,
        expiry_policy=rate_cards.ExpiryPolicy(never=True),
        breakage_issuer_share=WireFraction(numerator=1, denominator=3),
        state=rate_cards.RateCard.STATE_APPROVED,
        proposed_by="chen.wei",
        approved_by="li.na",
        propose_time=Timestamp(seconds=int(MOMENT.timestamp())),
        approve_time=Timestamp(seconds=int(MOMENT.timestamp()) + 86_400),
    )


def test_a_withdrawn_card_is_shown_with_who_withdrew_it() -> None:
    shown = from_card(
        shown_card(state="withdrawn", approved_by="", withdrawn_by="li.na", withdraw_time=MOMENT)
    )

    assert (shown.state, shown.withdrawn_by) == (rate_cards.RateCard.STATE_WITHDRAWN, "li.na")
    assert shown.withdraw_time == Timestamp(seconds=int(MOMENT.timestamp()))


def test_a_list_of_cards_is_of_one_state_or_of_all() -> None:
    named = [to_state(state) for state in rate_cards.RateCard.State.values()]

    assert named == [None, "proposed", "approved", "withdrawn"]
    assert refused_field(lambda: to_state(UNKNOWN_STATE)) == "state"


def test_native_rates_are_proposed_in_lowest_terms() -> None:
    new = to_new_card(
        card_request(
            native_rate_in=WireFraction(numerator=2, denominator=20),
            native_rate_out=WireFraction(numerator=10**9, denominator=10**9),
            exchange_spread=WireFraction(numerator=10**9 - 1, denominator=10**9),
        )
    )

    assert (new.native_rate_in, new.native_rate_out) == (Fraction(1, 10), Fraction(1))
    assert new.exchange_spread == Fraction(10**9 - 1, 10**9)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("rate_card.partner_id", {"partner_id": ""}),
        ("rate_card.version", {"version": 1}),
        ("rate_card.state", {"state": rate_cards.RateCard.STATE_APPROVED}),
        ("rate_card.proposed_by", {"proposed_by": "me"}),
        ("rate_card.approved_by", {"approved_by": "me"}),
        ("rate_card.withdrawn_by", {"withdrawn_by": "me"}),
        ("rate_card.propose_time", {"propose_time": Timestamp()}),
        ("rate_card.approve_time", {"approve_time": Timestamp(seconds=1)}),
        ("rate_card.withdraw_time", {"withdraw_time": Timestamp(seconds=1)}),
        ("rate_card.valid_from", {"valid_from": None}),
        ("rate_card.valid_from", {"valid_from": Timestamp(seconds=2**62)}),
        ("rate_card.earn_rate", {"earn_rate": None}),
        ("rate_card.earn_rate.denominator", {"earn_rate": WireFraction(numerator=1)}),
        ("rate_card.earn_rate.numerator", {"earn_rate": WireFraction(numerator=-1, denominator=1)}),
        ("rate_card.earn_rate.numerator", {"earn_rate": WireFraction(numerator=10**9 + 1, denominator=1)}),
        ("rate_card.native_rate_in.numerator", {"native_rate_in": WireFraction(numerator=0, denominator=1)}),
        ("rate_card.native_rate_in.denominator", {"native_rate_in": WireFraction(numerator=1)}),
        (
            "rate_card.native_rate_in.numerator",
            {"native_rate_in": WireFraction(numerator=10**9 + 1, denominator=1)},
        ),
        (
            "rate_card.native_rate_out.numerator",
            {"native_rate_out": WireFraction(numerator=-9, denominator=1)},
        ),
        (
            "rate_card.native_rate_out.denominator",
            {"native_rate_out": WireFraction(numerator=9, denominator=10**9 + 1)},
        ),
        (
            "rate_card.exchange_spread",
            {
                "native_rate_in": WireFraction(numerator=1, denominator=1),
                "exchange_spread": WireFraction(numerator=2, denominator=2),
            },
        ),
        (
            "rate_card.exchange_spread.numerator",
            {
                "native_rate_in": WireFraction(numerator=1, denominator=1),
                "exchange_spread": WireFraction(numerator=-1, denominator=2),
            },
        ),
        # A spread of a way that is closed.
        ("rate_card.exchange_spread", {"exchange_spread": WireFraction(numerator=1, denominator=50)}),
        (
            "rate_card.breakage_issuer_share",
            {"breakage_issuer_share": WireFraction(numerator=3, denominator=2)},
        ),
        ("rate_card.face_value_micros", {"face_value_micros": -1}),
        ("rate_card.funding_micros", {"funding_micros": 0}),
        ("rate_card.funding_micros", {"funding_micros": 10**9 + 1}),
        ("rate_card.reimbursement_micros", {"reimbursement_micros": 2**63 - 1}),
        ("rate_card.issue_fee_micros", {"issue_fee_micros": -1}),
        ("rate_card.prefunded_micros", {"prefunded_micros": 10_001}),
        ("rate_card.expiry_policy", {"expiry_policy": None}),
        ("rate_card.expiry_policy", {"expiry_policy": rate_cards.ExpiryPolicy()}),
        ("rate_card.expiry_policy", {"expiry_policy": rate_cards.ExpiryPolicy(never=False)}),
        ("rate_card.expiry_policy.days", {"expiry_policy": rate_cards.ExpiryPolicy(days=0)}),
        ("rate_card.expiry_policy.days", {"expiry_policy": rate_cards.ExpiryPolicy(days=36_501)}),
        (
            "rate_card.expiry_policy.months_to_month_end",
            {"expiry_policy": rate_cards.ExpiryPolicy(months_to_month_end=1_201)},
        ),
        (
            "rate_card.expiry_policy.fixed_date",
            {"expiry_policy": rate_cards.ExpiryPolicy(fixed_date=date_pb2.Date(year=2026, month=2, day=30))},
        ),
    ],
)
def test_a_bad_card_names_the_field(field: str, changes: dict[str, Any]) -> None:
    assert refused_field(lambda: to_new_card(card_request(**changes))) == field


@pytest.mark.parametrize(("per_burn", "per_day"), [(0, 0), (1, 1), (10**9, 10**9), (500, 100)])
def test_a_consent_has_both_limits_or_neither(per_burn: int, per_day: int) -> None:
    message = members.Consent(per_burn_limit_points=per_burn, per_day_limit_points=per_day)

    assert to_consent(message) == Consent(per_burn, per_day)


@pytest.mark.parametrize(
    ("field", "per_burn", "per_day"),
    [
        ("consent", 1, 0),
        ("consent", 0, 1),
        ("consent.per_burn_limit_points", -1, 1),
        ("consent.per_burn_limit_points", 10**9 + 1, 1),
        ("consent.per_day_limit_points", 1, 2**63 - 1),
    ],
)
def test_a_bad_consent_names_the_field(field: str, per_burn: int, per_day: int) -> None:
    message = members.Consent(per_burn_limit_points=per_burn, per_day_limit_points=per_day)

    assert refused_field(lambda: to_consent(message)) == field


def test_an_enrolment_says_whether_a_consent_was_stated() -> None:
    silent = to_enrolment(members.EnrollMemberRequest(request_id="r-1", customer_id="客户-1"))
    stated = to_enrolment(
        members.EnrollMemberRequest(request_id="r-1", customer_id="客户-1", consent=members.Consent())
    )

    assert (silent.customer_id, silent.consent) == ("客户-1", None)
    assert stated.consent == Consent(0, 0)
    assert silent.asked.fingerprint != stated.asked.fingerprint


def test_a_member_id_the_hub_never_gave_is_a_member_nobody_knows() -> None:
    known = to_link(members.LinkAliasRequest(request_id="r", member_id=member_text(7), customer_id="c"))
    odd = to_link(members.LinkAliasRequest(request_id="r", member_id="m-ABC", customer_id="c"))

    assert known.member_id == 7
    assert odd.member_id == UNKNOWN_MEMBER


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("request_id", {"request_id": ""}),
        ("request_id", {"request_id": "r" * 65}),
        ("request_id", {"request_id": "é"}),
        ("customer_id", {"customer_id": ""}),
        ("customer_id", {"customer_id": "c" * 65}),
        ("customer_id", {"customer_id": "c\x00"}),
        ("member_id", {"member_id": ""}),
        ("member_id", {"member_id": "m" * 65}),
    ],
)
def test_a_bad_link_names_the_field(field: str, changes: dict[str, str]) -> None:
    request = members.LinkAliasRequest(request_id="r", member_id="m-000000000007", customer_id="c")
    for name, value in changes.items():
        setattr(request, name, value)

    assert refused_field(lambda: to_link(request)) == field


def test_a_name_spelled_otherwise_is_an_invalid_holder_and_the_error_says_how_it_is_spelled() -> None:
    refused = refusal_error(RegistrarRefusal("INVALID_FIELD", field="holder", registered_as="Ana Li"))

    assert refused.reason == "INVALID_FIELD"
    assert refused.status.message == "holder: is registered as Ana Li; one person has one spelling"
