"""Corrections at the hub: proposed by one person and posted by another, or withdrawn, with the break they are of.

A deal is corrected once. While the hub holds a correction of a break somebody could have it posted there, also past
this desk; so whatever ends a break otherwise withdraws it first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from settlement.break_acts import checked_text
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
from settlement.core.break_state import BreakActRefused, Resolution, state_after
from settlement.core.roles import Act
from settlement.disputes import Disputes
from settlement.people import MAX_REASON
from settlement.store import corrections
from settlement.store import desk as store
from settlement.store.corrections import POSTED, PROPOSED, WITHDRAWN, HubCorrection
from settlement.store.desk import Break, ProposedResolution
from settlement.store.intake import lock_partner

MAX_HUB_REASON = 200
"""Characters of a reason that the hub takes."""


class Corrections(Protocol):
    """The hub, as far as it posts corrections. The same answer for a request id, however often it is asked."""

    def propose_adjustment(self, request_id: str, posting: Posting, reason: str) -> int:
        """Proposes a correction; gives its number."""

    def approve_adjustment(self, request_id: str, adjustment_id: int) -> tuple[str, dict[str, object]]:
        """Has a correction posted; gives its entry's id and the signed receipt."""

    def withdraw_adjustment(self, request_id: str, adjustment_id: int, reason: str) -> dict[str, object]:
        """Takes a correction that is not posted back, for ever; gives the signed receipt."""


@dataclass(frozen=True, slots=True)
class Correcting(Disputes):
    """One person with corrections."""

    def posting(self, break_id: int, supplied: Supplied = NOTHING_SUPPLIED) -> Posting:
        """What a correction of the break would post. Raises NothingToPost."""
        return posting_for(_difference(self._locked(break_id)), supplied)

    def propose_adjustment(
        self, break_id: int, reason: str, hub: Corrections, supplied: Supplied = NOTHING_SUPPLIED
    ) -> ProposedResolution:
        """Proposes a correction at the hub and here.

        A break has one correction at the hub that is not withdrawn. The hub's request id is the break's, so one that
        was cut off before this transaction committed is found again when it is repeated, and refused there where it
        says something else. One that lapsed is taken up again. Raises BreakActRefused where that one posts something
        else, or the same deal is corrected as another break.
        """
        found = self._alone(break_id)
        posting = posting_for(_difference(found), supplied)
        self._refuse_corrected_deal(break_id)
        earlier = store.load_resolutions(self.connection, break_id)
        proposed = self._proposal(found, Act.PROPOSE_ADJUSTMENT, Resolution.ADJUSTED, reason)
        content = posting_content(posting)
        known = corrections.list_corrections(self.connection, break_id)
        number = _taken_up(break_id, [one for one in known if one.state != WITHDRAWN], earlier, content)
        if number is None:
            withdrawn = sum(one.state == WITHDRAWN for one in known)
            request_id = corrections.adjustment_request_id(break_id, withdrawn + 1)
            number = hub.propose_adjustment(request_id, posting, proposed.reason)
        proposed = replace(proposed, posting=content, adjustment_id=number)
        store.save_resolution(self.connection, proposed)
        self._moved(
            found,
            Act.PROPOSE_ADJUSTMENT,
            f"ADJUSTED: {proposed.reason}",
            details={"adjustment_id": number, "posting": content},
        )
        return proposed

    def withdraw(self, break_id: int, reason: str, hub: Corrections) -> Break:
        """Withdraws a correction that nobody proposes here any more. What is proposed is rejected instead."""
        found = self._locked(break_id)
        state_after(Act.WITHDRAW_ADJUSTMENT, found.state, owned=bool(found.owner))
        self.actor.check(self.connection, Act.WITHDRAW_ADJUSTMENT)
        why = checked_text("reason", reason, MAX_REASON)
        details = self._withdrawn(break_id, why, hub)
        if not details:
            raise BreakActRefused(f"the hub holds no correction of break {break_id} that could be withdrawn")
        return self._moved(found, Act.WITHDRAW_ADJUSTMENT, why, details=details)

    def _alone(self, break_id: int) -> Break:
        """The break, locked and free, and no other break of its partner's is corrected at the same time."""
        seen = store.load_break(self.connection, break_id)
        if seen is not None:
            lock_partner(self.connection, seen.partner_id)  # before the break, as whoever reconciles
        return self._free(break_id)

    def _refuse_corrected_deal(self, break_id: int) -> None:
        """A newer file or other rules make another break of the same deal; its correction would be a second one."""
        for other in corrections.list_breaks_of_same_deal(self.connection, break_id):
            for one in corrections.list_corrections(self.connection, other):
                if one.state == POSTED:
                    raise BreakActRefused(
                        f"the deal was corrected as break {other}, by adjustment {one.adjustment_id}; what is wrong"
                        " with that takes `tongdui-hub adjust propose`"
                    )
                if one.state == PROPOSED:
                    raise BreakActRefused(
                        f"the hub holds adjustment {one.adjustment_id} of the same deal, proposed for break {other};"
                        f" withdraw it first: `break withdraw {other}`, or `break reject {other}` where it is pending"
                    )

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
        request_id = f"break-{proposed.break_id}-approve-{number}"
        posted = corrections.find_posted_adjustment(self.connection, number)
        if posted and posted.request_id != request_id:
            return {
                "adjustment_id": number,
                "entry_id": posted.entry_id,
                "posted_by_request": posted.request_id,
            }
        entry_id, receipt = hub.approve_adjustment(request_id, number)
        return {"adjustment_id": number, "entry_id": entry_id, "receipt": receipt}

    def _withdrawn(self, break_id: int, reason: str, hub: Corrections | None) -> dict[str, Any]:
        """Withdraws what the hub holds of a break's corrections, and tells its receipts.

        Raises BreakActRefused where one was posted there, past this desk.
        """
        kept = {
            one.adjustment_id
            for one in store.load_resolutions(self.connection, break_id)
            if one.entry_id is not None
        }
        receipts: dict[str, object] = {}
        for one in corrections.list_corrections(self.connection, break_id):
            number = one.adjustment_id
            if one.state == POSTED and number not in kept:
                raise BreakActRefused(
                    f"the hub has adjustment {number} of break {break_id} posted, somebody approved it there; propose"
                    " it here again if need be, and `break approve` takes its entry over"
                )
            if one.state == PROPOSED:
                if hub is None:
                    raise BreakActRefused(f"the hub holds adjustment {number} of break {break_id}; try again")
                request_id = f"break-{break_id}-withdraw-{number}"
                receipts[str(number)] = hub.withdraw_adjustment(request_id, number, reason[:MAX_HUB_REASON])
        return {"withdrawn": receipts} if receipts else {}


def _taken_up(
    break_id: int,
    held: Sequence[HubCorrection],
    earlier: Sequence[ProposedResolution],
    content: Mapping[str, Any],
) -> int | None:
    """The correction of an earlier proposal that the hub still holds or posted; None where there is none.

    Raises BreakActRefused where it posts something else.
    """
    for one in earlier:
        if one.posting is not None and one.adjustment_id in {it.adjustment_id for it in held}:
            if one.posting == content:
                return one.adjustment_id
            raise BreakActRefused(
                f"the hub still holds adjustment {one.adjustment_id} of break {break_id}, which posts something"
                f" else ({posting_words(posting_from(one.posting))}); propose that one again, or withdraw it:"
                f" `break withdraw {break_id}`"
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
