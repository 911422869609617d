"""Which refusal a command gets when several hold, and where each begins."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

import pytest

from exchange.core.book import MemberState
from exchange.core.commands import (
    AuthorizeBurn,
    Burn,
    CancelEarn,
    CaptureBurn,
    ClawBackEarn,
    Command,
    ConfirmEarn,
    ConfirmExchangeOut,
    Earn,
    ExchangeIn,
    ExchangeOut,
    ExtendHold,
    RefundBurn,
    RefuseExchangeOut,
    Transfer,
    VoidBurn,
)
from exchange.core.decisions import Accepted, Refused, Rejected
from exchange.core.planner import plan
from exchange.core.points import MAX_POINTS, MAX_SPEND_MINOR
from exchange.core.refusals import UNRECORDED, Reason
from tests.builders import (
    M1,
    M2,
    MICROSECOND,
    NOON,
    STRANGER,
    WIDE,
    A,
    B,
    asked,
    book,
    burn,
    card,
    earn,
    lot,
    refusal,
)
from tests.ledger import Ledger

LATE_LIMIT = timedelta(days=7)
TOLERANCE = timedelta(seconds=60)

ORDER_OF_EARN = [
    Reason.EVENT_IN_FUTURE,
    Reason.MEMBER_UNKNOWN,
    Reason.EVENT_TOO_OLD,
    Reason.DUPLICATE_REFERENCE,
    Reason.NO_RATE_CARD,
    Reason.NOTHING_TO_EARN,
    Reason.POINTS_OVER_LIMIT,
]
ORDER_OF_BURN = [
    Reason.EVENT_IN_FUTURE,
    Reason.MEMBER_UNKNOWN,
    Reason.EVENT_TOO_OLD,
    Reason.DUPLICATE_REFERENCE,
    Reason.CONSENT_REQUIRED,
    Reason.CONSENT_LIMIT_EXCEEDED,
    Reason.CONSENT_DAILY_LIMIT_EXCEEDED,
    Reason.NO_RATE_CARD,
    Reason.INSUFFICIENT_POINTS,
]
NEVER_TOGETHER = [
    {Reason.EVENT_IN_FUTURE, Reason.EVENT_TOO_OLD},
    {Reason.NOTHING_TO_EARN, Reason.POINTS_OVER_LIMIT},
]


def pairs(order: list[Reason]) -> list[tuple[Reason, Reason]]:
    return [pair for pair in combinations(order, 2) if set(pair) not in NEVER_TOGETHER]


def earn_refused(*causes: Reason) -> Reason:
    """The reason given to an earn of which each of the causes holds."""
    spend = 100
    if Reason.NOTHING_TO_EARN in causes:
        spend = 99
    if Reason.POINTS_OVER_LIMIT in causes:
        spend = MAX_SPEND_MINOR
    command = earn(
        spend_minor=spend,
        member_id=STRANGER if Reason.MEMBER_UNKNOWN in causes else M1,
        event_time=NOON + offset(causes),
    )
    begins = "2027-01-01 00:00" if Reason.NO_RATE_CARD in causes else "2017-01-01 00:00"
    here = book(cards=[card(A, valid_from=begins)])
    if Reason.DUPLICATE_REFERENCE in causes:
        here.references[A, "earn", command.reference, 0] = "3-14"
    return refusal(plan([command], here)[0]).reason


def burn_refused(*causes: Reason) -> Reason:
    """The reason given to a burn of which each of the causes holds."""
    command = burn(
        points=100,
        member_id=STRANGER if Reason.MEMBER_UNKNOWN in causes else M1,
        event_time=NOON + offset(causes),
    )
    per_burn = 99 if Reason.CONSENT_LIMIT_EXCEEDED in causes else WIDE
    per_day = 99 if Reason.CONSENT_DAILY_LIMIT_EXCEEDED in causes else WIDE
    if Reason.CONSENT_REQUIRED in causes:
        per_burn = 0
    begins = "2027-01-01 00:00" if Reason.NO_RATE_CARD in causes else "2017-01-01 00:00"
    here = book(
        cards=[card(B, valid_from=begins)],
        lots=[lot(99 if Reason.INSUFFICIENT_POINTS in causes else 100)],
        consent=(per_burn, per_day),
    )
    if Reason.DUPLICATE_REFERENCE in causes:
        here.references[B, "burn", command.reference, 0] = "3-14"
    return refusal(plan([command], here)[0]).reason


def offset(causes: tuple[Reason, ...]) -> timedelta:
    if Reason.EVENT_IN_FUTURE in causes:
        return TOLERANCE + MICROSECOND
    return -LATE_LIMIT - MICROSECOND if Reason.EVENT_TOO_OLD in causes else timedelta(0)


@pytest.mark.parametrize("cause", ORDER_OF_EARN)
def test_an_earn_is_refused_for_each_cause_alone(cause: Reason) -> None:
    assert earn_refused(cause) == cause


@pytest.mark.parametrize(("first", "second"), pairs(ORDER_OF_EARN))
def test_an_earn_is_refused_for_the_first_check_that_fails(first: Reason, second: Reason) -> None:
    assert earn_refused(first, second) == first


@pytest.mark.parametrize("cause", ORDER_OF_BURN)
def test_a_burn_is_refused_for_each_cause_alone(cause: Reason) -> None:
    assert burn_refused(cause) == cause


@pytest.mark.parametrize(("first", "second"), pairs(ORDER_OF_BURN))
def test_a_burn_is_refused_for_the_first_check_that_fails(first: Reason, second: Reason) -> None:
    assert burn_refused(first, second) == first


@pytest.mark.parametrize("event_time", [NOON + TOLERANCE, NOON, NOON - LATE_LIMIT])
def test_an_event_on_the_edge_of_its_time_is_accepted(event_time: datetime) -> None:
    here = book(lots=[lot(100)])

    earned, burned = plan([earn(event_time=event_time), burn(event_time=event_time)], here)

    assert isinstance(earned, Accepted)
    assert isinstance(burned, Accepted)


def test_a_member_without_a_link_to_the_partner_is_unknown_to_it() -> None:
    here = book(lots=[lot(100)], consent={(M1, B): (WIDE, WIDE)})

    by_a, by_b = plan([burn("1", partner_id=A), burn("2", partner_id=B)], here)

    assert refusal(by_a).reason == Reason.MEMBER_UNKNOWN
    assert isinstance(by_b, Accepted)


def test_only_refusals_that_time_or_an_earlier_decision_explains_are_not_recorded() -> None:
    future = NOON + TOLERANCE + MICROSECOND

    unrecorded, recorded = plan([earn("1", event_time=future), earn("2", member_id=STRANGER)], book())

    assert isinstance(unrecorded, Rejected)
    assert isinstance(recorded, Refused)
    assert {Reason.EVENT_IN_FUTURE, Reason.REQUEST_ID_REUSED} == UNRECORDED


def test_refusals_carry_the_figures_that_explain_them() -> None:
    here = book(lots=[lot(150)], consent=(120, 200))
    commands: list[Command] = [
        earn("1", spend_minor=MAX_SPEND_MINOR),
        burn("2", points=121),
        burn("3", points=110),
        burn("4", points=100),
        burn("5", points=41),
        burn("6", points=110, reference="3"),
    ]

    decisions = plan(commands, here)

    assert [dict(refusal(decisions[place]).metadata) for place in (0, 1, 3, 4, 5)] == [
        {"limit_points": str(MAX_POINTS)},
        {"limit_points": "120"},
        {"limit_points": "200", "burned_points": "110"},
        {"available_points": "40"},
        {"entry_id": "7-0"},
    ]


SOMETHING: dict[type[Any], dict[str, Any]] = {
    Earn: {"points": 1},
    ConfirmEarn: {"original": "o"},
    CancelEarn: {"original": "o"},
    ClawBackEarn: {"original": "o", "points": 1},
    AuthorizeBurn: {"points": 1},
    ExtendHold: {"original": "o", "hold_seconds": 1},
    CaptureBurn: {"original": "o"},
    VoidBurn: {"original": "o"},
    Burn: {"points": 1},
    RefundBurn: {"original": "o", "points": 1},
    ExchangeIn: {"native_points": 1},
    ExchangeOut: {"points": 1},
    ConfirmExchangeOut: {"original": "o"},
    RefuseExchangeOut: {"original": "o"},
    Transfer: {"to_member_id": M2, "points": 1},
}


@pytest.mark.parametrize("what", SOMETHING)
def test_every_command_of_a_partner_passes_the_same_checks_in_the_same_order(what: type[Any]) -> None:
    """Each wrong in one respect more than the next: the first that fails is the answer."""
    state = MemberState.FROZEN
    blocked = what in (Earn, ExchangeIn, AuthorizeBurn, Burn, ExchangeOut, Transfer)
    early, late = NOON + TOLERANCE + MICROSECOND, NOON - LATE_LIMIT - MICROSECOND
    commands = [
        asked(what, "1", **SOMETHING[what], event_time=early, member_id=STRANGER, reference="used"),
        asked(what, "2", **SOMETHING[what], event_time=late, member_id=STRANGER, reference="used"),
        asked(what, "3", **SOMETHING[what], event_time=late, reference="used"),
        asked(what, "4", **SOMETHING[what], reference="used"),
        asked(what, "5", **SOMETHING[what]),
    ]
    here = book(members=(M1, M2))
    here.wallets[M1].state = state
    here.references[A, commands[0].kind, "used", 0] = "3-14"

    reasons = [refusal(decision).reason for decision in plan(commands, here)]

    assert reasons[:4] == [
        Reason.EVENT_IN_FUTURE,
        Reason.MEMBER_UNKNOWN,
        Reason.EVENT_TOO_OLD,
        Reason.DUPLICATE_REFERENCE,
    ]
    assert (reasons[4] == Reason.MEMBER_FROZEN) is blocked


def test_after_an_unlink_nothing_new_begins_and_what_was_begun_is_finished() -> None:
    ledger = Ledger()
    ledger.do(Earn, "earn", points=100)
    ledger.do(Burn, "burn", points=50)
    ledger.do(AuthorizeBurn, "hold", points=10)
    ledger.rows.links[M1, A].unlinked = True

    assert ledger.refusal(Earn, "1", points=1) == Reason.MEMBER_UNKNOWN
    assert ledger.refusal(Burn, "2", points=1) == Reason.MEMBER_UNKNOWN
    ledger.do(CaptureBurn, "3", original="hold")
    ledger.do(RefundBurn, "4", original="burn", points=50)
    ledger.do(ClawBackEarn, "5", original="earn", points=100)
