"""Partners' files in, compared with the journal, and every difference named. Each function works in its caller's
transaction, so that a file that is refused and a comparison that fails leave nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, insert, select, update

from settlement.core.amounts import micros_per_minor
from settlement.core.business_day import window_end
from settlement.core.file_readers import CsvReader, JsonlReader, Reader
from settlement.core.mapping import MappedReader, ProfileInvalid, mapping_content, read_mapping
from settlement.core.matching import Rules, read_rules
from settlement.core.partner_file import Expected, FileFormat, FileRefused, control_total
from settlement.core.reconcile import Cleared, ControlSet, Found, Surroundings, classify
from settlement.core.roles import Act
from settlement.core.run_state import StepOutOfOrder, WindowState
from settlement.core.window import Ledger
from settlement.people import Actor, refuse_same_person
from settlement.store import intake, profiles
from settlement.store.break_rows import Run, save_run
from settlement.store.desk import ledger_moment
from settlement.store.feed import read_window
from settlement.store.intake import FileRow
from settlement.store.load import (
    hold_window,
    hold_windows_from,
    load_last_certified_date,
    load_last_window,
    load_window,
)
from settlement.store.pairing import Side, pair
from settlement.store.profiles import ProfileRow
from settlement.store.reconciliation_reads import (
    read_around,
    read_carried,
    read_leftover_entries,
    read_leftover_lines,
    read_party_number,
    read_records,
)
from settlement.store.reconciliation_tables import CONTROLS, waivers

BYTE_LIMIT: Final = 512 * 1024 * 1024
"""A file may have so many bytes unless it is told otherwise."""


class TooManyDifferences(Exception):
    """So little fits that the file is another's or another day's; nothing was classified."""


class ReconciliationDiffers(Exception):
    """Of a certified window, the comparison now comes out otherwise than it was certified."""


class WaiverRefused(Exception):
    """A waiver that makes no sense; `str()` names the field."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What a file is said to be by who brings it.

    Attributes:
        sha256: hex; empty where it is not known beforehand.
        control: the control record of a mapped file, a JSON object.
        profile: what reads a mapped file and compares, where it is not the stored one.
        once: whether a file whose place another took is answered as a repeat too, and not taken in again.
    """

    partner_id: str
    business_date: date
    format: FileFormat = FileFormat.CSV
    sha256: str = ""
    control: bytes = b""
    byte_limit: int = BYTE_LIMIT
    profile: Profile | None = None
    once: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """A partner's profile: as JSON, checked. `version` is None where it is not stored."""

    mapping: Mapping[str, Any] | None
    rules: Mapping[str, Any]
    file_expected: bool
    version: int | None = None


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file that is accepted. `is_repeat`: it was before. `superseded`: the file whose place it took."""

    file: FileRow
    is_repeat: bool
    superseded: FileRow | None


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


def _unseen(_byte_count: int) -> None:
    """Nobody watches."""


def load_file(
    connection: Connection,
    ledger: Ledger,
    actor: Actor,
    declared: Declared,
    pieces: Iterable[bytes],
    evidence: Mapping[str, Any] | None = None,
    seen: Callable[[int], None] = _unseen,
) -> LoadedFile:
    """Takes a partner's file in: all of it or nothing. The file that counts, again, is answered as the first time.

    A file whose place another took, or that another version of the profile read, is taken in again.
    `evidence` is what proves where it came from (a signed call); `seen` is told of bytes as they are stored.
    Raises FileRefused, ProfileInvalid, RoleMissing, PersonUnknown.
    """
    person = actor.check(connection, Act.LOAD_FILE, declared.partner_id)
    profile = declared.profile or stored_profile(connection, declared.partner_id, declared.business_date)
    known = _known(connection, declared, profile, declared.sha256) if declared.sha256 else None
    if known:
        return LoadedFile(known, is_repeat=True, superseded=None)
    savepoint = connection.begin_nested()
    try:
        row, values = _take_in(connection, ledger, declared, profile, pieces, seen)
        intake.lock_partner(connection, declared.partner_id)
        known = _known(connection, declared, profile, row.sha256)
        if known:
            savepoint.rollback()
            return LoadedFile(known, is_repeat=True, superseded=None)
        before = _make_room(connection, declared)
        origin = {"received_from": person.name, "key_id": person.key_id, "evidence": evidence}
        intake.save_file(connection, values | origin | {"received_time": func.clock_timestamp()})
    except BaseException:
        if savepoint.is_active:
            savepoint.rollback()
        raise
    savepoint.commit()
    item = f"{row.partner_id}/{row.business_date}"
    actor.do(
        connection,
        Act.LOAD_FILE,
        "partner_file",
        item,
        "",
        _file_content(before) if before else None,
        _file_content(row),
        row.partner_id,
    )
    return LoadedFile(row, is_repeat=False, superseded=before)


def _file_content(row: FileRow) -> dict[str, object]:
    return {
        "file_id": row.file_id,
        "sha256": row.sha256,
        "line_count": row.line_count,
        **asdict(row.controls),
    }


def _known(connection: Connection, declared: Declared, profile: Profile, sha256: str) -> FileRow | None:
    states = ("ACCEPTED", "SUPERSEDED") if declared.once else ("ACCEPTED",)
    version = _version_read_by(declared, profile)
    return intake.find_file(connection, declared.partner_id, declared.business_date, sha256, version, states)


def _version_read_by(declared: Declared, profile: Profile) -> int | None:
    """Only a mapped file is read by a profile."""
    return profile.version if declared.format is FileFormat.MAPPED else None


def _take_in(
    connection: Connection,
    ledger: Ledger,
    declared: Declared,
    profile: Profile,
    pieces: Iterable[bytes],
    seen: Callable[[int], None],
) -> tuple[FileRow, dict[str, Any]]:
    """Stores lines and bytes, and holds the totals against the header's. Raises FileRefused."""
    if not profiles.partner_known(connection, declared.partner_id):
        raise FileRefused(f"the hub has no partner {declared.partner_id[:64]!r}", field="partner_id")
    file_id = intake.next_file_id(connection)
    expected = Expected(
        declared.partner_id, declared.business_date, ledger.currency_code, ledger.minor_unit_digits
    )
    reader = _reader(file_id, expected, declared, profile)
    byte_count = intake.copy_file(connection, file_id, reader, pieces, declared.byte_limit, seen)
    header = reader.header
    assert header is not None, "a reader that finished has one"
    found = intake.read_file_controls(connection, file_id)
    for control in CONTROLS:
        stated, counted = getattr(header.controls, control), getattr(found, control)
        if stated != counted:
            raise control_total(control.removesuffix("_micros"), stated, counted, 1)
    sha256 = reader.sha256.hexdigest()
    if declared.sha256 and declared.sha256 != sha256:
        raise control_total("sha256", declared.sha256[:64], sha256, 0)
    row = FileRow(
        file_id,
        declared.partner_id,
        declared.business_date,
        sha256,
        declared.format.value,
        header.unit.value,
        reader.deal_count,
        found,
        "ACCEPTED",
    )
    values = {name: getattr(row, name) for name in FileRow.__slots__ if name != "controls"}
    version = _version_read_by(declared, profile)
    return row, values | asdict(found) | {"byte_count": byte_count, "profile_version": version}


