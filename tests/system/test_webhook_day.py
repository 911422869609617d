"""A real day told by webhooks, shuffled and with duplicates, settles to the same fen as posted directly.

The purchases of 24 November 2017, an order for each basket at each partner. In one ledger every partner posts what
came of its orders in the end, by itself; in the other its sidecar is told the orders, state by state, in no order.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import pytest

from examples.coalition import Operators, Site
from examples.month.households import Households
from examples.month.partners import FACE_VALUE_MICROS, PARTNER_IDS, PARTNERS
from examples.month.tills import MOST_AT_ONCE, TERMINAL, Till, Totals
from examples.purchases.reader import Purchase, read_month
from exchange.core.ids import member_number
from merchant_adapter import (
    AuthorizeBurnCommand,
    CaptureBurnCommand,
    ClawBackEarnCommand,
    EarnCommand,
    Hub,
    Key,
    PointsCommand,
    RefundBurnCommand,
    Refusal,
    VoidBurnCommand,
)
from merchant_adapter.sidecar import webhooks
from merchant_adapter.webhooks import (
    GenericPlatform,
    OrderEvent,
    OrderPolicy,
    OrderRefund,
    OrderState,
    sign_webhook,
)
from merchant_adapter.webhooks.reading import write_order
from settlement.__main__ import main
from tests.conftest import Databases
from tests.live_hub import Coalition, new_site, running
from tests.waiting import eventually
from tests.wire.sidecar_served import Caller, Heard, sidecar
from tongdui.exchange.v1.partners_service_pb2 import ROLE_FINANCE_MAKER

DAY: Final = date(2017, 11, 24)
BEGIN: Final = datetime(2017, 11, 24, tzinfo=UTC)
LAST_SECOND: Final = BEGIN + timedelta(days=1, seconds=-1)
OPENING_POINTS: Final = 1_000
POINTS_PAID: Final = 200
SECRET: Final = b"0123456789abcdef0123456789abcdef"
POLICY: Final = OrderPolicy(
    currency="CNY", store_id="web", terminal_id=TERMINAL, exclude_tax=True, exclude_shipping=True
)


FATES: Final = ("cancelled", "returned", "returned early", "returned and cancelled", "guest")
"""Of eleven orders in a row each becomes of one, and the others are completed."""


@dataclass(frozen=True, slots=True)
class Order:
    """A purchase as an order of its partner's shop, with what became of it: `fate` is chosen by its place in the day.

    A fifth of what is left of the day after the purchase lies between each two things that happen to it.
    """

    purchase: Purchase
    place: int

    @property
    def order_id(self) -> str:
        return str(self.purchase.basket_id)

    @property
    def paid(self) -> int:
        return self.purchase.spend_fen

    @property
    def tax(self) -> int:
        return self.paid * 13 // 113

    @property
    def shipping(self) -> int:
        return 500 if self.paid > 5_000 else 0

    @property
    def fate(self) -> str:
        place = self.place % 11
        return FATES[place] if place < len(FATES) else "completed"

    @property
    def value(self) -> int:
        """Fen that points paid: of every fourth order that is large enough."""
        value = POINTS_PAID * FACE_VALUE_MICROS[self.purchase.partner] // 10_000
        is_mixed = self.place % 4 == 0 and self.fate != "guest" and self.paid > 4 * value
        return value if is_mixed else 0

    @property
    def eligible(self) -> int:
        return self.paid - self.tax - self.shipping - self.value

    @property
    def returned(self) -> tuple[int, int, int]:
        """What came back: (fen with tax, of it tax, of it paid with points)."""
        return self.paid // 3, self.tax // 3, self.value // 2

    @property
    def returned_eligible(self) -> int:
        fen, tax, value = self.returned
        return fen - tax - value

    @property
    def returned_points(self) -> int:
        return POINTS_PAID // 2 if self.value else 0

    def time(self, step: int) -> datetime:
        """When the purchase was made (0), and what happened to it (1 to 3), within the day."""
        paid = self.purchase.event_time
        return (paid + (LAST_SECOND - paid) * step / 5).replace(microsecond=0) + timedelta(microseconds=step)

    def hold(self, member_id: str) -> AuthorizeBurnCommand:
        """What the customer allowed at checkout."""
        request_id = f"hold-{self.order_id}"
        common = self.common(member_id, 0)
        return AuthorizeBurnCommand(**common, points=POINTS_PAID, hold_seconds=86_400, request_id=request_id)

    def common(self, member_id: str, step: int) -> dict[str, Any]:
        return {
            "member_id": member_id,
            "event_time": self.time(step),
            "store_id": str(self.purchase.store_id),
            "terminal_id": TERMINAL,
            "reference": self.order_id,
        }


def the_days_orders() -> list[Order]:
    """An order for each basket at each partner."""
    purchases = [it for it in read_month() if it.event_time.date() == DAY]
    return [Order(purchase, place) for place, purchase in enumerate(purchases)]


ORDERS: Final = the_days_orders()


# --- as a partner's program would post them, knowing how each order ended


def posted_directly(order: Order, member_id: str) -> list[PointsCommand[Any]]:
    commands: list[PointsCommand[Any]] = []
    common = partial(order.common, member_id)
    hold, capture_id = f"hold-{order.order_id}", f"capture-{order.order_id}"
    if order.fate == "cancelled":
        return [VoidBurnCommand(**common(3), original_request_id=hold)] if order.value else []
    earned = order.eligible - (order.returned_eligible if order.fate == "returned early" else 0)
    earn = EarnCommand(**common(2), eligible_spend_minor=max(earned, 1))
    commands.append(earn)
    if order.value:
        commands.append(
            CaptureBurnCommand(
                **common(2), original_request_id=hold, points=POINTS_PAID, request_id=capture_id
            )
        )
    if order.fate in ("returned", "returned and cancelled"):
        back = order.returned_eligible if order.fate == "returned" else order.eligible
        claw_back = ClawBackEarnCommand(
            **common(3), original_request_id=earn.request_id, refunded_spend_minor=max(back, 1)
        )
        commands.append(claw_back)
    if order.value and order.fate.startswith("returned"):
        points = POINTS_PAID if order.fate == "returned and cancelled" else order.returned_points
        commands.append(RefundBurnCommand(**common(3), original_request_id=capture_id, points=points))
    return commands


# --- as its shop platform tells them


def versions(order: Order) -> list[OrderEvent]:
    """The order as of each of its versions."""
    fen, tax, value = order.returned
    back = OrderRefund(
        refund_id="1",
        time=order.time(1 if order.fate == "returned early" else 3),
        refunded_minor=fen,
        tax_minor=tax,
        points=order.returned_points,
        points_value_minor=value,
    )
    values: dict[str, Any] = {
        "order_id": order.order_id,
        "currency": "CNY",
        "paid_time": order.time(0),
        "paid_minor": order.paid,
        "tax_minor": order.tax,
        "shipping_minor": order.shipping,
        "customer_id": f"{order.purchase.partner}-{order.purchase.household_id}",
        "store_id": str(order.purchase.store_id),
    }
    if order.value:
        values |= {"points_paid": POINTS_PAID, "points_value_minor": order.value}
        values["hold_request_id"] = f"hold-{order.order_id}"
    told = [dict(values, state=OrderState.PAID)]
    if order.fate == "guest":
        told[0]["customer_id"] = ""  # and claimed with the next version
    if order.fate == "returned early":
        values["refunds"] = (back,)
        told.append(dict(values, state=OrderState.PAID))
    if order.fate != "cancelled":
        values["completed_time"] = order.time(2)
        told.append(dict(values, state=OrderState.COMPLETED))
    if order.fate in ("returned", "returned and cancelled"):
        values["refunds"] = (back,)
        told.append(dict(values, state=OrderState.COMPLETED))
    if order.fate.endswith("cancelled"):
        values["cancelled_time"] = order.time(4)
        told.append(dict(values, state=OrderState.CANCELLED))
    return [
        OrderEvent(delivery_id=f"{order.order_id}-{number}", version=number, **one)
        for number, one in enumerate(told)
    ]


def shuffled_with_duplicates(chance: random.Random) -> list[tuple[str, bytes]]:
    """All versions of all orders by partner, a quarter of them twice and some of those by another delivery."""
    told = []
    for order in ORDERS:
        for event in versions(order):
            told.append((order.purchase.partner, write_order(event).encode()))
            if chance.random() < 1 / 4:
                again = event.delivery_id + chance.choice(["", "-again"])
                told.append((order.purchase.partner, write_order(replace(event, delivery_id=again)).encode()))
    chance.shuffle(told)
    return told


# --- two ledgers


@dataclass(slots=True)
class Ledger:
    """A coalition of the nine partners on the morning of the day, with its customers and their holds."""

    coalition: Coalition
    directory: Path
    keys: dict[str, Key] = field(default_factory=dict)
    members: dict[int, str] = field(default_factory=dict)
    finance: dict[str, str] = field(default_factory=dict)

    def set_time(self, moment: datetime) -> None:
        async def move(operators: Operators) -> None:
            await operators.first.set_time(moment)

        self.coalition.operate(move)

    def open_hub(self, partner: str) -> Hub:
        return self.coalition.open_hub(partner, seconds=30)

    def settled(self) -> tuple[dict[str, Any], dict[int, tuple[int, ...]]]:
        """The day's statements by party, and every household's points: open, pending, held, owed."""
        self.set_time(BEGIN + timedelta(days=1, hours=1))
        self._settle("migrate")
        self._settle("run", "--through", str(DAY), "--json")
        content = json.loads(self._settle("statement", "--date", str(DAY), "--json"))
        rows = self.coalition.rows(
            "SELECT member_id, open_points, pending_points, held_points, deficit_points FROM exchange.wallets"
        )
        points = {row[0]: row[1:] for row in rows}
        return (
            {one["party_id"]: one for one in content["statements"]},
            {household: points[member_number(member)] for household, member in self.members.items()},
        )

    def _settle(self, *arguments: str) -> bytes:
        printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        with patch.dict(os.environ, self.finance), redirect_stdout(printed):
            code = main(list(arguments))
        assert code == 0, arguments
        assert isinstance(printed.buffer, io.BytesIO)
        return printed.buffer.getvalue()


@contextmanager
def morning(url: str, directory: Path) -> Iterator[Ledger]:
    """The same morning whenever it is asked for."""
    site, people = new_site(
        directory, {"DATABASE_URL": url}, "--zone", "UTC", f"--manual-clock={BEGIN.isoformat()}"
    )
    with running(site, people, url) as coalition:
        ledger = Ledger(coalition, directory)
        coalition.operate(lambda operators: found(ledger, operators, site))
        asyncio.run(welcome(ledger))
        yield ledger


async def found(ledger: Ledger, operators: Operators, site: Site) -> None:
    finance = Key.generate("operator", "fiona")
    for partner in PARTNERS:
        key = await operators.add_partner(partner.partner_id, partner.display_name)
        await operators.add_card(partner.partner_id, BEGIN, partner.card)
        ledger.coalition.keys[partner.partner_id] = key
    await operators.admit_key(finance, [ROLE_FINANCE_MAKER])
    ledger.finance = {
        "DATABASE_URL": ledger.coalition.database_url,
        "TONGDUI_HUB_ADDRESS": ledger.coalition.hub.address,
        "TONGDUI_HUB_KEYS": str(site.hub_keys_file),
        "TONGDUI_AUDIENCE": site.audience,
        "TONGDUI_SETTLEMENT_KEY": str(finance.save(ledger.directory / "finance")),
    }
    await operators.first.set_time(LAST_SECOND)


async def welcome(ledger: Ledger) -> None:
    """Every customer is one and has points of the grocery's, and those who pay with points have them held."""
    purchases, households = [order.purchase for order in ORDERS], Households()
    async with AsyncExitStack() as stack:
        hubs = {code: await stack.enter_async_context(ledger.open_hub(code)) for code in PARTNER_IDS}
        for partner, newcomers in households.newcomers(purchases).items():
            households.welcome(partner, await Till(partner, hubs[partner], Totals()).enroll(newcomers))
        strangers = households.strangers(purchases) | {"grocery": list(households.member_ids)}
        for partner, unknown in strangers.items():
            known = {household: households.member_ids[household] for household in unknown}
            await Till(partner, hubs[partner], Totals()).link(known)
        ledger.members = dict(sorted(households.member_ids.items()))
        await post(hubs["grocery"], [gift(household, it) for household, it in ledger.members.items()])
        for partner, hub in hubs.items():
            orders = [order for order in ORDERS if order.purchase.partner == partner and order.value]
            await post(hub, [order.hold(ledger.members[order.purchase.household_id]) for order in orders])


