"""Payments: listed when a window is approved, moved on by what people and the bank report, told to the hub when final.

Each method is one transaction and can be repeated: a list is made once, a report with the same bank reference counts
once, and a settled window is settled once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from settlement.core.amounts import micros_per_minor
from settlement.core.business_day import business_day
from settlement.core.payments import FINAL as FINAL_STATES
from settlement.core.payments import (
    Discrepancy,
    PaymentOutOfOrder,
    PaymentState,
    Report,
    ResultsRefused,
    TrackedPayment,
    after_default,
    after_report,
    all_final,
    discrepancy,
    payments_due,
)
from settlement.core.roles import Act
from settlement.core.run_state import StepOutOfOrder, WindowState
from settlement.core.window import HubReceipt, Ledger, ReceiptInvalid, SettledWindow
from settlement.people import Actor, refuse_same_person
from settlement.store import load
from settlement.store import payments as store
from settlement.store.desk import ledger_moment
from settlement.store.load import StoredWindow
from settlement.store.payment_breaks import save_payment_break

PAYMENT: Final = "payment"
WINDOW: Final = "window"
"""What the audit log calls the items."""


class Hub(Protocol):
    """What settling asks of the hub."""

    def settle_window(self, window_date: date, certificate_sha256: str) -> HubReceipt:
        """Records that a window's payments are final; the same answer however often it is asked."""


VerifySettled = Callable[[HubReceipt], SettledWindow]
"""Gives what a receipt proves; raises ReceiptInvalid."""


class PaymentUnknown(Exception):
    """No payment has this id."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a report did: the payment after it, and the break it made, if it made one."""

    tracked: TrackedPayment
    found: Discrepancy | None
    repeated: bool


