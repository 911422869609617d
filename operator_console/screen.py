"""Plain values on a screen: tables for lists, a grid for what there is one of."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from operator_console.plain import Row

_PIPE_WIDTH: Final = 200
_NOTHING: Final[tuple[Any, ...]] = (None, "", [], {})
_TIME: Final = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?\+00:00$")
"""A time as `to_plain` writes it; a person is not shown the parts of its second."""
MICROS: Final = 1_000_000


class Column(NamedTuple):
    """A column: its title and where a row has its value, `a.b` for the value `b` of the object `a`."""

    title: str
    path: str


def columns(*paths: str) -> tuple[Column, ...]:
    """Columns that are titled as their values are named."""
    return tuple(Column(_title(path.rpartition(".")[2]), path) for path in paths)


def make_console(*, stderr: bool = False) -> Console:
    """A console that does not fold tables at 80 columns where its output goes to a file."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=_PIPE_WIDTH)


def table(rows: Sequence[Row], wanted: Sequence[Column], empty: str) -> RenderableType:
    """Rows under these columns but for those that are empty everywhere; the text `empty` where there are no rows."""
    if not rows:
        return Text(empty, style="dim")
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    found = [(column, [_at(row, column.path) for row in rows]) for column in wanted]
    filled = [(column, values) for column, values in found if any(it not in _NOTHING for it in values)]
    for column, values in filled:
        is_number = any(isinstance(value, int) and not isinstance(value, bool) for value in values)
        made.add_column(Text(column.title), justify="right" if is_number else "left", overflow="fold")
    for shown in zip(*(values for _, values in filled), strict=True):
        made.add_row(*map(cell, shown))
    return made


def details(content: Mapping[str, Any]) -> RenderableType:
    """One grid of the single values, then each object and each list under its name."""
    return Group(*_details(content))


def _details(content: Mapping[str, Any]) -> Iterator[RenderableType]:
    grid = Table.grid(padding=(0, 2))
    below: list[RenderableType] = []
    for name, value in content.items():
        # Text, not markup: what a hub or a file says must not style or hide anything.
        title = Text(_title(name), style="bold")
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            below += [Text(), title, table(value, columns(*_names(value)), "")]
        elif isinstance(value, Mapping) and value:
            below += [Text(), title, *_details(value)]
        else:
            grid.add_row(title, cell(value))
    if grid.row_count:
        yield grid
    yield from below


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def cell(value: Any) -> Text:
    """A value as a person reads it."""
    match value:
        case bool():
            return Text("yes" if value else "no")
        case int():
            return Text(f"{value:,}")
        case list():
            return Text(", ".join(str(cell(one)) for one in value) or "-")
        case Mapping():
            return Text(", ".join(f"{_title(name)} {cell(one)}" for name, one in value.items()) or "-")
        case None | "":
            return Text("-")
        case _:
            return Text(_TIME.sub(r"\1 \2 UTC", str(value)))


def money(micros: int) -> str:
    """Micros as the major unit, exactly, with two decimals at least."""
    whole, part = divmod(abs(micros), MICROS)
    decimals = f"{part:06}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}{whole:,}.{decimals}"


def _title(name: str) -> str:
    return name.replace("_", " ")


def _at(row: Row, path: str) -> Any:
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
