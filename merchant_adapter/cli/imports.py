"""`import`: commands from a CSV file into an outbox."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from merchant_adapter.cli.arguments import Subparsers
from merchant_adapter.cli.report import Report
from merchant_adapter.csv_import import MOST_BYTES, ImportedRow, named_by_row, read_commands
from merchant_adapter.outbox import Limits, Outbox, RequestIdTaken
from merchant_adapter.outbox.times import now_ms


def add(subparsers: "Subparsers[argparse.ArgumentParser]", shown: argparse.ArgumentParser) -> None:
    """Adds the command."""
    command = subparsers.add_parser(
        "import",
        parents=[shown],
        help="store the commands of a CSV file in an outbox",
        description="Stores all rows of a CSV file, or names the faults and stores none. The columns are `command` and"
        " the field names of the SDK's commands. The same file again stores nothing twice.",
    )
    command.add_argument("file", metavar="FILE", type=Path)
    command.add_argument(
        "--outbox",
        required=True,
        metavar="FILE|URL",
        help="a SQLite file or postgresql://...; made if not there",
    )
    command.add_argument("--dry-run", action="store_true", help="name the faults, and store nothing")
    command.set_defaults(run=run_import)


def run_import(arguments: argparse.Namespace) -> Report:
    """Reads the whole file, then stores it."""
    with arguments.file.open("rb") as file:
        raw = file.read(MOST_BYTES + 1)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=arguments.json,
    )
    with progress:
        rows = _read(raw, progress)
        if arguments.dry_run:
            return Report({"outcome": "not stored: a dry run", "rows": len(rows)})
        progress.add_task("storing", total=None)
        with Outbox.open(arguments.outbox, limits=Limits()) as outbox:
            try:
                queued = outbox.writer.hand_in([row.command for row in rows]).result()
            except RequestIdTaken as error:
                raise named_by_row(error, rows) from error
    repeated = sum(one.is_repeat for one in queued)
    return Report({"outcome": "stored", "rows": len(rows), "new": len(rows) - repeated, "repeated": repeated})


def _read(raw: bytes, progress: Progress) -> list[ImportedRow]:
    # A quoted cell may hold line ends: then there are fewer rows than lines, and the bar is a guess until the end.
    task = progress.add_task("rows", total=raw.count(b"\n"))
    rows = read_commands(raw, now_ms(), lambda number: progress.update(task, completed=number))
    progress.update(task, completed=len(rows), total=len(rows))
    return rows
