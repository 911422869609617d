"""Random histories: a few members, partners and cards, some weeks, and all that can go wrong in them.

A step says what kind of command comes next, of whom, and how near to which limit its figures lie. Which command
that makes is found by the writer, with the reference ledger going along: it knows what can be refunded, and how
much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import product

from hypothesis import strategies as st

from exchange.core.book import PayCode
from exchange.core.commands import Command
from tests.builders import MICROSECOND, at
from tests.property.choosing import Step, When
from tests.property.coalition import COALITIONS, Coalition
from tests.property.writer import Batch, Writer

BEGINNING = at("2026-01-29 00:00")
STILL = timedelta(0)

CLOCK_MOVES = [
    *[(STILL, STILL)] * 10,
    *[
        (STILL, timedelta(minutes=15)),
        (STILL, timedelta(minutes=15) + MICROSECOND),
    ],  # the second lapses holds
    *[(timedelta(hours=1), timedelta(hours=1)), (timedelta(hours=12), timedelta(minutes=1))],
    *[(timedelta(days=1), STILL), (timedelta(days=1), timedelta(days=1))],
    *[(timedelta(days=4), timedelta(hours=2)), (timedelta(hours=1), timedelta(days=8))],
]
EVENTS = [
    *[STILL] * 40,
    *[timedelta(hours=-1), timedelta(days=-1), timedelta(days=-3), -MICROSECOND],
    *[timedelta(days=-7), timedelta(days=-7) - MICROSECOND],  # just not too old, and just too old
    *[timedelta(seconds=60), timedelta(seconds=60) + MICROSECOND],  # the first is just not in the future
]
WHEN = [When(*clocks, event) for clocks, event in product(CLOCK_MOVES, EVENTS)]

WEIGHTS = {
    "earn": 8,
    "pending": 5,
    "burn": 12,
    "refund": 9,
    "claw_back": 10,
    "authorize": 6,
    "capture": 9,
    "confirm_earn": 6,
    "transfer": 6,
    "adjust": 5,
    "exchange_in": 3,
    "exchange_out": 3,
    "confirm_out": 3,
    "merge": 3,
    "unmerge": 3,
    "campaign": 2,
    "spree": 1,
    "void": 4,
    "extend": 3,
    "mistake": 2,
    "guesses": 1,
    "refuse_out": 1,
    "cancel_earn": 2,
    "freeze": 1,
    "unfreeze": 4,
    "close": 1,
    "again": 2,
    "reuse": 1,
    "duplicate": 2,
    "wake": 2,
}
WHAT = [what for what, weight in WEIGHTS.items() for _ in range(weight)]


@dataclass(frozen=True)
class History:
    """A coalition and what was asked of it."""

    coalition: Coalition
    pay_codes: tuple[PayCode, ...]
    batches: tuple[Batch, ...]

    def commands(self) -> Iterator[Command]:
        """All commands of all batches."""
        for batch in self.batches:
            yield from batch.commands


def _history(coalition: Coalition, steps: list[tuple[str, When, int]]) -> History:
    writer = Writer(coalition, BEGINNING, BEGINNING)
    writer.begin()
    for what, when, number in steps:
        rest, amount = divmod(number, AMOUNTS)
        variant, who = divmod(rest, WHO)
        writer.write(Step(what, when, who, amount, variant))
    return History(coalition, tuple(writer.pay_codes), writer.finish())


WHO, AMOUNTS, VARIANTS = 64, 7, 240
_STEP = st.tuples(st.sampled_from(WHAT), st.sampled_from(WHEN), st.integers(0, WHO * AMOUNTS * VARIANTS - 1))

HISTORIES = st.builds(_history, COALITIONS, st.lists(_STEP, min_size=25, max_size=90))
