"""Breaks and disputes over a real connection, through the adapter: each partner its own, and every act signed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest

from merchant_adapter import (
    Break,
    BreakQuery,
    Deal,
    Evidence,
    Forbidden,
    HubError,
    InvalidRequest,
    Key,
    PartnerFileHeader,
    Refused,
    SettlementKeys,
    StatementEntry,
    SyncSettlement,
    verify_receipt,
    write_partner_file,
)
from merchant_adapter.__main__ import main
from settlement.daily_run import DailyRun
from settlement.people import Actor
from settlement.reconciliation import reconcile
from settlement.rpc.keys import public_key_set, verifies
from settlement.rpc.receipts import verify_close
from settlement.store import feed, intake
from settlement.store.audit import check_chain
from settlement.store.engine import exclusive_run, open_engine
from tests.conftest import Databases
from tests.postgres.settlement_served import (
    PARTNER_A,
    PARTNER_B,
    SETTLEMENT_KEY,
    Service,
    refusal,
    register_keys,
    serving,
)
from tests.settlement_hub import AUDIENCE, DAY_1, DAY_2, HUB_KEYS, PeerHub, PostedLedger, prepare
from tests.waiting import WAIT_SECONDS
from tongdui.settlement.v1 import reconciliation_service_pb2 as wire
from tongdui.signing import parse_request

KNOWN = SettlementKeys({SETTLEMENT_KEY.key_id: SETTLEMENT_KEY.public_key})
KEY_A, KEY_B, AUDITOR = Key("a", b"a" * 32), Key("b", b"b" * 32), Key("operator", b"u" * 32)
PHOTO = Evidence("till.jpg", b"\xff\xd8 a photo")


def deal(number: int, kind: str, points: int, **fields: Any) -> Deal:
    moment = datetime.combine(DAY_1, time(12), UTC)
    return Deal(kind, moment, points, request_id=f"r{number}", reference=f"order-{number}", **fields)


RECORD = (
    deal(4, "burn", 3_333, claimed_micros=31_663_500),
    deal(5, "burn", 700, claimed_micros=6_650_000),
    deal(6, "earn", 16, owed_micros=163_200),
    deal(98, "burn", 100, claimed_micros=950_000),
    deal(99, "earn", 50, owed_micros=510_000),
)
"""B's record of day 1: all that the hub has, and two deals that it has not."""


@dataclass(frozen=True, slots=True)
class Desk:
    service: Service
    connection: psycopg.Connection[Any]

    def settlement(self, key: Key) -> SyncSettlement:
        return SyncSettlement.connect(
            self.service.address, AUDIENCE, key=key, settlement_keys=KNOWN, timeout_seconds=WAIT_SECONDS
        )


