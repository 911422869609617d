"""Expiry: when a lot's day has passed, what is posted, and that nobody can tell when it was posted."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from hashlib import sha256

import pytest

from exchange.core.book import Book
from exchange.core.commands import Wake
from exchange.core.decisions import Woken
from exchange.core.ids import HUB, OPERATOR, POOL
from exchange.core.journal import Leg, Line
from exchange.core.planner import plan
from exchange.core.points import EXPIRED, OPEN
from exchange.core.rates import NEVER
from exchange.core.refusals import Reason
from tests.builders import (
    M1,
    M2,
    MICROSECOND,
    NOON,
    STRANGER,
    A,
    B,
    C,
    accepted,
    at,
    book,
    burn,
    card,
    earn,
    lot,
    refusal,
)

YESTERDAY, TODAY, TOMORROW = date(2025, 12, 31), date(2026, 1, 1), date(2026, 1, 2)


def kinds(here: Book) -> list[tuple[str, int]]:
    """(kind, points) of each entry."""
    return [(entry.command.kind, entry.points) for entry in here.entries]


def test_a_lot_expires_when_its_last_day_is_over_in_the_coalitions_zone() -> None:
    midnight = at("2026-01-02 00:00")
    before = book(lots=[lot(100, expiry_date=TODAY)], now=midnight - MICROSECOND)
    after = book(lots=[lot(100, expiry_date=TODAY)], now=midnight)

    assert plan([Wake(M1)], before) == [Woken(0)]
    assert plan([Wake(M1)], after) == [Woken(1)]
    assert (before.wallets[M1].open_points, after.wallets[M1].open_points) == (100, 0)


def test_an_expiry_is_the_hubs_own_entry_under_an_id_derived_from_lot_and_day() -> None:
    here = book(lots=[lot(100, expiry_date=YESTERDAY)])

    plan([Wake(M1)], here)

    (entry,) = here.entries
    request_id = "expire:m-00000000000b.1:2025-12-31"
    assert (entry.command.partner_id, entry.command.request_id) == (HUB, request_id)
    assert entry.command.fingerprint == sha256(request_id.encode()).digest()
    assert (entry.command.member_id, entry.command.event_time) == (M1, NOON)
    assert (entry.points, entry.rate_version) == (100, 0)
    assert entry.legs == (Leg(M1, 1, A, 1, OPEN, EXPIRED, 100, 10_000),)


@pytest.mark.parametrize(
    ("prefunded", "share", "lines"),
    [
        pytest.param(
            10_001,
            Fraction(1, 2),
            [
                Line(POOL, "BREAKAGE_SHARE", A, "BREAKAGE_SHARE", 500_000),
                Line(POOL, "BREAKAGE_SHARE", OPERATOR, "BREAKAGE_SHARE", 500_100),
            ],
            id="floored per point",
        ),
        pytest.param(
            10_000,
            Fraction(0),
            [Line(POOL, "BREAKAGE_SHARE", OPERATOR, "BREAKAGE_SHARE", 1_000_000)],
            id="nothing for the issuer",
        ),
        pytest.param(
            10_000,
            Fraction(1),
            [Line(POOL, "BREAKAGE_SHARE", A, "BREAKAGE_SHARE", 1_000_000)],
            id="nothing for the operator",
        ),
        pytest.param(
            4_000,
            Fraction(1, 4),
            [
                Line(POOL, "BREAKAGE_SHARE", A, "BREAKAGE_SHARE", 100_000),
                Line(POOL, "BREAKAGE_SHARE", OPERATOR, "BREAKAGE_SHARE", 300_000),
            ],
            id="hybrid: only what the pool held",
        ),
        pytest.param(0, Fraction(1, 2), [], id="redeem-funded: nothing was held"),
    ],
)
def test_breakage_is_shared_between_issuer_and_operator(
    prefunded: int, share: Fraction, lines: list[Line]
) -> None:
    priced = card(A, funding=20_000, prefunded=prefunded, breakage_issuer_share=share)
    here = book(cards=[priced], lots=[lot(100, issuer=priced, expiry_date=YESTERDAY)])

    plan([Wake(M1)], here)

    assert list(here.entries[0].lines) == lines


def test_what_is_due_is_posted_in_consumption_order_before_the_members_first_command() -> None:
    lots = [
        lot(1, expiry_date=NEVER),
        lot(2, expiry_date=YESTERDAY),
        lot(4, expiry_date=date(2025, 12, 1)),
        lot(8, expiry_date=YESTERDAY, issuer=card(C)),
        lot(16, expiry_date=TODAY),
        lot(0, expiry_date=date(2025, 11, 1)),
    ]
    here = book(lots=lots)

    (decision,) = plan([burn(points=17)], here)

    assert kinds(here) == [("expire", 4), ("expire", 2), ("expire", 8), ("burn", 17)]
    assert accepted(decision).entry_index == 3
    assert accepted(decision).available_points == 0


def test_expired_points_cannot_be_burned() -> None:
    here = book(lots=[lot(100, expiry_date=YESTERDAY), lot(50)])

    (decision,) = plan([burn(points=51)], here)

    assert refusal(decision) == (Reason.INSUFFICIENT_POINTS, (("available_points", "50"),))
    assert kinds(here) == [("expire", 100)]


def test_a_refused_command_of_the_member_posts_what_is_due_as_well() -> None:
    future = at("2026-01-05 00:00")
    here = book(lots=[lot(100, expiry_date=YESTERDAY)])

    plan([earn(event_time=future)], here)

    assert kinds(here) == [("expire", 100)]


def test_other_members_points_are_left_alone() -> None:
    here = book(lots=[lot(100, expiry_date=YESTERDAY, member_id=M2)], members=(M1, M2))

    plan([earn(member_id=M1)], here)

    assert kinds(here) == [("earn", 100)]


def test_the_next_expiry_date_is_that_of_the_first_lot_with_points_that_is_left() -> None:
    lots = [lot(5, expiry_date=YESTERDAY), lot(0, expiry_date=TODAY), lot(5, expiry_date=TOMORROW), lot(5)]
    here = book(lots=lots)
    alone = book(lots=[lot(5, expiry_date=YESTERDAY)])

    plan([Wake(M1)], here)
    plan([Wake(M1)], alone)

    assert here.wallets[M1].next_expiry_date == TOMORROW
    assert alone.wallets[M1].next_expiry_date == NEVER


def test_a_wallet_without_anything_due_is_not_touched() -> None:
    here = book(lots=[lot(5, expiry_date=TODAY)])

    plan([Wake(M1), Wake(M1)], here)

    assert not here.wallets[M1].changed
    assert here.entries == []


def test_waking_again_or_waking_a_stranger_posts_nothing() -> None:
    here = book(lots=[lot(100, expiry_date=YESTERDAY)])

    decisions = plan([Wake(M1), Wake(M1), Wake(STRANGER), burn(points=1, partner_id=B)], here)

    assert decisions[:3] == [Woken(1), Woken(0), Woken(0)]
    assert kinds(here) == [("expire", 100)]


def test_held_points_do_not_expire() -> None:
    held = lot(40, expiry_date=YESTERDAY)
    held.issued_points, held.held_points = 100, 60
    here = book(lots=[held])

    plan([Wake(M1)], here)

    assert (held.open_points, held.held_points, held.expired_points) == (0, 60, 40)
