"""Files of bank results: what is read, and that damage is named with its line and field."""

from __future__ import annotations

import pytest

from settlement.command_line.bank_results import parse_results
from settlement.core.payments import PaymentState, Report, ResultsRefused

HEADER = b"payment_id,state,amount,reference\n"
GOOD = b"2026-01-01-a,received,158.10,TRX-1\n"


def test_each_row_is_a_report_with_its_line() -> None:
    reports = parse_results(
        HEADER + GOOD + b'2026-01-01-b,sent,,"TRX, 2"\r\n2026-01-01-c,rejected,7.05,X\n', 2
    )

    assert reports == [
        (2, Report("2026-01-01-a", PaymentState.RECEIVED, 15_810, "TRX-1")),
        (3, Report("2026-01-01-b", PaymentState.SENT, 0, "TRX, 2")),
        (4, Report("2026-01-01-c", PaymentState.REJECTED, 705, "X")),
    ]


def test_amounts_have_the_currencys_digits() -> None:
    assert parse_results(HEADER + b"p,received,158,R\n", 0)[0][1].amount_minor == 158
    with pytest.raises(ResultsRefused, match=r"such as 158$|such as 158;"):
        parse_results(HEADER + b"p,received,158.10,R\n", 0)


@pytest.mark.parametrize(
    ("content", "line", "field"),
    [
        (b"", 1, "header"),
        (b"payment,state,amount,reference\n" + GOOD, 1, "header"),
        (b"\xef\xbb\xbf" + HEADER + GOOD, 1, "header"),
        (HEADER, 1, "file"),
        (HEADER + GOOD[:-1], 2, "row"),
        (HEADER + GOOD[:-8] + b"\n", 2, "row"),
        (HEADER + GOOD + b"2026-01-01-b,received,1.00\n", 3, "row"),
        (HEADER + GOOD + b"\n", 3, "row"),
        (HEADER + GOOD + GOOD, 3, "reference"),
        (HEADER + b"p,gone,1.00,R\n", 2, "state"),
        (HEADER + b"p,defaulted,1.00,R\n", 2, "state"),
        (HEADER + b"p,RECEIVED,1.00,R\n", 2, "state"),
        (HEADER + b",received,1.00,R\n", 2, "payment_id"),
        *(
            (HEADER + b"p,received," + amount + b",R\n", 2, "amount")
            for amount in (b"", b"1", b"1.5", b"1.005")
        ),
        *(
            (HEADER + b"p,received," + amount + b",R\n", 2, "amount")
            for amount in (b"1e3", b"1 000.00", b"0.00")
        ),
        *(
            (HEADER + b"p,received," + amount + b",R\n", 2, "amount")
            for amount in (b'"1,000.00"', b"-1.00", b"+1.00")
        ),
        (HEADER + "p,received,\uff11.00,R\n".encode(), 2, "amount"),
        (HEADER + b"p,received,1.00,\n", 2, "reference"),
        (HEADER + b"p,received,1.00," + b"R" * 141 + b"\n", 2, "reference"),
        (HEADER + b'p,received,1.00,"two\nlines"\n', 3, "reference"),
        (HEADER + b"=p,received,1.00,R\n", 2, "payment_id"),
        (HEADER + b"p,received,1.00,@SUM(A1)\n", 2, "reference"),
        (HEADER + GOOD + b"p,received,1.00,\xff\n", 3, "encoding"),
        (HEADER + bytes(100), 2, "encoding"),
        (HEADER + b'p,received,1.00,"R\n', 2, "row"),
        (HEADER + b'p,received,1.00,"R"x\n', 2, "row"),
    ],
)
def test_a_damaged_file_is_refused_with_the_line_and_the_field(content: bytes, line: int, field: str) -> None:
    with pytest.raises(ResultsRefused) as refused:
        parse_results(content, 2)

    assert (refused.value.line, refused.value.field) == (line, field)
    assert "nothing of the file was taken" in str(refused.value)
