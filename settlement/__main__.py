"""`tongdui-settle`: settles business days. `tongdui-settle --help` lists commands, exit codes and settings."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from settlement.command_line import arguments as args
from settlement.command_line import shows, steps, upkeep
from settlement.command_line.screen import make_console
from settlement.command_line.session import Misconfigured, NotThere, Session
from settlement.core.run_state import StepOutOfOrder
from settlement.core.window import ReceiptInvalid
from settlement.daily_run import ChecksFailed, ResultDiffers
from settlement.rpc.hub_client import HubRefused, HubUnreachable
from settlement.rpc.keys import KeyFileError
from settlement.rpc.transport import CannotListen
from settlement.settings import SETTINGS, SettingMissing, Settings
from settlement.store.engine import AnotherRun
from settlement.store.feed import LedgerMissing
from settlement.store.reads import DatabaseUnavailable
from tongdui.signing import SignatureMalformed

_COMMANDS: Final[Mapping[str, Callable[[Session, Namespace], None]]] = {
    "close": steps.close,
    "net": steps.net,
    "certify": steps.certify,
    "run": steps.run,
    "statement": shows.statement,
    "matrix": shows.matrix,
    "certificate": shows.certificate,
    "migrate": upkeep.migrate_database,
    "keygen": upkeep.keygen,
    "serve": upkeep.serve,
}

_EXIT_CODES: Final[tuple[tuple[type[Exception], int], ...]] = (
    (ChecksFailed, args.CHECK_FAILED),
    (ResultDiffers, args.CHECK_FAILED),
    (SettingMissing, args.USAGE),
    (Misconfigured, args.USAGE),
    (KeyFileError, args.USAGE),
    (SignatureMalformed, args.USAGE),  # an audience or key id that cannot be one
    (LedgerMissing, args.USAGE),
    (CannotListen, args.USAGE),
    (OSError, args.USAGE),  # a file named on the command line
    (StepOutOfOrder, args.NOT_YET),
    (NotThere, args.NOT_YET),
    (HubUnreachable, args.UNREACHABLE),
    (DatabaseUnavailable, args.UNREACHABLE),
    (HubRefused, args.REFUSED),
    (ReceiptInvalid, args.REFUSED),
    (AnotherRun, args.BUSY),
)

_UNPREPARED: Final = ("42P01", "3F000", "42703", "42501", "22023", "42704")
"""SQLSTATEs of a schema, table, column, privilege or role that is not there."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code, as `--help` explains it."""
    arguments = args.make_parser().parse_args(argv)
    settings = Settings({name: getattr(arguments, name, None) for name in SETTINGS})
    try:
        _COMMANDS[arguments.command](Session(settings, make_console(), arguments.json), arguments)
    except DBAPIError as error:
        return _database_problem(error)
    except KeyboardInterrupt:
        return _say("interrupted; what was committed stands, run the same command again", 130)
    except tuple(kind for kind, _ in _EXIT_CODES) as problem:
        return _say(str(problem), next(code for kind, code in _EXIT_CODES if isinstance(problem, kind)))
    return args.DONE


def _database_problem(error: DBAPIError) -> int:
    state = getattr(error.orig, "sqlstate", None)
    first_line = str(error.orig).partition("\n")[0]
    if state in _UNPREPARED:
        return _say(f"the database is not prepared ({first_line}); run `tongdui-settle migrate`", args.USAGE)
    if state is None and isinstance(error, ProgrammingError):
        return _say(f"DATABASE_URL or --database: {first_line}", args.USAGE)
    if isinstance(error, OperationalError):
        return _say(f"the database cannot be reached: {first_line}", args.UNREACHABLE)
    raise error


def _say(message: str, code: int) -> int:
    print(f"tongdui-settle: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
