"""Statements as a workbook: its formulas compute, to what is cached beside them and to what is settled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from openpyxl import Workbook, load_workbook

from settlement.__main__ import main
from settlement.core.parties import OPERATOR, POOL
from settlement.core.rounding import ROUNDING
from settlement.store.engine import open_engine
from settlement.store.reads import DayOfStatements, Reads
from tests.conftest import Databases
from tests.settled_days import SettledDays, settled_days
from tests.settlement_hub import DAY_1, DAY_2, prepare


@pytest.fixture(scope="module")
def days(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SettledDays]:
    with databases.fresh() as url, pytest.MonkeyPatch.context() as monkeypatch:
        prepare(url)
        with settled_days(url, tmp_path_factory.mktemp("days"), monkeypatch, through=2) as made:
            yield made


def settled(days: SettledDays, day: Any) -> DayOfStatements:
    engine = open_engine(days.url)
    found = Reads(engine).day(day)
    engine.dispose()
    assert found is not None
    return found


class Sheets:
    """Evaluates the few kinds of formulas a workbook has: references, SUM, SUMIFS, ROUND, + and /."""

    def __init__(self, book: Workbook) -> None:
        self.book = book

    def value(self, sheet: str, cell: str) -> Any:
        content = self.book[sheet][cell.replace("$", "")].value
        if isinstance(content, str) and content.startswith("="):
            return self.formula(sheet, content[1:])
        return Decimal(str(content)) if isinstance(content, int | float) else content

    def cells(self, sheet: str, area: str) -> list[Any]:
        named, _, place = area.rpartition("!")
        sheet = named.strip("'") or sheet
        rows = self.book[sheet][place.replace("$", "")]
        return [self.value(sheet, cell.coordinate) for (cell,) in rows]

    def formula(self, sheet: str, text: str) -> Any:
        if match := re.fullmatch(r"ROUND\((.+),(\d+)\)", text):
            return round(self.formula(sheet, match[1]), int(match[2]))
        if match := re.fullmatch(r"SUMIFS\((.+),(.+),(.+)\)/(\d+)", text):
            wanted = self.value(sheet, match[3])
            pairs = zip(self.cells(sheet, match[1]), self.cells(sheet, match[2]), strict=True)
            return sum((micros for micros, name in pairs if name == wanted), Decimal(0)) / int(match[4])
        if match := re.fullmatch(r"SUM\((.+)\)", text):
            return sum(self.cells(sheet, match[1]), Decimal(0))
        if match := re.fullmatch(r"(\w+)\+(\w+)", text):
            return self.value(sheet, match[1]) + self.value(sheet, match[2])
        if match := re.fullmatch(r"'(.+)'!(\w+)", text):
            return self.value(match[1], match[2])
        return Decimal(text)


def written(days: SettledDays, *options: str, day: str = "2026-01-02") -> tuple[Workbook, Workbook]:
    """The workbook as formulas, and as the results cached beside them."""
    path = days.directory / "statements.xlsx"
    assert main(["statement", "--date", day, "--xlsx", str(path), *options]) == 0
    return load_workbook(path), load_workbook(path, data_only=True)


def formulas(book: Workbook) -> list[tuple[str, str]]:
    return [
        (sheet.title, cell.coordinate)
        for sheet in book.worksheets
        for row in sheet.iter_rows()
        for cell in row
        if cell.data_type == "f"
    ]


@pytest.mark.parametrize("day", [DAY_1, DAY_2])
def test_every_formula_computes_to_what_is_cached_beside_it(days: SettledDays, day: Any) -> None:
    book, cached = written(days, day=str(day))
    sheets = Sheets(book)

    found = {place: sheets.value(*place) for place in formulas(book)}

    assert len(found) > 25
    for (sheet, cell), value in found.items():
        assert value == Decimal(str(cached[sheet][cell].value)), (sheet, cell)


@pytest.mark.parametrize("day", [DAY_1, DAY_2])
def test_formulas_give_nets_closings_and_exact_amounts_of_the_settlement(days: SettledDays, day: Any) -> None:
    sheets = Sheets(written(days, day=str(day))[0])

    for statement in settled(days, day).statements:
        sheet, net = statement.party_id, 8 + len(statement.lines)
        assert sheets.value(sheet, f"D{net}") * 100 == statement.net_minor
        assert sheets.value(sheet, f"D{net + 1}") * 100 == statement.closing_minor
        for row, line in enumerate(statement.lines, 8):
            assert sheets.value(sheet, f"A{row}") == line.component
            assert sheets.value(sheet, f"D{row}") * 100 == line.amount_minor
            if line.component != ROUNDING:
                assert sheets.value(sheet, f"E{row}") * 1_000_000 == line.exact_micros


def test_the_summary_nets_to_zero(days: SettledDays) -> None:
    book, cached = written(days)
    sheets = Sheets(book)
    last = book["Summary"].max_row

    totals = [sheets.value("Summary", f"{column}{last}") for column in "CDE"]

    assert book["Summary"][f"A{last}"].value == "all parties"
    assert totals == [0, 0, 0]
    assert cached["Summary"][f"D{last}"].value == 0
    parties = [book["Summary"][f"A{row}"].value for row in range(2, last)]
    assert parties == ["a", "b", "c", POOL, OPERATOR]


def test_a_text_that_begins_like_a_formula_stays_a_text(days: SettledDays) -> None:
    for number, text in enumerate(("=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("x")', "http://x.example/")):
        days.ledger.connection.execute(
            "UPDATE exchange.posted_entries_v1 SET reference = %s, store_id = %s WHERE batch_sequence = %s",
            (text, text, number + 1),
        )

    book, _ = written(days, day="2026-01-01")

    sheet = book["OPERATOR entries"]
    shown = {(row[4].value, row[4].data_type, row[5].data_type) for row in sheet.iter_rows(min_row=2)}
    assert {kind for _, *kinds in shown for kind in kinds} <= {"s", "inlineStr"}
    assert {"=1+1", "@SUM(A1)", "-1", "http://x.example/"} <= {text for text, *_ in shown}
    assert all(cell.hyperlink is None for row in sheet.iter_rows() for cell in row)


def test_one_partners_workbook_has_nobody_elses_sheet(days: SettledDays) -> None:
    book, _ = written(days, "--partner", "b")

    assert book.sheetnames == ["Summary", "b", "b entries"]
    assert "Bakery" not in str([[cell.value for cell in row] for row in book["Summary"].iter_rows()])


def test_the_entries_of_a_party_are_those_of_its_lines(days: SettledDays) -> None:
    book, _ = written(days, day="2026-01-01")

    rows = list(book["b entries"].iter_rows(min_row=2, values_only=True))

    assert [(row[0], row[3], row[9], row[12], row[15]) for row in rows] == [
        ("104-0", "burn", 3_333, "BURN_REIMBURSE", 31_663_500),
        ("105-0", "burn", 700, "BURN_REIMBURSE", 6_650_000),
        ("106-0", "earn", 16, "ISSUE_FEE", -3_200),
        ("106-0", "earn", 16, "ISSUE_FUNDING", -160_000),
    ]


def test_the_same_statements_give_the_same_bytes(days: SettledDays) -> None:
    path = days.directory / "statements.xlsx"
    written(days)
    once = path.read_bytes()
    written(days)

    assert path.read_bytes() == once


def test_amounts_are_formatted_as_the_currency_asks(days: SettledDays) -> None:
    book, _ = written(days, day="2026-01-01")

    assert book["a"]["D8"].number_format == "#,##0.00;[Red]-#,##0.00"
    assert book["a"]["C8"].number_format == "#,##0.000000"
