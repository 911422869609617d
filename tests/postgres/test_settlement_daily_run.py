"""A day's steps on a real database: to the fen, in order, once, repeatable to the byte, and refusing what is wrong."""

import json
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from settlement.core.certificate import signed_text, split_document
from settlement.core.checks import failed
from settlement.core.run_state import StepOutOfOrder
from settlement.core.statement import statements
from settlement.core.window import HubReceipt, ReceiptInvalid
from settlement.daily_run import ChecksFailed, DailyRun, ResultDiffers
from settlement.partner_files import Declared, load_file
from settlement.people import Actor
from settlement.rpc.keys import HubKeys, PrivateKey, verifies
from settlement.rpc.receipts import verify_close
from settlement.store import feed, journal
from settlement.store.engine import AnotherRun, exclusive_run, open_engine
from settlement.store.load import StoredCertificate
from tests.conftest import Databases
from tests.postgres.journal_rows import partner_file
from tests.settlement_hub import (
    AUDIENCE,
    DAY_1,
    DAY_2,
    DAY_3,
    HUB_KEYS,
    PeerHub,
    PostedLedger,
    prepare,
)
from tests.waiting import somebody_waits

EXAMPLE = json.loads((Path(__file__).parents[1] / "settlement_example.json").read_text())["expected"]["base"]
SIGNER = PrivateKey("operator", b"s" * 32)
VERIFY = partial(verify_close, hub_keys=HUB_KEYS, audience=AUDIENCE)


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as prepared:
        prepare(prepared)
        yield prepared


@pytest.fixture
def ledger(url: str) -> Iterator[PostedLedger]:
    posted = PostedLedger.open(url)
    with posted.connection:
        yield posted


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    opened = open_engine(url)
    yield opened
    opened.dispose()


@contextmanager
def daily_run(engine: Engine) -> Iterator[DailyRun]:
    with exclusive_run(engine) as connection:
        with connection.begin():
            ledger = feed.read_ledger(connection)
        yield DailyRun(connection, ledger)


def settle(run: DailyRun, hub: PeerHub, *window_dates: date) -> list[StoredCertificate]:
    certificates = []
    for window_date in window_dates:
        run.close(window_date, hub, VERIFY)
        run.net(window_date)
        certificates.append(run.certify(window_date, SIGNER, VERIFY)[0])
    return certificates


def content(certificate: StoredCertificate) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(split_document(certificate.document)[0])
    return parsed


def ignored(entry_count: int) -> None:
    """Nobody looks at the progress."""


def change_one_row(ledger: PostedLedger, statement: str) -> None:
    assert ledger.connection.execute(statement.encode()).rowcount == 1


@pytest.mark.parametrize(("mode", "prefunded"), [("issue_funded", 10_000), ("redeem_funded", 0)])
def test_the_first_day_of_the_example_settles_to_the_fen(
    ledger: PostedLedger, engine: Engine, mode: str, prefunded: int
) -> None:
    ledger.prefunded_micros = prefunded
    ledger.first_day_of_the_example()

    with daily_run(engine) as run:
        (certificate,) = settle(run, PeerHub(ledger), DAY_1)

    expected = EXAMPLE[mode]["W1"]["net_fen"]
    nets = {row["party_id"]: row["net_minor"] for row in content(certificate)["statements"]}
    assert nets == {
        "a": expected["A"],
        "b": expected["B"],
        "POOL": expected["POOL"],
        "OPERATOR": expected["OP"],
    }
    assert all(check["holds"] for check in content(certificate)["checks"])


def test_later_windows_carry_on_from_the_ones_before(ledger: PostedLedger, engine: Engine) -> None:
    for day in (DAY_1, DAY_2, DAY_3):
        ledger.earn(day, "b", 16)  # a fee of 0.32 fen a day

    with daily_run(engine) as run:
        settle(run, PeerHub(ledger), DAY_1, DAY_2)
        run.close(DAY_3, PeerHub(ledger), VERIFY)
        third = run.net(DAY_3)

    fee = next(line for line in third.lines if line.pair == ("b", "ISSUE_FEE"))
    assert (fee.exact_micros, fee.amount_minor) == (-3_200, 0)
    assert (fee.exact_to_date_micros, fee.amount_to_date_minor) == (-9_600, -1)
    assert [issuer.open for issuer in third.issuers] == [48]


