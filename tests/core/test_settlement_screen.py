"""Tables of `tongdui-settle` on narrow screens."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from settlement.command_line.screen import plain_table


def test_on_80_columns_texts_fold_and_amounts_stay_whole() -> None:
    table = plain_table(["break", "deal", "what"], ["points", "money"])
    deal = "earn 01a201f5-11dd-7f3d-a38e-45dd88f86ea2"
    table.add_row(
        "MISSING_AT_PARTNER", deal, "the file does not have it", "1,000,000,000", "-10,000,000.3056"
    )
    printed = StringIO()

    Console(file=printed, width=80).print(table)

    assert "1,000,000,000" in printed.getvalue()
    assert "-10,000,000.3056" in printed.getvalue()
