"""What a proposed card would change, read before it is approved."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import pytest

from exchange.registrar import Actor, Impact, Preview, RegistrarRefusal, preview_rate_card
from exchange.store.reads.outstanding import Outstanding, Spendable
from exchange.store.reads.pages import Card
from exchange.store.reads.snapshots import Snapshots
from tests.builders import NOON, earn
from tests.postgres.ledger_at_work import WIDE, Office, days_on, new_card


class Story(NamedTuple):
    """Café and tea house with a card each; Ann is linked to both and has 100 points of the one, 50 of the other."""

    cafe: Actor
    tea: Actor
    ann: int


@pytest.fixture
def story(office: Office) -> Story:
    cafe, tea = office.partner("cafe"), office.partner("tea")
    for code in ("cafe", "tea"):
        office.approve_card(office.propose(new_card(code)))
    ann = office.enroll(cafe, "c-1", WIDE)
    office.link(tea, ann, "t-1", WIDE)
    stranger = office.enroll(tea, "t-2")  # has points that can't be spent at the café
    office.post(
        earn("e-1", points=100, partner_id=cafe.partner_id, member_id=ann),
        earn("e-2", points=50, partner_id=tea.partner_id, member_id=ann),
        earn("e-3", points=30, partner_id=tea.partner_id, member_id=stranger),
    )
    return Story(cafe, tea, ann)


def preview(office: Office, card: Card) -> Preview:
    """On a connection that cannot write."""
    return Snapshots(office.engine).read(lambda it: preview_rate_card(it, card.partner_code, card.version))


def hold_ten(office: Office) -> None:
    """Ten of Ann's points of the café are held."""
    office.rows(
        "UPDATE exchange.lots SET open_points = 90, held_points = 10 WHERE issued_points = 100 RETURNING 1"
    )
    office.rows(
        "UPDATE exchange.wallets SET open_points = 140, held_points = 10 WHERE open_points = 150 RETURNING 1"
    )


def test_a_preview_sets_the_new_card_against_the_one_it_replaces(office: Office, story: Story) -> None:
    hold_ten(office)
    card = office.propose(
        new_card(
            "cafe",
            valid_from=days_on(1),
            earn_rate=Fraction(3, 2),
            face_value_micros=9_000,
            funding_micros=12_001,
            prefunded_micros=6_000,
            reimbursement_micros=9_000,
            issue_fee_micros=100,
        )
    )

    seen = preview(office, card)

    assert seen.card == card
    assert seen.replaced_version == 1
    assert seen.outstanding == [Outstanding(1, 10_000, 10_000, 90, 10)]
    assert seen.spendable == Spendable(points=140, own_points=90)
    assert seen.before == Impact(
        funding_micros=1_000_000,  # 100 points, open or held
        member_value_micros=1_400_000,
        reimbursement_micros=475_000,  # 50 points of the tea house
        earn_cost_micros=10_200,
        earn_value_micros=10_000,
    )
    assert seen.after == Impact(1_200_100, 1_260_000, 450_000, 18_151, 13_500)  # 18,151.5 rounded down
    assert seen.objections == []
    assert seen.ledger_time == NOON


def test_points_past_their_day_are_not_outstanding_but_held_ones_are(office: Office, story: Story) -> None:
    hold_ten(office)
    card = office.propose(new_card("cafe", valid_from=days_on(40)))
    office.set_time(days_on(30))
    on_the_last_day = preview(office, card)
    office.set_time(days_on(31))

    seen = preview(office, card)

    assert on_the_last_day.spendable == Spendable(140, 90)
    assert seen.outstanding == [Outstanding(1, 10_000, 10_000, 0, 10)]
    assert seen.spendable == Spendable(0, 0)


def test_outstanding_points_are_told_by_the_version_they_were_issued_under(
    office: Office, story: Story
) -> None:
    office.approve_card(
        office.propose(new_card("cafe", valid_from=days_on(1), funding_micros=11_000, prefunded_micros=5_000))
    )
    office.set_time(days_on(1))
    office.post(
        earn("e-9", points=7, partner_id=story.cafe.partner_id, member_id=story.ann, event_time=days_on(1))
    )

    seen = preview(office, office.propose(new_card("cafe", valid_from=days_on(2))))

    assert seen.replaced_version == 2
    assert seen.outstanding == [
        Outstanding(1, 10_000, 10_000, 100, 0),
        Outstanding(2, 11_000, 5_000, 7, 0),
    ]


def test_a_partners_first_card_replaces_none(office: Office, story: Story) -> None:
    office.partner("books")

    seen = preview(office, office.propose(new_card("books", earn_rate=Fraction(0))))

    assert (seen.replaced_version, seen.before, seen.outstanding) == (0, None, [])
    assert seen.after == Impact(0, 0, 0, 0, 0)
    assert seen.objections == []


def test_a_preview_tells_every_objection_and_approval_the_first(office: Office, story: Story) -> None:
    card = office.propose(
        new_card(
            "cafe",
            reimbursement_micros=10_001,
            funding_micros=20_000,
            native_rate_in=Fraction(2),
            native_rate_out=Fraction(1),
        )
    )

    objections = preview(office, card).objections

    assert [it.reason for it in objections] == [
        "RATE_CARD_STATE",
        "RATE_CARD_UNFUNDED",
        "RATE_CARD_ARBITRAGE",
    ]
    assert objections[1].metadata["redeemer_id"] == "cafe"
    assert objections[2].metadata["cycle"] == (
        "1 point -> 1 native of cafe (version 2) -> 2 points (version 2)"
    )
    with pytest.raises(RegistrarRefusal) as refused:
        office.approve_card(card)
    assert (refused.value.reason, refused.value.metadata) == (objections[0].reason, objections[0].metadata)


def test_a_card_that_is_decided_is_previewed_with_that_objection(office: Office, story: Story) -> None:
    card = office.approve_card(office.propose(new_card("cafe", valid_from=days_on(1))))

    seen = preview(office, card)

    assert [(it.reason, it.metadata) for it in seen.objections] == [
        ("RATE_CARD_STATE", {"state": "approved"})
    ]
    assert seen.replaced_version == 1


def test_a_card_that_is_not_there_has_no_preview(office: Office, story: Story) -> None:
    card = office.propose(new_card("cafe"))

    with pytest.raises(RegistrarRefusal, match="RATE_CARD_UNKNOWN"):
        preview(office, card._replace(version=9))
    with pytest.raises(RegistrarRefusal, match="PARTNER_UNKNOWN"):
        preview(office, card._replace(partner_code="OPERATOR"))
