"""Takes the same commands through the core or through the reference ledger, and looks at what they make of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import fields, replace
from datetime import date, datetime
from typing import Any, NamedTuple, Protocol, Self

from exchange.core.book import Link, Wallet
from exchange.core.commands import Command
from exchange.core.lots import Lot
from exchange.core.originals import Deficit
from exchange.core.rates import Cards
from tests.property.coalition import MEMBERS, WITHDRAWN, Coalition
from tests.reference import Journal, ReferenceLedger
from tests.rows import Rows, as_sent

Answer = dict[str, Any]

ACCOUNTS = ("issued", "moved_in", "open", "held", "burned", "expired", "clawed_back", "absorbed", "moved_out")
DEBT_ACCOUNTS = ("raised", "moved_in", "absorbed", "forgiven", "moved_out")


class LotName(NamedTuple):
    """Which lot."""

    member: int
    sequence: int
    issuer: int
    version: int
    last_day: date


class DebtName(NamedTuple):
    """Which deficit, owed to whom at which F (micros a point), and since when."""

    member: int
    number: int
    issuer: int
    funding: int
    since: datetime


class Account(NamedTuple):
    """A member's figures: points, and what became of the account."""

    available: int
    pending: int
    held: int
    deficit: int
    state: str
    survivor: int


class View(NamedTuple):
    """All figures of a ledger: points in each account of each lot and deficit, members, micros by party."""

    lots: dict[LotName, tuple[int, ...]]
    debts: dict[DebtName, tuple[int, ...]]
    members: dict[int, Account]
    nets: dict[int, int]


class Playing(Protocol):
    """A ledger that commands can be told to."""

    def tell(self, commands: Sequence[Command], now: datetime, wall: datetime) -> list[tuple[Answer, bool]]:
        """One batch; per command the answer, and whether it was given before."""

    def view(self) -> View:
        """The figures after it."""

    def copy(self) -> Self:
        """The same ledger once more, to go another way with."""


class PlayingReference:
    """The reference ledger."""

    def __init__(self, coalition: Coalition, pay_codes: Iterable[Any] = ()) -> None:
        self.ledger: ReferenceLedger = coalition.reference(pay_codes)

    def tell(self, commands: Sequence[Command], now: datetime, wall: datetime) -> list[tuple[Answer, bool]]:
        """One batch, one command after the other."""
        answers = (self.ledger.submit(command, now, wall) for command in commands)
        return [(as_sent(answer), given_before) for answer, given_before in answers]

    def view(self) -> View:
        """The figures as read from the journal."""
        return view_of_reference(self.ledger)

    def copy(self) -> PlayingReference:
        """What is in a journal does not change, so lists of the same entries will do."""
        other = copy(self)
        other.ledger = copy(self.ledger)
        for name in ("lots", "postings", "decided"):
            setattr(other.ledger, name, list(getattr(self.ledger, name)))
        return other


class PlayingCore:
    """The hub's core, with rows between the batches that are loaded by need."""

    def __init__(
        self, coalition: Coalition, pay_codes: Iterable[Any] = (), *, load_all: bool = False
    ) -> None:
        self.rows = Rows(
            Cards(coalition.cards),
            coalition.terms,
            {member: Wallet(member) for member in MEMBERS},
            {pair: Link(*pair, *limits) for pair, limits in coalition.consent.items()},
            load_all=load_all,
            pay_codes={code.digest: replace(code) for code in pay_codes},
            withdrawn_adjustments={WITHDRAWN},
        )

    def tell(self, commands: Sequence[Command], now: datetime, wall: datetime) -> list[tuple[Answer, bool]]:
        """One batch."""
        return self.rows.run(commands, now, wall)

    def view(self) -> View:
        """The figures as the rows have them."""
        rows = self.rows
        nets: Counter[int] = Counter()
        for line in (line for entry in rows.journal.values() for line in entry.lines):
            nets[line.payer_id] -= line.micros
            nets[line.payee_id] += line.micros
        return View(
            {_name_of_lot(lot): _figures(lot, ACCOUNTS) for lot in rows.lots.values()},
            {_name_of_debt(debt): _figures(debt, DEBT_ACCOUNTS) for debt in rows.deficits.values()},
            {member: _account(wallet) for member, wallet in rows.wallets.items()},
            {party: net for party, net in nets.items() if net},
        )

    def copy(self) -> PlayingCore:
        """Rows are replaced when they change, so copies of what holds them will do."""
        other = copy(self)
        other.rows = copy(self.rows)
        for each in fields(self.rows):
            held = getattr(self.rows, each.name)
            if isinstance(held, dict | list | set):
                setattr(other.rows, each.name, held.copy())
        return other


def _name_of_lot(lot: Lot) -> LotName:
    return LotName(lot.member_id, lot.lot_sequence, lot.issuer_id, lot.rate_version, lot.expiry_date)


def _name_of_debt(debt: Deficit) -> DebtName:
    named = (debt.member_id, debt.deficit_sequence, debt.issuer_id, debt.funding_micros)
    return DebtName(*named, debt.raised_time)


def _figures(row: Lot | Deficit, accounts: Sequence[str]) -> tuple[int, ...]:
    return tuple(getattr(row, f"{account}_points") for account in accounts)


def _account(wallet: Wallet) -> Account:
    points = (wallet.open_points, wallet.pending_points, wallet.held_points, wallet.deficit_points)
    return Account(*points, wallet.state.value, wallet.survivor_id)


def view_of_reference(ledger: Journal) -> View:
    """All figures of the reference ledger."""
    points = ledger.balances()
    signs = {"issued": -1, "moved_in": -1}
    owed: Counter[tuple[Any, str]] = Counter()
    for owing in ledger.owings():
        owed[owing.debt, owing.what] += owing.points
    nets: Counter[int] = Counter()
    for payment in (payment for posting in ledger.postings for payment in posting.payments):
        nets[payment.payer] -= payment.micros
        nets[payment.payee] += payment.micros
    return View(
        {
            LotName(*lot): tuple(signs.get(account, 1) * points[lot, account] for account in ACCOUNTS)
            for lot in ledger.lots
        },
        {
            DebtName(*debt): tuple(owed[debt, account] for account in DEBT_ACCOUNTS)
            for debt in {debt for debt, _ in owed}
        },
        {
            member: Account(
                ledger.available(member),
                ledger.pending(member),
                ledger.held(member),
                ledger.deficit(member),
                *ledger.state(member)[:2],
            )
            for member in MEMBERS
        },
        {party: net for party, net in nets.items() if net},
    )
