"""The worked example (tests/settlement_example.json) through the core, as far as earn, burn and expiry go.

W1 is complete. Of the later windows, member M3's events are here: no other event of the example touches M3.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from exchange.core.book import Link, Wallet
from exchange.core.commands import Command
from exchange.core.ids import OPERATOR, POOL
from exchange.core.journal import Entry, Line
from exchange.core.rates import Cards, RateCard
from tests.builders import M1, M2, M3, NO_EXPIRY, TERMS, WIDE, A, B, C, at, burn, card, earn
from tests.rows import Rows

EXAMPLE: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "settlement_example.json").read_text(encoding="utf-8")
)
PARTIES = {"A": A, "B": B, "C": C, "POOL": POOL, "OP": OPERATOR}
MEMBERS = {"M1": M1, "M2": M2, "M3": M3}
EVENTS: dict[str, dict[str, Any]] = {event["id"]: event for event in EXAMPLE["events"]}
W1 = [event for event in EXAMPLE["events"] if event["window"] == "W1"]
FIRST_DAY = date(2026, 1, 1)
MODES = ["issue_funded", "redeem_funded"]


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
    return card(
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


def example_ledger(mode: str) -> Rows:
    partners = (A, B, C)
    cards = [example_card(partner, version, mode) for partner in partners for version in ("v1", "v2")]
    return Rows(
        Cards(cards),
        TERMS,
        {member: Wallet(member) for member in MEMBERS.values()},
        {
            (member, partner): Link(member, partner, WIDE, WIDE)
            for member in MEMBERS.values()
            for partner in partners
        },
    )


def command_of(event: dict[str, Any], clock: str = "12:00") -> Command:
    """The event as the partner sends it, at that time of its day."""
    event_time = at(f"{day(event['day']).isoformat()} {clock}")
    member = MEMBERS[event["member"]]
    if event["kind"] == "burn":
        redeemer = PARTIES[event["redeemer"]]
        return burn(
            event["id"], points=event["points"], partner_id=redeemer, member_id=member, event_time=event_time
        )
    return earn(
        event["id"],
        points=0 if event["id"] == "E6" else event["points"],
        spend_minor=1_667 if event["id"] == "E6" else 0,  # "floor of the 16.67 cash part of E4"
        partner_id=PARTIES[event["issuer"]],
        member_id=member,
        event_time=event_time,
        expiry_date=day(event["expires_day"]),
    )


def sums(entries: list[Entry]) -> dict[int, dict[str, int]]:
    """Micros received less paid, by party and component; nothing for what adds up to nothing."""
    found: dict[int, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        for line in entry.lines:
            found[line.payer_id][line.payer_component] -= line.micros
            found[line.payee_id][line.payee_component] += line.micros
    return {party: {name: sum_ for name, sum_ in by.items() if sum_} for party, by in found.items()}


def expected_sums(window: dict[str, Any]) -> dict[int, dict[str, int]]:
    exact = {
        PARTIES[partner]: {component: micros(amount["exact"]) for component, amount in lines.items()}
        for partner, lines in window["lines"].items()
    }
    for party, amounts in (("OP", window["operator_exact"]), ("POOL", window["pool_exact"])):
        exact[PARTIES[party]] = {component: micros(amount) for component, amount in amounts.items()}
    return {party: amounts for party, amounts in exact.items() if amounts}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def after_w1(mode: str) -> Rows:
    rows = example_ledger(mode)
    answers = rows.run([command_of(event) for event in W1], at("2026-01-01 18:00"))
    assert [answer["verdict"] for answer, _ in answers] == ["accepted"] * 6
    return rows


def test_w1_has_every_line_of_the_example_exactly(after_w1: Rows, mode: str) -> None:
    window = EXAMPLE["expected"]["base"][mode]["W1"]

    assert sums(list(after_w1.journal.values())) == expected_sums(window)


def test_w1_owes_between_each_two_parties_what_the_example_says(after_w1: Rows, mode: str) -> None:
    window = EXAMPLE["expected"]["base"][mode]["W1"]
    owed: Counter[tuple[int, int]] = Counter()

    for entry in after_w1.journal.values():
        for line in entry.lines:
            owed[line.payer_id, line.payee_id] += line.micros

    expected = {}
    for pair, amount in window["bilateral_exact"].items():
        payer, payee = pair.split("->")
        expected[PARTIES[payer], PARTIES[payee]] = micros(amount)
    assert owed == expected


def test_w1_leaves_the_lots_liability_and_pool_of_the_example(after_w1: Rows, mode: str) -> None:
    window = EXAMPLE["expected"]["base"][mode]["W1"]
    liability: Counter[int] = Counter()

    for lot in after_w1.lots.values():
        liability[lot.issuer_id] += (lot.open_points + lot.held_points) * lot.funding_micros

    lots = {
        (MEMBERS[event["member"]], PARTIES[event["issuer"]], day(event["expires_day"])): window["open_lots"][
            event["lot"]
        ]
        for event in W1
        if event["kind"] == "earn"
    }
    assert {
        (lot.member_id, lot.issuer_id, lot.expiry_date): lot.open_points for lot in after_w1.lots.values()
    } == lots
    assert liability == {PARTIES[issuer]: micros(amount) for issuer, amount in window["liability"].items()}
    pool = sums(list(after_w1.journal.values())).get(POOL, {})
    assert sum(pool.values()) == micros(window["pool_balance_exact"])


def test_a_purchase_of_50_is_3333_points_and_16_67_in_cash_which_earns_16(mode: str) -> None:
    rows = example_ledger(mode)

    answers = rows.run([command_of(event) for event in W1], at("2026-01-01 18:00"))

    purchase, cash_part = answers[3][0], answers[5][0]
    assert purchase["value_micros"] == 33_330_000
    assert purchase["reimbursement_micros"] == 31_663_500
    assert cash_part["points"] == 16


def test_the_promotional_points_of_e5_are_spent_first(after_w1: Rows) -> None:
    e5 = after_w1.journal["1-4"]

    assert e5.command.request_id == "E5"
    assert [(leg.lot_sequence, leg.points) for leg in e5.legs] == [(2, 700)]  # L3 is M2's second lot


M3_LINES = {
    "issue_funded": {
        "E10": [
            Line(C, "ISSUE_FUNDING", POOL, "ISSUE_FUNDING", 20_000_000),
            Line(C, "ISSUE_FEE", OPERATOR, "ISSUE_FEE", 400_000),
        ],
        "E11": [
            Line(POOL, "BURN_FUNDING", A, "BURN_REIMBURSE", 11_875_000),
            Line(POOL, "BURN_FUNDING", OPERATOR, "SPREAD", 625_000),
        ],
        "E17": [Line(POOL, "BURN_FUNDING", C, "BURN_REIMBURSE", 3_330_000)],
        "E18": [
            Line(POOL, "BURN_FUNDING", B, "BURN_REIMBURSE", 950_000),
            Line(POOL, "BURN_FUNDING", OPERATOR, "SPREAD", 50_000),
        ],
    },
    "redeem_funded": {
        "E10": [Line(C, "ISSUE_FEE", OPERATOR, "ISSUE_FEE", 400_000)],
        "E11": [
            Line(C, "BURN_FUNDING", A, "BURN_REIMBURSE", 11_875_000),
            Line(C, "BURN_FUNDING", OPERATOR, "SPREAD", 625_000),
        ],
        "E17": [],
        "E18": [
            Line(C, "BURN_FUNDING", B, "BURN_REIMBURSE", 950_000),
            Line(C, "BURN_FUNDING", OPERATOR, "SPREAD", 50_000),
        ],
    },
}


@pytest.fixture
def m3(mode: str) -> Rows:
    """M3's four events, each posted when the example says: E18 of day 2, 23:50, arrives on day 3 at 00:20."""
    rows = example_ledger(mode)
    rows.run([command_of(EVENTS["E10"]), command_of(EVENTS["E11"])], at("2026-01-02 18:00"))
    rows.run([command_of(EVENTS["E18"], "23:50")], at("2026-01-03 00:20"))
    rows.run([command_of(EVENTS["E17"])], at("2026-01-03 18:00"))
    return rows


