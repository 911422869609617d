"""The figures of a run: what the partners were answered, next to what the journal says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from examples.month.households import Households
from examples.month.settling import SettlementFailed
from examples.month.tills import Totals

_POINTS: Final = {"earned": "issued", "burned": "burned", "expired": "expired", "open": "open"}


def collect(
    totals: Totals,
    households: Households,
    settled: Sequence[Mapping[str, Any]],
    last_certificate: Mapping[str, Any],
) -> dict[str, Any]:
    """The figures as plain data: points whole, money in micros.

    Points and money are the journal's to the end of the last settled day, from its certificate. What expired
    at that day's midnight is in the next one's window.
    """
    issuers = last_certificate["certificate"]["issuers"]
    return {
        "days": len(settled),
        "first_day": settled[0]["window_date"],
        "last_day": settled[-1]["window_date"],
        "commands": {
            "posted": totals.posted,
            "accepted": totals.accepted,
            "earns": totals.earns,
            "burns": totals.burns,
            "refused": dict(totals.refused.most_common()),
        },
        "members": len(households.member_ids),
        "links": households.link_count,
        "best_member": list(households.best_member()),
        "receipts_verified": totals.receipts,
        "points": {name: _sum(issuers, account) for name, account in _POINTS.items()},
        "liability_micros": _sum(issuers, "liability_micros"),
        "pool_micros": _sum(issuers, "escrow_micros"),
        "issuers": issuers,
        "certificates": len(settled),
        "checks": sum(day["check_count"] for day in settled),
        "settled": list(settled),
    }


def check_agreement(figures: Mapping[str, Any], totals: Totals, first_day: date, last_day: date) -> None:
    """Raises `SettlementFailed` unless every day is settled and answers and journal agree."""
    span = (last_day - first_day).days + 1
    expected = [(first_day + timedelta(days=number)).isoformat() for number in range(span)]
    if [day["window_date"] for day in figures["settled"]] != expected:
        raise SettlementFailed(f"not every day of {first_day} to {last_day} is settled, or not once")
    for name, answered in (("earned", totals.earned_points), ("burned", totals.burned_points)):
        if figures["points"][name] != answered:
            raise SettlementFailed(
                f"points {name}: partners were answered {answered}, the journal has {figures['points'][name]}"
            )


def _sum(issuers: Sequence[Mapping[str, int]], name: str) -> int:
    return sum(issuer[name] for issuer in issuers)
