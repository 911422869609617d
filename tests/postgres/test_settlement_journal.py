"""Settlement hashes the journal again as the real hub wrote it, and a row changed behind its back stops the day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date
from functools import partial
from hashlib import sha256

import psycopg
import pytest
from google.type.date_pb2 import Date
from sqlalchemy import Engine

from settlement.core.journal_audit import JournalAudit
from settlement.core.window import ClosedWindow, HubReceipt
from settlement.daily_run import DailyRun
from settlement.rpc.keys import PrivateKey
from settlement.rpc.receipts import verify_close
from settlement.store import feed
from settlement.store.engine import exclusive_run, migrate, open_engine
from tests.builders import burn, earn
from tests.postgres.ledger_at_work import AUDIENCE, Office, days_on
from tests.postgres.shop import Shop, open_shop
from tests.settlement_hub import HUB_KEYS, signed_close, window_message
from tongdui.exchange.v1.journal_service_pb2 import CloseWindowRequest

DAY = date(2026, 1, 1)
SIGNER = PrivateKey("operator", b"s" * 32)
VERIFY = partial(verify_close, hub_keys=HUB_KEYS, audience=AUDIENCE)


class Closing:
    """The hub's answer to CloseWindow for a window its registrar closed."""

    def __init__(self, window: ClosedWindow) -> None:
        self.window = window

    def close_window(self, window_date: date) -> HubReceipt:
        day = Date(year=window_date.year, month=window_date.month, day=window_date.day)
        body = CloseWindowRequest(request_id="close", window_date=day).SerializeToString()
        answer = window_message(self.window, AUDIENCE).SerializeToString()
        return signed_close(body, answer, audience=AUDIENCE)


@pytest.fixture
def shop(office: Office) -> Shop:
    made = open_shop(office, 3)
    for number, member_id in enumerate(made.members):
        made.office.post(
            earn(f"e-{number}", points=500, member_id=member_id),
            burn(f"b-{number}", points=120 + number, member_id=member_id),
            burn(f"x-{number}", points=9_999, member_id=member_id),  # refused: no row of the journal
        )
    made.office.post(burn("x", points=9_999, member_id=made.members[0]))  # a link without rows
    migrate(made.url)
    with psycopg.connect(made.url) as owner:  # what a test before this one settled
        owner.execute("TRUNCATE settlement.windows CASCADE")
    return made


@pytest.fixture
def engine(shop: Shop) -> Iterator[Engine]:
    opened = open_engine(shop.url)
    yield opened
    opened.dispose()


def settle(shop: Shop, engine: Engine, harm: str = "") -> JournalAudit:
    """Settles the day and audits its journal; `harm` is done by the database's owner after certification."""
    shop.office.set_time(days_on(1))
    closed = shop.office.close(DAY)
    window = ClosedWindow(
        DAY,
        closed.first_sequence,
        closed.last_sequence,
        bytes(closed.last_hash),
        closed.entry_count,
        closed.close_time.astimezone(UTC),
    )
    with exclusive_run(engine) as connection:
        with connection.begin():
            run = DailyRun(connection, feed.read_ledger(connection))
        run.close(DAY, Closing(window), VERIFY)
        run.net(DAY)
        run.certify(DAY, SIGNER, VERIFY)
        if harm:
            with psycopg.connect(shop.url) as owner:
                assert owner.execute(harm.encode()).rowcount == 1
        return run.audit_journal(DAY, lambda entry_count: None)  # noqa: ARG005 - nobody looks at the progress


def test_every_row_the_hub_wrote_is_hashed_to_the_hash_it_signed(shop: Shop, engine: Engine) -> None:
    audit = settle(shop, engine)

    ((batches, entries, legs, lines, last_hash),) = shop.office.rows(
        "SELECT (SELECT count(*) FROM exchange.batches), (SELECT count(*) FROM exchange.entries),"
        " (SELECT count(*) FROM exchange.legs), (SELECT count(*) FROM exchange.lines),"
        " (SELECT hash FROM exchange.batches ORDER BY sequence DESC LIMIT 1)"
    )
    assert audit.holds
    assert (audit.batch_count, audit.entry_count) == (batches, entries) == (4, 6)
    assert (audit.leg_count, audit.line_count) == (legs, lines)
    assert audit.last_hash == bytes(last_hash)


SECOND_LINE = (
    "(batch_id, entry_index, line_number) = (SELECT batch_id, entry_index, line_number FROM exchange.lines"
)
SECOND_LINE += (
    " JOIN exchange.batches USING (batch_id) WHERE sequence = 2 ORDER BY entry_index, line_number LIMIT 1)"
)


@pytest.mark.parametrize(
    "harm",
    [
        f"UPDATE exchange.lines SET micros = micros + 1 WHERE {SECOND_LINE}",
        f"UPDATE exchange.lines SET payer_id = (SELECT max(partner_id) FROM exchange.partners) WHERE {SECOND_LINE}",
        f"DELETE FROM exchange.lines WHERE {SECOND_LINE}",
        "UPDATE exchange.entries SET event_time = event_time + interval '1 microsecond' WHERE entry_index = 0"
        " AND batch_id = (SELECT batch_id FROM exchange.batches WHERE sequence = 2)",
        "INSERT INTO exchange.legs SELECT batch_id, entry_index, 99, member_id, lot_sequence, issuer_id, rate_version,"
        " points, from_account, to_account FROM exchange.legs JOIN exchange.batches USING (batch_id)"
        " WHERE sequence = 2 ORDER BY entry_index, leg_number LIMIT 1",
    ],
    ids=["micros", "payer", "line gone", "event time", "leg more"],
)
def test_a_row_changed_after_it_was_settled_is_found_and_its_batch_and_entries_are_named(
    shop: Shop, engine: Engine, harm: str
) -> None:
    audit = settle(shop, engine, harm)

    ((batch_id, entry_count),) = shop.office.rows(
        "SELECT batch_id, entry_count FROM exchange.batches WHERE sequence = 2"
    )
    entries = f"(entries {batch_id}-0 to {batch_id}-{entry_count - 1})"
    assert audit.fault == f"batch 2 {entries} its rows do not hash to its digest"
    with psycopg.connect(shop.url) as owner:
        kept = owner.execute("SELECT holds, bad_batch, fault FROM settlement.journal_audits").fetchall()
    assert kept == [(False, 2, audit.fault)]


def test_a_batch_of_refusals_alone_hashes_to_the_digest_of_nothing(shop: Shop, engine: Engine) -> None:
    settle(shop, engine)

    found = shop.office.rows("SELECT digest FROM exchange.batches WHERE entry_count = 0")

    assert [bytes(digest) for (digest,) in found] == [sha256(b"").digest()]
