"""Payments in the database: listed once, moved on with every report, their history kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, func, insert, select, update
from sqlalchemy.dialects import postgresql

from settlement.core.parties import party_order
from settlement.core.payments import FINAL, Direction, Payment, PaymentState, Report, TrackedPayment
from settlement.core.run_state import WindowState
from settlement.core.window import HubReceipt
from settlement.store import save
from settlement.store.load import Approval
from settlement.store.payment_tables import payment_events, payments, settle_receipts


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """One report on a payment, as it was kept."""

    event_time: datetime
    attempt: int
    state_before: str
    state_after: str
    reported: str
    amount_minor: int
    reference: str
    person: str
    reason: str


def save_payments(
    connection: Connection, due: Iterable[Payment], approval: Approval, exported_by: str
) -> None:
    """Keeps the payment list of a window, which is then EXPORTED. The database refuses one person for both."""
    rows = [
        {
            "payment_id": payment.payment_id,
            "window_date": payment.window_date,
            "run_number": approval.run_number,
            "party_id": payment.party_id,
            "counterparty_id": payment.counterparty_id or None,
            "direction": payment.direction.value,
            "amount_minor": payment.amount_minor,
            "exported_by": exported_by,
            "approved_by": approval.approved_by,
        }
        for payment in due
    ]
    if rows:
        connection.execute(insert(payments), rows)
    save.move_on(connection, approval.window_date, WindowState.EXPORTED)


def load_payments(
    connection: Connection,
    *,
    window_date: date | None = None,
    state: PaymentState | None = None,
    payment_ids: Iterable[str] | None = None,
) -> tuple[TrackedPayment, ...]:
    """Payments that fit, oldest window first, in the order of its statements."""
    columns = payments.c
    statement = _payments()
    if window_date is not None:
        statement = statement.where(columns.window_date == window_date)
    if state is not None:
        statement = statement.where(columns.state == state.value)
    if payment_ids is not None:
        statement = statement.where(columns.payment_id.in_(list(payment_ids)))
    listed = (_tracked(row) for row in connection.execute(statement))
    return tuple(sorted(listed, key=_statement_order))


def load_events(connection: Connection, payment_id: str) -> list[PaymentEvent]:
    """The history of a payment, oldest first."""
    columns = payment_events.c
    rows = connection.execute(
        select(
            columns.event_time,
            columns.attempt,
            columns.state_before,
            columns.state_after,
            columns.reported,
            columns.amount_minor,
            columns.reference,
            columns.person,
            columns.reason,
        )
        .where(columns.payment_id == payment_id)
        .order_by(columns.event_id)
    )
    return [PaymentEvent(*row) for row in rows]


DEFAULT_PROPOSED: Final = "DEFAULT_PROPOSED"
"""What the history calls the first half of a default; it changes no state."""


@dataclass(frozen=True, slots=True)
class ProposedDefault:
    """The first half of a default: who says that a debtor does not pay, and why."""

    payment_id: str
    person: str
    reference: str
    reason: str


def load_approvers(connection: Connection, payment_ids: Iterable[str]) -> dict[str, str]:
    """Who approved the windows of payments, by payment."""
    columns = payments.c
    rows = connection.execute(
        select(columns.payment_id, columns.approved_by).where(columns.payment_id.in_(list(payment_ids)))
    )
    return {row.payment_id: row.approved_by for row in rows}


def load_proposed_default(connection: Connection, payment_id: str) -> ProposedDefault | None:
    """The newest proposal that a payment be defaulted; None where there is none."""
    columns = payment_events.c
    row = connection.execute(
        select(columns.payment_id, columns.person, columns.reference, columns.reason)
        .where(columns.payment_id == payment_id, columns.reported == DEFAULT_PROPOSED)
        .order_by(columns.event_id.desc())
        .limit(1)
    ).first()
    return ProposedDefault(*row) if row else None


def load_proposed_defaults(connection: Connection, window_date: date) -> tuple[str, ...]:
    """The payments of a window that are not final and for which a default is proposed, in the order of their ids."""
    proposed = select(payment_events.c.event_id).where(
        payment_events.c.payment_id == payments.c.payment_id, payment_events.c.reported == DEFAULT_PROPOSED
    )
    waiting = select(payments.c.payment_id).where(
        payments.c.window_date == window_date,
        payments.c.state.not_in([state.value for state in FINAL]),
        proposed.exists(),
    )
    return tuple(connection.execute(waiting.order_by(payments.c.payment_id)).scalars())


def save_proposed_default(connection: Connection, tracked: TrackedPayment, proposed: ProposedDefault) -> bool:
    """Keeps a proposal. False where the same payment has one of the same reference."""
    columns = payment_events.c
    added = connection.execute(
        postgresql.insert(payment_events)
        .values(
            payment_id=proposed.payment_id,
            attempt=tracked.attempt,
            state_before=tracked.state.value,
            state_after=tracked.state.value,
            reported=DEFAULT_PROPOSED,
            amount_minor=0,
            reference=proposed.reference,
            person=proposed.person,
            reason=proposed.reason,
        )
        .on_conflict_do_nothing(index_elements=[columns.payment_id, columns.reported, columns.reference])
        .returning(columns.event_id)
    )
    return added.first() is not None


def load_reported_amount(connection: Connection, report: Report) -> int | None:
    """The amount of the same report where it was made before; None where it is new."""
    columns = payment_events.c
    amount: int | None = connection.execute(
        select(columns.amount_minor).where(
            columns.payment_id == report.payment_id,
            columns.reported == report.reported.value,
            columns.reference == report.reference,
        )
    ).scalar_one_or_none()
    return amount


def save_report(
    connection: Connection,
    before: TrackedPayment,
    after: TrackedPayment,
    report: Report,
    person: str,
    reason: str,
    default_proposed_by: str | None = None,
) -> None:
    """Keeps a report and what it makes of its payment. The database refuses one person for a default's halves."""
    connection.execute(
        insert(payment_events).values(
            payment_id=report.payment_id,
            attempt=after.attempt,
            state_before=before.state.value,
            state_after=after.state.value,
            reported=report.reported.value,
            amount_minor=report.amount_minor,
            reference=report.reference,
            person=person,
            reason=reason,
        )
    )
    default = (
        {"default_proposed_by": default_proposed_by, "default_approved_by": person}
        if default_proposed_by
        else {}
    )
    connection.execute(
        update(payments)
        .where(payments.c.payment_id == report.payment_id)
        .values(
            state=after.state.value,
            attempt=after.attempt,
            moved_minor=after.moved_minor,
            borne_by=after.borne_by or None,
            **default,
        )
    )


