"""Why this number: an entry's rule, rate version and lots in one line, for people."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Final

from exchange.core.ids import entry_text
from exchange.core.rates import NEVER
from exchange.store.reads.accounts import EntryRow, FullEntry, LegRow
from exchange.store.reads.explanations import Basis

_EARNS: Final = ("earn", "pending_earn")


def explain(full: FullEntry, basis: Basis) -> str:
    """What was computed from what, then what moved in which lot, parts after one another by `; `.

    For example `100.00 spent x 1/2 = 50 points, card 3 of cafe; lot 5 of cafe, card 3: 50 issued to open, usable
    to 2027-01-31`.
    """
    entry = full.entry
    said = [_rule(entry, basis)]
    if entry.original_batch_id:
        said.append(f"follows entry {entry_text(entry.original_batch_id, entry.original_entry_index)}")
    if entry.kind == "pending_earn":
        said.append("pending: no points are owed until it is confirmed")
    said += [_move(leg, day) for leg, day in zip(full.legs, basis.expiry_dates, strict=True)]
    return "; ".join(said)


def _rule(entry: EntryRow, basis: Basis) -> str:
    rates = basis.rates
    if rates is None:
        return f"{entry.kind.replace('_', ' ')} of {entry.points} points"
    result = f"{entry.points} points, card {entry.rate_version} of {entry.partner_code}"
    if entry.kind in _EARNS and entry.spend_minor:
        spent = _money(entry.spend_minor, basis.minor_unit_digits)
        return f"{spent} spent x {_rate(rates.earn_rate)} = {result}"
    if entry.kind in (*_EARNS, "exchange_in") and entry.native_points and rates.native_rate_in is not None:
        is_taken = entry.kind == "exchange_in" and rates.exchange_spread
        less = f" less {_rate(rates.exchange_spread)} spread" if is_taken else ""
        return f"{entry.native_points} native points x {_rate(rates.native_rate_in)}{less} = {result}"
    return f"{entry.kind.replace('_', ' ')} of {result}"


def _move(leg: LegRow, day: date) -> str:
    usable = "never expires" if day == NEVER else f"usable to {day}"
    lot = f"lot {leg.lot_sequence} of {leg.issuer_code}, card {leg.rate_version}"
    return f"{lot}: {leg.points} {leg.from_account} to {leg.to_account}, {usable}"


def _rate(rate: Fraction) -> str:
    return f"{rate.numerator}/{rate.denominator}"


def _money(minor: int, digits: int) -> str:
    whole, part = divmod(minor, 10**digits)
    return f"{whole}.{part:0{digits}}" if digits else str(whole)
