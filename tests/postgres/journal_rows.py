"""A hub's journal written row by row: real tables, views and indexes, any entry at any time, no hub at work.

Prices are card v1 of the worked example, issue-funded: F 10,000, R 9,500 and f 200 micros a point.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import psycopg

from exchange.core.ids import member_text
from exchange.store import engine as hub
from settlement.store.engine import migrate

ZONE: Final = ZoneInfo("Asia/Shanghai")
FUNDING, REIMBURSEMENT, FEE = 10_000, 9_500, 200
POOL, OPERATOR = -1, -2
PARTNERS: Final = {"a": 1, "b": 2}
MEMBER: Final = member_text(7)

_CLEAR = "TRUNCATE exchange.entries, exchange.lines, exchange.batches, exchange.requests, exchange.windows"
_CLEAR_SETTLEMENT = """
TRUNCATE settlement.windows, settlement.partner_files, settlement.profiles, settlement.reconciliations,
    settlement.breaks, settlement.partner_file_lines, settlement.waivers, settlement.audit_log CASCADE
"""


@dataclass(frozen=True, slots=True)
class Deal:
    """An entry as its partner knows it. Amounts in micros."""

    partner: str
    request_id: str
    kind: str
    reference: str
    part: int
    event_time: datetime
    member: int
    store_id: str
    points: int
    claimed: int
    owed: int
    rate_version: int = 1

    def line(self, **changed: object) -> str:
        """The deal as a faithful partner's file has it, or with some fields otherwise."""
        texts: dict[str, object] = {
            "request_id": self.request_id,
            "kind": self.kind,
            "reference": self.reference,
            "part": self.part or "",
            "event_time": self.event_time.isoformat(),
            "member_id": member_text(self.member),
            "store_id": self.store_id,
            "terminal_id": "t-1",
            "points": self.points,
            "claimed": yuan(self.claimed),
            "owed": yuan(self.owed),
            "rate_version": self.rate_version,
            "state": "posted",
        }
        return ",".join(["D", *(str(text) for text in (texts | changed).values())])


def yuan(micros: int) -> str:
    """Micros as an exact amount."""
    return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"


def prepare_hub(url: str) -> None:
    """The schemas of both programs, the ledger's constants, and two partners."""
    hub.migrate(url)
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO exchange.ledger (audience, currency_code, minor_unit_digits, time_zone, cut_off_seconds,"
            " clock, late_limit_seconds, card_notice_seconds, first_window_date)"
            " VALUES ('hub.example/test', 'CNY', 2, 'Asia/Shanghai', 0, 'system', 604800, 0, '2026-01-01')"
        )
        for code, number in PARTNERS.items():
            connection.execute(
                "INSERT INTO exchange.partners (partner_id, code, display_name) VALUES (%s, %s, %s)",
                (number, code, f"Partner {code}"),
            )


