"""Arguments that the commands share, and how their values are written."""

import argparse
import os
from collections.abc import Callable
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Final, TypeAlias, TypedDict

from google.type.date_pb2 import Date

from merchant_adapter import new_request_id
from merchant_adapter.channel import DEFAULT_TIMEOUT_SECONDS
from merchant_adapter.cli.arguments import Subparsers
from operator_console.desk import Desk, Shown
from tongdui.exchange.v1.rate_cards_service_pb2 import ExpiryPolicy
from tongdui.type.v1 import fraction_pb2

MAX_INT64: Final = 2**63 - 1
MAX_INT32: Final = 2**31 - 1

EPILOG: Final = """\
exit codes:
  0  done, or shown
  1  refused by the hub's rules; the message says why and what to do
  2  usage, input that cannot be used, or a confirmation that nobody is there to give
  3  not settled: no answer, one whose receipt does not verify, or hub busy; repeat it as the message says
  4  not trusted: the hub does not accept this key or signature
  5  not confirmed: you said no and nothing was sent

environment, each with an option that goes before it:
  TONGDUI_HUB_ADDRESS (--hub), TONGDUI_AUDIENCE (--audience), TONGDUI_HUB_KEYS (--hub-keys),
  TONGDUI_HUB_CA (--ca), TONGDUI_OPERATOR_KEY (--key)

@FILE as an argument stands for the lines of FILE, one argument each.
"""

Run = Callable[[Desk, argparse.Namespace], Shown]
Commands: TypeAlias = "Subparsers[argparse.ArgumentParser]"


class Verbs:
    """The verbs of one noun: `tongdui-hub NOUN VERB`."""

    def __init__(self, commands: Commands, noun: str, summary: str) -> None:
        """Adds the noun."""
        parser = commands.add_parser(noun, help=summary, description=_sentence(summary), **_LAYOUT)
        self._verbs = parser.add_subparsers(required=True, metavar="VERB")

    def read(self, name: str, summary: str, run: Run) -> argparse.ArgumentParser:
        """A verb that only reads."""
        return add_command(self._verbs, name, summary, run)

    def write(self, name: str, summary: str, run: Run, *, asks: bool = False) -> argparse.ArgumentParser:
        """A verb that decides something under a request id; one that `asks` moves points or prices."""
        parser = add_command(self._verbs, name, summary, run)
        group = parser.add_argument_group("decision")
        group.add_argument(
            "--request-id",
            default=new_request_id(),
            help="of the first try, to repeat it; a new one if not given",
        )
        if asks:
            group.add_argument("--yes", action="store_true", help="do not ask for confirmation")
            parser.set_defaults(asks=True)
        return parser


def add_command(commands: Commands, name: str, summary: str, run: Run) -> argparse.ArgumentParser:
    """A command with everything needed to call a hub."""
    parser = commands.add_parser(name, help=summary, description=_sentence(summary), **_LAYOUT)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.set_defaults(run=run, asks=False, yes=False, event_time=None, request_id="")
    group = parser.add_argument_group("hub")
    for option, variable, metavar, meaning in (
        ("--hub", "TONGDUI_HUB_ADDRESS", "ADDRESS", "host:port or unix:PATH"),
        ("--audience", "TONGDUI_AUDIENCE", "NAME", "the hub's name that requests are signed for"),
        ("--hub-keys", "TONGDUI_HUB_KEYS", "FILE", "the hub's public keys, a JSON Web Key Set"),
        ("--key", "TONGDUI_OPERATOR_KEY", "FILE", "your key, which signs"),
        ("--ca", "TONGDUI_HUB_CA", "FILE", "root certificates (PEM) instead of the system's"),
    ):
        given = os.environ.get(variable) or None
        group.add_argument(option, metavar=metavar, default=given, help=f"{meaning} [{variable}]")
    group.add_argument("--holder", metavar="NAME", help="who you are: another person's key is refused")
    group.add_argument("--client-cert", metavar="FILE", help="client certificate chain (PEM), mutual TLS")
    group.add_argument("--client-key", metavar="FILE", help="its private key (PEM)")
    group.add_argument(
        "--timeout",
        type=float,
        default=DEFAULT_TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="default %(default)s",
    )
    return parser


def add_event_time(parser: argparse.ArgumentParser) -> None:
    """`--event-time`, which a repeat has to name again."""
    parser.add_argument(
        "--event-time", type=moment, metavar="TIME", help="when it was decided on; now if not given"
    )


def add_reason(parser: argparse.ArgumentParser) -> None:
    """`--reason`, which stays in the journal."""
    parser.add_argument("--reason", required=True, help="why, for people: at most 200 characters")


def moment(text: str) -> datetime:
    """A time of ISO 8601 with its zone."""
    try:
        made = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no ISO 8601 time") from None
    if made.tzinfo is None:
        raise argparse.ArgumentTypeError("give the zone too, such as 2026-01-31T18:00:00+08:00")
    return made.astimezone(UTC)


def day(text: str) -> Date:
    """A day, YYYY-MM-DD."""
    try:
        made = date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day, expected YYYY-MM-DD") from None
    return Date(year=made.year, month=made.month, day=made.day)


def count(text: str) -> int:
    """A whole number of points, micros or the like; the hub knows the limits of each."""
    return _whole(text, MAX_INT64)


def small(text: str) -> int:
    """A whole number of versions, days or the like."""
    return _whole(text, MAX_INT32)


def _whole(text: str, highest: int) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 19 or int(text) > highest:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at most {highest}")
    return int(text)


def fraction(text: str) -> fraction_pb2.Fraction:
    """An exact number: `3/2`, `2` or `0.015`."""
    try:
        made = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is no fraction such as 3/2, 2 or 0.015") from None
    if not 0 <= made.numerator <= MAX_INT64 or made.denominator > MAX_INT64:
        raise argparse.ArgumentTypeError(f"{text!r} is below 0 or beyond 63 bits")
    return fraction_pb2.Fraction(numerator=made.numerator, denominator=made.denominator)


def expiry(text: str) -> ExpiryPolicy:
    """When points end: `never`, `days:365`, `months:12` or `date:2027-12-31`."""
    kind, _, amount = text.partition(":")
    match kind:
        case "never" if not amount:
            return ExpiryPolicy(never=True)
        case "days":
            return ExpiryPolicy(days=small(amount))
        case "months":
            return ExpiryPolicy(months_to_month_end=small(amount))
        case "date":
            return ExpiryPolicy(fixed_date=day(amount))
        case _:
            pass
    raise argparse.ArgumentTypeError(f"{text!r} is neither never nor days:N nor months:N nor date:YYYY-MM-DD")


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."


class _Layout(TypedDict):
    epilog: str
    formatter_class: type[argparse.HelpFormatter]


_LAYOUT: Final[_Layout] = {
    "epilog": EPILOG,
    "formatter_class": argparse.RawDescriptionHelpFormatter,
}