def gift(household: int, member_id: str) -> EarnCommand:
    where: dict[str, Any] = {"store_id": "1", "terminal_id": "1", "reference": f"gift-{household}"}
    return EarnCommand(member_id=member_id, event_time=BEGIN, points=OPENING_POINTS, **where)


async def post(hub: Hub, commands: Sequence[PointsCommand[Any]]) -> Counter[str]:
    """What became of them: kinds of answers, and reasons of refusals."""
    outcomes: Counter[str] = Counter()
    for first in range(0, len(commands), MOST_AT_ONCE):
        results = await hub.post_batch(commands[first : first + MOST_AT_ONCE])
        outcomes.update(it.reason if isinstance(it, Refusal) else type(it).__name__ for it in results)
    return outcomes


async def post_the_day(ledger: Ledger) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for partner in PARTNER_IDS:
        commands = [
            command
            for order in ORDERS
            if order.purchase.partner == partner
            for command in posted_directly(order, ledger.members[order.purchase.household_id])
        ]
        async with ledger.open_hub(partner) as hub:
            outcomes += await post(hub, commands)
    return outcomes


def tell_the_day(ledger: Ledger) -> Counter[str]:
    """Nine sidecars are told everything; gives what they answered, once all of it is at the hub."""
    platform = GenericPlatform((SECRET,))
    outcomes: Counter[str] = Counter()
    with ExitStack() as stack:
        callers = {
            code: stack.enter_context(
                sidecar(
                    "",
                    ledger.directory / f"{code}.db",
                    mount=lambda it: [webhooks.mounted(it, POLICY, platform)],
                    connect=partial(ledger.open_hub, code),
                )
            )
            for code in PARTNER_IDS
        }
        for partner, body in shuffled_with_duplicates(random.Random(20171124)):
            outcomes[told(callers[partner], body)] += 1
        for caller in callers.values():
            eventually(partial(is_idle, caller))
    return outcomes


