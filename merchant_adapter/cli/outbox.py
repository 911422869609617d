"""`outbox ...`: look into an outbox, send what it holds, deal with dead letters, and find receipts."""

import argparse
import asyncio
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from merchant_adapter.cli.arguments import Subparsers, add_note, hub_arguments, open_hub, policy_of
from merchant_adapter.cli.report import ExitCode, Report, keep_receipt, plain
from merchant_adapter.outbox import Dispatcher, Limits, Outbox, Progress
from merchant_adapter.outbox.outbox import DEFAULT_RETENTION_DAYS
from merchant_adapter.outbox.recovery import recover
from merchant_adapter.private_files import FileRefused
from merchant_adapter.reasons import Reason

_NOT_TRUSTED = frozenset(
    {Reason.SIGNATURE_INVALID, Reason.SIGNATURE_STALE, Reason.ROLE_REQUIRED, Reason.RECEIPT_INVALID}
)


def add(subparsers: "Subparsers[argparse.ArgumentParser]", shown: argparse.ArgumentParser) -> None:
    """Adds the commands."""
    outbox = subparsers.add_parser(
        "outbox", help="sales that wait for the hub, and the receipts of those answered"
    )
    commands = outbox.add_subparsers(required=True, metavar="COMMAND")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--outbox", required=True, metavar="FILE|URL", help="a SQLite file or postgresql://..."
    )
    parents = [shown, where]

    status = commands.add_parser("status", parents=parents, help="how many wait, since when, and why")
    status.set_defaults(run=run_status)

    _add_drain(commands, [*parents, hub_arguments()])

    dead = commands.add_parser("dead", parents=parents, help="list the dead letters")
    dead.set_defaults(run=run_dead)

    resubmit = commands.add_parser(
        "resubmit", parents=parents, help="put a dead letter back, and those held back behind it"
    )
    which = resubmit.add_mutually_exclusive_group(required=True)
    which.add_argument("request_id", nargs="?", default="", metavar="REQUEST_ID")
    which.add_argument("--all", action="store_true")
    resubmit.set_defaults(run=run_resubmit)

    drop = commands.add_parser("drop", parents=parents, help="give a dead letter up")
    drop.add_argument("request_id", metavar="REQUEST_ID")
    drop.add_argument("--reason", required=True, help="kept with it in the archive")
    drop.set_defaults(run=run_drop)

    _add_archive(commands, parents)

    mend = commands.add_parser(
        "recover", parents=[shown], help="bring what can be read of a damaged file into a new one"
    )
    mend.add_argument("file", metavar="DAMAGED", type=Path)
    mend.add_argument("--into", required=True, metavar="NEW", type=Path, help="must not exist")
    mend.set_defaults(run=run_recover)


def _add_drain(
    commands: "Subparsers[argparse.ArgumentParser]", parents: list[argparse.ArgumentParser]
) -> None:
    drain = commands.add_parser(
        "drain",
        parents=parents,
        help="send what waits",
        description="Sends what waits, and ends when nothing does, or when the hub cannot be asked.",
    )
    drain.add_argument(
        "--wait", action="store_true", help="keep on until nothing waits, however long it takes"
    )
    drain.add_argument("--follow", action="store_true", help="keep on for ever, until it is told to stop")
    drain.add_argument(
        "--retention-days",
        type=float,
        default=DEFAULT_RETENTION_DAYS,
        metavar="DAYS",
        help="default %(default)s",
    )
    add_note(drain)
    drain.set_defaults(run=run_drain)


def _add_archive(
    commands: "Subparsers[argparse.ArgumentParser]", parents: list[argparse.ArgumentParser]
) -> None:
    archive = commands.add_parser("archive", help="what was answered").add_subparsers(
        required=True, metavar="COMMAND"
    )
    find = archive.add_parser("find", parents=parents, help="what became of a command")
    find.add_argument("request_id", metavar="REQUEST_ID")
    find.add_argument("--receipt", metavar="FILE", help="where to write the hub's receipt; must not exist")
    find.set_defaults(run=run_find)
    prune = archive.add_parser("prune", parents=parents, help="forget what is older than the retention")
    prune.add_argument("--days", type=float, default=DEFAULT_RETENTION_DAYS, help="default %(default)s")
    prune.set_defaults(run=run_prune)


