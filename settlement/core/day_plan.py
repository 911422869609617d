"""The unattended day: which step is next for a window, and what waits for a person instead.

Pure. `tongdui-settle daily` reads the facts of each day, takes the steps that are due, and stops where only a person
may go on; the list of what they have to do is made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Final

from settlement.core.break_state import Severity
from settlement.core.roles import Role
from settlement.core.run_state import WindowState


class Step(Enum):
    """What the program does by itself. Each commits and can be repeated."""

    CLOSE = "close"
    NET = "net"
    RECONCILE = "reconcile"
    CERTIFY = "certify"
    AUDIT_JOURNAL = "audit-journal"
    EXPORT = "export"
    SETTLE = "settle"


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that was tried just now and did not succeed, with what it said."""

    step: Step
    fault: str


@dataclass(frozen=True, slots=True)
class DayFacts:
    """What is known of one day.

    Attributes:
        state: how far the window has come; None while settlement holds nothing of it.
        missing_files: partners whose file is expected and not there; waived ones are not among them.
        unread_files: whether a file is there that no reconciliation has read, or that has to be read again.
        unexplained: partners whose differences no break accounts for.
        open_waivers: partners for whom one person proposed to do without; another has to agree.
        journal_holds: whether the journal hashes to what the hub signed; None while that is not checked.
        earlier_certified: whether every window before it is certified.
        payments_to_confirm: how many payments are not final.
        proposed_defaults: those of them that one person says the debtor does not pay; another has to agree.
        failures: the steps that were tried and failed; the day does not go on before somebody has looked.
    """

    window_date: date
    state: WindowState | None
    missing_files: tuple[str, ...] = ()
    unread_files: bool = False
    unexplained: tuple[str, ...] = ()
    open_waivers: tuple[str, ...] = ()
    journal_holds: bool | None = None
    earlier_certified: bool = True
    payments_to_confirm: int = 0
    proposed_defaults: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def explained(self) -> bool:
        """Whether nothing of its reconciliation is in a certificate's way."""
        return not (self.missing_files or self.unexplained or self.open_waivers)


@dataclass(frozen=True, slots=True)
class Decision:
    """Something only a person may do: when it is about a day which, in which role, what, and the command for it."""

    window_date: date | None
    role: Role
    what: str
    command: str


@dataclass(frozen=True, slots=True)
class BreakFacts:
    """A break somebody has to look at now."""

    break_id: int
    partner_id: str
    type: str
    severity: str
    is_overdue: bool
    is_pending: bool

    @property
    def is_critical(self) -> bool:
        """Whether it is of the highest severity."""
        return self.severity == Severity.CRITICAL.label


@dataclass(frozen=True, slots=True)
class DisputeFacts:
    """A dispute that both have spoken in, or whose deadline has passed."""

    dispute_id: int
    opened_by: str
    against: str


@dataclass(frozen=True, slots=True)
class CorrectionFacts:
    """A correction of a break that can still be posted at the hub, though nobody proposes it at the desk."""

    adjustment_id: int
    break_id: int
    partner_id: str


MAX_BREAKS: Final = 20
"""How many breaks are listed one by one; the others are counted."""


def next_step(day: DayFacts) -> Step | None:
    """What is to be done next for a day; None where a person comes first, an earlier day does, or all is done."""
    if day.failures:
        return None
    match day.state:
        case None:
            return Step.CLOSE
        case WindowState.CLOSED:
            return Step.NET
        case WindowState.COMPUTED:
            if day.unread_files:
                return Step.RECONCILE
            ready = day.explained and day.earlier_certified
            return Step.CERTIFY if ready else None
        case WindowState.CERTIFIED:
            return Step.AUDIT_JOURNAL if day.journal_holds is None else None
        case WindowState.APPROVED:
            return Step.EXPORT
        case WindowState.EXPORTED:
            return None if day.payments_to_confirm else Step.SETTLE
        case WindowState.SETTLED:
            return None


def day_decisions(day: DayFacts) -> tuple[Decision, ...]:
    """What people have to do about a day before it can go on."""
    return tuple(Decision(day.window_date, *rest) for rest in _day_decisions(day))


