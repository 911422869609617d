"""What the classification reads: unequal lines and entries, and what stands around them in other days and windows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import Connection, select, text

from settlement.core.break_types import BreakType, Controls
from settlement.core.findings import Carried, ControlSet, Posted
from settlement.core.kinds import ORIGINALS
from settlement.core.matching import Entry, Key, Line, entry_from, line_from
from settlement.core.reconciled import PartnerRecord, Records, Waiver
from settlement.store.intake import find_accepted_of_day
from settlement.store.pairing import Side
from settlement.store.profiles import load_expected_partners
from settlement.store.reconciliation_tables import CONTROLS, control_column, waivers

_LINES: Final = """
SELECT line_number, request_id, kind, reference, part, event_time, member_id, store_id, terminal_id, points,
    claimed_micros, owed_micros, rate_version, state
FROM settlement.partner_file_lines
WHERE file_id = :file_id AND line_number = ANY(:numbers)
ORDER BY line_number
"""

# Entries that count in no total only where they may be a stage of a line's deal.
_ENTRIES: Final = """
WITH places AS (
    SELECT batch_sequence, entry_index, bool_or(counts) AS counts FROM leftovers
    WHERE batch_sequence IS NOT NULL GROUP BY batch_sequence, entry_index
)
SELECT entries.batch_sequence, entries.batch_id, entries.entry_index, entries.request_id, entries.kind,
    entries.reference, coalesce(requests.part, 0) AS part, entries.event_time, entries.member_id, entries.store_id,
    entries.terminal_id, entries.points, money.claimed_micros, money.owed_micros, money.fee_micros,
    entries.rate_version
FROM places
JOIN exchange.chained_entries_v1 AS entries USING (batch_sequence, entry_index)
LEFT JOIN exchange.posted_requests_v1 AS requests
    ON requests.partner_id = :partner_id AND requests.request_id = entries.request_id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(micros) FILTER (WHERE payee_id = :party), 0) AS claimed_micros,
        coalesce(sum(micros) FILTER (WHERE payer_id = :party), 0) AS owed_micros,
        coalesce(sum(micros) FILTER (WHERE payer_id = :party AND payer_component IN ('ISSUE_FEE', 'EXCHANGE_FEE')), 0)
            AS fee_micros
    FROM exchange.chained_lines_v1 AS lines
    WHERE lines.batch_sequence = places.batch_sequence AND lines.entry_index = places.entry_index
) AS money
WHERE entries.partner_id = :party AND (places.counts OR entries.reference = ANY(:references))
ORDER BY entries.batch_sequence, entries.entry_index
"""

_ELSEWHERE: Final = """
WITH found AS (
    SELECT wanted.number, requests.window_date, requests.batch_sequence, requests.entry_index
    FROM unnest(CAST(:numbers AS bigint[]), CAST(:request_ids AS text[])) AS wanted (number, request_id)
    JOIN exchange.posted_requests_v1 AS requests
        ON requests.partner_id = :partner_id AND requests.request_id = wanted.request_id
    UNION ALL
    SELECT wanted.number, requests.window_date, requests.batch_sequence, requests.entry_index
    FROM unnest(CAST(:numbers AS bigint[]), CAST(:kinds AS text[]), CAST(:references AS text[]),
        CAST(:parts AS integer[])) AS wanted (number, kind, reference, part)
    JOIN exchange.posted_requests_v1 AS requests
        ON requests.partner_id = :partner_id AND requests.reference = wanted.reference
        AND requests.kind = wanted.kind AND requests.part = wanted.part
    WHERE requests.reference <> ''
)
SELECT found.number, found.window_date, found.batch_sequence, entries.batch_id, found.entry_index,
    EXISTS (SELECT FROM settlement.reconciliations
        WHERE reconciliations.partner_id = :partner_id AND reconciliations.window_date = found.window_date)
        AS reconciled
FROM found
JOIN exchange.chained_entries_v1 AS entries USING (batch_sequence, entry_index)
ORDER BY found.number, found.window_date DESC
"""

_ORIGINALS: Final = """
SELECT DISTINCT requests.kind, requests.reference
FROM unnest(CAST(:references AS text[])) AS wanted (reference)
JOIN exchange.posted_requests_v1 AS requests
    ON requests.partner_id = :partner_id AND requests.reference = wanted.reference