def told(caller: Caller, body: bytes) -> str:
    """What is answered of a delivery, which is repeated as long as it was not stored in time (503)."""
    heard: list[Heard] = []

    def is_taken() -> bool:
        heard.append(delivered(caller, body))
        return heard[-1].status != HTTPStatus.SERVICE_UNAVAILABLE

    eventually(is_taken)
    assert heard[-1].status == HTTPStatus.OK, heard[-1].raw
    outcome: str = heard[-1].body["outcome"]
    return outcome


def delivered(caller: Caller, body: bytes) -> Heard:
    now = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "Tongdui-Webhook-Timestamp": str(now),
        "Tongdui-Webhook-Signature": sign_webhook(SECRET, now, body),
    }
    # A connection each: one that is kept may be closed by the sidecar as it is used again.
    with closing(http.client.HTTPConnection(*caller.address)) as line:
        line.request("POST", "/v1/webhooks/orders", body, headers)
        answer = line.getresponse()
        return Heard(answer.status, answer.headers, answer.read())


def is_idle(caller: Caller) -> bool:
    inbox, outbox = caller.get("/v1/webhooks").body, caller.get("/v1/outbox").body
    assert (inbox["dead"], outbox["dead"]) == (0, 0)
    return not inbox["waiting"] and not outbox["waiting"]