def test_empty_windows_settle_too(ledger: PostedLedger, engine: Engine) -> None:
    ledger.earn(DAY_2, "a", 100)

    with daily_run(engine) as run:
        first, second, third = settle(run, PeerHub(ledger), DAY_1, DAY_2, DAY_3)

    assert [content(c)["window"]["entry_count"] for c in (first, second, third)] == [0, 1, 0]
    assert content(first)["payable_minor"] == 0
    assert content(third)["payable_minor"] == 0
    assert [row["closing_minor"] for row in content(third)["statements"]] == [-102, 100, 2]


def test_certificates_are_chained_and_signed_by_settlements_key(ledger: PostedLedger, engine: Engine) -> None:
    with daily_run(engine) as run:
        first, second = settle(run, PeerHub(ledger), DAY_1, DAY_2)

    signed, signature = split_document(second.document)
    assert content(first)["previous_certificate_sha256"] == ""
    assert content(second)["previous_certificate_sha256"] == sha256(first.document).hexdigest()
    assert verifies(SIGNER.public_key, b64decode(signature["signature"]), signed_text(signed))
    assert signature["key_id"] == SIGNER.key_id


def test_every_step_repeated_gives_the_same_bytes(ledger: PostedLedger, engine: Engine) -> None:
    ledger.first_day_of_the_example()
    hub = PeerHub(ledger)

    with daily_run(engine) as run:
        once = settle(run, hub, DAY_1, DAY_2)
    with daily_run(engine) as run:
        again = settle(run, hub, DAY_1, DAY_2)

    assert [c.document for c in again] == [c.document for c in once]
    assert hub.asked == [DAY_1, DAY_2]


def test_the_same_ledger_settled_anew_certifies_to_the_same_bytes(url: str, engine: Engine) -> None:
    documents = []
    for _ in range(2):
        posted = PostedLedger.open(url)
        posted.first_day_of_the_example()
        with posted.connection, daily_run(engine) as run:
            documents.append([c.document for c in settle(run, PeerHub(posted), DAY_1, DAY_2)])

    assert documents[0] == documents[1]


def test_a_run_that_was_broken_off_goes_on_after_its_last_commit(
    ledger: PostedLedger, engine: Engine
) -> None:
    ledger.first_day_of_the_example()
    hub = PeerHub(ledger)
    with daily_run(engine) as run:
        run.close(DAY_1, hub, VERIFY)
        ledger.connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"  # until then it has the lock
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with pytest.raises(OperationalError):
            run.net(DAY_1)

    with daily_run(engine) as run:
        (certificate,) = settle(run, hub, DAY_1)

    assert hub.asked == [DAY_1]
    assert content(certificate)["payable_minor"] == 15_810


def test_a_step_that_cannot_be_finished_leaves_nothing_of_it(ledger: PostedLedger, engine: Engine) -> None:
    ledger.first_day_of_the_example()
    privilege = "INSERT ON settlement.issuer_points"
    with daily_run(engine) as run:
        run.close(DAY_1, PeerHub(ledger), VERIFY)
        ledger.connection.execute(f"REVOKE {privilege} FROM tongdui_settlement".encode())
        with pytest.raises(ProgrammingError, match="issuer_points"):
            run.net(DAY_1)  # the last of its tables cannot be written
        ledger.connection.execute(f"GRANT {privilege} TO tongdui_settlement".encode())

    left = ledger.connection.execute(
        "SELECT state, (SELECT count(*) FROM settlement.flows) FROM settlement.windows"
    ).fetchall()

    assert left == [("CLOSED", 0)]


def test_windows_close_in_order(ledger: PostedLedger, engine: Engine) -> None:
    hub = PeerHub(ledger)

    with daily_run(engine) as run:
        run.close(DAY_1, hub, VERIFY)
        with pytest.raises(StepOutOfOrder, match="next one is 2026-01-02"):
            run.close(DAY_3, hub, VERIFY)

    assert hub.asked == [DAY_1]


def test_settlement_begins_with_the_first_window_the_hub_closed(ledger: PostedLedger, engine: Engine) -> None:
    ledger.close(DAY_1)

    with daily_run(engine) as run, pytest.raises(StepOutOfOrder, match="next one is 2026-01-01"):
        run.close(DAY_2, PeerHub(ledger), VERIFY)


def test_a_step_needs_the_one_before_it(ledger: PostedLedger, engine: Engine) -> None:
    hub = PeerHub(ledger)

    with daily_run(engine) as run:
        with pytest.raises(StepOutOfOrder, match="run `close"):
            run.net(DAY_1)
        run.close(DAY_1, hub, VERIFY)
        with pytest.raises(StepOutOfOrder, match="run `net"):
            run.certify(DAY_1, SIGNER, VERIFY)
        run.close(DAY_2, hub, VERIFY)
        with pytest.raises(StepOutOfOrder, match="2026-01-01 comes first"):
            run.net(DAY_2)