WHERE requests.reference <> '' AND requests.kind = ANY(:kinds)
"""

_CARRIED: Final = f"""
SELECT break_id, window_date, hub, partner, {", ".join(control_column(it, "difference") for it in CONTROLS)}
FROM settlement.breaks
WHERE partner_id = :partner_id AND window_date < :day AND type = ANY(:types)
    AND (cleared_date = :day OR cleared_date IS NULL AND resolution IS DISTINCT FROM 'ADJUSTED'
        AND resolution IS DISTINCT FROM 'PARTNER_FIXED' AND resolution IS DISTINCT FROM 'RECLASSIFIED'
        AND NOT EXISTS (SELECT FROM settlement.resolutions
            WHERE resolutions.break_id = breaks.break_id AND resolutions.entry_id IS NOT NULL))
ORDER BY window_date, break_id
"""  # noqa: S608 - names of ours

_ONE_SIDED: Final = (
    BreakType.TIMING,
    BreakType.MISSING_AT_HUB,
    BreakType.MISSING_AT_PARTNER,
    BreakType.REFUND_UNLINKED,
)

_MEMBER_DIGITS: Final = "0123456789abcdefghijklmnopqrstuv"


@dataclass(frozen=True, slots=True)
class Around:
    """What stands elsewhere, by the names of lines that stand alone."""

    elsewhere: dict[str | Key, Posted]
    originals: frozenset[tuple[str, str]]
    twins: frozenset[str | Key]


def read_party_number(connection: Connection, partner_id: str) -> int | None:
    """The partner's number in hashed rows; None for one the hub does not have."""
    statement = text("SELECT party_number FROM exchange.chained_parties_v1 WHERE party_id = :partner_id")
    number: int | None = connection.execute(statement, {"partner_id": partner_id}).scalar_one_or_none()
    return number


def read_leftover_lines(connection: Connection, side: Side) -> list[Line]:
    """The unequal lines, in the order of the file."""
    statement = text("SELECT DISTINCT line_number FROM leftovers WHERE line_number IS NOT NULL")
    numbers = list(connection.execute(statement).scalars())
    rows = connection.execute(text(_LINES), {"file_id": side.file_id, "numbers": numbers})
    return [_line(row) for row in rows]


def read_leftover_entries(connection: Connection, side: Side, lines: Iterable[Line]) -> list[Entry]:
    """The unequal entries, in the order of the journal."""
    references = sorted({line.reference for line in lines if line.reference})
    parameters = {"partner_id": side.partner_id, "party": side.party, "references": references}
    return [_entry(row) for row in connection.execute(text(_ENTRIES), parameters)]


def read_around(connection: Connection, side: Side, alone: list[Line], entries: list[Entry]) -> Around:
    """What the hub has of lines that stand alone.

    `alone` are lines without an entry of their request id or key among `entries`, the unequal ones. Where the window
    has such an entry all the same, another line equals it.
    """
    if not alone:
        return Around({}, frozenset(), frozenset())
    unequal = {(entry.batch_sequence, entry.entry_index) for entry in entries}
    by_number = {line.line_number: line for line in alone}
    elsewhere: dict[str | Key, Posted] = {}
    twins: set[str | Key] = set()
    for row in connection.execute(text(_ELSEWHERE), _named(side, alone)):
        line = by_number[row.number]
        name = line.request_id or line.key
        if row.window_date != side.window_date:
            elsewhere[name] = Posted(row.window_date, f"{row.batch_id}-{row.entry_index}", row.reconciled)
        elif (row.batch_sequence, row.entry_index) not in unequal:
            twins.add(name)
    return Around(elsewhere, _originals(connection, side, alone), frozenset(twins))


def _named(side: Side, alone: list[Line]) -> dict[str, Any]:
    return {
        "partner_id": side.partner_id,
        "numbers": [line.line_number for line in alone],
        "request_ids": [line.request_id for line in alone],
        "kinds": [_command(line.kind) for line in alone],
        "references": [line.reference for line in alone],
        "parts": [line.part or 0 for line in alone],
    }


