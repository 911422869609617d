"""The commands from an approved certificate to money: export, payments, payment, settle."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import RenderableType

from settlement.command_line import screen
from settlement.command_line.bank_results import read_results
from settlement.command_line.session import (
    Misconfigured,
    NotThere,
    Session,
    make_settled_verifier,
    open_daily_run,
    open_hub,
    open_reads,
)
from settlement.core.amounts import decimal_text, minor_text
from settlement.core.certificate import time_text
from settlement.core.payments import Direction, Payment, PaymentState, TrackedPayment
from settlement.core.window import Ledger
from settlement.payments import Outcome, Payments
from settlement.settings import Settings
from settlement.store.payments import PaymentEvent

CSV_COLUMNS: Final = {
    "payment_id": "DAY-party, see docs/settlement.md, Payments",
    "window_date": "business day, YYYY-MM-DD",
    "direction": "COLLECT from a debtor, PAY to a creditor",
    "party_id": "partner id, or POOL for the escrow account",
    "counterparty_id": "the other partner of a bilateral contract; else empty",
    "amount": "in the major unit, always positive",
    "currency": "ISO 4217 code",
    "certificate_sha256": "the approved certificate that the payment stands on",
}
"""Columns of the payment list, which says nothing that changes later."""


@contextmanager
def open_payments(settings: Settings) -> Iterator[Payments]:
    """The payments of the ledger, that no run can disturb. Raises as `open_daily_run`."""
    with open_daily_run(settings) as run:
        yield Payments(run.connection, run.ledger, run.actor)


def export(session: Session, arguments: argparse.Namespace) -> None:
    """Makes an approved day's payment list, or shows it again."""
    with open_payments(session.settings) as payments:
        listed = payments.export(arguments.date)
        ledger = payments.ledger
    with open_reads(session.settings) as reads:
        certificate = reads.certificate(arguments.date)
    assert certificate is not None, "an exported day has one"
    if arguments.csv:
        text = payments_csv([it.payment for it in listed], ledger, certificate.document_sha256)
        if arguments.csv == "-":
            sys.stdout.write(text)
            return
        Path(arguments.csv).write_text(text, encoding="utf-8", newline="")
    _show(session, listed, ledger, f"Payments of {arguments.date}")


def show_payments(session: Session, arguments: argparse.Namespace) -> None:
    """Shows payments with their states."""
    state = PaymentState(arguments.state.upper()) if arguments.state else None
    with open_reads(session.settings) as reads:
        listed, ledger = reads.payments(arguments.date, state)
    _show(session, listed, ledger, f"Payments of {arguments.date}" if arguments.date else "Payments")


def show_payment(session: Session, arguments: argparse.Namespace) -> None:
    """Shows one payment with everything that was reported of it."""
    with open_reads(session.settings) as reads:
        found = reads.payment(arguments.payment_id)
    if found is None:
        raise NotThere(f"{arguments.payment_id}: no such payment; `payments` lists them")
    tracked, events, ledger = found
    content = payment_content(tracked) | {"events": list(map(_event_content, events))}
    session.show(content, lambda: _history(tracked, events, ledger))


def mark(session: Session, arguments: argparse.Namespace) -> None:
    """Moves a payment on by what a person knows of it; a default is proposed."""
    session.settings.require("person_key_file")
    state, reason = PaymentState(arguments.state.upper()), arguments.reason or ""
    if state is PaymentState.DEFAULTED and not reason:
        raise Misconfigured("--reason: a default needs one")
    with open_payments(session.settings) as payments:
        outcome = payments.mark(arguments.payment_id, state, arguments.reference, reason)
        ledger = payments.ledger
    _show_outcomes(session, [outcome], ledger)


def approve_default(session: Session, arguments: argparse.Namespace) -> None:
    """Approves that a payment is defaulted, as another person than who proposed it."""
    session.settings.require("person_key_file")
    with open_payments(session.settings) as payments:
        outcomes = payments.approve_default(arguments.payment_id)
        ledger = payments.ledger
    _show_outcomes(session, outcomes, ledger)


def import_results(session: Session, arguments: argparse.Namespace) -> None:
    """Moves payments on by a file of bank results."""
    session.settings.require("person_key_file")
    with open_payments(session.settings) as payments:
        ledger = payments.ledger
        outcomes = payments.import_results(read_results(Path(arguments.file), ledger.minor_unit_digits))
    _show_outcomes(session, outcomes, ledger)


def settle(session: Session, arguments: argparse.Namespace) -> None:
    """Tells the hub that a day's payments are final."""
    verify = make_settled_verifier(session.settings)
    with open_payments(session.settings) as payments, open_hub(session.settings) as hub:
        settled = payments.settle(arguments.date, hub, verify)
    content = {"window_date": str(arguments.date), "state": "SETTLED", "told_now": settled is not None}
    when = f" at {time_text(settled.settled_time)}, the hub has recorded it" if settled else " before"
    session.show(content, lambda: f"{arguments.date} settled{when}")


