"""A day's record out of outboxes: which day, who is asked for prices, and how often."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from merchant_adapter import (
    ClawBackEarnCommand,
    ConfirmEarnCommand,
    Deal,
    EarnCommand,
    PointsCommand,
    SyncHub,
    Unreadable,
)
from merchant_adapter.__main__ import main
from merchant_adapter.daily_record import AT_ONCE, DailyRecord, Unsettled
from merchant_adapter.methods import GET_LEDGER, LIST_ENTRIES, LIST_RATE_CARDS
from merchant_adapter.outbox import Dispatcher, Outbox
from tests.wire.adapter_fake_hub import AUDIENCE, CAFE_KEY, HUB_KEYS, Call, Reply, accepted, fake_hub, refused
from tests.wire.fake_ledger import Ledger, open_hub, request_of, sale
from tongdui.exchange.v1 import commands_pb2, journal_service_pb2, points_service_pb2
from tongdui.exchange.v1 import rate_cards_service_pb2 as cards_pb2
from tongdui.exchange.v1.entries_pb2 import Entry, Line

DAY = date(2026, 1, 1)
MIDNIGHT = datetime(2026, 1, 1, 16, tzinfo=UTC)
"""With which the day ends in Shanghai."""
WINDOW = Date(year=2026, month=1, day=1)


def stamp(moment: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made


@dataclass(slots=True)
class Books:
    """A hub that decides when and for how much it is told to, and has cards, a ledger and a journal."""

    decided: dict[str, datetime] = field(default_factory=dict)
    """By the reference of the command; noon of the day for others."""
    ledger: Ledger = field(default_factory=Ledger)
    calls: list[str] = field(default_factory=list)
    left: int = 1_000_000
    """What is available afterwards."""
    remaining: dict[str, int] = field(default_factory=dict)
    """What a claw back leaves of its earn, by its reference; nothing for others."""
    unlinked: bool = False

    def __post_init__(self) -> None:
        self.ledger.decide = self.decide

    def decide(self, command: commands_pb2.Command) -> commands_pb2.CommandResult:
        own, kind = request_of(command), command.WhichOneof("command")
        told: dict[str, Any] = {
            "entry_id": f"e-{own.request_id}",
            "points": 100,
            "available_points": self.left,
            "decided_time": stamp(self.decided.get(own.reference, MIDNIGHT - timedelta(hours=4))),
        }
        match kind:
            case "earn":
                said = commands_pb2.EarnResponse(rate_version=1, pending=own.pending, **told)
                return commands_pb2.CommandResult(earn=said)
            case "confirm_earn":
                confirmed = commands_pb2.ConfirmEarnResponse(rate_version=2, **told)
                return commands_pb2.CommandResult(confirm_earn=confirmed)
            case _:
                left = self.remaining.get(own.reference, 0)
                taken = commands_pb2.ClawBackEarnResponse(remaining_points=left, **told)
                return commands_pb2.CommandResult(claw_back_earn=taken)

    def reply(self, call: Call) -> Reply:
        self.calls.append(call.path)
        match call.path:
            case path if path == GET_LEDGER:
                return accepted(
                    journal_service_pb2.GetLedgerResponse(
                        audience=AUDIENCE,
                        currency_code="CNY",
                        minor_unit_digits=2,
                        time_zone="Asia/Shanghai",
                        ledger_time=stamp(MIDNIGHT),
                        claw_back="deficit",
                    )
                )
            case path if path == LIST_RATE_CARDS:
                cards = [
                    cards_pb2.RateCard(
                        version=version,
                        funding_micros=10_000,
                        prefunded_micros=version * 1_000,
                        issue_fee_micros=200,
                    )
                    for version in (2, 1)
                ]
                return accepted(cards_pb2.ListRateCardsResponse(rate_cards=cards))
            case path if path == LIST_ENTRIES:
                return self.entries(points_service_pb2.ListEntriesRequest.FromString(call.body))
            case _:
                return self.ledger.post(call)

    def entries(self, asked: points_service_pb2.ListEntriesRequest) -> Reply:
        """Two entries a page, the last of them first."""
        if self.unlinked and asked.member_id:
            return refused(grpc.StatusCode.NOT_FOUND, "MEMBER_UNKNOWN")
        names, first = list(self.ledger.decided)[::-1], int(asked.page_token or 0)
        page = points_service_pb2.ListEntriesResponse(
            next_page_token=str(first + 2) if len(names) > first + 2 else ""
        )
        for name in names[first : first + 2]:
            line = Line(payer_id="POOL", payee_id="cafe", micros=77, payer_component="x", payee_component="x")
            page.entries.append(Entry(entry_id=f"e-{name}", lines=[line], window_date=WINDOW))
        return accepted(page)


def live(books: Books, outbox: Outbox, commands: Iterable[PointsCommand[Any]]) -> None:
    """The outbox takes the commands and empties."""

    async def drain(address: str) -> None:
        async with await open_hub(address) as hub, asyncio.timeout(30):
            await Dispatcher(outbox, hub).drain(wait=True)

    outbox.accept_all(list(commands))
    with fake_hub(books.reply) as served:
        asyncio.run(drain(served.address))
    books.calls.clear()


def deals(books: Books, *outboxes: Outbox, day: date = DAY) -> tuple[list[Deal], DailyRecord]:
    with (
        fake_hub(books.reply) as served,
        SyncHub.connect(served.address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS) as hub,
    ):
        record = DailyRecord(outboxes, "cafe", hub)
        return list(record.deals(day)), record


def pending_and_back(**references: str) -> list[PointsCommand[Any]]:
    """A pending earn, lowered before its confirmation and taken back after it."""
    earned = sale(pending=True)
    follows: dict[str, Any] = {
        "member_id": "m-1",
        "event_time": earned.event_time,
        "store_id": "s",
        "terminal_id": "t",
        "original_request_id": earned.request_id,
    }
    return [
        earned,
        ClawBackEarnCommand(**follows, points=1, part=1, reference=references.get("lowered", "lowered")),
        ConfirmEarnCommand(**follows, reference="confirmed"),
        ClawBackEarnCommand(**follows, points=1, part=2, reference="taken"),
    ]


def test_a_deal_is_of_the_day_on_which_the_hub_decided_it_to_the_last_moment(outbox: Outbox) -> None:
    last, next_day = MIDNIGHT - timedelta(microseconds=1), MIDNIGHT
    books = Books(decided={"last": last, "first": next_day})
    live(books, outbox, [sale(f"m-{name}", reference=name) for name in ("last", "first", "noon")])

    found = {
        day: [one.reference for one in deals(books, outbox, day=day)[0]] for day in (DAY, date(2026, 1, 2))
    }

    assert found == {DAY: ["noon", "last"], date(2026, 1, 2): ["first"]}


def test_the_hub_is_asked_once_for_calendar_and_cards_and_nobody_afterwards(outbox: Outbox) -> None:
    books = Books()
    live(books, outbox, [sale("m-1"), sale("m-2")])

    first, _ = deals(books, outbox)
    alone = DailyRecord([outbox], "cafe")

    assert sorted(books.calls) == sorted([GET_LEDGER, LIST_RATE_CARDS])
    assert [one.owed_micros for one in first] == [120_000, 120_000]
    assert list(alone.deals(DAY)) == first
    assert (alone.header(DAY).currency_code, alone.header(DAY).partner_id) == ("CNY", "cafe")


def test_without_a_hub_what_was_never_kept_is_said_to_be_missing(outbox: Outbox) -> None:
    with pytest.raises(Unreadable, match="the hub has to be asked"):
        DailyRecord([outbox], "cafe").header(DAY)


def test_a_claw_back_is_priced_by_what_its_points_had_become(outbox: Outbox) -> None:
    books = Books(remaining={"lowered": 100, "taken": 0})  # all four decided at one moment, as a batch is
    live(books, outbox, pending_and_back())

    found = {one.reference: one for one in deals(books, outbox)[0]}

    assert (found["r"].kind, found["r"].owed_micros) == ("pending_earn", 0)
    assert found["lowered"].claimed_micros == 0
    assert found["confirmed"].owed_micros == 100 * (2_000 + 200)
    assert found["taken"].claimed_micros == 100 * 2_000


def test_the_original_of_a_claw_back_may_be_in_another_outbox_of_the_partner(
    outbox: Outbox, tmp_path: Path
) -> None:
    earned, _, _, taken = pending_and_back()
    posted = sale(request_id=earned.request_id)
    with Outbox.open(tmp_path / "other.db") as other:
        books = Books()
        live(books, other, [posted])
        live(books, outbox, [taken])

        both, record = deals(books, outbox, other)
        alone, asking = deals(books, outbox)

    assert [one.claimed_micros for one in both if one.reference == "taken"] == [100 * 1_000]
    assert record.from_journal == []
    # By itself, this outbox does not know what the points were, and the journal says it.
    assert [one.claimed_micros for one in alone] == [77]
    assert asking.from_journal == [taken.request_id]


def test_a_deal_that_two_outboxes_asked_for_is_one_deal_of_the_record(outbox: Outbox, tmp_path: Path) -> None:
    twice, books = sale("m-1", reference="twice"), Books()
    with Outbox.open(tmp_path / "other.db") as other:
        live(books, outbox, [twice])
        live(books, other, [twice, sale("m-2", reference="once")])

        found, _ = deals(books, outbox, other)

    assert [one.reference for one in found] == ["twice", "once"]


@pytest.mark.parametrize("unlinked", [False, True])
def test_what_paid_a_debt_has_the_money_of_the_journals_entry_wherever_that_is(
    outbox: Outbox, unlinked: bool
) -> None:
    books = Books(left=99, unlinked=unlinked)
    live(books, outbox, [sale("m-1", reference=f"r-{number}") for number in range(5)])

    found, record = deals(books, outbox)

    assert [(one.claimed_micros, one.owed_micros) for one in found] == [(77, 0)] * 5
    assert len(record.from_journal) == 5


def test_a_day_longer_than_a_page_has_every_deal_once(outbox: Outbox) -> None:
    books = Books()
    live(books, outbox, [sale(f"m-{number}", reference=f"r-{number}") for number in range(AT_ONCE + 7)])

    found, _ = deals(books, outbox)

    assert len(found) == AT_ONCE + 7
    assert len({one.request_id for one in found}) == AT_ONCE + 7


def test_commands_of_that_day_or_before_without_an_answer_are_named(outbox: Outbox) -> None:
    waiting = sale("m-1", reference="waits", event_time=MIDNIGHT - timedelta(seconds=1))
    tomorrow: EarnCommand = sale("m-2", reference="tomorrow", event_time=MIDNIGHT)
    outbox.accept_all([waiting, tomorrow])
    books = Books()

    with (
        fake_hub(books.reply) as served,
        SyncHub.connect(served.address, AUDIENCE, key=CAFE_KEY, hub_keys=HUB_KEYS) as hub,
    ):
        found = list(DailyRecord([outbox], "cafe", hub).unsettled(DAY))

    assert found == [Unsettled(waiting.request_id, "earn", "waits", "")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either FILE or --outbox"),
        (["file.csv", "--outbox=o.db"], "either FILE or --outbox"),
        (["--outbox=o.db", "--hub=localhost:1"], "--hub and --hub-keys go together"),
        (["--outbox=no-such.db"], "no such outbox"),
    ],
)
def test_what_is_missing_of_a_submission_is_said(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        key = CAFE_KEY.save(Path(folder))
        where = [
            "--settlement=localhost:1",
            "--settlement-keys=k.json",
            f"--audience={AUDIENCE}",
            f"--key={key}",
        ]

        code = main(["record", "submit", "--date=2026-01-01", *arguments, *where, "--json"])

    assert code == 2
    assert said in capsys.readouterr().out
