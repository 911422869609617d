"""Payments: which a window asks for, which state may follow which, and what a bank's word makes of them."""

from __future__ import annotations

from datetime import date

import pytest

from settlement.core.contracts import Contract
from settlement.core.netting import Flow
from settlement.core.parties import OPERATOR, POOL
from settlement.core.payments import (
    Direction,
    Discrepancy,
    Payment,
    PaymentOutOfOrder,
    PaymentState,
    Report,
    TrackedPayment,
    after_default,
    after_report,
    all_final,
    discrepancy,
    payments_due,
)
from settlement.core.window import NOTHING_YET, WindowSums, compute

DAY = date(2026, 1, 1)
FLOWS = (
    Flow("a", "ISSUE_FUNDING", POOL, "ISSUE_FUNDING", 155_000_000, 3),
    Flow("a", "ISSUE_FEE", OPERATOR, "ISSUE_FEE", 3_100_000, 3),
    Flow(POOL, "BURN_FUNDING", "b", "BURN_REIMBURSE", 38_313_500, 2),
    Flow("b", "ISSUE_FUNDING", POOL, "ISSUE_FUNDING", 160_000, 1),
    Flow("c", "BURN_FUNDING", "b", "BURN_REIMBURSE", 10_000_000, 1),
)
DUE, SENT, RECEIVED, REJECTED, DEFAULTED = PaymentState


def listed(*contracts: Contract) -> dict[str, tuple[str, int]]:
    lines = compute(NOTHING_YET, WindowSums(FLOWS, (), ()), 10_000, contracts).lines
    return {
        it.payment_id: (it.direction.value, it.amount_minor) for it in payments_due(DAY, lines, contracts)
    }


def test_debtors_are_collected_from_creditors_and_the_escrow_account_are_paid() -> None:
    assert listed() == {
        "2026-01-01-a": ("COLLECT", 15_810),
        "2026-01-01-b": ("PAY", 4_815),
        "2026-01-01-c": ("COLLECT", 1_000),
        "2026-01-01-POOL": ("PAY", 11_685),
    }


def test_a_gross_partner_pays_and_is_paid_separately() -> None:
    assert {key: it for key, it in listed(Contract("b", "", "GROSS", DAY, None)).items() if "-b" in key} == {
        "2026-01-01-b/COLLECT": ("COLLECT", 16),
        "2026-01-01-b/PAY": ("PAY", 4_831),
    }


def test_what_a_pair_settles_is_a_payment_of_its_own_on_either_side() -> None:
    payments = listed(Contract("b", "c", "BILATERAL", DAY, None))

    assert payments == {
        "2026-01-01-a": ("COLLECT", 15_810),
        "2026-01-01-b": ("PAY", 3_815),
        "2026-01-01-b/c": ("PAY", 1_000),
        "2026-01-01-c/b": ("COLLECT", 1_000),
        "2026-01-01-POOL": ("PAY", 11_685),
    }


def test_a_window_without_positions_asks_for_no_payment_and_waits_for_none() -> None:
    assert payments_due(DAY, compute(NOTHING_YET, WindowSums((), (), ()), 10_000).lines, ()) == ()
    assert all_final([])


def payment(direction: Direction, other: str = "") -> Payment:
    return Payment("2026-01-01-a", DAY, "a", other, direction, 15_810)


def at(state: PaymentState, direction: Direction, moved: int = 0) -> TrackedPayment:
    return TrackedPayment(payment(direction), state, 1, moved, "")


def report(state: PaymentState, amount: int = 15_810) -> Report:
    return Report("2026-01-01-a", state, amount if state is RECEIVED else 0, "bank-1")


ALLOWED = {
    Direction.COLLECT: {
        DUE: {SENT, RECEIVED, REJECTED, DEFAULTED},
        SENT: {RECEIVED, REJECTED, DEFAULTED},
        REJECTED: {SENT, RECEIVED, DEFAULTED},
        RECEIVED: {RECEIVED},
        DEFAULTED: {RECEIVED, REJECTED},
    },
    Direction.PAY: {
        DUE: {SENT},
        SENT: {RECEIVED, REJECTED},
        REJECTED: {SENT},
        RECEIVED: {RECEIVED},
        DEFAULTED: {RECEIVED, REJECTED},
    },
}


@pytest.mark.parametrize("direction", Direction)
def test_a_payment_goes_from_each_state_only_where_it_may(direction: Direction) -> None:
    for before in PaymentState:
        for after in PaymentState:
            tracked = at(before, direction)
            if after in ALLOWED[direction][before]:
                reached = DEFAULTED if before is DEFAULTED else after
                assert after_report(tracked, report(after)).state is reached
            else:
                with pytest.raises(
                    PaymentOutOfOrder, match=f"{before.value}, cannot become {after.value}|{before.value}"
                ):
                    after_report(tracked, report(after))


