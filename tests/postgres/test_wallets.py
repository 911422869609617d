"""A member's account as it is read: value, forecast, deficits, and what is due but not posted yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import pytest

from exchange.core.commands import AuthorizeBurn, RefundBurn
from exchange.registrar import Actor
from exchange.rpc.reading import from_wallet
from exchange.store.reads.snapshots import Snapshots
from exchange.store.reads.wallets import WalletState, read_wallet
from tests.builders import NOON, burn, earn
from tests.postgres.ledger_at_work import WIDE, Office, days_on, new_card
from tests.postgres.members_at_work import open_counter
from tests.postgres.shop import reason

FIRST = date(2026, 1, 1)
DAY = timedelta(days=1)


class Story(NamedTuple):
    """A café and a tea house, and a member of both: 100 earned for 30 days and 50 for 120 at the café."""

    office: Office
    cafe: Actor
    tea: Actor
    member: int

    def wallet(self, reader: Actor | None = None) -> WalletState:
        linked_to = None if reader is None else reader.partner_id
        made = Snapshots(self.office.engine).read(lambda it: read_wallet(it, self.member, linked_to))
        assert made is not None
        return made

    def post(self, command: Callable[..., object], request_id: str, **values: object) -> str:
        """The reason of the refusal, or nothing."""
        partner = self.cafe if command is earn else self.tea
        made = command(request_id, partner_id=partner.partner_id, member_id=self.member, **values)
        (answer,) = self.office.post(made)  # type: ignore[arg-type]  # a builder's command
        return reason(answer)


@pytest.fixture
def story(office: Office) -> Story:
    cafe, tea = office.partner("cafe"), office.partner("tea")
    office.approve_card(office.propose(new_card("cafe", face_value_micros=10_000)))
    office.approve_card(office.propose(new_card("tea", face_value_micros=12_000)))
    member = office.enroll(cafe, "c-1", WIDE)
    office.link(tea, member, "t-1", WIDE)
    made = Story(office, cafe, tea, member)
    assert made.post(earn, "e-1", points=100) == ""
    assert made.post(earn, "e-2", points=50, expiry_date=FIRST + 10 * DAY) == ""
    return made


def test_the_value_is_what_the_points_buy_at_the_reader(story: Story) -> None:
    at_cafe, at_tea, for_operator = (
        from_wallet(story.wallet(reader)) for reader in (story.cafe, story.tea, None)
    )

    assert at_cafe.value_micros == 150 * 10_000
    assert at_tea.value_micros == 150 * 12_000
    assert not for_operator.HasField("value_micros")


def test_a_partner_without_a_card_is_told_no_value(story: Story) -> None:
    books = story.office.partner("books")
    story.office.link(books, story.member, "b-1")

    wallet = from_wallet(story.wallet(books))

    assert not wallet.HasField("value_micros")
    assert wallet.available_points == 150


def test_the_forecast_adds_up_points_by_their_last_day_within_90_days(story: Story) -> None:
    story.office.rows(
        "UPDATE exchange.lots SET expiry_date = :far WHERE expiry_date > :near RETURNING 1",
        far=FIRST + 90 * DAY,
        near=FIRST + 20 * DAY,
    )
    without = from_wallet(story.wallet())
    story.office.set_time(days_on(1))

    forecast = from_wallet(story.wallet()).expiry_forecast

    assert [(it.expiry_date.day, it.points) for it in without.expiry_forecast] == [(11, 50)]
    assert [(it.expiry_date.month, it.expiry_date.day, it.points) for it in forecast] == [
        (1, 11, 50),
        (4, 1, 100),
    ]


def test_a_hold_past_its_deadline_is_shown_as_released_before_anybody_posts_it(story: Story) -> None:
    held = AuthorizeBurn(
        story.tea.partner_id, "a-1", b"", story.member, NOON, "s", "t", "order-1", "", "", "", 120, 60
    )
    (answer,) = story.office.post(held)
    assert reason(answer) == ""
    before = story.wallet()
    story.office.rows("UPDATE exchange.holds SET deadline = now() - interval '1 second' RETURNING 1")

    after = story.wallet()

    assert (before.available_points, before.held_points) == (30, 120)
    assert (after.available_points, after.held_points) == (150, 0)
    assert [lot.open_points for lot in after.lots] == [50, 100]


def test_what_a_lapsed_hold_releases_goes_to_the_deficits_first_and_past_days_expire(story: Story) -> None:
    held = AuthorizeBurn(
        story.tea.partner_id, "a-1", b"", story.member, NOON, "s", "t", "order-1", "", "", "", 150, 60
    )
    story.office.post(held)
    story.office.rows("UPDATE exchange.holds SET deadline = now() - interval '1 second' RETURNING 1")
    story.office.rows("UPDATE exchange.wallets SET deficit_points = 30 RETURNING 1")
    for sequence, partner, points in ((1, story.tea, 10), (2, story.cafe, 20)):
        story.office.rows(
            "INSERT INTO exchange.deficits VALUES (:member, :sequence, :issuer, 10000, :moment, :points, 0, 0, 0, 0)"
            " RETURNING 1",
            member=story.member,
            sequence=sequence,
            issuer=partner.partner_id,
            moment=NOON + timedelta(seconds=sequence),
            points=points,
        )

    paid = story.wallet()
    story.office.set_time(days_on(11))
    later = story.wallet()

    assert (paid.available_points, paid.deficit_points, paid.deficits) == (120, 0, [])
    assert [lot.open_points for lot in paid.lots] == [20, 100]
    assert (later.available_points, later.held_points) == (100, 0)


def test_deficits_are_shown_by_the_issuer_they_are_owed_to(story: Story) -> None:
    story.post(burn, "b-1", points=150)
    story.office.rows("UPDATE exchange.wallets SET deficit_points = 36 RETURNING 1")
    for sequence, partner, points in ((1, story.tea, 10), (2, story.cafe, 20), (3, story.tea, 6)):
        story.office.rows(
            "INSERT INTO exchange.deficits VALUES (:member, :sequence, :issuer, 10000, :moment, :points, 0, 0, 0, 0)"
            " RETURNING 1",
            member=story.member,
            sequence=sequence,
            issuer=partner.partner_id,
            moment=NOON,
            points=points,
        )

    wallet = from_wallet(story.wallet())

    assert wallet.deficit_points == 36
    assert [(it.issuer_id, it.points) for it in wallet.deficits] == [("cafe", 20), ("tea", 16)]


def test_a_pending_earn_past_its_time_is_not_shown(story: Story) -> None:
    pending = earn("p-1", points=70, partner_id=story.cafe.partner_id, member_id=story.member)
    story.office.post(replace(pending, pending=True))
    before = story.wallet()
    story.office.set_time(days_on(181))

    after = story.wallet()

    assert before.pending_points == 70
    assert after.pending_points == 0


def test_after_its_link_is_undone_a_partner_begins_nothing_and_ends_what_it_began(story: Story) -> None:
    assert story.post(burn, "b-1", points=40) == ""
    held = AuthorizeBurn(
        story.tea.partner_id, "a-1", b"", story.member, NOON, "s", "t", "order-1", "", "", "", 10, 600
    )
    story.office.post(held)
    open_counter(story.office).unlink(story.tea, "tea", story.member)
    refund = RefundBurn(
        story.tea.partner_id, "r-1", b"", story.member, NOON, "s", "t", "order-1", "", "", "", "b-1", 0, 40
    )

    begun = [story.post(burn, "b-2", points=1), reason(story.office.post(replace(held, request_id="a-2"))[0])]
    (ended,) = story.office.post(refund)

    assert begun == ["MEMBER_UNKNOWN", "MEMBER_UNKNOWN"]
    assert reason(ended) == ""
    assert story.wallet().available_points == 140
    assert (
        Snapshots(story.office.engine).read(lambda it: read_wallet(it, story.member, story.tea.partner_id))
        is None
    )


def test_a_wallet_tells_the_account_s_state_and_its_survivor(story: Story) -> None:
    other = story.office.enroll(story.cafe, "c-2")
    story.office.rows(
        "UPDATE exchange.wallets SET state = 'merged', survivor_id = :other WHERE member_id = :member RETURNING 1",
        other=other,
        member=story.member,
    )

    merged = from_wallet(story.wallet())

    assert merged.state == merged.STATE_MERGED
    assert merged.survivor_member_id.startswith("m-")
    assert merged.read_time.ToDatetime(UTC) == datetime(2026, 1, 1, 4, tzinfo=UTC)