def _reader(file_id: int, expected: Expected, declared: Declared, profile: Profile) -> Reader:
    if declared.format is FileFormat.CSV:
        return CsvReader(file_id, expected)
    if declared.format is FileFormat.JSONL:
        return JsonlReader(file_id, expected)
    if profile.mapping is None:
        raise ProfileInvalid(f"{declared.partner_id} has no column mapping; set a profile with one")
    return MappedReader(file_id, expected, read_mapping(profile.mapping), declared.control)


def _make_room(connection: Connection, declared: Declared) -> FileRow | None:
    """A certified day's files stand; before that the newest file counts."""
    hold_window(connection, declared.business_date)
    window = load_window(connection, declared.business_date)
    if window and window.state.reached(WindowState.CERTIFIED):
        raise FileRefused(
            f"the window of {declared.business_date} is {window.state.value}, its files stand",
            reason="WINDOW_CERTIFIED",
        )
    before = intake.find_accepted(connection, declared.partner_id, declared.business_date)
    if before:
        intake.supersede(connection, before.file_id)
    return before


def stored_profile(connection: Connection, partner_id: str, day: date) -> Profile:
    """The profile in force on a day; where none is, one that expects no file and compares by the default rules."""
    row = profiles.load_profile(connection, partner_id, day)
    return _profile(row) if row else Profile(None, {}, file_expected=False)


def _profile(row: ProfileRow) -> Profile:
    return Profile(row.mapping, row.rules, row.file_expected, row.version)


def read_profile(content: object, ledger: Ledger) -> Profile:
    """The profile a JSON object says: `mapping`, `rules`, `file_expected`. Raises ProfileInvalid, RulesInvalid."""
    if not isinstance(content, dict):
        raise ProfileInvalid("the profile must be a JSON object")
    unknown = sorted(set(content) - {"mapping", "rules", "file_expected"})
    if unknown:
        raise ProfileInvalid(f"{unknown[0]}: is no entry of a profile")
    expected = content.get("file_expected", True)
    if not isinstance(expected, bool):
        raise ProfileInvalid("file_expected: must be true or false")
    mapping = content.get("mapping")
    if mapping is not None:
        mapping = mapping_content(read_mapping(mapping))
    rules = content.get("rules", {})
    rules_of(rules, ledger)
    return Profile(mapping, rules, expected)


