"""`make demo`: a real month of a coalition, from the first earn to the last statement.

    python examples/demo.py                 the month of the committed purchases
    python examples/demo.py --days 3        only its first days
    python examples/demo.py --year          every purchase of the data package (the extra `year`; minutes)
    python examples/demo.py --keep          leaves the hub running at the end, until Ctrl-C
    python examples/demo.py --serve         starts the hub of the last run again, until Ctrl-C

A hub with its embedded PostgreSQL starts in a new data directory, on a ledger clock that is moved by hand.
Two operators admit nine partners, each with a key, a rate card (`month/partners.py`) and a signing client
of its own. Then the clock walks through the days of the purchases (`purchases/LICENSE-NOTE.md`), which are
days of UTC, as is the coalition's zone here:

* One second before midnight every partner uploads its day. A household becomes a member through the partner
  where it is seen first, and is linked by every other where it shops for the first time. It consents to burns
  of up to 1,000 points each and 2,000 a day at every partner.
* Every partner's part of a basket is an earn: its eligible spend, at the rate of the partner's card. What is
  too little for a point is refused (`NOTHING_TO_EARN`).
* Then burns, by a fixed rule: a household that earned today pays with points in its last basket of the day,
  at most once a day, and not at home. Home is the partner that has given it the most points so far; it pays
  at the partner where it spent most of the rest of that basket. The points are the least of what it has, what
  the purchase costs there and what one burn may take, rounded down to hundreds; under 200 it keeps them.
* The clock strikes midnight, and what expires is posted before it answers. The day is over; `tongdui-settle`,
  a process of its own, closes, nets and certifies it while the next days are posted.
* In the end it hashes every row of the journal again, and adds up all money lines in one sum, which must be all
  statements together to the fen.

It ends with exit code 0 only if every check of every certificate is true, the nets of every day sum to zero,
and the hub's answers to the partners agree with the journal; otherwise with 1, and says what does not hold.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from examples.coalition import HubFailed
from examples.month.directory import DEFAULT_DIRECTORY, DemoDirectory, DirectoryRefused
from examples.month.run import Choices, run_demo, serve_again
from examples.month.settling import SettlementFailed
from examples.month.tills import MemberRefused
from merchant_adapter import HubError

_INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo and gives its exit code: 0, 1 (something does not hold or work), 2 (usage) or 130."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    directory = DemoDirectory(Path(options.directory).absolute())
    try:
        if options.serve:
            serve_again(directory)
        else:
            run_demo(directory, Choices(options.year, options.days, options.json, options.keep))
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return _INTERRUPTED
    except (DirectoryRefused, HubError, HubFailed, MemberRefused, SettlementFailed) as problem:
        return _say(problem)
    except (ModuleNotFoundError, OSError) as problem:  # the extra `year`, or the disk
        return _say(problem)
    return 0


def _say(problem: Exception) -> int:
    print(f"demo: {problem}", file=sys.stderr)
    return 1


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the form of a signal handler
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "demo.py", description="A real month of a coalition, on a hub of its own."
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--year", action="store_true", help="all purchases of the data package (extra `year`)")
    what.add_argument("--serve", action="store_true", help="only start the hub of the last run, until Ctrl-C")
    parser.add_argument("--days", type=_day_count, metavar="N", help="only the first N days")
    parser.add_argument("--keep", action="store_true", help="leave the hub running at the end, until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of tables")
    parser.add_argument(
        "--directory", default=DEFAULT_DIRECTORY, help="data directory, made anew (default: %(default)s)"
    )
    return parser


def _day_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of days, 1 at least")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
