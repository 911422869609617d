"""A day of every kind of command through tills and an outbox: the partner's own record of it against the hub's."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from examples.coalition import CardTerms, Operators
from merchant_adapter import (
    AuthorizeBurnCommand,
    BurnCommand,
    CancelEarnCommand,
    CaptureBurnCommand,
    ClawBackEarnCommand,
    ConfirmEarnCommand,
    ConfirmExchangeOutCommand,
    Deal,
    EarnCommand,
    ExchangeInCommand,
    ExchangeOutCommand,
    ExtendHoldCommand,
    Hub,
    Key,
    PointsAnswer,
    PointsCommand,
    RefundBurnCommand,
    Refusal,
    RefuseExchangeOutCommand,
    SyncHub,
    TransferCommand,
    VoidBurnCommand,
    write_partner_file,
)
from merchant_adapter.__main__ import main
from merchant_adapter.daily_record import DailyRecord
from merchant_adapter.outbox import Dispatcher, Outbox
from merchant_adapter.partner_file import BURNED, EARNED, OTHER_KINDS
from merchant_adapter.till import Till
from settlement.rpc.keys import public_key_set
from settlement.store.engine import open_engine
from tests.conftest import Databases
from tests.live_hub import new_site, running
from tests.postgres.settlement_served import SETTLEMENT_KEY, serving
from tests.system.test_settlement_example import Days, at, day
from tongdui.exchange.v1 import partners_service_pb2

DAY: Final = 2
KINDS: Final = {*EARNED, *BURNED, *OTHER_KINDS}
HYBRID: Final = CardTerms(
    prefunded_micros=4_000,
    native_rate_in=(2, 5),
    native_rate_out=(5, 2),
    exchange_spread=(1, 50),
)


@dataclass(slots=True)
class Mall:
    """The partner cafe with two outboxes, one behind its tills and one for what nobody waits for."""

    days: Days
    folder: Path
    args: list[str] = field(default_factory=list)
    settlement_args: list[str] = field(default_factory=list)
    refused: int = 0

    @property
    def outboxes(self) -> list[str]:
        return [f"--outbox={self.folder / name}" for name in ("tills.db", "queue.db")]

    def adapter(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """What a command of `tongdui-adapter` prints."""
        printed = io.StringIO()
        with redirect_stdout(printed):
            ended = main([*arguments, "--json"])
        shown: dict[str, Any] = json.loads(printed.getvalue())
        assert ended == code, shown
        return shown

    def record(self) -> list[Deal]:
        """The deals of the day, as the SDK gives them, out of what is kept: nobody is asked."""
        with (
            Outbox.open(self.folder / "tills.db") as tills,
            Outbox.open(self.folder / "queue.db") as queue,
            SyncHub.connect(
                self.days.coalition.hub.address,
                self.days.coalition.site.audience,
                key=self.days.coalition.keys["cafe"],
                hub_keys=self.days.coalition.hub_keys,
            ) as hub,
        ):
            return list(DailyRecord([tills, queue], "cafe", hub).deals(day(DAY)))

    def reconcile(self) -> dict[str, Any]:
        """Settlement compares; gives what the partner is shown of it."""
        self.days.settle_here("reconcile", "--date", str(day(DAY)))
        return self.adapter("breaks", "--date", str(day(DAY)), "--all", *self.settlement_args)


class Shift:
    """Makes commands of one day, and remembers nothing but the numbers of their receipts."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment
        self.count = 0

    def till(self, member_id: str) -> dict[str, Any]:
        self.count += 1
        return {
            "member_id": member_id,
            "event_time": self.moment,
            "store_id": "s-1",
            "terminal_id": "t-1",
            "reference": f"order-{self.count}",
        }

    def earn(self, member_id: str, points: int | None = None, **changes: Any) -> EarnCommand:
        return EarnCommand(points=points, **changes, **self.till(member_id))

    def after(
        self, kind: Callable[..., PointsCommand[Any]], of: PointsCommand[Any], **fields: Any
    ) -> PointsCommand[Any]:
        return kind(original_request_id=of.request_id, **fields, **self.till(of.member_id))


