"""`ping`, `wallet`, `earn` and `burn`: to try things out by hand."""

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path

from merchant_adapter.cli.arguments import Subparsers, connect, day, hub_arguments
from merchant_adapter.cli.report import ExitCode, Report, failure, keep_receipt, plain
from merchant_adapter.errors import HubError
from merchant_adapter.points_commands import BurnCommand, EarnCommand
from merchant_adapter.private_files import FileRefused
from merchant_adapter.request_ids import new_request_id


def add(subparsers: "Subparsers[argparse.ArgumentParser]", shown: argparse.ArgumentParser) -> None:
    """Adds the four commands."""
    parents = [shown, hub_arguments()]
    ping = subparsers.add_parser("ping", parents=parents, help="is the hub there, and does it know this key?")
    ping.set_defaults(run=run_ping)

    wallet = subparsers.add_parser("wallet", parents=parents, help="a member's account")
    wallet.add_argument("--member", required=True, help="the hub's id of the member")
    wallet.set_defaults(run=run_wallet)

    earn = subparsers.add_parser("earn", parents=parents, help="give a member points")
    _add_command(earn)
    basis = earn.add_mutually_exclusive_group(required=True)
    basis.add_argument("--points", type=int)
    basis.add_argument("--spend-minor", type=int, help="eligible spend in minor units, such as fen")
    earn.add_argument("--expiry-date", type=day, metavar="YYYY-MM-DD")
    earn.set_defaults(run=run_earn)

    burn = subparsers.add_parser("burn", parents=parents, help="spend a member's points")
    _add_command(burn)
    burn.add_argument("--points", type=int, required=True)
    burn.set_defaults(run=run_burn)


def run_ping(arguments: argparse.Namespace) -> Report:
    """Reads the ledger's constants; on a system clock it shows how far the hub's clock is ahead of ours."""
    with connect(arguments, arguments.key) as hub:
        started = time.time()
        ledger = hub.ledger()
        ended = time.time()
    shown = plain(ledger) | {"round_trip_ms": round((ended - started) * 1000, 1)}
    if ledger.clock == "system":
        ahead = ledger.ledger_time.timestamp() - (started + ended) / 2
        shown["hub_ahead_seconds"] = round(ahead, 1)
    return Report(shown)


def run_wallet(arguments: argparse.Namespace) -> Report:
    """Shows a member's account."""
    with connect(arguments, arguments.key) as hub:
        return Report(plain(hub.wallet(arguments.member)))


def run_earn(arguments: argparse.Namespace) -> Report:
    """Posts one earn."""
    command = EarnCommand(
        member_id=arguments.member,
        event_time=arguments.event_time,
        store_id=arguments.store,
        terminal_id=arguments.terminal,
        reference=arguments.reference,
        points=arguments.points,
        eligible_spend_minor=arguments.spend_minor,
        reason=arguments.reason,
        expiry_date=arguments.expiry_date,
        request_id=arguments.request_id,
    )
    return _post(arguments, command)


def run_burn(arguments: argparse.Namespace) -> Report:
    """Posts one burn."""
    command = BurnCommand(
        member_id=arguments.member,
        event_time=arguments.event_time,
        store_id=arguments.store,
        terminal_id=arguments.terminal,
        reference=arguments.reference,
        points=arguments.points,
        reason=arguments.reason,
        request_id=arguments.request_id,
    )
    return _post(arguments, command)


def _add_command(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--member", required=True, help="the hub's id of the member")
    parser.add_argument("--store", required=True)
    parser.add_argument("--terminal", required=True)
    parser.add_argument("--reference", required=True, help="order or receipt number, unique")
    parser.add_argument("--reason", default="")
    parser.add_argument(
        "--event-time",
        type=_time,
        default=datetime.now(UTC),
        metavar="TIME",
        help="ISO 8601 with zone; now if not given",
    )
    parser.add_argument(
        "--request-id",
        default=new_request_id(),
        help="of the first try, to repeat it; a new one if not given",
    )
    parser.add_argument("--receipt", metavar="FILE", help="where to keep the hub's receipt; must not exist")


def _post(arguments: argparse.Namespace, command: EarnCommand | BurnCommand) -> Report:
    if arguments.receipt and Path(arguments.receipt).exists():
        raise FileRefused(f"{arguments.receipt}: exists already and is never overwritten; nothing was sent")
    repeat = f"--request-id {command.request_id} --event-time {command.event_time.isoformat()}"
    try:
        with connect(arguments, arguments.key) as hub:
            accepted = hub.earn(command) if isinstance(command, EarnCommand) else hub.burn(command)
    except HubError as error:
        keep_receipt(error.receipt, arguments.receipt)
        report = failure(error)
        unsettled = report.exit_code is ExitCode.UNSETTLED
        return Report({**report.fields, "repeat_with": repeat}, report.exit_code) if unsettled else report
    except KeyboardInterrupt:
        return Report({"outcome": "unknown: interrupted", "repeat_with": repeat}, ExitCode.UNSETTLED)
    keep_receipt(accepted.receipt, arguments.receipt)
    return Report({"outcome": "accepted", **plain(accepted)})


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise argparse.ArgumentTypeError("give the zone too, such as 2026-01-31T18:00:00+08:00")
    return time
