"""The worked example (tests/settlement_example.json) through the core: all 18 events, every policy, both modes."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from exchange.core.book import Link, Wallet
from exchange.core.commands import ClawBackEarn, Command, ExchangeIn, RefundBurn
from exchange.core.ids import OPERATOR, POOL
from exchange.core.journal import Entry, Line
from exchange.core.rates import Cards, RateCard
from tests.builders import M1, M2, M3, NO_EXPIRY, TERMS, WIDE, A, B, C, asked, at, burn, card, earn
from tests.rows import Rows

EXAMPLE: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "settlement_example.json").read_text(encoding="utf-8")
)
PARTIES = {"A": A, "B": B, "C": C, "POOL": POOL, "OP": OPERATOR}
NAMES = {party: name for name, party in PARTIES.items()}
MEMBERS = {"M1": M1, "M2": M2, "M3": M3}
EVENTS: dict[str, dict[str, Any]] = {event["id"]: event for event in EXAMPLE["events"]}
WINDOWS = ["W1", "W2", "W3"]
FIRST_DAY = date(2026, 1, 1)
TERMS_OF = {
    "base": TERMS,
    "clamp": replace(TERMS, claw_back="clamp"),
    "pro_rata_refund": replace(TERMS, refund="pro_rata"),
}


def day(number: int) -> date:
    """Day 1 is 1 January 2026."""
    return FIRST_DAY + timedelta(days=number - 1)


def micros(amount: str | float) -> int:
    """An exact amount of the example in micros."""
    exact = Decimal(str(amount)) * 1_000_000
    assert exact == int(exact)
    return int(exact)


def example_card(partner: int, version: str, mode: str) -> RateCard:
    prices = EXAMPLE["rate_cards"][version]
    funding = micros(prices["funding"])
    priced = card(
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
    exchange = EXAMPLE["exchange"]
    if partner != PARTIES[exchange["partner"]]:
        return priced
    rate, spread = Fraction(exchange["native_rate_in"]), Fraction(exchange["spread"])
    return replace(priced, native_rate_in=rate, exchange_spread=spread)


def example_ledger(policy: str, mode: str) -> Rows:
    partners = (A, B, C)
    pairs = [(member, partner) for member in MEMBERS.values() for partner in partners]
    return Rows(
        Cards([example_card(partner, version, mode) for partner in partners for version in ("v1", "v2")]),
        TERMS_OF[policy],
        {member: Wallet(member) for member in MEMBERS.values()},
        {pair: Link(*pair, WIDE, WIDE) for pair in pairs},
    )


def command_of(event: dict[str, Any]) -> Command:
    """The event as the partner sends it."""
    clock = "23:50" if event["id"] == "E18" else "12:00"
    when = at(f"{day(event['day']).isoformat()} {clock}")
    points = event["points"]
    if event["kind"] == "burn":
        redeemer, member = PARTIES[event["redeemer"]], MEMBERS[event["member"]]
        return burn(event["id"], points=points, partner_id=redeemer, member_id=member, event_time=when)
    if event["kind"] in ("claw_back_earn", "refund_burn"):
        return _follow_up(event, when)
    named: dict[str, Any] = {
        "partner_id": PARTIES[event["issuer"]],
        "member_id": MEMBERS[event["member"]],
        "event_time": when,
        "expiry_date": day(event["expires_day"]),
    }
    if event["kind"] == "exchange_in":
        exchanged: Command = asked(ExchangeIn, event["id"], native_points=event["native_points"], **named)
        return exchanged
    if event["id"] == "E6":  # "floor of the 16.67 cash part of E4"
        return earn(event["id"], spend_minor=1_667, **named)
    return earn(event["id"], points=points, **named)


def _follow_up(event: dict[str, Any], when: datetime) -> Command:
    original = EVENTS[event.get("earn") or event["burn"]]
    command: Command = asked(
        ClawBackEarn if event["kind"] == "claw_back_earn" else RefundBurn,
        event["id"],
        partner_id=PARTIES[original.get("issuer") or original["redeemer"]],
        member_id=MEMBERS[original["member"]],
        event_time=when,
        original=original["id"],
        points=event["points"],
    )
    return command


class Close(NamedTuple):
    """The ledger as a window leaves it, with the window's own entries."""

    rows: Rows
    entries: list[Entry]
    expected: dict[str, Any]


def closes(policy: str, mode: str) -> dict[str, Close]:
    """Every window's end. E18, of day 2, arrives on day 3 at 00:20, before the others of W3."""
    found: dict[str, Close] = {}
    rows = example_ledger(policy, mode)
    for number, window in enumerate(WINDOWS, start=1):
        before = len(rows.journal)
        events = [event for event in EXAMPLE["events"] if event["window"] == window]
        late = [command_of(event) for event in events if event["id"] == "E18"]
        on_time = [
            command_of(event) for event in events if event["id"] != "E18" and event["kind"] != "expire"
        ]
        answers = rows.run(late, at(f"{day(number).isoformat()} 00:20"))
        answers += rows.run(on_time, at(f"{day(number).isoformat()} 18:00"))
        assert {answer["verdict"] for answer, _ in answers} == {"accepted"}
        copy = replace(
            rows, lots={key: replace(lot) for key, lot in rows.lots.items()}, deficits=dict(rows.deficits)
        )
        entries = list(rows.journal.values())[before:]
        found[window] = Close(copy, entries, EXAMPLE["expected"][policy][mode][window])
    return found