def _originals(connection: Connection, side: Side, alone: list[Line]) -> frozenset[tuple[str, str]]:
    references = sorted({line.reference for line in alone if line.kind in ORIGINALS and line.reference})
    if not references:
        return frozenset()
    kinds = sorted({_command(kind) for kinds in ORIGINALS.values() for kind in kinds})
    rows = connection.execute(
        text(_ORIGINALS), {"partner_id": side.partner_id, "references": references, "kinds": kinds}
    )
    return frozenset((row.kind, row.reference) for row in rows)


def _command(kind: str) -> str:
    """A pending earn is an earn among commands."""
    return "earn" if kind == "pending_earn" else kind


def read_carried(connection: Connection, side: Side) -> tuple[Carried, ...]:
    """Breaks of earlier windows that have one side only, and the ones this window cleared in an earlier run."""
    rows = connection.execute(
        text(_CARRIED),
        {
            "partner_id": side.partner_id,
            "day": side.window_date,
            "types": [kind.value for kind in _ONE_SIDED],
        },
    )
    return tuple(
        Carried(
            row.break_id,
            row.window_date,
            line_from(row.partner) if row.partner else None,
            entry_from(row.hub) if row.hub else None,
            Controls(*(int(getattr(row, control_column(control, "difference"))) for control in CONTROLS)),
        )
        for row in rows
    )


def _line(row: Any) -> Line:
    fields = row._asdict()
    fields["claimed_micros"], fields["owed_micros"] = int(row.claimed_micros), int(row.owed_micros)
    return Line(**fields)


def _entry(row: Any) -> Entry:
    fields = row._asdict()
    fields["entry_id"] = f"{fields.pop('batch_id')}-{row.entry_index}"
    fields["member_id"] = member_text(row.member_id)
    for name in ("claimed_micros", "owed_micros", "fee_micros"):
        fields[name] = int(fields[name])
    return Entry(**fields)


def member_text(member_number: int) -> str:
    """A member's id as partners know it: `m-` and 12 base32hex digits (docs/protocol.md)."""
    return "m-" + "".join(_MEMBER_DIGITS[(member_number >> (5 * digit)) & 31] for digit in range(11, -1, -1))


_NEWEST: Final = """
SELECT DISTINCT ON (reconciliations.partner_id) reconciliations.*, partner_files.sha256,
    partner_files.state AS file_state,
    EXISTS (SELECT FROM settlement.reconciliations AS earlier
        WHERE earlier.partner_id = reconciliations.partner_id AND earlier.window_date < reconciliations.window_date
            AND earlier.reconciliation_id > reconciliations.reconciliation_id) AS stale
FROM settlement.reconciliations JOIN settlement.partner_files USING (file_id)
WHERE window_date = :day
ORDER BY reconciliations.partner_id, reconciliation_id DESC
"""


def read_records(connection: Connection, window_date: date) -> Records:
    """What a certificate has to know of partners' own records of a window."""
    rows = connection.execute(text(_NEWEST), {"day": window_date}).all()
    loaded = tuple(file.partner_id for file in find_accepted_of_day(connection, window_date))
    columns = waivers.c
    # A file that came after all leaves its waiver without effect, and the certificate without a mention of it.
    waived = connection.execute(
        select(columns.partner_id, columns.proposed_by, columns.approved_by, columns.reason)
        .where(
            columns.window_date == window_date,
            columns.approved_by.is_not(None),
            columns.partner_id.not_in(loaded),
        )
        .order_by(columns.partner_id)
    )
    return Records(
        expected=tuple(load_expected_partners(connection, window_date)),
        loaded=loaded,
        reconciled=tuple(_record(row) for row in rows),
        waivers=tuple(Waiver(*row) for row in waived),
    )


def _record(row: Any) -> PartnerRecord:
    return PartnerRecord(
        partner_id=row.partner_id,
        file_sha256=row.sha256,
        superseded=row.file_state == "SUPERSEDED",
        stale=row.stale,
        controls=ControlSet(
            Controls(*(int(getattr(row, f"partner_{control}")) for control in CONTROLS)),
            Controls(*(int(getattr(row, f"hub_{control}")) for control in CONTROLS)),
            Controls(*(int(getattr(row, control_column(it, "classified"))) for it in CONTROLS)),
        ),
    )
