"""What a command says: one set of fields, shown as a table to people and as JSON to programs."""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, date, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from merchant_adapter import methods
from merchant_adapter.errors import (
    Busy,
    Forbidden,
    HubError,
    InvalidRequest,
    OutcomeUnknown,
    ReceiptInvalid,
    Stale,
    Untrusted,
)
from merchant_adapter.private_files import write_private
from merchant_adapter.reasons import Reason
from merchant_adapter.receipts import Receipt

_NOBODY_ANSWERED = ("UNAVAILABLE", "DEADLINE_EXCEEDED")


class ExitCode(IntEnum):
    """How a command ends; the numbers are part of the published interface."""

    DONE = 0
    REFUSED = 1
    BAD_INPUT = 2
    UNSETTLED = 3
    NOT_TRUSTED = 4


@dataclass(frozen=True, slots=True)
class Report:
    """The fields to show and how the command ends."""

    fields: Mapping[str, Any]
    exit_code: ExitCode = ExitCode.DONE


def show(report: Report, as_json: bool) -> None:
    """Writes JSON to standard output, or a table to standard output (standard error if it went wrong)."""
    if as_json:
        sys.stdout.write(json.dumps(dict(report.fields), ensure_ascii=False) + "\n")
        return
    console = Console(stderr=report.exit_code is not ExitCode.DONE, highlight=False)
    for part in _parts(report.fields):
        console.print(part)


def plain(value: Any) -> Any:
    """A value as JSON has it: times in ISO 8601 with zone, dataclasses as objects without their receipts."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if is_dataclass(value):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value) if one.name != "receipt"}
    return value


def keep_receipt(receipt: Receipt | None, file: str | None) -> None:
    """Writes a receipt into the new file that was asked for."""
    if receipt is not None and file is not None:
        write_private(Path(file), (receipt.to_json() + "\n").encode())


def failure(error: HubError, arguments: Namespace | None = None) -> Report:
    """What became of a request that was not accepted. `arguments` say at which address somebody was asked."""
    refusal = error.refusal
    shown = {
        "outcome": _outcome(error, arguments),
        "reason": error.reason,
        "code": error.code,
        "message": refusal.message,
        "metadata": dict(refusal.metadata),
        "fields": plain(refusal.fields),
        "request_id": error.request_id,
        "retry_after_seconds": refusal.retry_after_seconds,
    }
    if isinstance(error, Stale) and error.hub_time is not None:
        shown["hub_ahead_seconds"] = round(error.hub_time - datetime.now(UTC).timestamp())
    return Report({name: value for name, value in shown.items() if value or value == 0}, _exit_code(error))


def bad_input(error: Exception) -> Report:
    """An argument or a file that cannot be used."""
    message = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        message = f"{error.filename}: {error.strerror}"  # as every other file is named, without the number
    return Report({"outcome": "bad input", "message": message}, ExitCode.BAD_INPUT)


def _outcome(error: HubError, arguments: Namespace | None) -> str:
    is_question = _is_question(error)
    match error:
        case ReceiptInvalid() if is_question:
            return "not trusted: the answer must not be believed"
        case OutcomeUnknown(reason=Reason.NO_ANSWER) if is_question and error.code in _NOBODY_ANSWERED:
            return f"no answer: {_asked(error, arguments)} does not answer"
        case OutcomeUnknown() if is_question:
            return "no answer: see the message; a question can be asked again"
        case Busy() if is_question:
            return "hub busy: ask again later"
        case OutcomeUnknown():
            return "unknown: repeat with the same request id"
        case Busy():
            return "nothing decided, hub busy: repeat with the same request id"
        case InvalidRequest():
            return "invalid"
        case Untrusted() | Forbidden():
            return "not trusted"
        case _:
            return "refused"


def _is_question(error: HubError) -> bool:
    """Whether a read was asked: nothing can have been decided, and there is no request id to repeat."""
    return error.prepared is not None and not error.prepared.is_write


def _asked(error: HubError, arguments: Namespace | None) -> str:
    """Who did not answer, and where."""
    is_settlement = error.prepared is not None and error.prepared.path.startswith(methods.OF_SETTLEMENT)
    who, option = ("settlement", "settlement") if is_settlement else ("the hub", "hub")
    address = getattr(arguments, option, None)
    return f"{who} at {address}" if address else who


def _exit_code(error: HubError) -> ExitCode:
    match error:
        case ReceiptInvalid() if _is_question(error):
            return ExitCode.NOT_TRUSTED
        case OutcomeUnknown() | Busy():
            return ExitCode.UNSETTLED
        case InvalidRequest():
            return ExitCode.BAD_INPUT
        case Untrusted() | Forbidden():
            return ExitCode.NOT_TRUSTED
        case _:
            return ExitCode.REFUSED


def _parts(shown: Mapping[str, Any]) -> Iterator[Table | Text]:
    """One grid of the single values, then each list of objects as a table of its own."""
    grid = Table.grid(padding=(0, 2))
    tables: list[Table | Text] = []
    for name, value in shown.items():
        # Text, not markup: what a hub or a file says must not style or hide anything.
        title = Text(name, style="bold")
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            tables += [title, _table(value)]
        elif isinstance(value, Mapping) and value:
            tables += [title, *_parts(value)]
        else:
            text = "-" if value is None or value in ("", [], {}) else str(value)
            grid.add_row(title, Text(text, overflow="fold"))
    yield grid
    yield from tables


def _table(rows: list[Mapping[str, Any]]) -> Table:
    table = Table(
        *(Column(Text(name.replace("_", " ")), overflow="fold") for name in rows[0]),
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for row in rows:
        table.add_row(*(Text("-" if value is None else str(value)) for value in row.values()))
    return table