def queued(shift: Shift, alice: str, bob: str) -> list[PointsCommand[Any]]:
    """What a mall hands to its outbox: order by order, each with what follows it."""
    completed, dropped, lowered = (shift.earn(alice, points, pending=True) for points in (300, 70, 50))
    returned = shift.earn(bob, eligible_spend_minor=100_000)
    exchanged = shift.till(bob)
    return [
        completed,
        dropped,
        lowered,
        shift.after(ConfirmEarnCommand, completed),
        shift.after(ClawBackEarnCommand, completed, points=40, part=1),
        shift.after(CancelEarnCommand, dropped),
        shift.after(ClawBackEarnCommand, lowered, points=20, part=2),
        returned,
        shift.after(ClawBackEarnCommand, returned, refunded_spend_minor=30_000, part=3),
        ExchangeInCommand(native_points=1_001, **exchanged),
        TransferCommand(to_member_id=alice, points=25, **shift.till(bob)),
    ]


def asked(shift: Shift, alice: str, books_points_of: str) -> list[PointsCommand[Any]]:
    """What somebody waits for: burns of the cafe's own points and of the other's, holds, exchanges out."""
    burned = BurnCommand(points=150, **shift.till(books_points_of))
    captured, voided, lapsing = (
        AuthorizeBurnCommand(points=points, **shift.till(alice)) for points in (80, 30, 10)
    )
    out, refused_out = (ExchangeOutCommand(points=points, **shift.till(alice)) for points in (40, 12))
    return [
        shift.earn(alice, 500),
        shift.earn(books_points_of, 60),
        burned,
        shift.after(RefundBurnCommand, burned, points=35, part=1),
        BurnCommand(points=1_000_000, **shift.till(alice)),
        captured,
        shift.after(ExtendHoldCommand, captured, hold_seconds=1_800),
        shift.after(CaptureBurnCommand, captured, points=55),
        voided,
        shift.after(VoidBurnCommand, voided),
        lapsing,
        out,
        shift.after(ConfirmExchangeOutCommand, out),
        refused_out,
        shift.after(RefuseExchangeOutCommand, refused_out),
    ]


def in_debt(shift: Shift, member_id: str) -> tuple[list[PointsCommand[Any]], list[PointsCommand[Any]]]:
    """Points that were spent elsewhere before their order came back, and points that then pay what is owed."""
    earned = shift.earn(member_id, 200)
    before: list[PointsCommand[Any]] = [earned]
    return before, [
        shift.after(ClawBackEarnCommand, earned, points=200, part=4),
        shift.earn(member_id, 90),
    ]


async def work(mall: Mall, members: dict[str, str]) -> None:
    """The day, with a burn at the other partner in between."""
    coalition, shift = mall.days.coalition, Shift(at(DAY, 12))
    before, after = in_debt(shift, members["dora"])
    with Outbox.open(mall.folder / "tills.db") as tills, Outbox.open(mall.folder / "queue.db") as queue:
        async with coalition.open_hub("cafe") as hub, coalition.open_hub("books") as books:
            await books.earn(Shift(at(DAY, 10)).earn(members["carl"], 120))
            await ask_all(mall, Till(hub, tills), [*asked(shift, members["alice"], members["carl"]), *before])
            queue.accept_all(queued(shift, members["alice"], members["bob"]))
            await drain(hub, queue)
            await books.burn(BurnCommand(points=200, **Shift(at(DAY, 13)).till(members["dora"])))
            queue.accept_all(after)  # follow an earn that is in the other outbox
            await drain(hub, queue)
            queue.accept(shift.earn(members["alice"], 1))  # not sent any more on this day


async def ask_all(mall: Mall, till: Till, commands: list[PointsCommand[Any]]) -> None:
    for command in commands:
        answer = await till.ask(command, 10.0)
        if isinstance(answer, Refusal):
            mall.refused += 1
        else:
            assert isinstance(answer, PointsAnswer), answer


async def drain(hub: Hub, outbox: Outbox) -> None:
    progress = await Dispatcher(outbox, hub).drain(wait=True)
    assert (progress.refused, progress.dead, progress.waiting) == (0, 0, 0)


async def found(operators: Operators, finance: Key) -> dict[str, Key]:
    keys = {}
    for code in ("cafe", "books"):
        keys[code] = await operators.add_partner(code, code.capitalize())
        await operators.add_card(code, at(1, 0), HYBRID)
    await operators.admit_key(finance, [partners_service_pb2.ROLE_FINANCE_MAKER])
    return keys


