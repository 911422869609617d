"""Turns the steps of a random history into commands that mostly hit.

Each command is also told to the reference ledger, and the next is chosen by what that one then knows: what is
open, held or pending, what can be refunded and how much of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any

from exchange.core.commands import (
    Adjust,
    Authority,
    AuthorizeBurn,
    Burn,
    CancelEarn,
    CaptureBurn,
    ChangeState,
    ClawBackEarn,
    Command,
    ConfirmEarn,
    ConfirmExchangeOut,
    Earn,
    ExchangeIn,
    ExchangeOut,
    ExtendHold,
    Merge,
    MoneyMove,
    RefundBurn,
    RefuseExchangeOut,
    Transfer,
    Unmerge,
    VoidBurn,
    Wake,
)
from exchange.core.ids import OPERATOR, POOL
from tests.builders import STRANGER, A, B, C
from tests.property.asking import ask, ask_operator, sealed
from tests.property.choosing import (
    EARNED,
    EXTENSIONS,
    HOLD_SECONDS,
    NATIVE,
    NOBODY,
    OLDER_THAN_ALLOWED,
    RULES,
    SPENT,
    USED,
    Chooser,
    Step,
    near,
    one_of,
)
from tests.property.coalition import MEMBERS, WITHDRAWN


@dataclass(frozen=True)
class Batch:
    """Commands that are decided together."""

    decided_time: datetime
    wall_time: datetime
    commands: tuple[Command, ...]


@dataclass
class Writer(Chooser):
    """Writes one history: `write` for each step, then `finish`."""

    batches: list[Batch] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)

    def write(self, step: Step) -> None:
        """The step's command, or its campaign of several."""
        if step.when.ledger or step.when.wall:
            self._end_batch()
            self.now += step.when.ledger
            self.wall += step.when.wall
        for command in self._commands(step, f"r-{len(self.asked)}"):
            self._say(command)

    def begin(self) -> None:
        """Everybody has some points of two partners."""
        for number, (member, partner) in enumerate(
            zip((*MEMBERS, *MEMBERS), (A, B, C, A, B, A, B, C), strict=True)
        ):
            figures: dict[str, Any] = {"points": 90 + number, "member_id": member, "partner_id": partner}
            self._say(ask(Earn, f"first-{number}", **figures, event_time=self.now))

    def finish(self) -> tuple[Batch, ...]:
        """All batches."""
        self._end_batch()
        return tuple(self.batches)

    def _say(self, command: Any) -> None:
        self.commands.append(command)
        self.reference.submit(command, self.now, self.wall)
        if not isinstance(command, Wake):
            self.asked.append(command)

    def _end_batch(self) -> None:
        if self.commands:
            self.batches.append(Batch(self.now, self.wall, tuple(self.commands)))
            self.commands = []

    def _commands(self, step: Step, request_id: str) -> list[Any]:
        if step.what == "campaign":
            return self._campaign(step, request_id)
        if step.what == "spree":
            return self._spree(step, request_id)
        if step.what == "guesses":
            return self._guesses(step, request_id)
        if step.what == "wake":
            return [Wake((*MEMBERS, STRANGER)[step.who % 5])]
        if step.what in ("again", "reuse", "duplicate"):
            return [self._asked_before(step, request_id)]
        writes = getattr(self, f"_{step.what}")
        return [writes(step, request_id) or self._earn(step, request_id)]

    # Points in

    def _earn(self, step: Step, request_id: str) -> Any:
        variant = step.variant
        figures: dict[str, Any] = {"points": one_of(EARNED, step.amount)}
        if variant % 3 == 1:
            figures = {"spend_minor": one_of(SPENT, step.amount)}
        elif variant % 8 == 6:
            figures = {"native_points": one_of(NATIVE, step.amount)}
        member, partner = self.who(step)
        return ask(
            Earn,
            request_id,
            **self.common(step, member, partner),
            **figures,
            expiry_date=self.own_day(variant),
            pending=variant % 4 == 3,
            once_rule=one_of(RULES, variant // 4),
            quote=self.quote(step, partner),
        )

    def _pending(self, step: Step, request_id: str) -> Any:
        return self._earn(step._replace(variant=step.variant // 4 * 4 + 3), request_id)

    def _exchange_in(self, step: Step, request_id: str) -> Any:
        member, partner = self.who(step)
        return ask(
            ExchangeIn,
            request_id,
            **self.common(step, member, partner),
            native_points=one_of(NATIVE, step.amount),
            expiry_date=self.own_day(step.variant),
            quote=self.quote(step, partner),
        )

    def _campaign(self, step: Step, request_id: str) -> list[Any]:
        """Six earns of six expiry days: members get more lots than a burn is given at first."""
        member, partner = self.who(step)
        today = self.reference.day(self.now)
        common = {**self.common(step, member, partner), "event_time": self.now}
        return [
            ask(
                Earn,
                f"{request_id}.{days}",
                **common,
                points=10 + days,
                expiry_date=today + timedelta(days=days),
            )
            for days in (5, 1, 2, 7, 3, 0)
        ]

    def _confirm_earn(self, step: Step, request_id: str) -> Any:
        """Often of a member who was merged, whose points go to another."""
        pending, every = self.earns(pending=True)
        merged = self.in_state("merged")
        moving = [earn for earn in pending if earn.member in merged]
        among = moving if moving and step.variant % 2 else pending
        return self.follow(step, request_id, ConfirmEarn, self.pick(step, (among, every)))

    def _cancel_earn(self, step: Step, request_id: str) -> Any:
        return self.follow(step, request_id, CancelEarn, self.pick(step, self.earns(pending=True)))

    def _claw_back(self, step: Step, request_id: str) -> Any:
        """Mostly of points that were used; often of all of an earn of which some is held; at times of none."""
        live, every = self.earns()
        if step.variant % 8 == 5:
            cancelled = [earn for earn in every if self.reference.followers(earn, "cancel_earn")]
            live = cancelled or live
        held = [earn for earn in live if any(self.points_in(move.lot, "held") for move in earn.moves)]
        if held and step.variant % 3 == 0:
            earn = self.pick(step, (held, held))
            assert earn is not None
            left = earn.points - self.reference.clawed_back(earn)
            return self.follow(step, request_id, ClawBackEarn, earn, points=left)
        used = [earn for earn in live if any(self.points_in(move.lot, *USED) for move in earn.moves)]
        earn = self.pick(step, (used if step.variant % 4 else live, live or every))
        if earn is None:
            return None
        return self.follow(step, request_id, ClawBackEarn, earn, **self.claw_back_of(earn, step))

    # Points out

    def _burn(self, step: Step, request_id: str) -> Any:
        return self.spend(step, request_id, Burn)

    def _spree(self, step: Step, request_id: str) -> list[Any]:
        """Three burns of a point on one day at one till: more than some coalitions allow."""
        one_point = step._replace(amount=4)
        return [self._burn(one_point, f"{request_id}.{number}") for number in range(3)]

    def _authorize(self, step: Step, request_id: str) -> Any:
        return self.spend(step, request_id, AuthorizeBurn, hold_seconds=one_of(HOLD_SECONDS, step.variant))

    def _exchange_out(self, step: Step, request_id: str) -> Any:
        return self.spend(step, request_id, ExchangeOut)

    def _transfer(self, step: Step, request_id: str) -> Any:
        indebted = [member for member in MEMBERS if self.reference.deficit(member)]
        receiver = one_of(indebted if indebted and step.variant % 4 else MEMBERS, step.variant)
        if step.variant % 32 == 31:
            receiver = STRANGER
        transfer = self.spend(step, request_id, Transfer, to_member_id=receiver)
        if transfer.to_member_id != transfer.member_id or step.variant % 8 == 7:
            return transfer
        return sealed(replace(transfer, to_member_id=one_of(MEMBERS, receiver + 1)))

    def _extend(self, step: Step, request_id: str) -> Any:
        seconds = one_of(EXTENSIONS, step.variant)
        return self._end(step, request_id, ExtendHold, hold_seconds=seconds)

    def _capture(self, step: Step, request_id: str) -> Any:
        hold = self.pick(step, self.holds("authorize_burn"))
        points = 0 if hold is None or step.variant % 4 == 0 else near(hold.points, step)
        return self._end(step, request_id, CaptureBurn, points=points)

    def _void(self, step: Step, request_id: str) -> Any:
        return self._end(step, request_id, VoidBurn)

    def _confirm_out(self, step: Step, request_id: str) -> Any:
        return self._end(step, request_id, ConfirmExchangeOut)

    def _refuse_out(self, step: Step, request_id: str) -> Any:
        return self._end(step, request_id, RefuseExchangeOut)

    def _end(self, step: Step, request_id: str, what: type[Any], **fields: Any) -> Any:
        """What is done with a hold; where there is none that is open, mostly one to do it with later."""
        exchanged = what in (ConfirmExchangeOut, RefuseExchangeOut)
        live, every = self.holds("exchange_out" if exchanged else "authorize_burn")
        if live or step.variant % 4 == 3:
            return self.follow(step, request_id, what, self.pick(step, (live, every)), **fields)
        return self._exchange_out(step, request_id) if exchanged else self._authorize(step, request_id)

    def _mistake(self, step: Step, request_id: str) -> Any:
        """A hold taken for one of another kind, or for a burn, or for an earn."""
        hold = self.pick(step, self.holds("exchange_out", "authorize_burn"))
        follow = partial(self.follow, step, request_id)
        what = step.variant % 7
        if what == 0:
            return follow(RefundBurn, hold, points=1)
        if what == 1:
            return follow(ConfirmEarn, hold)
        if what == 2:
            return follow(CaptureBurn, self.pick(step, self.burns()))
        if what == 3:
            return follow(ExtendHold, hold, hold_seconds=60)
        return follow((VoidBurn, ConfirmExchangeOut, RefuseExchangeOut)[what - 4], hold)

    def _refund(self, step: Step, request_id: str) -> Any:
        burn = self.pick(step, self.burns())
        if burn is None:
            return None
        return self.follow(step, request_id, RefundBurn, burn, **self.refund_of(burn, step))

    def _guesses(self, step: Step, request_id: str) -> list[Any]:
        """Somebody tries pay codes that nobody has given out, until the terminal is locked."""
        member, partner = self.who(step)
        common = {**self.common(step, member, partner), "event_time": self.now}
        return [
            ask(
                Burn,
                f"{request_id}.{number}",
                **common,
                points=1,
                authority=Authority(sha256(f"{request_id}.{number}".encode()).digest()),
            )
            for number in range(6)
        ]

    # The operator

    def _freeze(self, step: Step, request_id: str) -> Any:
        return self._change(step, request_id, "freeze")

    def _unfreeze(self, step: Step, request_id: str) -> Any:
        if not self.in_state("frozen") and step.variant % 4:
            return None
        return self._change(step, request_id, "unfreeze", "frozen")

    def _close(self, step: Step, request_id: str) -> Any:
        if step.variant % 2:
            return None
        member = one_of(self.unencumbered(step) or list(MEMBERS), step.who)
        when = self.event_time(step)
        return ask_operator(ChangeState, request_id, member_id=member, event_time=when, kind="close")

    def _merge(self, step: Step, request_id: str) -> Any:
        lively = self.unencumbered(step)
        member = one_of(lively or list(MEMBERS), step.who)
        others = [each for each in lively if each != member]
        if not others and step.variant % 4:
            return None
        into = one_of(others if others and step.variant % 8 < 7 else MEMBERS, step.variant)
        when = self.event_time(step)
        return ask_operator(Merge, request_id, member_id=member, event_time=when, into_member_id=into)

    def _unmerge(self, step: Step, request_id: str) -> Any:
        every = self.postings("merge")
        live = [each for each in every if self.reference.state(each.member)[2] == each.name]
        merge = self.pick(step, (live, every))
        if merge is None:
            return None
        when, original = self.event_time(step), merge.name[1]
        return ask_operator(Unmerge, request_id, member_id=merge.member, event_time=when, original=original)

    def _adjust(self, step: Step, request_id: str) -> Any:
        """A correction, often of what happened longer ago than is allowed otherwise."""
        when = self.now - (OLDER_THAN_ALLOWED if step.variant % 3 == 0 else timedelta(0))
        subject = self._subject(step, f"{request_id}.for", when)
        if subject is None:
            return None
        member = NOBODY if isinstance(subject, MoneyMove) else subject.member_id
        fields: dict[str, Any] = {"member_id": member, "event_time": when, "subject": subject}
        return ask_operator(
            Adjust, request_id, **fields, adjustment_id=WITHDRAWN if step.variant % 16 == 5 else 0
        )

    def _subject(self, step: Step, request_id: str, when: datetime) -> Any:
        """What an adjustment stands for."""
        member, partner = self.who(step)
        kind = step.who % 5
        common: dict[str, Any] = {"member_id": member, "partner_id": partner, "event_time": when}
        if kind == 0:
            return ask(Earn, request_id, **common, points=one_of(EARNED, step.amount))
        if kind == 1:
            if member not in self.in_state("active", "frozen"):
                return None
            missing = self.reference.available(member) + step.variant % 50
            return ask(Burn, request_id, **common, points=near(missing, step))
        if kind == 2:
            parties = (A, B, C, OPERATOR, POOL)
            payer, payee = one_of(parties, step.variant), one_of(parties[1:], step.amount)
            return MoneyMove(payer, payee, 1 + step.variant)
        original = self.pick(step, self.earns() if kind == 3 else self.burns())
        if original is None:
            return None
        figures = self.claw_back_of(original, step) if kind == 3 else self.refund_of(original, step)
        common |= {"member_id": original.member, "partner_id": original.name[0]}
        figures |= common | {"original": original.name[1]}
        return ask(ClawBackEarn if kind == 3 else RefundBurn, request_id, **figures)

    def _change(self, step: Step, request_id: str, kind: str, *states: str) -> Any:
        member = one_of(self.in_state(*states) or list(MEMBERS), step.who)
        when = self.event_time(step)
        return ask_operator(ChangeState, request_id, member_id=member, event_time=when, kind=kind)

    # What was asked before

    def _asked_before(self, step: Step, request_id: str) -> Any:
        """The same once more; other fields under the same id; or the same under another id."""
        if not self.asked:
            return self._earn(step, request_id)
        earlier: Any = self.asked[-1 - step.who % len(self.asked)]
        if step.what == "reuse":
            return sealed(replace(earlier, reason="another"))
        if step.what == "duplicate":
            return sealed(replace(earlier, request_id=request_id, event_time=self.event_time(step)))
        return earlier