@dataclass(frozen=True, slots=True)
class Payments:
    """The payments of one ledger.

    Attributes:
        connection: as `exclusive_run` gives it, with no transaction open.
        actor: in whose name it is done.
    """

    connection: Connection
    ledger: Ledger
    actor: Actor

    def export(self, window_date: date) -> tuple[TrackedPayment, ...]:
        """The payment list of an approved window, made once. The same payments, with their states, ever after.

        Raises StepOutOfOrder, SamePerson where the one who approved asks, RoleMissing, PersonUnknown.
        """
        connection = self.connection
        with connection.begin():
            stored = load.load_window_at_least(self.connection, window_date, WindowState.APPROVED, "approve")
            if stored.state is WindowState.APPROVED:
                approval = load.load_approval(connection, window_date)
                assert approval is not None, "an approved window has one"
                person = self.actor.check(connection, Act.EXPORT)
                refuse_same_person(approval.approved_by, person.name, f"{window_date}: approve and export")
                lines = load.load_computed(connection, window_date).lines
                due = payments_due(window_date, lines, load.load_contracts(connection, window_date))
                store.save_payments(connection, due, approval, person.name)
                after = {"state": WindowState.EXPORTED.value, "payments": len(due)}
                self._record_window(Act.EXPORT, stored, after)
            return store.load_payments(connection, window_date=window_date)

    def mark(self, payment_id: str, state: PaymentState, reference: str, reason: str = "") -> Outcome:
        """Moves a payment on by what a person knows of it; an arrival is of all that is missing.

        A default is only proposed: `approve_default` is another person's. Raises PaymentUnknown, PaymentOutOfOrder,
        ValueError where a default has no reason, SamePerson where the one who approved the window asks,
        RoleMissing, PersonUnknown.
        """
        if state is PaymentState.DEFAULTED:
            return self._propose_default(payment_id, reference, reason)
        with self.connection.begin():
            self._check_marker([payment_id])
            tracked = self._known(payment_id)
            missing = tracked.payment.amount_minor - tracked.moved_minor
            known = store.load_reported_amount(self.connection, Report(payment_id, state, 0, reference))
            amount = known or missing if state is PaymentState.RECEIVED else 0
            if known is None and state is PaymentState.RECEIVED and missing <= 0:
                raise PaymentOutOfOrder(f"{payment_id}: all of it was received before")
            return self._apply(tracked, Report(payment_id, state, amount, reference), reason)

    def _propose_default(self, payment_id: str, reference: str, reason: str) -> Outcome:
        if not reason.strip():
            raise ValueError("reason: a default needs one")
        connection = self.connection
        with connection.begin():
            person = self.actor.check(connection, Act.PROPOSE_DEFAULT)
            tracked = self._known(payment_id)
            self._check_marker([payment_id])
            report = Report(payment_id, PaymentState.DEFAULTED, 0, reference)
            if store.load_reported_amount(connection, report) is not None:
                return Outcome(tracked, None, repeated=True)
            after_report(tracked, report)
            proposed = store.ProposedDefault(payment_id, person.name, reference, reason)
            if not store.save_proposed_default(connection, tracked, proposed):
                return Outcome(tracked, None, repeated=True)
            content = _content(tracked) | {"reference": reference}
            self.actor.do(
                connection, Act.PROPOSE_DEFAULT, PAYMENT, payment_id, reason, _content(tracked), content
            )
        return Outcome(tracked, None, repeated=False)

    def approve_default(self, payment_id: str) -> tuple[Outcome, ...]:
        """Another person agrees that a debtor does not pay. What a bilateral contract pays on ends with it.

        Raises PaymentUnknown, PaymentOutOfOrder where nobody proposed it or it was paid meanwhile, SamePerson,
        RoleMissing, PersonUnknown.
        """
        connection = self.connection
        with connection.begin():
            person = self.actor.check(connection, Act.APPROVE_DEFAULT)
            tracked = self._known(payment_id)
            proposed = store.load_proposed_default(connection, payment_id)
            if proposed is None:
                raise PaymentOutOfOrder(
                    f"{payment_id}: nobody proposed a default; `payment mark --state defaulted` does"
                )
            refuse_same_person(proposed.person, person.name, f"{payment_id}: default")
            if tracked.state is PaymentState.DEFAULTED:
                return (Outcome(tracked, None, repeated=True),)
            opposite_id = tracked.payment.opposite_id
            opposite = self._tracked([opposite_id]).get(opposite_id) if opposite_id else None
            before = {it.payment.payment_id: it for it in (tracked, opposite) if it}
            report = Report(payment_id, PaymentState.DEFAULTED, 0, proposed.reference)
            done = after_default(tracked, opposite, report)
            for after in done:
                self._save_default(before[after.payment.payment_id], after, proposed, person.name)
        return tuple(Outcome(after, None, repeated=False) for after in done)

    def _save_default(
        self, before: TrackedPayment, after: TrackedPayment, proposed: store.ProposedDefault, person: str
    ) -> None:
        payment_id = after.payment.payment_id
        report = Report(payment_id, PaymentState.DEFAULTED, 0, proposed.reference)
        store.save_report(self.connection, before, after, report, person, proposed.reason, proposed.person)
        new = _content(after) | {"reference": proposed.reference, "proposed_by": proposed.person}
        self.actor.do(
            self.connection, Act.APPROVE_DEFAULT, PAYMENT, payment_id, proposed.reason, _content(before), new
        )

    def import_results(self, results: Sequence[tuple[int, Report]]) -> list[Outcome]:
        """Moves payments on by what a bank reports: (line number, report), all of them or none.

        What differs from the payment list becomes a break. Raises ResultsRefused, SamePerson where the one who
        approved a payment's window asks, RoleMissing, PersonUnknown.
        """
        done: list[Outcome] = []
        with self.connection.begin():
            tracked = self._tracked(report.payment_id for _, report in results)
            self._check_marker(tracked)
            for line, report in results:
                if report.payment_id not in tracked:
                    raise ResultsRefused(
                        line, "payment_id", f"{report.payment_id!r} is not on any payment list"
                    )
                self._refuse_amount(line, tracked[report.payment_id], report)
                try:
                    outcome = self._apply(tracked[report.payment_id], report, "")
                except PaymentOutOfOrder as fault:
                    raise ResultsRefused(line, "state", str(fault)) from fault
                tracked[report.payment_id] = outcome.tracked
                done.append(outcome)
        return done

    def settle(self, window_date: date, hub: Hub, verify: VerifySettled) -> SettledWindow | None:
        """Tells the hub that every payment of a window is final, and keeps its receipt. None where it is told.

        Raises StepOutOfOrder naming payments that are not final, ReceiptInvalid, and what the hub raises.
        """
        connection = self.connection
        with connection.begin():
            stored = load.load_window_at_least(
                self.connection, window_date, WindowState.EXPORTED, "export --payments"
            )
            if stored.state is WindowState.SETTLED:
                return None
            self.actor.check(connection, Act.SETTLE)
            listed = store.load_payments(connection, window_date=window_date)
            if not all_final(listed):
                waiting = [it.payment.payment_id for it in listed if it.state not in FINAL_STATES]
                raise StepOutOfOrder(
                    f"{window_date}: not settled, payments are not final: {', '.join(waiting)}"
                )
            certificate = load.load_certificate(connection, window_date)
            assert certificate is not None, "an exported window has one"
        receipt = hub.settle_window(window_date, certificate.document_sha256)
        settled = verify(receipt)
        if settled.window_date != window_date:
            raise ReceiptInvalid(f"the hub's receipt is for {settled.window_date}, not {window_date}")
        with connection.begin():
            store.save_settled(connection, window_date, receipt)
            self._record_window(Act.SETTLE, stored, {"state": WindowState.SETTLED.value})
        return settled

    def _apply(self, tracked: TrackedPayment, report: Report, reason: str) -> Outcome:
        connection = self.connection
        if report.reported is not PaymentState.RECEIVED:
            report = replace(report, amount_minor=0)
        if store.load_reported_amount(connection, report) is not None:
            return Outcome(tracked, None, repeated=True)
        after = after_report(tracked, report)
        person = self.actor.check(connection, Act.MARK_PAYMENT)
        store.save_report(connection, tracked, after, report, person.name, reason)
        found = discrepancy(tracked, report)
        if found:
            unit = micros_per_minor(self.ledger.minor_unit_digits)
            moment = ledger_moment(connection, self.actor.now())
            zone = ZoneInfo(self.ledger.time_zone)
            today = business_day(moment, self.ledger.cut_off_seconds, zone)
            save_payment_break(connection, tracked.payment, report, *found, unit, moment, today)
        content = {"reported": report.reported.value, "reference": report.reference}
        new = _content(after) | content | {"amount_minor": report.amount_minor}
        self.actor.do(
            connection, Act.MARK_PAYMENT, PAYMENT, report.payment_id, reason, _content(tracked), new
        )
        return Outcome(after, found[0] if found else None, repeated=False)

    def _refuse_amount(self, line: int, tracked: TrackedPayment, report: Report) -> None:
        if report.reported is not PaymentState.RECEIVED:
            if report.amount_minor not in (0, tracked.payment.amount_minor):
                raise ResultsRefused(line, "amount", "is not the amount on the payment list")
            return
        known = store.load_reported_amount(self.connection, report)
        if known is not None and known != report.amount_minor:
            raise ResultsRefused(line, "amount", f"reference {report.reference!r} came with another before")

    def _known(self, payment_id: str) -> TrackedPayment:
        tracked = self._tracked([payment_id]).get(payment_id)
        if tracked is None:
            raise PaymentUnknown(f"{payment_id}: no such payment; `payments` lists them")
        return tracked

    def _check_marker(self, payment_ids: Iterable[str]) -> None:
        """Whoever approved what is to be paid does not say that it was."""
        person = self.actor.check(self.connection, Act.MARK_PAYMENT)
        for payment_id, approved_by in store.load_approvers(self.connection, payment_ids).items():
            refuse_same_person(approved_by, person.name, f"{payment_id}: approve the window and mark")

    def _tracked(self, payment_ids: Iterable[str]) -> dict[str, TrackedPayment]:
        listed = store.load_payments(self.connection, payment_ids=set(payment_ids))
        return {tracked.payment.payment_id: tracked for tracked in listed}

    def _record_window(self, act: Act, stored: StoredWindow, after: dict[str, object]) -> None:
        before = {"state": stored.state.value}
        self.actor.do(self.connection, act, WINDOW, str(stored.window.window_date), "", before, after)


def _content(tracked: TrackedPayment) -> dict[str, object]:
    return {
        "state": tracked.state.value,
        "attempt": tracked.attempt,
        "moved_minor": tracked.moved_minor,
        "borne_by": tracked.borne_by,
    }