def test_m3s_events_have_exactly_their_lines(m3: Rows, mode: str) -> None:
    found = {entry.command.request_id: sorted(entry.lines) for entry in m3.journal.values()}

    assert found == {event: sorted(lines) for event, lines in M3_LINES[mode].items()}


def test_m3s_lines_of_w2_are_the_examples_lines_of_their_components(m3: Rows, mode: str) -> None:
    # In W2 nobody but M3 earns from C or burns at A, so these components of the window are E10's and E11's alone.
    window = expected_sums(EXAMPLE["expected"]["base"][mode]["W2"])

    found = sums([entry for entry in m3.journal.values() if entry.command.request_id in ("E10", "E11")])

    assert found[C] == window[C]
    assert found[A]["BURN_REIMBURSE"] == window[A]["BURN_REIMBURSE"]
    assert found[OPERATOR] == {name: window[OPERATOR][name] for name in ("ISSUE_FEE", "SPREAD")}


def test_the_late_burn_e18_is_priced_on_card_v1_and_the_other_burn_of_day_3_on_v2(m3: Rows) -> None:
    versions = {entry.command.request_id: entry.rate_version for entry in m3.journal.values()}

    assert versions == {"E10": 1, "E11": 1, "E18": 1, "E17": 2}
    assert (
        EXAMPLE["expected"]["base"]["issue_funded"]["W3"]["lines"]["B"]["BURN_REIMBURSE"]["exact"] == "0.95"
    )


def test_m3_keeps_317_points_which_are_all_that_c_is_liable_for(m3: Rows, mode: str) -> None:
    window = EXAMPLE["expected"]["base"][mode]["W3"]

    (l6,) = m3.lots.values()

    assert l6.open_points == window["open_lots"]["L6"] == 317
    assert l6.open_points * l6.funding_micros == micros(window["liability"]["C"])
