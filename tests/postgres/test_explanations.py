"""Why an entry's number is what it is, in one line for people."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from exchange.core.commands import ExchangeIn, RefundBurn
from exchange.registrar import Actor
from exchange.rpc.explaining import explain
from exchange.store.reads.accounts import EntryFilter, list_entries
from exchange.store.reads.explanations import read_bases
from exchange.store.reads.snapshots import Snapshots
from tests.builders import NOON, burn, earn
from tests.postgres.ledger_at_work import WIDE, Office, new_card
from tests.postgres.shop import reason


@pytest.fixture
def cafe(office: Office) -> Actor:
    made = office.partner("cafe")
    card = new_card(
        "cafe",
        earn_rate=Fraction(1, 2),
        native_rate_in=Fraction(3, 2),
        native_rate_out=Fraction(1, 2),
        exchange_spread=Fraction(1, 10),
    )
    office.approve_card(office.propose(card))
    return made


def explained(office: Office, member: int) -> list[str]:
    """Oldest first."""
    snapshots = Snapshots(office.engine)
    entries = snapshots.read(lambda it: list_entries(it, EntryFilter(None, member), None, 100))
    bases = snapshots.read(lambda it: read_bases(it, entries))
    return [explain(entry, basis) for entry, basis in zip(entries, bases, strict=True)][::-1]


def test_an_earn_says_spend_rate_card_and_lot(office: Office, cafe: Actor) -> None:
    member = office.enroll(cafe, "c-1")
    at = cafe.partner_id

    office.post(earn("e-1", spend_minor=10_050, partner_id=at, member_id=member))
    office.post(earn("e-2", points=7, partner_id=at, member_id=member))
    office.post(replace(earn("e-3", spend_minor=400, partner_id=at, member_id=member), pending=True))

    lot = "lot 1 of cafe, card 1"
    assert explained(office, member) == [
        f"100.50 spent x 1/2 = 50 points, card 1 of cafe; {lot}: 50 issued to open, usable to 2026-01-31",
        f"earn of 7 points, card 1 of cafe; {lot}: 7 issued to open, usable to 2026-01-31",
        "4.00 spent x 1/2 = 2 points, card 1 of cafe; pending: no points are owed until it is confirmed",
    ]


def test_an_exchange_says_rate_and_spread(office: Office, cafe: Actor) -> None:
    member = office.enroll(cafe, "c-1")
    texts = ("s-1", "t-1", "x-1", "", "", "")
    (answer,) = office.post(ExchangeIn(cafe.partner_id, "x-1", b"", member, NOON, *texts, 100, None))

    assert reason(answer) == ""
    assert explained(office, member) == [
        "100 native points x 3/2 less 1/10 spread = 135 points, card 1 of cafe;"
        " lot 1 of cafe, card 1: 135 issued to open, usable to 2026-01-31"
    ]


def test_a_refund_says_what_it_follows(office: Office, cafe: Actor) -> None:
    member = office.enroll(cafe, "c-1", WIDE)
    at = cafe.partner_id
    office.post(earn("e-1", points=50, partner_id=at, member_id=member))
    office.post(burn("b-1", points=20, partner_id=at, member_id=member))
    texts = ("s-1", "t-1", "r-1", "", "", "")
    (answer,) = office.post(RefundBurn(cafe.partner_id, "r-1", b"", member, NOON, *texts, "b-1", 0, 5))

    assert reason(answer) == ""
    burned, refunded = explained(office, member)[1:]
    ((batch_id,),) = office.rows("SELECT batch_id FROM exchange.entries WHERE kind = 'burn'")
    lot = "lot 1 of cafe, card 1"
    assert burned == (f"burn of 20 points, card 1 of cafe; {lot}: 20 open to burned, usable to 2026-01-31")
    assert refunded == (
        f"refund burn of 5 points, card 1 of cafe; follows entry {batch_id}-0;"
        f" {lot}: 5 burned to open, usable to 2026-01-31"
    )
