"""The dry run of expiry: points by day and issuer, and the members to warn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from google.type import date_pb2

from exchange.core.ids import OPERATOR, member_text
from exchange.rpc.calls import Incoming
from exchange.rpc.errors import InvalidField
from exchange.rpc.expiries import ExpiryReader
from exchange.rpc.lanes import Lane, Lanes
from exchange.rpc.signatures import Caller
from exchange.store.reads.snapshots import Snapshots
from tests.builders import burn, earn
from tests.postgres.ledger_at_work import AUDIENCE, Office, days_on
from tests.postgres.shop import open_shop
from tongdui.exchange.v1 import accounts_service_pb2 as messages
from tongdui.signing import SignedRequest

TODAY = date(2026, 1, 1)


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    made = Lanes(Lane("read", 1, 1), Lane("write", 1, 1))
    yield made
    for lane in made:
        lane.close()


def list_expiries(
    office: Office, lanes: Lanes, request: messages.ListExpiriesRequest | None = None
) -> messages.ListExpiriesResponse:
    caller = Caller("operator.key", "operator", OPERATOR, "chen.wei", frozenset({"auditor"}))
    signed = SignedRequest("", AUDIENCE, "params", 0, 0, caller.key_id, bytes(64))
    body = (request or messages.ListExpiriesRequest()).SerializeToString()
    (method,) = ExpiryReader(Snapshots(office.engine), lanes).methods()
    assert caller.roles & method.roles

    async def answer() -> bytes:
        return await method.handler(Incoming(caller, "/ListExpiries", signed, body, []))

    return messages.ListExpiriesResponse.FromString(asyncio.run(answer()))


def in_days(days: int) -> date:
    return TODAY + timedelta(days=days)


def by_day(answer: messages.ListExpiriesResponse) -> list[tuple[date, str, int, int]]:
    return [(to_day(it.expiry_date), it.issuer_id, it.points, it.member_count) for it in answer.expiries]


def warned(answer: messages.ListExpiriesResponse) -> list[tuple[str, date, int, int]]:
    return [(it.member_id, to_day(it.expiry_date), it.days_ahead, it.points) for it in answer.warnings]


def to_day(wire: date_pb2.Date) -> date:
    return date(wire.year, wire.month, wire.day)


def test_open_points_are_added_up_by_day_and_issuer(office: Office, lanes: Lanes) -> None:
    shop = open_shop(office, 2)
    first, second = shop.members
    office.post(
        earn("e-1", member_id=first, partner_id=shop.a.partner_id, points=10, expiry_date=in_days(3)),
        earn("e-2", member_id=second, partner_id=shop.a.partner_id, points=5, expiry_date=in_days(3)),
        earn("e-3", member_id=first, partner_id=shop.b.partner_id, points=7, expiry_date=in_days(3)),
        earn("e-4", member_id=first, partner_id=shop.a.partner_id, points=2, expiry_date=in_days(1)),
    )
    office.post(burn("b-1", member_id=first, partner_id=shop.b.partner_id, points=4))  # 2 and 2 of e-1

    answer = list_expiries(office, lanes)

    assert to_day(answer.today) == TODAY
    assert by_day(answer) == [(in_days(3), "a", 13, 2), (in_days(3), "b", 7, 1)]


def test_only_the_days_asked_for_are_shown(office: Office, lanes: Lanes) -> None:
    shop = open_shop(office, 1)
    (member,) = shop.members
    for number in range(4):
        office.post(earn(f"e-{number}", member_id=member, points=1, expiry_date=in_days(number)))

    answer = list_expiries(office, lanes, messages.ListExpiriesRequest(days=2))

    assert [day for day, *_ in by_day(answer)] == [in_days(0), in_days(1)]


def test_points_past_their_day_are_shown_until_their_expiry_is_posted(office: Office, lanes: Lanes) -> None:
    shop = open_shop(office, 1)
    (member,) = shop.members
    office.post(earn("e-1", member_id=member, points=9, expiry_date=in_days(1)))
    office.set_time(days_on(2))

    before = by_day(list_expiries(office, lanes))
    office.post(earn("e-2", member_id=member, points=1, event_time=days_on(2)))  # posts what is due first
    after = by_day(list_expiries(office, lanes))

    assert before == [(in_days(1), "a", 9, 1)]
    assert in_days(1) not in {day for day, *_ in after}


def test_members_are_warned_30_and_7_days_before(office: Office, lanes: Lanes) -> None:
    shop = open_shop(office, 2)
    first, second = shop.members
    office.post(
        earn("e-1", member_id=first, points=10),  # the card gives 30 days
        earn("e-2", member_id=first, partner_id=shop.b.partner_id, points=5),
        earn("e-3", member_id=first, points=3, expiry_date=in_days(7)),
        earn("e-4", member_id=second, points=2, expiry_date=in_days(8)),
        earn("e-5", member_id=second, points=2, expiry_date=in_days(6)),
    )

    answer = list_expiries(office, lanes, messages.ListExpiriesRequest(days=1))

    assert warned(answer) == [
        (member_text(first), in_days(7), 7, 3),
        (member_text(first), in_days(30), 30, 15),
    ]


def test_warnings_come_in_pages_and_the_days_only_with_the_first(office: Office, lanes: Lanes) -> None:
    shop = open_shop(office, 5)
    for number, member in enumerate(shop.members):
        office.post(
            earn(f"e-{number}", member_id=member, points=1),
            earn(f"f-{number}", member_id=member, points=1, expiry_date=in_days(7)),
        )
    whole = list_expiries(office, lanes)

    pages = [list_expiries(office, lanes, messages.ListExpiriesRequest(page_size=3))]
    while pages[-1].next_page_token:
        token = pages[-1].next_page_token
        request = messages.ListExpiriesRequest(page_size=3, page_token=token)
        pages.append(list_expiries(office, lanes, request))

    assert [row for page in pages for row in warned(page)] == warned(whole)
    assert [len(page.warnings) for page in pages] == [3, 3, 3, 1]
    assert [bool(page.expiries) for page in pages] == [True, False, False, False]


@pytest.mark.parametrize("fields", [{"days": 367}, {"days": -1}, {"page_size": 1001}, {"page_token": "abc"}])
def test_what_is_out_of_range_is_refused(office: Office, lanes: Lanes, fields: dict[str, Any]) -> None:
    request = messages.ListExpiriesRequest(**fields)

    with pytest.raises(InvalidField):
        list_expiries(office, lanes, request)
