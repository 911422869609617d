"""How a break lives: every act from every state, ages, and disputes with their deadlines."""

from datetime import UTC, date, datetime, timedelta

import pytest

from settlement.core.break_state import (
    AGE_BUCKETS,
    ALLOWED,
    BreakActRefused,
    BreakState,
    DisputeState,
    Severity,
    age_bucket,
    age_days,
    dispute_after,
    state_after,
)
from settlement.core.roles import Act

OPEN, ASSIGNED = BreakState.OPEN, BreakState.ASSIGNED
PENDING, RESOLVED = BreakState.PENDING_RESOLUTION, BreakState.RESOLVED
NOW = datetime(2026, 1, 10, 9, 0, tzinfo=UTC)

# What each act makes of OPEN, ASSIGNED, PENDING_RESOLUTION and RESOLVED where somebody owns the break; None: refused.
STEPS = {
    Act.ASSIGN_BREAK: (ASSIGNED, ASSIGNED, None, None),
    Act.COMMENT_BREAK: (OPEN, ASSIGNED, PENDING, RESOLVED),
    Act.CLEAR_BREAK: (RESOLVED, RESOLVED, RESOLVED, None),
    Act.PROPOSE_RESOLUTION: (PENDING, PENDING, None, None),
    Act.PROPOSE_ADJUSTMENT: (PENDING, PENDING, None, None),
    Act.APPROVE_RESOLUTION: (None, None, RESOLVED, None),
    Act.APPROVE_ADJUSTMENT: (None, None, RESOLVED, None),
    Act.REJECT_RESOLUTION: (None, None, ASSIGNED, None),
    Act.WITHDRAW_ADJUSTMENT: (OPEN, ASSIGNED, None, RESOLVED),
    Act.REOPEN_BREAK: (None, None, None, ASSIGNED),
    Act.OPEN_DISPUTE: (OPEN, ASSIGNED, None, None),
    Act.ANSWER_DISPUTE: (OPEN, ASSIGNED, None, None),
    Act.DECIDE_DISPUTE: (OPEN, ASSIGNED, None, None),
    Act.EXPIRE_DISPUTE: (OPEN, ASSIGNED, None, None),
}
CASES = [
    (act, state, result)
    for act, row in STEPS.items()
    for state, result in zip((OPEN, ASSIGNED, PENDING, RESOLVED), row, strict=True)
]


def test_the_table_has_every_act_on_a_break() -> None:
    assert set(STEPS) == set(ALLOWED)


@pytest.mark.parametrize(("act", "state", "result"), CASES)
def test_an_act_leads_from_its_states_and_from_no_other(
    act: Act, state: BreakState, result: BreakState | None
) -> None:
    if result is None:
        with pytest.raises(BreakActRefused, match=f"the break is {state.value}"):
            state_after(act, state, owned=True)
    else:
        assert state_after(act, state, owned=True) is result


@pytest.mark.parametrize(("act", "state"), [(Act.REJECT_RESOLUTION, PENDING), (Act.REOPEN_BREAK, RESOLVED)])
def test_a_break_nobody_owns_goes_back_to_open(act: Act, state: BreakState) -> None:
    assert state_after(act, state, owned=False) is OPEN


def test_severity_gives_the_hours_until_it_is_due() -> None:
    assert {one.label: one.due_hours for one in Severity} == {
        "CRITICAL": 24,
        "HIGH": 72,
        "MEDIUM": 120,
        "LOW": 168,
    }


@pytest.mark.parametrize(
    ("days", "bucket"),
    [(0, "0-1"), (1, "0-1"), (2, "2-3"), (3, "2-3"), (4, "4-7"), (7, "4-7"), (8, "8-30"), (30, "8-30")],
)
def test_ages_fall_into_their_buckets(days: int, bucket: str) -> None:
    assert age_bucket(days) == bucket


def test_the_last_bucket_has_no_end() -> None:
    assert (age_bucket(31), age_bucket(4_000), AGE_BUCKETS[-1]) == ("over 30", "over 30", "over 30")


def test_a_break_is_as_old_as_the_days_since_it_was_found() -> None:
    found = date(2026, 1, 30)

    assert [age_days(found, found + timedelta(days=n)) for n in (0, 1, 3)] == [0, 1, 3]


def step(act: Act, state: DisputeState, deadline: datetime) -> DisputeState:
    return dispute_after(act, state, deadline, NOW)


def test_a_claim_is_answered_until_its_deadline_and_expires_after_it() -> None:
    later, earlier = NOW + timedelta(hours=1), NOW - timedelta(microseconds=1)

    assert step(Act.ANSWER_DISPUTE, DisputeState.OPEN, later) is DisputeState.ANSWERED
    assert step(Act.ANSWER_DISPUTE, DisputeState.OPEN, NOW) is DisputeState.ANSWERED
    assert step(Act.EXPIRE_DISPUTE, DisputeState.OPEN, earlier) is DisputeState.EXPIRED
    with pytest.raises(BreakActRefused, match="has expired"):
        step(Act.ANSWER_DISPUTE, DisputeState.OPEN, earlier)
    with pytest.raises(BreakActRefused, match="can be answered until"):
        step(Act.EXPIRE_DISPUTE, DisputeState.OPEN, NOW)


@pytest.mark.parametrize(
    ("act", "state", "result"),
    [
        (Act.ANSWER_DISPUTE, DisputeState.ANSWERED, None),
        (Act.ANSWER_DISPUTE, DisputeState.DECIDED, None),
        (Act.ANSWER_DISPUTE, DisputeState.EXPIRED, None),
        (Act.DECIDE_DISPUTE, DisputeState.OPEN, None),
        (Act.DECIDE_DISPUTE, DisputeState.ANSWERED, DisputeState.DECIDED),
        (Act.DECIDE_DISPUTE, DisputeState.EXPIRED, DisputeState.DECIDED),
        (Act.DECIDE_DISPUTE, DisputeState.DECIDED, None),
        (Act.EXPIRE_DISPUTE, DisputeState.ANSWERED, None),
        (Act.EXPIRE_DISPUTE, DisputeState.DECIDED, None),
        (Act.EXPIRE_DISPUTE, DisputeState.EXPIRED, None),
    ],
)
def test_a_dispute_is_heard_before_it_is_decided(
    act: Act, state: DisputeState, result: DisputeState | None
) -> None:
    if result is None:
        with pytest.raises(BreakActRefused):
            step(act, state, NOW)
    else:
        assert step(act, state, NOW) is result
