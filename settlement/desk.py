"""The breaks desk: what people do about breaks, each act checked, signed and kept, in its caller's transaction.

Every act locks its break first, so two people who act on one break do so one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from settlement.break_acts import MAX_EVIDENCE_BYTES, MAX_TEXT, BreakUnknown, Evidence, checked_text
from settlement.core.adjusting import (
    NOTHING_SUPPLIED,
    Difference,
    Posting,
    Supplied,
    posting_content,
    posting_for,
    posting_from,
    posting_words,
)
from settlement.core.break_state import (
    PROPOSED,
    BreakActRefused,
    BreakState,
    Resolution,
    state_after,
)
from settlement.core.roles import Act
from settlement.disputes import Disputes
from settlement.people import MAX_REASON, refuse_same_person
from settlement.store import desk as store
from settlement.store.desk import Break, ProposedResolution

__all__ = ["MAX_EVIDENCE_BYTES", "BreakUnknown", "Corrections", "Desk", "Evidence"]


class Corrections(Protocol):
    """The hub, as far as it posts corrections."""

    def propose_adjustment(self, request_id: str, posting: Posting, reason: str) -> int:
        """Proposes a correction; gives its number. The same for a request id however often it is asked."""

    def approve_adjustment(self, request_id: str, adjustment_id: int) -> tuple[str, dict[str, object]]:
        """Has a correction posted; gives its entry's id and the signed receipt. The same however often it is asked."""


@dataclass(frozen=True, slots=True)
class Desk(Disputes):
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

    def posting(self, break_id: int, supplied: Supplied = NOTHING_SUPPLIED) -> Posting:
        """What a correction of the break would post. Raises NothingToPost."""
        return posting_for(_difference(self._locked(break_id)), supplied)

    def propose_adjustment(
        self, break_id: int, reason: str, hub: Corrections, supplied: Supplied = NOTHING_SUPPLIED
    ) -> ProposedResolution:
        """Proposes a correction at the hub and here.

        A break has one correction at the hub, ever: nothing is withdrawn there, so a second one could be posted
        beside the first. The hub's request id is the break's, so one that was cut off before this transaction
        committed is found again when it is repeated, and refused there where it says something else. One that was
        rejected here, or lapsed, is taken up again. Raises BreakActRefused where that one posts something else.
        """
        found = self._free(break_id)
        posting = posting_for(_difference(found), supplied)
        earlier = store.load_resolutions(self.connection, break_id)
        proposed = self._proposal(found, Act.PROPOSE_ADJUSTMENT, Resolution.ADJUSTED, reason)
        content = posting_content(posting)
        number = _held_adjustment(earlier, content)
        if number is None:
            number = hub.propose_adjustment(f"break-{break_id}-adjustment", posting, proposed.reason)
        proposed = replace(proposed, posting=content, adjustment_id=number)
        store.save_resolution(self.connection, proposed)
        self._moved(
            found,
            Act.PROPOSE_ADJUSTMENT,
            f"ADJUSTED: {proposed.reason}",
            details={"adjustment_id": number, "posting": content},
        )
        return proposed

    def approve(self, break_id: int, hub: Corrections | None = None, reason: str = "") -> Break:
        """Agrees with what another person proposed. A correction is posted at the `hub`.

        Posting is the last thing before the caller's commit; what is cut off in between is repeated with the same
        request id, and the hub gives the same answer. Where the hub has it posted by another request, its entry
        is taken over.
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
        store.decide_resolution(self.connection, break_id, proposed.number, decided)
        values: dict[str, Any] = {
            "resolution": proposed.kind,
            "resolved_time": self.now,
            "resolved_date": self.today,
        }
        said = f"{proposed.kind} of {proposed.proposed_by}" + (f": {reason}" if reason else "")
        return self._moved(found, act, said, details=details, **values)

    def reject(self, break_id: int, reason: str) -> Break:
        """Disagrees with what was proposed; the break is open again."""
        found = self._locked(break_id)
        proposed = self._pending(found)
        self._refuse_proposer(proposed, Act.REJECT_RESOLUTION)
        store.decide_resolution(
            self.connection,
            break_id,
            proposed.number,
            {"state": "REJECTED", **self._decided(Act.REJECT_RESOLUTION)},
        )
        return self._moved(found, Act.REJECT_RESOLUTION, checked_text("reason", reason, MAX_REASON))

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

    def _proposal(self, found: Break, act: Act, kind: Resolution, reason: str) -> ProposedResolution:
        person = self.actor.check(self.connection, act, found.partner_id)
        state_after(act, found.state, owned=bool(found.owner))
        earlier = store.load_resolutions(self.connection, found.break_id)
        for one in earlier:
            if kind is Resolution.ADJUSTED and one.entry_id is not None:
                raise BreakActRefused(
                    f"break {found.break_id} was corrected by entry {one.entry_id}, adjustment"
                    f" {one.adjustment_id}; what is wrong with that takes `tongdui-hub adjust propose`"
                )
            if one.state == "PROPOSED":  # the break cleared itself before anybody decided, and is open again
                lapsed = {"state": "LAPSED"}
                store.decide_resolution(self.connection, found.break_id, one.number, lapsed)
        return ProposedResolution(
            break_id=found.break_id,
            number=len(earlier) + 1,
            kind=kind.value,
            state="PROPOSED",
            reason=checked_text("reason", reason, 200),  # as much as the hub takes for a correction
            posting=None,
            adjustment_id=None,
            entry_id=None,
            proposed_by=person.name,
            propose_time=self.now,
            decided_by=None,
            decide_time=None,
        )

    def _posted(self, proposed: ProposedResolution, hub: Corrections) -> dict[str, Any]:
        """Has a correction posted, unless the hub has done so for somebody already; tells its entry."""
        number = proposed.adjustment_id
        assert number is not None, "a constraint of the table"
        request_id = f"break-{proposed.break_id}-approve"
        posted = store.find_posted_adjustment(self.connection, number)
        if posted and posted.request_id != request_id:
            return {
                "adjustment_id": number,
                "entry_id": posted.entry_id,
                "posted_by_request": posted.request_id,
            }
        entry_id, receipt = hub.approve_adjustment(request_id, number)
        return {"adjustment_id": number, "entry_id": entry_id, "receipt": receipt}

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


def _held_adjustment(earlier: Sequence[ProposedResolution], content: Mapping[str, Any]) -> int | None:
    """The correction that the hub holds of earlier proposals; None where there is none. Raises BreakActRefused."""
    for one in earlier:
        if one.adjustment_id is not None and one.posting is not None:
            if one.posting == content:
                return one.adjustment_id
            raise BreakActRefused(
                f"the hub still holds adjustment {one.adjustment_id} of break {one.break_id}, which posts something"
                f" else ({posting_words(posting_from(one.posting))}); propose that one again and have it approved,"
                " or resolve the break without a posting"
            )
    return None


def _difference(found: Break) -> Difference:
    return Difference(
        found.type,
        found.partner_id,
        found.hub,
        found.partner,
        found.claimed_difference_micros,
        found.owed_difference_micros,
    )
