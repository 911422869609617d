"""What a quote is made of: the member's points, the consent's limits, and the card in force."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from exchange.core.rates import RateCard
from exchange.store.reads.ledger import read_clock
from exchange.store.reads.pages import find_card_in_force
from exchange.store.reads.wallets import WalletState, read_wallet
from exchange.store.tables import LINKS


class Stall(NamedTuple):
    """A member at a partner, at one moment: `consented_points` is what its consent leaves for one burn now."""

    wallet: WalletState
    consented_points: int
    card: RateCard | None
    minor_per_major: int
    wall_time: datetime


def read_stall(connection: Connection, member_id: int, partner_id: int, partner: str) -> Stall | None:
    """A member at a partner (its number and code), or None where they are not linked."""
    wallet = read_wallet(connection, member_id, partner_id)
    if wallet is None:
        return None
    ledger = read_clock(connection)
    links = LINKS.c
    link = connection.execute(
        select(LINKS).where(links.member_id == member_id, links.partner_id == partner_id)
    ).one()
    today = ledger.terms().day_of(wallet.read_time)
    burned = link.burned_points if link.burned_date == today else 0
    consented = min(link.per_burn_limit_points, link.per_day_limit_points - burned)
    found = find_card_in_force(connection, partner, partner_id, ledger.ledger_time)
    card = None
    if found is not None:
        prices = {name: getattr(found, name) for name in _PRICES}
        card = RateCard(partner_id=partner_id, **prices)
    wall_time = connection.execute(select(func.clock_timestamp())).scalar_one()
    return Stall(wallet, max(0, consented), card, ledger.terms().minor_per_major, wall_time)


_PRICES = tuple(name for name in RateCard.__slots__ if name != "partner_id")
