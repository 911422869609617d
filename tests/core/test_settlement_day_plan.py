"""The unattended day: every state of a window leads to one step, to a person, or to nothing left to do."""

from datetime import date
from typing import Any

import pytest

from settlement.core.day_plan import (
    MAX_BREAKS,
    BreakFacts,
    CorrectionFacts,
    DayFacts,
    DisputeFacts,
    Failure,
    Step,
    break_decisions,
    correction_decisions,
    day_decisions,
    dispute_decisions,
    next_step,
)
from settlement.core.roles import Role
from settlement.core.run_state import WindowState

DAY = date(2026, 1, 1)
MAKER, CHECKER, OPERATOR = Role.FINANCE_MAKER, Role.FINANCE_CHECKER, Role.OPERATOR
S = WindowState


def facts(state: WindowState | None, **more: Any) -> DayFacts:
    return DayFacts(DAY, state, **more)


@pytest.mark.parametrize(
    ("day", "step"),
    [
        (facts(None), Step.CLOSE),
        (facts(S.CLOSED), Step.NET),
        (facts(S.CLOSED, missing_files=("a",)), Step.NET),  # netting waits for nobody's file
        (facts(S.COMPUTED), Step.CERTIFY),
        (facts(S.COMPUTED, unread_files=True), Step.RECONCILE),
        (facts(S.COMPUTED, unread_files=True, missing_files=("a",)), Step.RECONCILE),
        (facts(S.COMPUTED, unread_files=True, earlier_certified=False), Step.RECONCILE),
        (facts(S.CERTIFIED), Step.AUDIT_JOURNAL),
        (facts(S.APPROVED, journal_holds=True), Step.EXPORT),
        (facts(S.EXPORTED), Step.SETTLE),
    ],
)
def test_the_program_goes_on_by_itself(day: DayFacts, step: Step) -> None:
    assert next_step(day) is step
    assert day_decisions(day) == () or day.missing_files


@pytest.mark.parametrize(
    ("day", "role", "told", "command"),
    [
        (facts(S.COMPUTED, missing_files=("a",)), MAKER, "file of a is missing", "load FILE --partner a"),
        (facts(S.COMPUTED, unexplained=("b",)), MAKER, "b are not explained", "reconcile"),
        (facts(S.COMPUTED, open_waivers=("c",)), CHECKER, "without c", "waive"),
        (facts(S.COMPUTED, failures=(Failure(Step.CERTIFY, "escrow_proof"),)), MAKER, "escrow", "certify"),
        (facts(S.APPROVED, failures=(Failure(Step.EXPORT, "same person"),)), MAKER, "same", "export"),
        (facts(S.CERTIFIED, journal_holds=False), OPERATOR, "not what the hub signed", "audit-journal"),
        (facts(S.CERTIFIED, journal_holds=True), CHECKER, "waits for approval", "approve"),
        (facts(S.EXPORTED, payments_to_confirm=1), MAKER, "1 payment to send or confirm", "payments"),
        (facts(S.EXPORTED, payments_to_confirm=3), MAKER, "3 payments to", "payments"),
    ],
)
def test_it_stops_where_a_person_comes_first_and_says_who_does_what(
    day: DayFacts, role: Role, told: str, command: str
) -> None:
    (decision,) = day_decisions(day)

    assert next_step(day) is None
    assert (decision.window_date, decision.role) == (DAY, role)
    assert told in decision.what
    assert decision.command.startswith(command)
    assert f"--date {DAY}" in decision.command


@pytest.mark.parametrize(
    "day",
    [facts(S.SETTLED), facts(S.COMPUTED, earlier_certified=False)],
    ids=["settled", "an earlier day first"],
)
def test_a_day_that_waits_for_nobody_asks_nobody(day: DayFacts) -> None:
    assert (next_step(day), day_decisions(day)) == (None, ())


def test_a_proposed_default_waits_for_a_checker_and_the_other_payments_for_a_maker() -> None:
    day = facts(S.EXPORTED, payments_to_confirm=3, proposed_defaults=("2026-01-01-a",))

    default, others = day_decisions(day)

    assert next_step(day) is None
    assert (default.role, default.command) == (CHECKER, "payment default 2026-01-01-a")
    assert (others.role, others.what) == (MAKER, "2 payments to send or confirm")
    assert len(day_decisions(facts(S.EXPORTED, payments_to_confirm=1, proposed_defaults=("x",)))) == 1


def test_a_correction_that_nobody_proposes_any_more_waits_for_a_checker() -> None:
    (decision,) = correction_decisions([CorrectionFacts(7, 4, "a")])

    assert (decision.role, decision.command) == (CHECKER, "break withdraw 4 --reason TEXT")
    assert decision.what.startswith("adjustment 7 of break 4 of a")


def test_a_day_lists_everything_that_is_in_its_way() -> None:
    day = facts(S.COMPUTED, missing_files=("a", "b"), unexplained=("c",), open_waivers=("d",))

    assert [one.role for one in day_decisions(day)] == [MAKER, MAKER, MAKER, CHECKER]


def found(
    break_id: int, severity: str = "HIGH", *, overdue: bool = False, pending: bool = False
) -> BreakFacts:
    return BreakFacts(break_id, "a", "DUPLICATE", severity, overdue, pending)


def test_breaks_name_the_person_who_has_to_act() -> None:
    pending, late, both = break_decisions(
        [found(1, pending=True), found(2, overdue=True), found(3, "CRITICAL", overdue=True)], 3
    )

    assert (pending.role, pending.command) == (CHECKER, "break approve 1")
    assert (late.role, late.what) == (MAKER, "break 2 of a, DUPLICATE: overdue")
    assert both.what == "break 3 of a, DUPLICATE: overdue and critical"


def test_a_flood_of_breaks_is_counted() -> None:
    listed = break_decisions([found(number, overdue=True) for number in range(30)], 1_020)

    assert len(listed) == MAX_BREAKS + 1
    assert listed[-1].what.startswith("1,000 more")


def test_a_dispute_that_was_heard_waits_for_a_checker() -> None:
    (decision,) = dispute_decisions([DisputeFacts(4, "a", "b")])

    assert (decision.role, decision.command.split(" --")[0]) == (CHECKER, "dispute decide 4")
