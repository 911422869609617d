"""Corrections as they are proposed: kept as the bytes of the proposal until another person has them posted."""

from __future__ import annotations

from sqlalchemy import Connection, insert

from exchange.registrar.partners import Actor
from exchange.store.tables import ADJUSTMENTS


def propose_adjustment(connection: Connection, proposal: bytes, actor: Actor) -> int:
    """Keeps a proposal, which the caller has checked; gives its number."""
    made = insert(ADJUSTMENTS).values(proposal=proposal, proposed_by=actor.person)
    return int(connection.execute(made.returning(ADJUSTMENTS.c.adjustment_id)).scalar_one())