def save_settled(connection: Connection, window_date: date, receipt: HubReceipt) -> None:
    """Keeps the hub's receipt for a settled window, which is then SETTLED."""
    connection.execute(
        insert(settle_receipts).values(
            window_date=window_date,
            path=receipt.path,
            request=receipt.request,
            request_metadata=[list(entry) for entry in receipt.request_metadata],
            response=receipt.response,
            receipt_metadata=[list(entry) for entry in receipt.receipt_metadata],
        )
    )
    save.move_on(connection, window_date, WindowState.SETTLED)


def _statement_order(tracked: TrackedPayment) -> tuple[date, tuple[int, str], str]:
    payment = tracked.payment
    return payment.window_date, party_order(payment.party_id), payment.payment_id


def _payments() -> Select[Any]:
    columns = payments.c
    return select(
        columns.payment_id,
        columns.window_date,
        columns.party_id,
        func.coalesce(columns.counterparty_id, "").label("counterparty_id"),
        columns.direction,
        columns.amount_minor,
        columns.state,
        columns.attempt,
        columns.moved_minor,
        func.coalesce(columns.borne_by, "").label("borne_by"),
    )


def _tracked(row: Row[Any]) -> TrackedPayment:
    return TrackedPayment(
        payment=Payment(
            payment_id=row.payment_id,
            window_date=row.window_date,
            party_id=row.party_id,
            counterparty_id=row.counterparty_id,
            direction=Direction(row.direction),
            amount_minor=row.amount_minor,
        ),
        state=PaymentState(row.state),
        attempt=row.attempt,
        moved_minor=row.moved_minor,
        borne_by=row.borne_by,
    )
