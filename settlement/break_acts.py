"""What every act on a break does: lock it, check who may, move its state, sign, and add to its history.

Every act is in its caller's transaction and locks its break first, so two people who act on one break do so one after
the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection

from settlement.core.break_state import BreakActRefused, BreakState, DisputeState, state_after
from settlement.core.deed import Deed
from settlement.core.roles import Act
from settlement.people import MAX_REASON, Actor
from settlement.store import desk as store
from settlement.store.desk import Break, BreakEvent

MAX_TEXT: Final = 2_000
"""Characters of a comment, a claim, an answer or a decision."""

MAX_EVIDENCE_BYTES: Final = 10 * 1024 * 1024


class BreakUnknown(Exception):
    """There is no such break or dispute."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A file that shows something. Raises ValueError where it is empty, too large or has no name."""

    file_name: str
    content: bytes

    def __post_init__(self) -> None:
        if not self.file_name or len(self.file_name) > 200:
            raise ValueError("evidence: its name has 1 to 200 characters")
        if not 0 < len(self.content) <= MAX_EVIDENCE_BYTES:
            raise ValueError(f"evidence: {self.file_name} must have 1 to {MAX_EVIDENCE_BYTES:,} bytes")

    def naming(self) -> dict[str, Any]:
        """What history says of it."""
        sha256 = hashlib.sha256(self.content).hexdigest()
        return {"file_name": self.file_name, "byte_count": len(self.content), "sha256": sha256}


@dataclass(frozen=True, slots=True)
class BreakActs:
    """One person at the desk.

    Attributes:
        connection: in the caller's transaction, which is the act's.
        actor: who acts.
        now: the moment on the ledger's clock, for deadlines and what is shown as time.
        today: the business day of that moment.
    """

    connection: Connection
    actor: Actor
    now: datetime
    today: date

    def _moved(
        self,
        found: Break,
        act: Act,
        text: str,
        evidence: Evidence | None = None,
        *,
        details: Mapping[str, Any] | None = None,
        partner_id: str | None = None,
        **values: Any,
    ) -> Break:
        """Does an act: moves the break's state, and adds to its history and the audit log."""
        owner = values.get("owner", found.owner)
        state = state_after(act, found.state, owned=bool(owner))
        after = {"state": state.value, "text": text, **(details or {})}
        after |= {name: value for name, value in values.items() if isinstance(value, str)}
        naming = evidence.naming() if evidence else None
        if naming:
            after["evidence"] = naming
        deed = self.actor.do(
            self.connection,
            act,
            "break",
            str(found.break_id),
            text if len(text) <= MAX_REASON else "",
            {"state": found.state.value, "owner": found.owner},
            after,
            partner_id or found.partner_id,
        )
        self._keep(found, state, deed, text, evidence, values)
        kept = store.load_break(self.connection, found.break_id)
        assert kept is not None, "locked above"
        return kept

    def _keep(
        self,
        found: Break,
        state: BreakState,
        deed: Deed,
        text: str,
        evidence: Evidence | None,
        values: Mapping[str, Any],
    ) -> None:
        naming = evidence.naming() if evidence else None
        if evidence and naming:
            kept = {"sha256": naming["sha256"], "file_name": evidence.file_name, "content": evidence.content}
            store.save_evidence(self.connection, found.break_id, kept, deed.person.name, self.now)
        if state is not found.state or values:
            store.save_state(self.connection, found.break_id, {"state": state.value, **values})
        event = BreakEvent(
            event_time=self.now,
            person=deed.person.name,
            key_id=deed.person.key_id,
            act=deed.act.label,
            state_from=found.state.value,
            state_to=state.value,
            text=text,
            evidence=naming,
        )
        store.save_event(self.connection, found.break_id, event)

    def _free(self, break_id: int) -> Break:
        """The break, locked, unless a dispute about it is undecided."""
        found = self._locked(break_id)
        for dispute in store.load_disputes(self.connection, break_id):
            if dispute.state != DisputeState.DECIDED.value:
                raise BreakActRefused(
                    f"dispute {dispute.dispute_id} about break {break_id} is {dispute.state}; it is decided first"
                )
        return found

    def _locked(self, break_id: int) -> Break:
        found = store.load_break(self.connection, break_id, lock=True)
        if found is None:
            raise BreakUnknown(f"there is no break {break_id}")
        return found


def checked_text(name: str, text: str, limit: int) -> str:
    """A text without the blanks around it. Raises ValueError naming it where it is empty or too long."""
    stripped = text.strip()
    if not stripped or len(stripped) > limit:
        raise ValueError(f"{name}: 1 to {limit:,} characters, not {len(stripped):,}")
    return stripped
