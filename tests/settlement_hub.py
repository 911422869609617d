"""The hub as settlement meets it: a peer that closes windows with signed receipts, and tables in place of its views.

Both are written from the contract (the .proto files, `docs/protocol.md` and the list of views), not from the
hub's code, so that settlement is tested against the contract; a system test puts the real hub in their place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import grpc
import psycopg
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from google.type.date_pb2 import Date
from nacl.signing import SigningKey

from settlement.core.window import ClosedWindow, HubReceipt
from settlement.rpc.keys import HubKeys, PrivateKey
from settlement.rpc.receipts import CLOSE_WINDOW_PATH, SETTLE_WINDOW_PATH
from settlement.store.engine import migrate
from tongdui.exchange.v1.journal_service_pb2 import (
    CloseWindowRequest,
    CloseWindowResponse,
    SettleWindowRequest,
    SettleWindowResponse,
    Window,
)
from tongdui.signing import (
    HUB_OWNER,
    content_digest,
    key_id,
    parse_request,
    receipt_base,
    receipt_entries,
    receipt_params,
    request_base,
    request_entries,
    request_params,
)

AUDIENCE = "hub.example/test"
FINANCE_KEY = PrivateKey("operator", b"f" * 32)
HUB_KEY = SigningKey(b"h" * 32)
HUB_KEY_ID = key_id(HUB_OWNER, bytes(HUB_KEY.verify_key))
HUB_KEYS = HubKeys({HUB_KEY_ID: bytes(HUB_KEY.verify_key)})
NOW = 1_767_225_600
DAY_1 = date(2026, 1, 1)
DAY_2 = date(2026, 1, 2)
DAY_3 = date(2026, 1, 3)

VIEWS = """
CREATE SCHEMA exchange;
CREATE TABLE exchange.ledger_v1 (audience text, currency_code text, minor_unit_digits integer, time_zone text,
    cut_off_seconds integer, clock text);
CREATE TABLE exchange.partners_v1 (partner_id text, display_name text);
CREATE TABLE exchange.keys_v1 (key_id text, owner text, holder text, public_key bytea, roles text[], state text,
    valid_from timestamptz, valid_until timestamptz);
CREATE TABLE exchange.windows_v1 (window_date date, first_sequence bigint, last_sequence bigint,
    last_hash bytea, entry_count bigint, close_time timestamptz, settled_time timestamptz);
CREATE TABLE exchange.posted_entries_v1 (window_date date, batch_sequence bigint, entry_index integer,
    entry_id text, kind text, partner_id text, request_id text, member_id text, reference text, store_id text,
    terminal_id text, event_time timestamptz, decided_time timestamptz, points bigint, rate_version integer);
CREATE TABLE exchange.posted_legs_v1 (window_date date, batch_sequence bigint, entry_index integer,
    leg_number integer, issuer_id text, from_account text, to_account text, points bigint,
    funding_micros bigint, prefunded_micros bigint);
CREATE TABLE exchange.posted_lines_v1 (window_date date, batch_sequence bigint, entry_index integer,
    line_number integer, payer_id text, payer_component text, payee_id text, payee_component text,
    micros bigint);
CREATE TABLE exchange.posted_requests_v1 (partner_id text, request_id text, kind text, reference text, part integer,
    window_date date, batch_sequence bigint, entry_index integer);
CREATE TABLE exchange.adjustments_v1 (adjustment_id bigint, request_id text, state text);
CREATE TABLE exchange.deficits_v1 (issuer_id text, member_id text, raised_time timestamptz, funding_micros bigint,
    outstanding_points bigint);
CREATE TABLE exchange.chained_batches_v1 (sequence bigint, batch_id bigint, window_date date, entry_count integer,
    digest bytea, hash bytea, decided_time timestamptz);
CREATE TABLE exchange.chained_entries_v1 (batch_sequence bigint, window_date date, batch_id bigint,
    entry_index integer, member_id bigint, partner_id integer, points bigint, rate_version integer,
    event_time timestamptz, spend_minor bigint, native_points bigint, original_batch_id bigint,
    original_entry_index integer, kind text, request_id text, store_id text, terminal_id text, reference text,
    reason text, campaign_id text, channel text);
