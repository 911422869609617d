"""What becomes of a command after a try, as pure rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merchant_adapter import Reason, Refusal
from merchant_adapter.outbox import RetryPolicy
from merchant_adapter.outbox.policy import Fate, Tried, Verdict, is_about_one, judge, pause_seconds
from merchant_adapter.reasons import RECORDED
from tests.property.profiles import tries

NOW = 1_767_225_600.0
DAY = 86_400.0

CODES = {
    Reason.HUB_BUSY: "RESOURCE_EXHAUSTED",
    Reason.HUB_UNAVAILABLE: "UNAVAILABLE",
    Reason.INTERNAL: "INTERNAL",
    Reason.INVALID_FIELD: "INVALID_ARGUMENT",
    Reason.EVENT_IN_FUTURE: "INVALID_ARGUMENT",
    Reason.SIGNATURE_INVALID: "UNAUTHENTICATED",
    Reason.SIGNATURE_STALE: "UNAUTHENTICATED",
    Reason.ROLE_REQUIRED: "PERMISSION_DENIED",
    Reason.REQUEST_ID_REUSED: "ALREADY_EXISTS",
    Reason.NO_ANSWER: "DEADLINE_EXCEEDED",
    Reason.RECEIPT_INVALID: "",
}


def refusal(reason: str, code: str | None = None, retry_after: float | None = None) -> Refusal:
    found = CODES.get(Reason(reason), "FAILED_PRECONDITION") if code is None else code
    return Refusal(found, reason, "said", retry_after_seconds=retry_after)


def verdict(
    reason: str, *, attempts: int = 1, since: float | None = None, policy: RetryPolicy | None = None
) -> Verdict:
    return judge(refusal(reason), Tried(attempts, since), NOW, 0.5, policy or RetryPolicy())


@pytest.mark.parametrize("reason", sorted(RECORDED))
def test_every_recorded_refusal_is_final(reason: str) -> None:
    assert verdict(reason) == Verdict(Fate.REFUSED, reason)


def test_a_refusal_with_a_reason_of_a_later_hub_is_final_too() -> None:
    found = judge(refusal("NEW_RULE", "FAILED_PRECONDITION"), Tried(1), NOW, 0.5, RetryPolicy())

    assert found.fate is Fate.REFUSED


@pytest.mark.parametrize(
    "reason",
    [
        Reason.HUB_BUSY,
        Reason.HUB_UNAVAILABLE,
        Reason.INTERNAL,
        Reason.NO_ANSWER,
        Reason.RECEIPT_INVALID,
        Reason.EVENT_IN_FUTURE,
    ],
)
def test_what_was_not_decided_is_asked_again_however_often(reason: str) -> None:
    found = verdict(reason, attempts=100_000)

    assert found.fate is Fate.AGAIN
    assert 0 < found.pause_seconds <= 30


def test_an_error_that_no_hub_wrote_is_asked_again() -> None:
    for code in ("INVALID_ARGUMENT", "PERMISSION_DENIED", "NOT_FOUND", "UNIMPLEMENTED"):
        assert judge(Refusal(code, "", "a proxy"), Tried(1), NOW, 0.5, RetryPolicy()).fate is Fate.AGAIN


@pytest.mark.parametrize("reason", [Reason.INVALID_FIELD, Reason.REQUEST_ID_REUSED])
def test_what_the_hub_can_never_decide_is_a_dead_letter_that_others_may_pass(reason: str) -> None:
    assert verdict(reason) == Verdict(Fate.DEAD, reason)


@pytest.mark.parametrize("reason", [Reason.SIGNATURE_INVALID, Reason.SIGNATURE_STALE, Reason.ROLE_REQUIRED])
def test_a_key_that_is_refused_for_a_day_makes_dead_letters_that_nothing_may_pass(reason: str) -> None:
    first = verdict(reason)
    shortly_before = verdict(reason, since=NOW - DAY + 1)
    at_last = verdict(reason, since=NOW - DAY)

    assert (first.fate, first.untrusted_since) == (Fate.AGAIN, NOW)
    assert (shortly_before.fate, shortly_before.untrusted_since) == (Fate.AGAIN, NOW - DAY + 1)
    assert at_last == Verdict(Fate.DEAD, reason, holds_member=True)


def test_any_other_answer_than_distrust_ends_the_count_of_its_day() -> None:
    assert verdict(Reason.HUB_UNAVAILABLE, since=NOW - DAY).untrusted_since is None


def test_a_refusal_is_noted_where_configured_and_final_all_the_same() -> None:
    policy = RetryPolicy(noted_refusals=frozenset({Reason.EVENT_TOO_OLD}))

    assert verdict(Reason.EVENT_TOO_OLD, policy=policy) == Verdict(
        Fate.REFUSED, Reason.EVENT_TOO_OLD, is_noted=True
    )
    assert not verdict(Reason.MEMBER_FROZEN, policy=policy).is_noted


def test_pauses_double_up_to_the_cap_and_jitter_takes_at_most_half_of_them() -> None:
    policy = RetryPolicy(first_pause_seconds=1, longest_pause_seconds=8)

    longest = [pause_seconds(attempts, None, 1.0, policy) for attempts in range(1, 7)]
    shortest = [pause_seconds(attempts, None, 0.0, policy) for attempts in range(1, 7)]

    assert longest == [1, 2, 4, 8, 8, 8]
    assert shortest == [0.5, 1, 2, 4, 4, 4]


@tries(100)
@given(
    attempts=st.integers(0, 10**9),
    asked=st.none() | st.floats(-10, 1e12),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_a_pause_is_never_shorter_than_the_hub_asked_for_nor_longer_than_is_reasonable(
    attempts: int, asked: float | None, chance: float
) -> None:
    policy = RetryPolicy()

    pause = pause_seconds(attempts, asked, chance, policy)

    assert pause >= min(asked or 0.0, policy.longest_asked_pause_seconds)
    assert 0 < pause <= 1.25 * policy.longest_asked_pause_seconds


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (Reason.INVALID_FIELD, True),
        (Reason.INTERNAL, True),
        (Reason.HUB_BUSY, False),
        (Reason.HUB_UNAVAILABLE, False),
        (Reason.SIGNATURE_INVALID, False),
        (Reason.ROLE_REQUIRED, False),
        (Reason.NO_ANSWER, False),
        (Reason.RECEIPT_INVALID, False),
    ],
)
def test_a_batch_is_halved_only_where_one_command_may_be_at_fault(reason: str, expected: bool) -> None:
    assert is_about_one(refusal(reason)) is expected
