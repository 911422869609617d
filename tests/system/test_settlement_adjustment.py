"""The variant of the worked example in which A proves its unknown order: corrected on day 3, as of day 1.

Two people with keys of their own, a real hub, the commands of `tongdui-settle`. A's window of day 3 bears the
correction at day 1's prices; the window of day 1 is not touched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from merchant_adapter import Key
from merchant_adapter.partner_file import Deal, PartnerFileHeader, write_partner_file
from tests.conftest import Databases
from tests.live_hub import new_site, running
from tests.system.test_settlement_example import EVENTS, W1_EVENTS, Days, at, day, found
from tongdui.exchange.v1 import partners_service_pb2


@dataclass(frozen=True, slots=True)
class Corrected:
    """Three days, the second and third closed after the correction."""

    days: Days
    break_id: int
    certificate_before: bytes
    proposed: dict[str, Any]


@pytest.fixture(scope="module")
def corrected(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corrected]:
    directory = tmp_path_factory.mktemp("hub")
    with databases.fresh() as url:
        site, people = new_site(directory, {"DATABASE_URL": url}, f"--manual-clock={at(1, 0)}")
        with running(site, people, url) as coalition:
            maker, checker = Key.generate("operator", "fiona"), Key.generate("operator", "carl")
            settings = {
                "DATABASE_URL": url,
                "TONGDUI_HUB_ADDRESS": coalition.hub.address,
                "TONGDUI_HUB_KEYS": str(site.hub_keys_file),
                "TONGDUI_AUDIENCE": site.audience,
                "TONGDUI_SETTLEMENT_KEY": str(maker.save(directory / "maker")),
            }
            days = Days(coalition, "base", "issue_funded", settings)
            coalition.keys |= coalition.operate(lambda it: found(it, days.mode, maker))
            roles = [partners_service_pb2.ROLE_FINANCE_CHECKER]
            coalition.operate(lambda it: it.admit_key(checker, roles))
            days.members = {name: coalition.member("a", "b", "c") for name in ("M1", "M2", "M3", "M4")}
            days.finance |= {"CHECKER": str(checker.save(directory / "checker")), "INBOX": str(directory)}
            yield correct(days)


def correct(days: Days) -> Corrected:
    days.set_time(at(1, 18))
    for event_id in W1_EVENTS:
        days.post(event_id)
    days.set_time(at(2, 18))
    for event_id in ("E7", "E8", "E9", "E10", "E11"):
        days.post(event_id)
    days.set_time(at(3, 0, 20))
    days.settle_here("migrate")
    break_id = reconcile_day_1(days)
    days.settle_here("run", "--through", str(day(2)), "--json")
    before = days.settle_here("certificate", "--date", str(day(1)), "--json")
    days.post("E18", (23, 50))
    days.set_time(at(3, 18))
    for event_id in ("E13", "E14", "E15", "E16", "E17"):
        days.post(event_id)
    fiona = ("--as", days.finance["TONGDUI_SETTLEMENT_KEY"])
    reason = ("--reason", "A showed its receipt of order R9")
    answer = days.settle_here("break", "adjust", str(break_id), *reason, *fiona, "--yes", "--json")
    carl = ("--as", days.finance["CHECKER"])
    days.settle_here("break", "approve", str(break_id), *carl, "--yes")
    days.set_time(at(4, 1))
    days.settle_here("run", "--through", str(day(3)), "--json")
    return Corrected(days, break_id, before, json.loads(answer))


def reconcile_day_1(days: Days) -> int:
    """Loads A's file of day 1, without E3 and with an order the hub does not know. Gives the break of that one."""
    day_1 = ("--date", str(day(1)))
    for step in ("close", "net"):
        days.settle_here(step, *day_1)
    deals = [deal(days, name, EVENTS[name]["member"], EVENTS[name]["points"]) for name in ("E1", "E2")]
    deals.append(deal(days, "R9", "M4", 250))
    file = Path(days.finance["INBOX"]) / "a.csv"
    file.write_bytes(write_partner_file(deals, PartnerFileHeader("a", day(1), "CNY")))
    days.settle_here("load", str(file), "--partner", "a", *day_1)
    days.settle_here("reconcile", *day_1)
    listed = json.loads(days.settle_here("breaks", *day_1, "--json"))["breaks"]
    return next(int(one["break_id"]) for one in listed if one["type"] == "MISSING_AT_HUB")


def deal(days: Days, request_id: str, member: str, points: int) -> Deal:
    """An earn at A as A recorded it, by the card of day 1."""
    return Deal(
        kind="earn",
        request_id=request_id,
        reference=f"order-{request_id}",
        event_time=at(1, 12),
        member_id=days.members[member],
        store_id="s-1",
        terminal_id="t-1",
        points=points,
        owed_micros=points * 10_200,
    )


def test_the_window_of_day_3_bears_the_correction_at_the_prices_of_day_1(corrected: Corrected) -> None:
    statement = corrected.days.statements(3)["a"]

    lines = {line["component"]: line["exact_micros"] for line in statement["lines"]}
    assert statement["net_minor"] == 3_612  # 38.67 - 2.50 - 0.05
    assert (lines["ISSUE_FUNDING"], lines["ISSUE_FEE"]) == (-2_500_000, -50_000)