def test_certifying_waits_for_a_file_that_is_coming_in_and_then_asks_for_its_reconciliation(
    ledger: PostedLedger, engine: Engine
) -> None:
    hub, settlement = PeerHub(ledger), Actor(None, unattended=True)

    with daily_run(engine) as run, engine.connect() as beside, ThreadPoolExecutor(1) as threads:
        run.close(DAY_1, hub, VERIFY)
        run.net(DAY_1)
        coming = beside.begin()
        load_file(beside, run.ledger, settlement, Declared("c", DAY_1), [partner_file("c", DAY_1, [])])
        certifying = threads.submit(run.certify, DAY_1, SIGNER, VERIFY)
        waited = somebody_waits(ledger.connection)
        coming.commit()
        with pytest.raises(ChecksFailed) as failure:
            certifying.result()
    ledger.connection.execute("TRUNCATE settlement.partner_files CASCADE")

    assert waited
    assert [check.name for check in failed(failure.value.checks)] == ["reconciled"]


def test_a_window_is_not_certified_before_the_one_before_it(ledger: PostedLedger, engine: Engine) -> None:
    hub = PeerHub(ledger)

    with daily_run(engine) as run:
        for day in (DAY_1, DAY_2):
            run.close(day, hub, VERIFY)
            run.net(day)
        with pytest.raises(ChecksFailed) as failure:
            run.certify(DAY_2, SIGNER, VERIFY)

    assert [check.name for check in failed(failure.value.checks)] == ["windows_in_order"]


DAMAGE_BEFORE_NET = {
    "entry_count": "UPDATE exchange.chained_batches_v1 SET entry_count = 2 WHERE sequence = 2",
    "chain_range": "UPDATE exchange.chained_batches_v1 SET sequence = 70 WHERE sequence = 2",
    "points_conserved": "UPDATE exchange.chained_legs_v1 SET points = 30000 WHERE batch_sequence = 4",
    "escrow_proof": "UPDATE exchange.chained_lines_v1 SET micros = micros + 1"
    " WHERE batch_sequence = 1 AND payee_id = -1",
    "hub_receipt": "UPDATE exchange.windows_v1 SET entry_count = entry_count + 1",
}
ONE_LINE = "WHERE batch_sequence = 4 AND line_number = 0"
DAMAGE_TO_THE_JOURNAL = {
    "a payee": f"UPDATE exchange.chained_lines_v1 SET payee_id = 3 {ONE_LINE}",
    "an amount": f"UPDATE exchange.chained_lines_v1 SET micros = micros + 1 {ONE_LINE}",
    "a line gone": f"DELETE FROM exchange.chained_lines_v1 {ONE_LINE}",
    "a line more": "INSERT INTO exchange.chained_lines_v1 SELECT batch_sequence, window_date, batch_id, entry_index,"
    " 9, member_id, payer_id, payee_id, micros, payer_component, payee_component"
    f" FROM exchange.chained_lines_v1 {ONE_LINE}",
    "points of a leg": "UPDATE exchange.chained_legs_v1 SET points = points + 1 WHERE batch_sequence = 4",
    "an entry's reference": "UPDATE exchange.chained_entries_v1 SET reference = 'x' WHERE batch_sequence = 4",
    "a digest": "UPDATE exchange.chained_batches_v1 SET digest = sha256(digest) WHERE sequence = 4",
    "a hash": "UPDATE exchange.chained_batches_v1 SET hash = sha256(hash) WHERE sequence = 4",
    "a day": "UPDATE exchange.chained_batches_v1 SET window_date = '2026-01-02' WHERE sequence = 4",
    "a count": "UPDATE exchange.chained_batches_v1 SET entry_count = 2 WHERE sequence = 4",
    "a batch gone": "DELETE FROM exchange.chained_batches_v1 WHERE sequence = 4",
}
DAMAGE_AFTER_NET = {
    "recomputed": "UPDATE settlement.statement_lines SET exact_micros = exact_micros + 1"
    " WHERE party_id = 'a' AND component = 'ISSUE_FEE'",
    "nets_zero": "UPDATE settlement.statement_lines SET amount_minor = amount_minor + 1"
    " WHERE party_id = 'a' AND component = 'ISSUE_FEE'",
    "hub_receipt": "UPDATE settlement.hub_receipts SET response = set_byte(response, 5, 9)",
    "entry_count": "UPDATE settlement.windows SET entry_count = entry_count + 1",
    "escrow_proof": "UPDATE settlement.issuer_points SET escrow_micros = 0 WHERE issuer_id = 'a'",
    "points_conserved": "UPDATE settlement.issuer_points SET open = open - 1 WHERE issuer_id = 'a'",
}


