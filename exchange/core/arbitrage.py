"""Rate loops: no way there and back gives a member more points than it took.

Exchange joins the hub's points to the native points of each partner, and no two partners' to one another: a
star with the hub in the middle. A walk that ends in the unit it began with therefore falls apart at the hub
into ways out to one partner and back again, so it gives more than it takes only if one of those two-step ways
does; a walk that begins at a partner runs through the same steps. One such way multiplies points by
`native_rate_out` of the version that prices the step out, and by `native_rate_in` less the spread of the
version that prices the step back. Both steps round down, which only loses, however the amounts are split: so a
product of at most 1, as an exact fraction, is enough for ever. With a greater one, some amount gains.

The two steps need not be of one version. Points go out under a card and come back under the next one, or under
the one before with a late event; so all versions count together with which an event can still, or will, be
priced.

Money has no such ways, because every point costs its issuer F, by earn or by exchange, and brings whoever
redeems it R: `find_unfunded` in `exchange.core.rates` keeps R within F. A refund takes back exactly what its
burn gave. Source: docs/ledger.md, Rate cards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from exchange.core.rates import Cards, RateCard, in_force_or_coming


@dataclass(frozen=True, slots=True)
class Cycle:
    """A way to a partner's native points and back that gives more points than it takes.

    `out` is the card that prices the step out, `back` the one that prices the way in; of the same partner, and
    often the same card. `product` is how many points come back for one, above 1.
    """

    out: RateCard
    back: RateCard
    product: Fraction

    def describe(self, partner_code: str) -> str:
        """The cycle for people: what one point becomes, step by step, and by which versions."""
        spread = f" less the spread of {self.back.exchange_spread}" if self.back.exchange_spread else ""
        return (
            f"1 point -> {self.out.native_rate_out} native of {partner_code} (version {self.out.version})"
            f" -> {self.product} points (version {self.back.version}{spread})"
        )


def find_cycle(cards: Iterable[RateCard]) -> Cycle | None:
    """The cycle that gains most among cards that can be used together, or None where none gains.

    Where several gain alike it is the first in the order of the cards.
    """
    best_out: dict[int, RateCard] = {}
    best_back: dict[int, RateCard] = {}
    for card in cards:
        if _rate_out(card) > _rate_out(best_out.get(card.partner_id)):
            best_out[card.partner_id] = card
        if _rate_back(card) > _rate_back(best_back.get(card.partner_id)):
            best_back[card.partner_id] = card
    worst: Cycle | None = None
    for partner, out in best_out.items():
        back = best_back.get(partner)
        product = _rate_out(out) * _rate_back(back)
        if back is not None and product > (worst.product if worst else 1):
            worst = Cycle(out, back, product)
    return worst


def usable_cards(cards: Cards, proposed: RateCard, earliest_event: datetime) -> list[RateCard]:
    """Every approved version, and the proposed one, with which an event of then or later can be priced.

    `earliest_event` is the ledger clock less the late limit.
    """
    usable: list[RateCard] = []
    for partner in sorted({proposed.partner_id, *cards.partners()}):
        history = list(cards.history(partner))
        if partner == proposed.partner_id:
            history = sorted([*history, proposed], key=lambda card: (card.valid_from, card.version))
        usable += in_force_or_coming(history, earliest_event)
    return usable


def _rate_out(card: RateCard | None) -> Fraction:
    """Native points for one point; 0 where the way is closed."""
    return (card.native_rate_out if card else None) or Fraction(0)


def _rate_back(card: RateCard | None) -> Fraction:
    """Points for one native point, less the spread; 0 where the way is closed."""
    if card is None or card.native_rate_in is None:
        return Fraction(0)
    return card.native_rate_in * (1 - card.exchange_spread)
