"""A coalition large enough to measure: 50 partners, many members, each dealing with three partners."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypedDict

from examples.coalition import CardTerms, Operators, Site, open_hub
from merchant_adapter import (
    BurnCommand,
    Consent,
    EarnCommand,
    Enrolled,
    EnrollMember,
    Hub,
    Key,
    LinkAlias,
    Linked,
    Prepared,
    Refusal,
    prepare_batch,
)

PARTNERS: Final = 50
LINKS: Final = 3
CHUNK: Final = 1000
ENOUGH: Final = 10_000_000
"""Points every member holds before the measuring, so that no burn is refused for want of points."""

_CONSENT: Final = Consent(per_burn_limit_points=1_000_000, per_day_limit_points=1_000_000_000)


@dataclass(slots=True)
class Population:
    """The partners' keys, and for each partner the members it enrolled and all that are linked to it."""

    keys: list[Key] = field(default_factory=list)
    enrolled: list[list[str]] = field(default_factory=list)
    members: list[list[str]] = field(default_factory=list)


async def populate(
    site: Site,
    address: str,
    operators: Operators,
    member_count: int,
    advance: Callable[[int], None],
    prefix: str = "p",
    partner_count: int = PARTNERS,
) -> Population:
    """Makes partners with cards, members and links, through the hub's own services."""
    people = Population(
        enrolled=[[] for _ in range(partner_count)], members=[[] for _ in range(partner_count)]
    )
    for number in range(partner_count):
        key = await operators.add_partner(f"{prefix}{number}", f"Partner {number}")
        await operators.add_card(key.owner, datetime(2020, 1, 1, tzinfo=UTC), CardTerms())
        people.keys.append(key)
    hubs = [open_hub(site, address, key) for key in people.keys]
    share = -(-member_count // partner_count)
    for home, hub in enumerate(hubs):
        for first in range(0, min(share, member_count - home * share), CHUNK):
            count = min(CHUNK, share - first, member_count - home * share - first)
            members = await _enroll(hub, first, count)
            people.enrolled[home] += members
            people.members[home] += members
            for step in range(1, LINKS):
                other = (home + step * 7) % partner_count
                await _link(hubs[other], home, first, members)
                people.members[other] += members
            advance(count)
    for hub in hubs:
        await hub.close()
    return people


async def _enroll(hub: Hub, first: int, count: int) -> list[str]:
    wanted = [EnrollMember(customer_id=f"c{first + i}", consent=_CONSENT) for i in range(count)]
    return [_member(result) for result in await hub.enroll_batch(wanted)]


async def _link(hub: Hub, home: int, first: int, members: Sequence[str]) -> None:
    wanted = [
        LinkAlias(member_id=member, customer_id=f"h{home}-{first + i}", consent=_CONSENT)
        for i, member in enumerate(members)
    ]
    for result in await hub.link_batch(wanted):
        _member(result)


def _member(result: Enrolled | Linked | Refusal) -> str:
    if isinstance(result, Refusal):
        raise RuntimeError(  # noqa: TRY004  # a refusal, not a wrong type
            f"a member could not be set up: {result}"
        )
    return result.member_id


class _Sale(TypedDict):
    """What an earn and a burn have in common."""

    event_time: datetime
    store_id: str
    terminal_id: str
    reference: str


class Sales:
    """Makes commands of one partner: earns and burns of random members of its own, and stocking earns."""

    def __init__(self, people: Population, partner: int, seed: int) -> None:
        """Takes the partner's number; equal seeds make equal commands but for ids and times."""
        self._members = people.members[partner]
        self._random = random.Random(seed * 1_000 + partner)
        self._prefix = f"{seed}-{partner}-"
        self._count = 0

    def stock(self, members: Sequence[str]) -> Prepared:
        """An earn that gives each of these members enough points for every burn to come."""
        return prepare_batch([self._earn(member, points=ENOUGH) for member in members])

    def lots(self, members: Sequence[str], first: date, count: int) -> Prepared:
        """Earns that open `count` lots for each member, one an expiry day from `first` on."""
        return prepare_batch(
            [
                self._earn(member, points=1_000, expiry_date=first + timedelta(days=day))
                for member in members
                for day in range(count)
            ]
        )

    def batch(self, size: int, burn_share: float = 0.3) -> Prepared:
        """`size` commands of random members, `burn_share` of them burns."""
        chosen = self._random.choices(self._members, k=size)
        return prepare_batch(
            [
                self.burn(member) if self._random.random() < burn_share else self._earn(member, spend=True)
                for member in chosen
            ]
        )

    def burn(self, member: str | None = None) -> BurnCommand:
        """A small burn of a random member."""
        return BurnCommand(
            member_id=member or self._random.choice(self._members),
            points=self._random.randrange(1, 50),
            **self._sale(),
        )

    def _earn(
        self, member: str, points: int | None = None, expiry_date: date | None = None, spend: bool = False
    ) -> EarnCommand:
        return EarnCommand(
            member_id=member,
            points=points,
            eligible_spend_minor=self._random.randrange(500, 50_000) if spend else None,
            expiry_date=expiry_date,
            **self._sale(),
        )

    def _sale(self) -> _Sale:
        self._count += 1
        return {
            "event_time": datetime.now(UTC),
            "store_id": f"store-{self._count % 9}",
            "terminal_id": f"till-{self._count % 40}",
            "reference": f"{self._prefix}{self._count}",
        }
