"""Payments: what a window's net positions ask to be transferred, and the states each transfer goes through.

All money goes through the operator: it collects from who owes and pays who is owed, the escrow account included.
The operator's own net position is what stays with it, so it has no payment (docs/settlement.md, Payments).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum
from typing import Final

from settlement.core.contracts import Contract, gross_partners
from settlement.core.netting import bilateral_counterparty
from settlement.core.parties import OPERATOR
from settlement.core.rounding import StatementLine
from settlement.core.statement import statements


class Direction(Enum):
    """Which way the money goes, as the operator sees it."""

    PAY = "PAY"
    COLLECT = "COLLECT"


class PaymentState(Enum):
    """How far a payment has come."""

    DUE = "DUE"
    """Listed; nothing was done yet."""

    SENT = "SENT"
    """The bank has the order to pay, or the debtor the request."""

    RECEIVED = "RECEIVED"
    """Final: the bank says that all of it has arrived."""

    REJECTED = "REJECTED"
    """The bank, or the debtor, said no. It may be sent again, as another attempt."""

    DEFAULTED = "DEFAULTED"
    """Final: the debtor does not pay. Burns stand; who bears it is named. What arrives later reduces the loss."""


FINAL: Final = frozenset({PaymentState.RECEIVED, PaymentState.DEFAULTED})

_NEXT: Final = {
    PaymentState.DUE: {PaymentState.SENT, PaymentState.RECEIVED, PaymentState.REJECTED},
    PaymentState.SENT: {PaymentState.RECEIVED, PaymentState.REJECTED},
    PaymentState.REJECTED: {PaymentState.SENT, PaymentState.RECEIVED},
    PaymentState.RECEIVED: {PaymentState.RECEIVED},
    PaymentState.DEFAULTED: {PaymentState.RECEIVED, PaymentState.REJECTED},
}
_PAY_NEXT: Final = {
    PaymentState.DUE: {PaymentState.SENT},
    PaymentState.SENT: {PaymentState.RECEIVED, PaymentState.REJECTED},
    PaymentState.REJECTED: {PaymentState.SENT},
    PaymentState.RECEIVED: {PaymentState.RECEIVED},
    PaymentState.DEFAULTED: {PaymentState.RECEIVED, PaymentState.REJECTED},
}
"""A payment of ours is confirmed only after it was sent; a debtor may pay before anybody asks, or twice.

