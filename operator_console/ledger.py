"""`tongdui-hub clock` and `tongdui-hub expire`: the ledger's time, and what comes with it."""

import argparse
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.console import Group
from rich.text import Text

from operator_console.arguments import Commands, Verbs, add_command, moment, small
from operator_console.desk import MAX_PAGE, Desk, Shown, to_timestamp
from operator_console.plain import Row
from operator_console.screen import columns, details, table
from tongdui.exchange.v1 import accounts_service_pb2 as accounts
from tongdui.exchange.v1 import journal_service_pb2 as journal

MAX_DAYS = 366
_EXPIRIES = columns("expiry_date", "issuer_id", "points", "member_count")


def add_clock(commands: Commands, summary: str) -> None:
    """Adds the noun and its verbs."""
    verbs = Verbs(commands, "clock", summary)
    verbs.read("show", "show the ledger's constants and the time on its clock", run_show)
    put = verbs.write(
        "set", "move a manual ledger clock forward; what becomes due is posted", run_set, asks=True
    )
    put.add_argument("time", type=moment, metavar="TIME", help="ISO 8601 with zone")


def add_expire(commands: Commands, summary: str) -> None:
    """Adds the command."""
    expire = add_command(commands, "expire", summary, run_expire)
    expire.add_argument(
        "--dry-run",
        action="store_true",
        required=True,
        help="only show it, which is all there is: the hub posts expiries by itself when their day has passed",
    )
    expire.add_argument(
        "--days", type=small, default=30, help="days to look ahead, today included: 1 to 366 (%(default)s)"
    )


def run_show(desk: Desk, _: argparse.Namespace) -> Shown:
    """Shows the ledger's constants and time."""
    answer = _ledger(desk)
    return Shown(answer, details(answer))


def run_set(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Moves the clock, after showing what expires on the way to whoever is asked."""
    if desk.asks:
        _ask(desk, arguments.time)
    request = journal.SetLedgerTimeRequest(
        request_id=desk.request_id, ledger_time=to_timestamp(arguments.time)
    )
    answer = desk.call("SetLedgerTime", request, long=True)
    return Shown(answer, details(answer))


def run_expire(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Shows what will expire when, and whom to warn."""
    answer = _expiries(desk, arguments.days)
    view = Group(
        Text(f"Open points by their last usable day; today is {answer['today']}", style="bold"),
        table(answer["expiries"], _EXPIRIES, f"nothing expires within {arguments.days} days"),
        Text("Members to warn", style="bold"),
        table(
            answer["warnings"], columns("member_id", "expiry_date", "days_ahead", "points"), "nobody today"
        ),
    )
    return Shown(answer, view)


def _ask(desk: Desk, moved_to: datetime) -> None:
    ledger = _ledger(desk)
    now = datetime.fromisoformat(ledger["ledger_time"])
    days = min(max((moved_to - now).days + 2, 1), MAX_DAYS)
    day = moved_to.astimezone(ZoneInfo(ledger["time_zone"])).date().isoformat()
    due = [row for row in _expiries(desk, days)["expiries"] if row["expiry_date"] < day]
    times = {"clock": ledger["clock"], "ledger_time": ledger["ledger_time"], "moves_to": moved_to.isoformat()}
    shown = Group(details(times), table(due, _EXPIRIES, "no points expire on the way"))
    desk.ask("Move the ledger clock? It never moves back.", shown)


def _ledger(desk: Desk) -> Row:
    return desk.call("GetLedger", journal.GetLedgerRequest())


def _expiries(desk: Desk, days: int) -> Row:
    request = accounts.ListExpiriesRequest(days=days, page_size=MAX_PAGE)
    first = answer = desk.call("ListExpiries", request, long=True)
    while answer["next_page_token"]:
        request.page_token = answer["next_page_token"]
        answer = desk.call("ListExpiries", request, long=True)
        first["warnings"] += answer["warnings"]
    del first["next_page_token"]
    return first
