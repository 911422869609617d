"""The walk through the month: sets up the coalition, then day after day posts what was bought."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from pathlib import Path
from typing import Final, TypeVar

from examples.coalition import Site, open_hub, open_operators
from examples.month.households import Households, PlannedBurn
from examples.month.partners import PARTNER_IDS, PARTNERS
from examples.month.tills import Till, Totals
from examples.purchases.reader import Purchase
from merchant_adapter import Key
from tongdui.exchange.v1.partners_service_pb2 import ROLE_FINANCE_MAKER

FINANCE_HOLDER: Final = "carol"
_ONE_DAY: Final = timedelta(days=1)
_LAST_SECOND: Final = time(23, 59, 59)
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Day:
    """What was bought on one day (UTC), by time, basket and partner."""

    date: date
    purchases: Sequence[Purchase]

    @property
    def begin_time(self) -> datetime:
        """Its midnight."""
        return datetime.combine(self.date, time(), UTC)


def by_day(purchases: Sequence[Purchase]) -> list[Day]:
    """Groups purchases, which are in the order of time."""
    grouped = groupby(purchases, key=lambda purchase: purchase.event_time.date())
    return [Day(day, list(of_day)) for day, of_day in grouped]


class Walk:
    """One walk: use it with `async with`, `set_up`, then `through` each day in order."""

    def __init__(self, site: Site, address: str, operator_keys: Sequence[Key], totals: Totals) -> None:
        self.households = Households()
        self._site = site
        self._address = address
        self._totals = totals
        self._stack = AsyncExitStack()
        self._operators = open_operators(site, address, operator_keys)
        for operator in (self._operators.first, self._operators.second):
            self._stack.push_async_callback(operator.channel.close)
        self._tills: dict[str, Till] = {}

    async def set_up(self, valid_from: datetime, keys_folder: Path) -> dict[str, Path]:
        """Adds the nine partners with their cards, and connects each with its own key; gives the key files."""
        files: dict[str, Path] = {}
        for partner in PARTNERS:
            key = await self._operators.add_partner(partner.partner_id, partner.display_name)
            files[partner.partner_id] = key.save(keys_folder / partner.partner_id)
            await self._operators.add_card(partner.partner_id, valid_from, partner.card)
            hub = await self._stack.enter_async_context(open_hub(self._site, self._address, key))
            self._tills[partner.partner_id] = Till(partner.partner_id, hub, self._totals)
        return files

    async def admit_finance(self, keys_folder: Path) -> Path:
        """Makes a key that may close windows and sign certificates, has it admitted, gives its file."""
        key = Key.generate("operator", FINANCE_HOLDER)
        await self._operators.admit_key(key, [ROLE_FINANCE_MAKER])
        return key.save(keys_folder / "finance")

    async def through(self, day: Day) -> None:
        """Posts a day's purchases just before its midnight, then lets the ledger clock strike it.

        Partners post one after another: the order in which a member's lots are made decides between lots
        that expire on the same day, and every run of the demo is to come to the same money.
        """
        await self._operators.first.set_time(datetime.combine(day.date, _LAST_SECOND, UTC))
        await self._welcome(day.purchases)
        available_points: dict[int, int] = {}
        for partner, purchases in _by_partner(day.purchases):
            accepted = await self._tills[partner].earn(purchases, self.households.member_ids)
            for purchase, earned in accepted:
                available_points[purchase.household_id] = earned.available_points
                self.households.note_earned(purchase.household_id, partner, earned.points)
        burns = self.households.plan_burns(day.purchases, available_points)
        for partner, planned in _burns_by_partner(burns):
            await self._tills[partner].burn(planned, self.households.member_ids)
        await self._operators.first.set_time(day.begin_time + _ONE_DAY)

    async def _welcome(self, purchases: Sequence[Purchase]) -> None:
        for partner, newcomers in self.households.newcomers(purchases).items():
            self.households.welcome(partner, await self._tills[partner].enroll(newcomers))
        for partner, strangers in self.households.strangers(purchases).items():
            member_ids = {household: self.households.member_ids[household] for household in strangers}
            await self._tills[partner].link(member_ids)
            self.households.welcome(partner, member_ids)

    async def __aenter__(self) -> Walk:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


def _by_partner(purchases: Sequence[Purchase]) -> list[tuple[str, list[Purchase]]]:
    groups: defaultdict[str, list[Purchase]] = defaultdict(list)
    for purchase in purchases:
        groups[purchase.partner].append(purchase)
    return _in_order(groups)


def _burns_by_partner(burns: Sequence[PlannedBurn]) -> list[tuple[str, list[PlannedBurn]]]:
    groups: defaultdict[str, list[PlannedBurn]] = defaultdict(list)
    for burn in burns:
        groups[burn.purchase.partner].append(burn)
    return _in_order(groups)


def _in_order(groups: Mapping[str, list[_Item]]) -> list[tuple[str, list[_Item]]]:
    return [(partner, groups[partner]) for partner in PARTNER_IDS if partner in groups]
