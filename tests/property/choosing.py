"""What the next command of a random history can be about: of whom, following what, near which limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from exchange.core.book import PayCode
from exchange.core.commands import (
    Asked,
    Authority,
    Quote,
    Transfer,
)
from exchange.core.points import MAX_SPEND_MINOR
from tests.builders import M1, MICROSECOND, STRANGER, A, C
from tests.property.asking import ask
from tests.property.coalition import CARDLESS, MEMBERS, PARTNERS, Coalition
from tests.reference import Lot, Posting, ReferenceLedger

MINUTE = timedelta(minutes=1)
RULES = ["", "", "", "welcome"]
OWN_EXPIRY_DAYS = [None, None, None, -1, 0, 1, 2, 3, 5, 7, 400]  # from the day it is posted
EARNED = [20, 7, 100, 1, 60, 1000]
SPENT = [5_000, 9_999, 250, 99, MAX_SPEND_MINOR]
NATIVE = [100, 7, 1, 301]
HOLD_SECONDS = [86_400, 0, 604_800, 3_600, 604_800, 1]
EXTENSIONS = [3_600, 86_400, 604_800, 1, 604_801]
USED = ("held", "burned", "absorbed", "moved_out")
OLDER_THAN_ALLOWED = timedelta(days=9)
NOBODY = 0
"""The member of an adjustment that moves money alone."""

NEAR_A_LIMIT: list[Callable[[int], int]] = [
    lambda limit: max(1, limit // 3),
    lambda limit: max(1, limit),
    lambda limit: max(1, limit // 2),
    lambda limit: max(1, limit),
    lambda _: 1,
    lambda limit: max(1, limit - 1),
    lambda limit: limit + 1,
]


class When(NamedTuple):
    """How far the ledger and the wall clock move first, which begins a batch, and how far the event lies off."""

    ledger: timedelta
    wall: timedelta
    event: timedelta


class Step(NamedTuple):
    """What comes next, when, of whom (a place in the list of those who could), and which of several figures."""

    what: str
    when: When
    who: int
    amount: int
    variant: int


@dataclass
class Chooser:
    """What has been said so far, and what the next command can be about."""

    coalition: Coalition
    now: datetime
    wall: datetime
    reference: ReferenceLedger = field(init=False)
    asked: list[Asked] = field(default_factory=list)
    pay_codes: list[PayCode] = field(default_factory=list)

    def __post_init__(self) -> None:
        """The reference ledger sees the pay codes as they are given out."""
        self.reference = self.coalition.reference([])
        self.reference.pay_codes = self.pay_codes

    # Parts of commands

    def event_time(self, step: Step) -> datetime:
        return self.now + step.when.event

    def common(self, step: Step, member: int, partner: int) -> dict[str, Any]:
        terminal = "t-2" if step.who % 3 == 2 else "t-1"
        when = self.event_time(step)
        return {"member_id": member, "partner_id": partner, "event_time": when, "terminal_id": terminal}

    def follow(
        self, step: Step, request_id: str, what: type[Any], original: Posting | None, **fields: Any
    ) -> Any:
        """A command about an earlier one; now and then under another member's or partner's name."""
        if original is None:
            return None
        common = self.common(step, original.member, original.name[0])
        if step.who % 32 == 31:
            common["member_id"] = one_of(MEMBERS, step.variant)
        if step.who % 32 == 30:
            common["partner_id"] = one_of(PARTNERS, step.variant)
        return ask(what, request_id, **common, **fields, original=original.name[1])

    def spend(self, step: Step, request_id: str, what: type[Any], **fields: Any) -> Any:
        """Mostly by a member who has points, and near what it has."""
        rich = [member for member in MEMBERS if self.reference.available(member)]
        member, partner = one_of(rich or list(MEMBERS), step.who), one_of(PARTNERS, step.who // 4)
        if step.who % 32 == 31:
            member, partner = self.who(step)
        points = near(self.reference.available(member), step)
        common = self.common(step, member, partner)
        authority = Authority(self.pay_code(step, common, points), self.quote(step, partner))
        if what is Transfer:
            authority = replace(authority, quote=None)  # there is nothing to price
        return ask(what, request_id, **common, **fields, points=points, authority=authority)

    def pay_code(self, step: Step, common: dict[str, Any], points: int) -> bytes:
        """Mostly none; or one just given out, or one that is no good in one of several ways."""
        if step.variant % 5 < 4:
            return b""
        wrong = step.variant // 5 % 16
        if wrong == 1:
            return sha256(b"nobody has given it out").digest()
        if wrong == 2 and self.pay_codes:
            return self.pay_codes[-1].digest  # perhaps used, perhaps another member's
        shown = min(self.wall, self.wall - (self.now - common["event_time"]))
        digest = sha256(str(len(self.pay_codes)).encode()).digest()
        code = PayCode(
            digest,
            STRANGER if wrong == 3 else common["member_id"],
            {4: CARDLESS, 5: common["partner_id"]}.get(wrong, 0),
            max(1, points - 1) if wrong == 6 else points,
            shown + MICROSECOND if wrong == 8 else shown,
            self.wall - MICROSECOND if wrong == 7 else self.wall,
        )
        self.pay_codes.append(code)
        return digest

    def quote(self, step: Step, partner: int) -> Quote | None:
        """Mostly none; or a card's price, whichever is in force; sometimes used or too old."""
        if step.variant % 11 < 9 or partner == CARDLESS:
            return None
        what = step.variant // 11 % 8
        expire_time = self.wall + {0: -MICROSECOND, 1: timedelta(0)}.get(what, MINUTE)
        used = sorted(self.reference.used_quotes())
        quote_id = used[-1] if used and what > 4 else f"q-{len(self.asked)}"
        return Quote(quote_id, 1 + step.amount % 2, expire_time)

    def own_day(self, variant: int) -> Any:
        own = one_of(OWN_EXPIRY_DAYS, variant // 3)
        return None if own is None else self.reference.day(self.now) + timedelta(days=own)

    def who(self, step: Step) -> tuple[int, int]:
        """Mostly a member and a partner who know each other."""
        if step.who % 32 == 31:
            strangers: tuple[int, int] = one_of(
                [(M1, CARDLESS), (STRANGER, A), (MEMBERS[1], C)], step.variant
            )
            return strangers
        member, partner = one_of(MEMBERS, step.who), one_of(PARTNERS, step.who // 4)
        return member, partner if self.reference.limits(member, partner) else A

    def claw_back_of(self, earn: Posting, step: Step) -> dict[str, Any]:
        spend = earn.command.spend_minor
        before = self.reference.followers(earn, "claw_back_earn")
        part = self.part(step, len(before))
        if (spend and step.variant % 2) or step.variant % 16 == 15:
            left = spend - sum(each.command.refunded_spend_minor for each in before)
            return part | {"refunded_spend_minor": near(left, step)}
        return part | {"points": near(earn.points - self.reference.clawed_back(earn), step)}

    def refund_of(self, burn: Posting, step: Step) -> dict[str, Any]:
        before = self.reference.followers(burn, "refund_burn")
        left = burn.points - sum(refund.points for refund in before)
        return self.part(step, len(before)) | {"points": near(left, step)}

    def part(self, step: Step, before: int) -> dict[str, Any]:
        """Parts of one receipt share its reference and number themselves."""
        if step.variant % 3:
            return {}
        return {"reference": "the receipt", "part": before + step.variant % 2}

    # Whom and what there is

    def unencumbered(self, step: Step) -> list[int]:
        """Members who can be merged or closed; now and then those for whom something is outstanding, too."""
        lively, ledger = self.in_state("active", "frozen"), self.reference
        if step.variant % 8 == 7:
            return lively
        return [member for member in lively if not ledger.pending(member) and not ledger.held(member)]

    def in_state(self, *states: str) -> list[int]:
        return [member for member in MEMBERS if self.reference.state(member)[0] in states]

    def postings(self, *kinds: str) -> list[Posting]:
        return [posting for posting in self.reference.postings if posting.kind in kinds]

    def earns(self, *, pending: bool = False) -> tuple[list[Posting], list[Posting]]:
        """Those of which something is left, and all."""
        every = self.postings("earn")
        if pending:
            return [earn for earn in every if self.reference.left_pending(earn)], every
        return [earn for earn in every if self.reference.clawed_back(earn) < earn.points], every

    def points_in(self, lot: Lot, *accounts: str) -> int:
        points = self.reference.balances()
        return sum(points[lot, account] for account in accounts)

    def burns(self) -> tuple[list[Posting], list[Posting]]:
        every = self.postings("burn", "capture_burn", "confirm_exchange_out")
        returned = {each.name: self.reference.followers(each, "refund_burn") for each in every}
        left = [each for each in every if sum(refund.points for refund in returned[each.name]) < each.points]
        return left, every

    def holds(self, *kinds: str) -> tuple[list[Posting], list[Posting]]:
        """Those still open, if there are any of members who owe something only these; and all."""
        every = self.postings(*kinds)
        live = [hold for hold in every if not self.reference.end_of_hold(hold)]
        return [hold for hold in live if self.reference.deficit(hold.member)] or live, every

    def pick(self, step: Step, choice: tuple[list[Posting], list[Posting]]) -> Posting | None:
        """One of those of which something is left, the last ones first; now and then any."""
        live, every = choice
        among = every if step.who % 16 == 15 else live or every
        return among[-1 - step.who % len(among)] if among else None


def one_of(choice: Sequence[Any], place: int) -> Any:
    return choice[place % len(choice)]


def near(limit: int, step: Step) -> int:
    near: int = one_of(NEAR_A_LIMIT, step.amount)(limit)
    return near
