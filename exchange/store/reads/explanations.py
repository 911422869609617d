"""What an entry's numbers came from: the card's rates, and the days of its lots."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from fractions import Fraction
from typing import NamedTuple

from sqlalchemy import Connection, Integer, Text, column, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY

from exchange.store.reads.accounts import FullEntry, of_entries
from exchange.store.reads.ledger import read_clock
from exchange.store.tables import LEGS, LOTS, PARTNERS, RATE_CARDS


class Rates(NamedTuple):
    """What of a rate card turns amounts into points."""

    earn_rate: Fraction
    native_rate_in: Fraction | None
    exchange_spread: Fraction


class Basis(NamedTuple):
    """What an entry rests on: its partner's card, None where none priced it, and the last day of each leg's lot."""

    rates: Rates | None
    expiry_dates: list[date]
    minor_unit_digits: int


def read_bases(connection: Connection, entries: Sequence[FullEntry]) -> list[Basis]:
    """One basis an entry, in their order; one statement a table for all of them."""
    if not entries:
        return []
    rates = _read_rates(connection, {(it.entry.partner_code, it.entry.rate_version) for it in entries})
    days = _read_days(connection, [(it.entry.batch_id, it.entry.entry_index) for it in entries])
    digits = read_clock(connection).minor_unit_digits
    return [
        Basis(
            rates.get((it.entry.partner_code, it.entry.rate_version)),
            days.get((it.entry.batch_id, it.entry.entry_index), []),
            digits,
        )
        for it in entries
    ]


def _read_rates(connection: Connection, wanted: set[tuple[str, int]]) -> dict[tuple[str, int], Rates]:
    ordered = sorted(wanted)
    arrays = (
        literal([code for code, _ in ordered], ARRAY(Text)),
        literal([version for _, version in ordered], ARRAY(Integer)),
    )
    keys = func.unnest(*arrays).table_valued(column("code", Text), column("version", Integer))
    keys = keys.render_derived(name="wanted")
    cards = RATE_CARDS.c
    rows = connection.execute(
        select(PARTNERS.c.code, RATE_CARDS)
        .select_from(keys.join(PARTNERS, PARTNERS.c.code == keys.c.code))
        .join(RATE_CARDS, (cards.partner_id == PARTNERS.c.partner_id) & (cards.version == keys.c.version))
    )
    return {
        (row.code, row.version): Rates(
            Fraction(row.earn_rate_numerator, row.earn_rate_denominator),
            None
            if row.native_rate_in_numerator is None
            else Fraction(row.native_rate_in_numerator, row.native_rate_in_denominator),
            Fraction(row.exchange_spread_numerator, row.exchange_spread_denominator),
        )
        for row in rows
    }


def _read_days(connection: Connection, keys: Sequence[tuple[int, int]]) -> dict[tuple[int, int], list[date]]:
    legs = LEGS.c
    wanted, joined = of_entries(LEGS, keys)
    same = (LOTS.c.member_id == legs.member_id) & (LOTS.c.lot_sequence == legs.lot_sequence)
    rows = connection.execute(
        select(legs.batch_id, legs.entry_index, LOTS.c.expiry_date)
        .select_from(wanted.join(LEGS, joined).join(LOTS, same))
        .order_by(legs.batch_id, legs.entry_index, legs.leg_number)
    )
    days: dict[tuple[int, int], list[date]] = {}
    for batch_id, entry_index, expiry_date in rows:
        days.setdefault((batch_id, entry_index), []).append(expiry_date)
    return days
