"""Lines of a partner's file against its entries in a window: equal pairs are only counted, the rest is named.

One statement joins the two sides and puts the places of what is unequal into a temporary table. The hub's totals are
added up from its entries and money lines and not from the file. Members are compared by number: the text
of their ids would cost more than everything else together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import Connection, Row, text

from settlement.core.break_types import Controls
from settlement.core.kinds import BURNED, EARNED, STATES
from settlement.core.matching import Rules
from settlement.store.intake import BURNED_SQL, EARNED_SQL

_LEFTOVERS: Final = """
CREATE TEMPORARY TABLE leftovers (line_number bigint, batch_sequence bigint, entry_index integer, counts boolean)
ON COMMIT DROP
"""

# By batch and index throughout, as the journal lies on disk: merged in that order, nothing has to be sorted or hashed.
_HUB_SIDE: Final = """
CREATE TEMPORARY TABLE hub_side ON COMMIT DROP AS
WITH money AS (
    SELECT batch_id, entry_index,
        coalesce(sum(micros) FILTER (WHERE payee_id = {party:d}), 0)::bigint AS claimed_micros,
        coalesce(sum(micros) FILTER (WHERE payer_id = {party:d}), 0)::bigint AS owed_micros
    FROM exchange.chained_lines_v1
    WHERE window_date = '{day:%Y-%m-%d}' AND (payee_id = {party:d} OR payer_id = {party:d})
    GROUP BY batch_id, entry_index
)
SELECT entries.batch_sequence, entries.entry_index, entries.member_id, entries.points, entries.rate_version,
    entries.kind, entries.store_id, coalesce(claimed_micros, 0) AS claimed_micros,
    coalesce(owed_micros, 0) AS owed_micros, entries.request_id, entries.reference
FROM exchange.chained_entries_v1 AS entries
LEFT JOIN money ON money.batch_id = entries.batch_id AND money.entry_index = entries.entry_index
WHERE entries.window_date = '{day:%Y-%m-%d}' AND entries.partner_id = {party:d}
"""

_TOTALS: Final = f"""
SELECT count(*), coalesce(sum({EARNED_SQL}), 0), coalesce(sum({BURNED_SQL}), 0), coalesce(sum(claimed_micros), 0),
    coalesce(sum(owed_micros), 0)
FROM hub_side
"""  # noqa: S608 - words of ours

# `counts` is false for entries that move neither controlled points nor money, such as holds: most partners leave
# them out of their files.
_UNEQUAL: Final = """
INSERT INTO leftovers
SELECT lines.line_number, hub.batch_sequence, hub.entry_index,
    lines.line_number IS NOT NULL OR hub.kind IN ({counted}) OR hub.claimed_micros <> 0 OR hub.owed_micros <> 0
FROM (SELECT *, {line_key} AS line_key FROM settlement.partner_file_lines WHERE file_id = :file_id) AS lines
FULL JOIN (SELECT entries.*, {hub_key} AS hub_key FROM hub_side AS entries {requests}) AS hub
    ON hub.hub_key = lines.line_key
WHERE lines.line_number IS NULL OR hub.batch_sequence IS NULL OR NOT ({equal})
"""

_REQUESTS: Final = """
    LEFT JOIN exchange.posted_requests_v1 AS requests
        ON entries.kind IN ('refund_burn', 'claw_back_earn') AND requests.partner_id = :partner_id
        AND requests.request_id = entries.request_id
"""
"""Of a key, the part stands with the request; only these kinds have one."""

_LINE_KEY: Final = "kind || '/' || reference || '/' || coalesce(part, 0)"
_HUB_KEY: Final = "entries.kind || '/' || entries.reference || '/' || coalesce(requests.part, 0)"

_COUNTS: Final = """
SELECT count(DISTINCT line_number),
    count(DISTINCT (batch_sequence, entry_index)) FILTER (WHERE batch_sequence IS NOT NULL),
    count(*) FILTER (WHERE counts)
FROM leftovers
"""

# Lines that share their key, all of them, and the entries of those keys. By hash, which takes a tenth of the memory:
# where two keys share one, equal pairs come along and are found equal once more.
_REPEATED: Final = """
WITH shared AS MATERIALIZED (
    SELECT hashtextextended({line_key}, 0) AS hash FROM settlement.partner_file_lines WHERE file_id = :file_id
    GROUP BY hash HAVING count(*) > 1
), again AS (
    INSERT INTO leftovers SELECT line_number, NULL, NULL, true FROM settlement.partner_file_lines
    WHERE file_id = :file_id AND hashtextextended({line_key}, 0) IN (SELECT hash FROM shared)
)
INSERT INTO leftovers
SELECT NULL, entries.batch_sequence, entries.entry_index, true
FROM hub_side AS entries {requests}
WHERE hashtextextended({hub_key}, 0) IN (SELECT hash FROM shared)
"""


@dataclass(frozen=True, slots=True)
class Side:
    """Whose file is compared with which window. `party` is the partner's number in the journal."""

    file_id: int
    partner_id: str
    party: int
    window_date: date


