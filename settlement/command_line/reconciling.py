"""The commands `load`, `profile`, `reconcile` and `waive`: partners' own records, and what differs from the hub's."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import BinaryIO

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from sqlalchemy import Connection, Engine

from settlement.command_line import screen
from settlement.command_line.reconciling_screen import file_content, outcome_content, outcomes_view
from settlement.command_line.session import NotThere, Session, person_or_settlement
from settlement.core.mapping import ProfileInvalid
from settlement.core.partner_file import FileFormat
from settlement.core.window import Ledger
from settlement.partner_files import BYTE_LIMIT, Declared, load_file
from settlement.people import Actor
from settlement.profiles import Profile, read_profile, set_profile
from settlement.reconciliation import Outcome, dry_run, reconcile
from settlement.store import feed
from settlement.store.engine import open_engine
from settlement.store.intake import FileRow, find_accepted_of_day
from settlement.store.profiles import load_expected_partners, load_profiles
from settlement.waivers import approve_waiver, propose_waiver, reject_waiver

AddCommand = Callable[..., argparse.ArgumentParser]

_DATABASE = ("database_url",)
_ACT = (*_DATABASE, "key_file", "person_key_file")
_READ_BYTES = 1 << 20


class Unexplained(Exception):
    """Of at least one control, breaks do not explain all of the difference; `str()` names partners."""


def add_reconciling_commands(
    top: AddCommand, below: Callable[[str, str], AddCommand], day: Callable[[str], date]
) -> None:
    """Adds them with `top`, or with what `below` gives for a name and a summary."""
    load = top("load", "take in a partner's file of a day, all of it or nothing", _ACT, dated=True)
    load.add_argument("file", metavar="FILE", help="the partner's file")
    load.add_argument("--partner", required=True, metavar="ID", help="whose file it is")
    load.add_argument(
        "--format",
        choices=[it.value.lower() for it in FileFormat],
        default="csv",
        help="how it is written (default: csv)",
    )
    load.add_argument("--control", metavar="FILE", help="the control record of a mapped file, a JSON object")
    load.add_argument(
        "--profile", metavar="FILE", help="with --dry-run: a profile to try instead of the stored one"
    )
    load.add_argument("--dry-run", action="store_true", help="say what would come out and keep nothing")
    load.add_argument(
        "--max-bytes",
        type=int,
        default=BYTE_LIMIT,
        metavar="N",
        help=f"refuse a larger file (default: {BYTE_LIMIT:,})",
    )
    run = top("reconcile", "compare partners' files of a day with the journal", _ACT, dated=True)
    run.add_argument("--partner", metavar="ID", help="this partner only")
    waive = top("waive", "let a day pass without a partner's file, by two people", _ACT, dated=True)
    waive.add_argument("--partner", required=True, metavar="ID", help="whose file is done without")
    what = waive.add_mutually_exclusive_group(required=True)
    what.add_argument("--reason", metavar="TEXT", help="propose it, and why")
    what.add_argument("--approve", action="store_true", help="agree to what another person proposed")
    what.add_argument("--reject", action="store_true", help="give up or refuse what was proposed")
    profile = below("profile", "set and show how a partner's file is read and compared")
    changed = profile("set", "keep a new version of a partner's profile", _ACT, dated=False)
    changed.add_argument("file", metavar="FILE", help="a JSON object: mapping, rules, file_expected")
    changed.add_argument(
        "--from", dest="first", required=True, type=day, metavar="DAY", help="the first day it is for"
    )
    shown = profile("show", "show the versions of a partner's profile", _DATABASE, dated=False)
    for command in (changed, shown):
        command.add_argument("--partner", required=True, metavar="ID", help="whose profile it is")


@dataclass(frozen=True, slots=True)
class _Office:
    engine: Engine
    ledger: Ledger
    actor: Actor

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with self.engine.begin() as connection:
            yield connection


@contextmanager
def _open_office(session: Session) -> Iterator[_Office]:
    engine = open_engine(session.settings.require("database_url"))
    try:
        with engine.begin() as connection:
            ledger = feed.read_ledger(connection)
        yield _Office(engine, ledger, person_or_settlement(session.settings))
    finally:
        engine.dispose()


def load(session: Session, arguments: argparse.Namespace) -> None:
    """Takes in a file, or says what would come out."""
    path = Path(arguments.file)
    with _open_office(session) as office, path.open("rb") as stream, office.transaction() as connection:
        declared = Declared(
            partner_id=arguments.partner,
            business_date=arguments.date,
            format=FileFormat(arguments.format.upper()),
            control=Path(arguments.control).read_bytes() if arguments.control else b"",
            byte_limit=arguments.max_bytes,
            profile=_trial_profile(arguments, office.ledger),
        )
        given = (connection, office.ledger, office.actor, declared)
        with _watching(session, f"loading {path.name}", path.stat().st_size) as seen:
            if arguments.dry_run:
                row, outcome = dry_run(*given, _pieces(stream), seen)
            else:
                loaded = load_file(*given, _pieces(stream), None, seen)
    if arguments.dry_run:
        _show_dry_run(session, office.ledger, row, outcome)
        return
    file = loaded.file
    content = file_content(file) | {
        "is_repeat": loaded.is_repeat,
        "superseded_file_id": loaded.superseded.file_id if loaded.superseded else None,
    }
    how = "was accepted before" if loaded.is_repeat else "accepted"
    instead = f", in place of file {loaded.superseded.file_id}" if loaded.superseded else ""
    text = f"{file.partner_id} {file.business_date}: {file.line_count:,} deals {how} as file {file.file_id}{instead}"
    session.show(content, lambda: text)


def _trial_profile(arguments: argparse.Namespace, ledger: Ledger) -> Profile | None:
    if not arguments.profile:
        return None
    if not arguments.dry_run:
        raise ProfileInvalid("--profile: only a dry run tries a profile that is not set; use `profile set`")
    return _read_profile(arguments.profile, ledger)


def _read_profile(path: str, ledger: Ledger) -> Profile:
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ProfileInvalid(f"{path}: is no JSON ({error})") from None
    return read_profile(content, ledger)


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(_READ_BYTES):
        yield piece


@contextmanager
def _watching(session: Session, words: str, byte_count: int) -> Iterator[Callable[[int], None]]:
    errors = screen.make_console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, disable=session.as_json or not errors.is_terminal) as progress:
        task = progress.add_task(words, total=byte_count)
        yield lambda done: progress.update(task, completed=done)


def _show_dry_run(session: Session, ledger: Ledger, row: FileRow, outcome: Outcome | None) -> None:
    content = {"dry_run": True, **file_content(row)}
    if outcome is None:
        text = f"dry run: {row.line_count:,} deals would be accepted; {row.business_date} is open, nothing compared"
        session.show(content, lambda: text)
        return
    title = f"Dry run, nothing kept: {row.line_count:,} deals of {row.partner_id}"
    session.show(
        content | {"reconciliation": outcome_content(outcome)},
        lambda: outcomes_view([outcome], (), ledger, title),
    )


def run_reconcile(session: Session, arguments: argparse.Namespace) -> None:
    """Compares every file of a day that is there, each in a transaction of its own."""
    day = arguments.date
    outcomes: list[Outcome] = []
    with _open_office(session) as office:
        with office.transaction() as connection:
            files = find_accepted_of_day(connection, day)
            expected = load_expected_partners(connection, day)
        if arguments.partner:
            files = [file for file in files if file.partner_id == arguments.partner]
            expected = [arguments.partner]
        missing = sorted(set(expected) - {file.partner_id for file in files})
        if not files and arguments.partner:
            raise NotThere(f"{day}: no file of {arguments.partner}; run `load` first")
        for file in _progress(files, session):
            with office.transaction() as connection:
                outcomes.append(reconcile(connection, office.ledger, office.actor, file))
        ledger = office.ledger
    content = {
        "window_date": str(day),
        "missing": missing,
        "partners": [outcome_content(outcome) for outcome in outcomes],
    }
    session.show(content, partial(outcomes_view, outcomes, missing, ledger, f"Reconciliation of {day}"))
    open_ends = [outcome.partner_id for outcome in outcomes if not outcome.controls.explained]
    if open_ends:
        raise Unexplained(f"a person has to decide: {day}: not all is explained of {', '.join(open_ends)}")


def _progress(files: Sequence[FileRow], session: Session) -> Iterator[FileRow]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    errors = screen.make_console(stderr=True)
    with Progress(*columns, console=errors, disable=session.as_json or not errors.is_terminal) as progress:
        task = progress.add_task("reconciling", total=len(files))
        for file in files:
            progress.update(task, description=f"reconciling {file.partner_id}, {file.line_count:,} deals")
            yield file
            progress.advance(task)


def waive(session: Session, arguments: argparse.Namespace) -> None:
    """Proposes a waiver, agrees to one, or gives one up."""
    session.settings.require("person_key_file")
    with _open_office(session) as office, office.transaction() as connection:
        given = (connection, office.actor, arguments.date, arguments.partner)
        if arguments.approve:
            approve_waiver(*given)
        elif arguments.reject:
            reject_waiver(*given)
        else:
            propose_waiver(*given, arguments.reason)
    state = "APPROVED" if arguments.approve else "REJECTED" if arguments.reject else "PROPOSED"
    content = {"window_date": str(arguments.date), "partner_id": arguments.partner, "state": state}
    session.show(content, lambda: f"{arguments.date}: waiver for {arguments.partner} {state.lower()}")


def profile_set(session: Session, arguments: argparse.Namespace) -> None:
    """Keeps a new version."""
    session.settings.require("person_key_file")
    with _open_office(session) as office, office.transaction() as connection:
        profile = _read_profile(arguments.file, office.ledger)
        version = set_profile(connection, office.actor, arguments.partner, profile, arguments.first)
    content = {"partner_id": arguments.partner, "version": version, "valid_from": str(arguments.first)}
    session.show(content, lambda: f"{arguments.partner}: profile {version} from {arguments.first}")


def profile_show(session: Session, arguments: argparse.Namespace) -> None:
    """Shows all versions, the newest first."""
    with _open_office(session) as office, office.transaction() as connection:
        found = load_profiles(connection, arguments.partner)
    if not found:
        raise NotThere(
            f"{arguments.partner}: no profile; no file is expected, and files compare by default rules"
        )
    versions = [
        {
            "version": one.version,
            "valid_from": str(one.valid_from),
            "set_by": one.set_by,
            "file_expected": one.file_expected,
            "mapping": one.mapping,
            "rules": one.rules,
        }
        for one in found
    ]
    content = {"partner_id": arguments.partner, "profiles": versions}
    session.show(content, lambda: json.dumps(content, indent=2, ensure_ascii=False))