def _day_decisions(day: DayFacts) -> Iterator[tuple[Role, str, str]]:
    date_option = f"--date {day.window_date}"
    for failure in day.failures:
        yield Role.FINANCE_MAKER, failure.fault, f"{failure.step.value} {date_option}"
    if day.state is WindowState.COMPUTED:
        yield from _computed(day, date_option)
    if day.state is WindowState.CERTIFIED and day.journal_holds is False:
        yield Role.OPERATOR, "the journal is not what the hub signed", f"audit-journal {date_option}"
    elif day.state is WindowState.CERTIFIED and day.journal_holds:
        yield Role.FINANCE_CHECKER, "the certificate waits for approval", f"approve {date_option}"
    if day.state is WindowState.EXPORTED:
        yield from _exported(day, date_option)


def _computed(day: DayFacts, date_option: str) -> Iterator[tuple[Role, str, str]]:
    for partner_id in day.missing_files:
        command = f"load FILE --partner {partner_id} {date_option}"
        yield Role.FINANCE_MAKER, f"the file of {partner_id} is missing", command
    for partner_id in day.unexplained:
        command = f"reconcile {date_option} --partner {partner_id}"
        yield Role.FINANCE_MAKER, f"differences of {partner_id} are not explained", command
    for partner_id in day.open_waivers:
        what = f"doing without {partner_id} was proposed and waits for approval"
        yield Role.FINANCE_CHECKER, what, f"waive {date_option} --partner {partner_id} --approve"


def _exported(day: DayFacts, date_option: str) -> Iterator[tuple[Role, str, str]]:
    for payment_id in day.proposed_defaults:
        what = f"the default of {payment_id} was proposed and waits for approval"
        yield Role.FINANCE_CHECKER, what, f"payment default {payment_id}"
    count = day.payments_to_confirm - len(day.proposed_defaults)
    if count:
        what = f"{count:,} payment{'s' if count > 1 else ''} to send or confirm"
        yield Role.FINANCE_MAKER, what, f"payments {date_option}"


def break_decisions(found: Iterable[BreakFacts], count: int) -> tuple[Decision, ...]:
    """What people have to do about breaks: agree with a proposal, or look at what is overdue or critical.

    `found` are the first of `count`.
    """
    shown = [_break_decision(one) for one in list(found)[:MAX_BREAKS]]
    if count > len(shown):
        what = f"{count - len(shown):,} more breaks wait, are overdue or critical"
        shown.append(Decision(None, Role.FINANCE_MAKER, what, "breaks"))
    return tuple(shown)


def _break_decision(one: BreakFacts) -> Decision:
    name = f"break {one.break_id} of {one.partner_id}, {one.type}"
    if one.is_pending:
        what = f"{name}: a resolution waits for approval"
        return Decision(None, Role.FINANCE_CHECKER, what, f"break approve {one.break_id}")
    urgent = " and ".join(
        word
        for word, holds in (("overdue", one.is_overdue), (one.severity.lower(), one.is_critical))
        if holds
    )
    return Decision(None, Role.FINANCE_MAKER, f"{name}: {urgent}", f"break show {one.break_id}")


def correction_decisions(found: Iterable[CorrectionFacts]) -> tuple[Decision, ...]:
    """Corrections that somebody might post at the hub by mistake."""
    return tuple(
        Decision(
            None,
            Role.FINANCE_CHECKER,
            f"adjustment {one.adjustment_id} of break {one.break_id} of {one.partner_id} can still be posted at the"
            " hub, though nobody proposes it any more",
            f"break withdraw {one.break_id} --reason TEXT",
        )
        for one in found
    )


def dispute_decisions(found: Iterable[DisputeFacts]) -> tuple[Decision, ...]:
    """Disputes that wait for a decision."""
    return tuple(
        Decision(
            None,
            Role.FINANCE_CHECKER,
            f"dispute {one.dispute_id} of {one.opened_by} against {one.against} waits for a decision",
            f"dispute decide {one.dispute_id} --for PARTNER --decision TEXT",
        )
        for one in found
    )
