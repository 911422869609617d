"""Funding modes: the same deals, prefunded or not, differ for a partner by its open points and breakage alone.

This is what a partner can be told before it signs for one mode (docs/settlement.md, Funding modes compared).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import floor

from hypothesis import given

from tests.property.coalition import PARTNERS
from tests.property.histories import HISTORIES, History
from tests.property.playing import PlayingCore
from tests.property.profiles import tries


@tries(60)
@given(HISTORIES)
def test_issue_funded_cash_is_redeem_funded_cash_less_open_points_and_breakage_not_shared(
    history: History,
) -> None:
    issue, redeem = _played(history, prefunded=True), _played(history, prefunded=False)

    paid, owed = issue.view().nets, redeem.view().nets
    ahead = _paid_ahead(redeem)

    assert _where_points_are(issue) == _where_points_are(redeem)
    for partner in PARTNERS:
        assert paid.get(partner, 0) == owed.get(partner, 0) - ahead[partner]


def _played(history: History, *, prefunded: bool) -> PlayingCore:
    """The history with every card's P set to its F, or to nothing."""
    cards = tuple(
        replace(card, prefunded_micros=card.funding_micros if prefunded else 0)
        for card in history.coalition.cards
    )
    playing = PlayingCore(replace(history.coalition, cards=cards), history.pay_codes)
    for batch in history.batches:
        playing.tell(batch.commands, batch.decided_time, batch.wall_time)
    return playing


def _paid_ahead(playing: PlayingCore) -> Counter[int]:
    """(open + held) x F + expired x F x (1 - issuer share) of each issuer's lots, in micros."""
    ahead: Counter[int] = Counter()
    for lot in playing.rows.lots.values():
        share = playing.rows.cards.of_version(lot.issuer_id, lot.rate_version).breakage_issuer_share
        not_shared = lot.funding_micros - floor(lot.funding_micros * share)
        standing = lot.open_points + lot.held_points
        ahead[lot.issuer_id] += standing * lot.funding_micros + lot.expired_points * not_shared
    return ahead


def _where_points_are(playing: PlayingCore) -> object:
    view = playing.view()
    return view.lots, view.debts, view.members
