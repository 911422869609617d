"""Partners' profiles: how their files are read and compared, and from which day on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection

from settlement.core.amounts import micros_per_minor
from settlement.core.mapping import ProfileInvalid, mapping_content, read_mapping
from settlement.core.matching import Rules, read_rules
from settlement.core.roles import Act
from settlement.core.run_state import StepOutOfOrder
from settlement.core.window import Ledger
from settlement.people import Actor
from settlement.store import intake, profiles
from settlement.store.load import load_last_certified_date, load_last_window
from settlement.store.profiles import ProfileRow
from settlement.store.window_locks import hold_windows_from


@dataclass(frozen=True, slots=True)
class Profile:
    """A partner's profile: as JSON, checked. `version` is None where it is not stored."""

    mapping: Mapping[str, Any] | None
    rules: Mapping[str, Any]
    file_expected: bool
    version: int | None = None


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
