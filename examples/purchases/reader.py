"""Read the demo's purchases: the committed month with the standard library alone, or the whole year.

What a purchase is, and the rules by which it comes about, are in `derive.py`.
"""

import csv
import lzma
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from examples.purchases.derive import COLUMNS, COMMITTED_FILE, PARTNERS, Purchase, aggregate, read_package

__all__ = ["PARTNERS", "Purchase", "read_month", "read_year"]


def read_month(file: Path = COMMITTED_FILE) -> Iterator[Purchase]:
    """The purchases of 24 November to 24 December 2017 (UTC), by time, basket and partner.

    `file` may name another one from `derive.py`. Raises FileNotFoundError if it is not there, ValueError
    if its columns are not as expected.
    """
    with lzma.open(file, "rt", encoding="ascii", newline="") as text:
        rows = csv.reader(text)
        header = next(rows, [])
        if tuple(header) != COLUMNS:
            raise ValueError(f"{file.name}: expected columns {', '.join(COLUMNS)}, got {header}")
        for time, household_id, basket_id, store_id, partner, spend_fen, line_count in rows:
            yield Purchase(
                event_time=datetime.fromisoformat(time),
                household_id=int(household_id),
                basket_id=int(basket_id),
                store_id=int(store_id),
                partner=partner,
                spend_fen=int(spend_fen),
                line_count=int(line_count),
            )


def read_year() -> Iterator[Purchase]:
    """Every purchase in the data package (366 UTC days), in the order and by the rules of the month.

    Raises ModuleNotFoundError, saying what to install, without the extra `year`.
    """
    yield from aggregate(read_package()).purchases
