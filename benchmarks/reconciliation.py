"""reconcile.*: a large partner file loaded and reconciled, against bare COPY and a FULL JOIN of the same rows."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import psycopg
from rich.console import Console

from examples.coalition import Site, operator_keys
from exchange.store.embedded import EmbeddedPostgres, start
from settlement.core.break_types import BreakType
from settlement.store.engine import migrate

DAY: Final = date(2026, 1, 1)
PARTNER: Final = "shop"
MILLION: Final = 1_000_000
PER_MILLE: Final = 1_000
"""Of so many deals one is damaged in each way: 0.1 % of breaks of every type."""

_FOUND: Final = """
INSERT INTO exchange.partners (partner_id, code, display_name) VALUES (1, 'shop', 'Shop');
INSERT INTO exchange.windows (window_date, first_sequence, last_sequence, last_hash, entry_count, close_time)
VALUES ('2026-01-01', 1, 1, sha256(''), 0, '2026-01-02 00:01:00+00');
"""

# Seven of ten deals are earns, the others burns, of 100 to 599 points: at F 10,000, R 9,500 and f 200 micros a point.
_DEALS: Final = """
CREATE TABLE public.deals AS
SELECT n, 1 + n / 1000 AS batch_id, (n %% 1000)::integer AS entry_index, n * 7919 %% 1152921504606846976 AS member_id,
    CASE WHEN n %% 10 < 7 THEN 'earn' ELSE 'burn' END AS kind, 100 + n * 31 %% 500 AS points,
    timestamptz '2026-01-01 01:00:00+00' + n %% 79200 * interval '1 second' AS event_time
FROM generate_series(0::bigint, %(count)s - 1) AS n
"""

_JOURNAL: Final = (
    """
INSERT INTO exchange.batches (batch_id, sequence, decided_time, window_date, entry_count, digest, hash)
SELECT batch_id, batch_id, timestamptz '2026-01-01 12:00:00+00', '2026-01-01', count(*), '', ''
FROM deals GROUP BY batch_id
""",
    """
INSERT INTO exchange.entries (batch_id, entry_index, member_id, partner_id, points, rate_version, event_time, kind,
    request_id, store_id, terminal_id, reference, reason, campaign_id, channel)
SELECT batch_id, entry_index, member_id, 1, points, 1, event_time, kind, 'request-' || n, 'store-' || n % 9,
    'till-' || n % 40, 'order-' || n, '', '', ''
FROM deals
""",
    """
INSERT INTO exchange.lines (batch_id, entry_index, line_number, member_id, payer_id, payee_id, micros,
    payer_component, payee_component)
SELECT batch_id, entry_index, number, member_id, CASE kind WHEN 'earn' THEN 1 ELSE -1 END,
    CASE WHEN number = 1 THEN -2 WHEN kind = 'earn' THEN -1 ELSE 1 END,
    points * CASE WHEN kind = 'earn' THEN (ARRAY[10000, 200])[1 + number] ELSE (ARRAY[9500, 500])[1 + number] END,
    CASE WHEN kind = 'earn' THEN (ARRAY['ISSUE_FUNDING', 'ISSUE_FEE'])[1 + number] ELSE 'BURN_FUNDING' END,
    CASE WHEN kind = 'earn' THEN (ARRAY['ISSUE_FUNDING', 'ISSUE_FEE'])[1 + number]
        ELSE (ARRAY['BURN_REIMBURSE', 'SPREAD'])[1 + number] END
FROM deals, generate_series(0, 1) AS number
""",
    """
INSERT INTO exchange.requests (partner_id, request_id, fingerprint, accepted, batch_id, entry_index, call_id, kind,
    reference, part, answer)
