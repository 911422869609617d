"""The desk's commands: breaks, break, dispute, audit."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from settlement.command_line import desk_screen as view
from settlement.command_line.session import Misconfigured, NotThere, Session, open_person, open_snapshot
from settlement.core.break_state import AGES, OLDEST, BreakState, Resolution
from settlement.core.business_day import business_day
from settlement.core.window import Ledger
from settlement.desk import MAX_EVIDENCE_BYTES, Desk, Evidence
from settlement.people import Actor
from settlement.store import audit as audit_log
from settlement.store import desk as store
from settlement.store import feed
from settlement.store.engine import open_engine

_MAX_LISTED: Final = 100_000


@dataclass(frozen=True, slots=True)
class _Moment:
    """Now on the ledger's clock, the business day of it, and the ledger."""

    ledger: Ledger
    now: datetime
    today: date


def breaks(session: Session, arguments: argparse.Namespace) -> None:
    """Lists breaks."""
    with open_snapshot(session.settings) as connection:
        at = _moment(connection)
        found = store.list_breaks(
            connection, _wanted(arguments, at), min(arguments.limit, _MAX_LISTED), arguments.after
        )
    contents = [view.break_content(one, at.now, at.today) for one in found]
    content = {"as_of": at.now.isoformat(), "breaks": contents}
    session.show(
        content,
        lambda: view.breaks_view(contents, at.ledger.minor_unit_digits, at.ledger.currency_code),
    )


def _wanted(arguments: argparse.Namespace, at: _Moment) -> store.BreakFilter:
    first, last = _opened_between(arguments.age, at.today)
    return store.BreakFilter(
        partner_id=arguments.partner,
        window_date=arguments.date,
        state=BreakState(arguments.state) if arguments.state else None,
        type=arguments.type.upper().replace("-", "_") if arguments.type else None,
        overdue_at=at.now if arguments.overdue else None,
        unresolved=not (arguments.all or arguments.state),
        first_opened=first,
        last_opened=last,
    )


def _opened_between(bucket: str | None, today: date) -> tuple[date | None, date | None]:
    """The days on which breaks of an age were found."""
    if bucket is None:
        return None, None
    ends = [last for _, last in AGES]
    if bucket == OLDEST:
        return None, today - timedelta(days=ends[-1] + 1)
    index = [name for name, _ in AGES].index(bucket)
    youngest = ends[index - 1] + 1 if index else 0
    return today - timedelta(days=ends[index]), (today - timedelta(days=youngest) if index else None)


def show(session: Session, arguments: argparse.Namespace) -> None:
    """Shows all that is known about a break, or writes a file of its evidence."""
    with open_snapshot(session.settings) as connection:
        found = store.load_break(connection, arguments.number)
        if found is None:
            raise NotThere(f"there is no break {arguments.number}")
        if arguments.evidence or arguments.out:
            _write_evidence(connection, session, arguments)
            return
        at = _moment(connection)
        events = store.load_events(connection, found.break_id)
        proposals = store.load_resolutions(connection, found.break_id)
        disputes = store.load_disputes(connection, found.break_id)
        deeds = audit_log.read_audit(connection, item_kind="break", item_id=str(found.break_id))
    receipts = [deed.after["receipt"] for deed in deeds if deed.after and "receipt" in deed.after]
    content = view.break_content(found, at.now, at.today)
    lists = {
        "events": [view.plain(asdict(one)) for one in events],
        "resolutions": [view.plain(asdict(one)) for one in proposals],
        "disputes": [view.plain(asdict(one)) for one in disputes],
        "hub_receipts": receipts,
    }
    session.show(content | lists, lambda: view.break_view(content, events, proposals, disputes, receipts))


def _write_evidence(connection: Connection, session: Session, arguments: argparse.Namespace) -> None:
    if not (arguments.evidence and arguments.out):
        raise Misconfigured("--evidence and --out go together")
    kept = store.load_evidence(connection, arguments.number, arguments.evidence)
    if kept is None:
        raise NotThere(f"break {arguments.number} has no evidence {arguments.evidence}")
    name, content = kept
    with Path(arguments.out).open("xb") as file:  # never over another file
        file.write(content)
    written = {"file_name": name, "byte_count": len(content), "written_to": arguments.out}
    session.show(written, lambda: f"{name}: {len(content):,} bytes written to {arguments.out}")


