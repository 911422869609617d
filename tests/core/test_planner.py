"""The planner: repeats, order, and what a batch has to load."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from exchange.core.book import Known, MemberState
from exchange.core.commands import Asked, Wake
from exchange.core.decisions import Accepted, Refused, Rejected, Repeated, RepeatedHere
from exchange.core.lots import LotKey
from exchange.core.originals import EntryName, Hold
from exchange.core.planner import collect_needs, further_needs, plan
from exchange.core.rates import NEVER, Cards
from exchange.core.refusals import Reason, Refusal
from tests.builders import (
    M1,
    M2,
    M3,
    MICROSECOND,
    NOON,
    STRANGER,
    TERMS,
    A,
    B,
    C,
    accepted,
    at,
    book,
    burn,
    card,
    earn,
    lot,
    months,
    refusal,
)

REUSED = Rejected(Refusal(Reason.REQUEST_ID_REUSED))
YESTERDAY = date(2025, 12, 31)


@pytest.mark.parametrize("was_accepted", [True, False])
def test_a_repeat_gets_the_first_answers_bytes_whatever_would_be_decided_now(was_accepted: bool) -> None:
    first = burn("r-1", points=100, member_id=STRANGER, event_time=at("2017-11-24 10:00"))
    here = book(known={(B, "r-1"): Known(first.fingerprint, was_accepted, b"the answer")})

    decisions = plan([first, first], here)

    assert decisions == [Repeated(was_accepted, b"the answer")] * 2
    assert here.entries == []


@pytest.mark.parametrize(
    "other",
    [
        earn("r-1", points=101),
        earn("r-1", spend_minor=10_000),
        earn("r-1", member_id=M2),
        earn("r-1", reference="another"),
        earn("r-1", event_time=NOON - MICROSECOND),
        earn("r-1", expiry_date=date(2026, 6, 30)),
        burn("r-1", points=100, partner_id=A),
    ],
)
def test_the_same_id_with_other_fields_is_refused_and_not_recorded(other: Asked) -> None:
    first = earn("r-1", points=100)
    before = book(known={(A, "r-1"): Known(first.fingerprint, True, b"the answer")})
    in_this_batch = book()

    assert plan([other], before) == [REUSED]
    assert plan([first, other, first], in_this_batch)[1:] == [REUSED, RepeatedHere(0)]
    assert len(in_this_batch.entries) == 1


def test_a_repeat_in_the_same_batch_points_at_the_first() -> None:
    here = book(lots=[lot(100)])

    decisions = plan(
        [burn("1", points=60), burn("2", points=60), burn("1", points=60), burn("2", points=60)], here
    )

    assert isinstance(decisions[0], Accepted)
    assert isinstance(decisions[1], Refused)
    assert decisions[2:] == [RepeatedHere(0), RepeatedHere(1)]
    assert here.wallets[M1].open_points == 40


def test_another_partners_request_id_is_another_request() -> None:
    here = book()

    decisions = plan([earn("r-1", partner_id=A), earn("r-1", partner_id=B)], here)

    assert all(isinstance(decision, Accepted) for decision in decisions)


def test_a_refusal_belongs_to_its_request_id_for_ever() -> None:
    refused = burn("r-1", points=100)
    here = book(lots=[lot(50)])

    decisions = plan([refused, earn("r-2", points=50), refused], here)

    assert refusal(decisions[0]).reason == Reason.INSUFFICIENT_POINTS
    assert decisions[2] == RepeatedHere(0)  # though the member has 100 points by now


def test_an_event_in_the_future_leaves_its_request_id_free() -> None:
    early = earn("r-1", event_time=NOON + timedelta(minutes=2))
    here = book()

    decisions = plan([early, early, earn("r-1", points=5)], here)

    assert [refusal(decision).reason for decision in decisions[:2]] == [Reason.EVENT_IN_FUTURE] * 2
    assert accepted(decisions[2]).entry.points == 5


def test_a_repeat_posts_nothing_that_is_due() -> None:
    first = earn("r-1")
    here = book(
        lots=[lot(100, expiry_date=YESTERDAY)],
        known={(A, "r-1"): Known(first.fingerprint, True, b"the answer")},
    )

    plan([first, earn("r-1", points=7)], here)

    assert here.entries == []
    assert here.wallets[M1].open_points == 100


def test_each_command_sees_the_effect_of_those_before_it() -> None:
    here = book()

    decisions = plan(
        [burn("1", points=100), earn("2", points=100), burn("3", points=100), burn("4", points=1)], here
    )

    assert [isinstance(decision, Accepted) for decision in decisions] == [False, True, True, False]
    assert [accepted(decisions[place]).available_points for place in (1, 2)] == [100, 0]


def test_a_reference_counts_once_accepted_and_only_for_its_partner_and_kind() -> None:
    here = book(lots=[lot(100)])

    decisions = plan(
        [
            burn("1", points=500, reference="order-1"),  # refused: its reference stays free
            burn("2", points=50, reference="order-1"),
            burn("3", points=50, reference="order-1"),
            burn("4", points=10, reference="order-1", partner_id=C),
            earn("5", reference="order-1", partner_id=B),
        ],
        here,
    )

    reasons = [None if isinstance(each, Accepted) else refusal(each).reason for each in decisions]
    assert reasons == [Reason.INSUFFICIENT_POINTS, None, Reason.DUPLICATE_REFERENCE, None, None]
    assert refusal(decisions[2]).metadata == (("entry_id", "7-0"),)


def test_a_command_needs_its_member_link_request_and_reference() -> None:
    needs = collect_needs(
        [burn("1", points=30, reference="o-1"), burn("2", points=40), Wake(M2)], Cards([]), TERMS
    )

    assert needs.members == {M1, M2}
    assert needs.links == {(M1, B)}
    assert needs.requests == [(B, "1"), (B, "2")]
    assert needs.references == [(B, "burn", "o-1", 0), (B, "burn", "2", 0)]
    assert needs.spending == {M1: 70}
    assert needs.lots == set()


def test_an_earn_needs_the_one_lot_it_joins() -> None:
    cards = Cards([card(A, 1), card(A, 2, valid_from="2026-01-01 00:00", expiry=months(1))])
    commands = [
        earn("1"),
        earn("2", event_time=at("2025-12-31 23:59")),
        earn("3", expiry_date=date(2026, 1, 15)),
        earn("4", partner_id=B),  # has no card, so no lot either
    ]

    needs = collect_needs(commands, cards, TERMS)

    assert needs.lots == {
        LotKey(M1, A, 2, date(2026, 2, 28)),
        LotKey(M1, A, 1, NEVER),
        LotKey(M1, A, 2, date(2026, 1, 15)),
    }
    assert needs.spending == {}


def test_spending_that_the_first_lots_cannot_cover_needs_all_open_ones() -> None:
    few = book(lots=[lot(10, expiry_date=date(2026, 2, day)) for day in range(1, 5)])
    few.wallets[M1].open_points = 60  # two more lots that were not loaded

    assert further_needs([burn("1", points=40)], few).is_empty()
    assert further_needs([burn("1", points=40), burn("2", points=1)], few).open_lots == {M1}


def test_a_lot_loaded_for_its_key_does_not_pass_for_one_of_the_first() -> None:
    here = book(lots=[lot(10, expiry_date=date(2026, 2, day)) for day in (1, 2, 3, 4, 28)])
    here.wallets[M1].open_points = 60

    assert further_needs([burn("1", points=41)], here).open_lots == {M1}


def test_members_of_whom_something_is_due_or_owed_need_more() -> None:
    here = book(members=(M1, M2, M3))
    here.wallets[M1].next_expiry_date = YESTERDAY
    here.wallets[M2].deficit_points = 5
    here.wallets[M3].next_cancel_date = YESTERDAY

    needs = further_needs([], here)

    assert (needs.open_lots, needs.whole) == ({M1}, {M2, M3})


def test_a_lapsing_hold_needs_its_authorisation() -> None:
    here = book()
    here.wall_time = NOON
    late = NOON - MICROSECOND
    here.wallets[M1].next_deadline = late
    here.holds[B, "h"] = Hold(B, "h", M1, EntryName(3, 1), "burn", 5, 1, late, late)

    needs = further_needs([], here)

    assert (needs.whole, needs.originals) == ({M1}, {(B, "h")})


def test_a_merged_member_needs_the_whole_line_of_survivors_and_first_their_locks() -> None:
    here = book(members=(M1,))
    here.wallets[M1].state, here.wallets[M1].survivor_id = MemberState.MERGED, M2
    both = book(members=(M1, M2))
    for member, survivor in ((M1, M2), (M2, M3)):
        both.wallets[member].state, both.wallets[member].survivor_id = MemberState.MERGED, survivor

    first, second = further_needs([], here), further_needs([], both)

    assert (first.members, first.whole) == ({M2}, set())
    assert (second.members, second.whole) == ({M3}, {M2})


def test_a_batch_of_plain_earns_and_burns_makes_nothing_for_those_who_might_follow() -> None:
    here = book(lots=[lot(100)])

    plan([earn("1"), burn("2", points=50)], here)

    assert here.originals == {}
    original = here.original(A, "1")
    assert original is not None
    assert (original.posting.kind, original.posting.points) == ("earn", 100)
    assert here.original(A, "2") is None