SELECT 1, 'request-' || n, '', true, batch_id, entry_index, 0, kind, 'order-' || n, 0, '' FROM deals
""",
)

# What the partner has of them. Each way of damage hits one deal of a thousand; three kinds of lines are invented.
_RECORDED: Final = """
CREATE TABLE public.recorded AS
WITH stated AS (
    SELECT n, n % 1000 AS damage, kind, points, member_id, event_time,
        CASE kind WHEN 'burn' THEN points * 9500 ELSE 0 END AS claimed,
        CASE kind WHEN 'earn' THEN points * 10200 ELSE 0 END AS owed
    FROM deals
), told AS (
    SELECT 'request-' || n AS request_id, kind, 'order-' || n AS reference, '' AS part, event_time,
        exchange.member_text(CASE damage WHEN 18 THEN member_id + 1 ELSE member_id END) AS member_id,
        CASE damage WHEN 19 THEN 'elsewhere' ELSE 'store-' || n % 9 END AS store_id, 'till-' || n % 40 AS terminal_id,
        points + (damage = 13)::integer AS points, claimed,
        owed + CASE damage WHEN 15 THEN points * 200 WHEN 16 THEN 5000 ELSE 0 END AS owed,
        CASE damage WHEN 14 THEN 2 ELSE 1 END AS rate_version,
        CASE damage WHEN 17 THEN 'voided' ELSE 'posted' END AS state, copy
    FROM stated, generate_series(0, CASE damage WHEN 11 THEN -1 WHEN 12 THEN 1 ELSE 0 END) AS copy
    UNION ALL
    SELECT request_id, invented.kind, reference, '', invented.event_time, exchange.member_text(7), 'store-1', 'till-1',
        100, 0, 1020000, 1, 'posted', 0
    FROM stated, LATERAL (VALUES
        ('unknown-' || n, 'earn', 'lost-' || n, timestamptz '2026-01-01 12:00:00+00'),
        ('late-' || n, 'earn', 'late-' || n, timestamptz '2026-01-01 23:50:00+00'),
        ('back-' || n, 'refund_burn', 'nothing-' || n, timestamptz '2026-01-01 12:00:00+00')
    ) AS invented (request_id, kind, reference, event_time)
    WHERE damage = 20
)
SELECT * FROM told
"""

_RECORDS: Final = """
COPY (
    SELECT concat_ws(',', 'D', request_id, kind, reference, part,
        to_char(event_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), member_id, store_id, terminal_id, points,
        claimed / 1000000 || '.' || lpad((claimed % 1000000)::text, 6, '0'),
        owed / 1000000 || '.' || lpad((owed % 1000000)::text, 6, '0'), rate_version, state)
    FROM recorded
) TO STDOUT
"""

_HEADER: Final = """
SELECT count(*), sum(CASE WHEN kind = 'earn' THEN points ELSE 0 END),
    sum(CASE kind WHEN 'burn' THEN points WHEN 'refund_burn' THEN -points ELSE 0 END),
    sum(claimed)::bigint, sum(owed)::bigint
FROM recorded
"""

PLANTED: Final = (
    *(BreakType.MISSING_AT_PARTNER, BreakType.DUPLICATE, BreakType.AMOUNT_MISMATCH),
    *(BreakType.RATE_VERSION_MISMATCH, BreakType.FEE_VARIANCE, BreakType.ROUNDING, BreakType.STATE_MISMATCH),
    *(BreakType.WRONG_MEMBER, BreakType.WRONG_STORE, BreakType.MISSING_AT_HUB, BreakType.TIMING),
    BreakType.REFUND_UNLINKED,
)

_BARE_TABLE: Final = """
CREATE TABLE public.bare (record text, request_id text, kind text, reference text, part integer,
    event_time timestamptz, member_id text, store_id text, terminal_id text, points bigint, claimed numeric,
    owed numeric, rate_version integer, state text)
"""
_BARE_JOIN: Final = """
WITH money AS (
    SELECT batch_id, entry_index, coalesce(sum(micros) FILTER (WHERE payee_id = 1), 0) AS claimed,
        coalesce(sum(micros) FILTER (WHERE payer_id = 1), 0) AS owed
    FROM exchange.lines JOIN exchange.batches USING (batch_id)
    WHERE window_date = '2026-01-01' AND (payee_id = 1 OR payer_id = 1)
    GROUP BY batch_id, entry_index
)
SELECT count(*) FROM public.bare FULL JOIN (
    SELECT entries.*, money.claimed, money.owed FROM exchange.entries JOIN exchange.batches USING (batch_id)
    LEFT JOIN money USING (batch_id, entry_index)
    WHERE window_date = '2026-01-01' AND partner_id = 1
) AS hub USING (request_id)
WHERE bare.points IS DISTINCT FROM hub.points OR bare.claimed * 1000000 IS DISTINCT FROM hub.claimed
    OR bare.owed * 1000000 IS DISTINCT FROM hub.owed
"""
"""What anybody would write who wants to know which deals differ."""


class FiguresWrong(Exception):
    """A planted break was not found, or one was invented."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One command: what it printed, how long it took, and the most memory it held."""

    content: Any
    seconds: float
    mib: float


def build_day(url: str, folder: Path, deal_count: int) -> Path:
    """Fills a database with one partner's day of so many deals, and gives the partner's damaged file of it."""
    site = Site(folder / "hub", environment={"DATABASE_URL": url})
    site.initialise(operator_keys(), "--manual-clock=2026-01-01T00:00:00+00:00", "--zone=UTC")
    migrate(url)
    with psycopg.connect(url) as connection:
        connection.execute("SET work_mem TO '256MB'")
        connection.execute(_FOUND)
        connection.execute(_DEALS, {"count": deal_count})
        for statement in (*_JOURNAL, _RECORDED):
            connection.execute(statement.encode())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
        return _write_file(connection, folder / "records.csv")


