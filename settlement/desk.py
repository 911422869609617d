"""The breaks desk: what people do about breaks, each act checked, signed and kept, in its caller's transaction.

Every act locks its break first, so two people who act on one break do so one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from settlement.break_acts import MAX_EVIDENCE_BYTES, MAX_TEXT, BreakUnknown, Evidence, checked_text
from settlement.core.break_state import (
    PROPOSED,
    BreakActRefused,
    BreakState,
    Resolution,
    state_after,
)
from settlement.core.roles import Act
from settlement.corrections import Correcting, Corrections
from settlement.people import MAX_REASON, refuse_same_person
from settlement.store import desk as store
from settlement.store.desk import Break, ProposedResolution

__all__ = ["MAX_EVIDENCE_BYTES", "BreakUnknown", "Corrections", "Desk", "Evidence"]


@dataclass(frozen=True, slots=True)
class Desk(Correcting):
    """One person at the desk: breaks, how they are resolved, and disputes about them."""

    def assign(self, break_id: int, owner: str) -> Break:
        """Makes somebody the break's owner."""
        found = self._locked(break_id)
        name = checked_text("owner", owner, 64)
        return self._moved(found, Act.ASSIGN_BREAK, f"to {name}", owner=name)

    def comment(self, break_id: int, text: str, evidence: Evidence | None = None) -> Break:
        """Adds to the history, and a file that shows it. A partner comments on its own breaks."""
        return self._moved(
            self._locked(break_id), Act.COMMENT_BREAK, checked_text("text", text, MAX_TEXT), evidence
        )

    def propose(self, break_id: int, kind: Resolution, reason: str) -> ProposedResolution:
        """Proposes how to resolve a break without a posting; another person has to approve."""
        if kind not in PROPOSED:
            raise BreakActRefused(f"{kind.value} is not proposed in words")
        found = self._free(break_id)
        proposed = self._proposal(found, Act.PROPOSE_RESOLUTION, kind, reason)
        store.save_resolution(self.connection, proposed)
        self._moved(found, Act.PROPOSE_RESOLUTION, f"{kind.value}: {proposed.reason}")
        return proposed

    def approve(self, break_id: int, hub: Corrections | None = None, reason: str = "") -> Break:
        """Agrees with what another person proposed. A correction is posted at the `hub`.

        Posting is the last thing before the caller's commit; what is cut off in between is repeated with the same
        request id, and the hub gives the same answer. Where the hub has it posted by another request, its entry
        is taken over. Any other resolution withdraws what the hub still holds of the break's corrections.
        """
        found = self._locked(break_id)
        proposed = self._pending(found)
        adjusted = proposed.kind == Resolution.ADJUSTED.value
        act = Act.APPROVE_ADJUSTMENT if adjusted else Act.APPROVE_RESOLUTION
        self._refuse_proposer(proposed, act)
        state_after(act, found.state, owned=bool(found.owner))
        decided: dict[str, Any] = {"state": "APPROVED", **self._decided(act)}
        details: dict[str, Any] = {}
        if adjusted:
            assert hub is not None, "whoever approves a correction brings the hub"
            details = self._posted(proposed, hub)
            decided["entry_id"] = details["entry_id"]
        else:
            details = self._withdrawn(break_id, f"break {break_id} is {proposed.kind}", hub)
        store.decide_resolution(self.connection, break_id, proposed.number, decided)
        values: dict[str, Any] = {
            "resolution": proposed.kind,
            "resolved_time": self.now,
            "resolved_date": self.today,
        }
        said = f"{proposed.kind} of {proposed.proposed_by}" + (f": {reason}" if reason else "")
        return self._moved(found, act, said, details=details, **values)

    def reject(self, break_id: int, reason: str, hub: Corrections | None = None) -> Break:
        """Disagrees with what was proposed; the break is open again. A correction is withdrawn at the `hub`.

        Where the hub does not answer nothing is rejected, and the same can be asked again. Raises BreakActRefused
        where somebody had the correction posted there.
        """
        found = self._locked(break_id)
        proposed = self._pending(found)
        self._refuse_proposer(proposed, Act.REJECT_RESOLUTION)
        why = checked_text("reason", reason, MAX_REASON)
        adjusted = proposed.kind == Resolution.ADJUSTED.value
        details = self._withdrawn(break_id, why, hub) if adjusted else {}
        store.decide_resolution(
            self.connection,
            break_id,
            proposed.number,
            {"state": "REJECTED", **self._decided(Act.REJECT_RESOLUTION)},
        )
        return self._moved(found, Act.REJECT_RESOLUTION, why, details=details)

    def reopen(self, break_id: int, reason: str) -> Break:
        """Opens a resolved break again."""
        found = self._locked(break_id)
        nothing: dict[str, Any] = {
            "resolution": None,
            "resolved_time": None,
            "resolved_date": None,
            "cleared_by_file": None,
        }
        return self._moved(found, Act.REOPEN_BREAK, checked_text("reason", reason, MAX_REASON), **nothing)

    def _refuse_proposer(self, proposed: ProposedResolution, act: Act) -> None:
        person = self.actor.check(self.connection, act)
        refuse_same_person(proposed.proposed_by, person.name, f"break {proposed.break_id}")

    def _decided(self, act: Act) -> dict[str, Any]:
        return {"decided_by": self.actor.check(self.connection, act).name, "decide_time": self.now}

    def _pending(self, found: Break) -> ProposedResolution:
        if found.state is BreakState.PENDING_RESOLUTION:
            for proposed in store.load_resolutions(self.connection, found.break_id):
                if proposed.state == "PROPOSED":
                    return proposed
        raise BreakActRefused(f"break {found.break_id} is {found.state.value}; nothing was proposed for it")
