"""A ledger in a database as the core's tests know it: made of a random coalition, and read back row by row.

The wall clock of its hub is a table's: `clock_timestamp()` in a session of `clocked(url)` is a function of the
test's, found before PostgreSQL's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from exchange.batch import Answer as Sent
from exchange.core.book import PayCode
from exchange.core.commands import Command, kind_in_journal
from exchange.core.decisions import Decision
from exchange.core.ids import HUB, entry_text
from exchange.core.lots import Lot
from exchange.core.originals import Deficit
from exchange.core.rates import RateCard
from exchange.rpc.answers import encode
from exchange.store.save import LOT_COUNTERS
from tests.property.coalition import CARDLESS, MEMBERS, PARTNERS, WITHDRAWN, Coalition
from tests.property.postings import Name, name_of
from tests.rows import Rows, fresh

CLOCK = """
CREATE SCHEMA wall;
CREATE TABLE wall.clock (moment timestamptz NOT NULL);
INSERT INTO wall.clock VALUES ('2026-01-01');
CREATE FUNCTION wall.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT moment FROM wall.clock';
GRANT USAGE ON SCHEMA wall TO PUBLIC;
GRANT SELECT ON wall.clock TO PUBLIC;
"""

TABLES = (
    *("wallets", "lots", "links", "holds", "pending_earns", "deficits", "lot_moves", "marks", "quotes"),
    *("pay_codes", "terminals", "entries", "legs", "lines", "requests", "calls", "batches", "other_members"),
    *("rate_cards", "adjustments"),
)

Kept = dict[str, Any]
"""Everything a ledger keeps, table by table; entries by their decisions, as batching changes their ids."""


def clocked(url: str) -> str:
    """The URL whose sessions have the wall clock of `CLOCK`."""
    return make_conninfo(url, options="-csearch_path=wall,pg_catalog")


def set_clocks(connection: psycopg.Connection[Any], ledger: datetime, wall: datetime) -> None:
    """The next batch is decided at these times."""
    connection.execute("UPDATE exchange.ledger SET manual_time = %s", (ledger,))
    connection.execute("UPDATE wall.clock SET moment = %s", (wall,))


def begin(connection: psycopg.Connection[Any], coalition: Coalition, pay_codes: Iterable[PayCode]) -> None:
    """Empties the ledger and makes it of a coalition's cards, members and consents."""
    for table in TABLES:
        connection.execute(f"DELETE FROM exchange.{table}".encode())
    for partner in (*PARTNERS, CARDLESS):
        connection.execute(
            "INSERT INTO exchange.partners (partner_id, code, display_name) VALUES (%s, %s, '') ON CONFLICT DO NOTHING",
            (partner, f"p-{partner}"),
        )
    for card in coalition.cards:
        _insert(connection, "rate_cards", _card(card))
    for member in MEMBERS:
        _insert(connection, "wallets", {"member_id": member})
    for (member, partner), limits in coalition.consent.items():
        row = {"member_id": member, "partner_id": partner}
        limited = dict(zip(("per_burn_limit_points", "per_day_limit_points"), limits, strict=True))
        _insert(connection, "links", row | limited)
    for code in pay_codes:
        columns = ("digest", "member_id", "partner_id", "max_points", "issue_time", "expire_time")
        _insert(connection, "pay_codes", {name: getattr(code, name) for name in columns})
    connection.execute(
        "INSERT INTO exchange.adjustments (adjustment_id, proposal, request_id, proposed_by, withdrawn_by,"
        " withdraw_reason, withdraw_time) OVERRIDING SYSTEM VALUE VALUES (%s, '', '', 'li.na', 'li.na', 'no', now())",
        (WITHDRAWN,),
    )
    connection.execute("UPDATE exchange.registry SET version = version + 1")


