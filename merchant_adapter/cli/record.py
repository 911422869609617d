"""`record ...`: a partner's own record of a day, out of its outboxes, written down and handed in."""

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from merchant_adapter.cli.arguments import (
    Subparsers,
    add_settlement,
    address,
    connect,
    connect_settlement,
    day,
    hub_arguments,
)
from merchant_adapter.cli.report import ExitCode, Report, failure, keep_receipt, plain
from merchant_adapter.daily_record import DailyRecord
from merchant_adapter.errors import HubError
from merchant_adapter.json_object import Unreadable
from merchant_adapter.keys import Key
from merchant_adapter.outbox import Outbox
from merchant_adapter.partner_file import Deal, FileFormat, partner_file_parts
from merchant_adapter.private_files import FileRefused, write_private
from merchant_adapter.request_ids import new_request_id

MOST_SHOWN = 100
"""Commands without an answer that are named; all are counted."""


def add(subparsers: "Subparsers[argparse.ArgumentParser]", shown: argparse.ArgumentParser) -> None:
    """Adds the commands."""
    record = subparsers.add_parser("record", help="your own record of a day, for reconciliation")
    actions = record.add_subparsers(required=True, metavar="ACTION")

    write = actions.add_parser(
        "write", parents=[shown, hub_arguments()], help="make the file of a day out of your outboxes"
    )
    _add_day(write)
    _add_outbox(write, required=True)
    write.add_argument("--out", required=True, metavar="FILE", help="must not exist")
    write.set_defaults(run=run_write)

    submit = actions.add_parser(
        "submit",
        parents=[shown, add_settlement()],
        help="hand a file in",
        description="Hands in a file, or what your outboxes have of the day. For that the hub is named too, at least"
        " the first time: its calendar and your rate cards are then kept in the first outbox.",
    )
    submit.add_argument("file", nargs="?", metavar="FILE", help="a partner file, CSV or JSON lines")
    _add_day(submit)
    _add_outbox(submit, required=False)
    submit.add_argument(
        "--hub", type=address, metavar="ADDRESS", help="the hub, with --outbox: host:port or unix:PATH"
    )
    submit.add_argument(
        "--hub-keys", metavar="FILE", help="the hub's public keys, with --hub: a JSON Web Key Set"
    )
    submit.add_argument("--out", metavar="FILE", help="with --outbox, where to keep the file; must not exist")
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


def _add_day(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--date", type=day, required=True, metavar="YYYY-MM-DD")
    parser.add_argument(
        "--format", choices=[one.value.lower() for one in FileFormat], help="by its name else"
    )


def _add_outbox(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--outbox",
        action="append",
        required=required,
        default=[],
        metavar="FILE|URL",
        help="one of your outboxes; may be repeated, and all of them belong in a record",
    )


def run_write(arguments: argparse.Namespace) -> Report:
    """Writes a day's file."""
    return Report({"outcome": "written", **_write(arguments, Path(arguments.out))})


def run_submit(arguments: argparse.Namespace) -> Report:
    """Hands a file in, after writing it where it is asked for by its outboxes."""
    _check_submit(arguments)
    if not arguments.outbox:
        return _submit(arguments, arguments.file)
    with tempfile.TemporaryDirectory(prefix="tongdui-record-") as folder:
        file = Path(arguments.out or Path(folder) / f"record.{_format(arguments, '').value.lower()}")
        written = _write(arguments, file)
        report = _submit(arguments, str(file))
    return Report({**written, "file": arguments.out or "", **report.fields}, report.exit_code)


def _check_submit(arguments: argparse.Namespace) -> None:
    if bool(arguments.file) == bool(arguments.outbox):
        raise Unreadable("either FILE or --outbox is needed, and not both")
    if bool(arguments.hub) != bool(arguments.hub_keys):
        raise Unreadable("--hub and --hub-keys go together")
    if arguments.receipt and Path(arguments.receipt).exists():
        raise FileRefused(f"{arguments.receipt}: exists already and is never overwritten; nothing was sent")


def _submit(arguments: argparse.Namespace, file: str) -> Report:
    control = Path(arguments.control).read_bytes() if arguments.control else b""
    try:
        with connect_settlement(arguments) as settlement:
            accepted = settlement.upload_partner_file(
                file,
                arguments.date,
                _format(arguments, file),
                control=control,
                request_id=arguments.request_id,
            )
    except HubError as error:
        keep_receipt(error.receipt, arguments.receipt)
        report = failure(error)
        unsettled = report.exit_code is ExitCode.UNSETTLED
        repeat = {"repeat_with": f"--request-id {arguments.request_id}"} if unsettled else {}
        return Report({**report.fields, **repeat}, report.exit_code)
    keep_receipt(accepted.receipt, arguments.receipt)
    return Report({"outcome": "accepted", "request_id": accepted.request_id, **plain(accepted.file)})


def _write(arguments: argparse.Namespace, file: Path) -> dict[str, Any]:
    """Writes the file whole, or leaves none; gives what to say about it."""
    if file.exists():
        raise FileRefused(f"{file}: exists already and is never overwritten")
    counted = _Counted()
    with _record(arguments) as record:
        unsettled = list(record.unsettled(arguments.date))
        parts = partner_file_parts(
            counted.count(record.deals(arguments.date)),
            record.header(arguments.date),
            _format(arguments, file.name),
        )
        write_private(file, parts)
    return {
        "file": str(file),
        "deals": counted.deals,
        "money_from_journal": len(record.from_journal),
        "unsettled_count": len(unsettled),
        "unsettled_commands": plain(unsettled[:MOST_SHOWN]),
    }


class _Counted:
    def __init__(self) -> None:
        self.deals = 0

    def count(self, deals: Iterator[Deal]) -> Iterator[Deal]:
        for deal in deals:
            self.deals += 1
            yield deal


@contextlib.contextmanager
def _record(arguments: argparse.Namespace) -> Iterator[DailyRecord]:
    with contextlib.ExitStack() as opened:
        outboxes = [
            opened.enter_context(Outbox.open(location, must_exist=True)) for location in arguments.outbox
        ]
        hub = opened.enter_context(connect(arguments, arguments.key)) if arguments.hub else None
        yield DailyRecord(outboxes, Key.load(arguments.key).owner, hub)


def _format(arguments: argparse.Namespace, file: str) -> FileFormat:
    if arguments.format:
        return FileFormat(arguments.format.upper())
    return FileFormat.JSONL if file.endswith((".jsonl", ".ndjson")) else FileFormat.CSV
