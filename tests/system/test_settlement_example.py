"""The worked example (tests/settlement_example.json) through the real programs: hub, database, `tongdui-settle`.

The coalition's first three days on a manual clock: all 18 events, in every variant of the rules (claw backs that
raise deficits or are clamped, refunds lot by lot or pro rata), once issue-funded and once redeem-funded.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from examples.coalition import CardTerms, Operators, timestamp, wire_date
from merchant_adapter import Key
from settlement.__main__ import main
from settlement.command_line.evidence import export_window
from settlement.command_line.session import Session, open_snapshot
from settlement.command_line.verification import verify_bundle
from settlement.core.roll_forward import totals
from settlement.rpc.keys import load_private_key
from settlement.settings import Settings
from settlement.store.engine import open_engine
from settlement.store.positions import load_roll_forwards
from tests.conftest import Databases
from tests.live_hub import BURN, EARN, POINTS, Coalition, new_site, running
from tongdui.exchange.v1 import (
    commands_pb2,
    entries_pb2,
    partners_service_pb2,
    points_service_pb2,
    rate_cards_service_pb2,
)

EXAMPLE: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "settlement_example.json").read_text(encoding="utf-8")
)
EVENTS: Final[dict[str, dict[str, Any]]] = {event["id"]: event for event in EXAMPLE["events"]}
W1_EVENTS: Final = ("E1", "E2", "E3", "E4", "E5", "E6")
WINDOWS: Final = {"W1": 1, "W2": 2, "W3": 3}
OPTIONS: Final = {"base": (), "clamp": ("--claw-back=clamp",), "pro_rata_refund": ("--refund=pro_rata",)}
RUNS: Final = [(variant, mode) for variant in EXAMPLE["expected"] for mode in EXAMPLE["expected"][variant]]
RPCS: Final = {"claw_back_earn": "ClawBackEarn", "refund_burn": "RefundBurn", "exchange_in": "ExchangeIn"}
PARTIES: Final = {"A": "a", "B": "b", "C": "c", "POOL": "POOL", "OP": "OPERATOR"}
SHANGHAI: Final = ZoneInfo("Asia/Shanghai")
NEVER: Final = rate_cards_service_pb2.ExpiryPolicy(never=True)


def day(number: int) -> date:
    """Day 1 is 1 January 2026."""
    return date(2026, 1, 1) + timedelta(days=number - 1)


def at(number: int, hour: int, minute: int = 0) -> datetime:
    """A local time of a day."""
    return datetime(2026, 1, 1, hour, minute, tzinfo=SHANGHAI) + timedelta(days=number - 1)


def micros(amount: str | float) -> int:
    """An exact amount of the example in micros."""
    exact = Decimal(str(amount)) * 1_000_000
    assert exact == int(exact)
    return int(exact)


def terms(partner: str, version: str, mode: str) -> CardTerms:
    prices = EXAMPLE["rate_cards"][version]
    funding = micros(prices["funding"])
    return CardTerms(
        funding_micros=funding,
        reimbursement_micros=micros(prices["reimbursement"]),
        issue_fee_micros=micros(prices["issue_fee"]),
        prefunded_micros=funding if mode == "issue_funded" else 0,
        breakage_issuer_share=(1, 2),
        expiry=NEVER,
        native_rate_in=(2, 5) if partner == "b" else None,
        exchange_spread=(1, 50) if partner == "b" else (0, 1),
    )


@dataclass(slots=True)
class Days:
    """The coalition in one variant and funding mode, after its three days."""

    coalition: Coalition
    variant: str
    mode: str
    finance: dict[str, str]
    """The environment of `tongdui-settle`."""
    members: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    wallets: dict[str, dict[str, points_service_pb2.GetWalletResponse]] = field(default_factory=dict)
    """Each member's wallet at the end of each window."""
    settled: list[dict[str, Any]] = field(default_factory=list)
    """What `tongdui-settle run` said of each day."""
    shown: dict[int, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """Statements by day and party, as far as they were asked for."""

    @property
    def expected(self) -> dict[str, Any]:
        """What the example expects of this run, by window."""
        expected: dict[str, Any] = EXAMPLE["expected"][self.variant][self.mode]
        return expected

    def set_time(self, moment: datetime) -> None:
        async def move(operators: Operators) -> None:
            await operators.first.set_time(moment)

        self.coalition.operate(move)

    def post(self, event_id: str, clock: tuple[int, int] = (12, 0)) -> None:
        """Sends an event as its partner does, as of that time of its day."""
        event, wire, keys = EVENTS[event_id], self.coalition.wire, self.coalition.keys
        common: dict[str, Any] = {
            "request_id": event_id,
            "reference": f"order-{event_id}",
            "event_time": timestamp(at(event["day"], *clock)),
        }
        if event["kind"] in RPCS:
            self._post_other(event, common)
            return
        member_id = self.members[event["member"]]
        if event["kind"] == "burn":
            burn = self.coalition.burn(member_id, points=event["points"], **common)
            redeemer = keys[PARTIES[event["redeemer"]]]
            self.answers[event_id] = wire.accepted(redeemer, BURN, burn, commands_pb2.BurnResponse)
            return
        # "floor of the 16.67 cash part of E4"
        basis = {"eligible_spend_minor": 1_667} if event_id == "E6" else {"points": event["points"]}
        earn = self.coalition.earn(
            member_id, expiry_date=wire_date(day(event["expires_day"])), **basis, **common
        )
        issuer = keys[PARTIES[event["issuer"]]]
        self.answers[event_id] = wire.accepted(issuer, EARN, earn, commands_pb2.EarnResponse)

    def _post_other(self, event: dict[str, Any], common: dict[str, Any]) -> None:
        """A claw back, a refund or an exchange: the partner of the event it follows, or its own issuer, sends it."""
        rpc = RPCS[event["kind"]]
        original = EVENTS[event.get("earn") or event.get("burn") or event["id"]]
        own: dict[str, Any] = {"points": event["points"], "original_request_id": original["id"]}
        if event["kind"] == "exchange_in":
            expiry_date = wire_date(day(event["expires_day"]))
            own = {"native_points": event["native_points"], "expiry_date": expiry_date}
        request = getattr(commands_pb2, f"{rpc}Request")(
            member_id=self.members[original["member"]], store_id="s-1", terminal_id="t-1", **own, **common
        )
        key = self.coalition.keys[PARTIES[original.get("redeemer") or original["issuer"]]]
        answer_type = getattr(commands_pb2, f"{rpc}Response")
        self.answers[event["id"]] = self.coalition.wire.accepted(key, POINTS + rpc, request, answer_type)

    def wallet(self, member: str) -> points_service_pb2.GetWalletResponse:
        request = points_service_pb2.GetWalletRequest(member_id=self.members[member])
        return self.coalition.wire.accepted(
            self.coalition.people[0], POINTS + "GetWallet", request, points_service_pb2.GetWalletResponse
        )

    def entries(self) -> dict[str, entries_pb2.Entry]:
        """All entries as an operator reads them, by request id."""
        listed = self.coalition.wire.accepted(
            self.coalition.people[0],
            POINTS + "ListEntries",
            points_service_pb2.ListEntriesRequest(page_size=1_000),
            points_service_pb2.ListEntriesResponse,
        ).entries
        return {entry.request_id: entry for entry in listed}

    def settle(self, *arguments: str) -> bytes:
        """What a command of `tongdui-settle` prints.

        A process of its own in the first run; in the others its `main`, since a process takes most of a second to
        start and says nothing more.
        """
        if (self.variant, self.mode) == RUNS[0]:
            done = subprocess.run(
                [sys.executable, "-m", "settlement", *arguments],
                env={**os.environ, **self.finance},
                capture_output=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr.decode()
            return done.stdout
        return self.settle_here(*arguments)

    def settle_here(self, *arguments: str) -> bytes:
        """The same, without a process."""
        printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        with patch.dict(os.environ, self.finance), redirect_stdout(printed):
            code = main(list(arguments))
        assert code == 0, arguments
        assert isinstance(printed.buffer, io.BytesIO)
        return printed.buffer.getvalue()

    def statements(self, number: int) -> dict[str, dict[str, Any]]:
        if number not in self.shown:
            content = json.loads(self.settle("statement", "--date", str(day(number)), "--json"))
            self.shown[number] = {one["party_id"]: one for one in content["statements"]}
        return self.shown[number]


async def found(operators: Operators, mode: str, finance: Key) -> dict[str, Key]:
    """Partners a, b and c with both cards, and a person of finance."""
    keys = {}
    for code in ("a", "b", "c"):
        keys[code] = await operators.add_partner(code, f"Partner {code.upper()}")
        for version in ("v1", "v2"):
            begins = at(EXAMPLE["rate_cards"][version]["from_day"], 0)
            await operators.add_card(code, begins, terms(code, version, mode))
    await operators.admit_key(finance, [partners_service_pb2.ROLE_FINANCE_MAKER])
    return keys


@pytest.fixture(scope="module", params=RUNS, ids="-".join)
def days(
    request: pytest.FixtureRequest, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Days]:
    """The three days, settled. E18 of day 2, 23:50, arrives on day 3 at 00:20, when W2 is closed."""
    variant, mode = request.param
    directory = tmp_path_factory.mktemp("hub")
    with databases.fresh() as url:
        options = (f"--manual-clock={at(1, 0)}", *OPTIONS[variant])
        site, people = new_site(directory, {"DATABASE_URL": url}, *options)
        with running(site, people, url) as coalition:
            finance = Key.generate("operator", "fiona")
            settings = {
                "DATABASE_URL": url,
                "TONGDUI_HUB_ADDRESS": coalition.hub.address,
                "TONGDUI_HUB_KEYS": str(site.hub_keys_file),
                "TONGDUI_AUDIENCE": site.audience,
                "TONGDUI_SETTLEMENT_KEY": str(finance.save(directory / "finance")),
            }
            made = Days(coalition, variant, mode, settings)
            coalition.keys |= coalition.operate(lambda it: found(it, made.mode, finance))
            made.members = {name: coalition.member("a", "b", "c") for name in ("M1", "M2", "M3")}
            live_through(made)
            yield made


def live_through(days: Days) -> None:
    days.set_time(at(1, 18))
    for event_id in W1_EVENTS:
        days.post(event_id)
    days.wallets["W1"] = {name: days.wallet(name) for name in days.members}
    days.set_time(at(2, 18))
    for event_id in ("E7", "E8", "E9", "E10", "E11"):
        days.post(event_id)
    days.wallets["W2"] = {name: days.wallet(name) for name in days.members}
    days.set_time(at(3, 0, 20))
    days.settle("migrate")
    days.settled += json.loads(days.settle("run", "--through", str(day(2)), "--json"))["days"]
    days.post("E18", (23, 50))
    days.set_time(at(3, 18))
    for event_id in ("E13", "E14", "E15", "E16", "E17"):
        days.post(event_id)
    days.wallets["W3"] = {name: days.wallet(name) for name in days.members}
    days.set_time(at(4, 1))
    days.settled += json.loads(days.settle("run", "--through", str(day(3)), "--json"))["days"]


def posted_lines(days: Days, number: int) -> list[tuple[str, str, str, str, int]]:
    return [
        (payer, payer_component, payee, payee_component, amount)
        for payer, payer_component, payee, payee_component, amount in days.coalition.rows(
            "SELECT payer_id, payer_component, payee_id, payee_component, micros"
            " FROM exchange.posted_lines_v1 WHERE window_date = %s",
            day(number),
        )
    ]


def by_party(lines: list[tuple[str, str, str, str, int]]) -> dict[str, dict[str, int]]:
    """Micros received less paid, by party and component; nothing for what adds up to nothing."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for payer, payer_component, payee, payee_component, amount in lines:
        sums[payer][payer_component] -= amount
        sums[payee][payee_component] += amount
    return {party: {name: it for name, it in by.items() if it} for party, by in sums.items()}


def expected_by_party(window: dict[str, Any]) -> dict[str, dict[str, int]]:
    exact = {
        PARTIES[partner]: {component: micros(amount["exact"]) for component, amount in lines.items()}
        for partner, lines in window["lines"].items()
    }
    for party, amounts in (("OP", window["operator_exact"]), ("POOL", window["pool_exact"])):
        exact[PARTIES[party]] = {component: micros(amount) for component, amount in amounts.items()}
    return {party: amounts for party, amounts in exact.items() if amounts}


each_window = pytest.mark.parametrize("window", WINDOWS)


@each_window
def test_a_window_has_every_line_of_the_example_exactly(days: Days, window: str) -> None:
    lines = posted_lines(days, WINDOWS[window])

    assert by_party(lines) == expected_by_party(days.expected[window])


@each_window
def test_a_window_owes_between_each_two_parties_what_the_example_says(days: Days, window: str) -> None:
    owed: Counter[tuple[str, str]] = Counter()

    for payer, _, payee, _, amount in posted_lines(days, WINDOWS[window]):
        owed[payer, payee] += amount

    expected = days.expected[window]["bilateral_exact"]
    pairs = {tuple(pair.split("->")): micros(amount) for pair, amount in expected.items()}
    assert owed == {(PARTIES[payer], PARTIES[payee]): amount for (payer, payee), amount in pairs.items()}


@each_window
def test_a_window_leaves_the_open_lots_and_deficits_of_the_example(days: Days, window: str) -> None:
    wallets = days.wallets[window]
    lots = {
        (name, lot.issuer_id, lot.rate_version, (lot.expiry_date.month, lot.expiry_date.day)): lot
        for name, wallet in wallets.items()
        for lot in wallet.lots
    }
    places = {
        event["lot"]: (
            event["member"],
            PARTIES[event["issuer"]],
            1 if event["day"] < EXAMPLE["rate_cards"]["v2"]["from_day"] else 2,
            (day(event["expires_day"]).month, day(event["expires_day"]).day),
        )
        for event in EVENTS.values()
        if event["kind"] in ("earn", "exchange_in")
    }

    found_points = {name: lots[place].open_points if place in lots else 0 for name, place in places.items()}

    expected = days.expected[window]["open_lots"]
    assert found_points == {name: expected.get(name, 0) for name in places}
    assert sum(it.deficit_points for it in wallets.values()) == days.expected[window]["deficit_points"]


@each_window
def test_a_window_leaves_the_liability_and_the_pool_of_the_example_in_its_legs(
    days: Days, window: str
) -> None:
    liability: Counter[str] = Counter()
    pool = 0
    last = day(WINDOWS[window])
    for issuer, from_account, to_account, points, funding, prefunded in days.coalition.rows(
        "SELECT issuer_id, from_account, to_account, points, funding_micros, prefunded_micros"
        " FROM exchange.posted_legs_v1 WHERE window_date <= %s",
        last,
    ):
        escrowed = (to_account in ("open", "held")) - (from_account in ("open", "held"))
        liability[issuer] += escrowed * points * funding
        pool += escrowed * points * prefunded

    expected = days.expected[window]
    assert liability == {PARTIES[it]: micros(amount) for it, amount in expected["liability"].items()}
    assert pool == micros(expected["pool_balance_exact"])


@each_window
def test_the_statements_of_a_window_are_the_examples_to_the_fen_and_sum_to_zero(
    days: Days, window: str
) -> None:
    statements = days.statements(WINDOWS[window])

    expected = days.expected[window]
    nets = {party: statement["net_minor"] for party, statement in statements.items()}
    assert sum(nets.values()) == 0
    assert {party: nets.get(PARTIES[party], 0) for party in PARTIES} == expected["net_fen"]
    for partner, lines in expected["lines"].items():
        shown = statements.get(PARTIES[partner], {"lines": []})["lines"]
        moved = {line["component"]: line for line in shown if line["exact_micros"] or line["amount_minor"]}
        assert {name: line["amount_minor"] for name, line in moved.items()} == {
            component: amount["fen"] for component, amount in lines.items()
        }
        assert {name: line["exact_micros"] for name, line in moved.items()} == {
            component: micros(amount["exact"]) for component, amount in lines.items()
        }


def test_the_points_of_the_three_days_are_the_examples(days: Days) -> None:
    moved: Counter[str] = Counter()
    for from_account, to_account, points in days.coalition.rows(
        "SELECT from_account, to_account, points FROM exchange.posted_legs_v1"
    ):
        moved[to_account] += points
        moved[from_account] -= points

    expected = days.expected["points"]
    names = {
        "burned": "burned",
        "clawed": "clawed_back",
        "absorbed": "absorbed",
        "expired": "expired",
        "open": "open",
    }
    assert -moved["issued"] == expected["issued"]
    assert {name: moved[account] for name, account in names.items()} == {
        name: expected[name] for name in names
    }


def test_the_nets_to_date_are_the_examples(days: Days) -> None:
    nets: Counter[str] = Counter()

    for number in WINDOWS.values():
        for party, statement in days.statements(number).items():
            nets[party] += statement["net_minor"]

    assert {party: nets[PARTIES[party]] for party in PARTIES} == days.expected["cumulative_net_fen"]


def test_a_window_is_certified_with_every_check_true_and_byte_for_byte_again(days: Days) -> None:
    newest = ("--date", str(day(3)), "--json")
    document = days.settle("certificate", *newest)

    (settled,) = json.loads(days.settle("run", *newest))["days"]

    assert days.settle("certificate", *newest) == document
    assert settled["certificate_sha256"] == hashlib.sha256(document).hexdigest()
    checks = json.loads(document)["certificate"]["checks"]
    assert len(checks) == settled["check_count"] > 5
    assert all(check["holds"] for check in checks)


def test_all_three_windows_were_certified_in_order(days: Days) -> None:
    assert [settled["window_date"] for settled in days.settled] == [str(day(it)) for it in (1, 2, 3)]
    assert {settled["state"].lower() for settled in days.settled} == {"certified"}
    assert {settled["net_minor"] for settled in days.settled} == {0}
    assert [settled["entry_count"] for settled in days.settled] == [6, 5, 7]


def test_the_purchase_of_50_is_3333_points_and_16_67_in_cash_which_earns_16(days: Days) -> None:
    burned, earned = days.answers["E4"], days.answers["E6"]

    assert isinstance(burned, commands_pb2.BurnResponse)
    assert (burned.points, burned.value_micros) == (3_333, 33_330_000)
    assert burned.reimbursement_micros == 31_663_500
    assert (earned.points, earned.rate_version) == (16, 1)


M3_LINES: Final = {
    "issue_funded": {
        "E10": [
            ("c", "ISSUE_FUNDING", "POOL", "ISSUE_FUNDING", 20_000_000),
            ("c", "ISSUE_FEE", "OPERATOR", "ISSUE_FEE", 400_000),
        ],
        "E11": [
            ("POOL", "BURN_FUNDING", "a", "BURN_REIMBURSE", 11_875_000),
            ("POOL", "BURN_FUNDING", "OPERATOR", "SPREAD", 625_000),
        ],
        "E17": [("POOL", "BURN_FUNDING", "c", "BURN_REIMBURSE", 3_330_000)],
        "E18": [
            ("POOL", "BURN_FUNDING", "b", "BURN_REIMBURSE", 950_000),
            ("POOL", "BURN_FUNDING", "OPERATOR", "SPREAD", 50_000),
        ],
    },
    "redeem_funded": {
        "E10": [("c", "ISSUE_FEE", "OPERATOR", "ISSUE_FEE", 400_000)],
        "E11": [
            ("c", "BURN_FUNDING", "a", "BURN_REIMBURSE", 11_875_000),
            ("c", "BURN_FUNDING", "OPERATOR", "SPREAD", 625_000),
        ],
        "E17": [],
        "E18": [
            ("c", "BURN_FUNDING", "b", "BURN_REIMBURSE", 950_000),
            ("c", "BURN_FUNDING", "OPERATOR", "SPREAD", 50_000),
        ],
    },
}


def test_m3s_events_have_exactly_their_lines(days: Days) -> None:
    entries = days.entries()

    found_lines = {
        event_id: sorted(
            (line.payer_id, line.payer_component, line.payee_id, line.payee_component, line.micros)
            for line in entries[event_id].lines
        )
        for event_id in M3_LINES[days.mode]
    }

    assert found_lines == {event_id: sorted(lines) for event_id, lines in M3_LINES[days.mode].items()}


def test_the_late_burn_e18_is_priced_on_card_v1_and_posted_in_w3(days: Days) -> None:
    entries = days.entries()

    priced = {event_id: entries[event_id].rate_version for event_id in M3_LINES[days.mode]}
    windows = {event_id: entries[event_id].window_date.day for event_id in M3_LINES[days.mode]}

    assert priced == {"E10": 1, "E11": 1, "E18": 1, "E17": 2}
    assert windows == {"E10": 2, "E11": 2, "E18": 3, "E17": 3}
    assert entries["E18"].event_time.ToDatetime(tzinfo=UTC) == at(2, 23, 50)
    b = days.statements(3)["b"]
    assert {line["component"]: line["exact_micros"] for line in b["lines"]}["BURN_REIMBURSE"] == micros(
        "0.95"
    )


def test_the_claw_back_of_e1_says_what_the_member_owes(days: Days) -> None:
    answer = days.answers["E7"]

    owed = 0 if days.variant == "clamp" else 3_333
    assert (answer.points, answer.deficit_points, answer.remaining_points) == (10_000, owed, 0)


def test_the_promotional_points_expire_with_the_morning_of_day_3_and_share_their_breakage(days: Days) -> None:
    (expired,) = [entry for entry in days.entries().values() if entry.kind == "expire"]

    assert (expired.points, expired.partner_id, expired.window_date.day) == (1_100, "hub", 3)
    received = {line.payee_id: line.micros for line in expired.lines}
    assert received == ({"a": 5_500_000, "OPERATOR": 5_500_000} if days.mode == "issue_funded" else {})


ISSUER_MOVES: Final = {
    # points of A, B and C by window, as the events say: issued, burned, refunded and what else took some away
    "W1": {"a": {"issued": 15_500, "burned": 4_033}, "b": {"issued": 16}},
    "W3": {"b": {"issued": 5_000, "absorbed": 3_317}},
}


@each_window
def test_the_liability_of_every_issuer_rolls_forward_and_closes_at_the_examples(
    days: Days, window: str
) -> None:
    engine = open_engine(days.finance["DATABASE_URL"])
    with engine.connect() as connection:
        rows = load_roll_forwards(connection, day(WINDOWS[window]), day(WINDOWS[window]))
    engine.dispose()

    by_issuer = {(row.issuer_id, row.measure): row for row in rows}
    assert [row.difference for row in rows] == [0] * len(rows)
    closing = {issuer: row.closing for (issuer, measure), row in by_issuer.items() if measure == "liability"}
    expected = {PARTIES[it]: micros(amount) for it, amount in days.expected[window]["liability"].items()}
    assert {issuer: amount for issuer, amount in closing.items() if amount} == expected
    escrow = sum(row.closing for row in rows if row.measure == "escrow")
    assert escrow == micros(days.expected[window]["pool_balance_exact"])
    if days.variant != "clamp":  # which forgives what W2 claws back, so nothing is absorbed in W3
        for issuer, moves in ISSUER_MOVES.get(window, {}).items():
            points = by_issuer[issuer, "points"].moved
            assert {name: points[name] for name in moves} == moves


def test_the_roll_forward_of_all_three_windows_has_the_points_of_the_example(days: Days) -> None:
    engine = open_engine(days.finance["DATABASE_URL"])
    with engine.connect() as connection:
        points = totals(load_roll_forwards(connection, day(1), day(3)), "points", "all")
    engine.dispose()

    expected = days.expected["points"]
    assert (points.opening, points.closing) == (0, expected["open"])
    assert points.moved["issued"] == expected["issued"]
    assert points.moved["burned"] - points.moved["refunded"] == expected["burned"]
    assert points.moved["clawed_back"] == expected["clawed"]
    assert points.moved["absorbed"] == expected["absorbed"]
    assert points.moved["expired"] == expected["expired"]


def test_the_evidence_of_every_window_proves_offline_what_the_real_hub_posted(
    days: Days, tmp_path: Path
) -> None:
    session = Session(Settings({}, days.finance), Console(file=io.StringIO()), as_json=True)
    finance = load_private_key(Path(days.finance["TONGDUI_SETTLEMENT_KEY"]))

    for number in WINDOWS.values():
        with open_snapshot(session.settings) as connection:
            (tmp_path / str(number)).mkdir()
            export_window(session, connection, day(number), tmp_path / str(number))

        held = verify_bundle(session, tmp_path / str(number), {finance.key_id: finance.public_key})

        assert (held["window_date"], held["entry_count"]) == (str(day(number)), (6, 5, 7)[number - 1])