def sums(entries: list[Entry]) -> dict[int, dict[str, int]]:
    """Micros received less paid, by party and component; nothing for what adds up to nothing."""
    found: dict[int, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        for line in entry.lines:
            found[line.payer_id][line.payer_component] -= line.micros
            found[line.payee_id][line.payee_component] += line.micros
    plain = {party: {name: sum_ for name, sum_ in by.items() if sum_} for party, by in found.items()}
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


@pytest.fixture(params=sorted(TERMS_OF))
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_line_of_every_window_is_the_examples(policy: str, mode: str) -> None:
    for close in closes(policy, mode).values():
        owed: Counter[str] = Counter()
        for entry in close.entries:
            for line in entry.lines:
                owed[f"{NAMES[line.payer_id]}->{NAMES[line.payee_id]}"] += line.micros

        assert sums(close.entries) == expected_sums(close.expected)
        assert owed == {pair: micros(amount) for pair, amount in close.expected["bilateral_exact"].items()}


def test_every_lot_of_every_window_holds_what_the_example_says(policy: str, mode: str) -> None:
    versions = {"W1": 1, "W2": 1, "W3": 2}
    keys = {
        event["lot"]: (
            *(MEMBERS[event["member"]], PARTIES[event["issuer"]], versions[event["window"]]),
            day(event["expires_day"]),
        )
        for event in EXAMPLE["events"]
        if event["kind"] in ("earn", "exchange_in")
    }

    for close in closes(policy, mode).values():
        expected = {keys[name]: points for name, points in close.expected["open_lots"].items()}

        assert {tuple(key): lot.open_points for key, lot in close.rows.lots.items()} == expected


def test_every_window_ends_with_the_examples_liability_deficit_and_pool(policy: str, mode: str) -> None:
    posted: list[Entry] = []
    for close in closes(policy, mode).values():
        posted += close.entries
        liability: Counter[int] = Counter()
        for lot in close.rows.lots.values():
            liability[lot.issuer_id] += (lot.open_points + lot.held_points) * lot.funding_micros
        owed = sum(deficit.outstanding_points for deficit in close.rows.deficits.values())
        pool = sum(sums(posted).get(POOL, {}).values())

        expected = {PARTIES[issuer]: micros(amount) for issuer, amount in close.expected["liability"].items()}
        assert +liability == expected
        assert owed == close.expected["deficit_points"]
        assert pool == micros(close.expected["pool_balance_exact"])


def test_every_points_total_is_the_examples(policy: str, mode: str) -> None:
    last = closes(policy, mode)["W3"]
    expected = EXAMPLE["expected"][policy][mode]["points"]

    lots = list(last.rows.lots.values())

    assert expected == {
        "issued": sum(lot.issued_points for lot in lots),
        "burned": sum(lot.burned_points for lot in lots),
        "clawed": sum(lot.clawed_back_points for lot in lots),
        "absorbed": sum(lot.absorbed_points for lot in lots),
        "expired": sum(lot.expired_points for lot in lots),
        "open": sum(lot.open_points for lot in lots),
    }


def test_the_deficit_of_e7_takes_l4_at_once_and_l7_when_it_comes() -> None:
    windows = closes("base", "issue_funded")
    absorbed = {
        (entry.command.request_id, leg.issuer_id): leg.points
        for close in windows.values()
        for entry in close.entries
        for leg in entry.legs
        if leg.to_account == "absorbed"
    }

    assert absorbed == {("E7", B): 16, ("E13", B): 3317}


def test_e13_pays_the_old_price_of_what_is_owed_and_the_operator_has_the_rest() -> None:
    (e13,) = [
        entry for entry in closes("base", "issue_funded")["W3"].entries if entry.command.request_id == "E13"
    ]

    assert Line(POOL, "DEFICIT_FUNDING", A, "DEFICIT_RECOVERY", 33_170_000) in e13.lines
    assert Line(POOL, "DEFICIT_FUNDING", OPERATOR, "RATE_VARIANCE", 1_658_500) in e13.lines


def test_e12_is_posted_before_the_first_event_of_its_member_on_day_3() -> None:
    entries = closes("base", "issue_funded")["W3"].entries

    of_m2 = [(entry.command.kind, entry.points) for entry in entries if entry.command.member_id == M2]

    assert of_m2 == [("expire", 1100), ("burn", 500), ("refund_burn", 200)]


@pytest.mark.parametrize(
    ("policy", "returned"), [("base", [(A, 108), (B, 92)]), ("pro_rata_refund", [(B, 157), (A, 43)])]
)
def test_e16_returns_points_to_the_lots_they_came_from(policy: str, returned: list[tuple[int, int]]) -> None:
    entries = closes(policy, "issue_funded")["W3"].entries

    (e16,) = [entry for entry in entries if entry.command.request_id == "E16"]

    assert [(leg.issuer_id, leg.points) for leg in e16.legs] == returned


def test_a_purchase_of_50_is_3333_points_and_16_67_in_cash_which_earns_16(mode: str) -> None:
    rows = example_ledger("base", mode)

    answers = rows.run(
        [command_of(event) for event in EXAMPLE["events"] if event["window"] == "W1"], at("2026-01-01 18:00")
    )

    purchase, cash_part = answers[3][0], answers[5][0]
    assert purchase["value_micros"] == 33_330_000
    assert purchase["reimbursement_micros"] == 31_663_500
    assert cash_part["points"] == 16


def test_the_late_burn_e18_is_priced_on_card_v1_and_the_other_burns_of_day_3_on_v2() -> None:
    entries = closes("base", "issue_funded")["W3"].entries

    burned_at = {
        entry.command.request_id: entry.rate_version for entry in entries if entry.command.kind == "burn"
    }

    assert burned_at == {"E18": 1, "E14": 2, "E15": 2, "E17": 2}