@pytest.fixture(scope="module")
def desk(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with databases.fresh() as url:
        prepare(url)
        ledger = PostedLedger.open(url)
        ledger.first_day_of_the_example()
        ledger.earn(DAY_2, "a", 100)
        register_keys(ledger)
        engine = open_engine(url)
        with exclusive_run(engine) as connection:
            with connection.begin():
                run = DailyRun(connection, feed.read_ledger(connection))
            run.close(DAY_1, PeerHub(ledger), partial(verify_close, hub_keys=HUB_KEYS, audience=AUDIENCE))
            run.net(DAY_1)
        address = f"unix:{tmp_path_factory.mktemp('desk') / 's.sock'}"
        with serving(engine, address), grpc.insecure_channel(address) as channel:
            desk = Desk(Service(address, channel), ledger.connection)
            with desk.settlement(KEY_B) as settlement:
                settlement.upload_partner_file(
                    write_partner_file(RECORD, PartnerFileHeader("b", DAY_1, "CNY")), DAY_1
                )
            with engine.begin() as connection:
                file = intake.find_accepted(connection, "b", DAY_1)
                assert file is not None
                reconcile(connection, feed.read_ledger(connection), Actor(None, unattended=True), file)
            yield desk
        ledger.connection.close()
        engine.dispose()


@pytest.fixture
def of_a(desk: Desk) -> Iterator[SyncSettlement]:
    with desk.settlement(KEY_A) as settlement:
        yield settlement


@pytest.fixture
def of_b(desk: Desk) -> Iterator[SyncSettlement]:
    with desk.settlement(KEY_B) as settlement:
        yield settlement


@pytest.fixture
def of_auditor(desk: Desk) -> Iterator[SyncSettlement]:
    with desk.settlement(AUDITOR) as settlement:
        yield settlement


def break_of(settlement: SyncSettlement, request_id: str) -> Break:
    for found in settlement.breaks().breaks:
        if found.partner is not None and found.partner.request_id == request_id:
            return found
    raise AssertionError(f"no break of {request_id}")


def test_a_partner_sees_how_its_record_compares(of_b: SyncSettlement) -> None:
    found = of_b.reconciliation(DAY_1)

    assert (found.partner_id, found.file.line_count, found.unresolved_count) == ("b", 5, 2)
    assert {one.total: (one.partner, one.hub, one.difference, one.classified) for one in found.controls} == {
        "EARNED_POINTS": (66, 16, 50, 50),
        "BURNED_POINTS": (4_133, 4_033, 100, 100),
        "CLAIMED_MICROS": (39_263_500, 38_313_500, 950_000, 950_000),
        "OWED_MICROS": (673_200, 163_200, 510_000, 510_000),
    }
    assert {one.unexplained for one in found.controls} == {0}


def test_a_day_that_was_not_compared_is_unknown(of_a: SyncSettlement) -> None:
    with pytest.raises(Refused) as raised:
        of_a.reconciliation(DAY_1)

    assert raised.value.reason == "RECONCILIATION_UNKNOWN"


def test_a_break_shows_both_sides_and_what_is_at_stake(of_b: SyncSettlement) -> None:
    found = break_of(of_b, "r98")

    assert (found.type, found.state, found.window_date) == ("MISSING_AT_HUB", "OPEN", DAY_1)
    assert (found.points_at_stake, found.amount_at_stake_micros) == (100, 950_000)
    assert found.hub is None
    assert found.partner is not None
    assert (found.partner.kind, found.partner.reference, found.partner.points) == ("burn", "order-98", 100)
    assert (found.partner.claimed_micros, found.partner.line_number) == (950_000, 5)
    assert found.partner.event_time == RECORD[3].event_time


def test_breaks_are_listed_page_by_page_and_filtered(of_b: SyncSettlement) -> None:
    first = of_b.breaks(page_size=1)
    second = of_b.breaks(page_size=1, page_token=first.next_page_token)

    assert [one.break_id for one in first.breaks + second.breaks] == [
        one.break_id for one in of_b.breaks().breaks
    ]
    assert second.next_page_token == ""
    assert of_b.breaks(BreakQuery(window_date=DAY_2)).breaks == ()
    assert of_b.breaks(BreakQuery(type="DUPLICATE")).breaks == ()
    assert of_b.breaks(BreakQuery(state="RESOLVED")).breaks == ()
    assert len(of_b.breaks(BreakQuery(type="MISSING_AT_HUB", unresolved=True)).breaks) == 2


@pytest.mark.parametrize(
    "query",
    [BreakQuery(type="WHATEVER"), BreakQuery(state="WHATEVER"), BreakQuery(partner_id="")],
    ids=["type", "state", "token"],
)
def test_a_query_that_makes_no_sense_is_refused(of_b: SyncSettlement, query: BreakQuery) -> None:
    with pytest.raises(InvalidRequest):
        of_b.breaks(query, page_token="'; --")


def test_partners_see_nothing_of_one_anothers_breaks(of_a: SyncSettlement, of_b: SyncSettlement) -> None:
    break_id = break_of(of_b, "r98").break_id

    assert of_a.breaks().breaks == ()
    for unknown in (partial(of_a.break_history, break_id), partial(of_a.comment, break_id, "mine?")):
        with pytest.raises(Refused) as raised:
            unknown()
        assert raised.value.reason == "BREAK_UNKNOWN"
    for forbidden in (
        partial(of_a.breaks, BreakQuery(partner_id="b")),
        partial(of_a.reconciliation, DAY_1, partner_id="b"),
        partial(of_a.statement, DAY_1, partner_id="b"),
    ):
        with pytest.raises(Forbidden):
            forbidden()


def test_an_auditor_reads_all_and_changes_nothing(of_auditor: SyncSettlement) -> None:
    (one, _) = of_auditor.breaks().breaks

    assert of_auditor.reconciliation(DAY_1, partner_id="b").unresolved_count == 2
    assert of_auditor.break_history(one.break_id).found == one
    for call in (
        partial(of_auditor.comment, one.break_id, "no"),
        partial(of_auditor.open_dispute, one.break_id, "a", "no"),
        partial(of_auditor.answer_dispute, 1, "no"),
        partial(of_auditor.upload_partner_file, b"no", DAY_1),
    ):
        with pytest.raises(Forbidden):
            call()


def test_a_comment_with_evidence_stands_in_the_history(desk: Desk, of_b: SyncSettlement) -> None:
    break_id = break_of(of_b, "r98").break_id

    commented = of_b.comment(break_id, "the till was offline", evidence=PHOTO)

    assert commented.receipt is not None
    assert verify_receipt(commented.receipt, KNOWN).key_id == SETTLEMENT_KEY.key_id
    event = of_b.break_history(break_id).events[-1]
    assert (event.person, event.act, event.text) == ("b", "comment_break", "the till was offline")
    assert [(one.name, one.byte_count) for one in event.evidence] == [("till.jpg", len(PHOTO.content))]
    kept = desk.connection.execute(
        "SELECT content FROM settlement.break_evidence WHERE break_id = %s", (break_id,)
    ).fetchall()
    assert [bytes(row[0]) for row in kept] == [PHOTO.content]


def test_a_repeated_comment_is_one_comment(of_b: SyncSettlement) -> None:
    break_id = break_of(of_b, "r99").break_id

    first = of_b.comment(break_id, "once", request_id="comment-1")
    again = of_b.comment(break_id, "once", request_id="comment-1")

    assert again == first
    assert [one.text for one in of_b.break_history(break_id).events].count("once") == 1
    with pytest.raises(Refused) as raised:
        of_b.comment(break_id, "twice", request_id="comment-1")
    assert raised.value.reason == "REQUEST_ID_REUSED"


def test_the_audit_log_keeps_the_partners_own_signature(desk: Desk, of_b: SyncSettlement) -> None:
    break_id = break_of(of_b, "r99").break_id
    of_b.comment(break_id, "signed")

    row = desk.connection.execute(
        "SELECT person, key_id, role, act_text, signature FROM settlement.audit_log"
        " WHERE act = 'comment_break' ORDER BY audit_id DESC LIMIT 1"
    ).fetchone()

    assert row is not None
    assert row[:3] == ("b", PARTNER_B.key_id, "partner")
    call = json.loads(bytes(row[3]))["call"]
    signed = parse_request(tuple(call["metadata"].items()))
    assert signed.signature == bytes(row[4])
    assert verifies(PARTNER_B.public_key, signed.signature, signed.base(call["path"]))


def test_the_audit_log_holds_as_a_chain(desk: Desk) -> None:
    engine = open_engine(desk.connection.info.dsn + f" password={desk.connection.info.password}")
    with engine.begin() as connection:
        broken = check_chain(connection).broken
    engine.dispose()

    assert broken is None


def test_a_dispute_is_opened_answered_and_seen_by_both(of_a: SyncSettlement, of_b: SyncSettlement) -> None:
    break_id = break_of(of_b, "r98").break_id

    opened = of_b.open_dispute(break_id, "a", "the voucher was a's", evidence=PHOTO).dispute
    seen = of_a.disputes(state="OPEN").disputes
    answered = of_a.answer_dispute(opened.dispute_id, "it was not").dispute

    assert seen == (opened,)
    assert (opened.opened_by, opened.against, opened.state) == ("b", "a", "OPEN")
    assert (answered.state, answered.answer) == ("ANSWERED", "it was not")
    assert of_b.disputes().disputes == (answered,)
    assert of_b.break_history(break_id).disputes == (answered,)
    for call, reason in (
        (partial(of_a.answer_dispute, opened.dispute_id, "again"), "DISPUTE_STATE"),
        (partial(of_b.answer_dispute, opened.dispute_id, "myself"), "DISPUTE_UNKNOWN"),
        (partial(of_b.open_dispute, break_id, "a", "once more"), "BREAK_STATE"),
    ):
        with pytest.raises(Refused) as raised:
            call()
        assert raised.value.reason == reason


def test_a_dispute_past_its_deadline_cannot_be_answered(
    desk: Desk, of_a: SyncSettlement, of_b: SyncSettlement
) -> None:
    opened = of_b.open_dispute(break_of(of_b, "r99").break_id, "a", "late").dispute
    change = "UPDATE settlement.disputes SET deadline = deadline - interval '30 days' WHERE dispute_id = %s"
    desk.connection.execute(change, (opened.dispute_id,))

    with pytest.raises(Refused) as raised:
        of_a.answer_dispute(opened.dispute_id, "too late")

    assert (raised.value.reason, raised.value.metadata["state"]) == ("DISPUTE_STATE", "EXPIRED")


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"request_id": ""}, "INVALID_FIELD", "request_id"),
        ({"break_id": 0}, "INVALID_FIELD", "break_id"),
        ({"break_id": 1 << 40}, "BREAK_UNKNOWN", None),
        ({"against": "B"}, "INVALID_FIELD", "against"),
        ({"against": "b"}, "INVALID_FIELD", "against"),
        ({"against": "nobody"}, "PARTNER_UNKNOWN", None),
        ({"claim": "  "}, "INVALID_FIELD", "claim"),
        ({"claim": "x" * 2_001}, "INVALID_FIELD", "claim"),
        ({"claim": "a\0b"}, "INVALID_FIELD", "claim"),
        ({"evidence": wire.Evidence(content=b"x")}, "INVALID_FIELD", "evidence.name"),
        ({"evidence": wire.Evidence(name="n")}, "INVALID_FIELD", "evidence.content"),
        (
            {"evidence": wire.Evidence(name="n", content=bytes(1024 * 1024 + 1))},
            "INVALID_FIELD",
            "evidence.content",
        ),
    ],
    ids=range(12),
)
def test_a_claim_that_makes_no_sense_is_refused(
    desk: Desk, of_b: SyncSettlement, changes: dict[str, Any], reason: str, field: str | None
) -> None:
    fields: dict[str, Any] = {
        "request_id": "claim",
        "break_id": of_b.breaks().breaks[0].break_id,
        "against": "a",
        "claim": "it was a's",
    }
    request = wire.OpenDisputeRequest(**(fields | changes))

    _, info, _ = refusal(lambda: desk.service.call(PARTNER_B, "OpenDispute", request))

    assert (info.reason, info.metadata.get("field")) == (reason, field)


