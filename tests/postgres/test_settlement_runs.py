"""Runs on a real database: aborted and begun anew, approved by another person, netted by the contracts of the day."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from settlement.contracts import ContractRefused, Contracts
from settlement.core.certificate import split_document
from settlement.core.contracts import ContractKind
from settlement.core.journal_audit import JournalDiffers
from settlement.core.parties import OPERATOR
from settlement.core.roles import Act, RoleMissing, SamePerson
from settlement.core.run_state import StepOutOfOrder
from settlement.core.statement import statements
from settlement.daily_run import DailyRun, ResultDiffers
from settlement.people import Actor
from settlement.rpc.keys import PrivateKey
from settlement.rpc.receipts import verify_close
from settlement.store import feed, load
from settlement.store.audit import first_broken, read_audit
from settlement.store.engine import exclusive_run, open_engine
from settlement.store.load import StoredCertificate
from settlement.store.restatement import read_restatement
from tests.conftest import Databases
from tests.settlement_hub import (
    AUDIENCE,
    DAY_1,
    DAY_2,
    DAY_3,
    HUB_KEYS,
    PeerHub,
    PostedLedger,
    prepare,
    register,
)

SIGNER = PrivateKey("operator", b"s" * 32)
VERIFY = partial(verify_close, hub_keys=HUB_KEYS, audience=AUDIENCE)
MEI, BO, BOTH = (PrivateKey("operator", name.ljust(32, b"-")) for name in (b"mei", b"bo", b"both"))
STAFF = (
    (MEI, "Mei", ["finance_maker"]),
    (BO, "Bo", ["finance_checker"]),
    (BOTH, "Both", ["finance_maker", "finance_checker"]),
)
GROSS, BILATERAL = ContractKind


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as prepared:
        prepare(prepared)
        for key, holder, roles in STAFF:
            register(prepared, key, holder, *roles)
        yield prepared


@pytest.fixture
def ledger(url: str) -> Iterator[PostedLedger]:
    posted = PostedLedger.open(url)
    with posted.connection:
        posted.connection.execute("TRUNCATE settlement.audit_log")
        yield posted


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    opened = open_engine(url)
    yield opened
    opened.dispose()


@contextmanager
def run_of(engine: Engine, key: PrivateKey | None = None) -> Iterator[DailyRun]:
    actor = Actor(key) if key else Actor(SIGNER, unattended=True)
    with exclusive_run(engine) as connection:
        with connection.begin():
            ledger = feed.read_ledger(connection)
        yield DailyRun(connection, ledger, actor)


def settle(
    engine: Engine, hub: PeerHub, *days: date, key: PrivateKey | None = None
) -> list[StoredCertificate]:
    with run_of(engine, key) as run:
        return [settle_one(run, hub, day) for day in days]


def settle_one(run: DailyRun, hub: PeerHub, day: date) -> StoredCertificate:
    run.close(day, hub, VERIFY)
    run.net(day)
    run.audit_journal(day, lambda _: None)
    return run.certify(day, SIGNER, VERIFY)[0]


def approve(engine: Engine, day: date, key: PrivateKey = BO) -> None:
    with run_of(engine, key) as run:
        run.approve(day)


def content(certificate: StoredCertificate) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(split_document(certificate.document)[0])
    return parsed


def states(ledger: PostedLedger) -> list[tuple[Any, ...]]:
    return ledger.connection.execute(
        "SELECT state, run_number FROM settlement.windows ORDER BY window_date"
    ).fetchall()


def test_an_aborted_run_stays_and_the_next_one_certifies_to_the_same_bytes(
    ledger: PostedLedger, engine: Engine
) -> None:
    ledger.first_day_of_the_example()
    (first,) = settle(engine, PeerHub(ledger), DAY_1)

    with run_of(engine, MEI) as run:
        assert run.abort(DAY_1, "contract of a was missing") == 2
    aborted = states(ledger)
    (second,) = settle(engine, PeerHub(ledger), DAY_1)

    kept = ledger.connection.execute(
        "SELECT run_number, state, aborted_by, reason, certified_by, end_time > begin_time"
        " FROM settlement.runs ORDER BY 1"
    ).fetchall()
    lines = ledger.connection.execute(
        "SELECT run_number, count(*) FROM settlement.statement_lines GROUP BY 1 ORDER BY 1"
    ).fetchall()
    assert aborted == [("CLOSED", 2)]
    assert states(ledger) == [("CERTIFIED", 2)]
    assert second.document == first.document
    assert kept == [
        (1, "ABORTED", "Mei", "contract of a was missing", "settlement", True),
        (2, "CERTIFIED", None, "", "settlement", True),
    ]
    assert lines == [(1, 9), (2, 9)]


def test_what_another_run_computed_counts_for_nothing(ledger: PostedLedger, engine: Engine) -> None:
    ledger.earn(DAY_1, "a", 100)
    settle(engine, PeerHub(ledger), DAY_1)
    with run_of(engine, MEI) as run:
        run.abort(DAY_1, "again")

    with engine.connect() as connection:
        assert load.load_computed(connection, DAY_1).lines == ()
        assert load.load_certificate(connection, DAY_1) is None
    settle(engine, PeerHub(ledger), DAY_1, DAY_2)
    with engine.connect() as connection:
        positions = {
            it.party_id: it.net_minor for it in statements(DAY_1, load.load_computed(connection, DAY_1).lines)
        }
    assert positions == {"a": -102, "POOL": 100, OPERATOR: 2}


def test_only_the_newest_computed_window_is_aborted_and_only_until_it_is_approved(
    ledger: PostedLedger, engine: Engine
) -> None:
    settle(engine, PeerHub(ledger), DAY_1, DAY_2)
    approve(engine, DAY_1)

    with run_of(engine, MEI) as run:
        with pytest.raises(StepOutOfOrder, match="2026-01-01: the window is APPROVED"):
            run.abort(DAY_1, "why")
        run.abort(DAY_2, "why")
        with pytest.raises(StepOutOfOrder, match="the window is CLOSED; run `net"):
            run.abort(DAY_2, "why")
        run.net(DAY_2)
        run.close(DAY_3, PeerHub(ledger), VERIFY)
        run.net(DAY_3)
        with pytest.raises(StepOutOfOrder, match="2026-01-03 is computed on top of it"):
            run.abort(DAY_2, "why")

    assert states(ledger) == [("APPROVED", 1), ("COMPUTED", 2), ("COMPUTED", 1)]


def test_an_abort_needs_a_reason_and_a_maker(ledger: PostedLedger, engine: Engine) -> None:
    settle(engine, PeerHub(ledger), DAY_1)

    with run_of(engine, MEI) as run, pytest.raises(ValueError, match="reason"):
        run.abort(DAY_1, " ")
    for key in (BO, None):
        with run_of(engine, key) as run, pytest.raises(RoleMissing):
            run.abort(DAY_1, "why")

    assert states(ledger) == [("CERTIFIED", 1)]


def test_a_window_is_approved_in_order_by_another_person_than_who_certified(
    ledger: PostedLedger, engine: Engine
) -> None:
    settle(engine, PeerHub(ledger), DAY_1)
    (second,) = settle(engine, PeerHub(ledger), DAY_2, key=BOTH)

    with pytest.raises(StepOutOfOrder, match="2026-01-01 comes first"):
        approve(engine, DAY_2)
    approve(engine, DAY_1)
    with pytest.raises(SamePerson, match="Both did the first half"):
        approve(engine, DAY_2, BOTH)
    with pytest.raises(RoleMissing):
        approve(engine, DAY_2, MEI)
    approve(engine, DAY_2)
    approve(engine, DAY_2)

    approvals = ledger.connection.execute(
        "SELECT certified_by, approved_by, certificate_sha256 FROM settlement.approvals ORDER BY window_date"
    ).fetchall()
    assert [row[:2] for row in approvals] == [("settlement", "Bo"), ("Both", "Bo")]
    assert approvals[1][2] == second.document_sha256
    assert states(ledger) == [("APPROVED", 1), ("APPROVED", 1)]


def test_the_database_refuses_one_person_for_both_halves(ledger: PostedLedger, engine: Engine) -> None:
    settle(engine, PeerHub(ledger), DAY_1)

    with engine.connect() as connection, pytest.raises(IntegrityError, match="approvals_two_people"):
        connection.execute(
            text("INSERT INTO settlement.approvals VALUES ('2026-01-01', 1, 'Mei', 'Mei', 'k', 'c')")
        )


def test_a_window_whose_journal_was_not_hashed_again_or_differs_is_not_approved(
    ledger: PostedLedger, engine: Engine
) -> None:
    ledger.first_day_of_the_example()
    with run_of(engine) as run:
        run.close(DAY_1, PeerHub(ledger), VERIFY)
        run.net(DAY_1)
        run.certify(DAY_1, SIGNER, VERIFY)
    with pytest.raises(StepOutOfOrder, match="audit-journal"):
        approve(engine, DAY_1)
    ledger.connection.execute(
        "UPDATE exchange.chained_entries_v1 SET reference = 'x' WHERE batch_sequence = 4"
    )
    with run_of(engine) as run:
        assert run.audit_journal(DAY_1, lambda _: None).bad_batch == 4

    with pytest.raises(JournalDiffers, match="batch 4"):
        approve(engine, DAY_1)

    assert states(ledger) == [("CERTIFIED", 1)]


def test_finished_steps_of_an_approved_window_repeat_to_the_same_bytes(
    ledger: PostedLedger, engine: Engine
) -> None:
    ledger.first_day_of_the_example()
    once = settle(engine, PeerHub(ledger), DAY_1, DAY_2)
    approve(engine, DAY_1)

    again = settle(engine, PeerHub(ledger), DAY_1, DAY_2)

    assert [c.document for c in again] == [c.document for c in once]
    assert states(ledger) == [("APPROVED", 1), ("CERTIFIED", 1)]
    with run_of(engine) as run:
        assert run.days_through(DAY_3) == [DAY_3]


def test_every_step_is_in_the_audit_log_once_with_who_and_before_and_after(
    ledger: PostedLedger, engine: Engine
) -> None:
    settle(engine, PeerHub(ledger), DAY_1)
    settle(engine, PeerHub(ledger), DAY_1)
    with run_of(engine, MEI) as run:
        run.abort(DAY_1, "wrong")
    settle(engine, PeerHub(ledger), DAY_1, key=MEI)
    approve(engine, DAY_1)

    with engine.connect() as connection:
        deeds = read_audit(connection, item_kind="window", item_id="2026-01-01")
        assert first_broken(connection) is None
    rows = [row for row in deeds if row.act != Act.AUDIT_JOURNAL.label]
    assert len(deeds) - len(rows) == 3  # the journal is hashed again every time, so that is told every time
    assert [(row.act, row.person) for row in rows] == [
        *((act.label, "settlement") for act in (Act.CLOSE, Act.NET, Act.CERTIFY)),
        (Act.ABORT.label, "Mei"),
        *((act.label, "Mei") for act in (Act.NET, Act.CERTIFY)),
        (Act.APPROVE.label, "Bo"),
    ]
    assert (rows[3].reason, rows[3].before, rows[3].after) == (
        "wrong",
        {"state": "CERTIFIED", "run_number": 1},
        {"state": "CLOSED", "run_number": 2},
    )


def contract(
    engine: Engine, kind: ContractKind | None, partner: str, other: str, first: date, key: PrivateKey = MEI
) -> bool:
    with run_of(engine, key) as run:
        return Contracts(run.connection, run.actor).set(kind, partner, other, first)


def test_a_pair_is_taken_out_of_the_multilateral_lines_while_its_contract_holds(
    ledger: PostedLedger, engine: Engine
) -> None:
    ledger.prefunded_micros = 0
    assert contract(engine, BILATERAL, "b", "a", DAY_1)
    for day in (DAY_1, DAY_2):
        ledger.earn(day, "a", 1_000)
        ledger.burn(day, "b", "a", 333)
    hub = PeerHub(ledger)

    (first,) = settle(engine, hub, DAY_1)
    assert contract(engine, None, "a", "b", DAY_2)
    (second,) = settle(engine, hub, DAY_2)
    settle(engine, hub, DAY_1)

    with engine.connect() as connection:
        lines = [
            {
                line.pair: line.amount_minor
                for line in load.load_computed(connection, day).lines
                if line.line_count
            }
            for day in (DAY_1, DAY_2)
        ]
    assert content(first)["contracts"] == [
        {"partner_id": "a", "counterparty_id": "b", "kind": "BILATERAL", "valid_from": "2026-01-01"}
    ]
    assert content(second)["contracts"] == []
    assert (lines[0]["a", "BILATERAL:b"], lines[0]["b", "BILATERAL:a"]) == (-316, 316)
    assert ("a", "BILATERAL:b") not in lines[1]
    assert lines[1]["b", "BURN_REIMBURSE"] == 316


def test_contracts_change_only_from_a_day_that_is_not_computed(ledger: PostedLedger, engine: Engine) -> None:
    settle(engine, PeerHub(ledger), DAY_1)

    with pytest.raises(StepOutOfOrder, match="2026-01-01 is computed"):
        contract(engine, GROSS, "a", "", DAY_1)
    assert contract(engine, GROSS, "a", "", DAY_2)
    assert not contract(engine, GROSS, "a", "", DAY_2)
    settle(engine, PeerHub(ledger), DAY_2)
    with pytest.raises(StepOutOfOrder, match="2026-01-02 is computed"):
        contract(engine, None, "a", "", DAY_2)
    assert contract(engine, None, "a", "", DAY_3)
    assert not contract(engine, None, "a", "", DAY_3)

    with engine.connect() as connection:
        assert [load.load_contracts(connection, day) != () for day in (DAY_1, DAY_2, DAY_3)] == [
            False,
            True,
            False,
        ]


def test_a_contract_that_changed_behind_settlements_back_is_found_when_a_step_is_repeated(
    ledger: PostedLedger, engine: Engine
) -> None:
    ledger.prefunded_micros = 0
    contract(engine, BILATERAL, "a", "b", DAY_1)
    ledger.earn(DAY_1, "a", 1_000)
    ledger.burn(DAY_1, "b", "a", 333)
    settle(engine, PeerHub(ledger), DAY_1)
    ledger.connection.execute("UPDATE settlement.contracts SET valid_from = '2026-01-02'")

    with run_of(engine) as run, pytest.raises(ResultDiffers, match="statement line"):
        run.net(DAY_1)


@pytest.mark.parametrize(
    ("kind", "partner", "other", "message"),
    [
        (BILATERAL, "a", "", "--with"),
        (GROSS, "a", "b", "--with"),
        (BILATERAL, "a", "a", "itself"),
        (BILATERAL, "a", "nobody", "--with nobody"),
        (GROSS, "POOL", "", "--partner POOL"),
    ],
)
def test_a_contract_is_between_partners_of_the_coalition(
    ledger: PostedLedger, engine: Engine, kind: ContractKind, partner: str, other: str, message: str
) -> None:
    with pytest.raises(ContractRefused, match=message):
        contract(engine, kind, partner, other, DAY_1)


def test_a_contract_neither_begins_before_another_ends_nor_ends_before_it_begins(
    ledger: PostedLedger, engine: Engine
) -> None:
    contract(engine, GROSS, "a", "", DAY_2)
    with pytest.raises(ContractRefused, match="end it first"):
        contract(engine, GROSS, "a", "", DAY_1)
    contract(engine, None, "a", "", DAY_3)
    with pytest.raises(ContractRefused, match="begin after it"):
        contract(engine, GROSS, "a", "", DAY_2)
    with pytest.raises(RoleMissing):
        contract(engine, GROSS, "a", "", DAY_3, BO)

    assert contract(engine, GROSS, "a", "", DAY_3)


def test_a_restatement_shows_the_day_with_what_happened_on_it_and_changes_nothing(
    ledger: PostedLedger, engine: Engine
) -> None:
    ledger.first_day_of_the_example()
    ledger.event_day = DAY_1 - timedelta(days=1)
    ledger.burn(DAY_1, "b", "a", 100)  # late: not of the first day
    hub = PeerHub(ledger)
    settle(engine, hub, DAY_1, DAY_2)
    ledger.event_day = DAY_1
    ledger.earn(DAY_3, "a", 250)  # proven on the third day, priced at the first
    before = ledger.connection.execute("SELECT * FROM settlement.statement_lines").fetchall()

    with engine.connect() as connection:
        restated = read_restatement(connection, DAY_1)
        assert read_restatement(connection, DAY_3) is None

    assert restated is not None
    nets = {party: (was, would_be) for party, was, would_be in restated.nets()}
    assert nets["a"] == (-15_810, -16_065)
    assert nets["b"] == (3_910, 3_815)
    assert sum(was for was, _ in nets.values()) == sum(would_be for _, would_be in nets.values()) == 0
    assert (restated.entries_in, restated.entries_out) == (1, 1)
    assert ledger.connection.execute("SELECT * FROM settlement.statement_lines").fetchall() == before


def test_a_business_day_ends_at_the_cut_off_of_the_ledgers_zone(ledger: PostedLedger, engine: Engine) -> None:
    for _ in range(3):
        ledger.earn(DAY_1, "a", 100)
    ledger.connection.execute(
        "UPDATE exchange.posted_entries_v1 SET event_time = (ARRAY['2025-12-31 17:59:59+00', '2025-12-31 18:00:00+00',"
        " '2026-01-01 17:59:59.999999+00'])[batch_sequence]::timestamptz"
    )
    ledger.connection.execute("UPDATE exchange.ledger_v1 SET cut_off_seconds = 7200")  # 02:00 in Shanghai
    try:
        settle(engine, PeerHub(ledger), DAY_1)
        with engine.connect() as connection:
            restated = read_restatement(connection, DAY_1)
    finally:
        ledger.connection.execute("UPDATE exchange.ledger_v1 SET cut_off_seconds = 0")

    assert restated is not None
    assert {party: (was, would_be) for party, was, would_be in restated.nets()}["a"] == (-306, -204)
    assert restated.entries_out == 1