def _insert(connection: psycopg.Connection[Any], table: str, row: dict[str, Any]) -> None:
    names, places = ", ".join(row), ", ".join(["%s"] * len(row))
    connection.execute(
        f"INSERT INTO exchange.{table} ({names}) VALUES ({places})".encode(), tuple(row.values())
    )


def _card(card: RateCard) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "state": "approved",
        "proposed_by": "chen.wei",
        "approved_by": "li.na",
        "expiry_kind": card.expiry_policy.kind.value,
        "expiry_amount": card.expiry_policy.amount,
        "expiry_fixed_date": card.expiry_policy.fixed_date,
    }
    for name in (
        "earn_rate",
        "native_rate_in",
        "native_rate_out",
        "exchange_spread",
        "breakage_issuer_share",
    ):
        rate = getattr(card, name)
        columns[f"{name}_numerator"] = None if rate is None else rate.numerator
        columns[f"{name}_denominator"] = None if rate is None else rate.denominator
    prices = ("face_value", "funding", "reimbursement", "issue_fee", "prefunded")
    columns |= {f"{name}_micros": getattr(card, f"{name}_micros") for name in prices}
    return columns | {name: getattr(card, name) for name in ("partner_id", "version", "valid_from")}


class Teller:
    """Tells a hub's decisions as the tests' rows tell theirs, and checks what the hub's own encoder says of them."""

    def __init__(self, coalition: Coalition) -> None:
        self._rows = Rows(None, coalition.terms, {}, {})  # type: ignore[arg-type]  # nothing is decided here

    def encode(self, commands: Any, decisions: Any, book: Any) -> list[Sent]:
        """The answers of a batch, as text instead of the protocol's bytes."""
        told: list[tuple[Command, Decision]] = list(zip(commands, decisions, strict=True))
        for index, entry in enumerate(book.entries):
            self._rows.journal[entry_text(book.batch_id, index)] = entry
        answers = [
            Sent(command.kind, answer["verdict"] in ("accepted", "woken"), given_before, _bytes(answer))
            for (command, _), (answer, given_before) in zip(told, self._rows.answers(decisions), strict=True)
        ]
        shown = [(it.kind, it.accepted, it.replayed) for it in encode(commands, decisions, book)]
        assert shown == [(it.kind, it.accepted, it.replayed) for it in answers]
        return answers


