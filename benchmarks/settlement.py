"""settle.*: a window of a million entries closed, netted and certified, against the bare GROUP BY of its money lines.

The window is a real one: its rows hash to their batches, and the batches to the chain, as `audit-journal` would find.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg
from rich.console import Console

from benchmarks.coalition import populate
from examples.coalition import HubProcess, Site, open_operators, operator_keys
from exchange.store.embedded import EmbeddedPostgres, start
from merchant_adapter import Key
from settlement.command_line.session import make_verifier, open_daily_run, open_hub, own_key
from settlement.core.journal_audit import JournalDiffers
from settlement.daily_run import DailyRun
from settlement.settings import Settings
from settlement.store.engine import migrate
from tongdui.exchange.v1 import partners_service_pb2

DAY: Final = date(2026, 1, 1)
BATCH: Final = 1_000
MILLION: Final = 1_000_000
"""Entries of the window that the goal is set for."""

MEMBERS: Final = 100
"""Members that are real; a window's sums do not ask who they are."""

PARTNERS: Final = 50
ROUNDS: Final = 3
STRETCH: Final = 50
"""Batches that are hashed at a time."""

_Result = TypeVar("_Result")

BARE: Final = """
SELECT payer_id, payer_component, payee_id, payee_component, sum(micros), count(*)
FROM exchange.lines JOIN exchange.batches USING (batch_id)
WHERE window_date = %s
GROUP BY payer_id, payer_component, payee_id, payee_component
"""
"""What anybody would write who wants to know who owes whom."""

# Seven of ten entries are earns of 50 to 549 points, the others burns of 2 to 51 points, a third of them from the lots
# of two issuers. Batches count on from the end of the chain; every partner has card 1 with F 10,000, R 9,500, f 200.
_SALES: Final = """
CREATE TEMPORARY TABLE sales AS
    SELECT n, batch_ids.last_value + 1 + n / {batch} AS batch_id, (n % {batch})::integer AS entry_index,
        1 + n * 7919 % 100003 AS member_id, sellers[1 + n / 10 % {partners}] AS partner_id,
        CASE WHEN n % 10 < 7 THEN 'earn' ELSE 'burn' END AS kind,
        CASE WHEN n % 10 < 7 THEN 50 + n * 31 % 500 ELSE 2 + n * 13 % 50 END AS points,
        CASE WHEN n % 10 >= 7 AND n % 3 = 0 THEN 2 ELSE 1 END AS leg_count
    FROM generate_series(0::bigint, {entries} - 1) AS n, exchange.batch_ids,
        (SELECT array_agg(partner_id ORDER BY partner_id) AS sellers FROM exchange.partners WHERE partner_id > 0)
"""

_ENTRIES: Final = """
INSERT INTO exchange.entries (batch_id, entry_index, member_id, partner_id, points, rate_version, event_time, kind,
    request_id, store_id, terminal_id, reference, reason, campaign_id, channel)
SELECT batch_id, entry_index, member_id, partner_id, points, 1, %(opening)s + n %% 36000 * interval '1 second', kind,
    'request-' || n, 'store-' || n %% 9, 'till-' || n %% 40, 'order-' || n, '', '', ''
FROM sales
"""

_LEGS: Final = """
INSERT INTO exchange.legs (batch_id, entry_index, leg_number, member_id, lot_sequence, issuer_id, rate_version, points,
    from_account, to_account)
SELECT batch_id, entry_index, leg, member_id, 1 + leg, CASE WHEN kind = 'earn' THEN partner_id ELSE sellers[
        1 + (n / 10 + 7 + leg) % {partners}] END, 1,
    CASE WHEN leg_count = 1 THEN points WHEN leg = 0 THEN points - points / 2 ELSE points / 2 END,
    CASE WHEN kind = 'earn' THEN 'issued' ELSE 'open' END, CASE WHEN kind = 'earn' THEN 'open' ELSE 'burned' END
FROM sales, generate_series(0, leg_count - 1) AS leg,
    (SELECT array_agg(partner_id ORDER BY partner_id) AS sellers FROM exchange.partners WHERE partner_id > 0)
"""

