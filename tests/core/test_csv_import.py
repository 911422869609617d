"""A CSV file of commands: all of it can be used, or each fault is named by row and field."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from merchant_adapter import BurnCommand, EarnCommand, InvalidRequest, RefundBurnCommand
from merchant_adapter.csv_import import (
    MOST_BYTES,
    MOST_FAULTS,
    ImportedRow,
    imported_request_id,
    read_commands,
)
from merchant_adapter.limits import NUMBERS, TEXTS
from merchant_adapter.outbox.outbox import new_command
from merchant_adapter.points import POINTS_METHODS

HEADER = "command,member_id,event_time,store_id,terminal_id,reference,points"
EARN = "earn,m-1,2026-01-01T20:00:00+08:00,s,t,r-1,5"
COMMON: dict[str, Any] = {
    "member_id": "m-1",
    "event_time": datetime(2026, 1, 1, 12, tzinfo=UTC),
    "store_id": "s",
    "terminal_id": "t",
}


def read(*lines: str, ends: str = "\n") -> list[ImportedRow]:
    return read_commands("".join(f"{line}{ends}" for line in lines).encode(), 7)


def faults(raw: bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        read_commands(raw, 7)
    return [(one.field, one.description) for one in caught.value.fields]


def fault_of(columns: str, cells: str) -> list[str]:
    """The fields at fault in the only row."""
    return [field for field, _ in faults(f"{HEADER}{columns}\n{EARN}{cells}\n".encode())]


def test_rows_are_the_commands_that_the_sdk_would_make() -> None:
    rows = read(
        HEADER + ",original_request_id,part,request_id",
        EARN + ",,,own-1",
        "burn,m-1,2026-01-01T12:00:00Z,s,t,r-1,3,,,own-2",
        "refund_burn,m-1,2026-01-01T12:00:00+00:00,s,t,r-1,1,own-2,2,own-3",
    )

    expected = [
        EarnCommand(**COMMON, reference="r-1", points=5, request_id="own-1"),
        BurnCommand(**COMMON, reference="r-1", points=3, request_id="own-2"),
        RefundBurnCommand(
            **COMMON,
            reference="r-1",
            points=1,
            original_request_id="own-2",
            part=2,
            request_id="own-3",
        ),
    ]
    assert [row.command for row in rows] == [new_command(one, 7) for one in expected]
    assert [row.number for row in rows] == [2, 3, 4]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_what_spreadsheets_add_is_no_fault(ends: str) -> None:
    marked = "\ufeff" + HEADER

    rows = read(marked, "", EARN, ",,,,,,", EARN.replace("r-1", '"r-2"'), ends=ends)

    assert [row.number for row in rows] == [3, 5]


def test_columns_may_come_in_any_order_and_cells_be_empty() -> None:
    (row,) = read(
        "points,reference,terminal_id,store_id,event_time,member_id,reason,command",
        "5,r-1,t,s,2026-01-01T12:00:00Z,m-1,,earn",
    )

    assert row.command == read(HEADER, EARN)[0].command


def test_a_row_without_an_id_has_one_of_its_command_reference_and_part() -> None:
    again = [row.command.request_id for _ in range(2) for row in read(HEADER, EARN)]
    other = read(HEADER, EARN.replace("r-1", "r-2"))[0].command.request_id

    assert again == [imported_request_id("earn", "r-1")] * 2
    assert other != again[0]


def test_two_rows_of_one_decision_are_a_fault() -> None:
    assert faults(f"{HEADER}\n{EARN}\n{EARN}\n".encode()) == [
        ("rows[3].row", "has the same command, reference and part as row 2")
    ]


@pytest.mark.parametrize(
    ("columns", "cells", "field"),
    [
        (",hold_seconds", ",5", "hold_seconds"),
        (",part", ",1", "part"),
        (",expiry_date", ",31.01.2026", "expiry_date"),
        (",expiry_date", ",2026-02-30", "expiry_date"),
        (",pending", ",yes", "pending"),
        (",quote", ",***", "quote"),
        (",reason", ",=1+1", "reason"),
        (",reason", ",@SUM(A1)", "reason"),
        (",reason", "," + "x" * 201, "reason"),
        (",channel", ",\x07", "channel"),
        (",request_id", ",é", "request_id"),
        (",eligible_spend_minor", ",100", "basis"),
    ],
)
def test_a_cell_that_cannot_be_used_is_named(columns: str, cells: str, field: str) -> None:
    assert fault_of(columns, cells) == [f"rows[2].{field}"]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (EARN.replace("earn", "gift"), "command"),
        (EARN.replace("earn", ""), "command"),
        (EARN.replace("m-1", ""), "member_id"),
        (EARN.replace("m-1", "x" * 65), "member_id"),
        (EARN.replace("+08:00", ""), "event_time"),
        (EARN.replace("2026", "1999"), "event_time"),
        (EARN.replace("2026-01-01T20", "01/01/2026 20"), "event_time"),
        (EARN.replace(",5", ",5.0"), "points"),
        (EARN.replace(",5", ",-5"), "points"),
        (EARN.replace(",5", ",0"), "points"),
        (EARN.replace(",5", ",1000000001"), "points"),
        (EARN.replace(",5", ",\u0665"), "points"),
        (EARN + ",5", "row"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row: str, field: str) -> None:
    assert [field for field, _ in faults(f"{HEADER}\n{row}\n".encode())] == [f"rows[2].{field}"]


def test_all_faults_of_all_rows_are_named_at_once() -> None:
    found = faults(f"{HEADER}\nburn,,x,s,t,r-1,5\n{EARN}\nearn,m-1,x,s,t,,0\n".encode())

    assert [field for field, _ in found] == [
        "rows[2].member_id",
        "rows[2].event_time",
        "rows[4].reference",
        "rows[4].event_time",
        "rows[4].points",
    ]


def test_no_more_than_a_hundred_faults_are_listed_and_all_are_counted() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(HEADER, *["earn"] * 150)

    assert len(caught.value.fields) == MOST_FAULTS
    assert "150 faults; the first 100 are listed" in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"", "file"),
        (b"\xff\xfe", "file"),
        (HEADER.encode() + b'\n"earn', "file"),
        (b"x" * (MOST_BYTES + 1), "file"),
        (b"member_id\nm-1\n", "rows[1].command"),
        (b"command,colour\n", "rows[1].colour"),
        (b"command,points,points\n", "rows[1].points"),
        (b"command;points\n", "rows[1].command;points"),
    ],
)
def test_what_is_no_such_file_is_refused(raw: bytes, field: str) -> None:
    assert faults(raw)[0][0] == field


def test_every_field_of_every_command_has_its_limits() -> None:
    kinds = {it.name: str(it.type) for one in POINTS_METHODS for it in dataclasses.fields(one.command)}

    texts = {name for name, kind in kinds.items() if kind == "str" or "'str'" in kind}
    numbers = {name for name, kind in kinds.items() if "int" in kind}

    assert texts - set(TEXTS) == set()
    assert numbers - set(NUMBERS) == set()
