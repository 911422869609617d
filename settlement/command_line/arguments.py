"""The arguments of `tongdui-settle` and their help, which is the reference for exit codes and CSV columns."""

from __future__ import annotations

import argparse
from datetime import date
from typing import Final

from settlement.command_line.csv_rows import COLUMNS
from settlement.settings import SETTINGS

DONE: Final = 0
CHECK_FAILED: Final = 1
USAGE: Final = 2
NOT_YET: Final = 3
UNREACHABLE: Final = 4
REFUSED: Final = 5
BUSY: Final = 6

EXIT_CODES: Final = {
    DONE: "done",
    CHECK_FAILED: "a check does not hold, or a finished step came out otherwise; nothing was signed",
    USAGE: "wrong usage, configuration, key file or unprepared database",
    NOT_YET: "not yet: the window is still open, an earlier window or step is missing, nothing for that day",
    UNREACHABLE: "hub or database unreachable, outcome unknown; run the same command again",
    REFUSED: "the hub refused, or its receipt does not prove its answer",
    BUSY: "another settlement run is at work on this database",
}

_DATABASE = ("database_url",)
_HUB = ("hub_address", "hub_ca_file", "finance_key_file", "key_id")
_PROOF = ("hub_keys_file", "audience", "key_file")


def make_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = argparse.ArgumentParser(
        prog="tongdui-settle",
        description="Settles business days: closes windows, nets them to the minor unit, certifies the result.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    _command(
        commands, "close", "have the hub fix a day's watermark", (*_DATABASE, *_HUB, *_PROOF), dated=True
    )
    _command(commands, "net", "compute a closed day's statement lines", _DATABASE, dated=True)
    _command(
        commands,
        "certify",
        "check a computed day and sign its certificate",
        (*_DATABASE, *_PROOF),
        dated=True,
    )

    run = _command(
        commands, "run", "close, net and certify one day or many", (*_DATABASE, *_HUB, *_PROOF), dated=False
    )
    which = run.add_mutually_exclusive_group(required=True)
    which.add_argument("--date", type=_day, metavar="DAY", help="this day (YYYY-MM-DD)")
    which.add_argument(
        "--through", type=_day, metavar="DAY", help="every day after the newest certified one, up to this"
    )
    run.add_argument(
        "--from",
        dest="first",
        type=_day,
        metavar="DAY",
        help="with --through: the first day, where nothing is certified yet (default: the hub's first)",
    )
    run.add_argument(
        "--csv", metavar="DIR", help="also write each day's statements to DIR/DAY.csv, once it is certified"
    )

    statement = _command(
        commands,
        "statement",
        "show a day's statements: all parties, or one partner's",
        _DATABASE,
        dated=True,
        epilog=_csv_help(),
    )
    statement.add_argument("--partner", metavar="ID", help="one partner's statement only")
    statement.add_argument("--csv", metavar="FILE", help="write CSV to FILE, or to standard output with -")

    _command(commands, "matrix", "show who owed whom on a day, exactly", _DATABASE, dated=True)
    _command(commands, "certificate", "show a day's signed certificate", _DATABASE, dated=True)
    _command(commands, "migrate", "prepare settlement's schema in the database", _DATABASE, dated=False)

    keygen = _command(commands, "keygen", "make settlement's own key", (), dated=False)
    keygen.add_argument("--out", required=True, metavar="DIR", help="directory for the key file (mode 0700)")
    keygen.add_argument(
        "--owner", default="operator", metavar="ID", help="whose key it is (default: operator)"
    )

    _command(
        commands,
        "serve",
        "answer partners and finance over gRPC",
        (*_DATABASE, "audience", "listen_address", "tls_certificate_file", "tls_key_file"),
        dated=False,
    )
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    settings: tuple[str, ...],
    *,
    dated: bool,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if dated:
        parser.add_argument(
            "--date", type=_day, required=True, metavar="DAY", help="business day, YYYY-MM-DD"
        )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    for setting_name in settings:
        setting = SETTINGS[setting_name]
        parser.add_argument(
            setting.option,
            dest=setting_name,
            metavar="VALUE",
            help=f"{setting.meaning} [{setting.variable}]"
            + (f" ({setting.default})" if setting.default else ""),
        )
    return parser


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day, expected YYYY-MM-DD") from None


def _epilog() -> str:
    codes = "\n".join(f"  {code}  {meaning}" for code, meaning in EXIT_CODES.items())
    variables = "\n".join(f"  {setting.variable}\n      {setting.meaning}" for setting in SETTINGS.values())
    return f"exit codes:\n{codes}\n\nenvironment, each with an option that goes before it:\n{variables}"


def _csv_help() -> str:
    columns = "\n".join(f"  {name:<15} {meaning}" for name, meaning in COLUMNS.items())
    return f"CSV columns:\n{columns}"
