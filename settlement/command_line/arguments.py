"""The arguments of `tongdui-settle` and their help, which is the reference for exit codes and CSV columns."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any, Final

from settlement.command_line.csv_rows import COLUMNS
from settlement.command_line.desk_arguments import add_desk_commands
from settlement.command_line.money_arguments import add_money_commands
from settlement.command_line.proving import add_proof_commands
from settlement.command_line.reconciling import add_reconciling_commands
from settlement.core.drill_down import Place
from settlement.settings import SETTINGS

DONE: Final = 0
CHECK_FAILED: Final = 1
USAGE: Final = 2
NOT_YET: Final = 3
UNREACHABLE: Final = 4
REFUSED: Final = 5
BUSY: Final = 6
DECISION: Final = 7

EXIT_CODES: Final = {
    DONE: "done",
    CHECK_FAILED: "a check does not hold, a finished step came out otherwise (nothing was signed), a file was refused",
    USAGE: "wrong usage, configuration, key file or unprepared database",
    NOT_YET: "not yet: the window is still open, an earlier window or step is missing, nothing for that day",
    UNREACHABLE: "hub or database unreachable, outcome unknown; run the same command again",
    REFUSED: "the hub refused, its receipt does not prove its answer, or this person may not do it",
    BUSY: "another settlement run is at work on this database",
    DECISION: "a person has to decide; what, who and with which command is on the list",
}

_DATABASE = ("database_url",)
_HUB = ("hub_address", "hub_ca_file", "finance_key_file", "key_id")
_PROOF = ("hub_keys_file", "audience", "key_file")
_PERSON = ("person_key_file",)
MAX_PAGE: Final = 10_000


def make_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = argparse.ArgumentParser(
        prog="tongdui-settle",
        description="Settles business days: closes windows, nets them to the minor unit, certifies the result.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    settle = (*_DATABASE, *_HUB, *_PROOF, *_PERSON)
    _command(commands, "close", "have the hub fix a day's watermark", settle, dated=True)
    _command(commands, "net", "compute a closed day's statement lines", (*_DATABASE, *_PERSON), dated=True)
    _command(
        commands,
        "certify",
        "check a computed day and sign its certificate",
        (*_DATABASE, *_PROOF, *_PERSON),
        dated=True,
    )

    run = _command(commands, "run", "close, net and certify one day or many", settle, dated=False)
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
    statement.add_argument(
        "--xlsx", metavar="FILE", help="write a workbook to FILE, with the entries behind it"
    )

    _command(commands, "matrix", "show who owed whom on a day, exactly", _DATABASE, dated=True)
    _command(commands, "certificate", "show a day's signed certificate", _DATABASE, dated=True)
    _command(commands, "migrate", "prepare settlement's schema in the database", _DATABASE, dated=False)

    keygen = _command(commands, "keygen", "make settlement's own key", (), dated=False)
    keygen.add_argument("--out", required=True, metavar="DIR", help="directory for the key file (mode 0700)")
    keygen.add_argument(
        "--owner", default="operator", metavar="ID", help="whose key it is (default: operator)"
    )

    public_key = _command(
        commands, "public-key", "print the public half of settlement's key", ("key_file",), dated=False
    )
    public_key.add_argument("--out", metavar="FILE", help="write it to FILE, for partners to pin")

    _command(
        commands,
        "serve",
        "answer partners and finance over gRPC",
        (*_DATABASE, "audience", "key_file", "listen_address", "tls_certificate_file", "tls_key_file"),
        dated=False,
    )
    _finance_commands(commands)
    _evidence_commands(commands)
    add_proof_commands(partial(_command, commands), _day, _DATABASE)
    add_money_commands(partial(_command, commands), partial(_group, commands), _day)
    add_desk_commands(partial(_command, commands), partial(_group, commands), _day)
    add_reconciling_commands(partial(_command, commands), partial(_group, commands), _day)
    return parser


def _group(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str
) -> Callable[..., argparse.ArgumentParser]:
    """What adds commands below `name`, as `_command` does; each is known by both words: `payment mark`."""
    parser = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def add(action: str, *rest: Any, **options: Any) -> argparse.ArgumentParser:
        made = _command(actions, action, *rest, **options)
        made.set_defaults(command=f"{name} {action}")
        return made

    return add


def _finance_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    to_file = "write CSV to FILE, or to standard output with -"
    lines = _command(
        commands, "lines", "show the entries behind a line of a statement", _DATABASE, dated=True
    )
    lines.add_argument("--partner", required=True, metavar="ID", help="partner id, POOL or OPERATOR")
    lines.add_argument("--component", required=True, metavar="NAME", help="the line, such as BURN_REIMBURSE")
    lines.add_argument("--limit", type=_page_size, default=50, metavar="N", help="entries of a page (50)")
    lines.add_argument(
        "--after", type=_place, default=Place(0, 0), metavar="PLACE", help="go on after this entry"
    )
    lines.add_argument("--csv", metavar="FILE", help=f"{to_file}: all of them")

    entry = _command(commands, "entry", "show an entry of the journal", _DATABASE, dated=False)
    entry.add_argument("entry_id", metavar="ENTRY", help="the id the hub gave it")

    rollforward = _command(
        commands, "rollforward", "show how each issuer's liability came to be", _DATABASE, dated=True
    )
    rollforward.add_argument("--through", type=_day, metavar="DAY", help="every window up to this, as one")
    rollforward.add_argument("--csv", metavar="FILE", help=to_file)

    exposure = _command(commands, "exposure", "show what each party owes by now", _DATABASE, dated=False)
    exposure.add_argument("--csv", metavar="FILE", help=to_file)

    ageing = _command(commands, "ageing", "show what is not settled by its age", _DATABASE, dated=False)
    ageing.add_argument(
        "--as-of", type=_day, metavar="DAY", help="count ages as of this day (default: the open window's)"
    )
    ageing.add_argument("--csv", metavar="FILE", help=to_file)


def _evidence_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evidence = _command(
        commands, "evidence", "write what a third party needs to check a day", _DATABASE, dated=True
    )
    evidence.add_argument("--out", required=True, metavar="DIR", help="a directory that is made for it")

    verify = _command(
        commands,
        "verify",
        "check evidence or a single document, offline or against settlement's database",
        (*_DATABASE, "hub_keys_file", "audience"),
        dated=False,
    )
    verify.add_argument(
        "directory", nargs="?", metavar="DIR", help="a bundle, as `evidence` wrote it: no network"
    )
    verify.add_argument("--date", type=_day, metavar="DAY", help="a day as it stands in the database")
    verify.add_argument(
        "--certificate", metavar="FILE", help="with --file: a certificate alone, without a bundle or database"
    )
    verify.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="FILE",
        help="also a single document of that day: statements as CSV or JSON, a certificate",
    )
    verify.add_argument(
        "--partner-files", action="store_true", help="with --date: the partner files kept for the day"
    )
    verify.add_argument(
        "--settlement-key",
        action="append",
        default=[],
        metavar="KEYID=KEY|FILE",
        help="settlement's public key in base64url, or a file of public keys; may be given again",
    )


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


def _place(text: str) -> Place:
    try:
        return Place.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _page_size(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_PAGE:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 to {MAX_PAGE:,}")
    return int(text)


def _epilog() -> str:
    codes = "\n".join(f"  {code}  {meaning}" for code, meaning in EXIT_CODES.items())
    variables = "\n".join(f"  {setting.variable}\n      {setting.meaning}" for setting in SETTINGS.values())
    return f"exit codes:\n{codes}\n\nenvironment, each with an option that goes before it:\n{variables}"


def _csv_help() -> str:
    columns = "\n".join(f"  {name:<15} {meaning}" for name, meaning in COLUMNS.items())
    return f"CSV columns:\n{columns}"