def _write_file(connection: psycopg.Connection[Any], path: Path) -> Path:
    count, earned, burned, claimed, owed = connection.execute(_HEADER).fetchall()[0]
    sha256 = hashlib.sha256()
    with path.open("wb") as file, connection.cursor().copy(_RECORDS) as records:
        totals = f"{count},{earned},{burned},{_yuan(claimed)},{_yuan(owed)}"
        header = f"H,tongdui-partner-file,1,{PARTNER},{DAY},CNY,major,{totals}\n".encode()
        sha256.update(header)
        file.write(header)
        for piece in records:
            sha256.update(piece)
            file.write(piece)
        file.write(f"T,{sha256.hexdigest()}\n".encode())
    return path


def _yuan(micros: int) -> str:
    return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"


def measure_reconciliation(folder: Path, deal_count: int, console: Console) -> dict[str, float]:
    """reconcile.*, on a server of its own. Raises FiguresWrong."""
    home = folder / "reconciliation"
    home.mkdir()
    home.chmod(0o755)
    console.print(f"a partner's file of {deal_count:,} deals is written, loaded and reconciled")
    with start(home / "postgres") as cluster:
        return reconcile_figures(home, cluster, deal_count)


def reconcile_figures(folder: Path, cluster: EmbeddedPostgres, deal_count: int) -> dict[str, float]:
    """reconcile.*: the bare way before and after ours, because the machine's own speed changes. Raises FiguresWrong."""
    with psycopg.connect(cluster.url_of("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE reconcile")
    url = cluster.url_of("reconcile")
    path = build_day(url, folder, deal_count)
    bare_before = _bare(url, path)
    loaded = _settle(url, "load", str(path), "--partner", PARTNER)
    reconciled = _settle(url, "reconcile")
    bare_seconds = (bare_before + _bare(url, path)) / 2
    _check(reconciled.content, deal_count // PER_MILLE)
    # What every command pays, however small the file, weighs too much in a small run.
    name = "reconcile.vs_sql" if deal_count >= MILLION else "reconcile.vs_sql_small"
    return {
        name: (loaded.seconds + reconciled.seconds) / bare_seconds,
        "reconcile.sql_s": bare_seconds,
        "reconcile.load_s": loaded.seconds,
        "reconcile.compare_s": reconciled.seconds,
        "reconcile.memory_mib": max(loaded.mib, reconciled.mib),
        "reconcile.lines": loaded.content["line_count"],
    }


def _bare(url: str, path: Path) -> float:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_BARE_TABLE)
        started = time.perf_counter()
        with connection.cursor().copy("COPY public.bare FROM STDIN (FORMAT csv)") as copy:
            for piece in _deals(path):
                copy.write(piece)
        connection.execute(_BARE_JOIN).fetchall()
        took = time.perf_counter() - started
        connection.execute("DROP TABLE public.bare")
        connection.execute("CHECKPOINT")
    return took


def _deals(path: Path) -> Iterator[bytes]:
    """The records D alone. Piece by piece: a process's peak of memory begins with that of the one it came from."""
    left = path.stat().st_size - len(b"T,\n") - 64
    with path.open("rb") as file:
        left -= len(file.readline())
        while left > 0:
            piece = file.read(min(left, 1 << 20))
            left -= len(piece)
            yield piece


_TIMED: Final = """
import sys, time
from settlement.__main__ import main
started = time.perf_counter()
code = main(sys.argv[1:])
print(time.perf_counter() - started)
sys.exit(code)
"""
"""`tongdui-settle`, timed without the start of an interpreter, which the bare way has none of either."""


def _settle(url: str, command: str, *arguments: str) -> Ran:
    """Runs `tongdui-settle`, as finance does, in a process of its own."""
    argv = [sys.executable, "-c", _TIMED, command, *arguments, "--date", str(DAY), "--json"]
    environment = {**os.environ, "DATABASE_URL": url}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None, "asked for"
        *printed, seconds = process.stdout.read().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise FiguresWrong(f"{command} ended with {process.returncode}")
    return Ran(json.loads("\n".join(printed)), float(seconds), usage.ru_maxrss / 1024)


def _check(content: Any, planted: int) -> None:
    (partner,) = content["partners"]
    expected = {kind.value: planted for kind in PLANTED}
    if partner["breaks"] != expected:
        raise FiguresWrong(f"planted {expected}, found {partner['breaks']}")
    if any(partner["controls"]["unexplained"].values()):
        raise FiguresWrong(f"not explained: {partner['controls']['unexplained']}")