CREATE TABLE exchange.chained_legs_v1 (batch_sequence bigint, window_date date, batch_id bigint,
    entry_index integer, leg_number integer, member_id bigint, lot_sequence integer, issuer_id integer,
    rate_version integer, points bigint, from_account text, to_account text);
CREATE TABLE exchange.chained_lines_v1 (batch_sequence bigint, window_date date, batch_id bigint,
    entry_index integer, line_number integer, member_id bigint, payer_id integer, payee_id integer,
    micros bigint, payer_component text, payee_component text);
CREATE TABLE exchange.chained_parties_v1 (party_number integer, party_id text);
CREATE VIEW exchange.card_prices_v1 AS SELECT DISTINCT party_number, 1 AS rate_version, funding_micros, prefunded_micros
    FROM exchange.posted_legs_v1 JOIN exchange.chained_parties_v1 ON party_id = issuer_id;
DO $$ BEGIN
    CREATE ROLE tongdui_settlement NOLOGIN;
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;
GRANT USAGE ON SCHEMA exchange TO tongdui_settlement;
GRANT SELECT ON ALL TABLES IN SCHEMA exchange TO tongdui_settlement;
"""

CLEAR = """
TRUNCATE exchange.windows_v1, exchange.adjustments_v1, exchange.deficits_v1, exchange.posted_entries_v1,
    exchange.posted_legs_v1, exchange.posted_lines_v1, exchange.posted_requests_v1, exchange.chained_batches_v1,
    exchange.chained_entries_v1, exchange.chained_legs_v1, exchange.chained_lines_v1, settlement.windows,
    settlement.contracts CASCADE
"""

PARTIES = {"a": 1, "b": 2, "c": 3, "hub": 0, "POOL": -1, "OPERATOR": -2}
"""The numbers that hashed rows have for parties."""

HASHED = (
    ("exchange.chained_entries_v1", 21, "entry_index"),
    ("exchange.chained_legs_v1", 12, "entry_index, leg_number"),
    ("exchange.chained_lines_v1", 11, "entry_index, line_number"),
)
"""The tables of a batch's digest, in order, with their number of columns and the order of their rows."""

Line = tuple[str, str, str, str, int]
Leg = tuple[str, str, str, int]