def test_a_rejected_payment_is_sent_again_as_another_attempt() -> None:
    tracked = at(DUE, Direction.PAY)

    for state in (SENT, REJECTED, SENT):
        tracked = after_report(tracked, report(state))

    assert (tracked.state, tracked.attempt) == (SENT, 2)


def test_an_arrival_of_too_little_leaves_a_payment_open_until_the_rest_arrives() -> None:
    short = after_report(at(SENT, Direction.COLLECT), report(RECEIVED, 15_000))
    whole = after_report(short, report(RECEIVED, 810))

    assert (short.state, short.moved_minor) == (SENT, 15_000)
    assert (whole.state, whole.moved_minor) == (RECEIVED, 15_810)
    assert not all_final([short])
    assert all_final([whole])


@pytest.mark.parametrize(("other", "bearer"), [("", OPERATOR), ("b", "b")])
def test_a_default_is_final_and_borne_by_the_operator_or_the_other_partner_of_the_contract(
    other: str, bearer: str
) -> None:
    tracked = TrackedPayment(payment(Direction.COLLECT, other), SENT, 1, 0, "")

    after = after_report(tracked, report(DEFAULTED))

    assert (after.state, after.borne_by) == (DEFAULTED, bearer)
    assert all_final([after])


def pair(creditor_state: PaymentState) -> tuple[TrackedPayment, TrackedPayment]:
    debtor = Payment("2026-01-01-a/b", DAY, "a", "b", Direction.COLLECT, 1_000)
    creditor = Payment("2026-01-01-b/a", DAY, "b", "a", Direction.PAY, 1_000)
    return TrackedPayment(debtor, SENT, 1, 0, ""), TrackedPayment(creditor, creditor_state, 1, 0, "")


@pytest.mark.parametrize("creditor_state", [DUE, SENT, REJECTED])
def test_a_default_ends_both_payments_of_a_pair_and_its_creditor_bears_it(
    creditor_state: PaymentState,
) -> None:
    collected, paid = pair(creditor_state)

    ended = after_default(collected, paid, report(DEFAULTED))

    assert (collected.payment.opposite_id, paid.payment.opposite_id) == ("2026-01-01-b/a", "2026-01-01-a/b")
    assert [(it.payment.payment_id, it.state, it.borne_by) for it in ended] == [
        ("2026-01-01-a/b", DEFAULTED, "b"),
        ("2026-01-01-b/a", DEFAULTED, "b"),
    ]


def test_the_operator_bears_the_default_of_a_pair_whose_creditor_it_has_paid() -> None:
    (ended,) = after_default(*pair(RECEIVED), report(DEFAULTED))

    assert (ended.payment.payment_id, ended.borne_by) == ("2026-01-01-a/b", OPERATOR)


def test_money_that_arrives_after_a_default_reduces_the_loss_and_only_too_much_is_a_break() -> None:
    lost = TrackedPayment(payment(Direction.COLLECT), DEFAULTED, 1, 0, OPERATOR)

    part = after_report(lost, report(RECEIVED, 5_000))
    whole = after_report(part, report(RECEIVED, 10_810))

    assert [(it.state, it.moved_minor, it.borne_by) for it in (part, whole)] == [
        (DEFAULTED, 5_000, OPERATOR),
        (DEFAULTED, 15_810, OPERATOR),
    ]
    assert discrepancy(lost, report(RECEIVED, 5_000)) is None
    assert discrepancy(lost, report(REJECTED)) is None
    assert discrepancy(part, report(RECEIVED, 10_811)) == (Discrepancy.OVER, 1)


@pytest.mark.parametrize(
    ("moved", "reported", "amount", "expected"),
    [
        (0, RECEIVED, 15_810, None),
        (0, RECEIVED, 15_000, (Discrepancy.SHORT, 810)),
        (15_000, RECEIVED, 810, None),
        (15_000, RECEIVED, 800, (Discrepancy.SHORT, 10)),
        (0, RECEIVED, 16_000, (Discrepancy.OVER, 190)),
        (15_810, RECEIVED, 15_810, (Discrepancy.OVER, 15_810)),
        (16_000, RECEIVED, 5, (Discrepancy.OVER, 5)),
        (0, REJECTED, 0, (Discrepancy.REJECTED, 15_810)),
        (0, SENT, 0, None),
    ],
)
def test_what_a_bank_says_otherwise_is_a_break_with_what_is_at_stake(
    moved: int, reported: PaymentState, amount: int, expected: tuple[Discrepancy, int] | None
) -> None:
    assert discrepancy(at(SENT, Direction.COLLECT, moved), report(reported, amount)) == expected
