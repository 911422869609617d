"""`statement`, `record submit` and `breaks`: a partner's own settlement from the command line."""

import argparse
from datetime import date
from pathlib import Path
from typing import Any

from merchant_adapter.cli.arguments import Subparsers, add_settlement, connect_settlement
from merchant_adapter.cli.report import ExitCode, Report, failure, plain
from merchant_adapter.errors import HubError, Refused
from merchant_adapter.partner_file import FileFormat
from merchant_adapter.private_files import FileRefused, write_private
from merchant_adapter.reasons import Reason
from merchant_adapter.receipts import Receipt
from merchant_adapter.request_ids import new_request_id
from merchant_adapter.settlement_client import BreakQuery
from merchant_adapter.settlement_sync import SyncSettlement
from merchant_adapter.settlement_values import Break

MICROS = 1_000_000


def add(subparsers: "Subparsers[argparse.ArgumentParser]", shown: argparse.ArgumentParser) -> None:
    """Adds the three commands."""
    parents = [shown, add_settlement()]
    statement = subparsers.add_parser("statement", parents=parents, help="your statement of one day")
    statement.add_argument("--date", type=date.fromisoformat, required=True, metavar="YYYY-MM-DD")
    statement.add_argument(
        "--component", metavar="NAME", help="the entries behind this line, such as BURN_REIMBURSE"
    )
    statement.set_defaults(run=run_statement)

    record = subparsers.add_parser("record", help="your own record of a day, for reconciliation")
    actions = record.add_subparsers(required=True, metavar="ACTION")
    submit = actions.add_parser("submit", parents=parents, help="hand a file in")
    submit.add_argument("file", metavar="FILE", help="a partner file, CSV or JSON lines")
    submit.add_argument("--date", type=date.fromisoformat, required=True, metavar="YYYY-MM-DD")
    submit.add_argument(
        "--format", choices=[one.value.lower() for one in FileFormat], help="by its name else"
    )
    submit.add_argument("--control", metavar="FILE", help="control record (JSON) of a mapped file")
    submit.add_argument(
        "--request-id",
        default=new_request_id(),
        help="of the first try, to repeat it; a new one if not given",
    )
    submit.add_argument(
        "--receipt", metavar="FILE", help="where to keep settlement's receipt; must not exist"
    )
    submit.set_defaults(run=run_submit)

    breaks = subparsers.add_parser(
        "breaks", parents=parents, help="differences between your record and the hub's"
    )
    breaks.add_argument("--date", type=date.fromisoformat, metavar="YYYY-MM-DD", help="of this day only")
    breaks.add_argument("--all", action="store_true", help="the resolved ones too")
    breaks.set_defaults(run=run_breaks)


def run_statement(arguments: argparse.Namespace) -> Report:
    """Shows a statement, or the entries behind one of its lines."""
    with connect_settlement(arguments) as settlement:
        if arguments.component is None:
            return Report(plain(settlement.statement(arguments.date)))
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


def run_submit(arguments: argparse.Namespace) -> Report:
    """Hands a file in."""
    if arguments.receipt and Path(arguments.receipt).exists():
        raise FileRefused(f"{arguments.receipt}: exists already and is never overwritten; nothing was sent")
    control = Path(arguments.control).read_bytes() if arguments.control else b""
    try:
        with connect_settlement(arguments) as settlement:
            accepted = settlement.upload_partner_file(
                arguments.file,
                arguments.date,
                _format(arguments),
                control=control,
                request_id=arguments.request_id,
            )
    except HubError as error:
        _keep(error.receipt, arguments.receipt)
        report = failure(error)
        unsettled = report.exit_code is ExitCode.UNSETTLED
        repeat = {"repeat_with": f"--request-id {arguments.request_id}"} if unsettled else {}
        return Report({**report.fields, **repeat}, report.exit_code)
    _keep(accepted.receipt, arguments.receipt)
    return Report({"outcome": "accepted", "request_id": accepted.request_id, **plain(accepted.file)})


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


def _format(arguments: argparse.Namespace) -> FileFormat:
    if arguments.format:
        return FileFormat(arguments.format.upper())
    return FileFormat.JSONL if arguments.file.endswith((".jsonl", ".ndjson")) else FileFormat.CSV


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


def _amount(micros: int) -> str:
    whole, rest = divmod(micros, MICROS)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")


def _keep(receipt: Receipt | None, file: str | None) -> None:
    if receipt is not None and file is not None:
        write_private(Path(file), (receipt.to_json() + "\n").encode())
