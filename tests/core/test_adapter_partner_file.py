"""The adapter's partner file against settlement's reader: what one writes the other reads, to the micro."""

import csv
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merchant_adapter import (
    Deal,
    FileFormat,
    InvalidRequest,
    MoneyUnit,
    PartnerFileHeader,
    partner_file_parts,
    write_partner_file,
)
from merchant_adapter.partner_file import BURNED, EARNED, OTHER_KINDS, STATES
from settlement.core import kinds
from settlement.core.break_types import Controls
from settlement.core.file_readers import CsvReader, JsonlReader, Reader
from settlement.core.partner_file import Expected, FileRefused, Header
from tests.property.profiles import tries

DAY = date(2026, 1, 2)
NOON = datetime(2026, 1, 2, 12, 0, 0, 123, tzinfo=timezone(timedelta(hours=8)))
MAJOR = PartnerFileHeader("cafe", DAY, "CNY")
MINOR = PartnerFileHeader("cafe", DAY, "CNY", MoneyUnit.MINOR)
WEST = timezone(timedelta(hours=-3))
EXPECTED = Expected("cafe", DAY, "CNY", 2)
READERS: dict[FileFormat, Callable[[int, Expected], Reader]] = {
    FileFormat.CSV: CsvReader,
    FileFormat.JSONL: JsonlReader,
}

names = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=64
).filter(lambda text: text.isprintable() and text[0] not in "=+-@")
"""Quotes, commas and Chinese too."""

ids = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64).filter(
    lambda text: text[0] not in "=+-@"
)
amounts = st.integers(0, 10**14)


def deals(micros_step: int) -> st.SearchStrategy[Deal]:
    return st.builds(
        Deal,
        kind=st.sampled_from(sorted({*EARNED, *BURNED, *OTHER_KINDS})),
        event_time=st.integers(978_400_000, 4_000_000_000).map(lambda at: datetime.fromtimestamp(at, WEST)),
        points=st.integers(0, 10**12),
        claimed_micros=amounts.map(lambda amount: amount * micros_step),
        owed_micros=amounts.map(lambda amount: amount * micros_step),
        request_id=ids,
        reference=st.just("") | names,
        part=st.none() | st.integers(0, 1_000_000),
        store_id=st.just("") | names,
        terminal_id=st.just("") | names,
        rate_version=st.none() | st.integers(1, 999),
        state=st.sampled_from(sorted(STATES)),
    )


def read(file: bytes, file_format: FileFormat) -> tuple[Header, list[list[str]]]:
    """The header and the rows for the database; raises FileRefused."""
    reader = READERS[file_format](7, EXPECTED)
    rows = reader.feed(file) + reader.finish()
    assert reader.header is not None
    return reader.header, list(csv.reader(io.StringIO(rows.decode())))


def micros_in(text: str) -> int:
    """Of money as a row has it: an amount and its power of ten."""
    amount, _, exponent = text.partition("e")
    whole, _, decimals = amount.partition(".")
    return int(whole + decimals.ljust(int(exponent), "0")) if decimals else int(whole) * 10 ** int(exponent)


@pytest.mark.parametrize("file_format", READERS)
@tries(100)
@given(wanted=st.lists(deals(1), max_size=5))
def test_what_the_adapter_writes_settlement_reads(file_format: FileFormat, wanted: list[Deal]) -> None:
    header, rows = read(write_partner_file(wanted, MAJOR, file_format), file_format)

    assert header.count == len(wanted)
    assert header.controls == sum(
        (kinds.controls_of(it.kind, it.points, it.claimed_micros, it.owed_micros) for it in wanted),
        Controls(),
    )
    assert [[row[2], row[4], int(row[10]), micros_in(row[11]), micros_in(row[12])] for row in rows] == [
        [it.request_id, it.reference, it.points, it.claimed_micros, it.owed_micros] for it in wanted
    ]
    assert [datetime.fromisoformat(row[6]) for row in rows] == [it.event_time for it in wanted]