def assign(session: Session, arguments: argparse.Namespace) -> None:
    """Makes somebody the owner of a break."""
    acted(session, lambda desk: desk.assign(arguments.number, arguments.person))


def comment(session: Session, arguments: argparse.Namespace) -> None:
    """Says something about a break."""
    evidence = _evidence(arguments)
    acted(session, lambda desk: desk.comment(arguments.number, arguments.text, evidence))


def resolve(session: Session, arguments: argparse.Namespace) -> None:
    """Proposes how to resolve a break without a posting."""
    kind = Resolution(arguments.kind.upper().replace("-", "_"))

    def act(desk: Desk) -> store.Break | None:
        desk.propose(arguments.number, kind, arguments.reason)
        return store.load_break(desk.connection, arguments.number)

    acted(session, act)


def reopen(session: Session, arguments: argparse.Namespace) -> None:
    """Opens a resolved break again."""
    acted(session, lambda desk: desk.reopen(arguments.number, arguments.reason))


def list_disputes(session: Session, arguments: argparse.Namespace) -> None:
    """Lists disputes."""
    with open_snapshot(session.settings) as connection:
        found = store.list_disputes(connection, arguments.state)
    _tell_disputes(session, found)


def open_dispute(session: Session, arguments: argparse.Namespace) -> None:
    """Claims that another partner has to bear a break."""
    evidence, deadline = _evidence(arguments), timedelta(days=arguments.days)
    with at_desk(session) as desk:
        made = desk.open_dispute(
            arguments.number, arguments.against, arguments.claim, deadline, evidence, arguments.by
        )
    _tell_disputes(session, [made])


def answer_dispute(session: Session, arguments: argparse.Namespace) -> None:
    """Answers a claim for the other partner."""
    evidence = _evidence(arguments)
    with at_desk(session) as desk:
        answered = desk.answer_dispute(arguments.number, arguments.text, evidence)
    _tell_disputes(session, [answered])


def decide_dispute(session: Session, arguments: argparse.Namespace) -> None:
    """Decides between two partners."""
    with at_desk(session) as desk:
        decided = desk.decide_dispute(arguments.number, arguments.in_favour_of, arguments.decision)
    _tell_disputes(session, [decided])


def _tell_disputes(session: Session, found: list[store.Dispute]) -> None:
    content = {"disputes": [view.plain(asdict(one)) for one in found]}
    session.show(content, lambda: view.disputes_view(found))


@contextmanager
def at_desk(session: Session) -> Iterator[Desk]:
    """The person at the desk, in one transaction. What makes no sense is told as wrong usage."""
    engine = open_engine(session.settings.require("database_url"))
    try:
        actor: Actor = open_person(session.settings)
        with engine.begin() as connection:
            at = _moment(connection)
            yield Desk(connection, actor, at.now, at.today)
    except ValueError as malformed:
        raise Misconfigured(str(malformed)) from None
    finally:
        engine.dispose()


def acted(session: Session, act: Callable[[Desk], store.Break | None]) -> None:
    """Does one act in a transaction of its own, and shows what became of the break."""
    with at_desk(session) as desk:
        found = act(desk)
        assert found is not None, "locked by the act"
        at = _moment(desk.connection)
    content = view.break_content(found, at.now, at.today)
    state = found.resolution or found.state.value
    owner = f", owner {found.owner}" if found.owner else ""
    session.show(content, lambda: f"break {found.break_id} is {state}{owner}")


def _evidence(arguments: argparse.Namespace) -> Evidence | None:
    if not arguments.evidence:
        return None
    path = Path(arguments.evidence)
    with path.open("rb") as file:
        content = file.read(MAX_EVIDENCE_BYTES + 1)
    try:
        return Evidence(path.name, content)
    except ValueError as malformed:
        raise Misconfigured(str(malformed)) from None


def _moment(connection: Connection) -> _Moment:
    ledger = feed.read_ledger(connection)
    now = store.ledger_moment(connection, datetime.now(UTC))
    return _Moment(ledger, now, business_day(now, ledger.cut_off_seconds, ZoneInfo(ledger.time_zone)))
