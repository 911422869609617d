"""The operator's part of `tongdui-hub`: `tongdui-hub NOUN VERB`."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.message import Message
from rich.console import Group
from rich.text import Text

from merchant_adapter import FileRefused, HubError, Unreadable
from merchant_adapter.cli.report import ExitCode, failure
from operator_console import NOUNS, adjustments, cards, keys, ledger, members, partners
from operator_console.advice import advice
from operator_console.arguments import EPILOG, Run
from operator_console.desk import CannotAsk, Declined, Desk, Shown, open_desk
from operator_console.plain import Row, to_plain
from operator_console.screen import details, make_console
from tongdui.signing import SignatureMalformed

DECLINED = 5

_NOUNS = {
    "partner": partners.add,
    "key": keys.add,
    "card": cards.add,
    "member": members.add,
    "adjust": adjustments.add,
    "clock": ledger.add_clock,
    "expire": ledger.add_expire,
}


class _Failed(NamedTuple):
    """What became of a command that was not done, and its exit code."""

    said: Row
    code: int


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; `argv` without the program's name."""
    arguments = _parser().parse_args(argv)
    try:
        with open_desk(arguments) as desk:
            ended = _run(desk, arguments)
    except (FileRefused, Unreadable, SignatureMalformed, CannotAsk, OSError) as problem:
        ended = _Failed({"outcome": "not sent", "message": str(problem)}, ExitCode.BAD_INPUT)
    except UnicodeEncodeError:
        ended = _Failed({"outcome": "not sent", "message": "an argument is no text"}, ExitCode.BAD_INPUT)
    _print(ended, as_json=arguments.json)
    return ended.code if isinstance(ended, _Failed) else ExitCode.DONE


def _run(desk: Desk, arguments: argparse.Namespace) -> Shown | _Failed:
    run: Run = arguments.run
    try:
        return run(desk, arguments)
    except Declined:
        return _Failed({"outcome": "not confirmed, nothing was sent"}, DECLINED)
    except HubError as error:
        report = failure(error, arguments)
        said = {**report.fields, "what_to_do": advice(error.reason)}
        if report.exit_code is ExitCode.UNSETTLED:
            said |= _repeat(desk.sent)
        return _Failed(said, report.exit_code)
    except KeyboardInterrupt:
        if desk.sent is None:
            return _Failed({"outcome": "interrupted, nothing was sent"}, DECLINED)
        return _Failed({"outcome": "unknown: interrupted", **_repeat(desk.sent)}, ExitCode.UNSETTLED)


def _print(ended: Shown | _Failed, *, as_json: bool) -> None:
    if isinstance(ended, Shown):
        content, view, is_error = ended.content, ended.view, False
    else:
        content = {name: value for name, value in ended.said.items() if value not in ("", {}, [])}
        view, is_error = Group(Text("tongdui-hub", style="red"), details(content)), True
    if as_json:
        sys.stdout.write(json.dumps(content, ensure_ascii=False) + "\n")
    else:
        make_console(stderr=is_error).print(view)


def _repeat(sent: Message | None) -> Row:
    """The options that make the same request of another try."""
    if sent is None:
        return {}
    fields = to_plain(sent)
    named = ("request_id", "event_time")
    options = [f"--{name.replace('_', '-')} {fields[name]}" for name in named if name in fields]
    return {"repeat_with": " ".join(options)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tongdui-hub",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        fromfile_prefix_chars="@",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for noun, add in _NOUNS.items():
        add(commands, NOUNS[noun])
    return parser


if __name__ == "__main__":
    sys.exit(main())