def rules_of(content: object, ledger: Ledger) -> Rules:
    """The rules of a profile in this ledger. Raises RulesInvalid."""
    default = Rules(rounding_micros=micros_per_minor(ledger.minor_unit_digits))
    return read_rules(content, default)


def set_profile(
    connection: Connection, actor: Actor, partner_id: str, profile: Profile, valid_from: date
) -> int:
    """Keeps a new version of a partner's profile, for windows that are still open.

    One that changes nothing but the mapping may begin on any day that is not certified.
    Raises ProfileInvalid, StepOutOfOrder, RoleMissing, PersonUnknown.
    """
    person = actor.check(connection, Act.SET_PROFILE)
    if not profiles.partner_known(connection, partner_id):
        raise ProfileInvalid(f"the hub has no partner {partner_id}")
    intake.lock_partner(connection, partner_id)
    hold_windows_from(connection, valid_from)
    _refuse_backdated(connection, partner_id, profile, valid_from)
    before = profiles.load_profile(connection, partner_id, date.max)
    version = profiles.save_profile(
        connection,
        partner_id,
        profile.mapping,
        profile.rules,
        profile.file_expected,
        valid_from,
        person.name,
    )
    after = {"version": version, "valid_from": str(valid_from), **_profile_content(profile)}
    was = {"version": before.version, **_profile_content(_profile(before))} if before else None
    actor.do(connection, Act.SET_PROFILE, "profile", partner_id, "", was, after)
    return version


def _refuse_backdated(connection: Connection, partner_id: str, profile: Profile, valid_from: date) -> None:
    certified = load_last_certified_date(connection)
    if certified and valid_from <= certified:
        raise StepOutOfOrder(f"days up to {certified} are certified; a profile can begin after them")
    newest = load_last_window(connection)
    if newest is None or valid_from > newest.window.window_date:
        return
    # Of a closed window it is known what does not fit. Whether a file is waited for, and what counts as equal, are
    # then no longer one person's to change: doing without a file takes two (`propose_waiver`).
    last = newest.window.window_date
    starts = {one.valid_from for one in profiles.load_profiles(connection, partner_id)}
    for day in sorted({valid_from} | {start for start in starts if valid_from < start <= last}):
        held = stored_profile(connection, partner_id, day)
        if (held.rules, held.file_expected) != (profile.rules, profile.file_expected):
            raise StepOutOfOrder(
                f"windows up to {last} are closed; a profile that changes more than the mapping can begin after them"
            )


def _profile_content(profile: Profile) -> dict[str, object]:
    return {"mapping": profile.mapping, "rules": profile.rules, "file_expected": profile.file_expected}


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
        today=business_day(moment, ledger),
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


def business_day(moment: datetime, ledger: Ledger) -> date:
    """The business day a moment is on."""
    local = moment.astimezone(ZoneInfo(ledger.time_zone)) - timedelta(seconds=ledger.cut_off_seconds)
    return local.date()


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
    now = outcome.controls
    if kept is None:
        raise StepOutOfOrder(
            f"{outcome.window_date}: certified without {outcome.partner_id}; abort its run to reconcile it"
        )
    if (kept.partner, kept.hub, kept.classified) != (now.partner, now.hub, now.classified):
        raise ReconciliationDiffers(
            f"{outcome.window_date}: {outcome.partner_id} reconciled again, its controls come out otherwise"
        )


def dry_run(
    connection: Connection,
    ledger: Ledger,
    actor: Actor,
    declared: Declared,
    pieces: Iterable[bytes],
    seen: Callable[[int], None] = _unseen,
) -> tuple[FileRow, Outcome | None]:
    """What loading and reconciling this file would say; nothing of it is kept.

    The outcome is None while the day's window is open. Raises as `load_file` and `reconcile` do.
    """
    actor.check(connection, Act.LOAD_FILE, declared.partner_id)
    used = declared.profile or stored_profile(connection, declared.partner_id, declared.business_date)
    savepoint = connection.begin_nested()
    try:
        row, _ = _take_in(connection, ledger, declared, used, pieces, seen)
        if read_window(connection, declared.business_date) is None:
            return row, None
        return row, _compare(connection, ledger, row, used)[0]
    finally:
        if savepoint.is_active:
            savepoint.rollback()