@dataclass(slots=True)
class PostedLedger:
    """Writes a journal into the tables that stand in place of the hub's views; each entry is a batch.

    Prices are card v1 of the worked example: F 10,000, R 9,500 and f 200 micros a point.
    """

    connection: psycopg.Connection[Any]
    prefunded_micros: int = 10_000
    sequence: int = 0
    closed_through: int = 0
    last_hash: bytes = bytes(32)
    last_day: date = DAY_1 - timedelta(days=1)
    event_day: date | None = None
    """When what is posted next happened, where that is not on the day it is posted to."""

    @classmethod
    def open(cls, database_url: str) -> PostedLedger:
        """An empty ledger in a prepared database: whatever a test before left there is cleared away."""
        connection = psycopg.connect(database_url, autocommit=True)
        try:
            connection.execute(CLEAR.encode())
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    def earn(self, day: date, issuer: str, points: int, *, prefunded: int | None = None) -> None:
        prepaid = self.prefunded_micros if prefunded is None else prefunded
        lines: list[Line] = [(issuer, "ISSUE_FEE", "OPERATOR", "ISSUE_FEE", points * 200)]
        if prepaid:
            lines.append((issuer, "ISSUE_FUNDING", "POOL", "ISSUE_FUNDING", points * prepaid))
        self.post(day, "earn", issuer, points, [(issuer, "issued", "open", points)], lines)

    def burn(self, day: date, redeemer: str, issuer: str, points: int) -> None:
        payer = "POOL" if self.prefunded_micros else issuer
        lines: list[Line] = [
            (payer, "BURN_FUNDING", redeemer, "BURN_REIMBURSE", points * 9_500),
            (payer, "BURN_FUNDING", "OPERATOR", "SPREAD", points * 500),
        ]
        self.post(day, "burn", redeemer, points, [(issuer, "open", "burned", points)], lines)

    def refund(self, day: date, redeemer: str, issuer: str, points: int) -> None:
        """A burn at another partner taken back."""
        payee = "POOL" if self.prefunded_micros else issuer
        lines: list[Line] = [
            (redeemer, "REIMBURSE_REVERSAL", payee, "FUNDING_REVERSAL", points * 9_500),
            ("OPERATOR", "SPREAD_REVERSAL", payee, "FUNDING_REVERSAL", points * 500),
        ]
        self.post(day, "refund_burn", redeemer, points, [(issuer, "burned", "open", points)], lines)

    def post(
        self, day: date, kind: str, partner: str, points: int, legs: list[Leg], lines: list[Line]
    ) -> None:
        self.sequence += 1
        place = (day, self.sequence, 0)
        moment = datetime.combine(self.event_day or day, time(12), UTC)
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO exchange.posted_entries_v1 VALUES"
                " (%s, %s, %s, %s, %s, %s, %s, 'm-1', 'order', 's', 't', %s, %s, %s, 1)",
                (
                    *place,
                    f"{self.sequence + 100}-0",
                    kind,
                    partner,
                    f"r{self.sequence}",
                    moment,
                    moment,
                    points,
                ),
            )
            cursor.executemany(
                "INSERT INTO exchange.posted_legs_v1 VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [(*place, n, *leg, 10_000, self.prefunded_micros) for n, leg in enumerate(legs)],
            )
            cursor.executemany(
                "INSERT INTO exchange.posted_lines_v1 VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [(*place, n, *line) for n, line in enumerate(lines)],
            )
            self._chain(cursor, day, (kind, PARTIES[partner], points, moment), legs, lines)

    def _chain(
        self,
        cursor: psycopg.Cursor[Any],
        day: date,
        entry: tuple[str, int, int, datetime],
        legs: list[Leg],
        lines: list[Line],
    ) -> None:
        """The same entry as the chain has it, and its link, hashed as `docs/protocol.md` says."""
        kind, partner, points, moment = entry
        head = (self.sequence, day, self.sequence + 100, 0)
        cursor.execute(
            "INSERT INTO exchange.chained_entries_v1 VALUES"
            " (%s, %s, %s, %s, 7, %s, %s, 1, %s, 0, 0, 0, 0, %s, %s, 's', 't', 'order', '', '', '')",
            (*head, partner, points, moment, kind, f"r{self.sequence}"),
        )
        cursor.executemany(
            "INSERT INTO exchange.chained_legs_v1 VALUES (%s, %s, %s, %s, %s, 7, 1, %s, 1, %s, %s, %s)",
            [(*head, n, PARTIES[issuer], p, source, to) for n, (issuer, source, to, p) in enumerate(legs)],
        )
        cursor.executemany(
            "INSERT INTO exchange.chained_lines_v1 VALUES (%s, %s, %s, %s, %s, 7, %s, %s, %s, %s, %s)",
            [
                (*head, n, PARTIES[payer], PARTIES[payee], micros, payer_component, payee_component)
                for n, (payer, payer_component, payee, payee_component, micros) in enumerate(lines)
            ],
        )
        digest = hashlib.sha256(b"".join(self._hashed(cursor, *it) for it in HASHED)).digest()
        self.last_hash = hashlib.sha256(self.last_hash + digest).digest()
        cursor.execute(
            "INSERT INTO exchange.chained_batches_v1 VALUES (%s, %s, %s, 1, %s, %s, %s)",
            (self.sequence, self.sequence + 100, day, digest, self.last_hash, moment),
        )

    def _hashed(self, cursor: psycopg.Cursor[Any], table: str, column_count: int, order: str) -> bytes:
        found = cursor.execute(
            "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum BETWEEN 3 AND %s",
            (table, column_count),
        ).fetchone()
        assert found is not None
        query = f"SELECT {found[0]} FROM {table} WHERE batch_sequence = {self.sequence} ORDER BY {order}"
        with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT BINARY)".encode()) as copy:
            return b"".join(bytes(part) for part in copy)[19:-2]

    def first_day_of_the_example(self) -> None:
        """E1 to E6 of the worked example."""
        for points in (10_000, 4_000, 1_500):
            self.earn(DAY_1, "a", points)
        self.burn(DAY_1, "b", "a", 3_333)
        self.burn(DAY_1, "b", "a", 700)
        self.earn(DAY_1, "b", 16)

    def close(self, day: date) -> ClosedWindow:
        """The watermark of a day; the same for a day closed before."""
        row = self.connection.execute(
            "SELECT window_date, first_sequence, last_sequence, last_hash, entry_count, close_time"
            " FROM exchange.windows_v1 WHERE window_date = %s",
            (day,),
        ).fetchone()
        if row is None:
            row = self._close(day)
        window_date, first, last, last_hash, entry_count, close_time = row
        return ClosedWindow(window_date, first, last, last_hash, entry_count, close_time.astimezone(UTC))

    def _close(self, day: date) -> tuple[Any, ...]:
        found = self.connection.execute(
            "SELECT count(*), max(batch_sequence) FROM exchange.posted_entries_v1 WHERE window_date = %s",
            (day,),
        ).fetchone()
        assert found is not None
        first, last = self.closed_through + 1, found[1] or self.closed_through
        row = (
            day,
            first,
            last,
            self._hash_after(last),
            found[0],
            datetime.combine(day + timedelta(days=1), time(0, 1), UTC),
        )
        self.connection.execute("INSERT INTO exchange.windows_v1 VALUES (%s, %s, %s, %s, %s, %s)", row)
        self.closed_through, self.last_day = last, day
        return row

    def _hash_after(self, sequence: int) -> bytes:
        found = self.connection.execute(
            "SELECT hash FROM exchange.chained_batches_v1 WHERE sequence = %s", (sequence,)
        ).fetchone()
        return bytes(found[0]) if found else bytes(32)


