"""One command after the other: what is due, the objections in their order, the rule."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.reference import accounts, earning, spending
from tests.reference.due import post_what_is_due
from tests.reference.journal import Decided, Journal
from tests.reference.records import OPERATOR, TOLERANCE, Answer, Posting, member_text, no

RULES: dict[str, Callable[[Journal, Any, Posting], Answer]] = {
    "earn": earning.earn,
    "confirm_earn": earning.confirm_earn,
    "cancel_earn": earning.cancel_earn,
    "claw_back_earn": earning.claw_back_earn,
    "exchange_in": earning.exchange_in,
    "authorize_burn": spending.authorize_burn,
    "extend_hold": spending.extend_hold,
    "capture_burn": spending.capture_burn,
    "void_burn": spending.void_burn,
    "burn": spending.burn,
    "refund_burn": spending.refund_burn,
    "exchange_out": spending.exchange_out,
    "confirm_exchange_out": spending.confirm_exchange_out,
    "refuse_exchange_out": spending.refuse_exchange_out,
    "transfer": spending.transfer,
    "freeze": accounts.freeze,
    "unfreeze": accounts.unfreeze,
    "close": accounts.close,
    "merge": accounts.merge,
    "unmerge": accounts.unmerge,
}
ADJUSTED = {**RULES, "burn": accounts.adjusted_burn, "money": accounts.move_money}
BLOCKED_WHEN_FROZEN = ("earn", "exchange_in", "authorize_burn", "burn", "exchange_out", "transfer")
BLOCKED_WHEN_MERGED = ("authorize_burn", "burn", "exchange_out", "transfer")


class ReferenceLedger(Journal):
    """`submit(command, now, wall)` for each command in turn, then compare what it knows."""

    def submit(self, command: Any, now: datetime, wall: datetime) -> tuple[Answer, bool]:
        """The answer, and whether it was given before. `now` is the ledger clock, `wall` the wall clock."""
        if command.kind == "wake":
            before = len(self.postings)
            post_what_is_due(self, command.member_id, now, wall)
            return {"verdict": "woken", "entries": len(self.postings) - before}, False
        for earlier, answer in self.decided:
            if (earlier.partner_id, earlier.request_id) == (command.partner_id, command.request_id):
                if earlier.fingerprint == command.fingerprint:
                    return answer, True
                return no("REQUEST_ID_REUSED", kept=False), False
        for member in self._members_of(command):
            post_what_is_due(self, member, now, wall)
        answer = self._decide(command, now, wall)
        if answer["verdict"] != "rejected":
            self.decided.append(Decided(command, answer))
        return answer, False

    def _members_of(self, command: Any) -> list[int]:
        """Those named, then those in whom they live on."""
        named = [command.member_id]
        named += [
            getattr(command, field) for field in ("to_member_id", "into_member_id") if hasattr(command, field)
        ]
        return [*named, *(self.root(member) for member in named)]

    def _decide(self, command: Any, now: datetime, wall: datetime) -> Answer:
        name = (command.partner_id, command.request_id)
        entry = Posting(name, command.kind, command.reference, command, command.kind, now, wall)
        if command.partner_id == OPERATOR:
            answer = self._objection_to_operator(command, now) or self._decide_operators(command, entry)
        else:
            answer = self._objection(command, now) or RULES[command.kind](self, command, entry)
        if "verdict" in answer:
            return answer
        return {
            "verdict": "accepted",
            "entry": entry.name,
            "points": entry.points,
            "available_points": self.available(self.root(command.member_id)),
            "rate_version": entry.version,
            "expiry_date": None,
            "value_micros": 0,
            "reimbursement_micros": 0,
            "remaining_points": 0,
            "deficit_points": 0,
            "released_points": 0,
            "native_points": 0,
            "deadline": None,
            **answer,
        }

    def _decide_operators(self, command: Any, entry: Posting) -> Answer:
        if command.kind != "adjust":
            return RULES[command.kind](self, command, entry)
        subject = command.subject
        if not hasattr(subject, "kind"):
            entry.does = "money"
            return ADJUSTED["money"](self, command, entry)
        if self.limits(subject.member_id, subject.partner_id) is None:
            return no("MEMBER_UNKNOWN")
        entry.does, entry.command = subject.kind, subject
        return ADJUSTED[subject.kind](self, subject, entry)

    def _objection(self, command: Any, now: datetime) -> Answer | None:
        """What every command of a partner must pass, in the order of docs/ledger.md."""
        members = [command.member_id, *([command.to_member_id] if command.kind == "transfer" else [])]
        if command.event_time > now + TOLERANCE:
            return no("EVENT_IN_FUTURE", kept=False)
        for member in members:
            if member not in self.members or self.limits(member, command.partner_id) is None:
                return no("MEMBER_UNKNOWN")
        if command.event_time < now - self.terms.late_limit:
            return no("EVENT_TOO_OLD")
        refused = self._objection_to_reference(command)
        if refused is not None:
            return refused
        for member in members:
            refused = self._objection_to_state(command.kind, member)
            if refused is not None:
                return refused
        return None

    def _objection_to_state(self, kind: str, member: int) -> Answer | None:
        """A merged member's account is its survivor's."""
        state = self.state(member)[0]
        root = self.root(member)
        if state == "merged" and kind in BLOCKED_WHEN_MERGED:
            return no("MEMBER_MERGED", survivor_member_id=member_text(root))
        if kind in BLOCKED_WHEN_FROZEN:
            reasons = {"frozen": "MEMBER_FROZEN", "closed": "MEMBER_CLOSED"}
            if self.state(root)[0] in reasons:
                return no(reasons[self.state(root)[0]])
        return None

    def _objection_to_operator(self, command: Any, now: datetime) -> Answer | None:
        if getattr(command, "adjustment_id", None) in self.withdrawn:
            return no("ADJUSTMENT_WITHDRAWN")
        if command.event_time > now + TOLERANCE:
            return no("EVENT_IN_FUTURE", kept=False)
        for member in self._members_of(command):
            if member not in self.members and hasattr(getattr(command, "subject", command), "member_id"):
                return no("MEMBER_UNKNOWN")
        return self._objection_to_reference(command)

    def _objection_to_reference(self, command: Any) -> Answer | None:
        """Whether the same receipt, or the same part of it, was accepted before for the same kind of command."""
        named = (command.partner_id, command.kind, command.reference, getattr(command, "part", 0))
        for posting in self.postings:
            part = 0 if posting.kind == "adjust" else getattr(posting.command, "part", 0)
            if named == (posting.name[0], posting.kind, posting.reference, part):
                return no("DUPLICATE_REFERENCE", entry_id=posting.name)
        return None
