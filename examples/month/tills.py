"""A partner's side of the demo: its signing client, and what came of everything it sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from examples.month.households import CONSENT, PlannedBurn
from examples.purchases.reader import Purchase
from merchant_adapter import (
    BurnCommand,
    Burned,
    EarnCommand,
    Earned,
    EnrollMember,
    Hub,
    LinkAlias,
    Receipt,
    Refusal,
)

MOST_AT_ONCE: Final = 1_000
"""Commands under one signature."""

TERMINAL: Final = "1"
"""The purchases do not say at which till of a store they were made."""

_Item = TypeVar("_Item")


class MemberRefused(RuntimeError):
    """The hub refused to enrol or link a household, which no household of the demo gives reason for."""


@dataclass(slots=True)
class Totals:
    """What all tills sent and what came back. Points are whole.

    Attributes:
        posted: earns and burns sent, each answered once.
        refused: of them, by reason.
        receipts: answers of the hub, for a batch or a call, whose signature the adapter found good.
        last_receipts: each partner's newest receipt of a batch of earns or burns.
    """

    posted: int = 0
    earns: int = 0
    burns: int = 0
    earned_points: int = 0
    burned_points: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    receipts: int = 0
    last_receipts: dict[str, Receipt] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        """Earns and burns that are in the journal."""
        return self.earns + self.burns

    def add(self, outcome: Earned | Burned | Refusal) -> None:
        """Counts one answer."""
        self.posted += 1
        match outcome:
            case Earned():
                self.earns += 1
                self.earned_points += outcome.points
            case Burned():
                self.burns += 1
                self.burned_points += outcome.points
            case Refusal():
                self.refused[outcome.reason] += 1


class Till:
    """One partner, calling the hub with its own key. Sends in batches of up to `MOST_AT_ONCE`."""

    def __init__(self, partner_id: str, hub: Hub, totals: Totals) -> None:
        self.partner_id = partner_id
        self._hub = hub
        self._totals = totals

    async def enroll(self, households: Sequence[int]) -> dict[int, str]:
        """Makes households members; gives their ids at the hub."""
        member_ids: dict[int, str] = {}
        for part in _parts(households):
            asked = [EnrollMember(customer_id=self._customer_id(it), consent=CONSENT) for it in part]
            results = await self._hub.enroll_batch(asked)
            self._count(results.receipt)
            for household, enrolled in zip(part, results, strict=True):
                if isinstance(enrolled, Refusal):
                    raise MemberRefused(f"{self.partner_id}: {enrolled.reason}: {enrolled.message}")
                member_ids[household] = enrolled.member_id
        return member_ids

    async def link(self, member_ids: Mapping[int, str]) -> None:
        """Links members who shop here for the first time to this partner's own customer ids."""
        for part in _parts(list(member_ids)):
            asked = [
                LinkAlias(
                    member_id=member_ids[household],
                    customer_id=self._customer_id(household),
                    consent=CONSENT,
                )
                for household in part
            ]
            results = await self._hub.link_batch(asked)
            self._count(results.receipt)
            for linked in results:
                if isinstance(linked, Refusal):
                    raise MemberRefused(f"{self.partner_id}: {linked.reason}: {linked.message}")

    async def earn(
        self, purchases: Sequence[Purchase], member_ids: Mapping[int, str]
    ) -> list[tuple[Purchase, Earned]]:
        """Posts an earn for each purchase; gives those that were accepted."""
        accepted: list[tuple[Purchase, Earned]] = []
        for part in _parts(purchases):
            outcomes = await self._post(
                [
                    EarnCommand(
                        member_id=member_ids[purchase.household_id],
                        event_time=purchase.event_time,
                        store_id=str(purchase.store_id),
                        terminal_id=TERMINAL,
                        reference=str(purchase.basket_id),
                        eligible_spend_minor=purchase.spend_fen,
                    )
                    for purchase in part
                ]
            )
            accepted += [
                (it, earned) for it, earned in zip(part, outcomes, strict=True) if isinstance(earned, Earned)
            ]
        return accepted

    async def burn(self, burns: Sequence[PlannedBurn], member_ids: Mapping[int, str]) -> None:
        """Posts burns."""
        for part in _parts(burns):
            await self._post(
                [
                    BurnCommand(
                        member_id=member_ids[burn.purchase.household_id],
                        event_time=burn.purchase.event_time,
                        store_id=str(burn.purchase.store_id),
                        terminal_id=TERMINAL,
                        reference=str(burn.purchase.basket_id),
                        points=burn.points,
                    )
                    for burn in part
                ]
            )

    async def _post(self, commands: Sequence[EarnCommand | BurnCommand]) -> list[Earned | Burned | Refusal]:
        results = await self._hub.post_batch(commands)
        self._totals.last_receipts[self.partner_id] = self._count(results.receipt)
        outcomes = list(results)
        for outcome in outcomes:
            self._totals.add(outcome)
        return outcomes

    def _count(self, receipt: Receipt | None) -> Receipt:
        assert receipt is not None, "the adapter lets no answer to a write pass without a verified receipt"
        self._totals.receipts += 1
        return receipt

    def _customer_id(self, household_id: int) -> str:
        """The partner's own number for a household; no partner sees another's."""
        return f"{self.partner_id}-{household_id}"


def _parts(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), MOST_AT_ONCE):
        yield items[start : start + MOST_AT_ONCE]
