"""The worked example, all 18 events, through the reference ledger: it is to be right before it judges the core."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from exchange.core.commands import Burn, ClawBackEarn, Earn, ExchangeIn, RefundBurn
from exchange.core.rates import RateCard
from tests.builders import M1, M2, M3, NO_EXPIRY, TERMS, WIDE, A, B, C, at, card
from tests.property.asking import ask
from tests.reference import Posting, ReferenceLedger
from tests.reference.records import OPERATOR, POOL

EXAMPLE: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "settlement_example.json").read_text(encoding="utf-8")
)
PARTIES = {"A": A, "B": B, "C": C, "POOL": POOL, "OP": OPERATOR}
MEMBERS = {"M1": M1, "M2": M2, "M3": M3}
EVENTS: dict[str, dict[str, Any]] = {event["id"]: event for event in EXAMPLE["events"]}
WINDOWS = ["W1", "W2", "W3"]
FIRST_DAY = date(2026, 1, 1)
POLICIES = {
    "base": TERMS,
    "clamp": replace(TERMS, claw_back="clamp"),
    "pro_rata_refund": replace(TERMS, refund="pro_rata"),
}
FIGURES = {
    "issued": ("issued", -1),
    "burned": ("burned", 1),
    "clawed": ("clawed_back", 1),
    "absorbed": ("absorbed", 1),
    "expired": ("expired", 1),
    "open": ("open", 1),
}


def day(number: int) -> date:
    return FIRST_DAY + timedelta(days=number - 1)


def micros(amount: str | float) -> int:
    exact = Decimal(str(amount)) * 1_000_000
    assert exact == int(exact)
    return int(exact)


def example_card(partner: int, version: str, mode: str) -> RateCard:
    prices = EXAMPLE["rate_cards"][version]
    funding = micros(prices["funding"])
    plain = card(
        partner,
        int(version[1:]),
        valid_from=f"{day(prices['from_day']).isoformat()} 00:00",
        funding=funding,
        reimbursement=micros(prices["reimbursement"]),
        issue_fee=micros(prices["issue_fee"]),
        prefunded=funding if mode == "issue_funded" else 0,
        expiry=NO_EXPIRY,
        breakage_issuer_share=Fraction(EXAMPLE["breakage_issuer_share"]),
    )
    if PARTIES[EXAMPLE["exchange"]["partner"]] != partner:
        return plain
    exchange = EXAMPLE["exchange"]
    rate, spread = Fraction(exchange["native_rate_in"]), Fraction(exchange["spread"])
    return replace(plain, native_rate_in=rate, exchange_spread=spread)


def command_of(event: dict[str, Any]) -> Any:
    """The event as the partner sends it, at noon of its day; the late E18 at 23:50."""
    clock = "23:50" if event["id"] == "E18" else "12:00"
    common: dict[str, Any] = {
        "request_id": event["id"],
        "event_time": at(f"{day(event['day']).isoformat()} {clock}"),
    }
    if "member" in event:
        common["member_id"] = MEMBERS[event["member"]]
    match str(event["kind"]):
        case "earn":
            expires = day(event["expires_day"])
            issuer = PARTIES[event["issuer"]]
            return ask(Earn, **common, partner_id=issuer, points=event["points"], expiry_date=expires)
        case "burn":
            return ask(Burn, **common, partner_id=PARTIES[event["redeemer"]], points=event["points"])
        case "exchange_in":
            expires = day(event["expires_day"])
            issuer, native = PARTIES[event["issuer"]], event["native_points"]
            return ask(ExchangeIn, **common, partner_id=issuer, native_points=native, expiry_date=expires)
        case "claw_back_earn":
            first = EVENTS[event["earn"]]
            common |= {"member_id": MEMBERS[first["member"]], "partner_id": PARTIES[first["issuer"]]}
            return ask(ClawBackEarn, **common, original=first["id"], points=event["points"])
        case "refund_burn":
            first = EVENTS[event["burn"]]
            common |= {"member_id": MEMBERS[first["member"]], "partner_id": PARTIES[first["redeemer"]]}
            return ask(RefundBurn, **common, original=first["id"], points=event["points"])
        case _:
            raise AssertionError(event)


def decided_time(event: dict[str, Any]) -> datetime:
    """18:00 of the window's day; the late E18 arrives at 00:20, before the other events of W3."""
    clock = "00:20" if event["id"] == "E18" else "18:00"
    return at(f"{day(int(event['window'][1:])).isoformat()} {clock}")


