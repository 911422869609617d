"""Partners' files in, whole or not at all: each function works in its caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import Connection, func

from settlement.core.file_readers import CsvReader, JsonlReader, Reader
from settlement.core.mapping import MappedReader, ProfileInvalid, read_mapping
from settlement.core.partner_file import Expected, FileFormat, FileRefused, control_total
from settlement.core.roles import Act
from settlement.core.run_state import WindowState
from settlement.core.window import Ledger
from settlement.people import Actor
from settlement.profiles import Profile, stored_profile
from settlement.store import intake, profiles
from settlement.store.intake import FileRow
from settlement.store.load import load_window
from settlement.store.reconciliation_tables import CONTROLS
from settlement.store.window_locks import hold_window

BYTE_LIMIT: Final = 512 * 1024 * 1024
"""A file may have so many bytes unless it is told otherwise."""


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
class LoadedFile:
    """A file that is accepted. `is_repeat`: it was before. `superseded`: the file whose place it took."""

    file: FileRow
    is_repeat: bool
    superseded: FileRow | None


def nobody_sees(_byte_count: int) -> None:
    """Nobody watches."""


def load_file(
    connection: Connection,
    ledger: Ledger,
    actor: Actor,
    declared: Declared,
    pieces: Iterable[bytes],
    evidence: Mapping[str, Any] | None = None,
    seen: Callable[[int], None] = nobody_sees,
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
        row, values = take_in(connection, ledger, declared, profile, pieces, seen)
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


def take_in(
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