def test_a_large_message_is_taken_only_where_it_may_be_large(desk: Desk) -> None:
    request = wire.ListBreaksRequest(page_token="1" * 70_000)

    _, info, _ = refusal(lambda: desk.service.call(PARTNER_A, "ListBreaks", request))

    assert (info.reason, info.metadata["field"]) == ("INVALID_FIELD", "message")


def entries_of(settlement: SyncSettlement, component: str) -> list[StatementEntry]:
    found: list[StatementEntry] = []
    token = ""
    while True:
        page = settlement.statement_entries(DAY_1, component, page_size=1, page_token=token)
        found += page.entries
        token = page.next_page_token
        if not token:
            return found


def test_the_entries_behind_a_line_add_up_to_it(of_b: SyncSettlement) -> None:
    lines = {one.component: one.exact_micros for one in of_b.statement(DAY_1).lines}

    assert {name: sum(one.amount_micros for one in entries_of(of_b, name)) for name in lines} == lines
    assert [one.request_id for one in entries_of(of_b, "BURN_REIMBURSE")] == ["r4", "r5"]


def test_whose_deal_an_entry_of_another_partner_was_is_not_told(desk: Desk) -> None:
    # Redeem-funded, A pays when its points are burned at B: an entry that B posted stands on A's statement.
    line = (DAY_1, 4, 0, 7, "a", "BURN_FUNDING", "b", "BURN_REIMBURSE", 1_000_000)
    desk.connection.execute(
        "INSERT INTO exchange.posted_lines_v1 VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)", line
    )
    try:
        with desk.settlement(KEY_A) as settlement:
            (entry,) = entries_of(settlement, "BURN_FUNDING")
        with desk.settlement(AUDITOR) as settlement:
            page = settlement.statement_entries(DAY_1, "BURN_FUNDING", partner_id="a")
    finally:
        desk.connection.execute("DELETE FROM exchange.posted_lines_v1 WHERE line_number = 7")

    assert (entry.kind, entry.points, entry.amount_micros) == ("burn", 3_333, -1_000_000)
    hidden = (entry.request_id, entry.reference, entry.store_id, entry.terminal_id, entry.member_id)
    assert hidden == ("", "", "", "", "")
    assert page.entries[0].request_id == "r4"