def propose_waiver(
    connection: Connection, actor: Actor, window_date: date, partner_id: str, reason: str
) -> None:
    """One person asks that a window be certified without a partner's file; another has to agree.

    Raises WaiverRefused without a reason or for a partner the hub does not have, StepOutOfOrder where one stands
    already, the file is there or the window is certified, RoleMissing, PersonUnknown.
    """
    person = actor.check(connection, Act.PROPOSE_WAIVER)
    if not reason.strip():
        raise WaiverRefused("reason: a waiver needs one")
    if not profiles.partner_known(connection, partner_id):
        raise WaiverRefused(f"partner: the hub has no {partner_id[:64]!r}")
    _refuse_needless(connection, window_date, partner_id)
    if _waiver(connection, window_date, partner_id):
        raise StepOutOfOrder(f"{window_date}: a waiver for {partner_id} stands already")
    connection.execute(
        insert(waivers).values(
            window_date=window_date,
            partner_id=partner_id,
            proposed_by=person.name,
            reason=reason,
            propose_time=func.now(),
        )
    )
    after = {"window_date": str(window_date), "partner_id": partner_id}
    actor.do(connection, Act.PROPOSE_WAIVER, "waiver", f"{partner_id}/{window_date}", reason, None, after)


def approve_waiver(connection: Connection, actor: Actor, window_date: date, partner_id: str) -> None:
    """Another person agrees.

    Raises StepOutOfOrder where nothing is proposed, the file is there or the window is certified, SamePerson,
    RoleMissing, PersonUnknown.
    """
    person = actor.check(connection, Act.APPROVE_WAIVER)
    intake.lock_partner(connection, partner_id)
    proposed = _proposed_waiver(connection, window_date, partner_id)
    if proposed.approved_by:
        return
    _refuse_needless(connection, window_date, partner_id)
    item = f"{partner_id}/{window_date}"
    refuse_same_person(proposed.proposed_by, person.name, f"waiver {item}")
    connection.execute(
        update(waivers)
        .where(waivers.c.waiver_id == proposed.waiver_id)
        .values(approved_by=person.name, approve_time=func.now())
    )
    before = {"proposed_by": proposed.proposed_by}
    actor.do(
        connection, Act.APPROVE_WAIVER, "waiver", item, "", before, before | {"approved_by": person.name}
    )


def reject_waiver(connection: Connection, actor: Actor, window_date: date, partner_id: str) -> None:
    """Gives a proposal up, or refuses it; another may be made. Raises StepOutOfOrder, RoleMissing, PersonUnknown."""
    person = actor.check(connection, Act.REJECT_WAIVER)
    intake.lock_partner(connection, partner_id)
    proposed = _proposed_waiver(connection, window_date, partner_id)
    if proposed.approved_by:
        raise StepOutOfOrder(f"{window_date}: the waiver for {partner_id} is approved")
    connection.execute(
        update(waivers)
        .where(waivers.c.waiver_id == proposed.waiver_id)
        .values(rejected_by=person.name, reject_time=func.now())
    )
    item, before = f"{partner_id}/{window_date}", {"proposed_by": proposed.proposed_by}
    actor.do(connection, Act.REJECT_WAIVER, "waiver", item, "", before, before | {"rejected_by": person.name})


def _refuse_needless(connection: Connection, window_date: date, partner_id: str) -> None:
    """Holds partner and window, and refuses a waiver for a certified window or a file that is there."""
    intake.lock_partner(connection, partner_id)
    hold_window(connection, window_date)
    window = load_window(connection, window_date)
    if window and window.state.reached(WindowState.CERTIFIED):
        raise StepOutOfOrder(f"{window_date}: the window is {window.state.value}, nothing can be waived")
    if intake.find_accepted(connection, partner_id, window_date):
        raise StepOutOfOrder(
            f"{window_date}: the file of {partner_id} is there; a waiver excuses only one that is missing"
        )


def _proposed_waiver(connection: Connection, window_date: date, partner_id: str) -> Any:
    proposed = _waiver(connection, window_date, partner_id)
    if proposed is None:
        raise StepOutOfOrder(f"{window_date}: nobody proposed a waiver for {partner_id}")
    return proposed


def _waiver(connection: Connection, window_date: date, partner_id: str) -> Any:
    """The one that stands: proposed or approved."""
    columns = waivers.c
    statement = select(columns.waiver_id, columns.proposed_by, columns.approved_by).where(
        columns.window_date == window_date,
        columns.partner_id == partner_id,
        columns.rejected_by.is_(None),
    )
    return connection.execute(statement).one_or_none()