@pytest.fixture(scope="module")
def mall(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mall]:
    """The day is over, closed and netted; settlement answers partners."""
    folder = tmp_path_factory.mktemp("mall")
    with databases.fresh() as url:
        site, people = new_site(folder / "hub", {"DATABASE_URL": url}, f"--manual-clock={at(DAY, 9)}")
        with running(site, people, url) as coalition:
            finance = Key.generate("operator", "fiona")
            settings = {
                "DATABASE_URL": url,
                "TONGDUI_HUB_ADDRESS": coalition.hub.address,
                "TONGDUI_HUB_KEYS": str(site.hub_keys_file),
                "TONGDUI_AUDIENCE": site.audience,
                "TONGDUI_SETTLEMENT_KEY": str(finance.save(folder / "finance")),
            }
            made = Mall(Days(coalition, "base", "hybrid", settings), folder)
            coalition.keys |= coalition.operate(lambda it: found(it, finance))
            members = {name: coalition.member("cafe", "books") for name in ("alice", "bob", "carl", "dora")}
            made.days.set_time(at(DAY, 13))
            asyncio.run(work(made, members))
            made.days.set_time(at(DAY + 1, 1))
            made.days.settle_here("migrate")
            for step in ("close", "net"):
                made.days.settle_here(step, "--date", str(day(DAY)))
            engine, address = open_engine(url), f"unix:{folder / 's.sock'}"
            made.args, made.settlement_args = arguments(made, address)
            with serving(engine, address, audience=site.audience):
                yield made
            engine.dispose()


def arguments(mall: Mall, address: str) -> tuple[list[str], list[str]]:
    """What `@hub.args` and `@settlement.args` hold."""
    coalition = mall.days.coalition
    key = ["--key", str(coalition.keys["cafe"].save(mall.folder / "cafe"))]
    audience = ["--audience", coalition.site.audience]
    hub = ["--hub", coalition.hub.address, "--hub-keys", str(coalition.site.hub_keys_file)]
    known = mall.folder / "settlement-keys.json"
    known.write_text(json.dumps(public_key_set(SETTLEMENT_KEY)))
    settlement = ["--settlement", address, "--settlement-keys", str(known)]
    return [*key, *audience, *hub], [*key, *audience, *settlement]


def test_the_record_has_every_kind_of_deal_and_names_what_waits(mall: Mall) -> None:
    file = mall.folder / "written.jsonl"

    written = mall.adapter(
        "record", "write", "--date", str(day(DAY)), "--out", str(file), *mall.outboxes, *mall.args
    )
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    again = mall.adapter(
        "record", "write", "--date", str(day(DAY)), "--out", str(file), *mall.outboxes, *mall.args, code=2
    )

    deals = [line for line in lines if line["record"] == "deal"]
    assert {deal["kind"] for deal in deals} == KINDS
    assert (written["deals"], len(deals), mall.refused) == (len(deals), len(deals), 1)
    assert written["money_from_journal"] == 2  # the claw back of what was spent, and what paid the debt
    assert written["unsettled_count"] == 1
    assert [one["kind"] for one in written["unsettled_commands"]] == ["earn"]
    assert "exists already" in again["message"]


def test_a_day_of_every_kind_reconciles_without_a_single_break(mall: Mall) -> None:
    sent = mall.adapter(
        "record", "submit", "--date", str(day(DAY)), *mall.outboxes, *mall.args[4:], *mall.settlement_args
    )
    shown = mall.reconcile()

    assert (sent["outcome"], sent["unsettled_count"]) == ("accepted", 1)
    assert shown["breaks"] == []
    for control in shown["controls"]:
        assert control["partner"] == control["hub"], control
        assert control["hub"] != 0, control
        assert control["unexplained"] == 0


def test_a_deal_that_is_left_out_by_hand_is_the_one_break_that_comes_back(mall: Mall) -> None:
    deals = mall.record()
    (lost,) = (one for one in deals if one.kind == "refund_burn")
    kept = [one for one in deals if one is not lost]
    file = mall.folder / "left-out.csv"
    with (
        SyncHub.connect(
            mall.days.coalition.hub.address,
            mall.days.coalition.site.audience,
            key=mall.days.coalition.keys["cafe"],
            hub_keys=mall.days.coalition.hub_keys,
        ) as hub,
        Outbox.open(mall.folder / "tills.db") as tills,
    ):
        file.write_bytes(write_partner_file(kept, DailyRecord([tills], "cafe", hub).header(day(DAY))))

    mall.adapter("record", "submit", str(file), "--date", str(day(DAY)), *mall.settlement_args)
    (found,) = mall.reconcile()["breaks"]

    assert (found["type"], found["state"]) == ("MISSING_AT_PARTNER", "OPEN")
    assert (found["hub"]["request_id"], found["points_at_stake"]) == (lost.request_id, lost.points)
    assert found["amount_at_stake_micros"] == lost.owed_micros > 0
