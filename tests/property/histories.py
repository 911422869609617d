"""Random histories: a few members, partners and cards, some weeks, and all that can go wrong in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import product
from typing import NamedTuple

from hypothesis import strategies as st

from exchange.core.book import Link, Wallet
from exchange.core.commands import Asked, Command, Earn, Wake
from exchange.core.points import MAX_SPEND_MINOR
from exchange.core.rates import Cards, ExpiryPolicy, RateCard
from tests.builders import (
    M1,
    M2,
    MICROSECOND,
    NO_EXPIRY,
    STRANGER,
    TERMS,
    A,
    B,
    C,
    at,
    burn,
    card,
    days,
    earn,
    fingerprint,
    months,
    until,
)
from tests.reference import ReferenceLedger
from tests.rows import Rows

CARDLESS = 4
"""A partner that M1 is linked to and that has no card."""

BEGINNING = at("2026-01-29 00:00")
FIRST_CARD, SECOND_CARD = "2026-01-25 00:00", "2026-02-01 00:00"


class Prices(NamedTuple):
    """Micros a point."""

    funding: int
    prefunded: int
    reimbursement: int
    issue_fee: int


PRICES = [
    Prices(10_000, 10_000, 9_500, 200),  # issue-funded
    Prices(10_000, 0, 9_500, 200),  # redeem-funded
    Prices(10_500, 3_333, 9_600, 0),  # hybrid, with parts that have to be floored
    Prices(7, 3, 5, 1),
    Prices(1, 1, 0, 0),  # a redeemer that receives nothing
    Prices(3, 1, 11, 2),  # R above F: what slips through approval
    Prices(9_000, 9_000, 12_000, 0),
    Prices(9_000, 4_000, 12_001, 0),
]
EXPIRIES = [
    NO_EXPIRY,
    days(3),
    days(5),
    months(0),
    months(1),
    until("2026-02-02"),
    days(0),
    until("2026-01-28"),
]
SHARES = [Fraction(0), Fraction(1, 2), Fraction(1, 3), Fraction(1)]

LINKS = [(M1, A), (M1, B), (M1, C), (M2, A), (M2, B), (M1, CARDLESS)]  # not M2 and C
WIDE = (1_000_000, 1_000_000)
CONSENTS = [*[WIDE] * 6, (40, 1_000_000), (100, 45), (0, 10), (10, 0)]

CLOCK_MOVES = [timedelta(hours=1), timedelta(hours=12), timedelta(days=1), timedelta(days=4)]
ON_TIME = timedelta(0)
LATE = [
    timedelta(hours=-1),
    timedelta(days=-1),
    timedelta(days=-3),
    -MICROSECOND,
    timedelta(days=-7),  # just not too old
    timedelta(days=-7) - MICROSECOND,
]
EARLY = [timedelta(seconds=60), timedelta(seconds=60) + MICROSECOND]  # the first is just not in the future
OWN_EXPIRY_DAYS = [None, None, -1, 0, 1, 2, 3, 5, 7, 9, 400]  # from the day it is posted


class _What(NamedTuple):
    """What is asked, of whom by whom; or which command before it (so many steps back) is asked again.

    A `campaign` is six earns of six expiry days: members get more lots than a burn is given at first.
    """

    kind: str
    member: int = 0
    partner: int = 0
    back: int = 0


class _When(NamedTuple):
    """How far the clock moves first, which begins a batch, and how far the event lies from it."""

    clock_move: timedelta | None
    offset: timedelta


class _Figures(NamedTuple):
    earn_points: int
    spend_minor: int
    burn_points: int
    own_expiry: int | None


_WHO = [(M1, A), (M1, B), (M1, C)] * 5 + [(M2, A), (M2, B)] * 2 + [(M2, C), (M1, CARDLESS), (STRANGER, A)]
_WHAT = [
    _What("nothing"),  # first: a failing history shrinks towards it
    *(_What(kind, member, partner) for kind in ("earn", "earn", "burn") for member, partner in _WHO),
    *(_What("campaign", member, partner) for member, partner in _WHO[:5]),
    *(_What(kind, back=back) for kind in ("again", "reuse", "reference", "order") for back in (1, 2, 5, 9)),
    *(_What("wake", member) for member in (M1, M2, STRANGER)),
]
_WHEN = [
    _When(move, offset)
    for move, offset in product([*[None] * 14, *CLOCK_MOVES], [*[ON_TIME] * 16, *LATE, *EARLY])
]
_FIGURES = [
    _Figures(*amounts, own)
    for amounts, own in product(
        [
            (1, 0, 1),
            (7, 0, 20),
            (30, 0, 5),
            (60, 0, 40),
            (20, 0, 99),
            (0, 99, 70),
            (0, 250, 2),
            (0, 9_999, 150),
            (0, MAX_SPEND_MINOR, 3),
        ],
        OWN_EXPIRY_DAYS,
    )
]


@dataclass(frozen=True)
class Batch:
    """Commands that are decided together."""

    decided_time: datetime
    commands: tuple[Command, ...]


@dataclass(frozen=True)
class History:
    """A coalition and what was asked of it."""

    cards: tuple[RateCard, ...]
    consent: dict[tuple[int, int], tuple[int, int]]
    batches: tuple[Batch, ...]

    def rows(self, *, load_all: bool = False) -> Rows:
        """The ledger before the first batch, as the core's store has it."""
        return Rows(
            Cards(self.cards),
            TERMS,
            {member: Wallet(member) for member in (M1, M2)},
            {pair: Link(*pair, *limits) for pair, limits in self.consent.items()},
            load_all=load_all,
        )

    def reference(self) -> ReferenceLedger:
        """The same for the reference ledger."""
        return ReferenceLedger(self.cards, (M1, M2), self.consent, TERMS.zone, TERMS.late_limit)

    def commands(self) -> Iterator[Command]:
        """All commands of all batches."""
        for batch in self.batches:
            yield from batch.commands


