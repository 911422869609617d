"""Quotes of a real hub: what they promise, whom they bind, and that each is used once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from examples.coalition import CardTerms, Operators
from tests.live_hub import BURN, EARN, POINTS, Answer, Coalition
from tests.waiting import eventually
from tongdui.exchange.v1 import commands_pb2, points_service_pb2, quotes_pb2

QUOTE: Final = POINTS + "Quote"


@pytest.fixture(scope="module")
def shop(coalition: Coalition) -> str:
    """A partner of its own with native points: 2 for a point, 0.4 points for one, less 2 in a hundred."""
    card = CardTerms(native_rate_in=(2, 5), native_rate_out=(2, 1), exchange_spread=(1, 50))
    coalition.add_partner("florist", cards=[card])
    return "florist"


def quote(
    coalition: Coalition, code: str, member_id: str, **operation: int
) -> points_service_pb2.QuoteResponse:
    request = points_service_pb2.QuoteRequest(member_id=member_id, **operation)
    return coalition.wire.accepted(coalition.keys[code], QUOTE, request, points_service_pb2.QuoteResponse)


def burn(coalition: Coalition, code: str, member_id: str, **changes: Any) -> Answer:
    return coalition.wire.call(coalition.keys[code], BURN, coalition.burn(member_id, **changes))


def test_a_quote_says_what_each_operation_gives_and_what_the_member_could_spend(
    coalition: Coalition, shop: str
) -> None:
    member_id = coalition.member("cafe", shop, points=700)

    quotes = {
        name: quote(coalition, shop, member_id, **{name: amount})
        for name, amount in (
            *(("earn_points", 30), ("earn_spend_minor", 1_999), ("earn_native_points", 1_001)),
            *(("burn_points", 50), ("exchange_in_native_points", 1_001), ("exchange_out_points", 7)),
        )
    }

    assert {name: (it.points, it.native_points) for name, it in quotes.items()} == {
        "earn_points": (30, 0),
        "earn_spend_minor": (19, 0),
        "earn_native_points": (400, 1_001),
        "burn_points": (50, 0),
        "exchange_in_native_points": (392, 1_001),
        "exchange_out_points": (7, 14),
    }
    assert quotes["burn_points"].value_micros == 500_000
    assert {it.maximum_points for it in quotes.values()} == {700}
    assert {it.rate_version for it in quotes.values()} == {1}
    ends = quotes["burn_points"].expire_time.ToDatetime(tzinfo=UTC)
    assert timedelta(minutes=5) < ends - datetime.now(UTC) < timedelta(minutes=15)


def test_the_first_accepted_command_uses_a_quote_up_and_a_repeat_is_answered_again(
    coalition: Coalition,
) -> None:
    member_id = coalition.member("cafe", "books", points=100)
    promised = quote(coalition, "books", member_id, burn_points=40).quote
    request = coalition.burn(member_id, points=40, quote=promised)

    first, again = (coalition.wire.call(coalition.keys["books"], BURN, request) for _ in range(2))
    other = burn(coalition, "books", member_id, points=40, quote=promised)

    assert (first.reason, again.body, other.reason) == ("", first.body, "QUOTE_USED")


def test_a_refused_command_leaves_its_quote(coalition: Coalition) -> None:
    member_id = coalition.member("cafe", "books", points=10)
    promised = quote(coalition, "books", member_id, burn_points=40).quote

    poor = burn(coalition, "books", member_id, points=40, quote=promised)
    earned = coalition.earn(member_id, points=90)
    coalition.wire.accepted(coalition.keys["cafe"], EARN, earned, commands_pb2.EarnResponse)
    rich = burn(coalition, "books", member_id, points=40, quote=promised)

    assert (poor.reason, rich.reason) == ("INSUFFICIENT_POINTS", "")


def test_a_quote_keeps_its_price_when_the_card_changes(coalition: Coalition) -> None:
    coalition.add_partner("bakery", cards=[CardTerms(face_value_micros=10_000)])
    member_id = coalition.member("cafe", "bakery", points=200)
    promised = quote(coalition, "bakery", member_id, burn_points=40)
    begins = datetime.now(UTC) + timedelta(hours=1)

    async def change(operators: Operators) -> None:
        await operators.add_card("bakery", begins, CardTerms(face_value_micros=5_000))

    coalition.operate(change)
    # Only the calendar brings this about, so the test plays the calendar.
    coalition.rows("UPDATE exchange.rate_cards SET valid_from = now() WHERE valid_from = %s", begins)
    coalition.rows("UPDATE exchange.registry SET version = version + 1")
    eventually(lambda: quote(coalition, "bakery", member_id, burn_points=40).rate_version == 2)

    kept = burn(coalition, "bakery", member_id, points=40, quote=promised.quote)
    plain = burn(coalition, "bakery", member_id, points=40)

    values = [commands_pb2.BurnResponse.FromString(it.body) for it in (kept, plain)]
    assert [(it.rate_version, it.value_micros) for it in values] == [(1, 400_000), (2, 200_000)]


def forged(promised: bytes) -> bytes:
    signed = quotes_pb2.SignedQuote.FromString(promised)
    inner = quotes_pb2.Quote.FromString(signed.quote)
    inner.amount = 60
    signed.quote = inner.SerializeToString()
    return signed.SerializeToString()


def test_a_quote_binds_member_partner_operation_amount_and_the_hubs_key(coalition: Coalition) -> None:
    member_id, other = (coalition.member("cafe", "books", points=100) for _ in range(2))
    promised = quote(coalition, "books", member_id, burn_points=40).quote
    earning = quote(coalition, "books", member_id, earn_points=40).quote

    answers = {
        "another amount": burn(coalition, "books", member_id, points=41, quote=promised),
        "another member": burn(coalition, "books", other, points=40, quote=promised),
        "another partner": burn(coalition, "cafe", member_id, points=40, quote=promised),
        "another operation": burn(coalition, "books", member_id, points=40, quote=earning),
        "a changed amount": burn(coalition, "books", member_id, points=60, quote=forged(promised)),
        "no quote at all": burn(coalition, "books", member_id, points=40, quote=b"\x00not a quote"),
    }

    assert {name: (it.reason, dict(it.error_info.metadata)) for name, it in answers.items()} == dict.fromkeys(
        answers, ("INVALID_FIELD", {"field": "quote"})
    )


def test_nobody_prices_for_a_member_it_does_not_know(coalition: Coalition) -> None:
    member_id = coalition.member("cafe")
    request = points_service_pb2.QuoteRequest(member_id=member_id, burn_points=1)

    answer = coalition.wire.call(coalition.keys["books"], QUOTE, request)

    assert answer.reason == "MEMBER_UNKNOWN"
    assert not answer.has_receipt


def test_a_quote_of_nothing_is_refused_as_the_command_would_be(coalition: Coalition) -> None:
    member_id = coalition.member("cafe")
    cafe, wire = coalition.keys["cafe"], coalition.wire
    asked = points_service_pb2.QuoteRequest

    reasons = [
        wire.call(cafe, QUOTE, request).reason
        for request in (
            asked(member_id=member_id, earn_spend_minor=1),
            asked(member_id=member_id, exchange_out_points=1),
            asked(member_id=member_id, burn_points=0),
            asked(member_id=member_id),
        )
    ]

    assert reasons == ["NOTHING_TO_EARN", "NO_NATIVE_RATE", "INVALID_FIELD", "INVALID_FIELD"]
