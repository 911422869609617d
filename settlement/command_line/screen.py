"""Settlement on a screen: tables whose totals a person can see to be zero."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from settlement.core.amounts import micros_texts, minor_text
from settlement.core.certificate import check_content, split_document, time_text
from settlement.core.checks import Check
from settlement.core.netting import Flow, bilateral_matrix, exact_nets, movements
from settlement.core.parties import OPERATOR, POOL, party_order
from settlement.core.statement import Statement, payable_minor
from settlement.core.window import Ledger
from settlement.store.load import StoredCertificate
from settlement.store.reads import DayOfStatements
from tongdui.signing import parse_receipt

_PIPE_WIDTH: Final = 160
_NAMES: Final = {POOL: "Escrow pool", OPERATOR: "Operator"}
_TOTAL: Final = "all parties"


def make_console(*, stderr: bool = False) -> Console:
    """A console that does not fold tables at 80 columns where its output goes to a file."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=_PIPE_WIDTH)


def overview(day: DayOfStatements) -> RenderableType:
    """All parties of a day and a last row in which they cancel out."""
    digits, names = day.ledger.minor_unit_digits, party_names(day)
    table = plain_table(["party", "name"], ["opening", "receives", "pays", "net", "closing"])
    rows = [_overview_row(statement) for statement in day.statements]
    for statement, amounts in zip(day.statements, rows, strict=True):
        name = names.get(statement.party_id, "")
        table.add_row(statement.party_id, Text(name), *(_amount(minor, digits) for minor in amounts))
    table.add_section()
    totals = [sum(column) for column in zip(*rows, strict=True)]
    table.add_row(_TOTAL, "", *(minor_text(minor, digits) for minor in totals), style="bold")
    title = f"Settlement of {day.statements[0].window_date}, {day.ledger.currency_code}, {day.state.value}"
    return titled(title, table)


def _overview_row(statement: Statement) -> tuple[int, ...]:
    amounts = [line.amount_minor for line in statement.lines]
    receives, pays = sum(a for a in amounts if a > 0), sum(a for a in amounts if a < 0)
    return statement.opening_minor, receives, pays, statement.net_minor, statement.closing_minor


def statement_view(day: DayOfStatements, statement: Statement) -> RenderableType:
    """One party's statement: opening, lines by component, net, closing.

    The pool settles one figure; what it is made of stands above it, exactly.
    """
    ledger, digits = day.ledger, day.ledger.minor_unit_digits
    parts = _pool_parts(day.flows) if statement.party_id == POOL else []
    exact = [micros for _, _, micros in parts]
    exact += [line.exact_micros for line in statement.lines] + [statement.exact_micros]
    texts = iter(micros_texts(exact, digits))
    table = plain_table(["component"], ["lines", "exact", "amount"])
    table.add_row("opening", "", "", minor_text(statement.opening_minor, digits), style="dim")
    for component, line_count, _ in parts:
        table.add_row(f"  {component}", f"{line_count:,}", next(texts), "", style="dim")
    for line in statement.lines:
        table.add_row(line.component, f"{line.line_count:,}", next(texts), _amount(line.amount_minor, digits))
    table.add_section()
    table.add_row("net", "", next(texts), minor_text(statement.net_minor, digits), style="bold")
    table.add_row("closing", "", "", minor_text(statement.closing_minor, digits), style="dim")
    name = party_names(day).get(statement.party_id, "")
    party = f"{statement.party_id} ({name})" if name else statement.party_id
    return titled(f"Statement of {party}, {statement.window_date}, {ledger.currency_code}", table)


def _pool_parts(flows: Iterable[Flow]) -> list[tuple[str, int, int]]:
    moved = movements(flows)
    return [
        (component, moved[party, component].line_count, moved[party, component].exact_micros)
        for party, component in sorted(moved)
        if party == POOL
    ]


def party_names(day: DayOfStatements) -> Mapping[str, str]:
    """What each party is called, by its id."""
    return {**day.display_names, **_NAMES}