A bank may report a payment that was given up meanwhile: that is kept, and moves it to no other state.
"""


class PaymentOutOfOrder(Exception):
    """A payment cannot go from its state to the one that was reported; `str()` names both."""


class ResultsRefused(Exception):
    """A file of bank results that is damaged or does not fit; nothing of it counts."""

    def __init__(self, line: int, field: str, fault: str) -> None:
        super().__init__(f"line {line}, {field}: {fault}; nothing of the file was taken")
        self.line = line
        self.field = field


@dataclass(frozen=True, slots=True)
class Payment:
    """One transfer that a window asks for.

    Attributes:
        payment_id: `DAY-party`; with `/PAY` or `/COLLECT` behind it where a gross contract makes two of one, with
            `/other` behind it where it is what a bilateral contract settles.
        party_id: who is paid or pays: a partner or the escrow pool.
        counterparty_id: the other partner of a bilateral contract; empty of every other payment.
        amount_minor: positive.
    """

    payment_id: str
    window_date: date
    party_id: str
    counterparty_id: str
    direction: Direction
    amount_minor: int

    @property
    def borne_by(self) -> str:
        """Who bears it if the debtor does not pay: the creditor of a bilateral contract, else the operator."""
        if self.direction is Direction.PAY:
            return self.party_id
        return self.counterparty_id or OPERATOR

    @property
    def opposite_id(self) -> str:
        """The other payment of a bilateral pair: what is collected from one partner is paid to the other."""
        return f"{self.window_date}-{self.counterparty_id}/{self.party_id}" if self.counterparty_id else ""


@dataclass(frozen=True, slots=True)
class TrackedPayment:
    """A payment and what has become of it.

    Attributes:
        attempt: how many times it was sent, or is to be sent, from 1.
        moved_minor: what the bank says has arrived so far, over all reports.
        borne_by: who bears a default, less what arrived all the same; empty of every other payment.
    """

    payment: Payment
    state: PaymentState
    attempt: int
    moved_minor: int
    borne_by: str


def payments_due(
    window_date: date, lines: Iterable[StatementLine], contracts: Iterable[Contract]
) -> tuple[Payment, ...]:
    """The payments of a computed window, in the order of its statements. What nets to 0 asks for none."""
    gross = gross_partners(contracts)
    found: list[Payment] = []
    for statement in statements(window_date, lines):
        if statement.party_id != OPERATOR:
            found += _party_payments(window_date, statement.party_id, statement.lines, gross)
    return tuple(found)


def _party_payments(
    window_date: date, party_id: str, lines: tuple[StatementLine, ...], gross: frozenset[str]
) -> Iterator[Payment]:
    name = f"{window_date}-{party_id}"
    own = [line.amount_minor for line in lines if not bilateral_counterparty(line.component)]
    if party_id in gross:
        for direction, total in (
            (Direction.COLLECT, sum(minor for minor in own if minor < 0)),
            (Direction.PAY, sum(minor for minor in own if minor > 0)),
        ):
            yield from _payment(f"{name}/{direction.value}", window_date, party_id, "", total)
    else:
        yield from _payment(name, window_date, party_id, "", sum(own))
    for line in lines:
        other = bilateral_counterparty(line.component)
        if other:
            yield from _payment(f"{name}/{other}", window_date, party_id, other, line.amount_minor)


def _payment(payment_id: str, day: date, party_id: str, other_id: str, net_minor: int) -> Iterator[Payment]:
    if net_minor:
        direction = Direction.PAY if net_minor > 0 else Direction.COLLECT
        yield Payment(payment_id, day, party_id, other_id, direction, abs(net_minor))


@dataclass(frozen=True, slots=True)
class Report:
    """What a person or the bank says of a payment.

    Attributes:
        reported: the state it is said to be in.
        amount_minor: what has arrived, for `RECEIVED`; 0 otherwise.
        reference: the bank's name for it. The same report with the same reference counts once.
    """

    payment_id: str
    reported: PaymentState
    amount_minor: int
    reference: str


def after_report(tracked: TrackedPayment, report: Report) -> TrackedPayment:
    """The payment after a report. Raises PaymentOutOfOrder.

    An arrival of less than what is missing leaves the payment where it was, with that much moved.
    """
    payment, state = tracked.payment, report.reported
    steps = _PAY_NEXT if payment.direction is Direction.PAY else _NEXT
    allowed = set(steps.get(tracked.state, ()))
    if tracked.state not in FINAL and payment.direction is Direction.COLLECT:
        allowed.add(PaymentState.DEFAULTED)
    if state not in allowed:
        raise PaymentOutOfOrder(
            f"{payment.payment_id}: {payment.direction.value}, {tracked.state.value}, cannot become {state.value}"
        )
    moved = tracked.moved_minor + (report.amount_minor if state is PaymentState.RECEIVED else 0)
    short = state is PaymentState.RECEIVED and moved < payment.amount_minor
    if short or tracked.state is PaymentState.DEFAULTED:
        state = tracked.state
    again = state is PaymentState.SENT and tracked.state is PaymentState.REJECTED
    return TrackedPayment(
        payment=payment,
        state=state,
        attempt=tracked.attempt + again,
        moved_minor=moved,
        borne_by=(tracked.borne_by or payment.borne_by) if state is PaymentState.DEFAULTED else "",
    )


def after_default(
    tracked: TrackedPayment, opposite: TrackedPayment | None, report: Report
) -> tuple[TrackedPayment, ...]:
    """The payments that a default ends: the debtor's own, and of a bilateral pair also the creditor's.

    Whoever was not paid yet bears it, and is not paid. A creditor that has all of its money keeps it: then the
    operator bears the default. Raises PaymentOutOfOrder.
    """
    ended = after_report(tracked, report)
    if opposite is None:
        return (ended,)
    if opposite.state is PaymentState.RECEIVED:
        return (replace(ended, borne_by=OPERATOR),)
    both = replace(opposite, state=PaymentState.DEFAULTED, borne_by=opposite.payment.borne_by)
    return ended, both


class Discrepancy(Enum):
    """What the bank says otherwise than the payment list: a break."""

    SHORT = "SETTLEMENT_SHORT"
    OVER = "SETTLEMENT_OVER"
    REJECTED = "SETTLEMENT_REJECTED"


def discrepancy(before: TrackedPayment, report: Report) -> tuple[Discrepancy, int] | None:
    """The break a report makes, with the minor units at stake; None where it says what was expected.

    Of a defaulted payment nothing is expected, so only more than all of it is a break.
    """
    amount = before.payment.amount_minor
    missing = amount - before.moved_minor - report.amount_minor
    if before.state is PaymentState.DEFAULTED and missing >= 0:
        return None
    if report.reported is PaymentState.REJECTED and before.state is not PaymentState.DEFAULTED:
        return Discrepancy.REJECTED, amount - before.moved_minor
    if report.reported is PaymentState.RECEIVED:
        if missing > 0:
            return Discrepancy.SHORT, missing
        if missing < 0:
            return Discrepancy.OVER, min(-missing, report.amount_minor)
    return None


def all_final(payments: Iterable[TrackedPayment]) -> bool:
    """Whether nothing is left to wait for. True of no payments."""
    return all(tracked.state in FINAL for tracked in payments)
