"""The command line: `tongdui-adapter COMMAND`."""

import argparse
import sys
from collections.abc import Sequence

from merchant_adapter.cli import imports, keys, outbox, points, record, serve, settlement, verify
from merchant_adapter.cli.report import Report, bad_input, failure, show
from merchant_adapter.errors import HubError
from merchant_adapter.json_object import Unreadable
from merchant_adapter.outbox.errors import OutboxError
from merchant_adapter.private_files import FileRefused
from tongdui.signing import SignatureMalformed

EPILOG = """\
exit codes:
  0  done: accepted, or shown
  1  refused by the hub's rules
  2  usage, or input that cannot be used
  3  not settled: outcome unknown or hub busy, repeat with the same request id; or a question without an answer
  4  not trusted: the hub does not accept this key or signature, or a receipt does not verify

@FILE as an argument stands for the lines of FILE, one argument each.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; `argv` without the program's name."""
    arguments = _parser().parse_args(argv)
    try:
        report: Report = arguments.run(arguments)
    except HubError as error:
        report = failure(error, arguments)
    except (FileRefused, OutboxError, Unreadable, SignatureMalformed, OSError) as error:
        report = bad_input(error)
    show(report, arguments.json)
    return report.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tongdui-adapter",
        description="Signs a partner's calls to a Tongdui hub and checks the hub's receipts.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        fromfile_prefix_chars="@",
    )
    shown = argparse.ArgumentParser(add_help=False)
    shown.add_argument("--json", action="store_true", help="one JSON object on standard output")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (keys, points, outbox, imports, record, serve, settlement, verify):
        module.add(commands, shown)
    return parser


if __name__ == "__main__":
    sys.exit(main())