_LINES: Final = """
INSERT INTO exchange.lines (batch_id, entry_index, line_number, member_id, payer_id, payee_id, micros,
    payer_component, payee_component)
SELECT batch_id, entry_index, 2 * leg_number + second, member_id,
    CASE WHEN kind = 'earn' THEN entries.partner_id ELSE pool END,
    CASE WHEN second = 1 THEN operator WHEN kind = 'earn' THEN pool ELSE entries.partner_id END,
    legs.points * CASE WHEN kind = 'earn' THEN (ARRAY[10000, 200])[1 + second] ELSE (ARRAY[9500, 500])[1 + second] END,
    CASE WHEN kind = 'burn' THEN 'BURN_FUNDING' ELSE (ARRAY['ISSUE_FUNDING', 'ISSUE_FEE'])[1 + second] END,
    CASE WHEN kind = 'burn' THEN (ARRAY['BURN_REIMBURSE', 'SPREAD'])[1 + second]
        ELSE (ARRAY['ISSUE_FUNDING', 'ISSUE_FEE'])[1 + second] END
FROM exchange.entries JOIN exchange.legs USING (batch_id, entry_index, member_id), generate_series(0, 1) AS second,
    (SELECT partner_id AS pool FROM exchange.partners WHERE code = 'POOL'),
    (SELECT partner_id AS operator FROM exchange.partners WHERE code = 'OPERATOR')
"""

_BATCHES: Final = """
INSERT INTO exchange.batches (batch_id, sequence, decided_time, window_date, entry_count, digest, hash)
SELECT batch_id, chain.sequence + row_number() OVER (ORDER BY batch_id),
    %(opening)s + row_number() OVER (ORDER BY batch_id) * interval '10 milliseconds', %(day)s, count(*), '', ''
FROM sales, exchange.chain GROUP BY batch_id, chain.sequence
"""

_ORDERS: Final = (("entries", ""), ("legs", ", leg_number"), ("lines", ", line_number"))


@dataclass(frozen=True, slots=True)
class Built:
    """A hub whose window `DAY` is full and can be closed."""

    site: Site
    hub: HubProcess
    settings: Settings
    url: str
    entry_count: int


def build_window(url: str, entry_count: int) -> None:
    """Fills the window `DAY` of a hub that is not running, chain and all. Takes about 40 s a million entries."""
    opening = datetime(DAY.year, DAY.month, DAY.day, 1, tzinfo=UTC)
    words = {"entries": entry_count, "batch": BATCH, "partners": PARTNERS}
    with psycopg.connect(url) as connection:
        connection.execute("SET work_mem TO '256MB'")
        for statement in (_SALES, _ENTRIES, _LEGS, _LINES, _BATCHES):
            # Names and whole numbers of ours.
            connection.execute(
                (statement.format(**words) if "{" in statement else statement).encode(),
                {"opening": opening, "day": DAY} if "%(" in statement else None,
            )
        _chain(connection)
        connection.execute("SELECT setval('exchange.batch_ids', max(batch_id)) FROM exchange.batches")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _chain(connection: psycopg.Connection[Any]) -> None:
    """Gives every new batch the digest of its rows and its place in the chain."""
    (last_hash,) = connection.execute("SELECT hash FROM exchange.chain").fetchall()[0]
    batches = connection.execute(
        "SELECT sequence, batch_id FROM exchange.batches WHERE digest = '' ORDER BY sequence"
    ).fetchall()
    links: list[tuple[bytes, bytes, int]] = []
    for first in range(0, len(batches), STRETCH):
        stretch = batches[first : first + STRETCH]
        hashes = {batch_id: hashlib.sha256() for _, batch_id in stretch}
        for table, order in _ORDERS:
            for batch_id, rows in _rows(connection, table, order, stretch[0][0], stretch[-1][0]):
                hashes[batch_id].update(rows)
        for sequence, batch_id in stretch:
            digest = hashes[batch_id].digest()
            last_hash = hashlib.sha256(last_hash + digest).digest()
            links.append((digest, last_hash, sequence))
    connection.cursor().executemany(
        "UPDATE exchange.batches SET digest = %s, hash = %s WHERE sequence = %s", links
    )
    connection.execute("UPDATE exchange.chain SET sequence = %s, hash = %s", (batches[-1][0], last_hash))


def _rows(
    connection: psycopg.Connection[Any], table: str, order: str, first: int, last: int
) -> Iterator[tuple[int, bytes]]:
    """The hashed bytes of each batch's rows of one table (docs/protocol.md, The journal chain)."""
    names = connection.execute(
        "SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attnum > 2"
        " AND attrelid = %s::regclass",
        (f"exchange.chained_{table}_v1",),
    ).fetchall()[0][0]
    query = (
        f"COPY (SELECT {names} FROM exchange.chained_{table}_v1 WHERE batch_sequence BETWEEN {first} AND {last}"  # noqa: S608 - names of ours and two whole numbers
        f" ORDER BY batch_sequence, entry_index{order}) TO STDOUT (FORMAT BINARY)"
    )
    with connection.cursor().copy(query.encode()) as copy:
        whole = (bytes(row) for row in copy)
        rows = (row.removeprefix(b"PGCOPY\n\xff\r\n\0" + bytes(8)) for row in whole)
        # A row begins with its number of columns, then the length and the bytes of its batch's number.
        full = (row for row in rows if row not in (b"", b"\xff\xff"))
        for batch_id, own in itertools.groupby(full, key=lambda row: row[6:14]):
            yield int.from_bytes(batch_id, "big"), b"".join(own)


