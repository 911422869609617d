"""The desk on a screen: breaks with their age and due time, one break with all that is known about it, the log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from enum import Enum
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from settlement.core.amounts import micros_texts
from settlement.core.break_state import BreakState, age_bucket, age_days
from settlement.core.deed import AuditRow
from settlement.store.desk import Break, BreakEvent, Dispute, ProposedResolution

_SIDES: Final = (
    "kind",
    "request_id",
    "reference",
    "part",
    "event_time",
    "member_id",
    "store_id",
    "terminal_id",
    "points",
    "claimed_micros",
    "owed_micros",
    "rate_version",
    "state",
)
"""The fields of a deal in the order of a partner's file; what else a side has comes after them."""


def break_content(found: Break, moment: datetime, today: date) -> dict[str, Any]:
    """A break as plain data, with its age and whether it is overdue."""
    content: dict[str, Any] = plain(asdict(found))
    days = age_days(found.opened_date, found.resolved_date or today)
    overdue = found.state is not BreakState.RESOLVED and found.due_time < moment
    return content | {"age_days": days, "age": age_bucket(days), "overdue": overdue}


def plain(value: Any) -> Any:
    """Values of records as JSON has them."""
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, date) else value


def breaks_view(contents: Sequence[Mapping[str, Any]], digits: int, currency_code: str) -> RenderableType:
    """Breaks, a row each, oldest number first."""
    if not contents:
        return Text("no break")
    table = _table("break", "partner", "day", "type", "severity", "state", "owner")
    for name in ("points", f"amount, {currency_code}", "age"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("due", no_wrap=True)
    amounts = micros_texts([one["amount_at_stake_micros"] for one in contents], digits)
    for one, amount in zip(contents, amounts, strict=True):
        table.add_row(
            str(one["break_id"]),
            one["partner_id"],
            one["window_date"],
            one["type"],
            one["severity"],
            one["resolution"] or one["state"],
            Text(one["owner"] or ""),
            f"{one['points_at_stake']:,}",
            amount,
            f"{one['age_days']} d",
            Text(one["due_time"][:16], style="bold red" if one["overdue"] else ""),
        )
    return table


def break_view(
    content: Mapping[str, Any],
    events: Sequence[BreakEvent],
    proposals: Sequence[ProposedResolution],
    disputes: Sequence[Dispute],
    receipts: Sequence[Mapping[str, Any]],
) -> RenderableType:
    """All that is known about a break."""
    parts: list[RenderableType] = [_facts(content), "", _sides(content)]
    if proposals:
        parts += ["", Text("Proposals", style="bold"), _proposals(proposals)]
    if disputes:
        parts += ["", Text("Disputes", style="bold"), disputes_view(disputes)]
    if events:
        parts += ["", Text("History", style="bold"), _events(events)]
    for receipt in receipts:
        parts += ["", Text("The hub's receipt of the correction", style="bold"), Text(json.dumps(receipt))]
    return Group(*parts, "")


def _facts(content: Mapping[str, Any]) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    names = ("partner_id", "window_date", "type", "detail", "severity", "state", "resolution", "owner")
    dated = (
        "opened_date",
        "age_days",
        "due_time",
        "overdue",
        "resolved_time",
        "seen_count",
        "cleared_by_file",
    )
    stakes = ("points_at_stake", "amount_at_stake_micros", "entry_id", "file_id", "line_number")
    for name in (*names, *stakes, *dated):
        if content[name] is not None:
            facts.add_row(Text(name.replace("_", " "), style="dim"), Text(str(content[name])))
    return facts


def _sides(content: Mapping[str, Any]) -> Table:
    hub, partner = content["hub"] or {}, content["partner"] or {}
    table = _table("field", "hub", "partner")
    others = sorted((set(hub) | set(partner)) - set(_SIDES))
    for name in (*_SIDES, *others):
        if name in hub or name in partner:
            ours, theirs = str(hub.get(name, "")), str(partner.get(name, ""))
            style = "bold" if hub and partner and ours != theirs else ""
            table.add_row(name, Text(ours), Text(theirs), style=style)
    return table


def _proposals(proposals: Iterable[ProposedResolution]) -> Table:
    table = _table("no", "kind", "state", "proposed by", "decided by", "correction", "entry")
    table.add_column("reason")
    for one in proposals:
        number = str(one.adjustment_id or "")
        names = (Text(one.proposed_by), Text(one.decided_by or ""))
        table.add_row(
            str(one.number), one.kind, one.state, *names, number, one.entry_id or "", Text(one.reason)
        )
    return table


def disputes_view(disputes: Iterable[Dispute]) -> RenderableType:
    """Disputes, a row each."""
    table = _table("dispute", "break", "claimed by", "against", "state", "answer until", "for")
    table.add_column("claim, answer, decision")
    for one in disputes:
        said = Text("\n".join(text for text in (one.claim, one.answer, one.decision) if text))
        until = f"{one.deadline:%Y-%m-%d %H:%M}"
        parties = (one.opened_by, one.against, one.state, until, one.in_favour_of or "")
        table.add_row(str(one.dispute_id), str(one.break_id), *parties, said)
    return table if table.row_count else Text("no dispute")


def _events(events: Iterable[BreakEvent]) -> Table:
    table = _table("time", "person", "act", "state")
    table.add_column("what")
    for one in events:
        said = Text(one.text)
        if one.evidence:
            said.append(f"\n{one.evidence['file_name']}, {one.evidence['byte_count']:,} bytes", style="dim")
            said.append(f"\n{one.evidence['sha256']}", style="dim")
        table.add_row(_time(one.event_time), Text(one.person), one.act, one.state_to, said)
    return table


def people_view(contents: Sequence[Mapping[str, Any]]) -> RenderableType:
    """People with a key each, and what they may do."""
    if not contents:
        return Text("the hub has no key of any person")
    table = _table("person", "roles", "key", "state", "until")
    table.add_column("may")
    for one in contents:
        acts = ", ".join(act.replace("_", " ") for act in one["may"])
        roles, until = ", ".join(one["roles"]), one["valid_until"][:10]
        table.add_row(Text(one["name"]), roles, one["key_id"][:24], one["state"], until, acts)
    return table


def audit_content(row: AuditRow) -> dict[str, Any]:
    """A row of the audit log as plain data; the signed text as it stands, signature and hashes in hex."""
    content: dict[str, Any] = plain(asdict(row))
    return content | {"text": row.text.decode("ascii")}


def audit_view(rows: Sequence[AuditRow]) -> RenderableType:
    """The audit log, oldest first."""
    if not rows:
        return Text("nothing was done")
    table = _table("no", "time", "person", "role", "act", "item")
    table.add_column("why, before, after")
    for row in rows:
        said = Text(row.reason)
        for name, value in (("before", row.before), ("after", row.after)):
            if value:
                text = ", ".join(f"{key} {one}" for key, one in value.items() if not isinstance(one, dict))
                said.append(f"\n{name}: {text}" if said else f"{name}: {text}", style="dim")
        item = Text(f"{row.item_kind} {row.item_id}")
        table.add_row(str(row.audit_id), _time(row.act_time), Text(row.person), row.role, row.act, item, said)
    return table


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _table(*names: str) -> Table:
    table = Table(header_style="")
    for name in names:
        table.add_column(name, no_wrap=True)
    return table
