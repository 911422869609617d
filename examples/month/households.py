"""What the partners know of the households that shop with them, and when a household spends points.

Pure: who is to be enrolled, linked and offered a burn follows from the purchases and the hub's answers alone,
so every run of the demo asks for the same. The rules in words are in `examples/demo.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from examples.month.partners import FACE_VALUE_MICROS, PARTNER_IDS
from examples.purchases.reader import Purchase
from merchant_adapter import Consent

BURN_UNIT_POINTS: Final = 100
"""Points are burned in round amounts."""

LEAST_BURN_POINTS: Final = 200
"""Fewer points than these are kept for later."""

CONSENT: Final = Consent(per_burn_limit_points=1_000, per_day_limit_points=2_000)
"""What every household agrees to at every partner when it is enrolled or linked there."""

MICROS_PER_FEN: Final = 10_000


@dataclass(frozen=True, slots=True)
class PlannedBurn:
    """Points with which a household pays for a part of a purchase."""

    purchase: Purchase
    points: int


class Households:
    """Members by household, where each is a customer, and who gave it how many points."""

    def __init__(self) -> None:
        self.member_ids: dict[int, str] = {}
        self._customers: defaultdict[str, set[int]] = defaultdict(set)
        self._given_points: defaultdict[int, Counter[str]] = defaultdict(Counter)

    @property
    def link_count(self) -> int:
        """How many (partner, household) pairs know each other."""
        return sum(map(len, self._customers.values()))

    def best_member(self) -> tuple[str, str]:
        """The member with the most points given, and the partner that gave most of them."""
        household = max(self._given_points, key=lambda it: (self._given_points[it].total(), -it))
        return self.member_ids[household], self._home(household)

    def newcomers(self, purchases: Iterable[Purchase]) -> dict[str, list[int]]:
        """Households that are no members yet, by the partner where they are seen first."""
        first_seen: dict[int, str] = {}
        for purchase in purchases:
            if purchase.household_id not in self.member_ids:
                first_seen.setdefault(purchase.household_id, purchase.partner)
        return _grouped((partner, household) for household, partner in first_seen.items())

    def strangers(self, purchases: Iterable[Purchase]) -> dict[str, list[int]]:
        """Members by partners where they shop for the first time."""
        pairs = dict.fromkeys((purchase.partner, purchase.household_id) for purchase in purchases)
        return _grouped(pair for pair in pairs if pair[1] not in self._customers[pair[0]])

    def welcome(self, partner: str, member_ids: Mapping[int, str]) -> None:
        """Notes that these households are customers of a partner, under the hub's ids."""
        self.member_ids.update(member_ids)
        self._customers[partner].update(member_ids)

    def note_earned(self, household_id: int, partner: str, points: int) -> None:
        """Notes that a partner gave a household points."""
        self._given_points[household_id][partner] += points

    def plan_burns(
        self, purchases: Iterable[Purchase], available_points: Mapping[int, int]
    ) -> list[PlannedBurn]:
        """At most one burn a household, in its last basket of the day.

        `purchases` are a day's, in time order; `available_points` what each household has left after its
        earns of that day, without those that earned nothing.
        """
        last_baskets: dict[int, list[Purchase]] = {}
        for purchase in purchases:
            basket = last_baskets.setdefault(purchase.household_id, [])
            if basket and basket[0].basket_id != purchase.basket_id:
                basket.clear()
            basket.append(purchase)
        planned = (
            self._plan_burn(basket, available_points.get(household, 0))
            for household, basket in last_baskets.items()
        )
        return [burn for burn in planned if burn is not None]

    def _home(self, household_id: int) -> str:
        given = self._given_points[household_id]
        return max(PARTNER_IDS, key=lambda partner: given[partner])

    def _plan_burn(self, basket: Sequence[Purchase], available_points: int) -> PlannedBurn | None:
        home = self._home(basket[0].household_id)
        elsewhere = [purchase for purchase in basket if purchase.partner != home]
        if not elsewhere:
            return None
        redeemed = max(elsewhere, key=lambda it: (it.spend_fen, -PARTNER_IDS.index(it.partner)))
        price_points = redeemed.spend_fen * MICROS_PER_FEN // FACE_VALUE_MICROS[redeemed.partner]
        most = min(available_points, price_points, CONSENT.per_burn_limit_points)
        points = most - most % BURN_UNIT_POINTS
        return PlannedBurn(redeemed, points) if points >= LEAST_BURN_POINTS else None


def _grouped(pairs: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for partner, household in pairs:
        groups[partner].append(household)
    return dict(groups)