def prepare(database_url: str) -> None:
    """Settlement's schema, the hub's views as tables, a ledger's constants and its partners."""
    migrate(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(VIEWS.encode())
        connection.execute(
            "INSERT INTO exchange.ledger_v1 VALUES (%s, 'CNY', 2, 'Asia/Shanghai', 0, 'manual')", (AUDIENCE,)
        )
        connection.cursor().executemany(
            "INSERT INTO exchange.partners_v1 VALUES (%s, %s)",
            [("a", "Bakery A"), ("b", "Café B"), ("c", "Cinema C")],
        )
        connection.cursor().executemany(
            "INSERT INTO exchange.chained_parties_v1 VALUES (%s, %s)",
            [(number, party_id) for party_id, number in PARTIES.items()],
        )


def register(database_url: str, key: PrivateKey, holder: str, *roles: str) -> None:
    """A key as the hub's view shows it: active, valid for longer than any test."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO exchange.keys_v1 VALUES (%s, %s, %s, %s, %s, 'active', '2020-01-01', '2999-01-01')",
            (key.key_id, key.owner, holder, key.public_key, list(roles)),
        )


@dataclass(slots=True)
class PeerHub:
    """Answers CloseWindow with a signed receipt, at a fixed time so that receipts are the same bytes again."""

    ledger: PostedLedger
    asked: list[date] = field(default_factory=list)
    open_from: date = date.max
    began: date = DAY_1
    created: int = NOW
    settled: dict[date, bytes] = field(default_factory=dict)
    """The certificate each settled window was settled by."""

    def close_window(self, window_date: date) -> HubReceipt:
        """As the hub's client does: signs the request, takes the answer with its receipt."""
        self.asked.append(window_date)
        request = CloseWindowRequest(request_id=f"close-{window_date}", window_date=_date(window_date))
        body = request.SerializeToString()
        return signed_close(body, self.answer(request), self.created)

    def settle_window(self, window_date: date, certificate_sha256: str) -> HubReceipt:
        """As the hub's client does, the answer for the certificate that came first."""
        request = SettleWindowRequest(
            request_id=f"settle-{window_date}",
            window_date=_date(window_date),
            certificate_sha256=bytes.fromhex(certificate_sha256),
        )
        body = request.SerializeToString()
        return signed_close(body, self.settled_answer(request), self.created, path=SETTLE_WINDOW_PATH)

    def settled_answer(self, request: SettleWindowRequest) -> bytes:
        """The answer's bytes."""
        day = date(request.window_date.year, request.window_date.month, request.window_date.day)
        window = window_message(self.ledger.close(day)).window
        window.certificate_sha256 = self.settled.setdefault(day, request.certificate_sha256)
        window.settled_time.FromDatetime(datetime.combine(day + timedelta(days=1), time(9), UTC))
        return SettleWindowResponse(window=window).SerializeToString()

    def refusal(self, day: date) -> bytes | None:
        """The status bytes of a no, by the rules the contract gives windows; None where it is a yes."""
        if day >= self.open_from:
            return refusal_bytes(grpc.StatusCode.FAILED_PRECONDITION, "WINDOW_STILL_OPEN", "not yet")
        expected = max(self.began, self.ledger.last_day + timedelta(days=1))
        if day > expected or day < self.began:
            reason, following = "WINDOW_OUT_OF_ORDER", expected.isoformat()
            code = grpc.StatusCode.FAILED_PRECONDITION
            return refusal_bytes(code, reason, "not yet", next_window_date=following)
        return None

    def answer(self, request: CloseWindowRequest) -> bytes:
        """The answer's bytes."""
        day = request.window_date
        window = self.ledger.close(date(day.year, day.month, day.day))
        return window_message(window).SerializeToString()


def window_message(window: ClosedWindow, audience: str = AUDIENCE) -> CloseWindowResponse:
    close_time = Timestamp()
    close_time.FromDatetime(window.close_time)
    return CloseWindowResponse(
        window=Window(
            window_date=_date(window.window_date),
            first_sequence=window.first_sequence,
            last_sequence=window.last_sequence,
            last_hash=window.last_hash,
            entry_count=window.entry_count,
            close_time=close_time,
            audience=audience,
        )
    )


def signed_close(
    body: bytes, answer: bytes, created: int = NOW, audience: str = AUDIENCE, path: str = CLOSE_WINDOW_PATH
) -> HubReceipt:
    digest = content_digest(body)
    params = request_params(created, created + 120, FINANCE_KEY.key_id)
    signature = FINANCE_KEY.sign(request_base(path, digest, audience, params))
    metadata = request_entries(digest, audience, params, signature)
    return HubReceipt(path, body, metadata, answer, receipt_of(metadata, answer, created, path))


def receipt_of(
    metadata: tuple[tuple[str, str | bytes], ...],
    answer: bytes,
    created: int = NOW,
    path: str = CLOSE_WINDOW_PATH,
) -> tuple[tuple[str, str], ...]:
    request = parse_request(metadata)
    digest, params = content_digest(answer), receipt_params(created, HUB_KEY_ID)
    base = receipt_base(digest, path, request.digest_text, request.params_text, params)
    return receipt_entries(digest, params, HUB_KEY.sign(base).signature)


def refusal_bytes(code: grpc.StatusCode, reason: str, message: str, **metadata: str) -> bytes:
    packed = AnyMessage()
    packed.Pack(ErrorInfo(reason=reason, domain="tongdui", metadata=metadata))
    return Status(code=code.value[0], message=message, details=[packed]).SerializeToString()


@contextmanager
def listening(hub: PeerHub, directory: Path) -> Iterator[str]:
    """The peer on a Unix socket; yields its address."""

    def close_window(body: bytes, context: grpc.ServicerContext) -> bytes:
        metadata = tuple((name, value) for name, value in context.invocation_metadata())
        request = CloseWindowRequest.FromString(body)
        day = date(request.window_date.year, request.window_date.month, request.window_date.day)
        hub.asked.append(day)
        details = hub.refusal(day)
        if details is not None:
            context.set_trailing_metadata(
                (("grpc-status-details-bin", details), *receipt_of(metadata, details))
            )
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not yet")
        answer = hub.answer(request)
        context.set_trailing_metadata(receipt_of(metadata, answer, hub.created))
        return answer

    def settle_window(body: bytes, context: grpc.ServicerContext) -> bytes:
        metadata = tuple((name, value) for name, value in context.invocation_metadata())
        answer = hub.settled_answer(SettleWindowRequest.FromString(body))
        context.set_trailing_metadata(receipt_of(metadata, answer, hub.created, SETTLE_WINDOW_PATH))
        return answer

    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "CloseWindow": grpc.unary_unary_rpc_method_handler(close_window),
        "SettleWindow": grpc.unary_unary_rpc_method_handler(settle_window),
    }
    service = CLOSE_WINDOW_PATH[1:].split("/")[0]
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    address = f"unix:{directory / 'hub.sock'}"
    server.add_insecure_port(address)
    server.start()
    try:
        yield address
    finally:
        server.stop(grace=None).wait()


def _date(day: date) -> Date:
    return Date(year=day.year, month=day.month, day=day.day)
