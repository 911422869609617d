"""`tongdui-settle daily`: takes every step that is due, and stops where a person has to decide.

Every step is one that the commands take too, in its own transaction. So it can be killed anywhere and run again: what
was done is found done.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from settlement.command_line import screen
from settlement.command_line.daily_screen import daily_view
from settlement.command_line.inbox import NameUnknown, Waiting, waiting_files
from settlement.command_line.session import (
    Session,
    make_settled_verifier,
    make_verifier,
    open_daily_run,
    open_hub,
    own_key,
)
from settlement.core.break_state import BreakActRefused
from settlement.core.business_day import business_day
from settlement.core.day_plan import (
    DayFacts,
    Decision,
    Failure,
    Step,
    break_decisions,
    correction_decisions,
    day_decisions,
    dispute_decisions,
    next_step,
)
from settlement.core.mapping import ProfileInvalid
from settlement.core.partner_file import FileRefused
from settlement.core.roles import Role
from settlement.core.run_state import StepOutOfOrder
from settlement.daily_run import ChecksFailed, DailyRun, ResultDiffers, Verify
from settlement.desk import BreakUnknown, Desk
from settlement.partner_files import load_file
from settlement.payments import Payments, VerifySettled
from settlement.people import Actor
from settlement.reconciliation import ReconciliationDiffers, TooManyDifferences, reconcile
from settlement.rpc.hub_client import HubClient, HubRefused
from settlement.rpc.keys import PrivateKey
from settlement.store import day_facts, feed
from settlement.store.corrections import list_forgotten_corrections
from settlement.store.desk import ledger_moment
from settlement.store.intake import find_accepted
from settlement.store.load import load_last_window


class DecisionsDue(Exception):
    """Everything the program may do is done; people have to decide the rest."""


def _unseen(_text: str) -> None:
    """Nobody watches."""


@dataclass(slots=True)
class UnattendedDay:
    """What is done without anybody: steps on the one connection of a run.

    Attributes:
        run: acts as settlement itself, whoever's key file is named for other commands.
        tell: is told what is being done.
        done: each day's steps of this run, by day.
        files: what became of the files of the inbox.
        decisions: what people have to do.
    """

    run: DailyRun
    hub: HubClient
    signer: PrivateKey
    verify: Verify
    verify_settled: VerifySettled
    tell: Callable[[str], None] = _unseen
    done: dict[date, list[str]] = field(default_factory=dict)
    states: dict[date, str] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def take_in(self, inbox: Path) -> None:
        """Loads every file that waits. A refused one is somebody's to look at; the others go on."""
        for waiting in waiting_files(inbox):
            self.tell(f"loading {waiting.path.name}")
            content: dict[str, Any] = {"file": waiting.path.name}
            try:
                content |= self._load(waiting)
            except (NameUnknown, FileRefused, ProfileInvalid, OSError) as refused:
                content |= {"refused": str(refused)}
                what = f"{waiting.path.name}: {refused}"
                self.decisions.append(
                    Decision(None, Role.FINANCE_MAKER, what, "load FILE --partner ID --date DAY")
                )
            self.files.append(content)

    def _load(self, waiting: Waiting) -> dict[str, Any]:
        declared = waiting.declared()
        connection = self.run.connection
        with connection.begin():
            loaded = load_file(connection, self.run.ledger, self.run.actor, declared, waiting.pieces())
        return {
            "partner_id": declared.partner_id,
            "business_date": str(declared.business_date),
            "line_count": loaded.file.line_count,
            "is_repeat": loaded.is_repeat,
        }

    def close_through(self, last: date | None) -> date | None:
        """Closes every day the hub lets close, up to `last`. Gives the first day up to `last` that is still open."""
        day = self._next_to_close(last)
        while last is None or day <= last:
            self.tell(f"{day} close")
            try:
                self.run.close(day, self.hub, self.verify)
            except HubRefused as refusal:
                if refusal.reason == "WINDOW_STILL_OPEN":
                    return day if last else None
                # Before anything is settled only the hub knows where its ledger began; asked for another day it tells.
                begin = refusal.metadata.get("next_window_date", "")
                if refusal.reason != "WINDOW_OUT_OF_ORDER" or begin in ("", str(day)) or self._holds_any():
                    raise
                day = date.fromisoformat(begin)
                continue
            self.done.setdefault(day, []).append(Step.CLOSE.value)
            day += timedelta(days=1)
        return None

    def _holds_any(self) -> bool:
        with self.run.connection.begin():
            return load_last_window(self.run.connection) is not None

    def _next_to_close(self, last: date | None) -> date:
        connection = self.run.connection
        with connection.begin():
            newest = load_last_window(connection)
            if newest:
                return newest.window.window_date + timedelta(days=1)
            known = (feed.read_first_window_date(connection), feed.read_first_posted_date(connection))
            first = min((day for day in known if day), default=None)
            ledger = self.run.ledger
            today = business_day(datetime.now(UTC), ledger.cut_off_seconds, ZoneInfo(ledger.time_zone))
            return first or last or today

    def settle_all(self, last: date | None, only: date | None) -> None:
        """Takes every step that is due for the days that are not settled, in their order."""
        with self.run.connection.begin():
            pending = day_facts.read_unsettled_days(self.run.connection)
        for day in pending:
            if (last is None or day <= last) and only in (None, day):
                facts = self._advance(day)
                self.states[day] = facts.state.value if facts.state else ""
                self.decisions += day_decisions(facts)

    def _advance(self, day: date) -> DayFacts:
        facts = self._facts(day)
        while step := next_step(facts):
            self.tell(f"{day} {step.value}")
            failures = self._take(step, day)
            if not failures:
                self.done.setdefault(day, []).append(step.value)
            facts = replace(self._facts(day), failures=failures)
        return facts

    def _facts(self, day: date) -> DayFacts:
        with self.run.connection.begin():
            return day_facts.read_day_facts(self.run.connection, day)

    def _take(self, step: Step, day: date) -> tuple[Failure, ...]:
        try:
            match step:
                case Step.CLOSE:
                    self.run.close(day, self.hub, self.verify)
                case Step.NET:
                    self.run.net(day)
                case Step.RECONCILE:
                    return self._reconcile(day)
                case Step.CERTIFY:
                    self.run.certify(day, self.signer, self.verify)
                case Step.AUDIT_JOURNAL:
                    self.run.audit_journal(day, lambda count: self.tell(f"{day} {step.value} {count:,}"))
                case Step.EXPORT:
                    self._payments().export(day)
                case Step.SETTLE:
                    self._payments().settle(day, self.hub, self.verify_settled)
        except (ChecksFailed, ResultDiffers) as fault:
            return (Failure(step, str(fault)),)
        return ()

    def _reconcile(self, day: date) -> tuple[Failure, ...]:
        connection, failures = self.run.connection, []
        with connection.begin():
            partners = day_facts.read_unread_partners(connection, day)
        for partner_id in partners:
            try:
                with connection.begin():
                    file = find_accepted(connection, partner_id, day)
                    assert file is not None, "read as loaded by the run that alone is at work"
                    reconcile(connection, self.run.ledger, self.run.actor, file)
            except (TooManyDifferences, ReconciliationDiffers) as fault:
                failures.append(Failure(Step.RECONCILE, str(fault)))
        return tuple(failures)

    def _payments(self) -> Payments:
        return Payments(self.run.connection, self.run.ledger, self.run.actor)

    def look_at_breaks(self) -> None:
        """Expires disputes nobody answered, and lists what waits at the desk."""
        connection, ledger = self.run.connection, self.run.ledger
        with connection.begin():
            now = ledger_moment(connection, datetime.now(UTC))
            today = business_day(now, ledger.cut_off_seconds, ZoneInfo(ledger.time_zone))
            late = Desk(connection, self.run.actor, now, today).late_disputes()
        for dispute_id in late:
            self._expire(dispute_id, now, today)
        with connection.begin():
            self.decisions += break_decisions(*day_facts.read_waiting_breaks(connection, now))
            self.decisions += dispute_decisions(day_facts.read_waiting_disputes(connection))
            self.decisions += correction_decisions(list_forgotten_corrections(connection))

    def _expire(self, dispute_id: int, now: datetime, today: date) -> None:
        connection = self.run.connection
        try:
            with connection.begin():
                Desk(connection, self.run.actor, now, today).expire_dispute(dispute_id)
        except (BreakActRefused, BreakUnknown) as refused:
            what = f"dispute {dispute_id} could not expire: {refused}"
            self.decisions.append(Decision(None, Role.FINANCE_CHECKER, what, "dispute list"))


