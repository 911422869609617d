"""`statement`, `certificate` and `breaks`: a partner's own settlement from the command line."""

import argparse
from datetime import date
from pathlib import Path
from typing import Any

from merchant_adapter.cli.arguments import Subparsers, add_settlement, connect_settlement, day
from merchant_adapter.cli.report import Report, keep_receipt, plain
from merchant_adapter.errors import Refused
from merchant_adapter.json_object import Unreadable
from merchant_adapter.private_files import write_private
from merchant_adapter.reasons import Reason
from merchant_adapter.reconciliation_client import BreakQuery
from merchant_adapter.settlement_sync import SyncSettlement
from merchant_adapter.settlement_values import Break, StatementLine

MICROS = 1_000_000


def add(subparsers: "Subparsers[argparse.ArgumentParser]", shown: argparse.ArgumentParser) -> None:
    """Adds the commands."""
    parents = [shown, add_settlement()]
    statement = subparsers.add_parser("statement", parents=parents, help="your statement of one day")
    statement.add_argument("--date", type=day, required=True, metavar="YYYY-MM-DD")
    statement.add_argument(
        "--component", metavar="NAME", help="the entries behind this line, such as BURN_REIMBURSE"
    )
    statement.add_argument(
        "--out",
        metavar="FILE",
        help="where to keep it with settlement's receipt, for `verify`; must not exist",
    )
    statement.set_defaults(run=run_statement)

    certificate = subparsers.add_parser(
        "certificate",
        parents=parents,
        help="one day's signed certificate, for operators, finance and auditors",
    )
    certificate.add_argument("--date", type=day, required=True, metavar="YYYY-MM-DD")
    certificate.add_argument(
        "--out", required=True, metavar="FILE", help="the document, for `verify`; must not exist"
    )
    certificate.set_defaults(run=run_certificate)

    breaks = subparsers.add_parser(
        "breaks", parents=parents, help="differences between your record and the hub's"
    )
    breaks.add_argument("--date", type=day, metavar="YYYY-MM-DD", help="of this day only")
    breaks.add_argument("--all", action="store_true", help="the resolved ones too")
    breaks.set_defaults(run=run_breaks)


def run_statement(arguments: argparse.Namespace) -> Report:
    """Shows a statement, or the entries behind one of its lines."""
    with connect_settlement(arguments) as settlement:
        if arguments.component is None:
            statement = settlement.statement(arguments.date)
            if arguments.out and statement.receipt is None:
                raise Unreadable("settlement answered without a receipt; nothing was kept")
            keep_receipt(statement.receipt, arguments.out)
            fields = plain(statement)
            lines = fields["lines"] if arguments.json else [_line(one) for one in statement.lines]
            return Report({**fields, "lines": lines})
        entries: list[Any] = []
        token = ""
        while True:
            page = settlement.statement_entries(
                arguments.date, arguments.component, page_size=1_000, page_token=token
            )
            entries += plain(page.entries)
            token = page.next_page_token
            if not token:
                return Report({"component": arguments.component, "entries": entries})


def run_certificate(arguments: argparse.Namespace) -> Report:
    """Keeps a certificate, byte for byte."""
    with connect_settlement(arguments) as settlement:
        document = settlement.certificate(arguments.date).document
    write_private(Path(arguments.out), document)
    return Report({"window_date": plain(arguments.date), "file": arguments.out, "bytes": len(document)})


def run_breaks(arguments: argparse.Namespace) -> Report:
    """Lists breaks; where a day is named, with how the day compares."""
    query = BreakQuery(window_date=arguments.date, unresolved=not arguments.all)
    found: list[Any] = []
    with connect_settlement(arguments) as settlement:
        shown = _controls(settlement, arguments.date) if arguments.date else {}
        token = ""
        while True:
            page = settlement.breaks(query, page_size=1_000, page_token=token)
            found += [
                plain(one) if arguments.json else _row(one, bool(arguments.date)) for one in page.breaks
            ]
            token = page.next_page_token
            if not token:
                return Report({**shown, "breaks": found})


def _controls(settlement: SyncSettlement, day: date) -> dict[str, Any]:
    """How a day compares; nothing where it was not compared yet."""
    try:
        found = settlement.reconciliation(day)
    except Refused as refused:
        if refused.reason != Reason.RECONCILIATION_UNKNOWN:
            raise
        return {"controls": "not compared yet"}
    fields = plain(found)
    return {name: fields[name] for name in ("run_time", "unresolved_count", "controls")}


def _row(found: Break, has_day: bool) -> dict[str, Any]:
    """What fits on a screen of 80 columns; `--json` has all of it."""
    side = found.partner or found.hub
    when = {"due": found.due_time.date()} if has_day else {"day": found.window_date}
    return {
        "break": found.break_id,
        "type": found.type,
        "state": found.resolution or found.state,
        **{name: day.isoformat() for name, day in when.items()},
        "points": found.points_at_stake,
        "amount": _amount(found.amount_at_stake_micros),
        "reference": (side.reference or side.request_id) if side else "",
    }


def _line(line: StatementLine) -> dict[str, Any]:
    """What fits on a screen of 80 columns; `--json` has all of it."""
    return {
        "component": line.component,
        "line_count": line.line_count,
        "exact": _amount(line.exact_micros),
        "amount_minor": line.amount_minor,
    }


def _amount(micros: int) -> str:
    whole, rest = divmod(abs(micros), MICROS)
    return f"{'-' if micros < 0 else ''}{whole}.{rest:06d}".rstrip("0").rstrip(".")