def _card(
    partner: int, version: int, prices: Prices, expiry: ExpiryPolicy, breakage_issuer_share: Fraction
) -> RateCard:
    return card(
        partner,
        version,
        valid_from=FIRST_CARD if version == 1 else SECOND_CARD,
        earn_rate=Fraction(partner, version),
        face_value=10_000 * version,
        expiry=expiry,
        breakage_issuer_share=breakage_issuer_share,
        **prices._asdict(),
    )


def _history(
    cards: tuple[RateCard, ...],
    consents: tuple[tuple[int, int], ...],
    steps: list[tuple[_What, _When, _Figures]],
) -> History:
    now = BEGINNING
    batches: list[Batch] = []
    commands: list[Command] = []
    asked: list[Asked] = []
    for number, (what, when, figures) in enumerate(steps):
        if when.clock_move is not None and commands:
            batches.append(Batch(now, tuple(commands)))
            commands = []
            now += when.clock_move
        if what.kind == "wake":
            commands.append(Wake(what.member))
        elif what.kind == "campaign":
            earns = _campaign(f"r-{number}", what, now)
            asked += earns
            commands += earns
        elif what.kind != "nothing":
            earlier = asked[-what.back] if 0 < what.back <= len(asked) else None
            command = _command(f"r-{number}", what, now, now + when.offset, figures, earlier)
            asked.append(command)
            commands.append(command)
    return History(cards, dict(zip(LINKS, consents, strict=True)), (*batches, Batch(now, tuple(commands))))


def _campaign(request_id: str, what: _What, now: datetime) -> list[Earn]:
    return [
        earn(
            f"{request_id}.{number}",
            points=10 + number,
            member_id=what.member,
            partner_id=what.partner,
            event_time=now,
            expiry_date=TERMS.day_of(now) + timedelta(days=number),
        )
        for number in (5, 1, 2, 7, 3, 0)
    ]


def _command(
    request_id: str,
    what: _What,
    now: datetime,
    event_time: datetime,
    figures: _Figures,
    earlier: Asked | None,
) -> Asked:
    if earlier is not None:
        if what.kind == "again":
            return earlier
        return _variant(request_id, what, event_time, figures, earlier)
    member, partner = what.member or M1, what.partner or A
    if what.kind == "burn":
        return burn(
            request_id,
            points=figures.burn_points,
            member_id=member,
            partner_id=partner,
            event_time=event_time,
        )
    own = None if figures.own_expiry is None else TERMS.day_of(now) + timedelta(days=figures.own_expiry)
    return earn(
        request_id,
        points=figures.earn_points,
        spend_minor=figures.spend_minor,
        member_id=member,
        partner_id=partner,
        event_time=event_time,
        expiry_date=own,
    )


def _variant(request_id: str, what: _What, event_time: datetime, figures: _Figures, earlier: Asked) -> Asked:
    """The same id with other fields, the same reference again, or an order's burn beside its earn."""
    if what.kind == "order":
        other = burn if earlier.kind == "earn" else earn
        return other(
            request_id,
            points=figures.burn_points,
            member_id=earlier.member_id,
            partner_id=earlier.partner_id,
            event_time=event_time,
            reference=earlier.reference,
        )
    if what.kind == "reuse":
        changed = earlier._replace(points=earlier.points + 1)
    else:
        changed = earlier._replace(request_id=request_id, event_time=event_time)
    return changed._replace(fingerprint=fingerprint(changed))


_CARD_TERMS = st.sampled_from(list(product(PRICES, EXPIRIES, SHARES)))
_CARDS = st.tuples(*[_CARD_TERMS] * 6).map(
    lambda terms: tuple(
        _card(partner, version, *each)
        for (partner, version), each in zip(product((A, B, C), (1, 2)), terms, strict=True)
    )
)
_CONSENTS = st.tuples(*[st.sampled_from(CONSENTS)] * len(LINKS))
_STEP = st.tuples(st.sampled_from(_WHAT), st.sampled_from(_WHEN), st.sampled_from(_FIGURES))

HISTORIES = st.builds(_history, _CARDS, _CONSENTS, st.lists(_STEP, min_size=14, max_size=50))
