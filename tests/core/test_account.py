"""What the operator does with accounts: freeze, unfreeze, close, merge, unmerge."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from exchange.core.commands import (
    AuthorizeBurn,
    Burn,
    CaptureBurn,
    ChangeState,
    ClawBackEarn,
    Earn,
    ExchangeIn,
    Merge,
    RefundBurn,
    Transfer,
    Unmerge,
    VoidBurn,
    Wake,
)
from exchange.core.ids import OPERATOR, POOL, member_text
from exchange.core.journal import Line
from tests.builders import M1, M2, M3, STRANGER, A, B, C, asked, at, card
from tests.ledger import Ledger


def ledger_with_points(**fields: Any) -> Ledger:
    """M1 has 100 points of A."""
    ledger = Ledger(**fields)
    ledger.do(Earn, "earn", points=100)
    return ledger


BLOCKED: list[tuple[type[Any], dict[str, Any]]] = [
    (Earn, {"points": 1}),
    (ExchangeIn, {"native_points": 1}),
    (AuthorizeBurn, {"points": 1}),
    (Burn, {"points": 1}),
    (Transfer, {"points": 1, "to_member_id": M2}),
]


@pytest.mark.parametrize(("what", "fields"), BLOCKED)
def test_a_frozen_member_earns_and_spends_nothing_until_unfrozen(
    what: type[Any], fields: dict[str, Any]
) -> None:
    ledger = ledger_with_points(cards=[replace(card(A), native_rate_in=Fraction(1))])
    ledger.do(ChangeState, "freeze", kind="freeze")

    assert ledger.refusal(what, "1", **fields) == "MEMBER_FROZEN"
    ledger.do(ChangeState, "unfreeze", kind="unfreeze")
    ledger.do(what, "2", **fields)


def test_what_was_begun_before_a_freeze_is_finished() -> None:
    ledger = ledger_with_points()
    ledger.do(Burn, "burn", points=10, partner_id=B)
    ledger.do(AuthorizeBurn, "hold 1", points=10, partner_id=B)
    ledger.do(AuthorizeBurn, "hold 2", points=10, partner_id=B)
    ledger.do(ChangeState, "freeze", kind="freeze")

    ledger.do(CaptureBurn, "capture", original="hold 1", partner_id=B)
    ledger.do(VoidBurn, "void", original="hold 2", partner_id=B)
    ledger.do(RefundBurn, "refund", original="burn", points=10, partner_id=B)
    ledger.do(ClawBackEarn, "claw", original="earn", points=100)

    assert ledger.owed() == [(A, 10_000, 10)]


@pytest.mark.parametrize(
    ("before", "kind"),
    [
        (["freeze"], "freeze"),
        ([], "unfreeze"),
        (["close"], "close"),
        (["close"], "freeze"),
        (["close"], "unfreeze"),
    ],
)
def test_a_state_that_cannot_follow_is_refused(before: list[str], kind: str) -> None:
    ledger = ledger_with_points()
    for each in before:
        ledger.do(ChangeState, each, kind=each)

    answer = ledger.ask(asked(ChangeState, "again", kind=kind))

    assert (answer["reason"], answer["state"]) == ("MEMBER_STATE", ledger.wallet().state.value)


def test_closing_expires_what_is_open_and_forgives_what_is_owed() -> None:
    with_points, in_debt = ledger_with_points(), ledger_with_points()
    in_debt.do(Burn, "burn", points=100, partner_id=B)
    in_debt.do(ClawBackEarn, "claw", original="earn", points=100)

    expired = with_points.do(ChangeState, "close", kind="close")
    forgiven = in_debt.do(ChangeState, "close", kind="close")

    assert (expired["points"], expired["available_points"], forgiven["points"]) == (100, 0, 0)
    assert with_points.lines("close", OPERATOR) == [
        Line(POOL, "BREAKAGE_SHARE", OPERATOR, "BREAKAGE_SHARE", 1_000_000)
    ]
    (deficit,) = in_debt.rows.deficits.values()
    assert (deficit.raised_points, deficit.forgiven_points, deficit.outstanding_points) == (100, 100, 0)
    assert in_debt.wallet().deficit_points == 0


@pytest.mark.parametrize("what", ["close", "merge", "merge into"])
@pytest.mark.parametrize(
    ("outstanding", "figures"),
    [
        ((Earn, {"points": 5, "pending": True}), {"pending_points": "5", "held_points": "0"}),
        ((AuthorizeBurn, {"points": 5}), {"pending_points": "0", "held_points": "5"}),
    ],
)
def test_an_account_with_pending_or_held_points_cannot_end(
    what: str, outstanding: tuple[type[Any], dict[str, Any]], figures: dict[str, str]
) -> None:
    ledger = ledger_with_points()
    ledger.do(outstanding[0], "open", **outstanding[1])
    commands = {
        "close": asked(ChangeState, "end", kind="close"),
        "merge": asked(Merge, "end", into_member_id=M2),
        "merge into": asked(Merge, "end", member_id=M2, into_member_id=M1),
    }

    answer = ledger.ask(commands[what])

    assert {"reason": "POINTS_OUTSTANDING", **figures}.items() <= answer.items()


def test_a_merge_moves_every_open_point_with_its_issuer_and_day() -> None:
    ledger = ledger_with_points()
    ledger.do(Earn, "own", points=7, member_id=M2)
    ledger.do(Earn, "c", points=50, partner_id=C)

    answer = ledger.do(Merge, "merge", into_member_id=M2)

    assert (answer["points"], answer["available_points"]) == (150, 157)
    assert ledger.legs("merge", OPERATOR) == [
        (M1, 1, "open", "moved_out", 100),
        (M2, 1, "moved_in", "open", 100),
        (M1, 2, "open", "moved_out", 50),
        (M2, 2, "moved_in", "open", 50),
    ]
    assert ledger.lines("merge", OPERATOR) == []
    assert (ledger.wallet().state, ledger.wallet().survivor_id) == ("merged", M2)


@pytest.mark.parametrize(("what", "fields"), BLOCKED[2:])
def test_a_merged_member_spends_nothing_and_learns_who_lives_on(
    what: type[Any], fields: dict[str, Any]
) -> None:
    ledger = ledger_with_points()
    ledger.do(Merge, "1", into_member_id=M2)
    ledger.do(Merge, "2", member_id=M2, into_member_id=M3)

    answer = ledger.ask(asked(what, "spend", **fields))

    assert (answer["reason"], answer["survivor_member_id"]) == ("MEMBER_MERGED", member_text(M3))


def test_earns_of_a_merged_member_reach_the_last_survivor() -> None:
    ledger = ledger_with_points()
    ledger.do(Merge, "1", into_member_id=M2)
    ledger.do(Merge, "2", member_id=M2, into_member_id=M3)

    answer = ledger.do(Earn, "late", points=5)

    assert answer["available_points"] == 105
    assert ledger.legs("late")[1:] == [(M1, 1, "open", "moved_out", 5), (M3, 1, "moved_in", "open", 5)]


@pytest.mark.parametrize(("kind", "reason"), [("freeze", "MEMBER_FROZEN"), ("close", "MEMBER_CLOSED")])
def test_what_a_merged_member_would_earn_is_refused_as_the_survivors_would_be(kind: str, reason: str) -> None:
    ledger = ledger_with_points()
    ledger.do(Merge, "1", into_member_id=M2)
    ledger.do(ChangeState, "2", kind=kind, member_id=M2)

    assert ledger.refusal(Earn, "late", points=5) == reason


def test_deficits_move_with_their_price_and_take_the_survivors_points() -> None:
    ledger = ledger_with_points()
    ledger.do(Burn, "burn", points=100, partner_id=B)
    ledger.do(ClawBackEarn, "claw", original="earn", points=100)
    ledger.do(Earn, "own", points=30, member_id=M2)

    ledger.do(Merge, "merge", into_member_id=M2)

    assert ledger.legs("merge", OPERATOR) == [(M2, 1, "open", "absorbed", 30)]
    assert (ledger.owed(), ledger.owed(M2)) == ([], [(A, 10_000, 70)])
    assert (ledger.wallet().deficit_points, ledger.wallet(M2).deficit_points) == (0, 70)


def test_a_partner_that_unlinked_the_member_does_not_come_to_know_its_survivor() -> None:
    ledger = ledger_with_points()
    del ledger.rows.links[M2, B]
    ledger.rows.links[M1, B].unlinked = True

    ledger.do(Merge, "merge", into_member_id=M2)

    assert (M2, B) not in ledger.rows.links


def test_a_survivor_is_known_where_the_member_was_but_inherits_no_consent() -> None:
    ledger = ledger_with_points()
    del ledger.rows.links[M2, B]

    ledger.do(Merge, "merge", into_member_id=M2)

    assert ledger.refusal(Burn, "burn", points=1, partner_id=B, member_id=M2) == "CONSENT_REQUIRED"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"into_member_id": M1}, "SAME_MEMBER"),
        ({"into_member_id": STRANGER}, "MEMBER_UNKNOWN"),
        ({"into_member_id": M3}, "MEMBER_STATE"),
        ({"member_id": M3, "into_member_id": M1}, "MEMBER_STATE"),
    ],
)
def test_only_two_living_accounts_merge(fields: dict[str, Any], reason: str) -> None:
    ledger = ledger_with_points()
    ledger.do(ChangeState, "close", kind="close", member_id=M3)

    assert ledger.refusal(Merge, "merge", **fields) == reason


def test_an_unmerge_moves_back_per_row_what_the_merge_moved_and_is_still_open() -> None:
    ledger = ledger_with_points()
    ledger.do(Earn, "c", points=50, partner_id=C)
    ledger.do(Earn, "own", points=30, partner_id=C, member_id=M2)
    ledger.do(Merge, "merge", into_member_id=M2)
    ledger.do(Burn, "burn", points=70, partner_id=B, member_id=M2)  # of the first row: C's, M2's own

    answer = ledger.do(Unmerge, "unmerge", original="merge")

    assert (answer["points"], answer["available_points"]) == (110, 110)
    assert ledger.legs("unmerge", OPERATOR) == [
        (M2, 2, "open", "moved_out", 100),
        (M1, 1, "moved_in", "open", 100),
        (M2, 1, "open", "moved_out", 10),
        (M1, 2, "moved_in", "open", 10),
    ]
    assert ledger.wallet().state == "active"
    ledger.do(Burn, "again", points=110, partner_id=B)


def test_an_unmerge_brings_back_what_arrived_through_the_member_since() -> None:
    ledger = ledger_with_points()
    ledger.do(Merge, "merge", into_member_id=M2)
    ledger.do(Earn, "late", points=5)

    ledger.do(Unmerge, "unmerge", original="merge")

    assert (ledger.wallet(M1).open_points, ledger.wallet(M2).open_points) == (105, 0)


def test_an_unmerge_finds_points_where_a_further_merge_has_brought_them() -> None:
    ledger = ledger_with_points()
    ledger.do(Merge, "1", into_member_id=M2)
    ledger.do(Merge, "2", member_id=M2, into_member_id=M3)

    ledger.do(Unmerge, "unmerge", original="1")

    assert (ledger.wallet(M1).open_points, ledger.wallet(M3).open_points) == (100, 0)


def test_an_unmerge_gives_a_deficit_back_to_who_had_it_through_every_merge() -> None:
    ledger = ledger_with_points()
    ledger.do(Burn, "burn", points=100, partner_id=B)
    ledger.do(ClawBackEarn, "claw", original="earn", points=100)
    ledger.do(Merge, "1", into_member_id=M2)
    ledger.do(Merge, "2", member_id=M2, into_member_id=M3)
    ledger.do(Earn, "some", points=40, member_id=M3)

    ledger.do(Unmerge, "unmerge", original="1")

    assert (ledger.owed(M1), ledger.owed(M2), ledger.owed(M3)) == ([(A, 10_000, 60)], [], [])
    own = ledger.rows.deficits[M1, 1]
    assert (own.raised_points, own.moved_out_points, own.moved_in_points) == (100, 100, 60)


def test_a_merge_is_undone_once_and_only_for_its_member() -> None:
    ledger = ledger_with_points()
    ledger.do(Merge, "merge", into_member_id=M2)

    assert ledger.refusal(Unmerge, "1", original="nothing") == "ORIGINAL_UNKNOWN"
    assert ledger.refusal(Unmerge, "2", original="merge", member_id=M2) == "ORIGINAL_UNKNOWN"
    ledger.do(Unmerge, "3", original="merge")
    assert ledger.refusal(Unmerge, "4", original="merge") == "MEMBER_STATE"


def test_what_is_due_for_a_survivor_is_posted_before_a_merged_members_command() -> None:
    ledger = ledger_with_points()
    ledger.do(Earn, "soon gone", points=9, member_id=M2, expiry_date=at("2026-01-02 12:00").date())
    ledger.do(Merge, "merge", into_member_id=M2)
    ledger.move(at("2026-01-05 12:00"))

    ledger.do(Earn, "late", points=5)

    assert ledger.kinds()[-2:] == ["expire", "earn"]
    assert ledger.ask(Wake(M2))["entries"] == 0


def test_a_merge_and_what_follows_it_in_one_batch_know_each_other() -> None:
    ledger = ledger_with_points()
    commands = [
        asked(Merge, "merge", into_member_id=M2),
        asked(Earn, "late", points=5),
        asked(Burn, "burn", points=15, partner_id=B, member_id=M2),
        asked(ClawBackEarn, "claw", original="earn", points=100),
        asked(Unmerge, "unmerge", original="merge"),
    ]

    answers = ledger.rows.run(commands, ledger.now)

    assert [answer["verdict"] for answer, _ in answers] == ["accepted"] * 5
    assert answers[3][0]["deficit_points"] == 10
    assert (ledger.owed(M1), ledger.owed(M2)) == ([], [(A, 10_000, 10)])