def matrix_view(flows: Sequence[Flow], title: str, digits: int, console: Console) -> RenderableType:
    """Who owed whom, exactly: payers down, payees across, in as many blocks as the screen's width asks for."""
    cells = bilateral_matrix(flows)
    payees = sorted({payee for _, payee in cells}, key=party_order)
    blocks: list[RenderableType] = []
    while payees:
        count = len(payees)
        table = _matrix_block(payees, cells, digits)
        while count > 1 and not _fits(table, console):
            count -= 1
            table = _matrix_block(payees[:count], cells, digits)
        blocks.append(table)
        payees = payees[count:]
    return titled(title, *blocks, _exact_nets(flows, digits))


def _fits(table: Table, console: Console) -> bool:
    wide = console.options.update(max_width=10_000)
    return Measurement.get(console, wide, table).maximum <= console.width


def _matrix_block(payees: Sequence[str], cells: Mapping[tuple[str, str], int], digits: int) -> Table:
    payers = sorted({payer for payer, payee in cells if payee in payees}, key=party_order)
    columns = []
    for payee in payees:
        amounts = [cells.get((payer, payee), 0) for payer in payers]
        texts = micros_texts([*amounts, sum(amounts)], digits)
        shown = [text if micros else "" for text, micros in zip(texts[:-1], amounts, strict=True)]
        columns.append([*shown, texts[-1]])
    table = plain_table(["pays \\ receives"], payees)
    *rows, received = zip(*columns, strict=True)
    for payer, row in zip(payers, rows, strict=True):
        table.add_row(payer, *row)
    table.add_section()
    table.add_row("received", *received, style="bold")
    return table


def _exact_nets(flows: Sequence[Flow], digits: int) -> Table:
    cells, nets = bilateral_matrix(flows), exact_nets(movements(flows))
    parties = sorted(nets, key=party_order)
    received = [sum(amount for (_, payee), amount in cells.items() if payee == party) for party in parties]
    paid = [sum(amount for (payer, _), amount in cells.items() if payer == party) for party in parties]
    exact = [nets[party] for party in parties]
    columns = [micros_texts([*column, sum(column)], digits) for column in (received, paid, exact)]
    table = plain_table(["party"], ["received", "paid", "net, exact"])
    *rows, totals = zip(*columns, strict=True)
    for party, row in zip(parties, rows, strict=True):
        table.add_row(party, *row)
    table.add_section()
    table.add_row(_TOTAL, *totals, style="bold")
    return table


def certificate_view(certificate: StoredCertificate) -> RenderableType:
    """A signed certificate as a person reads it."""
    content_bytes, signature = split_document(certificate.document)
    content: dict[str, Any] = json.loads(content_bytes)
    window, ledger, rounding = content["window"], content["ledger"], content["rounding"]
    digits = ledger["minor_unit_digits"]
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")  # a hash that is cut says nothing
    for name, value in (
        ("hub", ledger["audience"]),
        ("batches", f"{window['first_sequence']:,} to {window['last_sequence']:,}"),
        ("chain hash", window["last_hash"]),
        ("entries", f"{window['entry_count']:,}"),
        ("closed", window["close_time"]),
        ("payable", minor_text(content["payable_minor"], digits)),
        ("rounding", minor_text(rounding["window_minor"], digits)),
        ("rounding to date", minor_text(rounding["to_date_minor"], digits)),
        ("hub's receipt", _receipt_text(content["hub_receipt"])),
        ("certificate before", content["previous_certificate_sha256"] or "none, this is the first window"),
        ("this certificate", certificate.document_sha256),
        ("signed by", signature["key_id"]),
    ):
        facts.add_row(Text(name, style="dim"), value)
    title = f"Conservation certificate of {window['window_date']}, {ledger['currency_code']}"
    positions = _positions(content["statements"], digits)
    return titled(title, facts, "", positions, "", _checks_table(content["checks"]))