@pytest.mark.parametrize(
    ("name", "statement", "after_net"),
    [
        *((name, statement, False) for name, statement in DAMAGE_BEFORE_NET.items()),
        *((name, statement, True) for name, statement in DAMAGE_AFTER_NET.items()),
    ],
)
def test_a_window_with_anything_wrong_is_not_signed(
    ledger: PostedLedger, engine: Engine, name: str, statement: str, after_net: bool
) -> None:
    ledger.first_day_of_the_example()

    with daily_run(engine) as run:
        run.close(DAY_1, PeerHub(ledger), VERIFY)
        if not after_net:
            change_one_row(ledger, statement)
        run.net(DAY_1)
        if after_net:
            change_one_row(ledger, statement)
        with pytest.raises(ChecksFailed) as failure:
            run.certify(DAY_1, SIGNER, VERIFY)

    assert name in [check.name for check in failed(failure.value.checks)]
    assert ledger.connection.execute("SELECT count(*) FROM settlement.certificates").fetchone() == (0,)
    assert ledger.connection.execute("SELECT state FROM settlement.windows").fetchone() == ("COMPUTED",)


@pytest.mark.parametrize("what", DAMAGE_TO_THE_JOURNAL)
def test_a_row_that_is_not_as_it_was_hashed_is_found_and_its_batch_named(
    ledger: PostedLedger, engine: Engine, what: str
) -> None:
    ledger.first_day_of_the_example()

    with daily_run(engine) as run:
        run.close(DAY_1, PeerHub(ledger), VERIFY)
        run.net(DAY_1)
        change_one_row(ledger, DAMAGE_TO_THE_JOURNAL[what])
        audit = run.audit_journal(DAY_1, ignored)

    assert audit.fault.startswith("batch 4 ")
    assert audit.bad_batch == 4
    kept = ledger.connection.execute("SELECT holds, bad_batch FROM settlement.journal_audits").fetchall()
    assert kept == [(False, 4)]


def test_a_chain_rewritten_to_its_end_is_not_the_one_the_hub_signed(
    ledger: PostedLedger, engine: Engine, url: str
) -> None:
    ledger.first_day_of_the_example()
    with daily_run(engine) as run:
        run.close(DAY_1, PeerHub(ledger), VERIFY)
    ledger.connection.execute(
        "TRUNCATE exchange.posted_entries_v1, exchange.posted_legs_v1, exchange.posted_lines_v1,"
        " exchange.chained_batches_v1, exchange.chained_entries_v1, exchange.chained_legs_v1,"
        " exchange.chained_lines_v1"
    )
    forged = PostedLedger(ledger.connection)
    for points in (10_000, 4_000, 1_500):
        forged.earn(DAY_1, "a", points)
    forged.burn(DAY_1, "c", "a", 3_333)  # b in the journal that was signed
    forged.burn(DAY_1, "b", "a", 700)
    forged.earn(DAY_1, "b", 16)

    with daily_run(engine) as run:
        run.net(DAY_1)
        audit = run.audit_journal(DAY_1, ignored)

    assert audit.fault == "the chain ends in another hash than the hub signed"


@pytest.mark.parametrize("in_hand", [("BATCHES_IN_HAND", 1), ("ENTRIES_IN_HAND", 4)])
def test_a_window_longer_than_what_is_held_in_hand_hashes_to_the_same(
    ledger: PostedLedger, engine: Engine, monkeypatch: pytest.MonkeyPatch, in_hand: tuple[str, int]
) -> None:
    ledger.first_day_of_the_example()
    stretches: list[int] = []
    with daily_run(engine) as run:
        settle(run, PeerHub(ledger), DAY_1)
        whole = run.audit_journal(DAY_1, ignored)

        monkeypatch.setattr(journal, *in_hand)
        again = run.audit_journal(DAY_1, stretches.append)

    assert whole.holds
    assert again == whole
    assert (again.entry_count, again.leg_count, again.line_count) == (6, 6, 12)
    assert len(stretches) > 1
    assert sum(stretches) == 6


def test_a_journal_that_changed_after_it_was_settled_is_found(ledger: PostedLedger, engine: Engine) -> None:
    ledger.first_day_of_the_example()
    with daily_run(engine) as run:
        settle(run, PeerHub(ledger), DAY_1)
    change_one_row(
        ledger,
        "UPDATE exchange.chained_lines_v1 SET micros = micros + 1 WHERE batch_sequence = 4 AND payee_id = 2",
    )

    with daily_run(engine) as run, pytest.raises(ResultDiffers, match="money lines differ"):
        run.net(DAY_1)


