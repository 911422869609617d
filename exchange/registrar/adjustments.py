"""Corrections as they are proposed: kept as the bytes of the proposal until another person has them posted.

One that is not posted can be withdrawn. Whoever decides locks its row first, the batch that posts it too
(`LOCK_ADJUSTMENTS`): so it is posted or withdrawn, never both.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, func, insert, select, update

from exchange.registrar.partners import Actor, is_same_person
from exchange.registrar.writes import RegistrarRefusal
from exchange.store.reads.adjustments import find_adjustment
from exchange.store.tables import ADJUSTMENTS


class Withdrawal(NamedTuple):
    """A correction to withdraw, and why. `may_approve`: who asks might have had it posted instead."""

    adjustment_id: int
    reason: str
    may_approve: bool


def propose_adjustment(connection: Connection, proposal: bytes, request_id: str, actor: Actor) -> int:
    """Keeps a proposal, which the caller has checked; gives its number."""
    made = insert(ADJUSTMENTS).values(proposal=proposal, request_id=request_id, proposed_by=actor.person)
    return int(connection.execute(made.returning(ADJUSTMENTS.c.adjustment_id)).scalar_one())


def withdraw_adjustment(connection: Connection, withdrawal: Withdrawal, actor: Actor) -> int:
    """Takes a proposal back, for ever; gives its number.

    Raises ADJUSTMENT_UNKNOWN, ROLE_REQUIRED for who neither proposed it nor may approve it, ADJUSTMENT_WITHDRAWN,
    ADJUSTMENT_POSTED.
    """
    same = ADJUSTMENTS.c.adjustment_id == withdrawal.adjustment_id
    connection.execute(select(ADJUSTMENTS.c.adjustment_id).where(same).with_for_update())
    # Read by a statement of its own, which sees what was committed while this one waited for the lock.
    found = find_adjustment(connection, withdrawal.adjustment_id)
    if found is None:
        raise RegistrarRefusal("ADJUSTMENT_UNKNOWN")
    if not (withdrawal.may_approve or is_same_person(found.proposed_by, actor.person)):
        raise RegistrarRefusal("ROLE_REQUIRED")
    if found.withdraw_time is not None:
        raise RegistrarRefusal("ADJUSTMENT_WITHDRAWN")
    if found.entry_id:
        raise RegistrarRefusal("ADJUSTMENT_POSTED", entry_id=found.entry_id)
    withdrawn = {
        "withdrawn_by": actor.person,
        "withdraw_reason": withdrawal.reason,
        "withdraw_time": func.now(),
    }
    connection.execute(update(ADJUSTMENTS).where(same).values(withdrawn))
    return found.adjustment_id