@pytest.mark.parametrize("component", ["", "burn", "x" * 100, "BURN'--"])
def test_a_component_that_cannot_be_one_is_refused(of_b: SyncSettlement, component: str) -> None:
    with pytest.raises(InvalidRequest):
        of_b.statement_entries(DAY_1, component)


def test_entries_of_a_day_that_is_not_there_are_unknown(of_b: SyncSettlement) -> None:
    with pytest.raises(HubError) as raised:
        of_b.statement_entries(date(2020, 1, 1), "ISSUE_FEE")

    assert raised.value.reason == "SETTLEMENT_UNKNOWN"


@dataclass(frozen=True, slots=True)
class Cli:
    """The adapter's command line in a folder with B's key and settlement's public key."""

    where: list[str]
    folder: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> tuple[int, str]:
        code = main([*arguments, *self.where])
        printed = self.capsys.readouterr()
        return code, printed.out + printed.err

    def run_json(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        code = main([*arguments, *self.where, "--json"])
        found: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        return code, found


@pytest.fixture
def cli(desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    keys = tmp_path / "settlement-keys.json"
    keys.write_text(json.dumps(public_key_set(SETTLEMENT_KEY)))
    key = KEY_B.save(tmp_path / "keys")
    where = ["--settlement", desk.service.address, "--audience", AUDIENCE, "--settlement-keys", str(keys)]
    return Cli([*where, "--key", str(key)], tmp_path, capsys)


def test_the_command_line_shows_a_statement_and_what_is_behind_a_line(cli: Cli) -> None:
    code, shown = cli.run("statement", "--date", "2026-01-01")
    _, found = cli.run_json("statement", "--date", "2026-01-01")
    _, entries = cli.run_json("statement", "--date", "2026-01-01", "--component", "BURN_REIMBURSE")

    assert code == 0
    assert "BURN_REIMBURSE" in shown
    assert (found["partner_id"], found["net_minor"]) == ("b", 3_815)
    assert [one["amount_micros"] for one in entries["entries"]] == [31_663_500, 6_650_000]


def test_the_command_line_hands_a_record_in_and_keeps_a_receipt_that_verifies(cli: Cli) -> None:
    record, receipt = cli.folder / "record.csv", cli.folder / "receipt.json"
    record.write_bytes(write_partner_file((), PartnerFileHeader("b", DAY_2, "CNY")))

    code, found = cli.run_json(
        "record", "submit", str(record), "--date", "2026-01-02", "--receipt", str(receipt)
    )

    assert (code, found["outcome"], found["line_count"]) == (0, "accepted", 0)
    keys = cli.where[cli.where.index("--settlement-keys") + 1]
    assert main(["verify", str(receipt), "--settlement-keys", keys, "--json"]) == 0
    (verified,) = json.loads(cli.capsys.readouterr().out)["files"]
    assert (verified["outcome"], verified["settlement_key_id"]) == ("accepted", SETTLEMENT_KEY.key_id)
    assert verified["request"]["header"]["byte_count"] == str(record.stat().st_size)


def test_the_command_line_says_why_a_record_is_refused(cli: Cli) -> None:
    record = cli.folder / "record.jsonl"
    record.write_bytes(b"{}\n")

    code, found = cli.run_json("record", "submit", str(record), "--date", "2026-01-02")
    missing, _ = cli.run("record", "submit", str(cli.folder / "none.csv"), "--date", "2026-01-02")

    assert (code, found["reason"], found["metadata"]["line"]) == (2, "FILE_MALFORMED", "1")
    assert missing == 2


def test_the_command_line_lists_breaks_with_the_four_totals(cli: Cli) -> None:
    code, shown = cli.run("breaks", "--date", "2026-01-01")
    _, found = cli.run_json("breaks")
    _, early = cli.run_json("breaks", "--date", "2026-01-02", "--all")

    assert code == 0
    assert early == {"controls": "not compared yet", "breaks": []}
    assert "MISSING_AT_HUB" in shown
    assert "CLAIMED_MICROS" in shown
    assert [one["partner"]["request_id"] for one in found["breaks"]] == ["r98", "r99"]
