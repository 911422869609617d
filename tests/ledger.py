"""A ledger to ask one thing after another, as a test of the rules does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from exchange.core.book import Link, Terms, Wallet
from exchange.core.commands import Command
from exchange.core.journal import Line
from exchange.core.lots import Lot
from exchange.core.rates import Cards, RateCard
from tests.builders import M1, M2, M3, NOON, TERMS, WIDE, A, B, C, asked, card
from tests.rows import Answer, Rows


class Ledger:
    """A ledger that is taken through one command at a time, on clocks that a test moves.

    Everybody is linked to A, B and C with wide consent; cards are the default ones where none are named.
    """

    def __init__(
        self, *, cards: Sequence[RateCard] = (), terms: Terms = TERMS, members: Iterable[int] = (M1, M2, M3)
    ) -> None:
        told = {each.partner_id for each in cards}
        every_card = [*cards, *(card(partner) for partner in (A, B, C) if partner not in told)]
        known = list(members)
        links = {
            (member, partner): Link(member, partner, WIDE, WIDE) for member in known for partner in (A, B, C)
        }
        self.rows = Rows(Cards(every_card), terms, {member: Wallet(member) for member in known}, links)
        self.now = self.wall = NOON

    def move(self, moment: datetime) -> None:
        """Sets both clocks."""
        self.now = self.wall = moment

    def ask(self, command: Command) -> Answer:
        """The answer to one command in a batch of its own."""
        ((answer, _),) = self.rows.run([command], self.now, self.wall)
        return answer

    def do(self, what: type[Any], request_id: str, **fields: Any) -> Answer:
        """The answer to a command that must be accepted; it happens now unless told otherwise."""
        answer = self.ask(asked(what, request_id, **{"event_time": self.now, **fields}))
        assert answer["verdict"] == "accepted", answer
        return answer

    def refusal(self, what: type[Any], request_id: str, **fields: Any) -> str:
        """The reason for which a command is refused; it happens now unless told otherwise."""
        answer = self.ask(asked(what, request_id, **{"event_time": self.now, **fields}))
        assert answer["verdict"] in ("refused", "rejected"), answer
        return str(answer["reason"])

    def legs(self, request_id: str, partner_id: int = A) -> list[tuple[int, int, str, str, int]]:
        """(member, lot, from, to, points) of each leg of a command's entry."""
        return [
            (leg.member_id, leg.lot_sequence, leg.from_account, leg.to_account, leg.points)
            for leg in self.rows.entry(partner_id, request_id).legs
        ]

    def lines(self, request_id: str, partner_id: int = A) -> list[Line]:
        """The lines of a command's entry, sorted."""
        return sorted(self.rows.entry(partner_id, request_id).lines)

    def kinds(self) -> list[str]:
        """The kinds of all entries, in ledger order."""
        return [entry.command.kind for entry in self.rows.journal.values()]

    def lot(self, member_id: int, lot_sequence: int) -> Lot:
        """A lot by its number."""
        (found,) = [lot for lot in self.rows.lots.values() if lot.place == (member_id, lot_sequence)]
        return found

    def wallet(self, member_id: int = M1) -> Wallet:
        """A member's account."""
        return self.rows.wallets[member_id]

    def owed(self, member_id: int = M1) -> list[tuple[int, int, int]]:
        """(issuer, F, points outstanding) of each deficit that is not paid."""
        return [
            (it.issuer_id, it.funding_micros, it.outstanding_points)
            for it in self.rows.deficits.values()
            if it.member_id == member_id and it.outstanding_points
        ]

    def nets(self) -> dict[int, int]:
        """Micros that each party has received less what it has paid; nothing for nothing."""
        net: Counter[int] = Counter()
        for entry in self.rows.journal.values():
            for line in entry.lines:
                net[line.payer_id] -= line.micros
                net[line.payee_id] += line.micros
        return {party: micros for party, micros in net.items() if micros}
