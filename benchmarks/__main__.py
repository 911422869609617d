"""`make bench`: figures and their goals, each a ratio taken within one run on one machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.outbox import measure_outbox
from benchmarks.reconciliation import measure_reconciliation
from benchmarks.run import Figures, Plan, measure
from benchmarks.settlement import measure_settlement

RESULTS: Final = Path(__file__).parent / "results" / "latest.json"

GOALS: Final[dict[str, tuple[str, float]]] = {
    "batch.vs_pgbench": (">=", 3.5),
    "batch.vs_floor": (">=", 0.5),
    "unary.vs_echo": (">=", 0.4),
    "unary.p99_vs_echo": ("<=", 8.0),
    "growth.lots": (">=", 0.8),
    "memory.hub_mib": ("<=", 200.0),
    "adapter.outbox_per_s": (">=", 10_000.0),
    "adapter.outbox_single_per_s": (">=", 1_000.0),
    "adapter.outbox_memory_growth_mib": ("<=", 16.0),
    "settle.vs_sql": ("<=", 2.0),
    "reconcile.vs_sql": ("<=", 2.0),
    "reconcile.memory_mib": ("<=", 500.0),
}

QUICK: Final = Plan(
    members=20_000, pgbench_seconds=5, batch_seconds=12.0, unary_seconds=6.0, lot_members=1_000
)
FULL: Final = Plan(
    members=100_000,
    pgbench_seconds=15,
    batch_seconds=60.0,
    unary_seconds=20.0,
    lot_members=4_000,
    total_commands=5_000_000,
    settle_entries=1_000_000,
    outbox_commands=1_000_000,
)

PARTS: Final = ("hub", "settlement", "outbox")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmarks; exit code 0 when they ran, whatever the figures, 1 when a goal is missed with --strict."""
    parser = argparse.ArgumentParser("make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller and shorter: about two minutes")
    parser.add_argument(
        "--hubs", type=int, choices=(1, 2), default=2, help="hub processes on the database (2)"
    )
    parser.add_argument("--only", choices=PARTS, help="measure this part only, and keep the other figures")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON only")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a goal is missed")
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(prefix="tongdui-bench-") as folder:
        Path(folder).chmod(0o755)
        figures = _measure(Path(folder), plan, options)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(RESULTS.read_text()) if options.only and RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(kept | figures, indent=2) + "\n")
    if options.json:
        print(json.dumps(figures))  # the answer
    else:
        Console().print(_table(figures))
    missed = [key for key in GOALS if key in figures and not _reached(key, figures)]
    return 1 if options.strict and missed else 0


def _measure(folder: Path, plan: Plan, options: argparse.Namespace) -> Figures:
    console, figures = Console(stderr=True), Figures()
    if options.only in (None, "hub"):
        figures |= asyncio.run(measure(folder, plan, options.hubs, console))
    if options.only in (None, "settlement"):
        figures |= measure_settlement(folder, plan.settle_entries, console)
        figures |= measure_reconciliation(folder, plan.settle_entries, console)
    if options.only in (None, "outbox"):
        figures |= measure_outbox(folder / "outbox", plan.outbox_commands, console)
    return figures


def _reached(key: str, figures: Figures) -> bool:
    sign, goal = GOALS[key]
    return figures[key] >= goal if sign == ">=" else figures[key] <= goal


def _table(figures: Figures) -> Table:
    table = Table("figure", "value", "goal", title="Tongdui benchmarks")
    for key, value in figures.items():
        goal, style = "", ""
        if key in GOALS:
            sign, bound = GOALS[key]
            goal, style = f"{sign} {bound:g}", "green" if _reached(key, figures) else "red"
        shown = f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"
        table.add_row(key, shown, goal, style=style)
    return table


if __name__ == "__main__":
    sys.exit(main())