def test_a_certificate_that_changed_after_it_was_signed_is_found(
    ledger: PostedLedger, engine: Engine
) -> None:
    with daily_run(engine) as run:
        settle(run, PeerHub(ledger), DAY_1)
    change_one_row(
        ledger,
        "UPDATE settlement.certificates SET document = changed,"
        " document_sha256 = encode(sha256(changed), 'hex')"
        " FROM (SELECT set_byte(document, octet_length(document) - 40, 65) AS changed"
        " FROM settlement.certificates) AS other",
    )

    with daily_run(engine) as run, pytest.raises(ResultDiffers, match="certificate"):
        run.certify(DAY_1, SIGNER, VERIFY)


def test_another_key_finds_the_same_certificate_and_signs_no_second_one(
    ledger: PostedLedger, engine: Engine
) -> None:
    with daily_run(engine) as run:
        (first,) = settle(run, PeerHub(ledger), DAY_1)

        again, _ = run.certify(DAY_1, PrivateKey("operator", b"n" * 32), VERIFY)

    assert again == first


def test_a_receipt_of_a_key_that_is_not_pinned_closes_nothing(ledger: PostedLedger, engine: Engine) -> None:
    stranger = partial(verify_close, hub_keys=HubKeys({}), audience=AUDIENCE)

    with daily_run(engine) as run, pytest.raises(ReceiptInvalid, match="pinned"):
        run.close(DAY_1, PeerHub(ledger), stranger)

    assert ledger.connection.execute("SELECT count(*) FROM settlement.windows").fetchone() == (0,)


def test_a_receipt_for_another_day_closes_nothing(ledger: PostedLedger, engine: Engine) -> None:
    class ForgetfulHub(PeerHub):
        def close_window(self, window_date: date) -> HubReceipt:
            return PeerHub.close_window(self, window_date + timedelta(days=1))

    with daily_run(engine) as run, pytest.raises(ReceiptInvalid, match="2026-01-02, not 2026-01-01"):
        run.close(DAY_1, ForgetfulHub(ledger), VERIFY)


def test_two_runs_cannot_work_at_once(ledger: PostedLedger, engine: Engine) -> None:
    with daily_run(engine), pytest.raises(AnotherRun, match="another settlement run"), exclusive_run(engine):
        pass

    with exclusive_run(engine) as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


def test_a_run_through_a_day_begins_after_the_newest_certified_one(
    ledger: PostedLedger, engine: Engine
) -> None:
    with daily_run(engine) as run:
        settle(run, PeerHub(ledger), DAY_1)

        assert run.days_through(DAY_3) == [DAY_2, DAY_3]
        assert run.days_through(DAY_1) == []


def test_a_first_run_begins_with_the_first_day_anybody_knows(ledger: PostedLedger, engine: Engine) -> None:
    with daily_run(engine) as run:
        assert run.days_through(DAY_3) == [DAY_3]
        assert run.days_through(DAY_3, DAY_2) == [DAY_2, DAY_3]

        ledger.earn(DAY_2, "a", 1)
        assert run.days_through(DAY_3) == [DAY_2, DAY_3]

        ledger.close(DAY_1)
        assert run.days_through(DAY_3) == [DAY_1, DAY_2, DAY_3]


def test_settlements_role_cannot_rewrite_what_was_settled(ledger: PostedLedger, engine: Engine) -> None:
    ledger.first_day_of_the_example()
    with daily_run(engine) as run:
        settle(run, PeerHub(ledger), DAY_1)

    for statement in (
        "UPDATE settlement.statement_lines SET amount_minor = 0",
        "UPDATE settlement.windows SET entry_count = 0",
        "DELETE FROM settlement.certificates",
        "DELETE FROM exchange.posted_lines_v1",
    ):
        with engine.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(text(statement))


def test_a_statement_opens_where_the_day_before_closed(ledger: PostedLedger, engine: Engine) -> None:
    ledger.first_day_of_the_example()
    ledger.earn(DAY_2, "a", 100)

    with daily_run(engine) as run:
        settle(run, PeerHub(ledger), DAY_1)
        run.close(DAY_2, PeerHub(ledger), VERIFY)
        second = {s.party_id: s for s in statements(DAY_2, run.net(DAY_2).lines)}

    assert (second["a"].opening_minor, second["a"].net_minor) == (-15_810, -102)
    assert second["b"].opening_minor == second["b"].closing_minor == 3_815
