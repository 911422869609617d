"""Reconciliations on a screen: the four controls of each partner, and its breaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType

from settlement.command_line import screen
from settlement.core.amounts import micros_texts
from settlement.core.break_types import Controls
from settlement.core.findings import ControlSet, Found
from settlement.core.window import Ledger
from settlement.reconciliation import Outcome
from settlement.store.intake import FileRow

_EXAMPLES = 20
"""Breaks that are shown one by one."""


def file_content(row: FileRow) -> dict[str, Any]:
    """A file as plain data."""
    return {
        "file_id": row.file_id,
        "partner_id": row.partner_id,
        "business_date": str(row.business_date),
        "sha256": row.sha256,
        "format": row.format,
        "line_count": row.line_count,
        "state": row.state,
        "controls": asdict(row.controls),
    }


def outcome_content(outcome: Outcome) -> dict[str, Any]:
    """A comparison as plain data, its breaks counted by type."""
    controls = outcome.controls
    names = ("partner", "hub", "difference", "classified", "unexplained")
    return {
        "partner_id": outcome.partner_id,
        "file_id": outcome.file.file_id,
        "reconciliation_id": outcome.reconciliation_id,
        "matched_count": outcome.matched_count,
        "cleared_count": len(outcome.cleared),
        "breaks": dict(Counter(one.type.value for one in outcome.found)),
        "controls": {name: asdict(getattr(controls, name)) for name in names},
    }


def outcomes_view(
    outcomes: Sequence[Outcome], missing: Sequence[str], ledger: Ledger, title: str
) -> RenderableType:
    """Controls and first breaks of each partner, and whose files are missing."""
    parts: list[RenderableType] = [_controls_view(outcomes, ledger, title)] if outcomes else []
    parts += [_breaks_view(outcome, ledger) for outcome in outcomes if outcome.found]
    if missing:
        parts.append(f"missing: the files of {', '.join(missing)}")
    return Group(*parts) if parts else f"{title}: no file is there, and none is expected"


_CONTROLS = (
    ("points earned", "earned_points"),
    ("points burned", "burned_points"),
    ("money claimed", "claimed_micros"),
    ("money owed", "owed_micros"),
)


def _controls_view(outcomes: Sequence[Outcome], ledger: Ledger, title: str) -> RenderableType:
    amounts = ["partner", "hub", "difference", "breaks", "unexplained"]
    table = screen.plain_table(["partner", "matched", "control"], amounts)
    for outcome in outcomes:
        for words, control in _CONTROLS:
            first = control == _CONTROLS[0][1]
            head = (outcome.partner_id, f"{outcome.matched_count:,}") if first else ("", "")
            table.add_row(*head, words, *_figures(outcome.controls, control, ledger))
        table.add_section()
    return screen.titled(f"{title}, {ledger.currency_code}", table)


def _figures(controls: ControlSet, control: str, ledger: Ledger) -> list[str]:
    sides = (controls.partner, controls.hub, controls.difference, controls.classified, controls.unexplained)
    values = [int(getattr(side, control)) for side in sides]
    if control.endswith("points"):
        return [f"{value:,}" for value in values]
    return list(micros_texts(values, ledger.minor_unit_digits))


def _breaks_view(outcome: Outcome, ledger: Ledger) -> RenderableType:
    table = screen.plain_table(["break", "deal", "what"], ["points", "money"])
    for one in outcome.found[:_EXAMPLES]:
        points, money = _stake(one.at_stake, ledger)
        table.add_row(one.type.value, _deal(one), one.detail, points, money)
    count = len(outcome.found)
    kinds = ", ".join(f"{kind} {n:,}" for kind, n in Counter(it.type.value for it in outcome.found).items())
    more = f", the first {_EXAMPLES}" if count > _EXAMPLES else ""
    return screen.titled(f"Breaks of {outcome.partner_id}: {kinds}{more}", table)


def _stake(at_stake: Controls, ledger: Ledger) -> tuple[str, str]:
    (money,) = micros_texts([at_stake.amount_at_stake_micros], ledger.minor_unit_digits)
    return f"{at_stake.points_at_stake:,}", money


def _deal(found: Found) -> str:
    side = found.line or found.entry
    assert side is not None, "a break has at least one side"
    return f"{side.kind} {side.reference or side.request_id}"
