"""Disputes between partners about breaks: claimed, answered or not, decided."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from settlement.break_acts import MAX_TEXT, BreakActs, BreakUnknown, Evidence, checked_text
from settlement.core.break_state import (
    DEFAULT_DEADLINE,
    LONGEST_DEADLINE,
    BreakActRefused,
    DisputeState,
    dispute_after,
)
from settlement.core.roles import Act
from settlement.people import refuse_same_person
from settlement.store import desk as store
from settlement.store.desk import Break, Dispute


@dataclass(frozen=True, slots=True)
class Disputes(BreakActs):
    """One person with disputes."""

    def open_dispute(
        self,
        break_id: int,
        against: str,
        claim: str,
        deadline: timedelta = DEFAULT_DEADLINE,
        evidence: Evidence | None = None,
        opened_by: str | None = None,
    ) -> Dispute:
        """Claims that another partner has to bear a break. `opened_by` is the break's partner where not said."""
        found = self._free(break_id)
        opener = opened_by or found.partner_id
        if found.partner_id not in (opener, against) or opener == against:
            raise BreakActRefused(
                f"a dispute about break {break_id} is between {found.partner_id} and another partner"
            )
        for partner_id in (opener, against):
            if not store.has_partner(self.connection, partner_id):
                raise BreakUnknown(f"the coalition has no partner {partner_id}")
        if not timedelta() < deadline <= LONGEST_DEADLINE:
            raise BreakActRefused(f"the deadline is at most {LONGEST_DEADLINE.days} days ahead")
        person = self.actor.check(self.connection, Act.OPEN_DISPUTE, opener)
        values = {
            "break_id": break_id,
            "opened_by": opener,
            "against": against,
            "claim": checked_text("claim", claim, MAX_TEXT),
            "opened_person": person.name,
            "open_time": self.now,
            "deadline": self.now + deadline,
            "state": DisputeState.OPEN.value,
        }
        dispute_id = store.save_dispute(self.connection, values)
        details = {"dispute_id": dispute_id, "opened_by": opener, "against": against}
        self._moved(found, Act.OPEN_DISPUTE, claim, evidence, details=details, partner_id=opener)
        return self._dispute(dispute_id)

    def answer_dispute(self, dispute_id: int, answer: str, evidence: Evidence | None = None) -> Dispute:
        """Answers a claim, before its deadline."""
        dispute, found = self._disputed(dispute_id)
        person = self.actor.check(self.connection, Act.ANSWER_DISPUTE, dispute.against)
        self._step(
            Act.ANSWER_DISPUTE,
            dispute,
            answer=checked_text("answer", answer, MAX_TEXT),
            answered_person=person.name,
            answer_time=self.now,
        )
        details = {"dispute_id": dispute_id}
        self._moved(found, Act.ANSWER_DISPUTE, answer, evidence, details=details, partner_id=dispute.against)
        return self._dispute(dispute_id)

    def decide_dispute(self, dispute_id: int, in_favour_of: str, decision: str) -> Dispute:
        """Decides between two partners, once both have spoken or the deadline has passed."""
        dispute, found = self._disputed(dispute_id)
        person = self.actor.check(self.connection, Act.DECIDE_DISPUTE)
        for name in (dispute.opened_person, dispute.answered_person):
            refuse_same_person(name or "", person.name, f"dispute {dispute_id}")
        if in_favour_of not in (dispute.opened_by, dispute.against):
            raise BreakActRefused(
                f"dispute {dispute_id} is between {dispute.opened_by} and {dispute.against}"
            )
        self._step(
            Act.DECIDE_DISPUTE,
            dispute,
            in_favour_of=in_favour_of,
            decided_by=person.name,
            decision=checked_text("decision", decision, MAX_TEXT),
            decide_time=self.now,
        )
        details = {"dispute_id": dispute_id, "in_favour_of": in_favour_of}
        self._moved(found, Act.DECIDE_DISPUTE, decision, details=details)
        return self._dispute(dispute_id)

    def late_disputes(self) -> list[int]:
        """The numbers of unanswered disputes whose deadline has passed."""
        waiting = store.list_disputes(self.connection, DisputeState.OPEN.value)
        return [one.dispute_id for one in waiting if one.deadline < self.now]

    def expire_dispute(self, dispute_id: int) -> Dispute:
        """Marks an unanswered dispute whose deadline has passed. Raises BreakActRefused, BreakUnknown."""
        dispute, found = self._disputed(dispute_id)
        self._step(Act.EXPIRE_DISPUTE, dispute)
        said = f"not answered until {dispute.deadline:%Y-%m-%d %H:%M} UTC"
        self._moved(found, Act.EXPIRE_DISPUTE, said, details={"dispute_id": dispute_id})
        return self._dispute(dispute_id)

    def _disputed(self, dispute_id: int) -> tuple[Dispute, Break]:
        seen = store.load_dispute(self.connection, dispute_id, lock=False)
        if seen is None:
            raise BreakUnknown(f"there is no dispute {dispute_id}")
        found = self._locked(
            seen.break_id
        )  # the break first, as everybody does, then what may have changed since
        return self._dispute(dispute_id), found

    def _dispute(self, dispute_id: int) -> Dispute:
        dispute = store.load_dispute(self.connection, dispute_id)
        assert dispute is not None, "none is ever deleted"
        return dispute

    def _step(self, act: Act, dispute: Dispute, **values: Any) -> None:
        state = dispute_after(act, DisputeState(dispute.state), dispute.deadline, self.now)
        store.move_dispute(self.connection, dispute.dispute_id, {"state": state.value, **values})
