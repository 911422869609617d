"""What the unattended day did and what it waits for, on a screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def daily_view(content: Mapping[str, Any]) -> RenderableType:
    """Files of the inbox, days with their steps, and what people have to decide."""
    parts: list[RenderableType] = []
    if content["files"]:
        files = _table("file", "what became of it")
        for one in content["files"]:
            taken = "was taken in before" if one.get("is_repeat") else f"{one.get('line_count', 0):,} deals"
            files.add_row(Text(one["file"]), Text(one.get("refused") or taken))
        parts += [files, ""]
    if content["days"]:
        days = _table("day", "state", "done now")
        for one in content["days"]:
            days.add_row(one["window_date"], one["state"], ", ".join(one["steps"]) or "nothing")
        parts += [days, ""]
    if content["decisions"]:
        waiting = _table("who", "day", "what", "command")
        for one in content["decisions"]:
            waiting.add_row(one["role"], one["window_date"] or "", Text(one["what"]), Text(one["command"]))
        parts += [Text("Waits for people", style="bold"), waiting]
    return Group(*parts) if parts else Text("nothing is left to do")


def _table(*names: str) -> Table:
    table = Table(header_style="")
    for name in names:
        table.add_column(name, overflow="fold")
    return table
