"""What the demo says: its progress, its totals, and where to look further."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from examples.month.directory import DEFAULT_DIRECTORY
from examples.month.partners import PARTNERS

_PIPE_WIDTH: Final = 120
_MOST_LINES: Final = 31
_MICROS: Final = 1_000_000


def make_console(*, stderr: bool) -> Console:
    """A console that does not fold tables at 80 columns where its output goes to a file."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=_PIPE_WIDTH)


class DaysShown:
    """A bar that moves on with each day; without a terminal, a line every so many days."""

    def __init__(self, console: Console, day_count: int, bar: tuple[Progress, TaskID] | None) -> None:
        self._console = console
        self._day_count = day_count
        self._bar = bar
        self._every = -(-day_count // _MOST_LINES)
        self._done = 0

    def day_done(self, day: str, figures: str) -> None:
        """One more day is posted."""
        self._done += 1
        if self._bar is not None:
            progress, task = self._bar
            progress.update(task, advance=1, description=day, figures=figures)
        elif self._done % self._every == 0 or self._done == self._day_count:
            self._console.print(Text(f"{day}  {self._done:>3}/{self._day_count}  {figures}"))

    def waiting(self, what: str) -> None:
        """All days are posted, something is still to come."""
        if self._bar is not None:
            progress, task = self._bar
            progress.update(task, description=what)


@contextmanager
def show_days(console: Console, day_count: int) -> Iterator[DaysShown]:
    """Shows the days as they pass."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield DaysShown(console, day_count, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=day_count, figures="")
        yield DaysShown(console, day_count, (progress, task))


def show_totals(console: Console, totals: Mapping[str, Any]) -> None:
    """The figures of the run for a person."""
    posted, points = totals["commands"], totals["points"]
    console.print(
        Text(f"The {totals['days']} days {totals['first_day']} to {totals['last_day']}", style="bold")
    )
    grid = Table.grid(padding=(0, 2))
    for name, value in (
        ("commands posted", f"{posted['posted']:,}"),
        ("accepted", f"{posted['accepted']:,} ({posted['earns']:,} earns, {posted['burns']:,} burns)"),
        (
            "refused",
            ", ".join(f"{count:,} {reason}" for reason, count in posted["refused"].items()) or "none",
        ),
        ("members", f"{totals['members']:,}, with {totals['links']:,} links to partners"),
        (
            "receipts verified",
            f"{totals['receipts_verified']:,}, one for each answer of the hub to a partner",
        ),
        ("points earned", f"{points['earned']:,}"),
        ("points burned", f"{points['burned']:,}"),
        ("points expired", f"{points['expired']:,} by the end of {totals['last_day']}"),
        ("points open", f"{points['open']:,}"),
        (
            "liability",
            f"{_money(totals['liability_micros'])} CNY, of it in the pool {_money(totals['pool_micros'])}",
        ),
        ("certificates", f"{totals['certificates']:,}, {totals['checks']:,} checks, all of them true"),
        (
            "journal",
            f"{totals['audited']['rows']:,} rows of {totals['audited']['windows']:,} days hashed again,"
            " each as the hub signed for it",
        ),
        (
            "in one sum",
            f"{totals['checked']['money_lines']:,} money lines of {totals['checked']['windows']:,} days are"
            " all statements together, to the fen; net of all 0.00",
        ),
        ("seconds", ", ".join(f"{name} {took:.1f}" for name, took in totals["seconds"].items())),
    ):
        grid.add_row(Text(name, style="dim"), value)
    console.print(grid)
    console.print(_issuers_table(totals["issuers"]))


def _issuers_table(issuers: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="", padding=(0, 1, 0, 0), pad_edge=False)  # fits 80 columns
    for name in ("issuer", "funded at"):
        table.add_column(name, no_wrap=True)
    for name in ("issued", "burned", "expired", "open", "liability", "in pool"):
        table.add_column(name, justify="right", no_wrap=True)
    funding = {partner.partner_id: partner.funded_at for partner in PARTNERS}
    for one in issuers:
        points = (f"{one[name]:,}" for name in ("issued", "burned", "expired", "open"))
        money = (_money(one[name]) for name in ("liability_micros", "escrow_micros"))
        table.add_row(one["issuer_id"], funding[one["issuer_id"]], *points, *money)
    return table


def _money(micros: int) -> str:
    """An exact amount, of which no digit is left out."""
    whole, fraction = divmod(micros, _MICROS)
    digits = f"{fraction:06d}".rstrip("0").ljust(2, "0")
    return f"{whole:,}.{digits}"


def show_further(console: Console, directory: Path, figures: Mapping[str, Any], *, running: bool) -> None:
    """The few lines a stranger needs to look further; all of them work as they stand."""
    day, (member_id, partner) = figures["last_day"], figures["best_member"]
    folder = shlex.quote(str(directory))
    query = "select kind, count(*), sum(points) from exchange.posted_entries_v1 group by kind"
    choice = "" if directory == Path(DEFAULT_DIRECTORY) else f" --directory {folder}"
    serve = f"make demo ARGS={shlex.quote('--serve' + choice)}"
    first = "The hub is running; Ctrl-C stops it. In another terminal:"
    lines = (
        [first] if running else ["To look further, start the hub again on what it has:", "", f"  {serve}", ""]
    )
    lines += [] if running else ["and in another terminal, from the same folder:"]
    commands = (
        f". {folder}/env",
        f"tongdui-settle statement --date {day} --partner {partner}",
        f"tongdui-settle certificate --date {figures['first_day']}",
        f"tongdui-adapter ping @{folder}/partners/{partner}",
        f"tongdui-adapter wallet @{folder}/partners/{partner} --member {member_id}",
        f"tongdui-adapter verify {folder}/receipts/{partner}.json --hub-keys {folder}/hub/hub-keys.json",
        f'psql service=tongdui -c "{query}"',
    )
    lines += ["", *(f"  {command}" for command in commands), ""]
    lines += [f"Statements of every day as CSV: {folder}/statements"]
    console.print(Text("\n".join(lines)), soft_wrap=True)