def daily(session: Session, arguments: argparse.Namespace) -> None:
    """Does everything that is due. Raises DecisionsDue where people have to decide."""
    settings = session.settings
    signer, verify, settled = own_key(settings), make_verifier(settings), make_settled_verifier(settings)
    last = arguments.date or arguments.through
    with open_daily_run(settings) as run, open_hub(settings) as hub, _telling(session) as tell:
        itself = replace(run, actor=Actor(signer, unattended=True))
        day = UnattendedDay(itself, hub, signer, verify, settled, tell)
        if arguments.inbox:
            day.take_in(Path(arguments.inbox))
        open_from = day.close_through(last)
        day.settle_all(last, arguments.date)
        day.look_at_breaks()
    content = _content(day, open_from)
    session.show(content, lambda: daily_view(content))
    if day.decisions:
        count = len(day.decisions)
        raise DecisionsDue(f"{count} decision{'s' if count > 1 else ''} to be made by people, see the list")
    if open_from:
        raise StepOutOfOrder(f"{open_from}: the window is still open")


@contextmanager
def _telling(session: Session) -> Iterator[Callable[[str], None]]:
    """Shows what is being done on a terminal."""
    errors = screen.make_console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    quiet = session.as_json or not errors.is_terminal
    with Progress(*columns, console=errors, disable=quiet, transient=True) as progress:
        task = progress.add_task("daily", total=None)
        yield lambda text: progress.update(task, description=text)


def _content(day: UnattendedDay, open_from: date | None) -> dict[str, Any]:
    concerned = sorted({*day.done, *day.states})
    return {
        "days": [
            {
                "window_date": str(one),
                "state": day.states.get(one, "CLOSED"),
                "steps": day.done.get(one, []),
            }
            for one in concerned
        ],
        "files": day.files,
        "open_from": str(open_from) if open_from else None,
        "decisions": [
            {
                "window_date": str(one.window_date) if one.window_date else None,
                "role": one.role.value,
                "what": one.what,
                "command": f"tongdui-settle {one.command}",
            }
            for one in day.decisions
        ],
    }