def test_the_window_of_day_1_is_not_touched(corrected: Corrected) -> None:
    days = corrected.days

    days.settle_here("certify", "--date", str(day(1)))

    assert days.settle_here("certificate", "--date", str(day(1)), "--json") == corrected.certificate_before
    assert days.statements(1)["a"]["net_minor"] == -15_810


def test_the_restatement_shows_what_day_1_would_have_been(corrected: Corrected) -> None:
    restated = json.loads(corrected.days.settle_here("restate", "--date", str(day(1)), "--json"))

    would_be = sum(line["would_be_minor"] for line in restated["lines"] if line["party_id"] == "a")
    was = sum(line["was_minor"] for line in restated["lines"] if line["party_id"] == "a")
    assert (was, would_be) == (-15_810, -16_065)


def test_the_break_tells_who_had_what_posted_with_the_hubs_receipt(corrected: Corrected) -> None:
    days = corrected.days

    shown = json.loads(days.settle_here("break", "show", str(corrected.break_id), "--json"))

    (kept,) = shown["resolutions"]
    assert (shown["state"], shown["resolution"]) == ("RESOLVED", "ADJUSTED")
    assert (kept["proposed_by"], kept["decided_by"]) == ("fiona", "carl")
    assert kept["adjustment_id"] == corrected.proposed["adjustment_id"]
    assert shown["hub_receipts"][0]["path"].endswith("/ApproveAdjustment")
    posted = days.coalition.rows(
        "SELECT kind, points, window_date FROM exchange.posted_entries_v1 WHERE entry_id = %s",
        kept["entry_id"],
    )
    assert list(posted) == [("adjust_earn", 250, day(3))]


def test_the_whole_log_proves_itself(corrected: Corrected) -> None:
    checked = json.loads(corrected.days.settle_here("audit", "--verify", "--json"))

    log = json.loads(corrected.days.settle_here("audit", "--json"))["audit"]
    assert checked["row_count"] == len(log)
    assert [row["person"] for row in log if row["item_kind"] == "break"][-2:] == ["fiona", "carl"]


def test_day_1_is_approved_paid_and_settled_at_the_hub(corrected: Corrected) -> None:
    days, day_1 = corrected.days, ("--date", str(day(1)))
    fiona = ("--as", days.finance["TONGDUI_SETTLEMENT_KEY"])
    days.settle_here("audit-journal", *day_1)
    days.settle_here("approve", *day_1, "--as", days.finance["CHECKER"])
    listed = json.loads(days.settle_here("export", "--payments", *day_1, "--json"))["payments"]
    for payment in listed:
        for state in ("sent", "received"):
            days.settle_here(
                "payment", "mark", payment["payment_id"], "--state", state, "--reference", "T", *fiona
            )

    days.settle_here("settle", *day_1)

    assert {it["payment_id"]: it["amount_minor"] for it in listed} == {
        "2026-01-01-a": 15_810,
        "2026-01-01-b": 3_815,
        "2026-01-01-POOL": 11_483,
    }
    certificate = days.settle_here("certificate", *day_1, "--json")
    ((settled_by,),) = days.coalition.rows(
        "SELECT certificate_sha256 FROM exchange.windows WHERE settled_time IS NOT NULL"
    )
    assert certificate == corrected.certificate_before
    assert bytes(settled_by) == hashlib.sha256(certificate).digest()


def test_a_rejected_correction_can_be_posted_by_nobody_and_the_next_one_is_another(
    corrected: Corrected,
) -> None:
    days = corrected.days
    listed = json.loads(days.settle_here("breaks", "--date", str(day(1)), "--json"))["breaks"]
    number = next(str(one["break_id"]) for one in listed if one["type"] == "MISSING_AT_PARTNER")
    fiona = ("--as", days.finance["TONGDUI_SETTLEMENT_KEY"])
    carl = ("--as", days.finance["CHECKER"])
    adjust = ("break", "adjust", number, "--reason", "never sold", *fiona, "--yes", "--json")

    first = json.loads(days.settle_here(*adjust))["adjustment_id"]
    days.settle_here("break", "reject", number, "--reason", "the till says it was", *carl)
    second = json.loads(days.settle_here(*adjust))["adjustment_id"]
    days.settle_here("break", "reject", number, "--reason", "it still does", *carl)

    rows = days.coalition.rows(
        "SELECT adjustment_id, withdrawn_by, withdraw_reason FROM exchange.adjustments WHERE withdraw_time IS NOT NULL"
        " ORDER BY adjustment_id"
    )
    assert rows == [(first, "carl", "the till says it was"), (second, "carl", "it still does")]
    states = days.coalition.rows("SELECT adjustment_id, request_id, state FROM exchange.adjustments_v1")
    assert sorted(states) == [
        (corrected.proposed["adjustment_id"], f"break-{corrected.break_id}-adjustment", "posted"),
        (first, f"break-{number}-adjustment", "withdrawn"),
        (second, f"break-{number}-adjustment-2", "withdrawn"),
    ]