@pytest.fixture(scope="module")
def settled(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was settled of the day, posted directly and told: statements, points, and what was answered."""
    found = []
    for way in (lambda ledger: asyncio.run(post_the_day(ledger)), tell_the_day):
        with databases.fresh() as url, morning(url, tmp_path_factory.mktemp("hub")) as ledger:
            answered = way(ledger)
            statements, points = ledger.settled()
            found.append({"answered": answered, "statements": statements, "points": points})
    return found[0], found[1]


def test_the_day_is_as_large_and_as_mixed_as_it_should_be(settled: tuple[dict[str, Any], Any]) -> None:
    posted, heard = settled[0]["answered"], settled[1]["answered"]

    assert len(ORDERS) == 461
    assert {order.fate for order in ORDERS} == set(FATES) | {"completed"}
    assert posted["Earned"] > 300
    assert min(posted[kind] for kind in ("EarnClawedBack", "BurnCaptured", "BurnVoided", "BurnRefunded")) > 5
    assert min(heard[outcome] for outcome in ("stored", "duplicate", "ignored")) > 100


def test_every_partner_settles_to_the_same_fen(settled: tuple[dict[str, Any], dict[str, Any]]) -> None:
    direct, told = (figures(one["statements"]) for one in settled)

    assert sum(net for net, _ in direct.values()) == 0
    assert len([party for party, (net, _) in direct.items() if net]) > 9
    assert told == direct


def test_every_customer_has_the_same_points(settled: tuple[dict[str, Any], dict[str, Any]]) -> None:
    direct, told = (one["points"] for one in settled)

    assert told == direct
    assert len({row[0] for row in direct.values()}) > 50
    assert {row[1:3] for row in direct.values()} == {(0, 0)}


def figures(statements: dict[str, Any]) -> dict[str, tuple[int, dict[str, tuple[int, int]]]]:
    """Each party's net, and its lines: exact micros and minor units."""
    return {
        party: (
            one["net_minor"],
            {line["component"]: (line["exact_micros"], line["amount_minor"]) for line in one["lines"]},
        )
        for party, one in statements.items()
    }