@dataclass(slots=True)
class Journal:
    """Posts deals, one a batch."""

    connection: psycopg.Connection[Any]
    sequence: int = 0
    posted: list[tuple[date, Deal]] = field(default_factory=list)

    @classmethod
    def open(cls, url: str) -> Journal:
        """An empty journal in a prepared database: whatever a test before left there is cleared away."""
        connection = psycopg.connect(url, autocommit=True)
        opened = cls(connection)
        try:
            connection.execute(_CLEAR)
            opened.clear_settlement()
        except BaseException:
            connection.close()
            raise
        return opened

    def clear_settlement(self) -> None:
        """As if settlement had never heard of anything."""
        self.connection.execute(_CLEAR_SETTLEMENT)

    def earn(self, day: date, partner: str, points: int, **given: Any) -> Deal:
        """Points that a partner issues and pays for."""
        return self.post(day, "earn", partner, points, **given)

    def burn(self, day: date, partner: str, points: int, **given: Any) -> Deal:
        """Points that a partner redeems and is paid for out of the pool."""
        return self.post(day, "burn", partner, points, **given)

    def refund(self, day: date, partner: str, points: int, **given: Any) -> Deal:
        """Points of a burn that go back."""
        return self.post(day, "refund_burn", partner, points, **given)

    def post(
        self,
        day: date,
        kind: str,
        partner: str,
        points: int,
        *,
        request_id: str = "",
        reference: str = "",
        part: int = 0,
        at: datetime | None = None,
        member: int = 7,
    ) -> Deal:
        """An entry with its money lines and its request."""
        self.sequence += 1
        number, name = PARTNERS[partner], f"{self.sequence}"
        lines = _lines(kind, number, points)
        claimed = sum(micros for _, payee, micros, _ in lines if payee == number)
        owed = sum(micros for payer, _, micros, _ in lines if payer == number)
        moment = at or datetime.combine(day, time(12), ZONE)
        deal = Deal(
            partner,
            request_id or f"r-{name}",
            kind,
            reference or f"order-{name}",
            part,
            moment.astimezone(UTC),
            member,
            "s-1",
            points,
            claimed,
            owed,
        )
        self._write(day, deal, number, lines)
        self.posted.append((day, deal))
        return deal

    def _write(self, day: date, deal: Deal, number: int, lines: list[tuple[int, int, int, str]]) -> None:
        batch = self.sequence + 1_000
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO exchange.batches VALUES (%s, %s, %s, %s, 1, '', '')",
                (batch, self.sequence, deal.event_time, day),
            )
            cursor.execute(
                "INSERT INTO exchange.entries (batch_id, entry_index, member_id, partner_id, points, rate_version,"
                " event_time, kind, request_id, store_id, terminal_id, reference, reason, campaign_id, channel)"
                " VALUES (%s, 0, %s, %s, %s, 1, %s, %s, %s, %s, 't-1', %s, '', '', '')",
                (
                    *(batch, deal.member, number, deal.points, deal.event_time, deal.kind, deal.request_id),
                    *(deal.store_id, deal.reference),
                ),
            )
            cursor.execute(
                "INSERT INTO exchange.requests VALUES (%s, %s, '', true, %s, 0, 0, %s, %s, %s, '')",
                (number, deal.request_id, batch, _command(deal.kind), deal.reference, deal.part),
            )
            cursor.executemany(
                "INSERT INTO exchange.lines VALUES (%s, 0, %s, %s, %s, %s, %s, %s, %s)",
                [
                    (batch, index, deal.member, payer, payee, micros, component, component)
                    for index, (payer, payee, micros, component) in enumerate(lines)
                ],
            )

    def close(self, day: date) -> None:
        """The hub's watermark of a day."""
        self.connection.execute(
            "INSERT INTO exchange.windows (window_date, first_sequence, last_sequence, last_hash, entry_count,"
            " close_time) VALUES (%s, 1, %s, %s, 0, %s)",
            (day, self.sequence, bytes(32), datetime.combine(day + timedelta(days=1), time(0, 1), ZONE)),
        )


def _command(kind: str) -> str:
    return "earn" if kind == "pending_earn" else kind


def _lines(kind: str, partner: int, points: int) -> list[tuple[int, int, int, str]]:
    """Payer, payee, micros and component."""
    if kind == "earn":
        made = [
            (partner, POOL, points * FUNDING, "ISSUE_FUNDING"),
            (partner, OPERATOR, points * FEE, "ISSUE_FEE"),
        ]
    elif kind in ("burn", "capture_burn"):
        made = [
            (POOL, partner, points * REIMBURSEMENT, "BURN_REIMBURSE"),
            (POOL, OPERATOR, points * (FUNDING - REIMBURSEMENT), "SPREAD"),
        ]
    elif kind == "refund_burn":
        made = [(partner, POOL, points * REIMBURSEMENT, "REIMBURSE_REVERSAL")]
    elif kind == "claw_back_earn":
        made = [(POOL, partner, points * FUNDING, "CLAWBACK_FUNDING")]
    else:
        made = []
    return [line for line in made if line[2]]


def partner_file(partner: str, day: date, lines: list[str], **stated: object) -> bytes:
    """A file of these deals whose header and trailer agree with them, or state some total otherwise."""
    header = {"count": len(lines), **_totals(lines)} | stated
    head = f"H,tongdui-partner-file,1,{partner},{day},CNY,major," + ",".join(map(str, header.values()))
    return sealed("\n".join([head, *lines]) + "\n")


def sealed(text: str) -> bytes:
    """Records with the trailer that belongs to them."""
    body = text.encode()
    return body + f"T,{hashlib.sha256(body).hexdigest()}\n".encode()


_EARNED = {"earn": 1, "exchange_in": 1, "confirm_earn": 1, "claw_back_earn": -1}
_BURNED = {"burn": 1, "capture_burn": 1, "confirm_exchange_out": 1, "refund_burn": -1}


def _totals(lines: list[str]) -> dict[str, object]:
    earned = burned = claimed = owed = 0
    for line in lines:
        fields = line.split(",")
        earned += _EARNED.get(fields[2], 0) * int(fields[9])
        burned += _BURNED.get(fields[2], 0) * int(fields[9])
        claimed += _micros(fields[10])
        owed += _micros(fields[11])
    return {
        "earned_points": earned,
        "burned_points": burned,
        "claimed": yuan(claimed),
        "owed": yuan(owed),
    }


def _micros(text: str) -> int:
    whole, _, decimals = text.partition(".")
    return int(whole) * 1_000_000 + int(decimals.ljust(6, "0") or "0")