def run_status(arguments: argparse.Namespace) -> Report:
    """Shows how the outbox is."""
    with _open(arguments) as outbox:
        found = outbox.status()
    shown = plain(found) | {"oldest_seconds": round(found.oldest_seconds, 1)}
    del shown["limits"]  # they are the mall's program's, not this one's
    return Report(shown)


def run_drain(arguments: argparse.Namespace) -> Report:
    """Sends what waits."""
    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=arguments.json,
    )
    with _open(arguments) as outbox, bars:
        progress = asyncio.run(_drain(arguments, outbox, _Line(bars)))
    shown = asdict(progress)
    if not progress.waiting or (arguments.follow and not progress.trouble):
        return Report({"outcome": "drained" if not progress.waiting else "stopped", **shown})
    trusted = progress.trouble not in _NOT_TRUSTED
    return Report(
        {"outcome": "not settled: run it again, or with --wait", **shown},
        ExitCode.UNSETTLED if trusted else ExitCode.NOT_TRUSTED,
    )


async def _drain(arguments: argparse.Namespace, outbox: Outbox, line: "_Line") -> Progress:
    policy = policy_of(arguments)
    async with open_hub(arguments, arguments.key) as hub:
        dispatcher = Dispatcher(
            outbox, hub, policy=policy, on_progress=line.show, retention_days=arguments.retention_days
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, dispatcher.stop)
        if not arguments.follow:
            return await dispatcher.drain(wait=arguments.wait)
        await dispatcher.run()
        return dispatcher.progress


class _Line:
    """The line of a person who waits for an outbox to empty."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task = bars.add_task("outbox", total=None, rate="")

    def show(self, progress: Progress) -> None:
        """Draws it anew."""
        done = progress.accepted + progress.refused + progress.dead
        self._bars.update(
            self._task,
            completed=done,
            total=None if progress.waiting is None else done + progress.waiting,
            description=progress.trouble or "outbox",
        )
        speed = self._bars.tasks[0].speed
        self._bars.update(self._task, rate=f"{speed:,.0f}/s" if speed else "")


def run_dead(arguments: argparse.Namespace) -> Report:
    """Lists the dead letters."""
    with _open(arguments) as outbox:
        return Report({"dead_letters": plain(outbox.dead_letters())})


def run_resubmit(arguments: argparse.Namespace) -> Report:
    """Puts dead letters back."""
    with _open(arguments) as outbox:
        return Report({"outcome": "resubmitted", "commands": outbox.resubmit(arguments.request_id)})


def run_drop(arguments: argparse.Namespace) -> Report:
    """Gives a dead letter up."""
    with _open(arguments) as outbox:
        outbox.drop(arguments.request_id, arguments.reason)
    return Report({"outcome": "dropped", "request_id": arguments.request_id})


def run_find(arguments: argparse.Namespace) -> Report:
    """Shows what became of a command, and hands out its receipt."""
    with _open(arguments) as outbox:
        found = outbox.find(arguments.request_id)
    if found is None:
        return Report(
            {"outcome": "unknown to this outbox", "request_id": arguments.request_id}, ExitCode.REFUSED
        )
    shown: dict[str, Any] = plain(found)
    if arguments.receipt is not None:
        if found.receipt is None:
            raise FileRefused(f"{found.request_id}: has no receipt; it is {found.state}")
        keep_receipt(found.receipt, arguments.receipt)
        shown["receipt"] = arguments.receipt
    return Report(shown)


def run_prune(arguments: argparse.Namespace) -> Report:
    """Forgets the oldest of the archive."""
    with _open(arguments) as outbox:
        commands, receipts = outbox.prune(arguments.days)
    return Report({"outcome": "pruned", "commands": commands, "receipts": receipts})


def run_recover(arguments: argparse.Namespace) -> Report:
    """Recovers a damaged file."""
    return Report({"outcome": "recovered", **asdict(recover(arguments.file, arguments.into))})


def _open(arguments: argparse.Namespace) -> Outbox:
    # Without a limit: who looks or sends must never be the one that refuses.
    return Outbox.open(arguments.outbox, limits=Limits(), must_exist=True)