def walk(policy: str, mode: str) -> tuple[ReferenceLedger, dict[str, int]]:
    """The ledger after all events, and for each window the number of postings at its end."""
    partners = (A, B, C)
    cards = [example_card(partner, version, mode) for partner in partners for version in ("v1", "v2")]
    consent = {(member, partner): (WIDE, WIDE) for member in MEMBERS.values() for partner in partners}
    ledger = ReferenceLedger(cards, MEMBERS.values(), consent, POLICIES[policy])
    ends = {}
    for window in WINDOWS:
        events = [each for each in EXAMPLE["events"] if each["window"] == window and each["kind"] != "expire"]
        for event in sorted(events, key=decided_time):
            answer, _ = ledger.submit(command_of(event), decided_time(event), decided_time(event))
            assert answer["verdict"] == "accepted", (event, answer)
            assert answer["points"] == event["points"]
        ends[window] = len(ledger.postings)
    return ledger, ends


def sums(postings: list[Posting]) -> dict[int, dict[str, int]]:
    """Micros received less paid, by party and component; nothing for what adds up to nothing."""
    found: dict[int, Counter[str]] = defaultdict(Counter)
    for posting in postings:
        for payment in posting.payments:
            found[payment.payer][payment.payer_component] -= payment.micros
            found[payment.payee][payment.payee_component] += payment.micros
    plain = {party: {name: total for name, total in by.items() if total} for party, by in found.items()}
    return {party: amounts for party, amounts in plain.items() if amounts}


def expected_sums(window: dict[str, Any]) -> dict[int, dict[str, int]]:
    exact = {
        PARTIES[partner]: {component: micros(amount["exact"]) for component, amount in lines.items()}
        for partner, lines in window["lines"].items()
    }
    for party, amounts in (("OP", window["operator_exact"]), ("POOL", window["pool_exact"])):
        exact[PARTIES[party]] = {component: micros(amount) for component, amount in amounts.items()}
    return {party: amounts for party, amounts in exact.items() if amounts}


@pytest.fixture(params=["issue_funded", "redeem_funded"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=sorted(POLICIES))
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_window_has_exactly_the_examples_lines_and_debts_between_parties(
    policy: str, mode: str
) -> None:
    ledger, ends = walk(policy, mode)
    begin = 0

    for window in WINDOWS:
        postings, begin = ledger.postings[begin : ends[window]], ends[window]
        expected = EXAMPLE["expected"][policy][mode][window]
        owed: Counter[str] = Counter()
        names = {number: name for name, number in PARTIES.items()}
        for payment in (payment for posting in postings for payment in posting.payments):
            owed[f"{names[payment.payer]}->{names[payment.payee]}"] += payment.micros

        assert sums(postings) == expected_sums(expected)
        assert owed == {pair: micros(amount) for pair, amount in expected["bilateral_exact"].items()}


def test_every_window_ends_with_the_examples_lots_liability_deficit_and_pool(policy: str, mode: str) -> None:
    ledger, ends = walk(policy, mode)
    everything = ledger.postings
    named = {
        event["lot"]: (
            MEMBERS[event["member"]],
            PARTIES[event["issuer"]],
            1 + (event["day"] >= 3),
            event["expires_day"],
        )
        for event in EXAMPLE["events"]
        if event["kind"] in ("earn", "exchange_in")
    }

    for window in WINDOWS:
        ledger.postings = everything[: ends[window]]
        expected = EXAMPLE["expected"][policy][mode][window]
        found = ledger.balances()
        open_points = {
            (lot.member, lot.issuer, lot.version, (lot.last_day - FIRST_DAY).days + 1): found[lot, "open"]
            for lot in ledger.lots
        }
        liability: Counter[int] = Counter()
        for lot in ledger.lots:
            liability[lot.issuer] += found[lot, "open"] * ledger.card_of(lot).funding_micros
        owed = sum(ledger.deficit(member) for member in MEMBERS.values())

        assert {name: open_points[key] for name, key in named.items() if name in expected["open_lots"]} == (
            expected["open_lots"]
        )
        assert +liability == {
            PARTIES[party]: micros(amount) for party, amount in expected["liability"].items()
        }
        assert owed == expected["deficit_points"]
        assert ledger.balance_of(POOL) == micros(expected["pool_balance_exact"])


def test_all_points_of_the_example_are_where_it_says(policy: str, mode: str) -> None:
    ledger, _ = walk(policy, mode)
    expected = EXAMPLE["expected"][policy][mode]["points"]

    found = ledger.balances()

    for name, (account, sign) in FIGURES.items():
        total = sum(points for (_, where), points in found.items() if where == account)
        assert (name, sign * total) == (name, expected[name])


def test_points_expire_and_return_where_the_example_says() -> None:
    ledger, _ = walk("base", "issue_funded")
    by_kind = {posting.kind: posting for posting in ledger.postings}
    e16 = next(posting for posting in ledger.postings if posting.name[1] == "E16")

    assert by_kind["expire"].points == EVENTS["E12"]["points"] == 1100
    returned = [(move.lot.issuer, move.points) for move in e16.moves if move.source == "burned"]
    assert returned == [(A, 108), (B, 92)]  # 108 back to L2, then 92 to L5
