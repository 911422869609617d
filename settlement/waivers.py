"""Waivers: a day without a partner's file, by two people. Each function works in its caller's transaction."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from settlement.core.roles import Act
from settlement.core.run_state import StepOutOfOrder, WindowState
from settlement.people import MAX_REASON, Actor, refuse_same_person
from settlement.store import intake, profiles
from settlement.store.load import load_window
from settlement.store.reconciliation_tables import waivers
from settlement.store.window_locks import hold_window


class WaiverRefused(Exception):
    """A waiver that makes no sense; `str()` names the field."""


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
    if len(reason) > MAX_REASON:
        raise WaiverRefused(f"reason: {len(reason):,} characters, at most {MAX_REASON:,}")
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