def _receipt_text(receipt: Mapping[str, Any]) -> str:
    signed = parse_receipt((name, value) for name, value in receipt["receipt_metadata"])
    return f"signed by {signed.key_id} at {time_text(datetime.fromtimestamp(signed.created, UTC))}"


def _positions(statements: Sequence[Mapping[str, Any]], digits: int) -> Table:
    table = plain_table(["party"], ["exact", "net", "closing"])
    exact = [statement["exact_micros"] for statement in statements]
    texts = micros_texts([*exact, sum(exact)], digits)
    settled = ("net_minor", "closing_minor")
    for statement, text in zip(statements, texts[:-1], strict=True):
        table.add_row(statement["party_id"], text, *(_amount(statement[name], digits) for name in settled))
    totals = [sum(statement[name] for statement in statements) for name in settled]
    table.add_section()
    table.add_row(_TOTAL, texts[-1], *(minor_text(total, digits) for total in totals), style="bold")
    return table


def checks_view(checks: Iterable[Check]) -> RenderableType:
    """Each check with what it claims and the figures it compared."""
    return _checks_table([check_content(check) for check in checks])


def _checks_table(checks: Iterable[Mapping[str, Any]]) -> Table:
    table = plain_table(["check", "holds"], [])
    table.add_column("claim, and the figures compared")
    for check in checks:
        verdict = Text("true", style="green") if check["holds"] else Text("FALSE", style="bold red")
        figures = ", ".join(_figure(name, value) for name, value in check["figures"].items())
        table.add_row(check["name"], verdict, Text(check["claim"]).append(f"\n{figures}", style="dim"))
    return table


def _figure(name: str, value: int | str) -> str:
    return (
        f"{name.replace('_', ' ')} {value:,}"
        if isinstance(value, int)
        else f"{name.replace('_', ' ')} {value}"
    )


def run_view(
    days: Sequence[Mapping[str, Any]], failure: Mapping[str, Any] | None, ledger: Ledger
) -> RenderableType:
    """What a run did, a row a day, and the checks of the day that stopped it."""
    shown: list[RenderableType] = [_days_view(days, ledger)] if days else []
    if failure:
        shown.append(titled(f"Not certified: {failure['window_date']}", _checks_table(failure["checks"])))
    return Group(*shown) if shown else Text("no day was settled by this run")


def _days_view(days: Sequence[Mapping[str, Any]], ledger: Ledger) -> RenderableType:
    digits = ledger.minor_unit_digits
    table = plain_table(["day"], ["entries", "payable", "net of all", "rounding to date"])
    table.add_column("checks", no_wrap=True)
    table.add_column("certificate", no_wrap=True)
    for day in days:
        amounts = (day["payable_minor"], day["net_minor"], day["rounding_to_date_minor"])
        table.add_row(
            day["window_date"],
            f"{day['entry_count']:,}",
            *(minor_text(amount, digits) for amount in amounts),
            Text(f"{day['check_count']} true", style="green"),
            day["certificate_sha256"][:16],
        )
    return titled(f"Settled days, {ledger.currency_code}", table)


def payable_text(statements: Iterable[Statement], ledger: Ledger) -> str:
    """What the paying parties owe together, with its currency."""
    return f"{minor_text(payable_minor(statements), ledger.minor_unit_digits)} {ledger.currency_code}"


def _amount(minor: int, digits: int) -> Text:
    return Text(minor_text(minor, digits), style="red" if minor < 0 else "")


def titled(title: str, *parts: RenderableType) -> RenderableType:
    """Parts under a bold title, with an empty line behind them."""
    # Not the table's own title, which folds at the width of the table.
    return Group(Text(title, style="bold"), *parts, "")


def plain_table(texts: Sequence[str], amounts: Sequence[str]) -> Table:
    """A table without rows: columns of texts, then columns of amounts, which stand at the right."""
    table = Table(header_style="")
    for name in texts:
        # Texts fold where the screen is narrow, so that amounts are never cut.
        table.add_column(name, overflow="fold")
    for name in amounts:
        table.add_column(name, justify="right", no_wrap=True)
    return table