@tries(100)
@given(wanted=st.lists(deals(100), max_size=3))
def test_amounts_in_minor_units_are_the_same_amounts(wanted: list[Deal]) -> None:
    in_major, _ = read(write_partner_file(wanted, MAJOR), FileFormat.CSV)
    in_minor, _ = read(write_partner_file(wanted, MINOR), FileFormat.CSV)

    assert in_minor.controls == in_major.controls


def test_both_sides_know_the_same_kinds_and_states() -> None:
    assert (EARNED, BURNED) == (kinds.EARNED, kinds.BURNED)
    assert {*EARNED, *BURNED, *OTHER_KINDS} == kinds.KINDS
    assert {"", *kinds.LINE_STATES} == STATES


def test_amounts_are_written_without_needless_zeros() -> None:
    deal = Deal("earn", NOON, 1, claimed_micros=10_500_000, owed_micros=1, reference="o")

    (_, line, _) = write_partner_file([deal], MAJOR).decode().splitlines()

    assert line == "D,,earn,o,,2026-01-02T12:00:00.000123+08:00,,,,1,10.5,0.000001,,"


def test_the_trailer_is_the_hash_of_all_that_stands_before_it() -> None:
    file = write_partner_file([Deal("earn", NOON, 1, reference="o")], MAJOR, FileFormat.JSONL)

    body, trailer = file[: file.rindex(b"{")], json.loads(file[file.rindex(b"{") :])

    assert trailer == {"record": "trailer", "sha256": hashlib.sha256(body).hexdigest()}


def test_a_large_file_comes_in_parts_and_its_deals_are_read_once() -> None:
    asked = iter(Deal("earn", NOON, 1, reference=f"o-{number}") for number in range(30_000))

    parts = list(partner_file_parts(asked, MAJOR))

    assert max(map(len, parts)) <= 1024 * 1024
    assert len(parts) > 3
    assert read(b"".join(parts), FileFormat.CSV)[0].count == 30_000


GOOD = Deal("earn", NOON, 1, request_id="r")


@pytest.mark.parametrize(
    ("deal", "field"),
    [
        (replace(GOOD, kind="sale"), "kind"),
        (replace(GOOD, event_time=datetime(2026, 1, 2, 12)), "event_time"),  # noqa: DTZ001 - no zone on purpose
        (replace(GOOD, points=-1), "points"),
        (replace(GOOD, claimed_micros=-1), "claimed_micros"),
        (replace(GOOD, owed_micros=-1), "owed_micros"),
        (replace(GOOD, request_id=""), "request_id"),
        (replace(GOOD, state="lost"), "state"),
        (replace(GOOD, reference="=1+1"), "reference"),
        (replace(GOOD, store_id="a\nb"), "store_id"),
        (replace(GOOD, terminal_id="t" * 65), "terminal_id"),
        (replace(GOOD, request_id="顾客"), "request_id"),
        (replace(GOOD, member_id="guest"), "member_id"),
        (replace(GOOD, part=-1), "part"),
        (replace(GOOD, rate_version=10**9), "rate_version"),
        (replace(GOOD, points=10**18), "points"),
    ],
    ids=range(15),
)
def test_a_deal_that_settlement_would_refuse_is_refused_before_it_is_sent(deal: Deal, field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        write_partner_file([GOOD, deal], MAJOR)

    assert [one.field for one in raised.value.fields] == [f"deals[1].{field}"]


@tries(100)
@given(deal=deals(1))
def test_a_changed_byte_never_goes_unnoticed(deal: Deal) -> None:
    file = bytearray(write_partner_file([deal], MAJOR))
    file[file.index(b"\nD,") + 4] ^= 1

    with pytest.raises(FileRefused):
        read(bytes(file), FileFormat.CSV)


def test_a_mapped_file_is_written_by_the_partners_own_system() -> None:
    with pytest.raises(InvalidRequest):
        write_partner_file([], MAJOR, FileFormat.MAPPED)


def test_times_keep_the_zone_they_were_recorded_in() -> None:
    utc = replace(GOOD, event_time=NOON.astimezone(UTC))

    _, rows = read(write_partner_file([GOOD, utc], MAJOR), FileFormat.CSV)

    assert [row[6][-6:] for row in rows] == ["+08:00", "+00:00"]
