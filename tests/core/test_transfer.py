"""Transfers: points go from lot to lot, with their issuer, their prices and their day."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from exchange.core.commands import Burn, ChangeState, ClawBackEarn, Earn, Merge, Transfer
from tests.builders import M1, M2, M3, STRANGER, TERMS, A, B, C, asked, at
from tests.ledger import Ledger

MARCH = date(2026, 3, 31)


def ledger_with_points(**fields: Any) -> Ledger:
    """M1 has 40 points of A until March and 60 of C."""
    ledger = Ledger(**fields)
    ledger.do(Earn, "a", points=40, expiry_date=MARCH)
    ledger.do(Earn, "c", points=60, partner_id=C)
    return ledger


def test_points_are_given_in_consumption_order_into_rows_of_the_same_issuer_version_and_day() -> None:
    ledger = ledger_with_points()

    answer = ledger.do(Transfer, "gift", to_member_id=M2, points=50)

    assert (answer["points"], answer["available_points"]) == (50, 50)
    assert ledger.legs("gift") == [
        (M1, 1, "open", "moved_out", 40),
        (M2, 1, "moved_in", "open", 40),
        (M1, 2, "open", "moved_out", 10),
        (M2, 2, "moved_in", "open", 10),
    ]
    assert ledger.lines("gift") == []
    assert (ledger.lot(M2, 1).issuer_id, ledger.lot(M2, 1).expiry_date) == (A, MARCH)
    assert ledger.lot(M1, 1).transferred_points == 40
    assert ledger.wallet(M2).next_expiry_date == MARCH


def test_given_points_pay_what_the_receiver_owes() -> None:
    ledger = ledger_with_points()
    ledger.do(Earn, "b", points=30, partner_id=B, member_id=M2)
    ledger.do(Burn, "burn", points=30, partner_id=C, member_id=M2)
    ledger.do(ClawBackEarn, "claw", original="b", points=30, partner_id=B, member_id=M2)

    ledger.do(Transfer, "gift", to_member_id=M2, points=35)

    assert ledger.legs("gift")[-1] == (M2, 2, "open", "absorbed", 30)
    assert (ledger.wallet(M2).open_points, ledger.owed(M2)) == (5, [])


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ({"to_member_id": STRANGER}, "MEMBER_UNKNOWN"),
        ({"to_member_id": M1}, "SAME_MEMBER"),
        ({"points": 101}, "INSUFFICIENT_POINTS"),
        ({"points": 31}, "TRANSFER_LIMIT_EXCEEDED"),
    ],
)
def test_a_transfer_needs_another_member_and_enough_points(named: dict[str, Any], reason: str) -> None:
    limited = {"terms": replace(TERMS, transfer_limit_points=30)} if reason.startswith("TRANSFER") else {}
    ledger = ledger_with_points(**limited)

    assert ledger.refusal(Transfer, "gift", **{"to_member_id": M2, "points": 1, **named}) == reason


def test_both_members_must_be_linked_to_the_partner() -> None:
    ledger = ledger_with_points()
    del ledger.rows.links[M2, A]

    assert ledger.refusal(Transfer, "gift", to_member_id=M2, points=1) == "MEMBER_UNKNOWN"


def test_the_giver_has_a_limit_a_day() -> None:
    ledger = ledger_with_points(terms=replace(TERMS, transfer_daily_points=50))
    ledger.do(Transfer, "1", to_member_id=M2, points=30)

    answer = ledger.ask(asked(Transfer, "2", to_member_id=M2, points=21))
    ledger.move(at("2026-01-02 00:00"))

    assert (answer["limit_points"], answer["transferred_points"]) == ("50", "30")
    ledger.do(Transfer, "3", to_member_id=M2, points=50)


@pytest.mark.parametrize("who", [M1, M2])
@pytest.mark.parametrize(
    ("kind", "reason"), [("freeze", "MEMBER_FROZEN"), ("close", "MEMBER_CLOSED"), ("", "MEMBER_MERGED")]
)
def test_neither_side_may_be_frozen_closed_or_merged(who: int, kind: str, reason: str) -> None:
    ledger = ledger_with_points()
    if kind:
        ledger.do(ChangeState, "change", kind=kind, member_id=who)
    else:
        ledger.do(Merge, "merge", member_id=who, into_member_id=M3)

    assert ledger.refusal(Transfer, "gift", to_member_id=M2, points=1) == reason