@dataclass(frozen=True, slots=True)
class Paired:
    """What a comparison counted. `equal_count` leaves out keys that the file has more than once."""

    hub: Controls
    equal_count: int
    unequal_count: int


def pair(connection: Connection, side: Side, rules: Rules) -> Paired:
    """Joins a file with a window. The places of unequal rows stay in the temporary table `leftovers`."""
    parameters = {"file_id": side.file_id, "partner_id": side.partner_id}
    with_id, line_count = connection.execute(
        text(
            "SELECT count(*) FILTER (WHERE request_id <> ''), count(*) FROM settlement.partner_file_lines"
            " WHERE file_id = :file_id"
        ),
        parameters,
    ).one()
    keys = _keys(with_id, line_count)
    entry_count, *totals = (int(value) for value in _make_hub_side(connection, side))
    counted = ", ".join(f"'{kind}'" for kind in (*EARNED, *BURNED))
    statement = _UNEQUAL.format(equal=_equal(rules), counted=counted, **keys)
    connection.execute(text(statement), parameters)
    lines, entries, unequal = connection.execute(text(_COUNTS)).one()
    equal = line_count - lines
    if equal > entry_count - entries:  # an entry stands against two lines that both equal it
        connection.execute(text(_REPEATED.format(**keys)), parameters)
        (lines, _, unequal) = connection.execute(text(_COUNTS)).one()
        equal = line_count - lines
    connection.exec_driver_sql("SET LOCAL enable_nestloop = on")
    return Paired(Controls(*totals), equal, unequal)


def _make_hub_side(connection: Connection, side: Side) -> Row[Any]:
    """The hub's side as a temporary table: how many entries, and the four totals."""
    for statement in (
        "DROP TABLE IF EXISTS pg_temp.leftovers, pg_temp.hub_side",
        _LEFTOVERS,
        "SET LOCAL work_mem = '64MB'",
        "SET LOCAL enable_hashagg = off",
        "SET LOCAL enable_hashjoin = off",
        # A statement that makes a table takes no parameters: a number and a date of ours.
        _HUB_SIDE.format(party=side.party, day=side.window_date),
        "SET LOCAL enable_hashagg = on",
        "SET LOCAL enable_hashjoin = on",
        "ANALYZE hub_side",
        # Of lines that were just loaded the planner knows nothing, and takes a million for a few.
        "SET LOCAL enable_nestloop = off",
    ):
        connection.exec_driver_sql(statement)
    return connection.execute(text(_TOTALS)).one()


def _keys(with_id: int, line_count: int) -> dict[str, str]:
    """What the sides are joined by: request ids, or kind, reference and part, or each line by what it has.

    No kind begins with '/', so a request id is never taken for a key.
    """
    if with_id == line_count:
        return {"line_key": "request_id", "hub_key": "entries.request_id", "requests": ""}
    if not with_id:
        return {"line_key": _LINE_KEY, "hub_key": _HUB_KEY, "requests": _REQUESTS}
    stated = "SELECT request_id FROM settlement.partner_file_lines WHERE file_id = :file_id"
    return {
        "line_key": f"CASE WHEN request_id <> '' THEN '/' || request_id ELSE {_LINE_KEY} END",
        "hub_key": f"CASE WHEN entries.request_id IN ({stated}) THEN '/' || entries.request_id ELSE {_HUB_KEY} END",
        "requests": _REQUESTS,
    }


def _equal(rules: Rules) -> str:
    """When a line equals its entry; the same as `matching.difference` finding nothing."""
    parts = [f"lines.{name} = hub.{name}" for name in ("kind", "points", "claimed_micros", "owed_micros")]
    if "member_id" in rules.compared:
        parts.append("(lines.member_number IS NULL OR lines.member_number = hub.member_id)")
    if "store_id" in rules.compared:
        parts.append("(lines.store_id = '' OR lines.store_id = hub.store_id)")
    if "rate_version" in rules.compared:
        parts.append("(lines.rate_version IS NULL OR lines.rate_version = hub.rate_version)")
    if "state" in rules.compared:
        parts.append(f"(lines.state = '' OR {_state_fits()})")
    return " AND ".join(parts)


def _state_fits() -> str:
    cases = (f"WHEN '{kind}' THEN lines.state IN ({_quoted(states)})" for kind, states in STATES.items())
    return f"CASE hub.kind {' '.join(cases)} ELSE false END"


def _quoted(words: tuple[str, ...]) -> str:
    return ", ".join(f"'{word}'" for word in words)
