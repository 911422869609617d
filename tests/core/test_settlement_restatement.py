"""Restatements: a window beside what it would have been, to the fen of the worked example."""

from __future__ import annotations

from settlement.core.netting import Flow
from settlement.core.parties import OPERATOR, POOL
from settlement.core.restatement import Restatement, restate
from settlement.core.window import NOTHING_YET, WindowSums, compute

FEN = 10_000


def earn(points: int) -> list[Flow]:
    return [
        Flow("a", "ISSUE_FUNDING", POOL, "ISSUE_FUNDING", points * 10_000, 1),
        Flow("a", "ISSUE_FEE", OPERATOR, "ISSUE_FEE", points * 200, 1),
    ]


def test_an_earn_of_250_that_came_late_would_have_made_158_10_into_160_65() -> None:
    posted = [*earn(10_000), *earn(4_000), *earn(1_500)]
    was = compute(NOTHING_YET, WindowSums(tuple(posted), (), ()), FEN)

    restated = Restatement(restate((), was.lines, [*posted, *earn(250)], (), FEN), 1, 0)

    assert {party: (old, new) for party, old, new in restated.nets()} == {
        "a": (-15_810, -16_065),
        POOL: (15_500, 15_750),
        OPERATOR: (310, 315),
    }
    assert [(it.component, it.difference_minor) for it in restated.lines if it.party_id == "a"] == [
        ("ISSUE_FEE", -5),
        ("ISSUE_FUNDING", -250),
    ]


def test_a_window_that_has_all_of_its_day_and_nothing_else_would_be_as_it_was() -> None:
    first = compute(NOTHING_YET, WindowSums(tuple(earn(16)), (), ()), FEN)
    second = compute(first, WindowSums(tuple(earn(24)), (), ()), FEN)

    restated = restate(first.lines, second.lines, earn(24), (), FEN)

    assert all(line.difference_minor == 0 and line.was_micros == line.would_be_micros for line in restated)
    assert [line.was_minor for line in restated if line.component == "ISSUE_FEE"] == [-1, 1]


def test_what_was_posted_for_another_day_would_not_be_there() -> None:
    was = compute(NOTHING_YET, WindowSums(tuple(earn(100)), (), ()), FEN)

    restated = restate((), was.lines, [], (), FEN)

    assert {(it.party_id, it.component): (it.was_minor, it.would_be_minor) for it in restated} == {
        ("a", "ISSUE_FEE"): (-2, 0),
        ("a", "ISSUE_FUNDING"): (-100, 0),
        (POOL, "ESCROW"): (100, 0),
        (OPERATOR, "ISSUE_FEE"): (2, 0),
    }