def payments_csv(due: Iterable[Payment], ledger: Ledger, certificate_sha256: str) -> str:
    """The payment list as a file: the same bytes however often it is written. Lines end in LF."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for payment in due:
        amount = decimal_text(payment.amount_minor, ledger.minor_unit_digits)
        parties = (payment.direction.value, payment.party_id, payment.counterparty_id)
        row = (payment.payment_id, payment.window_date, *parties, amount, ledger.currency_code)
        writer.writerow((*row, certificate_sha256))
    return text.getvalue()


def payment_content(tracked: TrackedPayment) -> dict[str, Any]:
    """A payment and its state as plain data."""
    payment = tracked.payment
    return {
        "payment_id": payment.payment_id,
        "window_date": str(payment.window_date),
        "direction": payment.direction.value,
        "party_id": payment.party_id,
        "counterparty_id": payment.counterparty_id,
        "amount_minor": payment.amount_minor,
        "state": tracked.state.value,
        "attempt": tracked.attempt,
        "moved_minor": tracked.moved_minor,
        "borne_by": tracked.borne_by,
    }


def _show(session: Session, listed: Sequence[TrackedPayment], ledger: Ledger, title: str) -> None:
    content = {
        "currency_code": ledger.currency_code,
        "minor_unit_digits": ledger.minor_unit_digits,
        "payments": list(map(payment_content, listed)),
    }
    session.show(content, partial(_table, listed, ledger, title))


def _table(listed: Sequence[TrackedPayment], ledger: Ledger, title: str) -> RenderableType:
    digits = ledger.minor_unit_digits
    table = screen.plain_table(["payment", "party", "direction"], ["amount", "arrived"])
    for name in ("state", "attempt", "borne by"):
        table.add_column(name, no_wrap=True)
    for tracked in listed:
        payment = tracked.payment
        party = (
            f"{payment.party_id} with {payment.counterparty_id}"
            if payment.counterparty_id
            else payment.party_id
        )
        table.add_row(
            payment.payment_id,
            party,
            payment.direction.value,
            minor_text(payment.amount_minor, digits),
            minor_text(tracked.moved_minor, digits),
            tracked.state.value,
            str(tracked.attempt),
            tracked.borne_by,
        )
    table.add_section()
    collected, paid = (
        sum(it.payment.amount_minor for it in listed if it.payment.direction is direction)
        for direction in (Direction.COLLECT, Direction.PAY)
    )
    for name, total in (
        ("to collect", collected),
        ("to pay", paid),
        ("stays with the operator", collected - paid),
    ):
        table.add_row(name, "", "", minor_text(total, digits), "", "", "", "", style="bold")
    return screen.titled(f"{title}, {ledger.currency_code}", table)


def _history(tracked: TrackedPayment, events: Sequence[PaymentEvent], ledger: Ledger) -> RenderableType:
    table = screen.plain_table(["when", "reported", "state after", "attempt"], ["amount"])
    for name in ("reference", "by", "reason"):
        table.add_column(name)
    for event in events:
        amount = minor_text(event.amount_minor, ledger.minor_unit_digits)
        row = (time_text(event.event_time), event.reported, event.state_after, str(event.attempt), amount)
        table.add_row(*row, event.reference, event.person, event.reason)
    return screen.titled(f"Payment {tracked.payment.payment_id}, {tracked.state.value}", table)


def _event_content(event: PaymentEvent) -> dict[str, Any]:
    return {
        "event_time": time_text(event.event_time),
        "attempt": event.attempt,
        "state_before": event.state_before,
        "state_after": event.state_after,
        "reported": event.reported,
        "amount_minor": event.amount_minor,
        "reference": event.reference,
        "person": event.person,
        "reason": event.reason,
    }


def _show_outcomes(session: Session, outcomes: Sequence[Outcome], ledger: Ledger) -> None:
    content = {
        "payments": [
            payment_content(outcome.tracked)
            | {"break": outcome.found.value if outcome.found else "", "repeated": outcome.repeated}
            for outcome in outcomes
        ]
    }
    session.show(content, partial(_outcomes_table, outcomes, ledger))


def _outcomes_table(outcomes: Sequence[Outcome], ledger: Ledger) -> RenderableType:
    table = screen.plain_table(["payment", "state"], ["amount", "arrived"])
    table.add_column("break")
    for outcome in outcomes:
        tracked = outcome.tracked
        amounts = (tracked.payment.amount_minor, tracked.moved_minor)
        texts = [minor_text(minor, ledger.minor_unit_digits) for minor in amounts]
        found = outcome.found.value if outcome.found else "reported before" if outcome.repeated else ""
        table.add_row(tracked.payment.payment_id, tracked.state.value, *texts, found)
    return screen.titled(f"Reported, {ledger.currency_code}", table)
