"""Partners' files compared with the journal, and every difference named. Each function works in its caller's
transaction, so that a comparison that fails leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from settlement.core.business_day import business_day, window_end
from settlement.core.findings import Cleared, ControlSet, Found, Surroundings
from settlement.core.matching import Rules
from settlement.core.reconcile import classify
from settlement.core.roles import Act
from settlement.core.run_state import StepOutOfOrder, WindowState
from settlement.core.window import Ledger
from settlement.partner_files import Declared, nobody_sees, take_in
from settlement.people import Actor
from settlement.profiles import Profile, rules_of, stored_profile
from settlement.store import intake
from settlement.store.break_rows import Run, save_run
from settlement.store.desk import ledger_moment
from settlement.store.feed import read_window
from settlement.store.intake import FileRow
from settlement.store.load import load_window
from settlement.store.pairing import Side, pair
from settlement.store.reconciliation_reads import (
    read_around,
    read_carried,
    read_leftover_entries,
    read_leftover_lines,
    read_party_number,
    read_records,
)
from settlement.store.window_locks import hold_window


class TooManyDifferences(Exception):
    """So little fits that the file is another's or another day's; nothing was classified."""


class ReconciliationDiffers(Exception):
    """Of a certified window, the comparison now comes out otherwise than it was certified."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a comparison found. `reconciliation_id` is None where nothing was kept."""

    window_date: date
    partner_id: str
    file: FileRow
    controls: ControlSet
    matched_count: int
    found: tuple[Found, ...]
    cleared: tuple[Cleared, ...]
    reconciliation_id: int | None


def reconcile(
    connection: Connection,
    ledger: Ledger,
    actor: Actor,
    file: FileRow,
    profile: Profile | None = None,
) -> Outcome:
    """Compares an accepted file with the journal of its day, and keeps what came out.

    Of a certified window nothing is written: what comes out has to be what was certified.
    Raises StepOutOfOrder, TooManyDifferences, ReconciliationDiffers, RoleMissing, PersonUnknown.
    """
    actor.check(connection, Act.RECONCILE)
    intake.lock_partner(connection, file.partner_id)
    hold_window(connection, file.business_date)
    used = profile or stored_profile(connection, file.partner_id, file.business_date)
    outcome, side, rules = _compare(connection, ledger, file, used)
    window = load_window(connection, file.business_date)
    if window and window.state.reached(WindowState.CERTIFIED):
        _compare_with_certified(connection, outcome)
        return outcome
    moment = ledger_moment(connection, actor.now())
    run = Run(
        side=side,
        profile_version=used.version,
        rules=asdict(rules) | {"compared": list(rules.compared)},
        controls=outcome.controls,
        matched_count=outcome.matched_count,
        moment=moment,
        today=business_day(moment, ledger.cut_off_seconds, ZoneInfo(ledger.time_zone)),
    )
    saved = save_run(connection, run, outcome.found, outcome.cleared)
    item = f"{file.partner_id}/{file.business_date}"
    after = {
        "reconciliation_id": saved.reconciliation_id,
        "file_id": file.file_id,
        "break_count": len(outcome.found),
        "unexplained": asdict(outcome.controls.unexplained),
    }
    actor.do(connection, Act.RECONCILE, "reconciliation", item, "", None, after)
    program = actor if actor.unattended else Actor(None, unattended=True, now=actor.now)
    for moved in saved.moves:  # the program's own deeds, whoever had it reconcile
        program.do(connection, moved.act, "reconciliation", item, moved.words, moved.before, moved.after)
    return replace(outcome, reconciliation_id=saved.reconciliation_id)


def _compare(
    connection: Connection, ledger: Ledger, file: FileRow, profile: Profile
) -> tuple[Outcome, Side, Rules]:
    day = file.business_date
    if read_window(connection, day) is None:
        raise StepOutOfOrder(f"{day}: the window is still open; run `close --date {day}` first")
    party = read_party_number(connection, file.partner_id)
    assert party is not None, "a file is accepted of the hub's partners only"
    side = Side(file.file_id, file.partner_id, party, day)
    rules = rules_of(profile.rules, ledger)
    paired = pair(connection, side, rules)
    if paired.unequal_count > rules.break_limit:
        raise TooManyDifferences(
            f"{file.partner_id}: {paired.unequal_count:,} of its lines and the hub's entries of {day} do not fit,"
            f" more than {rules.break_limit:,}; is it the right file?"
        )
    lines = read_leftover_lines(connection, side)
    entries = read_leftover_entries(connection, side, lines)
    zone = ZoneInfo(ledger.time_zone)
    ids = {entry.request_id for entry in entries}
    keys = {entry.key for entry in entries}
    alone = [line for line in lines if line.request_id not in ids and line.key not in keys]
    around = read_around(connection, side, alone, entries)
    surroundings = Surroundings(
        window_date=day,
        begin_time=window_end(day - timedelta(days=1), ledger.cut_off_seconds, zone),
        end_time=window_end(day, ledger.cut_off_seconds, zone),
        elsewhere=around.elsewhere,
        originals=around.originals,
        twins=around.twins,
        carried=read_carried(connection, side),
    )
    named = classify(lines, entries, surroundings, rules)
    controls = ControlSet(file.controls, paired.hub, named.controls)
    matched_count = paired.equal_count + named.matched_count
    outcome = Outcome(day, file.partner_id, file, controls, matched_count, named.found, named.cleared, None)
    return outcome, side, rules


def _compare_with_certified(connection: Connection, outcome: Outcome) -> None:
    records = read_records(connection, outcome.window_date).reconciled
    kept = next((one for one in records if one.partner_id == outcome.partner_id), None)
    if kept is None:
        raise StepOutOfOrder(
            f"{outcome.window_date}: certified without {outcome.partner_id}; abort its run to reconcile it"
        )
    if kept.controls != outcome.controls:
        raise ReconciliationDiffers(
            f"{outcome.window_date}: {outcome.partner_id} reconciled again, its controls come out otherwise"
        )


def dry_run(
    connection: Connection,
    ledger: Ledger,
    actor: Actor,
    declared: Declared,
    pieces: Iterable[bytes],
    seen: Callable[[int], None] = nobody_sees,
) -> tuple[FileRow, Outcome | None]:
    """What loading and reconciling this file would say; nothing of it is kept.

    The outcome is None while the day's window is open. Raises as `load_file` and `reconcile` do.
    """
    actor.check(connection, Act.LOAD_FILE, declared.partner_id)
    used = declared.profile or stored_profile(connection, declared.partner_id, declared.business_date)
    savepoint = connection.begin_nested()
    try:
        row, _ = take_in(connection, ledger, declared, used, pieces, seen)
        if read_window(connection, declared.business_date) is None:
            return row, None
        return row, _compare(connection, ledger, row, used)[0]
    finally:
        if savepoint.is_active:
            savepoint.rollback()