def _bytes(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode()


# --- what the in-memory rows keep ---


def kept_in_memory(rows: Rows) -> Kept:
    """Everything."""

    def named(entry: tuple[int, int] | None) -> Name | None:
        return None if entry is None else name_of(entry_text(*entry), rows)

    return {
        "wallets": {
            member: (
                *(it.open_points, it.pending_points, it.held_points, it.deficit_points, it.lot_sequence),
                *(it.next_expiry_date, it.state.value, it.survivor_id, named(it.merged_by)),
                *(it.deficit_sequence, it.next_cancel_date, it.next_deadline, it.spent_date),
                *(it.spent_count, it.spent_points, it.transferred_points),
            )
            for member, it in rows.wallets.items()
        },
        "lots": {lot.place: fresh(lot) for lot in rows.lots.values()},
        "spent": {lot.place for lot in rows.lots.values() if not lot.open_points},
        "links": {
            key: (it.per_burn_limit_points, it.per_day_limit_points, it.burned_date, it.burned_points)
            for key, it in rows.links.items()
        },
        "deficits": {key: fresh(it) for key, it in rows.deficits.items()},
        "holds": {
            key: (
                it.member_id,
                named(it.entry),
                it.kind,
                it.points,
                it.rate_version,
                it.authorised_time,
                it.deadline,
            )
            for key, it in rows.holds.items()
        },
        "pending earns": {
            key: (it.member_id, named(it.entry), it.points, it.due_date, it.expiry_date)
            for key, it in rows.pending_earns.items()
        },
        "moves": [(*it.source, *it.target, named(it[2:4]), it.why, it.points) for it in rows.lot_moves],
        "marks": rows.marks,
        "quotes": rows.quotes,
        "codes used": {digest for digest, code in rows.pay_codes.items() if code.used},
        "terminals": {
            key: (it.wrong_tries, it.locked, it.spent_date, it.spent_count, it.spent_points)
            for key, it in rows.terminals.items()
        },
        "requests": {
            key: (it.fingerprint, it.accepted, json.loads(it.answer)) for key, it in rows.requests.items()
        },
        "references": {key: named_id for key, named_id in _references(rows).items() if key[2]},
        "entries": [_told(entry_id, rows) for entry_id in rows.journal],
        "other members": {
            (leg.member_id, name_of(entry_id, rows))
            for entry_id, entry in rows.journal.items()
            for leg in entry.legs
            if leg.member_id != entry.command.member_id
        },
    }


def _references(rows: Rows) -> dict[tuple[int, str, str, int], Name]:
    return {
        (key[0], key[1], key[2], key[3]): name_of(entry_id, rows) for key, entry_id in rows.references.items()
    }


def _told(entry_id: str, rows: Rows) -> tuple[Any, ...]:
    entry = rows.journal[entry_id]
    it = entry.command
    original = None if entry.original is None else name_of(entry_text(*entry.original), rows)
    return (
        *(name_of(entry_id, rows), it.member_id, entry.points, entry.rate_version, it.event_time),
        *(entry.spend_minor, entry.native_points, original, kind_in_journal(it), it.store_id),
        *(it.terminal_id, _reference(it.partner_id, it.reference), it.reason, it.campaign_id, it.channel),
        [tuple(leg[:7]) for leg in entry.legs],
        [tuple(line) for line in entry.lines],
    )


def _reference(partner_id: int, reference: str) -> str:
    """What the hub posts by itself refers to an entry id, which batching changes."""
    return "" if partner_id == HUB else reference


# --- what the database keeps ---

READ_ENTRIES = b"""
SELECT entries.batch_id, entry_index, partner_id, request_id, member_id, points, rate_version, event_time,
    spend_minor, native_points, original_batch_id, original_entry_index, kind, store_id, terminal_id, reference,
    reason, campaign_id, channel
FROM exchange.entries JOIN exchange.batches USING (batch_id) ORDER BY batches.sequence, entry_index"""

LOT_KEYS = (
    *("member_id", "lot_sequence", "issuer_id", "rate_version", "expiry_date"),
    *("funding_micros", "prefunded_micros"),
)

READ_WALLETS = b"""
SELECT member_id, merged_batch_id, merged_entry_index, open_points, pending_points, held_points, deficit_points,
    lot_sequence, next_expiry_date, state, survivor_id, deficit_sequence, next_cancel_date, next_deadline,
    spent_date, spent_count, spent_points, transferred_points
FROM exchange.wallets"""


def kept_in_database(connection: psycopg.Connection[Any]) -> Kept:
    """Everything."""
    entries = _rows(connection, READ_ENTRIES.decode())
    own = {(row[0], row[1]): (row[2], row[3]) for row in entries}

    def named(batch_id: int, entry_index: int) -> Name | None:
        if not batch_id:
            return None
        partner, request_id = own[batch_id, entry_index]
        why, _, of = request_id.partition(":")
        if why in ("lapse", "cancel"):
            return partner, f"{why}:{named(*map(int, of.split('-')))}"
        return partner, request_id

    def of(columns: str, table: str, order: str = "1") -> list[tuple[Any, ...]]:
        return _rows(connection, f"SELECT {columns} FROM exchange.{table} ORDER BY {order}")  # our own

    legs: dict[tuple[int, int], list[Any]] = {}
    names = "member_id, lot_sequence, issuer_id, rate_version, from_account, to_account, points"
    for batch_id, index, _, *leg in of(f"batch_id, entry_index, leg_number, {names}", "legs", "1, 2, 3"):
        legs.setdefault((batch_id, index), []).append(tuple(leg))
    lines: dict[tuple[int, int], list[Any]] = {}
    names = "payer_id, payer_component, payee_id, payee_component, micros, member_id"
    members = {(row[0], row[1]): row[4] for row in entries}
    for batch_id, index, _, *line, member in of(
        f"batch_id, entry_index, line_number, {names}", "lines", "1, 2, 3"
    ):
        assert member == members[batch_id, index]
        lines.setdefault((batch_id, index), []).append(tuple(line))
    lots = [Lot(*row) for row in of(f"{', '.join(LOT_KEYS)}, {', '.join(LOT_COUNTERS)}", "lots")]
    requests = of(
        "partner_id, request_id, fingerprint, accepted, batch_id, entry_index, kind, reference, part, answer",
        f"requests WHERE partner_id <> {HUB}",
    )
    return {
        "wallets": {
            row[0]: (*row[3:11], named(row[1], row[2]), *row[11:])
            for row in _rows(connection, READ_WALLETS.decode())
        },
        "lots": {lot.place: lot for lot in lots},
        "spent": set(of("member_id, lot_sequence", "lots WHERE spent")),
        "links": {
            row[:2]: row[2:]
            for row in of(
                "member_id, partner_id, per_burn_limit_points, per_day_limit_points, burned_date, burned_points",
                "links",
            )
        },
        "deficits": {row[:2]: _deficit(row) for row in of(DEFICIT_COLUMNS, "deficits")},
        "holds": {
            row[:2]: (row[2], named(row[3], row[4]), *row[5:])
            for row in of(
                "partner_id, request_id, member_id, batch_id, entry_index, kind, points, rate_version,"
                " authorised_time, deadline",
                "holds",
            )
        },
        "pending earns": {
            row[:2]: (row[2], named(row[3], row[4]), *row[5:])
            for row in of(
                "partner_id, request_id, member_id, batch_id, entry_index, points, due_date, expiry_date",
                "pending_earns",
            )
        },
        "moves": [
            (*row[1:5], named(row[5], row[6]), *row[7:])
            for row in of(
                "move_id, from_member_id, from_lot_sequence, to_member_id, to_lot_sequence, batch_id, entry_index,"
                " why, points",
                "lot_moves",
            )
        ],
        "marks": set(of("member_id, partner_id, once_rule", "marks")),
        "quotes": {row[0] for row in of("quote_id", "quotes")},
        "codes used": {bytes(row[0]) for row in of("digest", "pay_codes WHERE used")},
        "terminals": {
            row[:3]: row[3:]
            for row in of(
                "partner_id, store_id, terminal_id, wrong_tries, locked, spent_date, spent_count, spent_points",
                "terminals",
            )
        },
        "requests": {row[:2]: (bytes(row[2]), row[3], json.loads(row[9])) for row in requests},
        "references": {
            (row[0], row[6], row[7], row[8]): named(row[4], row[5]) for row in requests if row[3] and row[7]
        },
        "entries": [
            (
                *(named(*row[:2]), *row[4:10], named(*row[10:12]), *row[12:15]),
                *(_reference(row[2], row[15]), *row[16:]),
                *(legs.get(row[:2], []), lines.get(row[:2], [])),
            )
            for row in entries
        ],
        "other members": {
            (row[0], named(row[1], row[2])) for row in of("member_id, batch_id, entry_index", "other_members")
        },
    }


DEFICIT_COLUMNS = (
    "member_id, deficit_sequence, issuer_id, funding_micros, raised_time, raised_points, moved_in_points,"
    " absorbed_points, forgiven_points, moved_out_points, moved_from_member_id, moved_from_sequence"
)


def _deficit(row: tuple[Any, ...]) -> Deficit:
    *columns, from_member, from_sequence = row
    deficit = Deficit(*columns)
    deficit.moved_from = (from_member, from_sequence) if from_member else None
    return deficit


def _rows(connection: psycopg.Connection[Any], query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode()).fetchall()