@contextmanager
def full_window(folder: Path, cluster: EmbeddedPostgres, entry_count: int) -> Iterator[Built]:
    """A hub of its own on this server, with a coalition of 50 partners and a day of so many entries, just over."""
    url = cluster.url
    site = Site(folder / "hub", environment={"DATABASE_URL": url, "TONGDUI_LOG_LEVEL": "WARNING"})
    people = operator_keys()
    opening = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
    site.initialise(people, f"--manual-clock={opening.isoformat()}", "--zone=UTC")
    finance = Key.generate("operator", "fiona")
    hub = site.serve()
    try:
        asyncio.run(_found(site, hub.address, people, finance))
    finally:
        hub.stop()
    build_window(url, entry_count)
    hub = site.serve()
    try:
        asyncio.run(_set_time(site, hub.address, people, opening + timedelta(days=1, hours=1)))
        migrate(url)
        options = {
            "database_url": url,
            "hub_address": hub.address,
            "hub_keys_file": str(site.hub_keys_file),
            "audience": site.audience,
            "key_file": str(finance.save(folder / "finance")),
        }
        yield Built(site, hub, Settings(options, {}), url, entry_count)
    finally:
        hub.stop()


async def _found(site: Site, address: str, people: list[Key], finance: Key) -> None:
    operators = open_operators(site, address, people)
    await populate(site, address, operators, MEMBERS, lambda _: None, partner_count=PARTNERS)
    await operators.admit_key(finance, [partners_service_pb2.ROLE_FINANCE_MAKER])
    await operators.close()


async def _set_time(site: Site, address: str, people: list[Key], moment: datetime) -> None:
    operators = open_operators(site, address, people)
    await operators.first.set_time(moment)
    await operators.close()


def measure_settlement(folder: Path, entry_count: int, console: Console) -> dict[str, float]:
    """settle.*, on a server of its own."""
    home = folder / "settlement"
    home.mkdir()
    home.chmod(0o755)
    console.print(f"a window of {entry_count:,} entries is built and settled {ROUNDS} times")
    with start(home / "postgres") as cluster, full_window(home, cluster, entry_count) as built:
        return settle_figures(built)


def settle_figures(built: Built) -> dict[str, float]:
    """settle.*: each round in turn, because the machine's own speed changes within seconds."""
    rounds = [_round(built) for _ in range(ROUNDS)]
    figures = {f"settle.{name}": statistics.median(one[name] for one in rounds) for name in rounds[0]}
    if built.entry_count < MILLION:  # what every run pays, however small the window, weighs too much there
        figures["settle.vs_sql_small"] = figures.pop("settle.vs_sql")
    figures["settle.entries"] = built.entry_count
    figures["settle.audit_rows_per_s"] = _audit_rate(built)
    return figures


def _round(built: Built) -> dict[str, float]:
    with psycopg.connect(built.url) as owner:  # as before: nothing is closed, at the hub or here
        owner.execute("TRUNCATE settlement.windows CASCADE")
        owner.execute("DELETE FROM exchange.windows")
        owner.execute("DELETE FROM exchange.requests WHERE kind LIKE 'close%'")
        bare_before = _timed(lambda: owner.execute(BARE, (DAY,)).fetchall())[0]
    signer, verify = own_key(built.settings), make_verifier(built.settings)
    with open_daily_run(built.settings) as run, open_hub(built.settings) as hub:
        close_seconds, _ = _timed(lambda: run.close(DAY, hub, verify))
        net_seconds, _ = _timed(lambda: run.net(DAY))
        certify_seconds, _ = _timed(lambda: run.certify(DAY, signer, verify))
    with psycopg.connect(built.url) as owner:
        bare = (bare_before + _timed(lambda: owner.execute(BARE, (DAY,)).fetchall())[0]) / 2
    return {
        "vs_sql": (close_seconds + net_seconds + certify_seconds) / bare,
        "sql_ms": 1000 * bare,
        "close_ms": 1000 * close_seconds,
        "net_ms": 1000 * net_seconds,
        "certify_ms": 1000 * certify_seconds,
    }


def _audit_rate(built: Built) -> float:
    """Rows a second that `audit-journal` hashes; raises JournalDiffers where the window was not built soundly."""
    with open_daily_run(built.settings) as run:
        seconds, audit = _timed(lambda: _audited(run))
    return audit / seconds


def _audited(run: DailyRun) -> int:
    audit = run.audit_journal(DAY, lambda _: None)
    if not audit.holds:
        raise JournalDiffers(audit.fault)
    return audit.row_count


def _timed(work: Callable[[], _Result]) -> tuple[float, _Result]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result
